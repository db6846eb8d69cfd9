//! From the tags of a stream to the tags of its renditions, sans-IO: no sockets, clocks or threads.
//!
//! Reading order, which is the way of a frame: [`source`] (tags are decoded; [`choice`]: which of them), [`reorder`] (pictures are put into the order of showing;
//! [`late`]: those that come in that order),
//! [`rendition`] (pictures are scaled and encoded), [`metadata`]. Before it: a stream as its node sends it; after it: a push for each
//! rendition. [`Transcoder`] is all of it on one thread; the worker runs a [`Source`] on one and each [`Rendition`] on another.
//!
//! Invariants: a rendition has a keyframe exactly where its source has one, with the same decode and presentation time; decode and presentation
//! times of all other frames are such of the source's too, in order; audio goes out as it came, behind the video that it came behind.
mod choice;
mod late;
mod metadata;
mod rendition;
mod reorder;
mod source;

use std::sync::Arc;

use bytes::Bytes;
use millstream_proto::media::TagKind;

pub use crate::h264::params::{Params, Unfit};
pub use choice::Choice;
pub(crate) use choice::Ticks;
pub use rendition::{Rendition, RenditionError, Tag, TagRole, Target};
pub use reorder::Shown;
pub use source::{Source, SourceStats};

/// What a source hands to each rendition.
#[derive(Clone, Debug)]
pub enum Piece {
    /// What the pictures that follow are like.
    Params(Arc<Params>),
    /// `onMetaData`, from its name on.
    Metadata(Bytes),
    /// Audio as it came.
    Audio {
        /// Milliseconds modulo 2^32.
        timestamp_ms: u32,
        /// The codec's configuration instead of a frame.
        header: bool,
        /// The tag's body.
        body: Bytes,
    },
    /// A picture.
    Picture(Shown),
}

/// Why a [`Transcoder`] is over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranscodeError {
    /// See [`Unfit`].
    #[error(transparent)]
    Source(#[from] Unfit),
    /// See [`RenditionError`].
    #[error(transparent)]
    Rendition(#[from] RenditionError),
}

/// A source and its renditions on one thread: for tests, measurements and files.
pub struct Transcoder {
    source: Source,
    renditions: Vec<Rendition>,
}

impl Transcoder {
    /// A transcoder to these renditions.
    pub fn new(targets: &[Target]) -> Self {
        Self { source: Source::new(), renditions: targets.iter().copied().map(Rendition::new).collect() }
    }

    /// Takes a tag of the source and appends the tags of each rendition.
    pub fn push(
        &mut self,
        kind: TagKind,
        timestamp_ms: u32,
        body: Bytes,
        tags: &mut [Vec<Tag>],
    ) -> Result<(), TranscodeError> {
        self.source.push(kind, timestamp_ms, body)?;
        self.drain(tags)
    }

    /// Nothing more comes.
    pub fn finish(&mut self, tags: &mut [Vec<Tag>]) -> Result<(), TranscodeError> {
        self.source.finish();
        self.drain(tags)?;
        for (rendition, tags) in self.renditions.iter_mut().zip(tags.iter_mut()) {
            rendition.finish(tags);
        }
        Ok(())
    }

    /// What was counted of the source.
    pub fn source_stats(&self) -> SourceStats {
        self.source.stats()
    }

    fn drain(&mut self, tags: &mut [Vec<Tag>]) -> Result<(), TranscodeError> {
        while let Some(piece) = self.source.poll() {
            for (rendition, tags) in self.renditions.iter_mut().zip(tags.iter_mut()) {
                rendition.push(&piece, tags)?;
            }
        }
        Ok(())
    }
}
