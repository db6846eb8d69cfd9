//! Names that may be secrets in the wrong field: who types a key, a signature or a token where a stream's name or an application belongs
//! is refused, and what was typed must not go on into a log, an event or a history. Told by shape, since nobody knows what it is.
//!
//! Before it: a name that belongs to no stream; after it: whatever repeats names. Over-careful on purpose: a name that is taken for a
//! secret costs a worse message, a secret that is taken for a name costs a new secret. Names of this product's own making (UUIDs) pass.
use std::fmt;

use crate::sign::parse_expiry;

/// What is shown in a secret's place.
const SHOWN: &str = "[hidden: it looks like a key]";
/// Words before a `=` behind which secrets stand in URLs.
const SECRET_PARAMETERS: [&str; 9] =
    ["sign=", "key=", "token=", "pass=", "password=", "auth=", "secret=", "pwd=", "psk="];
/// How tokens of this product and of services that people stream to begin.
const PREFIXES: [&str; 7] = ["mst_", "v2-", "live_", "sk_", "sk-", "rtmp_", "FB-"];
/// Characters from which on a mixture of letters and digits is no word.
const MIXTURE_CHARS: usize = 20;
/// Hexadecimal digits in a row from which on they are a digest or a key.
const HEX_CHARS: usize = 24;

/// Whether a name has the shape of a key, a signature or a token.
pub fn looks_secret(name: &str) -> bool {
    if is_uuid(name) {
        return false;
    }
    let lower = name.to_ascii_lowercase();
    SECRET_PARAMETERS.iter().any(|parameter| lower.contains(parameter))
        || PREFIXES.iter().any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| rest.len() >= MIXTURE_CHARS))
        || name
            .split_once('-')
            .is_some_and(|(expiry, rest)| expiry.len() >= 9 && parse_expiry(expiry).is_some() && rest.len() >= 16)
        || has_hex_run(name)
        || is_grouped_key(name)
        || is_mixture(name)
}

/// A name for a log, an event or an answer: itself, unless it has the shape of a secret.
pub fn name(name: &str) -> Redacted<'_> {
    Redacted(name)
}

/// See [`name`].
#[derive(Clone, Copy)]
pub struct Redacted<'a>(&'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if looks_secret(self.0) { SHOWN } else { self.0 })
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 8-4-4-4-12 hexadecimal digits: what the API calls streams.
fn is_uuid(name: &str) -> bool {
    let groups: Vec<&str> = name.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn has_hex_run(name: &str) -> bool {
    let runs = name.split(|c: char| !c.is_ascii_hexdigit());
    // Digits alone are a number, such as a time; letters alone a word.
    let mixed = |run: &str| run.bytes().any(|b| b.is_ascii_digit()) && run.bytes().any(|b| b.is_ascii_alphabetic());
    runs.into_iter().any(|run| run.len() >= HEX_CHARS && mixed(run))
}

/// Groups of four as in `abcd-1234-ef5h-7jkl`: the stream keys of a large service.
fn is_grouped_key(name: &str) -> bool {
    let groups: Vec<&str> = name.split('-').collect();
    let of_four = groups.iter().all(|group| group.len() == 4 && group.bytes().all(|b| b.is_ascii_alphanumeric()));
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let letters = name.bytes().filter(u8::is_ascii_alphabetic).count();
    groups.len() >= 4 && of_four && digits >= 2 && letters >= 2
}

/// Whether letters of both cases and digits, or small letters and digits, alternate as they do in random text and not in words.
fn is_mixture(name: &str) -> bool {
    let class = |b: u8| match b {
        b'A'..=b'Z' => 1,
        b'a'..=b'z' => 2,
        b'0'..=b'9' => 3,
        _ => 0,
    };
    let classes: Vec<u8> = name.bytes().map(class).collect();
    let (mut neighbours, mut changes) = (0, 0);
    for (before, after) in classes.iter().zip(classes.iter().skip(1)) {
        if *before != 0 && *after != 0 {
            neighbours += 1;
            changes += usize::from(before != after);
        }
    }
    let has = |wanted| classes.contains(&wanted);
    // Of random characters 0.62 and 0.40 change their class to the next one; of words with capitals and numbers up to 0.3.
    let needed = match (has(1) && has(2), has(3)) {
        (true, true) => neighbours / 3,
        (false, true) => neighbours * 8 / 25,
        _ => return false,
    };
    name.len() >= MIXTURE_CHARS && neighbours > 0 && changes >= needed.max(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;
    use crate::sign::{Action, Claim, MasterKey, legacy, v2};

    #[test]
    fn case_54_what_this_product_makes_is_recognised() {
        let (app, id) = (Id::new("stream").unwrap(), Id::new("cam1").unwrap());
        for seed in 0..=255 {
            let master = MasterKey::new([seed; 32]);
            let secret = master.stream_secret(&id, 1);
            let claim = Claim { action: Action::Publish, app: &app, id: &id };
            let v2 = v2::sign(claim, 1_790_000_000, &secret);
            let legacy = legacy::sign(&app, &id, 1_790_000_000, &secret);
            let (_, md5) = legacy.expose().split_once('-').unwrap();
            let mac = v2.expose().splitn(3, '-').nth(2).unwrap().to_owned();
            let token = format!("mst_0123456789abcdef_{}", secret.expose());
            for text in [v2.expose(), legacy.expose(), md5, &mac, secret.expose(), &token] {
                assert!(looks_secret(text), "{text} of {seed}");
                assert_eq!(name(text).to_string(), SHOWN);
            }
        }
    }

    #[test]
    fn case_54_keys_of_others_are_recognised_and_names_pass() {
        for key in [
            "sign=1-a",
            "cam1&Token=x",
            "id?pass=100%",
            "live_123456789_AbCdEfGhIjKlMnOpQrStUvWxYz0123",
            "k3xq-9f2m-w7tz-4hd8-1abc",
            "9f86d081884c7d659a2feaa0c55ad015",
            "X7tq2LmZ90aVbK4eRu1P",
            "a8f3k2m9x4q7w1z6t5b0c3",
            "1790000000-0123456789abcdef0123456789abcdef",
        ] {
            assert!(looks_secret(key), "{key}");
        }
        for name in [
            "cam1",
            "lobby",
            "98724e64-bcd1-4887-af4a-60be440709aa",
            "studio-a_main",
            "Camera1-FrontEntrance-NorthWing-2024",
            "cam-2027-01-01-1200",
            "channel_one_hd_1080p60",
            "EntranceHallNorthDoorCamera",
            "20270101120000",
            "stream",
            "wait-192_0_2_1_1-0",
            "building-12-floor-03-room-117",
            "v2-test",
            "live_studio",
        ] {
            assert!(!looks_secret(name), "{name}");
            assert_eq!(super::name(name).to_string(), name);
        }
        assert!(!looks_secret(""));
    }
}
