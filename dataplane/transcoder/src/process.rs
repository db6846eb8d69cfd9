//! A worker process, from its start to its end: what it is told, and what it says. Before it: [`super::workers`], which starts another one when this
//! one has ended.
use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_proto::id::Id;
use millstream_worker::protocol::{HookKey, Message, Order, Reader, Report, Why, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep_until, timeout};

use super::table::Told;
use super::workers::{Program, Shared};

/// A worker takes an order, and ends when it is to end, within this time.
const END_WAIT: Duration = Duration::from_secs(5);
/// One that has begun, or makes something, is not silent for longer.
const SILENT_MOST: Duration = Duration::from_secs(20);
/// Bytes of a read of what a worker says.
const READ_BYTES: usize = 64 << 10;
/// Bytes of a read of what it says beside that.
const LOG_BYTES: usize = 4 << 10;
/// What a worker is started with that may run hooks.
const WITH_HOOKS: &str = "--hooks";
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
}

/// Runs one until it ends. True in `was_ready` once it has taken orders.
pub(crate) async fn run(shared: &Arc<Shared>, program: &Program, was_ready: &mut bool) -> Ended {
    // What one before it was too slow for says nothing of this one, nor of none.
    shared.sheds(&Told::default());
    let key = match shared.needs_hooks().then(key).transpose() {
        Ok(key) => key,
        Err(error) => return Ended::Start(error),
    };
    let mut child = match start(program, &shared.ffmpeg_arguments(), key.is_some()) {
        Ok(child) => child,
        Err(error) => return Ended::Start(error),
    };
    let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Ended::Exit("it has no pipes".to_owned());
    };
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(log(stderr));
    }
    let ended = speak(shared, (&mut stdin, &mut stdout), key.as_ref(), was_ready).await;
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

/// What the modules of hooks are authenticated with, of one worker.
fn key() -> std::io::Result<HookKey> {
    let mut key = HookKey([0; 32]);
    getrandom::fill(&mut key.0).map_err(std::io::Error::other)?;
    Ok(key)
}

fn start(program: &Program, with: &[OsString], runs_hooks: bool) -> std::io::Result<Child> {
    let kept = KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    Command::new(&program.path)
        .args(&program.arguments)
        .args(with)
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
async fn log(mut stderr: ChildStderr) {
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

/// `None`: it has closed its output.
async fn speak(
    shared: &Arc<Shared>,
    (stdin, stdout): (&mut ChildStdin, &mut ChildStdout),
    key: Option<&HookKey>,
    was_ready: &mut bool,
) -> Option<Ended> {
    if let Some(key) = key
        && let Err(ended) = say(stdin, &Order::HookKey { key: *key }, &[]).await
    {
        return Some(ended);
    }
    let (mut reader, mut told) = (Reader::new(), Told::default());
    let mut buffer = vec![0; READ_BYTES];
    let mut heard_at = Instant::now();
    let (mut is_due, mut orders_at) = (true, None);
    loop {
        if std::mem::take(&mut is_due) {
            if key.is_none() && shared.needs_hooks() {
                return Some(Ended::Hooks);
            }
            let (due, next) = if *was_ready { shared.orders(&mut told, key) } else { (Vec::new(), None) };
            for due in due {
                let (order, payload) = due.order(key).await;
                if let Err(ended) = say(stdin, &order, &payload).await {
                    return Some(ended);
                }
            }
            orders_at = next;
            shared.is_started(told.started());
            shared.sheds(&told);
        }
        // One that makes something tells how it does every few seconds.
        let owes_word = !*was_ready || told.started() > 0 || shared.is_watching();
        let silent_at = heard_at + SILENT_MOST;
        if owes_word && Instant::now() >= silent_at {
            return Some(Ended::Silent(SILENT_MOST));
        }
        let look_at = [orders_at, owes_word.then_some(silent_at)].into_iter().flatten().min();
        let timer = async {
            match look_at {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.changed() => is_due = true,
            () = timer => is_due = true,
            read = stdout.read(&mut buffer) => {
                let count = read.ok().filter(|count| *count > 0)?;
                heard_at = Instant::now();
                reader.push(buffer.get(..count).unwrap_or_default());
                loop {
                    match reader.poll::<Report>() {
                        Ok(None) => break,
                        Ok(Some(Message { header, payload })) => {
                            *was_ready |= matches!(header, Report::Ready { .. });
                            // What is seen changes no order, and comes often.
                            is_due |= !matches!(
                                header,
                                Report::Hooked { .. } | Report::Motion { .. } | Report::Watched { .. }
                            );
                            let of = heard(shared, &mut told, &header);
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

async fn say(stdin: &mut ChildStdin, order: &Order, payload: &[u8]) -> Result<(), Ended> {
    let message = match encode(order, payload) {
        Ok(message) => message,
        Err(error) => {
            // Another worker would be told the same.
            tracing::error!(%error, "an order that cannot be told to a worker is left out");
            return Ok(());
        }
    };
    let written = timeout(END_WAIT, stdin.write_all(&message)).await;
    written.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())).map_err(Ended::Deaf)
}

/// Takes a report, gives the stream or rendition that it speaks of, and logs what people want to know of it.
fn heard(shared: &Shared, told: &mut Told, report: &Report) -> Option<Id> {
    let of = told.heard(report, Instant::now());
    if let Some(of) = &of {
        shared.heard_of_rendition(of, report);
    }
    match (report, &of) {
        (Report::Ready { version, sandbox, .. }, _) => {
            shared.worker_is_ready();
            tracing::info!(
                version,
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
