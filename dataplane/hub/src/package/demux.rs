//! Frames out of tags, for a packager: the way back, without a copy. Before it: [`crate::log`] and what its next block gathers; after it:
//! [`super::packager`].
use millstream_proto::media::{CodecConfig, MediaEvent, TagKind, Unpacker};

use super::block::Tag;
use super::stream_headers::StreamHeaders;

/// What has been read of a stream.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    unpacker: Unpacker,
    begun: bool,
}

impl Demux {
    /// Gives what is in the next tags, in order. Of the first ones, also what was in force before them.
    pub(crate) fn read(
        &mut self,
        stream_headers: &StreamHeaders,
        tags: impl Iterator<Item = Tag>,
        mut found: impl FnMut(MediaEvent),
    ) {
        if !self.begun {
            self.begun = true;
            for config in [&stream_headers.video, &stream_headers.audio].into_iter().flatten() {
                self.unpacker.push(kind(config), 0, config.body.clone()).ok().map(&mut found);
            }
        }
        for tag in tags {
            // Script tags are for viewers of FLV. Of the rest nothing is skipped that was not skipped on its way in, but for a
            // configuration that the first block has in its stream headers and in itself.
            if tag.kind != TagKind::Script
                && let Ok(event) = self.unpacker.push(tag.kind, tag.timestamp_ms, tag.body)
            {
                found(event);
            }
        }
    }
}

fn kind(config: &CodecConfig) -> TagKind {
    match config.track {
        millstream_proto::media::Track::Video => TagKind::Video,
        millstream_proto::media::Track::Audio => TagKind::Audio,
    }
}
