//! Where a stream is pushed to on another server: `rtmp://` and `rtmps://` addresses as services show them beside a stream key. Before it: a
//! record's `relayURL`; after it: [`super::client`], and whoever connects.
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::client::{ClientConfig, ClientRole};
use crate::limits::{RELAYS_MAX, STREAM_KEY_BYTES_MAX};
use crate::secret::Secret;

/// Chunk size of what is pushed on, bytes: what encoders use.
const CHUNK_BYTES: usize = 60_000;
const PORT: u16 = 1935;
const PORT_TLS: u16 = 443;

/// An address that a stream can be pushed to. `Debug` and `Display` leave the stream key out.
#[derive(Clone, PartialEq, Eq)]
pub struct PushAddress {
    /// By TLS.
    pub secure: bool,
    /// A name, or an address without brackets.
    pub host: String,
    /// The port, written or not: 1935, and 443 with TLS.
    pub port: u16,
    /// The application: all of the path but its last piece.
    pub app: String,
    /// The last piece with the query: the stream key.
    pub key: Secret,
}

/// Text that is no such address. Never holds the text, which has a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// More than [`STREAM_KEY_BYTES_MAX`].
    #[error("the address has {0} bytes; at most {STREAM_KEY_BYTES_MAX} are allowed")]
    Long(usize),
    /// Another scheme, or none.
    #[error("the address begins with neither rtmp:// nor rtmps://")]
    Scheme,
    /// A blank or a control character.
    #[error("the address has a blank or a control character")]
    Character,
    /// Name and password before the host.
    #[error("the address holds a name or a password before its host; leave them out")]
    Userinfo,
    /// No host, or what cannot be one.
    #[error("the address has no host that can be looked up")]
    Host,
    /// A port that is no number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Fewer than two pieces of a path.
    #[error("give application and stream key: rtmp://HOST/APPLICATION/KEY")]
    Path,
    /// More addresses than a stream may have.
    #[error("{0} addresses; at most {RELAYS_MAX} are allowed")]
    Many(usize),
    /// The same place twice: the second publisher would end the first.
    #[error("an address is there twice")]
    Twice,
}

impl FromStr for PushAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > STREAM_KEY_BYTES_MAX {
            return Err(AddressError::Long(text.len()));
        }
        let (secure, rest) = if let Some(rest) = text.strip_prefix("rtmps://") {
            (true, rest)
        } else {
            (false, text.strip_prefix("rtmp://").ok_or(AddressError::Scheme)?)
        };
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(AddressError::Character);
        }
        let (authority, path) = rest.split_once('/').ok_or(AddressError::Path)?;
        if authority.contains('@') {
            return Err(AddressError::Userinfo);
        }
        let (host, port) = authority_parts(authority)?;
        let port = port.unwrap_or(if secure { PORT_TLS } else { PORT });
        // A query may have slashes.
        let (names, query) = path.split_once('?').map_or((path, None), |(names, query)| (names, Some(query)));
        let (app, key) = names.rsplit_once('/').ok_or(AddressError::Path)?;
        if app.trim_matches('/').is_empty() || key.is_empty() {
            return Err(AddressError::Path);
        }
        let key = query.map_or_else(|| key.to_owned(), |query| format!("{key}?{query}"));
        Ok(Self { secure, host: host.to_owned(), port, app: app.to_owned(), key: Secret::new(key) })
    }
}

/// Host without brackets, and the port where one is written.
fn authority_parts(authority: &str) -> Result<(&str, Option<u16>), AddressError> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(AddressError::Host)?)),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_host =
        host.parse::<IpAddr>().is_ok() || (!host.is_empty() && host.len() <= 253 && host.bytes().all(of_name));
    if !is_host {
        return Err(AddressError::Host);
    }
    let port = port.map(|port| port.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port)).transpose()?;
    Ok((host, port))
}

impl PushAddress {
    /// Reads addresses with commas between; none of an empty text.
    pub fn list(text: &str) -> Result<Vec<Self>, AddressError> {
        let texts: Vec<&str> = text.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
        if texts.len() > RELAYS_MAX {
            return Err(AddressError::Many(texts.len()));
        }
        let addresses = texts.into_iter().map(str::parse).collect::<Result<Vec<Self>, _>>()?;
        let is_twice = |(at, address)| addresses.iter().take(at).any(|before| before == address);
        if addresses.iter().enumerate().any(is_twice) {
            return Err(AddressError::Twice);
        }
        Ok(addresses)
    }

