//! One value as text: durations, sizes, addresses and the words of choices. The file and the flags read them alike, so that both
//! accept the same and say the same. Every error says what was wrong and what to give instead.
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use millstream_acme::Kind;
use millstream_engine::config::IoChoice;
use millstream_fleet::http::url::{Url, UrlError};
use millstream_hub::config::{FlushPolicy, OnUnpublish, Takeover};
use millstream_policy::scope::Fail;
use millstream_proto::network::Network;

/// Most shards that can be asked for: more threads than any machine that this runs on has cores.
pub(crate) const SHARDS: RangeInclusive<u64> = 1..=256;

/// How many shards to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shards {
    /// One per core that this process may use.
    Auto,
    /// So many.
    Count(usize),
}

/// The chain that decides who may publish and play.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AuthPreset {
    /// Anyone.
    Open,
    /// Signed publish, open play.
    Signed,
}

/// The parts that a process of a fleet can take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Role {
    /// Everything in one process.
    #[default]
    All,
    /// Media only.
    Node,
    /// Control only.
    Control,
}

/// `all`, `node` or `control`.
pub(crate) fn role(text: &str) -> Result<Role, String> {
    choice(text, &[("all", Role::All), ("node", Role::Node), ("control", Role::Control)])
}

/// What a node is called: it is shown, and is part of events' ids.
pub(crate) fn node_name(text: &str) -> Result<String, String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(good) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not a name of a node; give 1 to 64 letters, digits, dots, hyphens and underscores"))
}

/// Where control is. Never quotes what it is given: a URL may hold a password.
pub(crate) fn control_url(text: &str) -> Result<Url, String> {
    text.parse().map_err(|error: UrlError| error.to_string())
}

/// Where an authority is. Its answers decide what this server is certified for: by TLS, or on this machine.
pub(crate) fn directory(text: &str) -> Result<String, String> {
    let url: Url = text.parse().map_err(|error: UrlError| error.to_string())?;
    if !url.secure && !url.is_loopback() {
        return Err("this is not TLS; give the https:// URL of the authority's directory".to_owned());
    }
    Ok(text.to_owned())
}

/// `http-01` or `tls-alpn-01`.
pub(crate) fn challenge(text: &str) -> Result<Kind, String> {
    if text == "dns-01" {
        return Err(
            "dns-01 needs entries in the DNS, which this server does not make; give http-01, tls-alpn-01 or both"
                .to_owned(),
        );
    }
    choice(text, &[("http-01", Kind::Http01), ("tls-alpn-01", Kind::TlsAlpn01)])
}

/// `0.0.0.0:1935`, `[::]:1935`; `:1935` is all IPv4 addresses, as the defaults are, and `localhost:1935` this machine alone.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let advice = "give an IP address and a port, such as 0.0.0.0:1935, :1935, localhost:1935 or [::1]:1935";
    let port = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let named = match text.split_once(':') {
        Some(("", rest)) => port(rest).map(|port| SocketAddr::from(([0, 0, 0, 0], port))),
        Some(("localhost", rest)) => port(rest).map(|port| SocketAddr::from(([127, 0, 0, 1], port))),
        _ => None,
    };
    named.or_else(|| text.parse().ok()).ok_or_else(|| format!("{text:?} is not an address; {advice}"))
}

/// A name that the control port goes by: what is before the port in its URL.
pub(crate) fn host_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'_');
    if name.is_empty() || name.len() > 253 || !name.bytes().all(allowed) {
        return Err(format!(
            "{text:?} is not a name; give one as in the URL, such as stream.example.org, without a port"
        ));
    }
    Ok(name)
}

/// `10.0.0.0/8`, `2001:db8::/32`, or an address alone.
pub(crate) fn network(text: &str) -> Result<Network, String> {
    let advice = "give an address or a network, such as 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32";
    text.parse().map_err(|error| format!("{text:?} is not a network: {error}; {advice}"))
}

/// `auto` or a number.
pub(crate) fn shards(text: &str) -> Result<Shards, String> {
    if text == "auto" {
        return Ok(Shards::Auto);
    }
    match text.parse::<u64>() {
        Ok(count) if SHARDS.contains(&count) => Ok(Shards::Count(count as usize)),
        _ => Err(format!("{text:?} is not a number of shards; give auto, or {} to {}", SHARDS.start(), SHARDS.end())),
    }
}

