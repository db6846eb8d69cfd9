//! The PROXY protocol, versions 1 and 2 (haproxy.org, "The PROXY protocol", section 2): what a proxy in front of us says of a
//! connection before the client's own first byte. Before it: the first bytes from a source that the configuration trusts; after
//! it: the session goes by the address that stands here.
//!
//! Of what may follow the addresses (TLVs) one thing is read: whether the client's connection to the proxy has TLS.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::cursor::{Cursor, Truncated};
use crate::limits::PROXY_HEADER_BYTES_MAX;

/// What a header begins with: no protocol's first bytes.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// What a header of version 1, a line of text, begins with.
const TEXT_SIGNATURE: &[u8] = b"PROXY ";
/// Longest header of version 1, its line end included (section 2.1).
const TEXT_BYTES_MAX: usize = 107;
/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;
/// The TLV of TLS, and the bit in its first byte that says that the client's connection has it (section 2.2.6: `PP2_TYPE_SSL`, `PP2_CLIENT_SSL`).
const TLV_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;

/// Whom the connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The proxy itself, such as its health checks.
    Local,
    /// A client at this address.
    Client(SocketAddr),
    /// A client whose address is none of IP.
    Unknown,
}

/// Outcome of [`parse`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// The header is not complete yet, and nothing is wrong so far.
    Partial,
    /// A whole header.
    Complete {
        /// Whom the connection is for.
        source: Source,
        /// The client's connection to the proxy has TLS, as the proxy says; most say nothing of it.
        secure: bool,
        /// Bytes that the header took; what follows is the client's.
        header_bytes: usize,
    },
}

/// Bytes that are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// They begin otherwise.
    #[error("the connection does not begin with a PROXY protocol header; does the proxy send it?")]
    Signature,
    /// Another version, or an unknown command.
    #[error("PROXY protocol: unknown version or command {0:#04x}")]
    Command(u8),
    /// An address family or transport that is unknown, or no stream.
    #[error("PROXY protocol: unknown address family or transport {0:#04x}")]
    Family(u8),
    /// A line of version 1 that is none.
    #[error("PROXY protocol: the line of version 1 is not one")]
    Line,
    /// Longer than [`PROXY_HEADER_BYTES_MAX`].
    #[error("PROXY protocol: header of {0} bytes is too long")]
    Long(usize),
    /// Shorter than the addresses that it says it has.
    #[error("PROXY protocol: header too short for its addresses")]
    Short,
}

impl ProxyError {
    /// A fixed name for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Signature => "proxy_signature",
            Self::Command(_) => "proxy_command",
            Self::Family(_) => "proxy_family",
            Self::Line => "proxy_line",
            Self::Long(_) => "proxy_header_bytes_max",
            Self::Short => "proxy_header_short",
        }
    }
}

impl From<Truncated> for ProxyError {
    fn from(_: Truncated) -> Self {
        Self::Short
    }
}

/// Reads the header at the front of `bytes`. What is wrong is told as soon as it is there.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    if !bytes.is_empty() && bytes.iter().zip(TEXT_SIGNATURE).all(|(is, should)| is == should) {
        return text(bytes);
    }
    if bytes.iter().zip(&SIGNATURE).any(|(is, should)| is != should) {
        return Err(ProxyError::Signature);
    }
    let Some(rest) = bytes.get(SIGNATURE.len()..) else { return Ok(Parsed::Partial) };
    let local = match rest.first() {
        None => return Ok(Parsed::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(&other) => return Err(ProxyError::Command(other)),
    };
    let mut cursor = Cursor::new(bytes);
    let (Ok(()), Ok(family), Ok(length)) = (cursor.skip(SIGNATURE.len() + 1), cursor.u8(), cursor.u16()) else {
        return Ok(Parsed::Partial);
    };
    let header_bytes = FIXED_BYTES + usize::from(length);
    if header_bytes > PROXY_HEADER_BYTES_MAX {
        return Err(ProxyError::Long(header_bytes));
    }
    let Some(addresses) = bytes.get(FIXED_BYTES..header_bytes) else { return Ok(Parsed::Partial) };
    // What a proxy says of itself is passed over, whatever it is (section 2.2: "must discard").
    let (source, secure) =
        if local { (Source::Local, false) } else { (source(family, addresses)?, is_secure(family, addresses)) };
    Ok(Parsed::Complete { source, secure, header_bytes })
}

