//! A rendition's encoding thread. Before it: [`super::pipeline`] gives pieces; after it: [`super::pusher`] takes tags.
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::pusher::Outgoing;
use super::running::{Feed, Running};
use crate::crash::{self, Of};
use crate::protocol::Why;
use crate::queue::{NotPushed, Popped, Receiver, Sender};
use crate::transcode::{Piece, Rendition, RenditionError, Tag, TagRole};

/// How often a thread that waits looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What a tag weighs beside its body, bytes.
const TAG_BYTES: usize = 64;

pub(super) fn start(running: Arc<Running>, pieces: Receiver<Feed>, out: Sender<Outgoing>) -> io::Result<()> {
    let (name, of) = (format!("encode {}", running.name), Of::Job(running.job()));
    let encode = move || {
        let mut encoder = Encoding {
            rendition: Rendition::new(running.target).with_ffmpeg(running.ffmpeg()).with_room(running.room()),
            running,
            out,
            lossy: false,
            resumes: None,
            last_ms: None,
        };
        encoder.run(pieces);
    };
    crash::spawn(name, of, encode)
}

struct Encoding {
    rendition: Rendition,
    running: Arc<Running>,
    out: Sender<Outgoing>,
    /// Tags were left out: nothing goes on before a keyframe.
    lossy: bool,
    /// Went over to another pipeline: goes on at a keyframe behind this time.
    resumes: Option<i64>,
    /// Decode time of the last picture.
    last_ms: Option<i64>,
}

impl Encoding {
    fn run(&mut self, mut pieces: Receiver<Feed>) {
        let mut tags = Vec::new();
        while !self.running.is_over() {
            let (piece, arrived) = match pieces.pop(LOOK_EVERY) {
                Popped::Item(Feed::Piece(piece, arrived)) => (piece, arrived),
                Popped::Item(Feed::Continue(rest)) => {
                    pieces = rest;
                    self.resumes = self.last_ms;
                    continue;
                }
                Popped::Nothing => continue,
                // The pipeline is over, and has told why.
                Popped::Closed => return,
            };
            if !self.is_next(&piece) {
                continue;
            }
            if matches!(piece, Piece::Picture(_)) {
                self.rendition.set_marks(self.running.marks().as_ref());
            }
            if let Err(error) = self.rendition.push(&piece, &mut tags) {
                let why = match error {
                    RenditionError::NotSmaller(..) => Why::NotSmaller,
                    RenditionError::TooSlow(_) => Why::TooSlow,
                    RenditionError::NoEncoder(_) => Why::Unsupported,
                    RenditionError::Encode(_) => Why::Failed,
                };
                return self.running.end(why, Some(error.to_string()));
            }
            self.running.set_size(self.rendition.size());
            for tag in tags.drain(..) {
                if !self.give(Outgoing { tag, arrived }) {
                    return;
                }
            }
        }
    }

    /// Whether a piece goes on where the last one ended.
    fn is_next(&mut self, piece: &Piece) -> bool {
        match piece {
            Piece::Picture(shown) => {
                if let Some(last_ms) = self.resumes {
                    if !shown.keyframe || shown.dts_ms <= last_ms {
                        return false;
                    }
                    self.resumes = None;
                }
                self.last_ms = Some(shown.dts_ms);
                true
            }
            Piece::Audio { header: false, .. } => self.resumes.is_none(),
            _ => true,
        }
    }

    /// Gives a tag to the push; where that takes nothing, what it misses is left out up to a keyframe. `false`: the push is over.
    fn give(&mut self, outgoing: Outgoing) -> bool {
        let Tag { role, ref body, .. } = outgoing.tag;
        let is_header = matches!(role, TagRole::Metadata | TagRole::VideoHeader | TagRole::AudioHeader);
        if self.lossy && role != TagRole::Keyframe && !is_header {
            return true;
        }
        let weight = TAG_BYTES + body.len();
        match self.out.push(outgoing, weight, Duration::ZERO) {
            Ok(()) => {
                self.lossy &= role != TagRole::Keyframe;
                true
            }
            Err(NotPushed::Full(_)) => {
                self.lossy = true;
                true
            }
            Err(NotPushed::Closed) => false,
        }
    }
}
