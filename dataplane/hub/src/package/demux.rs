//! Frames out of the log's blocks, for a packager: the way back from tags, without a copy. Before it: [`crate::log`]; after it:
//! [`super::packager`].
use millstream_proto::flv;
use millstream_proto::media::{CodecConfig, MediaEvent, TagKind, Unpacker};

use super::block::Block;

/// What has been read of a log.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    unpacker: Unpacker,
    begun: bool,
}

impl Demux {
    /// Gives what is in the next block, in order. Of the first block, also what was in force before it.
    pub(crate) fn read(&mut self, block: &Block, mut found: impl FnMut(MediaEvent)) {
        if !self.begun {
            self.begun = true;
            let preamble = &block.preamble;
            for config in [&preamble.video, &preamble.audio].into_iter().flatten() {
                self.unpacker.push(kind(config), 0, config.body.clone()).ok().map(&mut found);
            }
        }
        let bytes = block.tags_bytes();
        for tag in flv::tags(&bytes) {
            // Script tags are for viewers of FLV. Of the rest nothing is skipped that was not skipped on its way in, but for a
            // configuration that the first block has in its preamble and in itself.
            if tag.kind != TagKind::Script
                && let Ok(event) = self.unpacker.push(tag.kind, tag.timestamp_ms, bytes.slice_ref(tag.body))
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
