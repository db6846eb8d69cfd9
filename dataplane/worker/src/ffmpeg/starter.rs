//! The process beside a worker that starts children: the worker's own sandbox lets it start nothing. Before it: a worker's wish, over a socket that only
//! the two have; after it: the child's three pipes, handed back over the same socket.
//!
//! It reads no media. It ends with its worker, and its children end with it.
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair, sockopt,
};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, nice, set_parent_process_death_signal, waitid,
};
use serde::{Deserialize, Serialize};

use super::child::Running;
use super::error::FfmpegError;
use super::spec::What;
use super::{CHILD, FfmpegSettings, STARTER};
use crate::queue::lock;

/// Bytes of a message.
const MESSAGE_BYTES: usize = 2 << 10;
/// A starter answers within this time.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How often children that may have ended are looked at, while there are any.
const REAP_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// Children at the same time.
const CHILDREN_MAX: usize = 1024;
/// What waits in a pipe for pictures, bytes.
const PIPE_BYTES: usize = 1 << 20;
const PIPES: usize = 3;

/// What a worker wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
enum Ask {
    /// Its pipes, or why there are none, come back.
    Start { child: u64, what: What },
    /// Nothing comes back.
    End { child: u64 },
}

/// What comes back, with the pipes if there are some.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Answer {
    /// Which child was asked for: an answer may come when nobody waits for it any more.
    child: u64,
    /// Why it could not be started.
    error: Option<String>,
}

/// A worker's end.
pub(super) struct Starter(Arc<Mutex<Line>>);

/// The socket, and the number of the next child.
pub(super) struct Line {
    socket: OwnedFd,
    next: u64,
}

impl Starter {
    pub(super) fn start(settings: &FfmpegSettings) -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&ours, sockopt::Timeout::Send, Some(ANSWER_WAIT))?;
        // Nobody waits for it: it ends with the socket, and the node's process is told of neither.
        let _starter = Command::new("/proc/self/exe")
            .args(&settings.own_arguments)
            .arg(STARTER)
            .arg(&settings.program)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self(Arc::new(Mutex::new(Line { socket: ours, next: 1 }))))
    }

    /// Has a child started.
    pub(super) fn child(&self, what: What) -> Result<Running, FfmpegError> {
        let (child, pipes) = lock(&self.0).child(what)?;
        Ok(Running::new(pipes, Killer { line: Arc::clone(&self.0), child }))
    }
}

/// What came from a starter.
struct Came {
    answer: Option<Answer>,
    pipes: Vec<OwnedFd>,
}

impl Line {
    fn child(&mut self, what: What) -> Result<(u64, [OwnedFd; PIPES]), FfmpegError> {
        let child = self.next;
        self.next += 1;
        let pipes = self.ask(child, what).map_err(|error| {
            if is_gone(&error) {
                end_worker(&error);
            }
            // It may start it yet.
            let _ = self.say(Ask::End { child });
            FfmpegError::Start(error.to_string())
        })?;
        Ok((child, pipes))
    }

    fn ask(&self, child: u64, what: What) -> io::Result<[OwnedFd; PIPES]> {
        self.say(Ask::Start { child, what })?;
        let until = Instant::now() + ANSWER_WAIT;
        loop {
            let Came { answer, pipes } = self.hear(until)?;
            // With its pipes dropped, a child whose caller has given up ends.
            let Some(answer) = answer.filter(|answer| answer.child == child) else { continue };
            return match answer.error {
                Some(error) => Err(io::Error::other(error)),
                None => pipes.try_into().map_err(|_| io::Error::other("the worker has too many open files")),
            };
        }
    }

