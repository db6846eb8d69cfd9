//! A recording that is as long as it may be: the next one begins with the leading track's segment, and what the other track still has of the segment it is in
//! goes to the old one, which ends with that. Before it: [`super::Recorder::change`]; after it: [`super::entry`].
use millstream_hub::package::change::{Opened, Part};
use millstream_proto::media::Track;

use super::entry::Phase;
use super::{Recorder, StreamKey, Tail};
use crate::limits::LEDGER_BYTES_MAX;
use crate::name::{RecordingName, place};
use crate::recording::Write;
use crate::recording::record::Reason;
use crate::spool::disk::Disk;
use crate::uploader::Moment;

impl<D: Disk> Recorder<D> {
    /// A segment begins: a recording that is as long as it may be ends with the leading track's segment before it. The other track's next segment begins
    /// behind this one: what it has begun and has nothing of yet is the next recording's.
    pub(super) fn split_if_due(&mut self, key: StreamKey, track: Track, opened: &Opened, moment: Moment) {
        let longest_ms = u64::try_from(self.settings.recording_max.as_millis()).unwrap_or(u64::MAX);
        let Some((name, entry)) = self.recording_of(key) else { return };
        let ledger = entry.recording.ledger();
        let leads = track == Track::Video || ledger.track(Track::Video).bytes == 0;
        let is_long = opened.date_unix_ms.saturating_sub(name.start_unix_ms()) >= longest_ms;
        if !leads || !(is_long || ledger.memory_bytes() >= LEDGER_BYTES_MAX) {
            return;
        }
        let (is_running, rest) = (entry.phase == Phase::Running, track.other());
        let has_tail = is_running && entry.recording.is_taking(rest);
        self.end_tail(key, moment);
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.recording = None;
            stream.tail = has_tail.then(|| Tail { recording: name.clone(), track: rest });
        }
        if !has_tail {
            self.end(&name, Reason::Split, moment);
        }
    }

    /// The recording that has the rest of the track's segment.
    pub(super) fn tail_of(&self, key: StreamKey, track: Track) -> Option<RecordingName> {
        let tail = self.streams.get(&key)?.tail.as_ref().filter(|tail| tail.track == track)?;
        Some(tail.recording.clone())
    }

    /// One more part of that rest.
    pub(super) fn tail_part(
        &mut self,
        key: StreamKey,
        name: &RecordingName,
        track: Track,
        part: &Part,
        moment: Moment,
    ) {
        if !self.take_part(key, name, (track, part), moment) {
            self.end_tail(key, moment);
        }
    }

    /// The segment is whole, by this: the old recording has all of it.
    pub(super) fn tail_closed(&mut self, key: StreamKey, name: &RecordingName, writes: &[Write], moment: Moment) {
        self.write(name, writes, moment);
        self.end_tail(key, moment);
    }

    /// Nothing more comes of it.
    pub(super) fn end_tail(&mut self, key: StreamKey, moment: Moment) {
        let tail = self.streams.get_mut(&key).and_then(|stream| stream.tail.take());
        if let Some(Tail { recording, .. }) = tail {
            self.end(&recording, Reason::Split, moment);
        }
    }

    /// Whether the stream waits for the first part of a segment of the track.
    pub(super) fn has_begun(&self, key: StreamKey, track: Track) -> bool {
        self.streams.get(&key).is_some_and(|stream| stream.begun[place(track)].is_some())
    }
}
