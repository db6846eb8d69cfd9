//! Recorded files for tests: in memory, with readers that do what real ones do on a bad day, and in a directory. And a viewer that asks for several
//! on one connection.
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use millstream_engine::config::{Config, IoChoice};
use millstream_engine::recorded::{
    EntityTag, FileAnswer, FileRequest, FoundFile, Growth, RecordedConfig, RecordedFiles, SendError,
};
use millstream_proto::secret::Secret;
use tokio::runtime::{Builder, Runtime};

use crate::harness::{SOON, config};

/// Bytes of a read.
const READ_BYTES: u64 = 64 << 10;

/// A configuration with these files.
pub(crate) fn with_files(io: IoChoice, shards: usize, files: Arc<dyn RecordedFiles>) -> Config {
    let recorded = RecordedConfig { files: Some(files), ..RecordedConfig::default() };
    Config { recorded, ..config(io, shards) }
}

/// Bytes that can be told apart by their place.
pub(crate) fn pattern(count: usize) -> Bytes {
    (0..count as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<u8>>().into()
}

/// What a reader does.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Reader {
    /// It reads so many bytes at once.
    Reads(usize),
    /// The same, each after a while.
    Slow(usize, Duration),
    /// It stops after so many bytes of what is wanted.
    Stops(u64),
    /// It hangs after so many.
    Hangs(u64),
    /// It hangs before it has said anything.
    HangsAtOnce,
    /// It says nothing, and goes.
    Drops,
    /// It panics at the shard.
    Panics,
    /// It sends a byte more than is wanted.
    TooMuch,
    /// The file is elsewhere.
    Redirects,
    /// Nobody may have it.
    Denies,
    /// The store is away.
    Unavailable,
}

/// What the readers have seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Files that were asked for, by path.
    pub(crate) asked: Mutex<Vec<FileRequest>>,
    /// Bytes that were taken.
    pub(crate) sent: AtomicU64,
    /// Readers that were told that their viewer has gone.
    pub(crate) gone: AtomicUsize,
    /// Pieces that were too much.
    pub(crate) beyond: AtomicUsize,
    /// Those that hang may go.
    pub(crate) released: AtomicBool,
}

struct Stored {
    bytes: Bytes,
    growth: Growth,
    reader: Reader,
}