    /// The next answer, until that time.
    fn hear(&self, until: Instant) -> io::Result<Came> {
        loop {
            let wait = Timespec::try_from(until.saturating_duration_since(Instant::now())).unwrap_or_default();
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&wait)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => break,
            }
        }
        let mut bytes = [0; MESSAGE_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PIPES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
        let mut pipes = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                pipes.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Came { answer: serde_json::from_slice(bytes.get(..received.bytes).unwrap_or_default()).ok(), pipes })
    }

    fn say(&self, ask: Ask) -> io::Result<()> {
        let message = serde_json::to_vec(&ask)?;
        send(&self.socket, &message, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// Whether a starter is there no more.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected | UnexpectedEof)
}

/// Ends this process: its starter has ended, with all children, and none can be started from within the sandbox. The node starts another worker.
fn end_worker(error: &io::Error) -> ! {
    tracing::error!(%error, "the process that starts ffmpeg has ended, and so does the worker");
    std::process::exit(1)
}

/// Ends a child when it is dropped.
pub(super) struct Killer {
    line: Arc<Mutex<Line>>,
    child: u64,
}

impl Drop for Killer {
    fn drop(&mut self) {
        if let Err(error) = lock(&self.line).say(Ask::End { child: self.child }) {
            if is_gone(&error) {
                end_worker(&error);
            }
            tracing::warn!(%error, "the process that starts ffmpeg takes no word");
        }
    }
}

/// The starter's process: takes wishes on standard input until the worker has gone. `own_arguments`: those that make this program become a child.
///
/// # Errors
/// Where standard input is not what a worker gives.
pub fn serve(program: &Path, own_arguments: &[OsString]) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    nice(crate::sandbox::NICE)?;
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let mut children: HashMap<u64, Child> = HashMap::new();
    loop {
        children.retain(|_, child| is_running(child));
        let mut polled = [PollFd::new(&socket, PollFlags::IN)];
        let wait = (!children.is_empty()).then_some(&REAP_EVERY);
        match poll(&mut polled, wait) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; MESSAGE_BYTES];
        let (length, _) = rustix::net::recv(&socket, &mut bytes, RecvFlags::empty())?;
        if length == 0 {
            break;
        }
        match serde_json::from_slice(bytes.get(..length).unwrap_or_default()) {
            Ok(Ask::Start { child, what }) => {
                let started = if children.len() < CHILDREN_MAX {
                    start(program, own_arguments, &what)
                } else {
                    Err(io::Error::other("as many run as may"))
                };
                match started {
                    Ok((running, pipes)) => {
                        children.insert(child, running);
                        answer(&socket, &Answer { child, error: None }, Some(&pipes))?;
                    }
                    Err(error) => answer(&socket, &Answer { child, error: Some(error.to_string()) }, None)?,
                }
            }
            // One that does not end at once is not waited for: it is looked at again, as all are.
            Ok(Ask::End { child }) => children.get(&child).into_iter().for_each(kill),
            // Who asked waits no longer than for a child that is slow.
            Err(_) => {}
        }
    }
    children.values().for_each(kill);
    for child in children.values_mut() {
        let _ = child.wait();
    }
    Ok(())
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

/// Ends a child that was not waited for, and what it has started itself.
fn kill(child: &Child) {
    if let Some(pid) = pid(child) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Whether it runs. Of one that has ended, nothing is left.
fn is_running(child: &mut Child) -> bool {
    // Looked at first, and not waited for: until then its number is no other process's.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if let Some(pid) = pid(child)
        && matches!(waitid(WaitId::Pid(pid), look), Ok(None))
    {
        return true;
    }
    kill(child);
    matches!(child.try_wait(), Ok(None))
}

fn start(program: &Path, own_arguments: &[OsString], what: &What) -> io::Result<(Child, [OwnedFd; PIPES])> {
    let arguments = what.arguments().ok_or_else(|| io::Error::other("a number is out of range"))?;
    let mut child = Command::new("/proc/self/exe")
        .args(own_arguments)
        .arg(CHILD)
        .arg(program)
        .arg("--")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("it has no pipes"));
    };
    let pipes = [OwnedFd::from(stdin), OwnedFd::from(stdout), OwnedFd::from(stderr)];
    for pipe in pipes.iter().take(2) {
        // Smaller ones do as well: a system may have a limit.
        let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
    }
    Ok((child, pipes))
}

fn answer(socket: &OwnedFd, answer: &Answer, pipes: Option<&[OwnedFd; PIPES]>) -> io::Result<()> {
    let message = serde_json::to_vec(answer)?;
    let pipes = pipes.map(|pipes| [pipes[0].as_fd(), pipes[1].as_fd(), pipes[2].as_fd()]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PIPES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(pipes) = &pipes {
        control.push(SendAncillaryMessage::ScmRights(pipes));
    }
    sendmsg(socket, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::spec::Decode;
    use super::*;

    #[test]
    fn answers_to_others_are_left_out() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let mut line = Line { socket: ours, next: 7 };
        let give = |child: u64, error: Option<&str>| {
            let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
            let error = error.map(str::to_owned);
            let pipes = error.is_none().then(|| [file(), file(), file()]);
            answer(&theirs, &Answer { child, error }, pipes.as_ref()).unwrap();
        };
        give(5, None);
        give(6, Some("too late"));
        give(7, None);
        let what = What::Decode(Decode { width: 640, height: 360, interlaced: false });
        let (child, pipes) = line.child(what).unwrap();
        assert_eq!((child, pipes.len()), (7, PIPES));
        give(7, None);
        give(8, Some("as many run as may"));
        let error = line.child(what).unwrap_err().to_string();
        assert!(error.contains("as many run as may"), "{error}");
        // And who gives up says so.
        let asked: Vec<Ask> = (0..3)
            .map(|_| {
                let mut bytes = [0; MESSAGE_BYTES];
                let (length, _) = rustix::net::recv(&theirs, &mut bytes, RecvFlags::empty()).unwrap();
                serde_json::from_slice(&bytes[..length]).unwrap()
            })
            .collect();
        assert_eq!(asked[2], Ask::End { child: 8 });
        drop(theirs);
        assert!(line.ask(9, what).is_err_and(|error| is_gone(&error)));
    }
}
