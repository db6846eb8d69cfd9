//! What a publisher sends, on its way from messages to media events. After it in the pipeline: [`crate::media::Intake`].
use bytes::Bytes;

use super::{Event, ServerSession, State};
use crate::cursor::Cursor;
use crate::flv::{PREVIOUS_SIZE_BYTES, TagHeader};
use crate::limits::RTMP_AGGREGATE_TAGS_MAX;
use crate::media::TagKind;
use crate::rtmp::command::unwrap_amf3;
use crate::rtmp::message::{Message, kind};

impl ServerSession {
    pub(super) fn media(&mut self, kind: TagKind, timestamp: u32, body: Bytes) {
        let State::Publishing(intake) = &mut self.state else {
            self.stats.skip("unpublished");
            return;
        };
        match intake.push(kind, timestamp, body) {
            Ok(event) => self.events.push_back(Event::Media(event)),
            Err(skipped) => self.stats.skip(skipped.label()),
        }
        while let Some(event) = intake.poll() {
            self.events.push_back(Event::Media(event));
        }
    }

    pub(super) fn data(&mut self, message: &Message) {
        let body = unwrap_amf3(message.type_id, &message.payload);
        self.media(TagKind::Script, message.timestamp, message.payload.slice_ref(body));
    }

    /// An aggregate holds FLV tags (RTMP 1.0, section 7.1.6): 11 bytes of header, the body, 4 bytes of length. Their
    /// timestamps count from the first one's; the message's own says when that is.
    pub(super) fn aggregate(&mut self, message: &Message) {
        let (mut rest, mut first) = (Cursor::new(&message.payload), None);
        for _ in 0..RTMP_AGGREGATE_TAGS_MAX {
            let mut cursor = rest.clone();
            let Ok(header) = TagHeader::read(&mut cursor) else { break };
            let Ok(body) = cursor.take(header.body_bytes) else { break };
            // Behind the last tag it may be missing.
            let _ = cursor.skip(PREVIOUS_SIZE_BYTES.min(cursor.remaining()));
            rest = cursor;
            let offset = header.timestamp_ms.wrapping_sub(*first.get_or_insert(header.timestamp_ms));
            let tag = Message {
                timestamp: message.timestamp.wrapping_add(offset),
                type_id: header.kind,
                stream_id: message.stream_id,
                // Copied, so that a frame that is kept does not keep its neighbours.
                payload: Bytes::copy_from_slice(body),
            };
            match tag.type_id {
                kind::AUDIO => self.media(TagKind::Audio, tag.timestamp, tag.payload),
                kind::VIDEO => self.media(TagKind::Video, tag.timestamp, tag.payload),
                kind::DATA => self.data(&tag),
                _ => self.stats.messages_unknown += 1,
            }
        }
        if !rest.is_empty() {
            self.stats.skip("aggregate_rest");
        }
    }
}