/// `auto`, `uring` or `epoll`.
pub(crate) fn io(text: &str) -> Result<IoChoice, String> {
    choice(text, &[("auto", IoChoice::Auto), ("uring", IoChoice::Uring), ("epoll", IoChoice::Epoll)])
}

/// Whether the kernel may make TLS records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum KernelChoice {
    /// Where it can.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// `auto` or `off`.
pub(crate) fn kernel(text: &str) -> Result<KernelChoice, String> {
    choice(text, &[("auto", KernelChoice::Auto), ("off", KernelChoice::Off)])
}

/// `open` or `signed`.
pub(crate) fn auth(text: &str) -> Result<AuthPreset, String> {
    choice(text, &[("open", AuthPreset::Open), ("signed", AuthPreset::Signed)])
}

/// `low`, `balanced` or `dense`.
pub(crate) fn flush(text: &str) -> Result<FlushPolicy, String> {
    let choices = [("low", FlushPolicy::Low), ("balanced", FlushPolicy::Balanced), ("dense", FlushPolicy::Dense)];
    choice(text, &choices)
}

/// `wait`, `end` or `slate`.
pub(crate) fn on_unpublish(text: &str) -> Result<OnUnpublish, String> {
    choice(text, &[("wait", OnUnpublish::Wait), ("end", OnUnpublish::End), ("slate", OnUnpublish::Slate)])
}

/// `refuse` or `replace`.
pub(crate) fn takeover(text: &str) -> Result<Takeover, String> {
    choice(text, &[("refuse", Takeover::Refuse), ("replace", Takeover::Replace)])
}

/// What is done where who decides gives no answer.
pub(crate) fn fail(text: &str) -> Result<Fail, String> {
    choice(text, &[Fail::Closed, Fail::Open].map(|fail| (fail_word(fail), fail)))
}

/// Its word.
pub(crate) const fn fail_word(fail: Fail) -> &'static str {
    match fail {
        Fail::Closed => "closed",
        Fail::Open => "open",
    }
}

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// `text` or `json`.
pub(crate) fn log_format(text: &str) -> Result<Format, String> {
    choice(text, &[("text", Format::Text), ("json", Format::Json)])
}

/// One of these words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
    let hint =
        nearest(text, words.iter().copied()).map_or_else(String::new, |word| format!(" (did you mean {word:?}?)"));
    Err(format!("{text:?} is none of the choices{hint}; give {}", words.join(", ")))
}

/// `10s`, `333ms`, `1m 30s`: a number always has its unit.
pub(crate) fn duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let span = format!("{} to {}", show(*range.start()), show(*range.end()));
    let parsed = humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration; give a number and its unit, {span}"))?;
    if range.contains(&parsed) { Ok(parsed) } else { Err(format!("{text:?} is out of range; give {span}")) }
}

fn show(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// `16MiB`, `512KiB`, `65536B`: binary units only, since `MB` means two things.
pub(crate) fn size(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
    let span = format!("{} to {}", show_size(*range.start()), show_size(*range.end()));
    let bytes = UNITS.iter().find_map(|(unit, bytes)| {
        let number = text.strip_suffix(unit)?.trim_end();
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| number.parse::<u64>().ok()?.checked_mul(*bytes))?
    });
    match bytes {
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        Some(_) => Err(format!("{text:?} is out of range; give {span}")),
        None => Err(format!("{text:?} is not a size; give a whole number and its unit (B, KiB, MiB, GiB), {span}")),
    }
}

fn show_size(bytes: u64) -> String {
    match bytes {
        b if b % (1 << 30) == 0 => format!("{}GiB", b >> 30),
        b if b % (1 << 20) == 0 => format!("{}MiB", b >> 20),
        b => format!("{b}B"),
    }
}

/// The word that was probably meant: the one fewest edits away, if these are at most a third of its letters.
pub(crate) fn nearest<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The distance costs time with the square of the length; a key longer than any known one is no misspelling.
    if text.len() > 64 {
        return None;
    }
    let (edits, word) = words.map(|word| (edit_distance(text, word), word)).min_by_key(|(edits, _)| *edits)?;
    (edits <= word.len().div_ceil(3)).then_some(word)
}

