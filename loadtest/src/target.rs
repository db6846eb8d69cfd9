//! Whom to load: the two URLs, checked, with a place for the stream's name. Only this machine, unless somebody insists.
use std::net::{SocketAddr, ToSocketAddrs as _};

use bytes::Bytes;
use millstream_proto::rtmp::{ClientConfig, ClientRole};
use millstream_proto::secret::Secret;

use crate::secure::TlsTarget;
use crate::wire::UPGRADE;

/// Stands for the stream's name in a URL.
const PLACEHOLDER: &str = "{stream}";
/// The multivariant playlist of a stream.
const HLS_NAME: &str = "live.m3u8";
/// Chunk size of what publishers send, bytes: what encoders use.
const CHUNK_SIZE: usize = 60_000;

/// Why a URL cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Another scheme, or none.
    #[error("{0:?} does not begin with {1}://")]
    Scheme(String, &'static str),
    /// No host, or a port that is no number.
    #[error("{0:?} has no host that can be found: {1}")]
    Host(String, String),
    /// TLS asks for a host's name or address.
    #[error("{0:?} cannot be asked for by TLS: {1}")]
    Tls(String, String),
    /// Not this machine.
    #[error(
        "{0} is not on this machine; a load test against somebody else's machine is an attack: --allow-remote says that it is yours"
    )]
    Remote(SocketAddr),
    /// Several streams, and one name for all.
    #[error("there are several streams, so the URL needs {PLACEHOLDER} where their name goes")]
    Name,
    /// A line break, or a blank.
    #[error("the URL has a character that no URL has")]
    Character,
}

/// Where to push and play RTMP.
#[derive(Clone, Debug)]
pub struct RtmpTarget {
    pub(crate) address: SocketAddr,
    host: String,
    app: String,
    key: Secret,
}

/// Where to play over HTTP.
#[derive(Clone, Debug)]
pub struct HttpTarget {
    pub(crate) address: SocketAddr,
    /// FLV comes in WebSocket messages.
    pub(crate) websocket: bool,
    /// It is asked over TLS.
    pub(crate) tls: Option<TlsTarget>,
    host: String,
    path: Secret,
}

/// Scheme taken off: host with port, address, rest.
fn split<'u>(
    url: &'u str,
    scheme: &'static str,
    port: u16,
    remote: bool,
) -> Result<(String, SocketAddr, &'u str), TargetError> {
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(TargetError::Character);
    }
    let rest = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
    // What is shown of a URL ends before what may be secret.
    let shown = || url.split('?').next().unwrap_or_default().to_owned();
    let rest = rest.ok_or_else(|| TargetError::Scheme(shown(), scheme))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let host = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    let mut addresses = host.to_socket_addrs().map_err(|why| TargetError::Host(shown(), why.to_string()))?;
    let address = addresses.next().ok_or_else(|| TargetError::Host(shown(), "no address".to_owned()))?;
    if !remote && !address.ip().to_canonical().is_loopback() {
        return Err(TargetError::Remote(address));
    }
    Ok((host, address, path))
}

impl RtmpTarget {
    /// `rtmp://HOST[:PORT][/APP[/KEY]]`: the application is `stream` and the key the stream's name where they are not given.
    pub fn parse(url: &str, remote: bool) -> Result<Self, TargetError> {
        let (host, address, path) = split(url, "rtmp", 1935, remote)?;
        let (app, key) = path.split_once('/').unwrap_or((path, ""));
        let app = if app.is_empty() { "stream" } else { app }.to_owned();
        let key = Secret::new(if key.is_empty() { PLACEHOLDER } else { key });
        Ok(Self { address, host, app, key })
    }

    /// The name of the one stream that the URL says, if it says one.
    pub fn name(&self) -> Option<&str> {
        let key = self.key.expose();
        (!key.contains(PLACEHOLDER)).then(|| key.split('?').next().unwrap_or_default())
    }

    pub(crate) fn config(&self, stream: &str, role: ClientRole) -> ClientConfig {
        ClientConfig {
            app: self.app.clone(),
            tc_url: Secret::new(format!("rtmp://{}/{}", self.host, self.app)),
            stream: Secret::new(self.key.expose().replace(PLACEHOLDER, stream)),
            role,
            chunk_size: CHUNK_SIZE,
        }
    }
}

impl HttpTarget {
    /// `http://HOST[:PORT][/PATH]`, or `ws://` for FLV over WebSocket, or `https://` and `wss://`: the path is `/{stream}/live.flv` where none is given.
    pub fn parse(url: &str, remote: bool) -> Result<Self, TargetError> {
        let known = [("ws", true, 80), ("wss", true, 443), ("https", false, 443), ("http", false, 80)];
        let named = known.into_iter().find(|(scheme, ..)| url.split("://").next() == Some(*scheme));
        let (scheme, websocket, port) = named.unwrap_or(("http", false, 80));
        let (host, address, path) = split(url, scheme, port, remote)?;
        let name = host.rsplit_once(':').map_or(&*host, |(name, _)| name);
        let tls = (port == 443).then(|| TlsTarget::new(name)).transpose();
        let tls = tls.map_err(|why| TargetError::Tls(name.to_owned(), why))?;
        let path = if path.is_empty() { format!("{PLACEHOLDER}/live.flv") } else { path.to_owned() };
        Ok(Self { address, websocket, tls, host, path: Secret::new(path) })
    }

