//! Whom a request is for that a proxy passes on: `Forwarded` (RFC 7239) and `X-Forwarded-For`. Before it: [`super::request`] has kept these
//! headers as they stand; after it: limits, the log and the API go by the address that stands here.
//!
//! Each proxy appends whom it got a request from, so the lists are read from the right. A hop counts as long as the one to its right is
//! trusted: what stands further to the left may be anybody's invention.
use std::net::{IpAddr, SocketAddr};

/// Hops of one list that are looked at.
const HOPS_MAX: usize = 32;

/// The headers of a request that say whom it is for, as they stand; the lines of one name joined by commas.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Forwarded {
    /// `Forwarded`.
    pub standard: Option<String>,
    /// `X-Forwarded-For`.
    pub x_forwarded_for: Option<String>,
    /// `X-Forwarded-Proto`.
    pub x_forwarded_proto: Option<String>,
}

impl Forwarded {
    /// Whether the client's connection to the proxies is encrypted, as the nearest one says: of several values the last one counts, and where both headers
    /// say something, both must say so. A proxy that sets one of them may pass on what a client put into the other.
    pub fn is_secure(&self) -> bool {
        let standard = self.standard.as_deref().and_then(|text| {
            split(split(text, ',').last()?, ';').into_iter().find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case("proto").then(|| value.trim().trim_matches('"'))
            })
        });
        let other = self.x_forwarded_proto.as_deref().and_then(|text| text.rsplit(',').next()).map(str::trim);
        let is_encrypted = |scheme: &str| ["https", "wss"].iter().any(|one| scheme.eq_ignore_ascii_case(one));
        match (standard, other) {
            (Some(one), Some(other)) => is_encrypted(one) && is_encrypted(other),
            (one, other) => one.or(other).is_some_and(is_encrypted),
        }
    }

    /// Whom a request is for that came from `peer`, a proxy that is trusted: the first hop from the right that is not. The peer itself where
    /// the headers say nothing, nonsense, or different things: a proxy that sets one of them may pass on what a client put into the other.
    pub fn client(&self, peer: SocketAddr, is_trusted: impl Fn(IpAddr) -> bool) -> SocketAddr {
        let walk = |hops: &mut dyn Iterator<Item = Option<SocketAddr>>| {
            let mut known = peer;
            for hop in hops.take(HOPS_MAX) {
                // Unknown, hidden or garbage: the proxy that said so is all that is known.
                let Some(hop) = hop else { break };
                known = hop;
                if !is_trusted(hop.ip()) {
                    break;
                }
            }
            known
        };
        let standard = self.standard.as_deref().map(|text| walk(&mut split(text, ',').into_iter().rev().map(for_of)));
        let other = self.x_forwarded_for.as_deref().map(|text| walk(&mut text.rsplit(',').map(|hop| node(hop.trim()))));
        match (standard, other) {
            (Some(client), None) | (None, Some(client)) => client,
            // A port may stand in one of them only.
            (Some(one), Some(other)) if one.ip() == other.ip() => {
                if one.port() == 0 {
                    other
                } else {
                    one
                }
            }
            (Some(_), Some(_)) | (None, None) => peer,
        }
    }
}

/// Splits at a separator outside of quotes (RFC 7239, section 4). What ends inside of quotes has no parts that can be told apart: a client that
/// opens them would hide what proxies append.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => {
                parts.push(text.get(from..at).unwrap_or_default());
                from = at + c.len_utf8();
            }
            _ => {}
        }
    }
    if quoted {
        return vec![""];
    }
    parts.push(text.get(from..).unwrap_or_default());
    parts
}

/// The address of an element's `for` parameter.
fn for_of(element: &str) -> Option<SocketAddr> {
    split(element, ';').into_iter().find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| node(value.trim()))
    })?
}

