//! Small sends to many sockets in one system call, made on the spot: each takes what fits and none waits, so that nothing is under way
//! afterwards. A ring of its own, beside the runtime's: its completions are awaited by nobody. A call for each costs up to a third more, and so did
//! sends that tasks made one by one, each of them woken twice (`bench/floor`).
#![allow(unsafe_code)]
use std::io;
use std::os::fd::RawFd;

use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use millstream_hub::viewer::Piece;

use super::runtime::Driver;
use super::socket::Lent;
use super::sys;

/// Sends of a volley at most. With fewer each costs more (of 64 up to a tenth, under `dense`); with more, who has just come waits longer.
pub(crate) const VOLLEY_MAX: usize = 256;
const EACH_A_CALL: &str =
    "no ring for sends to many viewers: each is a call of its own from here on, which costs up to a third more CPU";
const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Sends that go out together.
pub(crate) struct Volley {
    /// None where the kernel permits no ring: then each is a call.
    ring: Option<IoUring>,
    shots: Vec<Shot>,
    pieces: Vec<Piece>,
    /// What the kernel reads of sends of several pieces.
    iovecs: Vec<libc::iovec>,
    messages: Vec<libc::msghdr>,
}

struct Shot {
    fd: RawFd,
    pieces: std::ops::Range<usize>,
    /// Bytes that were taken; `None`: it is not known.
    sent: Option<usize>,
}

impl Volley {
    /// An empty one.
    pub(crate) fn new(driver: Driver) -> Self {
        let ring = match driver {
            Driver::Uring => ring().inspect_err(|error| tracing::warn!(%error, "{EACH_A_CALL}")).ok(),
            Driver::Epoll => None,
        };
        Self { ring, shots: Vec::new(), pieces: Vec::new(), iovecs: Vec::new(), messages: Vec::new() }
    }

    /// One more send, of all these pieces.
    pub(crate) fn add(&mut self, lent: Lent, pieces: &mut Vec<Piece>) {
        let from = self.pieces.len();
        self.pieces.append(pieces);
        self.shots.push(Shot { fd: lent.fd(), pieces: from..self.pieces.len(), sent: None });
    }

    /// How many sends there are.
    pub(crate) fn len(&self) -> usize {
        self.shots.len()
    }

    /// Makes them.
    pub(crate) fn fire(&mut self) {
        let Some(ring) = &mut self.ring else {
            for shot in &mut self.shots {
                let slices: Vec<_> =
                    self.pieces[shot.pieces.clone()].iter().map(|piece| io::IoSlice::new(piece)).collect();
                shot.sent = Some(sys::send_pieces_now(shot.fd, &slices));
            }
            return;
        };
        self.iovecs.clear();
        self.messages.clear();
        // What the kernel reads stays where it is: both have room for everything before the first address is taken.
        self.iovecs.reserve(self.pieces.len());
        self.messages.reserve(self.shots.len());
        if let Err(error) = shoot(ring, &mut self.shots, &self.pieces, &mut self.iovecs, &mut self.messages) {
            tracing::warn!(%error, "{EACH_A_CALL}");
            // Of some it is not known what was sent; the ring's end is the end of those that may still be under way.
            self.ring = None;
        }
    }

    /// The pieces of a send, and how many of their bytes were taken; `None`: it is not known.
    pub(crate) fn result(&self, index: usize) -> (&[Piece], Option<usize>) {
        self.shots.get(index).map_or((&[], None), |shot| (&self.pieces[shot.pieces.clone()], shot.sent))
    }

    /// Lets go of all that was to be sent.
    pub(crate) fn clear(&mut self) {
        self.shots.clear();
        self.pieces.clear();
    }
}

fn ring() -> io::Result<IoUring> {
    let entries = VOLLEY_MAX as u32;
    // Linux before 6.1 does not know these.
    IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(entries).or_else(|_| IoUring::new(entries))
}

