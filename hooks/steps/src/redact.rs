//! Takes what may be a secret out of what is recorded, before it leaves the process: what the client sent as its token, parameters that are called like
//! secrets, and whatever has the shape of one ([`millstream_proto::redact`]). Over-careful on purpose. Before it: [`super::recorder`]; after it: answers and files.
use millstream_hooks::wit::{auth, types};
use millstream_proto::redact::looks_secret;

/// What stands in a secret's place.
pub const HIDDEN: &str = "[redacted]";
/// Parts of names of parameters whose values are hidden.
const SECRET_NAMES: [&str; 20] = [
    "token",
    "sig",
    "key",
    "pass",
    "pwd",
    "auth",
    "secret",
    "psk",
    "jwt",
    "credential",
    "hash",
    "hmac",
    "code",
    "otp",
    "ticket",
    "access",
    "session",
    "pin",
    "cookie",
    "bearer",
];
/// Segments of paths behind which a secret stands: `/ticket/1234`.
const BEFORE_SECRETS: [&str; 8] = ["token", "sig", "key", "jwt", "secret", "ticket", "otp", "pin"];
/// A value that is shorter is hidden where it stands, and not looked for elsewhere.
const LOOKED_FOR_BYTES: usize = 4;

/// What was hidden of a request.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Hidden {
    values: Vec<String>,
    /// Where it stood: `client.token`, `target.params.sign`.
    pub places: Vec<String>,
}

impl Hidden {
    fn hide(&mut self, value: &mut String, place: impl Into<String>) {
        if !value.is_empty() {
            self.values.push(std::mem::replace(value, HIDDEN.to_owned()));
            self.places.push(place.into());
        }
    }

    /// A text of the hook's, which may repeat what it was asked with.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let mut values: Vec<_> = self.values.iter().filter(|value| value.len() >= LOOKED_FOR_BYTES).collect();
        // One may begin another.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        for value in values {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), HIDDEN);
            }
        }
        words(&text)
    }
}

/// The request without secrets, and what was hidden.
pub fn request(request: &auth::Request) -> (auth::Request, Hidden) {
    let (mut request, mut hidden) = (request.clone(), Hidden::default());
    let (client, target) = (&mut request.client, &mut request.target);
    hidden.hide(&mut client.token, "client.token");
    for (list, place) in [
        (&mut client.extra, "client.extra"),
        (&mut target.params, "target.params"),
        (&mut target.settings, "target.settings"),
        (&mut target.labels, "target.labels"),
        (&mut target.extra, "target.extra"),
        (&mut request.extra, "extra"),
    ] {
        pairs(list, place, &mut hidden);
    }
    for (text, place) in [
        (&mut client.user_agent, "client.user-agent"),
        (&mut client.referer, "client.referer"),
        (&mut target.app, "target.app"),
        (&mut target.name, "target.name"),
    ] {
        let shown = hidden.text(text);
        if shown != *text {
            *text = shown;
            hidden.places.push(place.to_owned());
        }
    }
    (request, hidden)
}

