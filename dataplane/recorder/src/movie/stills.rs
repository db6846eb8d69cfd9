//! Keyframes of a recording that is in a store, evenly over its length: for its storyboard. Before it: a store that can be read; after it: whoever decodes
//! them.
//!
//! A keyframe is the first frame of a segment, so a still is up to a segment away from its moment. What cannot be read is left out.
use bytes::Bytes;
use millstream_proto::id::Id;
use millstream_proto::limits::MP4_HEADER_BYTES_MAX;
use millstream_proto::media::Track;
use millstream_proto::mp4::fragment::{Read, read};
use millstream_proto::mp4::header::TrackHeader;

use super::export::{ExportError, Stored};
use super::{Kept, Place};
use crate::name::{RecordingName, init_path, object_path};
use crate::store::{ReadStore, StoreError};

/// Bytes that are read of a segment at first: the header of its first fragment, and mostly all of its keyframe.
const FIRST_READ_BYTES: usize = 256 << 10;
/// A keyframe with more is left out.
const KEYFRAME_BYTES_MAX: usize = 4 << 20;

/// A moment of a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Milliseconds from the recording's beginning, as its players count.
    pub at_ms: u64,
    place: Place,
}

/// A coded keyframe of H.264.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Still {
    /// Its record (`avcC`).
    pub record: Bytes,
    /// NAL units, with lengths as the record says.
    pub frame: Bytes,
}

/// The stills of a recording.
pub struct Stills<'a> {
    stored: Stored<'a>,
    segments: Vec<Kept>,
    /// The newest header that was read: its number and its record.
    header: Option<(u32, Option<(TrackHeader, Bytes)>)>,
}

impl<'a> Stills<'a> {
    /// Reads the recording's playlist.
    pub async fn open(
        store: &'a dyn ReadStore,
        stream: &'a Id,
        recording: &'a RecordingName,
    ) -> Result<Self, ExportError> {
        let stored = Stored { store, stream, recording };
        let segments = stored.segments(Track::Video).await?;
        Ok(Self { stored, segments, header: None })
    }

    /// How long the recording is, milliseconds.
    pub fn length_ms(&self) -> u64 {
        self.segments.iter().map(|kept| u64::from(kept.duration_ms)).sum()
    }

    /// A moment each so many milliseconds, where there is a picture: the beginning of the segment that shows it. No segment is in it twice.
    pub fn moments(&self, every_ms: u64) -> Vec<Moment> {
        let every_ms = every_ms.max(1);
        let (mut moments, mut begins, mut due) = (Vec::new(), 0, 0);
        for kept in &self.segments {
            let ends = begins + u64::from(kept.duration_ms);
            if let Some(place) = kept.place
                && ends > due
            {
                moments.push(Moment { at_ms: begins, place });
                due = ends.div_ceil(every_ms) * every_ms;
            }
            begins = ends;
        }
        moments
    }

    /// The keyframe of a moment; `None`: there is none, or it is not H.264. An error is one of the store, which may be passing.
    pub async fn still(&mut self, moment: &Moment) -> Result<Option<Still>, ExportError> {
        let Place { init, object, at, bytes } = moment.place;
        if self.header.as_ref().is_none_or(|(known, _)| *known != init) {
            let file = self.stored.whole(&init_path(Track::Video, init), MP4_HEADER_BYTES_MAX).await?;
            let header = file.and_then(|(_, file)| TrackHeader::read(&file).ok());
            let record = header.and_then(|header| {
                let record = Bytes::copy_from_slice(header.avc_record()?);
                Some((header, record))
            });
            self.header = Some((init, record));
        }
        let Some((_, Some((header, record)))) = &self.header else { return Ok(None) };
        let key = self.stored.recording.key(self.stored.stream, &object_path(Track::Video, object));
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut wanted = FIRST_READ_BYTES.min(length);
        loop {
            let Some(found) = self.stored.store.read(&key, at, wanted).await? else {
                return Err(StoreError::Source(format!("the store has no {key}")).into());
            };
            let next = match read(&found, header) {
                Ok(Read::Fragment { fragment, .. }) => {
                    let (Some(run), Some(sample)) = (fragment.runs.first(), fragment.samples.first()) else {
                        return Ok(None);
                    };
                    let size = sample.size as usize;
                    if !sample.sync || size == 0 || size > KEYFRAME_BYTES_MAX {
                        return Ok(None);
                    }
                    let from = usize::try_from(run.at).unwrap_or(usize::MAX);
                    let to = from.saturating_add(size);
                    if to <= found.len() {
                        return Ok(Some(Still { record: record.clone(), frame: found.slice(from..to) }));
                    }
                    to
                }
                Ok(Read::More(more)) => more,
                Err(_) => return Ok(None),
            };
            // What is not within the segment is not there.
            if next > length || next <= wanted || found.len() < wanted {
                return Ok(None);
            }
            wanted = next;
        }
    }
}
