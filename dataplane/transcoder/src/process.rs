//! A worker, from its start to its end: what it is told, and what it says, over its pipes or the connection of one of another machine. Before it:
//! [`super::workers`], which has another one when this one has ended.
use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_proto::id::Id;
use millstream_worker::protocol::{HookKey, Message, Order, Reader, Report, Why, encode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{sleep_until, timeout};

use super::addresses::Way;
use super::program::Program;
use super::remote::Arrived;
use super::table::Told;
use super::workers::Shared;

/// A worker takes an order, and ends when it is to end, within this time.
const END_WAIT: Duration = Duration::from_secs(5);
/// One that has begun, or makes something, is not silent for longer.
pub(crate) const SILENT_MOST: Duration = Duration::from_secs(20);
/// One of another machine is asked whether it is there so often, and answers within this time: it may have gone without a word.
const PING_EVERY: Duration = Duration::from_secs(3);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// And takes so much of an order within this time: code of a hook has 16 MiB.
const FAR_WAIT: Duration = Duration::from_secs(15);
const WRITE_BYTES: usize = 1 << 20;
/// What was written and not sent yet, at most, and how fast the slowest connection sends it: a question waits behind that.
const UNSENT_BYTES_MOST: usize = 4 << 20;
const SLOWEST_BYTES_S: usize = 256 << 10;
/// Bytes of a read of what a worker says.
const READ_BYTES: usize = 64 << 10;
/// Bytes of a read of what it says beside that.
const LOG_BYTES: usize = 4 << 10;
/// What a worker is started with that may run hooks, and with each port that it connects to.
const WITH_HOOKS: &str = "--hooks";
const WITH_PORT: &str = "--port";
/// How lines begin that OpenH264 writes by itself.
const OF_CODEC: &str = "[OpenH264]";
/// Variables of the environment that a worker keeps: the rest may hold secrets.
const KEPT: [&str; 6] = ["PATH", "LANG", "TZ", "RUST_BACKTRACE", "LLVM_PROFILE_FILE", "ASAN_OPTIONS"];

/// Why a worker is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("it cannot be started: {0}")]
    Start(std::io::Error),
    #[error("it ended: {0}")]
    Exit(String),
    #[error("what it says is no message: {0}")]
    Garbage(#[from] millstream_worker::protocol::FrameError),
    #[error("it takes no orders: {0}")]
    Deaf(std::io::Error),
    #[error("it has said nothing for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("a hook is to look for motion, and it is not one that may run hooks")]
    Hooks,
    #[error("its connection is over")]
    Gone,
    #[error("a worker of another machine has come")]
    Replaced,
}

impl Ended {
    /// It was all right, and another one is wanted.
    pub(crate) const fn is_meant(&self) -> bool {
        matches!(self, Self::Hooks | Self::Replaced)
    }
}

/// What a worker is, while orders go to it.
struct Speaking<'a> {
    key: Option<&'a HookKey>,
    /// It may be one that runs hooks.
    may_hook: bool,
    way: Way,
    /// It has to say in time that it is there.
    is_far: bool,
}

/// How a worker did.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// It has taken orders.
    pub(crate) was_ready: bool,
    /// A stream's pictures ended it, and that stream is left out for now.
    pub(crate) has_crashed: bool,
}