    /// Whom to ask for what.
    pub fn client_config(&self) -> ClientConfig {
        ClientConfig {
            app: self.app.clone(),
            tc_url: Secret::new(format!("{}/{}", self.server(), self.app)),
            stream: self.key.clone(),
            role: ClientRole::Publish,
            chunk_size: CHUNK_BYTES,
        }
    }

    /// Scheme, host and port.
    fn server(&self) -> String {
        let scheme = if self.secure { "rtmps" } else { "rtmp" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.secure { PORT_TLS } else { PORT };
        if self.port == usual { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{}", self.port) }
    }
}

/// For people: without the stream key.
impl fmt::Display for PushAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Some services have the key in front of another name: of the application no more than its first piece is told.
        let app = self.app.split('/').next().unwrap_or_default();
        write!(f, "{}/{app}/***", self.server())
    }
}

impl fmt::Debug for PushAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> PushAddress {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_are_read_as_services_show_them() {
        let plain = read("rtmp://live.example.org/app/live_1_abc?bandwidthtest=true");
        assert_eq!((plain.secure, &*plain.host, plain.port, &*plain.app), (false, "live.example.org", 1935, "app"));
        assert_eq!(plain.key.expose(), "live_1_abc?bandwidthtest=true");
        let secure = read("rtmps://live-api-s.example.org:443/rtmp/FB-1?s_sw=0&a=b/c");
        assert_eq!((secure.secure, secure.port, secure.key.expose()), (true, 443, "FB-1?s_sw=0&a=b/c"));
        let deep = read("rtmp://10.0.0.1:19350/live/inst/key");
        assert_eq!((&*deep.app, deep.key.expose(), deep.port), ("live/inst", "key", 19350));
        let six = read("rtmp://[::1]:1935/live/key");
        assert_eq!((&*six.host, six.client_config().tc_url.expose()), ("::1", "rtmp://[::1]/live"));
        assert_eq!(read("rtmps://h/a/k").client_config().tc_url.expose(), "rtmps://h/a");
    }

    #[test]
    fn what_is_shown_has_no_key() {
        for shown in [format!("{:?}", read("rtmp://h:1/a/b/hush?t=hush")), read("rtmp://h:1/a/b/hush").to_string()] {
            assert_eq!(shown, "rtmp://h:1/a/***");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_for_its_reason() {
        let check = |text: &str, error| assert_eq!(text.parse::<PushAddress>(), Err(error), "{text}");
        check("http://h/a/k", AddressError::Scheme);
        check("", AddressError::Scheme);
        check("rtmp://h/a/k k", AddressError::Character);
        check("rtmp://h/a/k\r\nx", AddressError::Character);
        check("rtmp://user:word@h/a/k", AddressError::Userinfo);
        check("rtmp:///a/k", AddressError::Host);
        check("rtmp://[::1/a/k", AddressError::Host);
        check("rtmp://[::1]x/a/k", AddressError::Host);
        check("rtmp://h^/a/k", AddressError::Host);
        check("rtmp://h:0/a/k", AddressError::Port);
        check("rtmp://h:70000/a/k", AddressError::Port);
        check("rtmp://h:/a/k", AddressError::Port);
        check("rtmp://h", AddressError::Path);
        check("rtmp://h/a", AddressError::Path);
        check("rtmp://h/a/", AddressError::Path);
        check("rtmp://h//k", AddressError::Path);
        check("rtmp://h/a/?k=1", AddressError::Path);
        check(
            &format!("rtmp://h/a/{}", "k".repeat(STREAM_KEY_BYTES_MAX)),
            AddressError::Long(STREAM_KEY_BYTES_MAX + 11),
        );
    }

    #[test]
    fn lists_are_bounded_and_have_nothing_twice() {
        assert_eq!(PushAddress::list("").expect("none"), []);
        assert_eq!(PushAddress::list(" rtmp://h/a/k , rtmps://h/a/k,").expect("two").len(), 2);
        assert_eq!(PushAddress::list("rtmp://h/a/k,rtmp://h:1935/a/k"), Err(AddressError::Twice));
        let many: Vec<String> = (0..=RELAYS_MAX).map(|n| format!("rtmp://h/a/{n}")).collect();
        assert_eq!(PushAddress::list(&many.join(",")), Err(AddressError::Many(RELAYS_MAX + 1)));
    }
}