/// Reads a header of version 1: `PROXY TCP4 192.0.2.1 198.51.100.7 1000 1935` and a line end.
fn text(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let window = bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < TEXT_BYTES_MAX { Ok(Parsed::Partial) } else { Err(ProxyError::Line) };
    };
    let line = window.get(..end).and_then(|line| std::str::from_utf8(line).ok()).ok_or(ProxyError::Line)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    let source = if family == "UNKNOWN" {
        Source::Unknown
    } else {
        let from: IpAddr = words.next().and_then(|ip| ip.parse().ok()).ok_or(ProxyError::Line)?;
        let to: IpAddr = words.next().and_then(|ip| ip.parse().ok()).ok_or(ProxyError::Line)?;
        let ports: Option<Vec<u16>> = words.map(|port| port.parse().ok()).collect();
        let right = match family {
            "TCP4" => from.is_ipv4() && to.is_ipv4(),
            "TCP6" => from.is_ipv6() && to.is_ipv6(),
            _ => false,
        };
        match ports.as_deref() {
            Some(&[port, _]) if right => Source::Client((from.to_canonical(), port).into()),
            _ => return Err(ProxyError::Line),
        }
    };
    Ok(Parsed::Complete { source, secure: false, header_bytes: end + 2 })
}

fn source(family: u8, addresses: &[u8]) -> Result<Source, ProxyError> {
    let mut cursor = Cursor::new(addresses);
    Ok(match family {
        // AF_UNSPEC with any transport, and a UNIX socket's stream.
        0x00..=0x02 | 0x31 => Source::Unknown,
        0x11 => {
            let (ip, _to) = (Ipv4Addr::from(cursor.array::<4>()?), cursor.array::<4>()?);
            let (port, _to) = (cursor.u16()?, cursor.u16()?);
            Source::Client((ip, port).into())
        }
        0x21 => {
            let (ip, _to) = (Ipv6Addr::from(cursor.array::<16>()?), cursor.array::<16>()?);
            let (port, _to) = (cursor.u16()?, cursor.u16()?);
            Source::Client((ip.to_canonical(), port).into())
        }
        other => return Err(ProxyError::Family(other)),
    })
}

