//! The process beside a worker that starts children: the worker's own sandbox lets it start nothing. Before it: a worker's wish, over a socket that only
//! the two have; after it: the child's three pipes, handed back over the same socket.
//!
//! It reads no media. It ends with its worker, and its children end with it.
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair, sockopt,
};
use rustix::process::{Signal, nice, set_parent_process_death_signal};
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
const CHILDREN_MAX: usize = 256;
/// What waits in a pipe for pictures, bytes.
const PIPE_BYTES: usize = 1 << 20;
const PIPES: usize = 3;
/// What comes with the pipes.
const STARTED: &str = "started";

/// What a worker wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
enum Ask {
    /// Its pipes, or why there are none, come back.
    Start { child: u64, what: What },
    /// Nothing comes back.
    End { child: u64 },
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
        for which in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
            sockopt::set_socket_timeout(&ours, which, Some(ANSWER_WAIT))?;
        }
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

impl Line {
    fn child(&mut self, what: What) -> Result<(u64, [OwnedFd; PIPES]), FfmpegError> {
        let child = self.next;
        self.next += 1;
        let failed = |error: &dyn std::fmt::Display| FfmpegError::Start(error.to_string());
        self.say(Ask::Start { child, what }).map_err(|error| failed(&error))?;
        let mut bytes = [0; MESSAGE_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PIPES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(|error| failed(&error))?;
        let mut pipes = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                pipes.extend(rights);
            }
        }
        let said = String::from_utf8_lossy(bytes.get(..received.bytes).unwrap_or_default()).into_owned();
        let why = if said == STARTED { "the worker has too many open files".to_owned() } else { said };
        let pipes = pipes.try_into().map_err(|_| FfmpegError::Start(why))?;
        Ok((child, pipes))
    }

    fn say(&self, ask: Ask) -> io::Result<()> {
        let message = serde_json::to_vec(&ask)?;
        send(&self.socket, &message, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// Ends a child when it is dropped.
pub(super) struct Killer {
    line: Arc<Mutex<Line>>,
    child: u64,
}

impl Drop for Killer {
    fn drop(&mut self) {
        if let Err(error) = lock(&self.line).say(Ask::End { child: self.child }) {
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
        children.retain(|_, child| matches!(child.try_wait(), Ok(None)));
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
                        hand_over(&socket, &pipes)?;
                        children.insert(child, running);
                    }
                    Err(error) => drop(send(&socket, error.to_string().as_bytes(), SendFlags::NOSIGNAL)?),
                }
            }
            Ok(Ask::End { child }) => {
                if let Some(mut child) = children.remove(&child) {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
            Err(error) => drop(send(&socket, error.to_string().as_bytes(), SendFlags::NOSIGNAL)?),
        }
    }
    for child in children.values_mut() {
        let _ = child.kill();
        let _ = child.wait();
    }
    Ok(())
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

fn hand_over(socket: &OwnedFd, pipes: &[OwnedFd; PIPES]) -> io::Result<()> {
    let pipes = [pipes[0].as_fd(), pipes[1].as_fd(), pipes[2].as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PIPES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&pipes));
    sendmsg(socket, &[IoSlice::new(STARTED.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
