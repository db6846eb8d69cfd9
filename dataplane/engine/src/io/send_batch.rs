//! Small sends to many sockets in one system call, made on the spot: each takes what fits and none waits, so that nothing is under way
//! afterwards. A ring of its own, beside the runtime's: its completions are awaited by nobody. A call for each costs up to a third more, and so did
//! sends that tasks made one by one, each of them woken twice (`bench/floor`).
#![allow(unsafe_code)]
use std::io;

use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use millstream_hub::viewer::Piece;
use millstream_tls::Records;

use super::runtime::Driver;
use super::socket::Writer;
use super::sys;

/// Sends of a send batch at most. With fewer each costs more (of 64 up to a tenth, under `dense`); with more, who has just come waits longer.
pub(crate) const SEND_BATCH_MAX: usize = 256;
/// Bytes of records in a send batch, beyond which it is full: they are still in the processor's cache when the kernel copies them.
const RECORDS_BYTES_MAX: usize = 512 << 10;
const EACH_A_CALL: &str =
    "no ring for sends to many viewers: each is a call of its own from here on, which costs up to a third more CPU";
const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Sends that go out together.
pub(crate) struct SendBatch {
    /// None where the kernel permits no ring: then each is a call.
    ring: Option<IoUring>,
    shots: Vec<Shot>,
    pieces: Vec<Piece>,
    /// What goes to TLS connections, one behind the other; used again for each batch.
    records: Records,
    /// What the kernel reads of sends of several pieces.
    iovecs: Vec<libc::iovec>,
    messages: Vec<libc::msghdr>,
}

struct Shot {
    writer: Writer,
    pieces: std::ops::Range<usize>,
    /// Where its records are; `None`: it goes out as it is.
    records: Option<Encrypted>,
    /// Bytes that were taken; `None`: it is not known.
    sent: Option<usize>,
}

/// Where in the batch a shot's records are.
struct Encrypted {
    range: std::ops::Range<usize>,
    /// Bytes of its pieces that are in them; `None`: not all that there was could be encrypted.
    taken: Option<usize>,
}

impl Shot {
    /// What it sends, where that is in one place.
    fn whole<'a>(&self, pieces: &'a [Piece], records: &'a [u8]) -> Option<&'a [u8]> {
        match &self.records {
            Some(encrypted) => records.get(encrypted.range.clone()),
            None if let [piece] = &pieces[self.pieces.clone()] => Some(piece),
            None => None,
        }
    }

    /// Tells what came of it. What a socket has not taken of the records is its connection's to send: they cannot be made again.
    fn result<'a>(self, pieces: &'a [Piece], records: &[u8]) -> Sent<'a> {
        let Self { writer, pieces: range, records: encrypted, sent } = self;
        let pieces = &pieces[range];
        let (mut count, mut unsent) = (sent, false);
        writer.took(sent.unwrap_or(0));
        if let Some(Encrypted { range, taken }) = encrypted {
            let rest = sent.map(|sent| records.get(range.start + sent..range.end).unwrap_or_default());
            writer.keep(rest);
            unsent = rest.is_some_and(|rest| !rest.is_empty());
            count = sent.and(taken);
        }
        Sent { writer, pieces, count, unsent }
    }
}

impl SendBatch {
    pub(crate) fn new(driver: Driver) -> Self {
        let ring = match driver {
            Driver::Uring => ring().inspect_err(|error| tracing::warn!(%error, "{EACH_A_CALL}")).ok(),
            Driver::Epoll => None,
        };
        let (shots, pieces, records) = (Vec::new(), Vec::new(), Records::new());
        Self { ring, shots, pieces, records, iovecs: Vec::new(), messages: Vec::new() }
    }

    /// One more send, of all these pieces.
    pub(crate) fn add(&mut self, writer: Writer, pieces: &mut Vec<Piece>) {
        let (from, at) = (self.pieces.len(), self.records.len());
        // Up to here the bytes are shared; each connection has records of its own.
        let taken = writer.encrypt_for(pieces, &mut self.records);
        let records = taken.map(|taken| Encrypted { range: at..self.records.len(), taken: taken.ok() });
        self.pieces.append(pieces);
        self.shots.push(Shot { writer, pieces: from..self.pieces.len(), records, sent: None });
    }

    /// Whether it takes no more.
    pub(crate) fn is_full(&self) -> bool {
        self.shots.len() >= SEND_BATCH_MAX || self.records.len() >= RECORDS_BYTES_MAX
    }

    /// How many sends there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.shots.len()
    }

    pub(crate) fn fire(&mut self) {
        let Some(ring) = &mut self.ring else {
            for shot in &mut self.shots {
                let slices: Vec<_> = match shot.whole(&self.pieces, self.records.as_slice()) {
                    Some(whole) => vec![io::IoSlice::new(whole)],
                    None => self.pieces[shot.pieces.clone()].iter().map(|piece| io::IoSlice::new(piece)).collect(),
                };
                shot.sent = Some(sys::send_pieces_now(shot.writer.fd(), &slices));
            }
            return;
        };
        let sources = (&*self.pieces, self.records.as_slice());
        if let Err(error) = shoot(ring, &mut self.shots, sources, &mut self.iovecs, &mut self.messages) {
            tracing::warn!(%error, "{EACH_A_CALL}");
            // Of some it is not known what was sent; those that the kernel has not been given end with the ring.
            self.ring = None;
        }
    }

    /// Lets go of all that was to be sent.
    pub(crate) fn clear(&mut self) {
        self.shots.clear();
        self.pieces.clear();
        self.records.clear();
    }

    /// Gives the writers back, in order, with what came of their sends.
    pub(crate) fn results(&mut self) -> impl Iterator<Item = Sent<'_>> {
        let Self { shots, pieces, records, .. } = self;
        shots.drain(..).map(|shot| shot.result(pieces, records.as_slice()))
    }
}