fn pairs(list: &mut [types::Pair], place: &str, hidden: &mut Hidden) {
    for pair in list {
        // Who puts the token in the place of a name is as careless as who puts it in a stream's.
        if looks_secret(&pair.name) {
            hidden.hide(&mut pair.name, format!("{place}, a name"));
            hidden.hide(&mut pair.value, format!("{place}.{HIDDEN}"));
        } else if is_secret_name(&pair.name) || words(&pair.value) != pair.value {
            hidden.hide(&mut pair.value, format!("{place}.{}", pair.name));
        }
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

/// A text without the words that have the shape of a secret, or stand where one does in a URL.
fn words(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || ";,()\"'<>?&/:@".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut is_behind_name = false;
    for piece in text.split_inclusive(ends) {
        let (word, end) = match piece.char_indices().next_back() {
            Some((at, last)) if ends(last) => piece.split_at(at),
            _ => (piece, ""),
        };
        let is_value = word.split_once('=').is_some_and(|(name, value)| !value.is_empty() && is_secret_name(name));
        let is_secret = is_value || looks_secret(word) || (is_behind_name && !word.is_empty());
        is_behind_name = end == "/" && BEFORE_SECRETS.iter().any(|name| word.eq_ignore_ascii_case(name));
        out.push_str(if is_secret { HIDDEN } else { word });
        out.push_str(end);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> types::Pair {
        types::Pair { name: name.to_owned(), value: value.to_owned() }
    }

    fn asked() -> auth::Request {
        auth::Request {
            action: "play".to_owned(),
            recheck: false,
            client: types::Client {
                session: "7".to_owned(),
                ip: "192.0.2.1".to_owned(),
                port: 4,
                protocol: "hls".to_owned(),
                secure: false,
                user_agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"
                    .to_owned(),
                referer: "https://example.com/watch?token=hunter2hunter2&lang=en".to_owned(),
                token: "hunter2hunter2".to_owned(),
                extra: Vec::new(),
            },
            target: types::Target {
                app: "stream".to_owned(),
                name: "cam".to_owned(),
                params: vec![
                    pair("token", "hunter2hunter2"),
                    pair("Sign", "abc"),
                    pair("expires", "1790000000"),
                    pair("lang", "en"),
                    pair("x", "k3xq-9f2m-w7tz-4hd8-1abc"),
                    pair("v2-1790000000-0123456789abcdef0123456789abcdef", ""),
                ],
                settings: Vec::new(),
                labels: vec![pair("room", "north")],
                extra: Vec::new(),
            },
            viewers: 3,
            extra: Vec::new(),
        }
    }

    #[test]
    fn case_54_secrets_by_name_and_by_shape_do_not_leave_the_process() {
        let (shown, hidden) = request(&asked());
        let text = format!("{shown:?}");
        for secret in ["hunter2", "abc", "k3xq", "0123456789abcdef"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        let expected = [
            "client.token",
            "target.params.token",
            "target.params.Sign",
            "target.params.x",
            "target.params, a name",
            "client.referer",
        ];
        assert_eq!(hidden.places, expected);
        // What is no secret stays: it is what hooks decide by.
        let value = |name: &str| shown.target.params.iter().find(|pair| pair.name == name).unwrap().value.as_str();
        assert_eq!((value("expires"), value("lang")), ("1790000000", "en"));
        assert_eq!(shown.client.user_agent, asked().client.user_agent);
        assert_eq!((shown.target.name.as_str(), shown.target.labels), ("cam", vec![pair("room", "north")]));
        assert!(shown.client.referer.starts_with("https://example.com/watch?"), "{}", shown.client.referer);
    }

    /// The hook that `millstream hook new` makes admits by `ticket=1234`, which has no shape of a secret.
    #[test]
    fn case_54_tickets_are_taken_out_wherever_they_stand() {
        let mut asked = asked();
        asked.target.params = vec![pair("ticket", "1234"), pair("view", "wide")];
        asked.client.referer = "https://example.com/ticket/abcd/watch?a=1&Ticket=98&lang=en".to_owned();
        let (shown, hidden) = request(&asked);
        assert_eq!(shown.target.params, [pair("ticket", HIDDEN), pair("view", "wide")]);
        assert_eq!(shown.client.referer, "https://example.com/ticket/[redacted]/watch?a=1&[redacted]&lang=en");
        assert_eq!(hidden.places, ["client.token", "target.params.ticket", "client.referer"]);
        assert_eq!(hidden.text("ticket 1234 is not right"), "ticket [redacted] is not right");
        assert_eq!(
            hidden.text("this stream needs a ticket; see /ticket/ or /tickets"),
            "this stream needs a ticket; see /ticket/ or /tickets"
        );
    }

    #[test]
    fn case_54_a_hook_that_repeats_a_secret_shows_none() {
        let (_, hidden) = request(&asked());
        assert_eq!(hidden.text("the token hunter2hunter2 is wrong"), "the token [redacted] is wrong");
        let to = hidden.text("redirect to https://example.com/login?next=cam&token=other");
        assert_eq!(to, "redirect to https://example.com/login?next=cam&[redacted]");
    }
}
