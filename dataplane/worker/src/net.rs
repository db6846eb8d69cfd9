//! The worker's two kinds of connection, on blocking sockets. Before it: [`crate::job`] and [`crate::snapshot`]; after it: the node.
pub(crate) mod body;
pub(crate) mod publish;
pub(crate) mod source;

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// For a connection: the node is near.
const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// A read gives up after so long, to look whether it is still wanted.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Connects, and sets what both kinds want. Names need files of the system, which the sandbox does not let through: addresses are numbers.
fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let address = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&address, CONNECT_WAIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    Ok(stream)
}

/// Whether a read only gave up waiting.
fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