/// Whether the TLVs behind the addresses say that the client's connection has TLS. What is no list of TLVs says nothing.
fn is_secure(family: u8, body: &[u8]) -> bool {
    let addresses_bytes = match family {
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return false,
    };
    let mut rest = body.get(addresses_bytes..).unwrap_or_default();
    while let [kind, high, low, behind @ ..] = rest {
        let Some((value, next)) = behind.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))) else {
            return false;
        };
        if *kind == TLV_SSL {
            return value.first().is_some_and(|client| client & CLIENT_SSL != 0);
        }
        rest = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        [&SIGNATURE, &[command, family][..], &(body.len() as u16).to_be_bytes(), body].concat()
    }

    /// 192.0.2.1:1000 to 198.51.100.7:1935.
    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0x03, 0xE8, 0x07, 0x8F];

    #[track_caller]
    fn check(bytes: &[u8], source: Source, header_bytes: usize) {
        assert_eq!(parse(bytes), Ok(Parsed::Complete { source, secure: false, header_bytes }));
    }

    #[test]
    fn a_proxy_that_has_tls_may_say_so() {
        let says = |command: u8, family: u8, body: &[&[u8]]| {
            let Ok(Parsed::Complete { secure, .. }) = parse(&header(command, family, &body.concat())) else {
                panic!("no header")
            };
            secure
        };
        // Who checked a client's certificate says more; behind it may be the version, and other TLVs before and after it.
        let tls: [u8; 8] = [0x20, 0, 5, 0x01, 0, 0, 0, 0];
        let alpn: [u8; 5] = [0x01, 0, 2, b'h', b'2'];
        assert!(says(0x21, 0x11, &[&V4, &tls]));
        assert!(says(0x21, 0x11, &[&V4, &alpn, &tls, &alpn]));
        assert!(says(0x21, 0x21, &[&[0; 36], &tls]));
        assert!(says(0x21, 0x31, &[&[0; 216], &tls]));
        assert!(says(0x21, 0x11, &[&V4, &[0x20, 0, 5, 0x07, 0, 0, 0, 0]]));
        // Its connection has none; the proxy's own; cut off; not where TLVs are.
        assert!(!says(0x21, 0x11, &[&V4, &[0x20, 0, 5, 0x06, 0, 0, 0, 0]]));
        assert!(!says(0x20, 0x11, &[&V4, &tls]));
        for end in 0..tls.len() {
            assert!(!says(0x21, 0x11, &[&V4, &tls[..end]]), "{end}");
        }
        assert!(!says(0x21, 0x11, &[&V4, &[0x20, 0, 0]]));
        assert!(!says(0x21, 0x00, &[&tls]));
        assert!(!says(0x21, 0x11, &[&V4, &[0x04, 0, 9], &tls]));
    }

    #[test]
    fn clients_of_both_families_and_local() {
        let client = |text: &str| Source::Client(text.parse().unwrap());
        check(&header(0x21, 0x11, &V4), client("192.0.2.1:1000"), 28);
        // TLVs behind the addresses, and what the client says.
        let long = header(0x21, 0x11, &[&V4[..], &[4, 0, 1, 0]].concat());
        check(&[&long[..], b"\x03rtmp"].concat(), client("192.0.2.1:1000"), 32);
        let v6 = |text: &str| {
            let ip = text.parse::<Ipv6Addr>().unwrap().octets();
            header(0x21, 0x21, &[&ip[..], &[0; 16], &[0, 80, 0, 81]].concat())
        };
        check(&v6("2001:db8::5"), client("[2001:db8::5]:80"), 52);
        check(&v6("::ffff:192.0.2.9"), client("192.0.2.9:80"), 52);
        check(&header(0x20, 0x00, &[]), Source::Local, 16);
        check(&header(0x20, 0xFF, b"whatever"), Source::Local, 24);
        check(&header(0x21, 0x00, b"whatever"), Source::Unknown, 24);
        check(&header(0x21, 0x31, &[0; 216]), Source::Unknown, 232);
    }

    #[test]
    fn version_1_is_a_line() {
        let client = |text: &str| Source::Client(text.parse().unwrap());
        check(b"PROXY TCP4 192.0.2.1 198.51.100.7 1000 1935\r\nGET /", client("192.0.2.1:1000"), 45);
        check(b"PROXY TCP6 2001:db8::5 ::1 80 81\r\n", client("[2001:db8::5]:80"), 34);
        check(b"PROXY UNKNOWN\r\n", Source::Unknown, 15);
        check(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n\x03", Source::Unknown, 35);
        let whole = b"PROXY TCP4 192.0.2.1 198.51.100.7 1000 1935\r\n";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Ok(Parsed::Partial), "{end}");
        }
        for line in [
            "TCP4 192.0.2.1 198.51.100.7 1000",
            "TCP4 192.0.2.1 198.51.100.7 1000 1935 7",
            "TCP4 ::1 ::1 1 2",
            "TCP6 192.0.2.1 192.0.2.2 1 2",
            "TCP4 192.0.2.1 198.51.100.7 1000 99999",
            "TCP4 a b 1 2",
            "TCP9 ::1 ::1 1 2",
            "",
            "TCP4  192.0.2.1 198.51.100.7 1 2",
        ] {
            assert_eq!(parse(format!("PROXY {line}\r\n").as_bytes()), Err(ProxyError::Line), "{line}");
        }
        assert_eq!(parse(format!("PROXY UNKNOWN {}", "x".repeat(100)).as_bytes()), Err(ProxyError::Line));
        assert_eq!(parse(b"PROXX"), Err(ProxyError::Signature));
    }

    #[test]
    fn every_beginning_is_partial() {
        let whole = header(0x21, 0x11, &V4);
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Ok(Parsed::Partial), "{end}");
        }
    }

    #[test]
    fn what_is_no_header_is_told_at_once() {
        assert_eq!(parse(b"\x03"), Err(ProxyError::Signature));
        assert_eq!(parse(b"\r\n\r\n\0\r\nQUIX"), Err(ProxyError::Signature));
        for command in [0x00, 0x11, 0x22, 0x31] {
            assert_eq!(parse(&[&SIGNATURE, &[command][..]].concat()), Err(ProxyError::Command(command)));
        }
        for family in [0x03, 0x10, 0x12, 0x22, 0x30, 0x32, 0x41, 0xFF] {
            assert_eq!(parse(&header(0x21, family, &[0; 216])), Err(ProxyError::Family(family)));
        }
        assert_eq!(parse(&header(0x21, 0x11, &V4[..11])), Err(ProxyError::Short));
        assert_eq!(parse(&header(0x21, 0x21, &[0; 35])), Err(ProxyError::Short));
        let long = header(0x21, 0x11, &vec![0; PROXY_HEADER_BYTES_MAX]);
        assert_eq!(parse(&long[..FIXED_BYTES]), Err(ProxyError::Long(PROXY_HEADER_BYTES_MAX + FIXED_BYTES)));
        let most = header(0x21, 0x11, &vec![0; PROXY_HEADER_BYTES_MAX - FIXED_BYTES]);
        assert!(matches!(parse(&most), Ok(Parsed::Complete { header_bytes: PROXY_HEADER_BYTES_MAX, .. })));
    }
}
