//! The end of a target on the network: a task that connects, publishes what its follower hands over, waits and tries again, until the stream is
//! over. Before it: [`super::follower`]; after it: the target.
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use millstream_fleet::backoff::Backoff;
use millstream_fleet::http::client::AskError;
use millstream_fleet::http::dial::Connected;
use millstream_proto::rtmp::address::PushAddress;
use millstream_proto::rtmp::relay_path::Stop;
use millstream_proto::rtmp::{ClientEvent, ClientSession};
use millstream_proto::time::Time;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::link::{Link, Piece, State};
use super::tags::Outgoing;

/// From the look-up of the name to the target's yes.
const CONNECT_WAIT: Duration = Duration::from_secs(15);
/// A target that takes nothing for so long has gone.
const STALL: Duration = Duration::from_secs(20);
/// Waits between tries.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// A target that was on air for so long is tried again soon.
const GOOD: Duration = Duration::from_mins(1);
/// A stream whose settings change has other followers: the new one is here within this time, or the stream is over.
const NEW_FOLLOWER_WAIT: Duration = Duration::from_secs(1);
/// Time for the goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
const READ_BYTES: usize = 16 << 10;
/// Characters of a target's own words that are told.
const WORDS_MAX: usize = 200;

/// A connection that is being made.
pub(super) type Dialling = Pin<Box<dyn Future<Output = Result<Box<dyn Connected>, AskError>> + Send>>;

/// One target of a stream.
pub(super) struct Push {
    pub(super) stream: String,
    pub(super) address: PushAddress,
    pub(super) link: Arc<Link>,
    /// Connects to its address.
    pub(super) dial: Box<dyn Fn() -> Dialling + Send>,
    /// This stream on this server.
    pub(super) stop: Stop,
    /// From the follower of now, and from those that come.
    pub(super) pieces: Receiver<Piece>,
    pub(super) followers: UnboundedReceiver<Receiver<Piece>>,
    /// Its follower has gone, and another one comes before this or never.
    pub(super) alone_until: Option<Instant>,
}

/// Why a connection is no more.
enum End {
    /// The stream is over.
    Over,
    /// It failed, or the target ended it.
    Failed(String),
}

impl Push {
    /// Runs to the end of the stream.
    pub(super) async fn run(mut self, seed: u64) {
        let (least, most) = RETRY;
        let mut backoff = Backoff::new(least, most, seed);
        for connection in 1.. {
            self.link.enter(State::Connecting, None);
            let mut on_air_since = None;
            let end = self.connect(connection, &mut on_air_since).await;
            self.link.want(0);
            let End::Failed(why) = end else { break };
            if on_air_since.is_some_and(|since: Instant| since.elapsed() >= GOOD) {
                backoff.reset();
            }
            let wait = backoff.next_wait();
            let Self { stream, link, .. } = &self;
            tracing::warn!(%stream, target_server = %link.target, why, wait_s = wait.as_secs_f64(), "relay ended; it is tried again");
            self.link.enter(State::Waiting, Some(why));
            tokio::select! {
                () = sleep(wait) => {}
                () = self.over() => break,
            }
        }
        tracing::info!(stream = %self.stream, target_server = %self.link.target, "relay over");
    }

    /// The next piece; `None`: the stream is over. May be dropped and called again: what comes of the connection meanwhile does not prolong the
    /// wait for another follower.
    async fn next(&mut self) -> Option<Piece> {
        loop {
            if let Some(piece) = self.pieces.recv().await {
                return Some(piece);
            }
            let until = *self.alone_until.get_or_insert_with(|| Instant::now() + NEW_FOLLOWER_WAIT);
            self.pieces = timeout_at(until, self.followers.recv()).await.ok().flatten()?;
            self.alone_until = None;
        }
    }

    /// Waits until the stream is over, and takes nothing of it.
    async fn over(&mut self) {
        while self.next().await.is_some() {}
    }