fn shoot(
    ring: &mut IoUring,
    shots: &mut [Shot],
    pieces: &[Piece],
    iovecs: &mut Vec<libc::iovec>,
    messages: &mut Vec<libc::msghdr>,
) -> io::Result<()> {
    let many = shots.len();
    for (index, shot) in shots.iter().enumerate() {
        let entry = match &pieces[shot.pieces.clone()] {
            [piece] => opcode::Send::new(Fd(shot.fd), piece.as_ptr(), piece.len() as u32).flags(FLAGS).build(),
            several => {
                let first = iovecs.len();
                iovecs.extend(
                    several
                        .iter()
                        .map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() }),
                );
                // SAFETY: a `msghdr` of zeros is an empty message.
                let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
                message.msg_iov = iovecs[first..].as_mut_ptr();
                message.msg_iovlen = several.len() as _;
                messages.push(message);
                let message = std::ptr::from_ref(&messages[messages.len() - 1]);
                opcode::SendMsg::new(Fd(shot.fd), message).flags(FLAGS as u32).build()
            }
        };
        // SAFETY: what the entry points to is owned by the volley, which neither drops nor moves it before its completion was seen, or the
        // ring is gone: all of it is on the heap and was reserved before.
        unsafe { ring.submission().push(&entry.user_data(index as u64)) }.map_err(|_| io::ErrorKind::OutOfMemory)?;
    }
    let mut done = 0;
    while done < many {
        match ring.submit_and_wait(many - done) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        for entry in ring.completion() {
            done += 1;
            if let Some(shot) = shots.get_mut(entry.user_data() as usize) {
                // Where nothing fits, or the peer is gone, that is nothing; the viewer's task finds out which.
                shot.sent = Some(usize::try_from(entry.result()).unwrap_or(0));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use bytes::Bytes;
    use millstream_hub::config::StreamConfig;
    use millstream_hub::log::{Log, LogLimits};
    use millstream_hub::package::block::Format;
    use millstream_hub::viewer::{Start, Viewer};
    use millstream_proto::time::Time;

    use super::*;

    /// Pieces of these bytes.
    fn pieces(parts: &[&'static [u8]]) -> Vec<Piece> {
        let log = Log::new(LogLimits { bytes_max: 1, time_max: Duration::ZERO, rtmp_chunk_bytes: 128 });
        let mut viewer = Viewer::new(Format::FlvPlain, Start::Newest, &log, Time::ZERO);
        for part in parts {
            viewer.lead(Bytes::from_static(part));
        }
        let mut pieces = Vec::new();
        viewer.fill(&log, &StreamConfig::default(), Time::ZERO, &mut pieces);
        pieces
    }

    #[test]
    fn each_takes_what_fits_and_nobody_waits() {
        const LARGE: &[u8] = &[7; 200 << 10];
        for driver in [Driver::Uring, Driver::Epoll] {
            let mut volley = Volley::new(driver);
            assert_eq!(volley.ring.is_some(), driver == Driver::Uring);
            for _ in 0..3 {
                let pairs: Vec<_> = (0..4).map(|_| UnixStream::pair().unwrap()).collect();
                let lent = |index: usize| Lent::of(pairs[index].0.as_raw_fd());
                volley.add(lent(0), &mut pieces(&[b"one"]));
                volley.add(lent(1), &mut pieces(&[b"one", b"two", b"three"]));
                // More than a socket takes, twice: then it is full.
                volley.add(lent(2), &mut pieces(&[LARGE]));
                volley.add(lent(2), &mut pieces(&[LARGE]));
                volley.add(lent(2), &mut pieces(&[LARGE, LARGE]));
                volley.add(lent(3), &mut pieces(&[b"four"]));
                drop(pairs[3].1.try_clone().unwrap());
                pairs[3].1.shutdown(std::net::Shutdown::Both).unwrap();
                volley.fire();
                let sent: Vec<_> = (0..volley.len()).map(|index| volley.result(index).1.unwrap()).collect();
                assert_eq!(sent[..2], [3, 11]);
                assert!(sent[2..5].iter().sum::<usize>() < 4 * LARGE.len() && sent[4] == 0, "{sent:?}");
                assert_eq!(sent[5], 0, "its peer is gone");
                assert_eq!(volley.result(1).0.len(), 3);
                let mut got = [0; 11];
                (&pairs[1].1).read_exact(&mut got).unwrap();
                assert_eq!(&got, b"onetwothree");
                volley.clear();
                assert_eq!(volley.len(), 0);
            }
        }
    }
}