/// An address as proxies write it: with or without a port, IPv6 with or without brackets, in quotes or not. Port 0 where there is none.
fn node(text: &str) -> Option<SocketAddr> {
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let with = |ip: IpAddr, port: u16| Some(SocketAddr::new(ip.to_canonical(), port));
    if let Ok(ip) = text.parse::<IpAddr>() {
        return with(ip, 0);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return with(address.ip(), address.port());
    }
    let (ip, rest) = text.strip_prefix('[')?.split_once(']')?;
    // An obfuscated port (`_x`) is none.
    (rest.is_empty() || rest.starts_with(':')).then_some(())?;
    with(IpAddr::V6(ip.parse().ok()?), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    #[track_caller]
    fn check(standard: &[&str], x: &[&str], expected: &str) {
        let trusted: Vec<Network> = ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().unwrap()).collect();
        let joined = |lines: &[&str]| (!lines.is_empty()).then(|| lines.join(", "));
        let headers = Forwarded { standard: joined(standard), x_forwarded_for: joined(x), x_forwarded_proto: None };
        let client = headers.client("10.0.0.1:443".parse().unwrap(), |ip| trusted.iter().any(|net| net.contains(ip)));
        let shown = if client.port() == 0 { client.ip().to_string() } else { client.to_string() };
        assert_eq!(shown, expected, "{standard:?} {x:?}");
    }

    #[test]
    fn an_encrypted_connection_is_what_the_nearest_proxy_says() {
        let check = |standard: Option<&str>, other: Option<&str>, expected: bool| {
            let headers = Forwarded {
                standard: standard.map(str::to_owned),
                x_forwarded_proto: other.map(str::to_owned),
                ..Forwarded::default()
            };
            assert_eq!(headers.is_secure(), expected, "{standard:?} {other:?}");
        };
        check(None, None, false);
        check(None, Some("https"), true);
        check(None, Some("HTTPS"), true);
        check(None, Some("https, http"), false);
        check(None, Some("http, https"), true);
        check(Some("for=192.0.2.1;proto=https"), None, true);
        check(Some("for=192.0.2.1; Proto=\"https\";by=203.0.113.1"), None, true);
        check(Some("for=\"a;proto=https\""), None, false);
        check(Some("for=192.0.2.1;proto=http"), Some("https"), false);
        check(Some("proto=https"), Some("http"), false);
        check(Some("proto=https, for=192.0.2.1"), None, false);
        check(Some("for=192.0.2.1"), Some("https"), true);
    }

    #[test]
    fn case_55_the_first_hop_from_the_right_that_is_not_trusted() {
        check(&[], &[], "10.0.0.1:443");
        check(&[], &["192.0.2.1"], "192.0.2.1");
        check(&[], &["203.0.113.9, 192.0.2.1"], "192.0.2.1");
        check(&[], &["192.0.2.1, 10.0.0.7"], "192.0.2.1");
        check(&[], &["6.6.6.6, 192.0.2.1,10.0.0.7 ,  10.0.0.8"], "192.0.2.1");
        check(&[], &["6.6.6.6", "192.0.2.1"], "192.0.2.1");
        check(&[], &["10.0.0.9, 10.0.0.8"], "10.0.0.9");
        check(&["for=192.0.2.1"], &[], "192.0.2.1");
        check(
            &["for=6.6.6.6, For=\"192.0.2.1:47011\";proto=https;by=203.0.113.43", "for=10.1.1.1"],
            &[],
            "192.0.2.1:47011",
        );
        check(&["proto=https;for=192.0.2.1"], &["192.0.2.1:5"], "192.0.2.1:5");
    }

    #[test]
    fn case_55_ports_ipv6_quotes_and_garbage() {
        check(&[], &["192.0.2.1:4711"], "192.0.2.1:4711");
        check(&[], &["2001:db8::1"], "2001:db8::1");
        check(&[], &["[2001:db8::1]"], "2001:db8::1");
        check(&[], &["[2001:db8::1]:80, fd00::2"], "[2001:db8::1]:80");
        check(&[], &["::ffff:192.0.2.7"], "192.0.2.7");
        check(&["for=\"[2001:db8:cafe::17]:4711\""], &[], "[2001:db8:cafe::17]:4711");
        check(&["for=\"[2001:db8::1]:_hidden\""], &[], "2001:db8::1");
        check(&["for=\"192.0.2.1\";ext=\"a,b;for=6.6.6.6\""], &[], "192.0.2.1");
        // What is nonsense ends the pipeline at the last address that is known.
        for nonsense in
            ["unknown", "_gazonk", "", "  ", "1.2.3", "999.1.1.1", "[::1", "x]", "<script>", "192.0.2.1:99999", "é"]
        {
            check(&[], &[nonsense], "10.0.0.1:443");
            check(&[], &[&format!("192.0.2.1, {nonsense}, 10.0.0.4")], "10.0.0.4");
            check(&[&format!("for={nonsense}")], &[], "10.0.0.1:443");
        }
        check(&["for"], &[], "10.0.0.1:443");
        check(&["by=192.0.2.1"], &[], "10.0.0.1:443");
        check(&["for=\"192.0.2.1"], &[], "10.0.0.1:443");
        check(&["for=6.6.6.6;x=\"", "for=192.0.2.1"], &[], "10.0.0.1:443");
        // One header is the proxy's, the other one the client's invention: neither is believed.
        check(&["for=6.6.6.6"], &["192.0.2.1"], "10.0.0.1:443");
        let many = "10.0.0.2, ".repeat(100);
        check(&[], &[&format!("192.0.2.1, {many} 10.0.0.3")], "10.0.0.2");
    }
}
