//! Tiny servers that misbehave on purpose: HTTP-FLV of the demo clip in real time, and the publisher's side of RTMP.
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use millstream_proto::flv::{Item, Reader, file_header, write_tag};
use millstream_proto::media::TagKind;
use millstream_proto::rtmp::{Event, Refusal, ServerConfig, ServerSession};
use millstream_proto::time::Time;

const DEMO: &[u8] = include_bytes!("../../../dataplane/millstream/clip/demo.flv");
/// The frames that one viewer gets damaged or not at all, in order of their tags.
const VICTIMS: std::ops::Range<usize> = 100..110;

/// What an HTTP server does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// Serves.
    Good,
    /// Answers so.
    Status(u16),
    /// Sends these bytes.
    Garbage(&'static [u8]),
    /// Accepts, and says nothing.
    Silent,
    /// Serves, then closes all.
    DieAfter(Duration),
    /// Serves, then sends nothing more.
    StallAfter(Duration),
    /// The second viewer gets some frames with other bytes.
    Damage,
    /// The second viewer does not get some frames.
    Lose,
}

/// An address on which nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An HTTP-FLV server.
pub(crate) struct FlvServer {
    address: SocketAddr,
}

impl FlvServer {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tags, born, number) = (Arc::new(tags()), Instant::now(), AtomicUsize::new(0));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if matches!(behaviour, Behaviour::DieAfter(after) if born.elapsed() > after) {
                    return;
                }
                let (tags, number) = (Arc::clone(&tags), number.fetch_add(1, Ordering::Relaxed));
                // A viewer that has gone ends its thread, whatever it was doing.
                std::thread::spawn(move || drop(serve(socket, behaviour, &tags, born, number)));
            }
        });
        Self { address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn tags() -> Vec<(TagKind, u32, Bytes)> {
    let mut reader = Reader::new();
    reader.push(DEMO).unwrap();
    let items = std::iter::from_fn(|| reader.poll().unwrap());
    let tags = items.filter_map(|item| match item {
        Item::Tag { kind, timestamp_ms, body } => Some((kind, timestamp_ms, body)),
        _ => None,
    });
    tags.collect()
}

fn serve(
    mut socket: TcpStream,
    behaviour: Behaviour,
    tags: &[(TagKind, u32, Bytes)],
    born: Instant,
    number: usize,
) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let _ = socket.read(&mut request)?;
    match behaviour {
        Behaviour::Status(status) => {
            return write!(socket, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        Behaviour::Garbage(bytes) => return socket.write_all(bytes),
        Behaviour::Silent => {
            std::thread::sleep(Duration::from_secs(20));
            return Ok(());
        }
        _ => {}
    }
    write!(socket, "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    chunk(&mut socket, &file_header(true, true))?;
    // Everybody sees the clip from its start, on time stamps that are the same for all: what a late comer has missed comes at once.
    for (n, (kind, timestamp_ms, body)) in tags.iter().enumerate() {
        let due = Duration::from_millis(u64::from(*timestamp_ms));
        let age = born.elapsed();
        match behaviour {
            Behaviour::DieAfter(after) if age > after => return Ok(()),
            Behaviour::StallAfter(after) if age > after => std::thread::sleep(Duration::from_secs(20)),
            _ => {}
        }
        std::thread::sleep(due.saturating_sub(age));
        let victim = number == 1 && VICTIMS.contains(&n);
        let mut body = body.to_vec();
        match behaviour {
            Behaviour::Lose if victim => continue,
            Behaviour::Damage if victim => {
                if let Some(byte) = body.last_mut() {
                    *byte ^= 1;
                }
            }
            _ => {}
        }
        let mut tag = BytesMut::new();
        write_tag(&mut tag, *kind, *timestamp_ms, &body).unwrap();
        chunk(&mut socket, &tag)?;
    }
    Ok(())
}

fn chunk(socket: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
    framed.extend_from_slice(bytes);
    framed.extend_from_slice(b"\r\n");
    socket.write_all(&framed)
}

/// What an RTMP server does to a publisher.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RtmpBehaviour {
    /// Sends something else.
    Garbage,
    /// Says that the name is taken.
    Refuse,
    /// Says nothing.
    Silent,
    /// Takes it for so long.
    CloseAfter(Duration),
}

/// Starts one; where it listens.
pub(crate) fn rtmp_server(behaviour: RtmpBehaviour) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || drop(take_publisher(socket, behaviour)));
        }
    });
    address
}

fn take_publisher(mut socket: TcpStream, behaviour: RtmpBehaviour) -> std::io::Result<()> {
    match behaviour {
        RtmpBehaviour::Garbage => {
            // As long as a handshake, and then some: what it says is no chunk.
            socket.write_all(&[0x03; 3073])?;
            socket.write_all(&[0xC3; 4096])?;
            std::thread::sleep(Duration::from_secs(5));
            return Ok(());
        }
        RtmpBehaviour::Silent => {
            std::thread::sleep(Duration::from_secs(20));
            return Ok(());
        }
        _ => {}
    }
    let born = Instant::now();
    let mut session = ServerSession::new(Time::ZERO, ServerConfig::default());
    let mut buffer = vec![0; 64 << 10];
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    loop {
        while let Some(event) = session.poll_event() {
            if let Event::PublishRequested(_) = event {
                match behaviour {
                    RtmpBehaviour::Refuse => session.reject(Time::ZERO, Refusal::Busy, "the name is taken"),
                    _ => session.accept(Time::ZERO).map_err(std::io::Error::other)?,
                }
            }
        }
        while let Some(output) = session.poll_output() {
            socket.write_all(&output)?;
        }
        if matches!(behaviour, RtmpBehaviour::CloseAfter(after) if born.elapsed() > after) {
            return Ok(());
        }
        match socket.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => session.handle_input(Time::ZERO, &buffer[..count]).map_err(std::io::Error::other)?,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}
