//! What of a block a target is sent: the stream's headers where they are new to it, then the frames, on a timeline that begins at 0 with each
//! connection, as an encoder's does. Between [`super::push`] and the RTMP session.
use std::sync::Arc;

use millstream_hub::package::block::Block;
use millstream_hub::package::stream_headers::StreamHeaders;
use millstream_proto::amf0::{self, Value};
use millstream_proto::media::TagKind;

/// Of one connection: what its target has been told.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// The stamp that is 0 there.
    base_ms: Option<u32>,
    headers: Option<Arc<StreamHeaders>>,
    /// Blocks are left out until a decoder can start.
    begun: bool,
}

impl Outgoing {
    /// Gives the messages of a block to `send`: kind, stamp, body. Behind a loss, nothing before a decoder can start again.
    pub(super) fn block<E>(
        &mut self,
        block: &Block,
        after_loss: bool,
        mut send: impl FnMut(TagKind, u32, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.begun = (self.begun && !after_loss) || block.start;
        if !self.begun {
            return Ok(());
        }
        let first_ms = || block.frames().map(|tag| tag.timestamp_ms).min().unwrap_or_default();
        let base_ms = *self.base_ms.get_or_insert_with(first_ms);
        // Frames of the other track may be a little before the first one.
        let stamp = |ms: u32| Some(ms.wrapping_sub(base_ms)).filter(|ms| *ms <= u32::MAX / 2).unwrap_or_default();
        if self.headers.as_ref().is_none_or(|told| told.generation != block.stream_headers.generation) {
            for (kind, ms, body) in block.stream_headers.tags(first_ms()) {
                match kind {
                    TagKind::Script => send(kind, 0, &[&set_data_frame()[..], body].concat())?,
                    _ => send(kind, stamp(ms), body)?,
                }
            }
            self.headers = Some(Arc::clone(&block.stream_headers));
        }
        block.frames().try_for_each(|tag| send(tag.kind, stamp(tag.timestamp_ms), tag.body))
    }
}

/// What stands before metadata that a publisher sends.
fn set_data_frame() -> Vec<u8> {
    amf0::encode(&[Value::string("@setDataFrame")])
}
