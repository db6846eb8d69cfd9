//! The viewers: they discard what they get in the kernel, but for a sample that looks for the frames' markers.
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::event::epoll;
use rustix::net::RecvFlags;

use crate::frames::Markers;

/// Bytes that are discarded at once.
const DISCARD_BYTES: usize = 1 << 20;
/// Viewers that connect between two looks at those that are there.
const CONNECT_BATCH: usize = 16;
/// Viewers whose delay is measured: spread over the order in which they came, the first and the last among them.
const SAMPLED: usize = 32;

/// What the drain's thread and its owner share.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Viewers that are connected.
    pub(crate) connected: AtomicUsize,
    /// Bytes that all viewers got.
    pub(crate) bytes: AtomicU64,
    /// Viewers and publisher are to end; what the server does afterwards is no fault.
    pub(crate) stop: AtomicBool,
}

/// When the sampled viewers had a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// When it was sent, from the epoch.
    pub(crate) sent: Duration,
    /// How long the last of them waited.
    pub(crate) delay: Duration,
    viewers: usize,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Drained {
    /// Frames that all sampled viewers got.
    pub(crate) frames: Vec<Seen>,
    /// Fewest bytes that a viewer got, against the most.
    pub(crate) fairness: f64,
}

struct Viewer {
    socket: TcpStream,
    bytes: u64,
    markers: Option<Markers>,
}

/// Connects and drains until told to stop.
pub(crate) fn drain(
    server: SocketAddr,
    path: &str,
    (count, spin): (usize, bool),
    epoch: Instant,
    progress: &Progress,
) -> anyhow::Result<Drained> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let step = (count / SAMPLED).max(1);
    let mut viewers: Vec<Viewer> = Vec::with_capacity(count);
    let mut buf = vec![0; DISCARD_BYTES];
    let mut events = Vec::with_capacity(1024);
    let mut seen: Vec<Seen> = Vec::new();
    while !progress.stop.load(Relaxed) {
        for index in viewers.len()..count.min(viewers.len() + CONNECT_BATCH) {
            let mut socket = TcpStream::connect(server).context("a viewer cannot connect")?;
            write!(socket, "GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n")?;
            epoll::add(&poll, &socket, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
            let markers = (index % step == 0 || index + 1 == count).then(Markers::default);
            viewers.push(Viewer { socket, bytes: 0, markers });
            progress.connected.store(viewers.len(), Relaxed);
        }
        let wait = Duration::from_millis(if spin || viewers.len() < count { 0 } else { 20 });
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&wait.try_into()?)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut total = 0;
        for event in &events {
            let viewer = &mut viewers[event.data.u64() as usize];
            // With TRUNC a TCP socket drops the bytes instead of copying them.
            let drop = if viewer.markers.is_some() { RecvFlags::empty() } else { RecvFlags::TRUNC };
            let got = match rustix::net::recv(&viewer.socket, &mut buf, RecvFlags::DONTWAIT | drop) {
                Ok((0, 0)) | Err(_) if progress.stop.load(Relaxed) => break,
                Ok((kept, whole)) => kept.max(whole),
                Err(rustix::io::Errno::AGAIN) => continue,
                Err(error) => return Err(error).context("a viewer was cut off"),
            };
            if got == 0 {
                bail!("the server has closed a viewer's connection after {} bytes", viewer.bytes);
            }
            if viewer.bytes == 0 && viewer.markers.is_some() && !buf.starts_with(b"HTTP/1.1 200 ") {
                bail!("a viewer was refused: {}", String::from_utf8_lossy(&buf[..got.min(200)]));
            }
            viewer.bytes += got as u64;
            total += got as u64;
            if let Some(markers) = &mut viewer.markers {
                let now = epoch.elapsed();
                markers.feed(&buf[..got], |number, sent_us| {
                    let index = number as usize;
                    seen.resize(seen.len().max(index + 1), Seen::default());
                    let sent = Duration::from_micros(sent_us);
                    let old = seen[index];
                    let delay = now.saturating_sub(sent).max(old.delay);
                    seen[index] = Seen { sent, delay, viewers: old.viewers + 1 };
                });
            }
        }
        progress.bytes.fetch_add(total, Relaxed);
    }
    let sampled = viewers.iter().filter(|viewer| viewer.markers.is_some()).count();
    seen.retain(|frame| frame.viewers == sampled);
    let (least, most) = viewers.iter().fold((u64::MAX, 1), |(l, m), v| (l.min(v.bytes), m.max(v.bytes)));
    Ok(Drained { frames: seen, fairness: least as f64 / most as f64 })
}
