//! What systemd is told where it wants to know (`Type=notify`): that the server is ready, and that it is ending. A datagram to the socket that
//! `NOTIFY_SOCKET` names, as sd_notify(3) describes; without one, nothing.
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use tracing::warn;

/// Ports are open, and streams are known.
pub(crate) const READY: &str = "READY=1";
/// The drain has begun.
pub(crate) const STOPPING: &str = "STOPPING=1";

pub(crate) fn tell(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(&name, state) {
        warn!(%error, state, "the service manager cannot be told");
    }
}

fn send(name: &OsStr, state: &str) -> std::io::Result<()> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(Path::new(name))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}