/// Runs one on this machine until it ends, and says in `course` how it does.
pub(crate) async fn run(shared: &Arc<Shared>, program: &Program, course: &mut Course) -> Ended {
    // What one before it was too slow for says nothing of this one, nor of none.
    shared.sheds(&Told::default());
    shared.is_of_here();
    let key = match shared.needs_hooks().then(key).transpose() {
        Ok(key) => key,
        Err(error) => return Ended::Start(error),
    };
    let ports = shared.ports().unwrap_or_default();
    let mut child = match start(program, (&shared.ffmpeg_arguments(), key.is_some()), &ports) {
        Ok(child) => child,
        Err(error) => return Ended::Start(error),
    };
    let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Ended::Exit("it has no pipes".to_owned());
    };
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(log(stderr));
    }
    let speaking = Speaking { key: key.as_ref(), may_hook: true, way: Way::default(), is_far: false };
    let ended = speak(shared, (&mut stdin, &mut stdout), speaking, course).await;
    shared.is_started(0);
    shared.sheds(&Told::default());
    // A worker ends when its input does; one that hangs is killed.
    drop(stdin);
    match ended {
        Some(ended) => {
            let _ = child.kill().await;
            ended
        }
        None => match timeout(END_WAIT, child.wait()).await {
            Ok(Ok(status)) => Ended::Exit(status.to_string()),
            Ok(Err(error)) => Ended::Exit(error.to_string()),
            Err(_) => {
                let _ = child.kill().await;
                Ended::Exit("it closed its output and went on".to_owned())
            }
        },
    }
}

/// Has the node's work done by one of another machine until its connection ends, and says in `course` how it does.
pub(crate) async fn run_far(shared: &Arc<Shared>, arrived: Arrived, course: &mut Course) -> Ended {
    shared.sheds(&Told::default());
    shared.is_of(&arrived);
    let key = match arrived.hooks.then(key).transpose() {
        Ok(key) => key,
        Err(error) => return Ended::Start(error),
    };
    let (mut from, mut to) = tokio::io::split(arrived.line);
    let way = Way { host: Some(arrived.reached), from: Some(arrived.from) };
    let speaking = Speaking { key: key.as_ref(), may_hook: arrived.is_safe, way, is_far: true };
    let ended = speak(shared, (&mut to, &mut from), speaking, course).await;
    shared.is_started(0);
    shared.sheds(&Told::default());
    ended.unwrap_or(Ended::Gone)
}

/// What the modules of hooks are authenticated with, of one worker.
fn key() -> std::io::Result<HookKey> {
    let mut key = HookKey([0; 32]);
    getrandom::fill(&mut key.0).map_err(std::io::Error::other)?;
    Ok(key)
}

/// Starts one, which connects to these ports alone, or to any where none is given.
pub(crate) fn start(
    program: &Program,
    (with, runs_hooks): (&[OsString], bool),
    ports: &[u16],
) -> std::io::Result<Child> {
    let ports = ports.iter().flat_map(|port| [OsString::from(WITH_PORT), port.to_string().into()]);
    let kept = KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    Command::new(&program.path)
        .args(&program.arguments)
        .args(with)
        .args(ports)
        .args(runs_hooks.then_some(WITH_HOOKS))
        .env_clear()
        .envs(kept)
        // What a terminal sends to this process is not for it.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Logs what a worker says beside its reports: its own words, and those of the codecs in it.
pub(crate) async fn log(mut stderr: ChildStderr) {
    let mut buffer = vec![0; LOG_BYTES];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        // Lines are short and are written at once; one that is cut is two.
        for line in String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).lines() {
            if line.starts_with(OF_CODEC) {
                tracing::debug!(line, "worker");
            } else {
                tracing::warn!(line, "worker");
            }
        }
    }
}

/// When a worker has been silent for too long. Time in which it was written to does not count: meanwhile it was not listened to.
struct Silence {
    heard_at: Instant,
    most: Duration,
}

impl Silence {
    fn heard(&mut self, now: Instant) {
        self.heard_at = self.heard_at.max(now);
    }

    /// So much was written to it since that moment. What comes next waits until that has been sent.
    fn told(&mut self, begun: Instant, now: Instant, bytes: usize) {
        let sent_within = |bytes: usize| Duration::from_millis((bytes * 1000 / SLOWEST_BYTES_S) as u64);
        let later = self.heard_at + (now - begun) + sent_within(bytes.min(UNSENT_BYTES_MOST));
        // It does not add up: a worker that has gone is found however much it is told.
        self.heard_at = self.heard_at.max(later.min(now + sent_within(UNSENT_BYTES_MOST)));
    }

    fn ends_at(&self) -> Instant {
        self.heard_at + self.most
    }
}

