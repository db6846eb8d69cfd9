//! The demo's encoder: a thread with a blocking socket that pushes the clip in real time over loopback, as any encoder would; it has
//! no way into the engine but the RTMP port. Before it: [`super::clip`]; after it: the server that runs in this very process.
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use millstream_proto::limits::RTMP_CHUNK_SIZE_OUT;
use millstream_proto::rtmp::{ClientConfig, ClientEvent, ClientRole, ClientSession};
use millstream_proto::secret::Secret;
use millstream_proto::time::Time;
use tracing::{info, warn};

use super::DEMO_ID;
use super::clip::Clip;

/// Longest wait for the server to take a connection or bytes, or to accept the publisher.
const PATIENCE: Duration = Duration::from_secs(5);
/// First and longest wait before the next attempt.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Longest sleep in a read, so that a stop is noticed.
const READ_MAX: Duration = Duration::from_millis(100);

/// The running publisher. Clones are of the same one.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    stopped: Arc<AtomicBool>,
    thread: Thread,
}

impl Publisher {
    /// Tells the publisher to say goodbye; it does so within [`READ_MAX`]. Once is enough.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Starts to publish to the server at this address, until stopped. The receiver is told when it is on air.
pub(super) fn start(server: SocketAddr, clip: Clip) -> std::io::Result<(Publisher, Receiver<()>)> {
    let stopped = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stopped);
    let (sender, on_air) = sync_channel(1);
    let thread = std::thread::Builder::new()
        .name("demo-publisher".to_owned())
        .spawn(move || publish_until_stopped(server, &clip, &seen, &sender))?;
    Ok((Publisher { stopped, thread: thread.thread().clone() }, on_air))
}

fn publish_until_stopped(server: SocketAddr, clip: &Clip, stopped: &AtomicBool, told: &SyncSender<()>) {
    let mut backoff = BACKOFF_MIN;
    while !stopped.load(Ordering::Acquire) {
        let started = Instant::now();
        match publish(server, clip, stopped, told) {
            Ok(()) => return,
            Err(error) => warn!("the demo's publisher was interrupted, and tries again in {backoff:?}: {error:#}"),
        }
        if started.elapsed() > BACKOFF_MAX {
            backoff = BACKOFF_MIN;
        }
        // A stop unparks it.
        std::thread::park_timeout(backoff);
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// One session: to its end, which is an error unless it was stopped.
fn publish(server: SocketAddr, clip: &Clip, stopped: &AtomicBool, told: &SyncSender<()>) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect_timeout(&server, PATIENCE).context("cannot connect")?;
    socket.set_nodelay(true).context("cannot set up the socket")?;
    socket.set_write_timeout(Some(PATIENCE)).context("cannot set up the socket")?;
    let epoch = Instant::now();
    let now = || Time::ZERO + epoch.elapsed();
    let mut session = ClientSession::new(now(), config(server));
    let mut on_air: Option<(Instant, usize)> = None;
    let mut buffer = [0_u8; 4096];
    loop {
        match session.poll_event() {
            Some(ClientEvent::Ready) => {
                info!(stream = DEMO_ID, "the demo's publisher is on air");
                for tag in &clip.head {
                    session.send(tag.kind, tag.timestamp_ms, &tag.body)?;
                }
                on_air = Some((Instant::now(), 0));
                // Full: told before.
                let _ = told.try_send(());
            }
            Some(ClientEvent::Refused { code, description } | ClientEvent::Ended { code, description }) => {
                bail!("the server ended the session: {code} {description}")
            }
            _ => {}
        }
        if stopped.load(Ordering::Acquire) {
            session.finish();
            // The server may have gone first, and that is as good.
            drop(write_all(&mut socket, &mut session));
            return Ok(());
        }
        let wait = match &mut on_air {
            Some((start, next)) => send_what_is_due(&mut session, clip, start.elapsed(), next)?,
            None if epoch.elapsed() > PATIENCE => bail!("the server did not accept the publisher in time"),
            None => READ_MAX,
        };
        write_all(&mut socket, &mut session).context("cannot send")?;
        // A timeout of zero would mean none.
        socket.set_read_timeout(Some(wait.clamp(Duration::from_millis(1), READ_MAX))).context("cannot wait")?;
        match socket.read(&mut buffer) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => session.handle_input(now(), &buffer[..count])?,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
}

fn config(server: SocketAddr) -> ClientConfig {
    ClientConfig {
        app: "stream".to_owned(),
        tc_url: Secret::new(format!("rtmp://{server}/stream")),
        stream: Secret::new(DEMO_ID),
        role: ClientRole::Publish,
        chunk_size: RTMP_CHUNK_SIZE_OUT,
    }
}

/// Hands over every tag whose time has come; how long until the next one.
fn send_what_is_due(
    session: &mut ClientSession,
    clip: &Clip,
    elapsed: Duration,
    next: &mut usize,
) -> anyhow::Result<Duration> {
    loop {
        let (due, tag) = clip.frame(*next);
        if let Some(wait) = due.checked_sub(elapsed).filter(|wait| !wait.is_zero()) {
            return Ok(wait);
        }
        // Time stamps of RTMP are modulo 2^32.
        session.send(tag.kind, due.as_millis() as u32, &tag.body)?;
        *next += 1;
    }
}

fn write_all(socket: &mut TcpStream, session: &mut ClientSession) -> std::io::Result<()> {
    while let Some(bytes) = session.poll_output() {
        socket.write_all(&bytes)?;
    }
    Ok(())
}
