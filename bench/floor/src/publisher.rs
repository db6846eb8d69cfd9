//! Sends the stream's frames when they are due: over RTMP to the product, as FLV tags to a baseline.
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::BytesMut;
use millstream_proto::flv;
use millstream_proto::limits::RTMP_CHUNK_SIZE_OUT;
use millstream_proto::rtmp::{ClientConfig, ClientEvent, ClientRole, ClientSession};
use millstream_proto::secret::Secret;
use millstream_proto::time::Time;
use rustix::net::RecvFlags;

use crate::frames::{Frames, HEADERS};

/// The id that the product's stream has.
pub(crate) const STREAM: &str = "floor";
const PATIENCE: Duration = Duration::from_secs(10);

/// What the server at the other end speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wire {
    /// RTMP.
    Rtmp,
    /// FLV tags, nothing else.
    Tags,
}

/// Publishes until stopped. Says on `ready` when the server has accepted it.
pub(crate) fn publish(
    server: SocketAddr,
    wire: Wire,
    epoch: Instant,
    stop: &AtomicBool,
    ready: &SyncSender<()>,
) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let mut session = None;
    if wire == Wire::Rtmp {
        let mut accepted = connect(&mut socket, server)?;
        for (kind, body) in HEADERS {
            accepted.send(kind, 0, body)?;
        }
        session = Some(accepted);
    }
    ready.send(())?;
    let start = Instant::now();
    for frame in Frames::default() {
        if let Some(wait) = frame.at.checked_sub(start.elapsed()) {
            std::thread::sleep(wait);
        }
        if stop.load(Relaxed) {
            return Ok(());
        }
        let body = frame.body(epoch.elapsed().as_micros() as u64);
        let ms = frame.at.as_millis() as u32;
        if let Some(session) = &mut session {
            session.send(frame.kind, ms, &body)?;
            match listen(&socket, session).and_then(|()| Ok(flush(&mut socket, session)?)) {
                Err(_) if stop.load(Relaxed) => return Ok(()),
                sent => sent?,
            }
        } else {
            let mut tag = BytesMut::new();
            flv::write_tag(&mut tag, frame.kind, ms, &body)?;
            match socket.write_all(&tag) {
                Err(_) if stop.load(Relaxed) => return Ok(()),
                sent => sent?,
            }
        }
    }
    Ok(())
}

fn connect(socket: &mut TcpStream, server: SocketAddr) -> anyhow::Result<ClientSession> {
    let config = ClientConfig {
        app: "stream".to_owned(),
        tc_url: Secret::new(format!("rtmp://{server}/stream")),
        stream: Secret::new(STREAM),
        role: ClientRole::Publish,
        chunk_size: RTMP_CHUNK_SIZE_OUT,
    };
    let mut session = ClientSession::new(Time::ZERO, config);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        flush(socket, &mut session)?;
        listen(socket, &mut session)?;
        match session.poll_event() {
            Some(ClientEvent::Ready) => return Ok(session),
            Some(event) => bail!("the server refuses the publisher: {event:?}"),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    bail!("the server does not accept the publisher in time")
}

/// Takes what the server says, without waiting.
fn listen(socket: &TcpStream, session: &mut ClientSession) -> anyhow::Result<()> {
    let mut buf = [0; 4096];
    match rustix::net::recv(socket, &mut buf, RecvFlags::DONTWAIT) {
        Ok((0, _)) => bail!("the server has closed the publisher's connection"),
        Ok((count, _)) => session.handle_input(Time::ZERO, &buf[..count])?,
        Err(rustix::io::Errno::AGAIN) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn flush(socket: &mut TcpStream, session: &mut ClientSession) -> std::io::Result<()> {
    while let Some(bytes) = session.poll_output() {
        socket.write_all(&bytes)?;
    }
    Ok(())
}