/// `None`: it has closed its output.
async fn speak(
    shared: &Arc<Shared>,
    (to, from): (&mut (impl AsyncWrite + Unpin), &mut (impl AsyncRead + Unpin)),
    Speaking { key, may_hook, way, is_far }: Speaking<'_>,
    course: &mut Course,
) -> Option<Ended> {
    let patience = if is_far { FAR_WAIT } else { END_WAIT };
    if let Some(key) = key
        && let Err(ended) = say(to, &Order::HookKey { key: *key }, &[], patience).await
    {
        return Some(ended);
    }
    let (mut reader, mut told) = (Reader::new(), shared.told_nothing());
    let mut buffer = vec![0; READ_BYTES];
    let (mut is_due, mut orders_at) = (true, None);
    let mut ping_at = is_far.then(Instant::now);
    let silent_most = if is_far { PONG_WITHIN } else { shared.silent_most() };
    let mut silence = Silence { heard_at: Instant::now(), most: silent_most };
    loop {
        let (writing_since, mut written) = (Instant::now(), 0);
        if ping_at.is_some_and(|at| Instant::now() >= at) {
            match say(to, &Order::Ping, &[], patience).await {
                Ok(bytes) => written += bytes,
                Err(ended) => return Some(ended),
            }
            ping_at = Some(Instant::now() + PING_EVERY);
        }
        if std::mem::take(&mut is_due) {
            if may_hook && key.is_none() && shared.needs_hooks() {
                return Some(Ended::Hooks);
            }
            let (due, next) = if course.was_ready { shared.orders(&mut told, way) } else { (Vec::new(), None) };
            for due in due {
                let (order, payload) = due.order(key).await;
                match say(to, &order, &payload, patience).await {
                    Ok(bytes) => written += bytes,
                    Err(ended) => return Some(ended),
                }
            }
            orders_at = next;
            shared.is_started(told.started());
            shared.sheds(&told);
        }
        // One that makes something tells how it does every few seconds; one of another machine answers when it is asked.
        let owes_word = is_far || !course.was_ready || told.started() > 0 || shared.is_watching();
        if written > 0 {
            silence.told(writing_since, Instant::now(), written);
        }
        let silent_at = silence.ends_at();
        if owes_word && Instant::now() >= silent_at {
            return Some(Ended::Silent(silent_most));
        }
        let look_at = [orders_at, ping_at, owes_word.then_some(silent_at)].into_iter().flatten().min();
        let timer = async {
            match look_at {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.changed() => is_due = true,
            () = timer => is_due = orders_at.is_some_and(|at| Instant::now() >= at),
            () = shared.remote.arrives() => return Some(Ended::Replaced),
            read = from.read(&mut buffer) => {
                let count = read.ok().filter(|count| *count > 0)?;
                silence.heard(Instant::now());
                reader.push(buffer.get(..count).unwrap_or_default());
                loop {
                    match reader.poll::<Report>() {
                        Ok(None) => break,
                        Ok(Some(Message { header, payload })) => {
                            course.was_ready |= matches!(header, Report::Ready { .. });
                            // What is seen changes no order, and comes often.
                            is_due |= !matches!(
                                header,
                                Report::Hooked { .. } | Report::Motion { .. } | Report::Watched { .. } | Report::Pong
                            );
                            let of = heard(shared, &mut told, &header);
                            course.has_crashed |= shared.heard_of_crash(&told, &header);
                            shared.heard_of_marks(of.as_ref(), &header);
                            shared.heard_of_motion(&header, &payload);
                            shared.heard_of_sprite(&header, &payload);
                            shared.heard_of_picture(&header, payload);
                        }
                        Err(error) => return Some(error.into()),
                    }
                }
            }
        }
    }
}

/// Gives the bytes that were written. It takes each piece of them in time, so that what is large may take longer.
async fn say(
    to: &mut (impl AsyncWrite + Unpin),
    order: &Order,
    payload: &[u8],
    patience: Duration,
) -> Result<usize, Ended> {
    let message = match encode(order, payload) {
        Ok(message) => message,
        Err(error) => {
            // Another worker would be told the same.
            tracing::error!(%error, "an order that cannot be told to a worker is left out");
            return Ok(0);
        }
    };
    for piece in message.chunks(WRITE_BYTES) {
        let writing = async {
            to.write_all(piece).await?;
            // A connection with TLS holds back what does not fill a record.
            to.flush().await
        };
        let written = timeout(patience, writing).await;
        written.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())).map_err(Ended::Deaf)?;
    }
    Ok(message.len())
}