    /// `http://HOST[:PORT][/PATH]` of a multivariant playlist: the path is `/{stream}/live.m3u8` where none is given.
    pub fn parse_hls(url: &str, remote: bool) -> Result<Self, TargetError> {
        let (host, address, path) = split(url, "http", 80, remote)?;
        let path = if path.is_empty() { format!("{PLACEHOLDER}/{HLS_NAME}") } else { path.to_owned() };
        Ok(Self { address, websocket: false, tls: None, host, path: Secret::new(path) })
    }

    /// The playlists on the server of this one, where its path is the usual one. Players of these speak no TLS here.
    pub fn hls_beside(&self) -> Option<Self> {
        let usual = self.tls.is_none() && self.path.expose() == format!("{PLACEHOLDER}/live.flv");
        usual.then(|| Self { websocket: false, path: Secret::new(format!("{PLACEHOLDER}/{HLS_NAME}")), ..self.clone() })
    }

    /// Whether each stream has a path of its own.
    pub fn names_streams(&self) -> bool {
        self.path.expose().contains(PLACEHOLDER)
    }

    pub(crate) fn request(&self, stream: &str) -> Bytes {
        self.request_beside(stream, "")
    }

    /// A request for what a relative reference (RFC 3986, 5.2) names; an empty one is the URL itself. The URL's own query goes with nothing
    /// else: what playlists name is the same for all.
    pub(crate) fn request_beside(&self, stream: &str, name: &str) -> Bytes {
        let mut path = self.path.expose().replace(PLACEHOLDER, stream);
        if !name.is_empty() {
            let directory = path.split('?').next().and_then(|path| path.rsplit_once('/')).map_or("", |(dir, _)| dir);
            path = if let Some(absolute) = name.strip_prefix('/') {
                absolute.to_owned()
            } else if directory.is_empty() {
                name.to_owned()
            } else {
                format!("{directory}/{name}")
            };
        }
        let host = &self.host;
        let upgrade = if self.websocket { UPGRADE } else { "" };
        format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: millstream-loadtest\r\nAccept: */*\r\n{upgrade}\r\n"
        )
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_with_and_without_their_parts() {
        let plain = RtmpTarget::parse("rtmp://127.0.0.1", false).unwrap();
        let config = plain.config("cam", ClientRole::Play);
        assert_eq!((plain.address.port(), config.app.as_str(), config.stream.expose()), (1935, "stream", "cam"));
        let signed = RtmpTarget::parse("rtmp://[::1]:9/live/{stream}?sign=x", false).unwrap();
        assert_eq!(signed.config("cam", ClientRole::Publish).stream.expose(), "cam?sign=x");
        assert_eq!(signed.name(), None);
        assert_eq!(RtmpTarget::parse("rtmp://localhost/live/one?sign=x", false).unwrap().name(), Some("one"));
        let http = HttpTarget::parse("http://localhost:8080", false).unwrap();
        assert!(http.request("cam").starts_with(b"GET /cam/live.flv HTTP/1.1\r\nHost: localhost:8080\r\n"));
        let socket = HttpTarget::parse("ws://localhost:8080", false).unwrap();
        assert!(socket.request("cam").ends_with([UPGRADE, "\r\n"].concat().as_bytes()));
        assert!(!socket.hls_beside().unwrap().request("cam").ends_with([UPGRADE, "\r\n"].concat().as_bytes()));
        let secure = HttpTarget::parse("https://localhost:8443", false).unwrap();
        assert!(secure.tls.is_some() && http.tls.is_none() && secure.hls_beside().is_none());
        assert_eq!(HttpTarget::parse("wss://[::1]", false).unwrap().address.port(), 443);
        let hls = http.hls_beside().unwrap();
        assert!(hls.request("cam").starts_with(b"GET /cam/live.m3u8 HTTP/1.1\r\n"));
        assert!(hls.request_beside("cam", "s/1/a.m4s").starts_with(b"GET /cam/s/1/a.m4s HTTP/1.1\r\n"));
        let token = HttpTarget::parse_hls("http://localhost/x/live.m3u8?token=7", false).unwrap();
        assert!(token.request("cam").starts_with(b"GET /x/live.m3u8?token=7 HTTP/1.1\r\n"));
        assert!(token.request_beside("cam", "video.m3u8").starts_with(b"GET /x/video.m3u8 HTTP/1.1\r\n"));
        let srs = HttpTarget::parse("http://127.0.0.1:8080/live/{stream}.flv", false).unwrap();
        assert!(srs.request("cam").starts_with(b"GET /live/cam.flv HTTP/1.1\r\n"));
    }

    #[test]
    fn what_cannot_be_loaded_is_refused() {
        assert!(matches!(RtmpTarget::parse("http://localhost", false), Err(TargetError::Scheme(..))));
        assert!(matches!(HttpTarget::parse("http://localhost:99999", false), Err(TargetError::Host(..))));
        assert!(matches!(HttpTarget::parse("http://192.0.2.1", false), Err(TargetError::Remote(_))));
        assert!(HttpTarget::parse("http://192.0.2.1", true).is_ok());
        assert_eq!(HttpTarget::parse("http://localhost/a\r\nb", false).unwrap_err(), TargetError::Character);
        let error = RtmpTarget::parse("x://h?sign=secret", false).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
