//! TLS records that the kernel makes (kTLS): a socket is given the keys of its sending direction, and other ones when those are used up; what is no data
//! goes out in records of its own. What is received stays with the session. Before it: `tls`, whose session gives its keys away; after it: `socket`,
//! which sends as without TLS.
//!
//! The kernel may hold a record that it has taken and not handed to TCP yet, where that was full. It does so by itself as soon as there is room, and
//! before anything that is sent later; `shutdown` and `close` cut it off. So who ends a connection waits until the socket has room for more than a record,
//! and says goodbye then, which brings what is held with it.
#![allow(unsafe_code)]
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use millstream_tls::{KEY_UPDATE_MESSAGE, SendKeys, crypto_info};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{TcpTlsTx, TcpUlp, TlsCryptoInfo};
use zeroize::Zeroize as _;

use super::sys;
use super::tls::Tls;

/// Types of records (RFC 8446, 5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// Has the kernel make the records of what is sent from here on, where it takes this socket; else all stays as it is. All that was encrypted is with the
/// socket.
pub(super) fn enter(fd: RawFd, tls: &Tls) {
    // SAFETY: the caller holds the socket for the length of this call.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    // What a kernel may refuse it refuses here, when nothing has changed yet: it has no such part, or the peer has ended its direction.
    if let Err(error) = setsockopt(&socket, TcpUlp::default(), b"tls") {
        tracing::debug!(%error, "the kernel takes no keys for this connection; its records are made in user space");
        return tls.stay();
    }
    if let Err(error) = tls.give_keys(|keys| give(socket, keys)) {
        // What it was seen to do with the same cipher at the start: it lacks memory. The keys are out, so the connection cannot go on.
        tracing::warn!(%error, "the kernel takes no keys for this connection; it is closed");
        sys::shutdown(fd, libc::SHUT_RDWR);
    }
}

/// Gives the kernel other keys, and tells the peer before. Where there are none, or the kernel takes none, the connection ends; where the socket is full
/// that is done another time.
pub(super) fn renew(fd: RawFd, tls: &Tls) {
    // SAFETY: the caller holds the socket for the length of this call.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut is_told = false;
    let renewed = tls.next_keys(|| {
        is_told = sys::send_tls_record(fd, HANDSHAKE, &KEY_UPDATE_MESSAGE)?;
        Ok(is_told)
    });
    if let Err(error) = renewed.and_then(|keys| keys.map_or(Ok(()), |keys| give(socket, &keys))) {
        tracing::info!(%error, "there are no other keys that the kernel takes for this connection (Linux does from 6.14 on, for TLS 1.3); it is closed");
        // A peer that was told of other keys does not read what these make.
        if !is_told {
            say_goodbye(fd, tls);
        }
        sys::shutdown(fd, libc::SHUT_RDWR);
    }
}

/// Says what the session has to say in an alert. False: the socket is full, or the kernel holds a record before it.
pub(super) fn say_alert(fd: RawFd, tls: &Tls) -> bool {
    let Some(alert) = tls.alert() else { return true };
    // To a peer that is gone there is nothing to say.
    let is_said = sys::send_tls_record(fd, ALERT, &alert).unwrap_or(true);
    if is_said {
        tls.alert_is_said();
    }
    is_said
}

/// Says that nothing more comes. False as for [`say_alert`].
pub(super) fn say_goodbye(fd: RawFd, tls: &Tls) -> bool {
    tls.close();
    say_alert(fd, tls)
}

/// Hands keys to the kernel; what was written of them here is overwritten.
fn give(socket: BorrowedFd<'_>, keys: &SendKeys) -> io::Result<()> {
    let mut info = crypto_info(keys.version(), keys.cipher(), keys.nonce(), keys.sequence());
    // In its place: what is moved leaves a copy behind.
    let key: &mut [u8] = match &mut info {
        TlsCryptoInfo::Aes128Gcm(info) => &mut info.key,
        TlsCryptoInfo::Aes256Gcm(info) => &mut info.key,
        TlsCryptoInfo::Chacha20Poly1305(info) => &mut info.key,
    };
    key.copy_from_slice(keys.key());
    let given = setsockopt(&socket, TcpTlsTx, &info);
    wipe(&mut info);
    Ok(given?)
}

fn wipe(info: &mut TlsCryptoInfo) {
    match info {
        TlsCryptoInfo::Aes128Gcm(info) => {
            info.key.zeroize();
            info.iv.zeroize();
            info.salt.zeroize();
        }
        TlsCryptoInfo::Aes256Gcm(info) => {
            info.key.zeroize();
            info.iv.zeroize();
            info.salt.zeroize();
        }
        TlsCryptoInfo::Chacha20Poly1305(info) => {
            info.key.zeroize();
            info.iv.zeroize();
        }
    }
}
