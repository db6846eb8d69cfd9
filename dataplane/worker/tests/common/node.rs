//! A node for tests: a stream by HTTP-FLV as a node sends it (headers, the newest GOP at once, then live), and a sink for what is published.
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use millstream_proto::flv::{file_header, write_tag};
use millstream_proto::media::{Frame, MediaEvent, Track};
use millstream_proto::rtmp::{Event, ServerConfig, ServerSession};
use millstream_proto::time::Time;

use super::Sent;

/// What the stream is, and what becomes of those who ask for it.
pub(crate) struct Stream {
    headers: Vec<Sent>,
    frames: Vec<Sent>,
    period_ms: u32,
    began: Instant,
    pub(crate) connections: AtomicUsize,
    pub(crate) active: AtomicUsize,
    /// Connections are closed.
    pub(crate) cut: AtomicBool,
    /// There is no such stream.
    pub(crate) gone: AtomicBool,
}

/// What one rendition has published.
#[derive(Default, Clone)]
pub(crate) struct Published {
    pub(crate) connections: usize,
    pub(crate) ended: usize,
    pub(crate) frames: Vec<(Instant, Frame)>,
    pub(crate) configs: Vec<(Instant, Track)>,
    pub(crate) metadata: usize,
    pub(crate) token: String,
}

impl Published {
    /// Keyframe, decode and presentation time of each video frame.
    pub(crate) fn video(&self) -> Vec<(bool, i64, i64)> {
        let video = self.frames.iter().map(|(_, frame)| frame).filter(|frame| frame.track == Track::Video);
        video.map(|frame| (frame.keyframe, frame.dts_ms, frame.dts_ms + i64::from(frame.cts_ms))).collect()
    }

    pub(crate) fn first_video(&self) -> Option<Instant> {
        self.frames.iter().find(|(_, frame)| frame.track == Track::Video).map(|(at, _)| *at)
    }
}

pub(crate) struct Node {
    pub(crate) stream: Arc<Stream>,
    pub(crate) published: Arc<Mutex<HashMap<String, Published>>>,
    /// Publishing connections are closed.
    pub(crate) cut_publishers: Arc<AtomicBool>,
    http: SocketAddr,
    rtmp: SocketAddr,
}

