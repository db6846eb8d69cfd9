//! The worker's two kinds of connection, on blocking sockets. Before it: [`crate::job`] and [`crate::snapshot`]; after it: the node.
pub(crate) mod body;
pub(crate) mod publish;
pub(crate) mod source;

use std::io::{self, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// For a connection: the node is near.
const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// A read gives up after so long, to look whether it is still wanted.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The PROXY header of a connection that is nobody else's (PROXY protocol, 2.1).
const NOBODY: &[u8] = b"PROXY UNKNOWN\r\n";

/// A port of the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Port {
    Http,
    Rtmp,
}

/// Whether connections to the ports begin with a PROXY header: said once, before there is any, and the same for the whole process.
static HTTP_INTRODUCED: AtomicBool = AtomicBool::new(false);
static RTMP_INTRODUCED: AtomicBool = AtomicBool::new(false);

impl Port {
    fn introduced(self) -> &'static AtomicBool {
        match self {
            Self::Http => &HTTP_INTRODUCED,
            Self::Rtmp => &RTMP_INTRODUCED,
        }
    }
}

/// From here on connections to a port begin with a PROXY header, or do not.
pub(crate) fn introduce(port: Port, introduced: bool) {
    port.introduced().store(introduced, Ordering::Relaxed);
}

/// Connects, and sets what both kinds want. Names need files of the system, which the sandbox does not let through: addresses are numbers.
fn connect(of: Port, host: &str, port: u16) -> io::Result<TcpStream> {
    let address = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_WAIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    if of.introduced().load(Ordering::Relaxed) {
        stream.write_all(NOBODY)?;
    }
    Ok(stream)
}

/// Whether a read only gave up waiting.
fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