fn ring() -> io::Result<IoUring> {
    let entries = SEND_BATCH_MAX as u32;
    // Linux before 6.1 does not know these.
    IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(entries).or_else(|_| IoUring::new(entries))
}

/// A send that was made.
pub(crate) struct Sent<'a> {
    pub(crate) writer: Writer,
    pub(crate) pieces: &'a [Piece],
    /// Bytes that were taken; `None`: it is not known.
    pub(crate) count: Option<usize>,
    /// Something of what was taken waits for room in the socket.
    pub(crate) unsent: bool,
}

fn shoot(
    ring: &mut IoUring,
    shots: &mut [Shot],
    (pieces, records): (&[Piece], &[u8]),
    iovecs: &mut Vec<libc::iovec>,
    messages: &mut Vec<libc::msghdr>,
) -> io::Result<()> {
    let many = shots.len();
    iovecs.clear();
    messages.clear();
    // Both are filled before the first address is taken.
    for shot in shots.iter().filter(|shot| shot.whole(pieces, records).is_none()) {
        iovecs.extend(
            pieces[shot.pieces.clone()]
                .iter()
                .map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() }),
        );
        // SAFETY: a `msghdr` of zeros is an empty message.
        messages.push(unsafe { std::mem::zeroed() });
    }
    let mut vectors = iovecs.as_mut_ptr();
    for (message, shot) in messages.iter_mut().zip(shots.iter().filter(|shot| shot.whole(pieces, records).is_none())) {
        message.msg_iov = vectors;
        message.msg_iovlen = shot.pieces.len() as _;
        vectors = vectors.wrapping_add(shot.pieces.len());
    }
    let mut message = messages.as_ptr();
    for (index, shot) in shots.iter().enumerate() {
        let fd = Fd(shot.writer.fd());
        let entry = if let Some(whole) = shot.whole(pieces, records) {
            opcode::Send::new(fd, whole.as_ptr(), whole.len() as u32).flags(FLAGS).build()
        } else {
            let first = message;
            message = message.wrapping_add(1);
            opcode::SendMsg::new(fd, first).flags(FLAGS as u32).build()
        };
        // SAFETY: the entry's descriptor is the writer's, and what it points to are the send batch's own vectors, its records among them, and what its
        // pieces own: all of these stay where they are until this function returns. The kernel is done with them by then: a send that must not wait is
        // made within the call that submits it, and one that was not submitted goes with the ring, which an error ends.
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
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use bytes::Bytes;
    use millstream_hub::config::StreamConfig;
    use millstream_hub::log::{Log, LogLimits};
    use millstream_hub::package::block::Format;
    use millstream_hub::viewer::{Start, Viewer};
    use millstream_proto::time::Time;

    use super::super::runtime::run;
    use super::super::socket::Socket;
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
        for driver in [Driver::Uring, Driver::Epoll] {
            run(driver, async move { send_batches(driver) }).unwrap();
        }
    }

    fn send_batches(driver: Driver) {
        const LARGE: &[u8] = &[7; 200 << 10];
        let mut send_batch = SendBatch::new(driver);
        assert_eq!(send_batch.ring.is_some(), driver == Driver::Uring);
        for _ in 0..3 {
            let (sockets, mut peers): (Vec<_>, Vec<_>) = (0..4)
                .map(|_| {
                    let (ours, theirs) = UnixStream::pair().unwrap();
                    (Socket::from_fd(std::os::fd::OwnedFd::from(ours)).unwrap(), theirs)
                })
                .unzip();
            peers[3].shutdown(std::net::Shutdown::Both).unwrap();
            let mut writers: Vec<_> = sockets.into_iter().map(|socket| socket.writer).collect();
            let mut fire = |sends: [&[&'static [u8]]; 4]| -> Vec<_> {
                for (writer, send) in writers.drain(..).zip(sends) {
                    send_batch.add(writer, &mut pieces(send));
                }
                send_batch.fire();
                assert_eq!(send_batch.len(), 4);
                let mut counts = Vec::new();
                for Sent { writer, pieces, count, .. } in send_batch.results() {
                    writers.push(writer);
                    counts.push((pieces.len(), count.unwrap()));
                }
                send_batch.clear();
                counts
            };
            // More than a socket takes: then it is full.
            let first = fire([&[b"one"], &[b"one", b"two", b"three"], &[LARGE, LARGE], &[b"four"]]);
            assert_eq!(first[..2], [(1, 3), (3, 11)]);
            assert!(first[2].1 < 2 * LARGE.len(), "{first:?}");
            assert_eq!(first[3], (1, 0), "its peer is gone");
            fire([&[b"4"], &[b"4", b"5"], &[LARGE], &[b"6"]]);
            let last = fire([&[b"7"], &[b"8", b"9"], &[LARGE, LARGE], &[b"0"]]);
            assert_eq!(last, [(1, 1), (2, 2), (2, 0), (1, 0)]);
            let mut got = [0; 15];
            peers[1].read_exact(&mut got).unwrap();
            assert_eq!(&got, b"onetwothree4589");
        }
    }
}