/// Levenshtein's distance, one row at a time.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Where a port is reached from outside: a scheme of these, a host and perhaps a port; empty text: nothing is said.
pub(crate) fn public_url(text: &str, schemes: &[&str]) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let example = schemes.first().map_or("https", |scheme| scheme);
    let wrong = || format!("give {example}://HOST or {example}://HOST:PORT, and nothing behind it");
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let named = inner.map_or_else(
        || !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'),
        |six| six.parse::<std::net::Ipv6Addr>().is_ok(),
    );
    let numbered = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if !schemes.contains(&scheme) || !named || !numbered {
        return Err(wrong());
    }
    Ok(Some(format!("{scheme}://{authority}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<u64>| {
            let range = Duration::from_millis(100)..=Duration::from_mins(1);
            assert_eq!(duration(text, &range).ok(), expected.map(Duration::from_millis), "{text}");
        };
        check("333ms", Some(333));
        check("10s", Some(10_000));
        check("1m", Some(60_000));
        check("61s", None);
        check("0s", None);
        check("10", None);
        check("-1s", None);
        check("", None);
        check("1s 500ms", Some(1_500));
        let error = duration("10", &(Duration::from_secs(1)..=Duration::from_hours(1))).unwrap_err();
        assert_eq!(error, "\"10\" is not a duration; give a number and its unit, 1s to 1h");
    }

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(size(text, &(1 << 20..=1 << 30)).ok(), expected, "{text}");
        };
        check("16MiB", Some(16 << 20));
        check("16 MiB", Some(16 << 20));
        check("1GiB", Some(1 << 30));
        check("2048KiB", Some(2 << 20));
        check("1048576B", Some(1 << 20));
        check("2GiB", None);
        check("16MB", None);
        check("16", None);
        check("MiB", None);
        check("-1MiB", None);
        check("99999999999999999999GiB", None);
        check("18446744073709551615GiB", None);
        assert_eq!(size("1KiB", &(1 << 20..=1 << 30)).unwrap_err(), "\"1KiB\" is out of range; give 1MiB to 1GiB");
    }

    #[test]
    fn addresses_of_both_families() {
        assert!(address("0.0.0.0:1935").is_ok() && address("[::]:1935").is_ok() && address("[::1]:0").is_ok());
        assert_eq!(address(":1935").unwrap().to_string(), "0.0.0.0:1935");
        assert_eq!(address("localhost:1935").unwrap().to_string(), "127.0.0.1:1935");
        for bad in [
            "",
            "1935",
            ":",
            ":x",
            ":65536",
            ":+1",
            "localhost",
            "localhost:",
            "example.org:1935",
            "::1:1935x",
            "1.2.3.4",
        ] {
            assert!(address(bad).unwrap_err().contains("give an IP address"), "{bad}");
        }
        assert_eq!(host_name("Stream.Example.org."), Ok("stream.example.org".to_owned()));
        for bad in ["", "a b", "http://a", "a/b", &"a".repeat(254)] {
            assert!(host_name(bad).unwrap_err().contains("give one as in the URL"), "{bad}");
        }
    }

    #[test]
    fn choices() {
        assert_eq!(shards("auto"), Ok(Shards::Auto));
        assert_eq!(shards("2"), Ok(Shards::Count(2)));
        assert!(shards("0").is_err() && shards("257").is_err() && shards("two").is_err());
        assert_eq!(
            auth("singed").unwrap_err(),
            "\"singed\" is none of the choices (did you mean \"signed\"?); give open, signed"
        );
        assert_eq!(flush("x").unwrap_err(), "\"x\" is none of the choices; give low, balanced, dense");
        assert_eq!(io("epoll"), Ok(IoChoice::Epoll));
    }

    #[test]
    fn fleets() {
        assert_eq!(role("node"), Ok(Role::Node));
        assert!(role("nod").unwrap_err().contains("did you mean \"node\""));
        assert!(node_name("edge-1.example_x").is_ok());
        assert!(node_name("").is_err() && node_name("a b").is_err() && node_name(&"x".repeat(65)).is_err());
        assert!(control_url("https://control.example.com/base").is_ok());
        let error = control_url("https://user:hush@control.example.com").unwrap_err();
        assert!(error.contains("password") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn nearest_words() {
        let check =
            |text: &str, expected| assert_eq!(nearest(text, ["lag_skips", "log_max", "id"].into_iter()), expected);
        check("lag_skip", Some("lag_skips"));
        check("logmax", Some("log_max"));
        check("LAG_SKIPS", None);
        check("window", None);
        check(&"x".repeat(100_000), None);
    }
}
