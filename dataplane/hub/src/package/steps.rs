//! How far the frames of a stream are apart, as far as can be known before the first playlist: screens that are shared have one in some
//! seconds, and the lengths that are promised then are to have room for it. Asked by [`super::packager`], once.
use std::time::Duration;

use millstream_proto::media::{Announced, TagKind, Track};

use super::block::PendingTags;
use super::stream_headers::StreamHeaders;
use crate::log::Log;

/// How far frames are apart is waited for, so long: segments and parts are to be as long as one. Without audio there is nothing to be shown
/// before that.
const STEP_MS: u32 = 6_000;
const SILENT_STEP_MS: u32 = 10_500;
/// Where the metadata announces frames that are so far apart, that is how far they are apart.
const ANNOUNCED_US_LEAST: u64 = 1_000_000;
/// Where no picture comes, it is not waited for longer than this.
const NO_PICTURE_MS: u32 = 2_000;

/// The longest distance of frames from that block on, where it is known: zero where there is none, `None` where it is worth to wait for the next
/// picture.
pub(crate) fn steps(log: &Log, from: u64, pending_tags: &PendingTags<'_>, waited: Duration) -> Option<Duration> {
    let has = |stream_headers: &StreamHeaders| stream_headers.has(Track::Video);
    let (mut first_ms, mut newest_ms, mut picture_ms, mut step_ms) = (None, 0, None, None);
    let mut see = |kind: TagKind, ms: u32, body: &[u8]| {
        let first_ms = *first_ms.get_or_insert(ms);
        newest_ms = newest_ms.max(ms.wrapping_sub(first_ms));
        if kind == TagKind::Video && is_picture(body) {
            let before: Option<u32> = picture_ms.replace(ms);
            // Stamps that jump are another matter.
            let step = before.map(|before| ms.wrapping_sub(before)).filter(|step| *step <= u32::MAX / 2);
            step_ms = step_ms.max(step);
        }
    };
    for entry in (from.max(log.first())..log.head()).filter_map(|seq| log.get(seq)) {
        entry.block.frames().for_each(|tag| see(tag.kind, tag.timestamp_ms, tag.body));
    }
    pending_tags.tags.iter().for_each(|tag| see(tag.kind, tag.timestamp_ms, &tag.body));
    first_ms?;
    let metadata = pending_tags.stream_headers.metadata.as_ref().or(log.stream_headers().metadata.as_ref());
    let announced_us = metadata.map_or(0, |body| Announced::read(body).interval_us);
    step_ms = step_ms.max(pending_tags.picture_ms);
    if announced_us >= ANNOUNCED_US_LEAST {
        step_ms = step_ms.max(u32::try_from(announced_us.div_ceil(1_000)).ok());
    }
    let sound = [log.stream_headers(), pending_tags.stream_headers]
        .iter()
        .any(|stream_headers| stream_headers.has(Track::Audio));
    let step_ms_max = if sound { STEP_MS } else { SILENT_STEP_MS };
    let passed_ms = newest_ms.max(u32::try_from(waited.as_millis()).unwrap_or(u32::MAX));
    let known = step_ms.is_some()
        || log.ended().is_some()
        || !has(log.stream_headers()) && !has(pending_tags.stream_headers)
        || passed_ms >= if picture_ms.is_some() { step_ms_max } else { NO_PICTURE_MS };
    known.then(|| Duration::from_millis(u64::from(step_ms.unwrap_or(0))))
}

/// Whether a video tag has a picture, rather than a configuration.
fn is_picture(body: &[u8]) -> bool {
    match body {
        [first, ..] if first & 0x80 != 0 => matches!(first & 0x0F, 1 | 3),
        [first, second, ..] => first & 0x0F != 7 || *second == 1,
        _ => false,
    }
}
