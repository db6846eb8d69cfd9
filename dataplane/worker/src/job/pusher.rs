//! A rendition's publishing thread. Before it: [`super::encoder`]; after it: the node. A connection that ends is made again, and begins with the
//! headers and the next keyframe.
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::running::Running;
use crate::crash::{self, Of};
use crate::net::publish::{PublishError, Publisher};
use crate::protocol::Why;
use crate::queue::{Popped, Receiver};
use crate::transcode::{Tag, TagRole};

/// Bytes of tags that wait for the connection: a few seconds.
pub(super) const TAGS_BYTES_MAX: usize = 8 << 20;
/// Waits between tries.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// A node that says no so often in a row means it.
const REFUSALS_MAX: u32 = 5;
/// How long the thread waits for a tag before it listens to the node.
const LISTEN_EVERY: Duration = Duration::from_millis(50);

/// A tag on its way out, and when the source's tag came that it was made from.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) tag: Tag,
    pub(super) arrived: Instant,
}

pub(super) fn start(running: Arc<Running>, tags: Receiver<Outgoing>) -> io::Result<()> {
    let (name, of) = (format!("push {}", running.name), Of::Job(running.job()));
    let push = move || Pusher { running, tags, headers: Headers::default() }.run();
    crash::spawn(name, of, push)
}

/// The headers in force.
#[derive(Default)]
struct Headers {
    metadata: Option<Tag>,
    video: Option<Tag>,
    audio: Option<Tag>,
}

impl Headers {
    /// Keeps a header; `false`: it is none.
    fn keep(&mut self, tag: &Tag) -> bool {
        let place = match tag.role {
            TagRole::Metadata => &mut self.metadata,
            TagRole::VideoHeader => &mut self.video,
            TagRole::AudioHeader => &mut self.audio,
            TagRole::Keyframe | TagRole::Frame => return false,
        };
        *place = Some(tag.clone());
        true
    }

    fn all(&self) -> impl Iterator<Item = &Tag> {
        [&self.metadata, &self.video, &self.audio].into_iter().flatten()
    }
}

struct Pusher {
    running: Arc<Running>,
    tags: Receiver<Outgoing>,
    headers: Headers,
}

/// How the tags of one connection ended.
enum End {
    Unwanted,
    Failed(PublishError),
}

impl Pusher {
    fn run(mut self) {
        let (least, most) = RETRY;
        let (mut wait, mut refusals) = (least, 0);
        // A rendition that is refused for its size is never published.
        if !self.first() {
            return;
        }
        loop {
            let wanted = || !self.running.is_over();
            let error = match Publisher::open(&self.running.push, wanted) {
                Ok(publisher) => {
                    (wait, refusals) = (least, 0);
                    match self.push(publisher) {
                        End::Unwanted => return,
                        End::Failed(error) => error,
                    }
                }
                Err(PublishError::Unwanted) => return,
                Err(error @ (PublishError::Address(_) | PublishError::Secure)) => {
                    return self.running.end(Why::BadOrder, Some(error.to_string()));
                }
                Err(error) => {
                    refusals += u32::from(matches!(error, PublishError::Refused(_)));
                    error
                }
            };
            if refusals >= REFUSALS_MAX {
                return self.running.end(Why::Failed, Some(error.to_string()));
            }
            let (job, rendition) = (self.running.job(), &self.running.name);
            tracing::warn!(job, rendition, %error, "publishing ended; it is tried again");
            if !self.pass(wait) {
                return;
            }
            wait = (wait * 2).min(most);
        }
    }

    /// Waits for the first tag, which is a header. `false`: there is none, and none comes.
    fn first(&mut self) -> bool {
        while !self.running.is_over() {
            match self.tags.pop(LISTEN_EVERY) {
                Popped::Item(outgoing) => {
                    self.headers.keep(&outgoing.tag);
                    return true;
                }
                Popped::Nothing => {}
                Popped::Closed => return false,
            }
        }
        false
    }

    fn push(&mut self, mut publisher: Publisher) -> End {
        let mut begun = false;
        while !self.running.is_over() {
            let outgoing = match self.tags.pop(LISTEN_EVERY) {
                Popped::Item(outgoing) => outgoing,
                Popped::Nothing => match publisher.listen() {
                    Ok(()) => continue,
                    Err(error) => return End::Failed(error),
                },
                Popped::Closed => break,
            };
            let Outgoing { tag, arrived } = &outgoing;
            let is_header = self.headers.keep(tag);
            if !begun {
                if tag.role != TagRole::Keyframe {
                    continue;
                }
                begun = true;
                if let Err(error) = self.headers.all().try_for_each(|header| publisher.send(header)) {
                    return End::Failed(error);
                }
                self.running.started();
            }
            if let Err(error) = publisher.send(tag) {
                return End::Failed(error);
            }
            if !is_header {
                self.running.sent(arrived.elapsed());
            }
        }
        publisher.finish();
        End::Unwanted
    }

    /// Waits between two tries, and keeps what headers come. `false`: it is not wanted any more.
    fn pass(&mut self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.running.is_over() {
            match self.tags.pop(LISTEN_EVERY.min(wait)) {
                Popped::Item(outgoing) => drop(self.headers.keep(&outgoing.tag)),
                Popped::Nothing => {}
                Popped::Closed => return false,
            }
        }
        !self.running.is_over()
    }
}
