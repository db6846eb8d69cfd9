//! A connection to a host: its name is resolved, each address is looked at, and the connection goes to what was looked at; with TLS where that is
//! asked for. Before it: [`super::guard`]; after it: [`super::client`], and relays.
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::client::AskError;
use super::guard::Guard;
#[cfg(feature = "tls")]
pub use super::tls::Authorities;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Nobody is trusted by a build without TLS.
#[cfg(not(feature = "tls"))]
#[derive(Debug)]
pub enum Authorities {}

/// A connection, with TLS or without.
pub trait Connected: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connected for S {}

/// Connects to `host`, which is told of as `to`, where the guard allows it. Whoever is `trusted` vouches for its certificate; `None`: the machine's
/// authorities.
pub async fn dial(
    at: (&str, u16),
    secure: bool,
    to: &str,
    by: (&Guard, Option<&Authorities>),
) -> Result<Box<dyn Connected>, AskError> {
    Ok(dial_and_see(at, secure, to, by).await?.0)
}

/// The same, and the address that was reached.
pub async fn dial_and_see(
    (host, port): (&str, u16),
    secure: bool,
    to: &str,
    (guard, trusted): (&Guard, Option<&Authorities>),
) -> Result<(Box<dyn Connected>, SocketAddr), AskError> {
    let socket = reach(to, &resolve((host, port), guard).await?).await?;
    let reached = socket.peer_addr().map_err(|error| AskError::Connect(to.to_owned(), error.to_string()))?;
    // Small messages, answered at once.
    let _ = socket.set_nodelay(true);
    let socket = if secure { encrypted(host, to, socket, trusted).await? } else { Box::new(socket) };
    Ok((socket, reached))
}

/// The addresses of a host that may be connected to.
pub(super) async fn resolve((host, port): (&str, u16), guard: &Guard) -> Result<Vec<SocketAddr>, AskError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<SocketAddr> = found.map_err(|_| AskError::Name(host.to_owned()))?.collect();
    if found.is_empty() {
        return Err(AskError::Name(host.to_owned()));
    }
    // One that may not be is enough to refuse: a name that has both kinds is made to get through on a second try.
    if let Some(private) = found.iter().find(|address| !guard.allows(address.ip())) {
        return Err(AskError::Private(private.ip().to_string()));
    }
    Ok(found)
}

async fn reach(to: &str, addresses: &[SocketAddr]) -> Result<TcpStream, AskError> {
    let mut last = None;
    for address in addresses.iter().take(ADDRESSES_MAX) {
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }
    let why = last.map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
    Err(AskError::Connect(to.to_owned(), why))
}

#[cfg(feature = "tls")]
async fn encrypted(
    host: &str,
    to: &str,
    socket: TcpStream,
    trusted: Option<&Authorities>,
) -> Result<Box<dyn Connected>, AskError> {
    let secured = async {
        let authorities = trusted.map_or_else(Authorities::of_machine, |trusted| Ok(trusted.clone()))?;
        authorities.connect(host, socket).await
    };
    match secured.await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(why) => Err(AskError::Tls(to.to_owned(), why)),
    }
}

#[cfg(not(feature = "tls"))]
async fn encrypted(
    _host: &str,
    to: &str,
    _socket: TcpStream,
    _trusted: Option<&Authorities>,
) -> Result<Box<dyn Connected>, AskError> {
    Err(AskError::Tls(to.to_owned(), "this build has no TLS (cargo feature \"tls\")".to_owned()))
}