impl Node {
    /// A node whose stream repeats these tags for ever, and is at `at_ms` now.
    pub(crate) fn start(tags: Vec<Sent>, period_ms: u32, at_ms: u64) -> Self {
        let (frames, headers): (Vec<Sent>, Vec<Sent>) =
            tags.into_iter().partition(|tag| tag.is_video() || tag.is_audio());
        // The mark of the end is none.
        let headers = headers.into_iter().filter(|tag| tag.body.get(1) != Some(&2)).collect();
        let stream = Arc::new(Stream {
            headers,
            frames,
            period_ms,
            began: Instant::now().checked_sub(Duration::from_millis(at_ms)).unwrap(),
            connections: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            cut: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        });
        let published: Arc<Mutex<HashMap<String, Published>>> = Arc::default();
        let cut_publishers = Arc::new(AtomicBool::new(false));
        let (http, rtmp) = (listen(), listen());
        let node = Self {
            stream: Arc::clone(&stream),
            published: Arc::clone(&published),
            cut_publishers: Arc::clone(&cut_publishers),
            http: http.local_addr().unwrap(),
            rtmp: rtmp.local_addr().unwrap(),
        };
        thread::spawn(move || {
            for viewer in http.incoming().flatten() {
                let stream = Arc::clone(&stream);
                thread::spawn(move || {
                    stream.connections.fetch_add(1, Ordering::SeqCst);
                    stream.active.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.serve(viewer);
                    stream.active.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        thread::spawn(move || {
            for publisher in rtmp.incoming().flatten() {
                let (published, cut) = (Arc::clone(&published), Arc::clone(&cut_publishers));
                thread::spawn(move || sink(publisher, &published, &cut));
            }
        });
        node
    }

    pub(crate) fn source(&self) -> String {
        format!("http://{}/cam/live.flv?job=s3cret", self.http)
    }

    pub(crate) fn push(&self, name: &str) -> String {
        format!("rtmp://{}/stream/cam/{name}?job=s3cret", self.rtmp)
    }

    pub(crate) fn of(&self, name: &str) -> Published {
        self.published.lock().unwrap().get(name).cloned().unwrap_or_default()
    }
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

impl Stream {
    /// Decode time of the newest tag that is there.
    pub(crate) fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn tag(&self, at: usize) -> Sent {
        let mut tag = self.frames[at % self.frames.len()].clone();
        tag.timestamp_ms += (at / self.frames.len()) as u32 * self.period_ms;
        tag
    }

    fn serve(&self, mut viewer: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            viewer.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"GET /cam/live.flv?job=s3cret HTTP/1.1\r\n"), "{}", head.escape_ascii());
        if self.gone.load(Ordering::SeqCst) {
            return viewer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        }
        viewer.set_nodelay(true)?;
        viewer.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let mut out = BytesMut::from(&file_header(true, true)[..]);
        for tag in &self.headers {
            write_tag(&mut out, tag.kind, tag.timestamp_ms, &tag.body).unwrap();
        }
        let now_ms = self.now_ms();
        let mut at = 0;
        while u64::from(self.tag(at).timestamp_ms) <= now_ms {
            at += 1;
        }
        while at > 0 && (u64::from(self.tag(at).timestamp_ms) > now_ms || !self.tag(at).is_keyframe()) {
            at -= 1;
        }
        loop {
            while u64::from(self.tag(at).timestamp_ms) <= self.now_ms() {
                let tag = self.tag(at);
                write_tag(&mut out, tag.kind, tag.timestamp_ms, &tag.body).unwrap();
                at += 1;
            }
            if !out.is_empty() {
                let chunk = out.split();
                viewer.write_all(&[format!("{:x}\r\n", chunk.len()).as_bytes(), &chunk, b"\r\n"].concat())?;
            }
            if self.cut.load(Ordering::SeqCst) || self.gone.load(Ordering::SeqCst) {
                return Ok(());
            }
            // A viewer that has closed is noticed without a write.
            viewer.set_nonblocking(true)?;
            let closed = matches!(viewer.peek(&mut byte), Ok(0));
            viewer.set_nonblocking(false)?;
            if closed {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(3));
        }
    }
}

fn sink(mut socket: TcpStream, published: &Mutex<HashMap<String, Published>>, cut: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (mut session, mut buffer, mut name) =
        (ServerSession::new(Time::ZERO, ServerConfig::default()), vec![0; 65_536], None);
    loop {
        let length = match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => 0,
            Err(_) => break,
        };
        if cut.load(Ordering::SeqCst) {
            break;
        }
        session.handle_input(Time::ZERO, &buffer[..length]).expect("RTMP");
        while let Some(event) = session.poll_event() {
            let now = Instant::now();
            let mut all = published.lock().unwrap();
            match event {
                Event::PublishRequested(request) => {
                    assert_eq!(request.app, "stream/cam");
                    session.accept(Time::ZERO).expect("more RTMP");
                    let mine = all.entry(request.name.clone()).or_default();
                    mine.connections += 1;
                    request.params.all("job").next().unwrap_or_default().clone_into(&mut mine.token);
                    name = Some(request.name);
                }
                Event::Media(event) => {
                    let mine = all.get_mut(name.as_ref().unwrap()).unwrap();
                    match event {
                        MediaEvent::Frame(frame) => mine.frames.push((now, frame)),
                        MediaEvent::Config(config) => mine.configs.push((now, config.track)),
                        MediaEvent::Metadata(_) => mine.metadata += 1,
                        other => panic!("{other:?}"),
                    }
                }
                Event::PublishEnded => all.get_mut(name.as_ref().unwrap()).unwrap().ended += 1,
                _ => {}
            }
        }
        while let Some(output) = session.poll_output() {
            let _ = socket.write_all(&output);
        }
    }
}
