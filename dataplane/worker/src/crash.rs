//! What a worker says as it dies: which stream its dying thread was busy with, so that the node can leave that one stream out and not all of them. Before it: the
//! threads of jobs, watches and snapshots, which are started here (those of sprites are of no stream; a sprite is tried twice); after it: a last report on standard output, for [`crate::protocol::Report::Crashed`].
//!
//! A decoder of C++ that reads a hostile bitstream ends with a signal on the thread that ran it. The handler is called on that thread. It takes no lock, allocates
//! nothing, and calls only what signal-safety(7) allows.
use std::cell::Cell;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Signals by which a fault of the code ends the process.
const FAULTS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP];
/// A message that is being written is waited for so often, and so long each time.
const TURN_TRIES: u32 = 500;
const TURN_WAIT: Duration = Duration::from_millis(1);
/// Bytes of the last report: two lengths, and a header with a number of 20 digits.
const REPORT_BYTES: usize = 64;

/// Somebody writes to standard output: between messages alone it is the handler's turn.
static IS_WRITING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// A constant, and nothing that is dropped: to be read in a signal handler.
    static BUSY_WITH: Cell<Option<Of>> = const { Cell::new(None) };
}

/// What a thread works for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Of {
    /// A job of this number.
    Job(u64),
    /// A watch.
    Watch(u64),
    /// A request for a picture.
    Request(u64),
}

/// Starts a thread that works for one stream. One that panics ends the process as a fault in C++ does.
pub(crate) fn spawn(name: String, of: Of, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let begin = move || {
        BUSY_WITH.set(Some(of));
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            // What the thread was to do is left undone, and others would wait for it.
            std::process::abort();
        }
    };
    thread::Builder::new().name(name).spawn(begin).map(drop)
}

/// Standard output, of which a dying thread may write the last message.
#[derive(Debug)]
pub(crate) struct Output<W>(pub(crate) W);

impl<W: Write> Output<W> {
    /// Writes a whole message.
    pub(crate) fn message(&mut self, bytes: &[u8]) -> io::Result<()> {
        while IS_WRITING.swap(true, Ordering::Acquire) {
            // A thread that dies has the turn, and keeps it.
            thread::sleep(TURN_WAIT);
        }
        let written = self.0.write_all(bytes).and_then(|()| self.0.flush());
        IS_WRITING.store(false, Ordering::Release);
        written
    }
}

/// From here on a fault is reported on standard output before it ends the process. To be called before there is another thread.
#[allow(unsafe_code, reason = "the standard library catches no faults")]
pub(crate) fn report_faults() {
    for signal in FAULTS {
        // SAFETY: the action is whole, and its handler does only what a signal handler may. Threads of the standard library have a stack for it (SA_ONSTACK).
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// Reports, and ends the process by the same signal.
#[allow(unsafe_code, reason = "a signal handler")]
extern "C" fn on_fault(signal: libc::c_int) {
    if let Some(of) = BUSY_WITH.get()
        && take_turn()
    {
        let mut report = [0; REPORT_BYTES];
        let length = last_report(of, &mut report);
        // SAFETY: the buffer is on this stack, and at least that long. A pipe takes so little whole.
        unsafe { libc::write(libc::STDOUT_FILENO, report.as_ptr().cast(), length) };
    }
    // SAFETY: both may be called here. The signal is blocked until this returns; then it ends the process.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Waits until no message is half written. False: it takes too long.
#[allow(unsafe_code, reason = "a signal handler")]
fn take_turn() -> bool {
    let wait = libc::timespec { tv_sec: 0, tv_nsec: TURN_WAIT.as_nanos() as libc::c_long };
    for _ in 0..TURN_TRIES {
        if !IS_WRITING.swap(true, Ordering::Acquire) {
            return true;
        }
        // SAFETY: the time is on this stack.
        unsafe { libc::nanosleep(&raw const wait, std::ptr::null_mut()) };
    }
    false
}

/// Writes the message that [`crate::protocol::encode`] makes of such a [`crate::protocol::Report::Crashed`], without allocating; gives its length.
fn last_report(of: Of, into: &mut [u8; REPORT_BYTES]) -> usize {
    let (field, number): (&[u8], u64) = match of {
        Of::Job(number) => (b"job", number),
        Of::Watch(number) => (b"watch", number),
        Of::Request(number) => (b"request", number),
    };
    let mut digits = [0; 20];
    let (mut first, mut rest) = (digits.len(), number);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        first -= 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let parts: [&[u8]; 5] =
        [br#"{"report":"crashed",""#, field, br#"":"#, digits.get(first..).unwrap_or_default(), b"}"];
    let header: usize = parts.iter().map(|part| part.len()).sum();
    let length = (header as u32).to_be_bytes();
    let bytes = [&length[..]].into_iter().chain(parts).chain([&[0; 4][..]]).flatten();
    let mut written = 0;
    for (place, byte) in into.iter_mut().zip(bytes) {
        *place = *byte;
        written += 1;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Reader, Report};

    #[test]
    fn the_last_report_is_a_message_of_the_protocol() {
        for number in [0, 7, 10, 4_096, u64::MAX] {
            for (of, report) in [
                (Of::Job(number), Report::Crashed { job: Some(number), watch: None, request: None }),
                (Of::Watch(number), Report::Crashed { job: None, watch: Some(number), request: None }),
                (Of::Request(number), Report::Crashed { job: None, watch: None, request: Some(number) }),
            ] {
                let mut bytes = [0xFF; REPORT_BYTES];
                let length = last_report(of, &mut bytes);
                assert!(length < REPORT_BYTES, "none of it is cut off");
                let mut reader = Reader::new();
                reader.push(&bytes[..length]);
                assert_eq!(reader.poll::<Report>().unwrap().unwrap().header, report);
                assert_eq!(reader.poll::<Report>().unwrap(), None, "no byte is left");
            }
        }
    }
}
