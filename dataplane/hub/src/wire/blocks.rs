//! Blocks and stream headers between nodes. Used by [`super`].
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use millstream_proto::media::{Codec, CodecConfig, Track, four_ccs};

use super::fields::{Fields, put_bool, put_bytes, put_int, put_signed};
use super::{WireClock, WireError};
use crate::package::block::{Block, BlockParts};
use crate::package::stream_headers::StreamHeaders;

/// How a codec is written: as Enhanced RTMP does.
fn four_cc(track: Track, codec: Codec) -> &'static str {
    four_ccs(track).iter().find(|(_, known)| *known == codec).map_or("", |(name, _)| name)
}

/// Writes a block; its stream headers where they are not `known`.
pub(super) fn put(out: &mut BytesMut, block: &Block, known: &mut Option<Arc<StreamHeaders>>, clock: WireClock) {
    let BlockParts { chunk, leading } = block.parts();
    let is_known = known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &block.stream_headers));
    put_bool(out, !is_known);
    if !is_known {
        put_headers(out, &block.stream_headers);
        *known = Some(Arc::clone(&block.stream_headers));
    }
    put_int(out, block.seq);
    put_bool(out, block.start);
    put_signed(out, block.first_ms);
    put_signed(out, block.last_ms);
    put_signed(out, clock.unix_us(block.arrived));
    put_int(out, block.publisher.into());
    let (start, tags) = leading.unwrap_or_default();
    put_int(out, tags.len() as u64);
    if !tags.is_empty() {
        put_int(out, start);
        for at in tags {
            put_int(out, at as u64);
        }
    }
    put_bytes(out, chunk);
}

/// Reads a block; what has no stream headers has those that are `known`.
pub(super) fn take(
    fields: &mut Fields,
    known: &mut Option<Arc<StreamHeaders>>,
    clock: WireClock,
) -> Result<Block, WireError> {
    if fields.bool("whether stream headers follow")? {
        *known = Some(Arc::new(headers(fields)?));
    }
    let stream_headers = known.clone().ok_or(WireError::NoHeaders)?;
    let seq = fields.int("a block's number")?;
    let start = fields.bool("a block's start")?;
    let span_ms = (fields.signed("a block's time")?, fields.signed("a block's time")?);
    let arrived = clock.time(fields.signed("a time")?);
    let publisher = fields.small("a publisher")?;
    let mut tags = Vec::new();
    let mut leading_of = 0;
    let count = fields.int("the number of leading frames")?;
    if count > 0 {
        leading_of = fields.int("a block's number")?;
    }
    for _ in 0..count {
        tags.push(fields.small("a leading frame")?);
    }
    if !tags.is_sorted() {
        return Err(WireError::Invalid("the leading frames"));
    }
    let chunk = fields.bytes("a block's tags")?;
    let leading = (!tags.is_empty()).then_some((leading_of, tags));
    Block::from_parts((seq, start), stream_headers, span_ms, (publisher, arrived), chunk, leading)
        .ok_or(WireError::Invalid("a block's tags"))
}

fn put_headers(out: &mut BytesMut, headers: &StreamHeaders) {
    let StreamHeaders { generation, video, audio, bare_audio, bare_video, metadata, .. } = headers;
    put_int(out, (*generation).into());
    put_int(out, headers.adds_to().into());
    for config in [video, audio] {
        put_bool(out, config.is_some());
        if let Some(CodecConfig { track, codec, body, record_at }) = config {
            put_bytes(out, four_cc(*track, *codec).as_bytes());
            put_int(out, *record_at as u64);
            put_bytes(out, body);
        }
    }
    put_bool(out, *bare_video);
    put_bool(out, *bare_audio);
    put_bool(out, metadata.is_some());
    if let Some(metadata) = metadata {
        put_bytes(out, metadata);
    }
}

fn headers(fields: &mut Fields) -> Result<StreamHeaders, WireError> {
    let generation = fields.small("a generation of stream headers")?;
    let adds_to = fields.small("a generation of stream headers")?;
    let mut config = |track: Track| -> Result<Option<CodecConfig>, WireError> {
        if !fields.bool("whether there is a configuration")? {
            return Ok(None);
        }
        let name = fields.bytes("a codec")?;
        let codec = four_ccs(track).iter().find(|(known, _)| known.as_bytes() == name);
        let codec = codec.map(|(_, codec)| *codec).ok_or(WireError::Invalid("a codec"))?;
        let record_at = fields.small("a configuration's record")?;
        let body = kept(&fields.bytes("a configuration")?);
        if record_at > body.len() {
            return Err(WireError::Invalid("a configuration's record"));
        }
        Ok(Some(CodecConfig { track, codec, body, record_at }))
    };
    let (video, audio) = (config(Track::Video)?, config(Track::Audio)?);
    let bare_video = fields.bool("a track")?;
    let bare_audio = fields.bool("a track")?;
    let has_metadata = fields.bool("whether there is metadata")?;
    let metadata = has_metadata.then(|| fields.bytes("the metadata").map(|bytes| kept(&bytes))).transpose()?;
    let mut headers = StreamHeaders::of(generation, adds_to);
    (headers.video, headers.audio, headers.metadata) = (video, audio, metadata);
    (headers.bare_video, headers.bare_audio) = (bare_video, bare_audio);
    Ok(headers)
}

/// A copy: headers outlive the message that they came in, and are not to keep all of it.
fn kept(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