    async fn connect(&mut self, connection: u64, on_air_since: &mut Option<Instant>) -> End {
        let link = Arc::clone(&self.link);
        let path = tokio::select! {
            path = link.path() => path,
            () = self.over() => return End::Over,
        };
        let Some(path) = path.through(self.stop) else {
            return End::Failed("the stream has come through too many servers of this kind".to_owned());
        };
        let deadline = Instant::now() + CONNECT_WAIT;
        let dialling = (self.dial)();
        let socket = tokio::select! {
            socket = dialling => socket,
            () = sleep_until(deadline) => return End::Failed(format!("no connection within {} s", CONNECT_WAIT.as_secs())),
            () = self.over() => return End::Over,
        };
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => return End::Failed(error.to_string()),
        };
        let session = ClientSession::new(Time::ZERO, self.address.client_config()).named(path.to_string());
        self.speak(connection, socket, session, (deadline, on_air_since)).await
    }

    async fn speak(
        &mut self,
        connection: u64,
        socket: Box<dyn Connected>,
        mut session: ClientSession,
        (deadline, on_air_since): (Instant, &mut Option<Instant>),
    ) -> End {
        let (mut reader, mut writer) = tokio::io::split(socket);
        let (mut input, mut output) = (vec![0; READ_BYTES], Bytes::new());
        let (mut outgoing, mut progress) = (Outgoing::default(), Instant::now());
        loop {
            if output.is_empty() {
                output = session.poll_output().unwrap_or_default();
                progress = Instant::now();
            }
            let patience = match (on_air_since.is_some(), output.is_empty()) {
                (false, _) => Some(deadline),
                (true, false) => Some(progress + STALL),
                (true, true) => None,
            };
            tokio::select! {
                read = reader.read(&mut input) => {
                    let bytes = match read {
                        Ok(0) => return End::Failed("the target closed the connection".to_owned()),
                        Ok(length) => input.get(..length).unwrap_or_default(),
                        Err(error) if is_close(&error) => return End::Failed("the target closed the connection".to_owned()),
                        Err(error) => return End::Failed(format!("the connection broke: {error}")),
                    };
                    if let Err(error) = session.handle_input(Time::ZERO, bytes) {
                        return End::Failed(format!("the target does not speak RTMP as it should: {error}"));
                    }
                    while let Some(event) = session.poll_event() {
                        match event {
                            ClientEvent::Ready => {
                                *on_air_since = Some(Instant::now());
                                self.link.enter(State::OnAir, None);
                                tracing::info!(stream = %self.stream, target_server = %self.link.target, "relay on air");
                                self.link.want(connection);
                            }
                            ClientEvent::Refused { code, description } => {
                                return End::Failed(said("the target refused the stream", &code, &description));
                            }
                            ClientEvent::Ended { code, description } => {
                                return End::Failed(said("the target ended the stream", &code, &description));
                            }
                            _ => {}
                        }
                    }
                }
                written = writer.write(&output), if !output.is_empty() => match written {
                    Ok(0) | Err(_) => return End::Failed("the target closed the connection".to_owned()),
                    Ok(length) => {
                        output.advance(length);
                        self.link.sent(length);
                        progress = Instant::now();
                    }
                },
                piece = self.next(), if output.is_empty() => {
                    let Some(piece) = piece else {
                        session.finish();
                        let goodbye = session.poll_output().unwrap_or_default();
                        let saying = async { writer.write_all(&goodbye).await.and(writer.shutdown().await) };
                        // It is over whether the target hears it or not.
                        drop(timeout(GOODBYE, saying).await);
                        return End::Over;
                    };
                    if piece.connection != connection {
                        continue;
                    }
                    let sent = outgoing.block(&piece.block, piece.after_loss, |kind, ms, body| session.send(kind, ms, body));
                    if let Err(error) = sent {
                        return End::Failed(format!("the target takes nothing: {error}"));
                    }
                }
                () = at(patience) => {
                    let why = if on_air_since.is_some() {
                        format!("the target took nothing for {} s", STALL.as_secs())
                    } else {
                        format!("the target did not let the stream in within {} s", CONNECT_WAIT.as_secs())
                    };
                    return End::Failed(why);
                }
            }
        }
    }
}

/// What reading says where the peer has closed while bytes were on their way to it; or, with TLS, without its goodbye.
fn is_close(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof)
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What happened, with the target's words, cut and without control characters: they can be anything.
fn said(what: &str, code: &str, description: &str) -> String {
    let words = [code, description].join(" ");
    let words: String = words.trim().chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
    if words.is_empty() { what.to_owned() } else { format!("{what}: {words}") }
}

#[cfg(test)]
mod tests;
