//! A URL as far as it is needed to ask: scheme, host, port, path. Before it: configuration and hooks' records; after it:
//! [`super::client`].
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use axum::http::Uri;

/// Bytes of a URL.
const URL_BYTES_MAX: usize = 2048;

/// `http://` or `https://`, a host, and what follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    /// By TLS.
    pub secure: bool,
    /// A name, or an address without brackets.
    pub host: String,
    /// The port, written or not.
    pub port: u16,
    /// Path and query; at least `/`.
    pub path: String,
}

/// Text that is no such URL. Never holds the text: queries carry tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Not a URL at all.
    #[error("this is not a URL; give one such as https://example.com/path")]
    Malformed,
    /// Longer than a URL may be.
    #[error("the URL has {0} bytes; at most {URL_BYTES_MAX} are allowed")]
    Long(usize),
    /// Neither of the two schemes.
    #[error("the URL begins with neither https:// nor http://")]
    Scheme,
    /// Name and password before the host.
    #[error("the URL holds a name or a password before its host; leave them out")]
    Userinfo,
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::Long(text.len()));
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err(UrlError::Scheme),
            None => return Err(UrlError::Malformed),
        };
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Userinfo);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        // A port that is written and is none has no number here.
        let written = authority.as_str().rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        let port = match (written, authority.port_u16()) {
            (Some(_), None | Some(0)) => return Err(UrlError::Malformed),
            (_, port) => port.unwrap_or(if secure { 443 } else { 80 }),
        };
        if host.is_empty() {
            return Err(UrlError::Malformed);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { secure, host, port, path })
    }
}

impl Url {
    /// The host as it stands in a `Host` header.
    pub fn authority(&self) -> String {
        let host = if self.host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether it can only be this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The same server, another path below this one's.
    pub fn below(&self, path: &str) -> Self {
        let base = self.path.split('?').next().unwrap_or_default().trim_end_matches('/');
        Self { path: format!("{base}{path}"), ..self.clone() }
    }
}

/// Without path and query: these may carry a token.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}