/// Files in memory.
pub(crate) struct Memory {
    files: HashMap<String, Stored>,
    pub(crate) seen: Arc<Seen>,
    runtime: Option<Runtime>,
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).max_blocking_threads(8).enable_time().build().unwrap()
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { files: HashMap::new(), seen: Arc::default(), runtime: Some(runtime()) }
    }

    pub(crate) fn with(mut self, path: &str, bytes: Bytes, growth: Growth, reader: Reader) -> Self {
        self.files.insert(path.to_owned(), Stored { bytes, growth, reader });
        self
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.seen.released.store(true, Ordering::SeqCst);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Of the bytes alone: the same in each run.
fn tag_of(bytes: &[u8]) -> EntityTag {
    let sum = bytes.iter().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    EntityTag::new(&format!("{sum:x}-{}", bytes.len())).unwrap()
}

/// When everything in memory was changed: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const MODIFIED_UNIX_S: u64 = 784_111_777;

impl RecordedFiles for Memory {
    fn get(&self, request: FileRequest, answer: FileAnswer) {
        self.seen.asked.lock().unwrap().push(request.clone());
        let Some(stored) = self.files.get(&request.path.to_string()) else { return answer.not_found() };
        let (bytes, growth, reader, seen) =
            (stored.bytes.clone(), stored.growth, stored.reader, Arc::clone(&self.seen));
        assert!(reader != Reader::Panics, "somebody's files panic, on purpose");
        self.runtime.as_ref().unwrap().spawn(async move {
            let released = async || {
                while !seen.released.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            match reader {
                Reader::HangsAtOnce => return released().await,
                Reader::Drops => return drop(answer),
                Reader::Redirects => return answer.redirect(Secret::new("https://bucket.example/a.mp4?X-Sig=a%2Fb")),
                Reader::Denies => return answer.denied(),
                Reader::Unavailable => return answer.unavailable(Duration::from_secs(7)),
                _ => {}
            }
            let tag = tag_of(&bytes);
            let file = FoundFile { bytes: bytes.len() as u64, tag, modified_unix_s: Some(MODIFIED_UNIX_S), growth };
            let Some(mut body) = answer.found(file) else { return };
            let range = body.range();
            let mut rest = bytes.slice(range.start as usize..range.end as usize);
            let (piece, pause, stops_at, hangs_at) = match reader {
                Reader::Slow(piece, pause) => (piece, pause, None, None),
                Reader::Reads(piece) => (piece, Duration::ZERO, None, None),
                Reader::Stops(at) => (1_000, Duration::ZERO, Some(at), None),
                Reader::Hangs(at) => (1_000, Duration::ZERO, None, Some(at)),
                _ => (1_000, Duration::ZERO, None, None),
            };
            let mut sent = 0;
            while !rest.is_empty() {
                if stops_at.is_some_and(|at| sent >= at) {
                    return;
                }
                if hangs_at.is_some_and(|at| sent >= at) {
                    released().await;
                    return;
                }
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                let count = rest.len().min(piece);
                if let Err(error) = body.send(rest.split_to(count)).await {
                    assert_eq!(error, SendError::Gone);
                    assert!(!body.is_wanted());
                    seen.gone.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                sent += count as u64;
                seen.sent.fetch_add(count as u64, Ordering::SeqCst);
            }
            assert_eq!(body.left(), 0);
            if reader == Reader::TooMuch {
                assert_eq!(body.send(Bytes::from_static(b"!")).await, Err(SendError::Beyond));
                seen.beyond.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
}

/// Files in a directory, named as they are asked for. Opened and read by threads for that, of which there are few: a viewer that is slow holds none.
pub(crate) struct Directory {
    root: PathBuf,
    /// What was changed within this time may be changed again.
    settles_after: Duration,
    runtime: Option<Runtime>,
}

impl Directory {
    pub(crate) fn new(root: &Path, settles_after: Duration) -> Self {
        Self { root: root.to_owned(), settles_after, runtime: Some(runtime()) }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl RecordedFiles for Directory {
    fn get(&self, request: FileRequest, answer: FileAnswer) {
        // Its parts are checked: no path of a request leads out of the directory.
        let (path, settles_after) = (self.root.join(request.path.to_string()), self.settles_after);
        self.runtime.as_ref().unwrap().spawn(async move {
            let Some((file, meta)) = blocking(move || open(&path)).await else { return answer.not_found() };
            let Some(mut body) = answer.found(found(&meta, settles_after)) else { return };
            let file = Arc::new(file);
            let mut range = body.range();
            while !range.is_empty() {
                let (of_thread, at) = (Arc::clone(&file), range.start);
                let count = READ_BYTES.min(range.end - range.start) as usize;
                let piece = blocking(move || {
                    let mut bytes = vec![0; count];
                    let count = of_thread.read_at(&mut bytes, at).unwrap_or(0);
                    bytes.truncate(count);
                    Bytes::from(bytes)
                })
                .await;
                range.start += piece.len() as u64;
                // It was made shorter, or cannot be read: the viewer finds its connection closed.
                if piece.is_empty() || body.send(piece).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn open(path: &Path) -> Option<(File, Metadata)> {
    let file = File::open(path).ok()?;
    let meta = file.metadata().ok().filter(Metadata::is_file)?;
    Some((file, meta))
}

fn found(meta: &Metadata, settles_after: Duration) -> FoundFile {
    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let is_settled = modified.elapsed().is_ok_and(|age| age >= settles_after);
    // A file that is replaced is another one; one that is appended to has another length.
    let tag = format!("{:x}-{:x}-{:x}{:08x}", meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
    FoundFile {
        bytes: meta.len(),
        tag: EntityTag::new(&tag).expect("digits and hyphens"),
        modified_unix_s: u64::try_from(meta.mtime()).ok(),
        growth: if is_settled { Growth::Closed } else { Growth::Growing },
    }
}

/// A connection on which one thing is asked for after the other.
pub(crate) struct Viewer {
    pub(crate) socket: TcpStream,
    unread: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The connection ended before all of it had come.
    pub(crate) cut: bool,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.split_once(": ").filter(|(n, _)| *n == name).map(|(_, value)| value))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Viewer {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, unread: Vec::new() }
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, headers: &str) {
        write!(self.socket, "{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n").unwrap();
    }

    pub(crate) fn get(&mut self, path: &str, headers: &str) -> Got {
        self.ask("GET", path, headers);
        self.answer(false)
    }

    pub(crate) fn head(&mut self, path: &str, headers: &str) -> Got {
        self.ask("HEAD", path, headers);
        self.answer(true)
    }

    /// Reads what comes; false: the end.
    fn read(&mut self) -> bool {
        let mut buf = vec![0; 256 << 10];
        loop {
            match self.socket.read(&mut buf) {
                // The kernel cleans up after the ring that the engine tried out on this thread.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) => return false,
                Ok(count) => {
                    self.unread.extend_from_slice(&buf[..count]);
                    return true;
                }
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return false,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// The next answer, with as many bytes as its head announces.
    pub(crate) fn answer(&mut self, head_only: bool) -> Got {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if !self.read() {
                assert!(self.unread.is_empty(), "half a head");
                return Got { status: 0, head: String::new(), body: Vec::new(), cut: true };
            }
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut got = Got { status, head, body: Vec::new(), cut: false };
        let length: Option<usize> = got.header("Content-Length").map(|length| length.parse().unwrap());
        assert!(length.is_some() || matches!(status, 204 | 304), "{}", got.head);
        let length = if head_only { 0 } else { length.unwrap_or(0) };
        while self.unread.len() < length {
            if !self.read() {
                got.cut = true;
                break;
            }
        }
        got.body = self.unread.drain(..length.min(self.unread.len())).collect();
        got
    }

    /// Whether the server has closed, and said nothing more.
    pub(crate) fn is_closed(&mut self) -> bool {
        !self.read() && self.unread.is_empty()
    }
}