/// Takes a report, gives the stream or rendition that it speaks of, and logs what people want to know of it.
fn heard(shared: &Shared, told: &mut Told, report: &Report) -> Option<Id> {
    let of = told.heard(report, Instant::now());
    if let Some(of) = &of {
        shared.heard_of_rendition(of, report);
    }
    match (report, &of) {
        (Report::Ready { version, sandbox, capacity, .. }, _) => {
            shared.worker_is_ready(*capacity);
            tracing::info!(
                version,
                cores = capacity.cores,
                seccomp = sandbox.seccomp,
                landlock = sandbox.landlock,
                limits = sandbox.limits,
                "worker is ready"
            );
        }
        (Report::Started { width, height, .. }, Some(rendition)) => {
            tracing::info!(%rendition, width, height, "rendition started");
        }
        (Report::Ended { why: Why::Stopped, .. }, Some(of)) => tracing::debug!(%of, "no longer made"),
        (Report::Ended { why, error, .. }, Some(of)) => {
            let error = error.as_deref().unwrap_or_default();
            tracing::warn!(%of, ?why, error, "a rendition, or all of a stream, is not made now; it is tried again");
        }
        (Report::Load { decoded_fps, behind_ms, shed, .. }, Some(stream)) => {
            shared.heard_of_load(stream, *decoded_fps, *behind_ms);
            if !shed.is_empty() {
                tracing::debug!(%stream, behind_ms, ?shed, "the machine is too slow for some renditions");
            }
        }
        _ => {}
    }
    of
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[test]
    fn a_worker_that_takes_a_large_order_slowly_is_not_silent_and_one_that_is_gone_is() {
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let mut silence = Silence { heard_at: begun, most: PONG_WITHIN };
        assert_eq!(silence.ends_at(), at(10));
        // 16 MiB over a slow line: what is written last has not been sent.
        silence.told(at(1), at(61), 16 << 20);
        assert!(silence.ends_at() > at(61) + PONG_WITHIN, "it can answer");
        // However much it is told, and however often.
        for second in 62..200 {
            silence.told(at(second), at(second), 16 << 20);
        }
        assert!(silence.ends_at() <= at(199) + Duration::from_secs(16) + PONG_WITHIN);
        // Small orders every second hide nothing.
        let mut silence = Silence { heard_at: begun, most: PONG_WITHIN };
        for second in 1..10 {
            silence.told(at(second), at(second), 300);
        }
        assert!(silence.ends_at() < at(11));
        silence.heard(at(9));
        assert_eq!(silence.ends_at(), at(19));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_order_may_take_longer_than_a_piece_of_it() {
        let (mut node, mut worker) = duplex(WRITE_BYTES);
        let payload = vec![1; 4 * WRITE_BYTES];
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; WRITE_BYTES / 4];
            let mut read = 0;
            while read <= 4 * WRITE_BYTES {
                tokio::time::sleep(FAR_WAIT / 6).await;
                read += worker.read(&mut buffer).await.unwrap();
            }
            worker
        });
        let begun = tokio::time::Instant::now();
        let order = Order::Unwatch { watch: 1 };
        assert!(say(&mut node, &order, &payload, FAR_WAIT).await.unwrap() > payload.len());
        assert!(begun.elapsed() > FAR_WAIT, "{:?}", begun.elapsed());
        let _open = reading.await.unwrap();
        // One that takes nothing is deaf.
        assert!(matches!(say(&mut node, &order, &payload, FAR_WAIT).await, Err(Ended::Deaf(_))));
    }
}
