//! A pipeline's reading thread. Before it: the node; after it: [`super::pipeline`]. A connection that ends is made again for as long as the job
//! stands; a stream that is no more ends it.
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::crash::{self, Of};
use crate::net::source::{SourceConnection, SourceError, SourceTag};
use crate::protocol::SecretUrl;
use crate::queue::{NotPushed, Sender};

/// Bytes of tags that wait to be decoded.
pub(super) const TAGS_BYTES_MAX: usize = 24 << 20;
/// What a tag weighs beside its body, so that there are no more than some 300 of them.
const TAG_BYTES: usize = 80 << 10;
/// Waits between tries.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the reader hands on.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A connection was made.
    Connected,
    /// A tag, and when it came.
    Tag(SourceTag, Instant),
    /// There is no such stream, or no such address: nothing more comes.
    Over(SourceError),
}

/// Starts the thread; it ends when nobody takes its tags any more.
pub(super) fn start(job: u64, source: SecretUrl, out: Sender<Incoming>) -> io::Result<()> {
    crash::spawn(format!("read {job}"), Of::Job(job), move || read(job, &source, &out))
}

fn read(job: u64, source: &SecretUrl, out: &Sender<Incoming>) {
    let (least, most) = RETRY;
    let mut wait = least;
    loop {
        let mut came = false;
        match connection(source, out, &mut came) {
            Ok(()) => return,
            Err(error @ (SourceError::Gone | SourceError::Address)) => {
                give(out, Incoming::Over(error), 0);
                return;
            }
            Err(error) => tracing::warn!(job, %error, "source ended; it is tried again"),
        }
        if came {
            wait = least;
        }
        let until = Instant::now() + wait;
        while Instant::now() < until {
            thread::sleep(LOOK_EVERY.min(wait));
            if out.is_closed() {
                return;
            }
        }
        wait = (wait * 2).min(most);
    }
}

/// Reads one connection. `Ok`: nobody takes its tags.
fn connection(source: &SecretUrl, out: &Sender<Incoming>, came: &mut bool) -> Result<(), SourceError> {
    let mut connection = SourceConnection::open(source)?;
    if !give(out, Incoming::Connected, 0) {
        return Ok(());
    }
    let mut tags = Vec::new();
    loop {
        let read = connection.read(&mut tags);
        let now = Instant::now();
        for tag in tags.drain(..) {
            *came = true;
            let weight = TAG_BYTES + tag.body.len();
            if !give(out, Incoming::Tag(tag, now), weight) {
                return Ok(());
            }
        }
        if !read? && out.is_closed() {
            return Ok(());
        }
    }
}

/// `false`: nobody takes it any more.
fn give(out: &Sender<Incoming>, mut incoming: Incoming, weight: usize) -> bool {
    loop {
        match out.push(incoming, weight, Duration::from_secs(1)) {
            Ok(()) => return true,
            Err(NotPushed::Closed) => return false,
            Err(NotPushed::Full(back)) => incoming = back,
        }
    }
}
