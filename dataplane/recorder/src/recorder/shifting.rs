//! What time shift is told of the streams that are recorded, as it happens. Before it: [`super::Recorder::change`]; after it: [`crate::shift`].
use std::sync::Arc;

use millstream_hub::package::change::{Opened, Part};
use millstream_proto::media::Track;

use super::{Recorder, StreamKey};
use crate::name::{RecordingName, place};
use crate::shift::Place;
use crate::shift::shelf::Shelf;
use crate::spool::disk::Disk;
use crate::uploader::Moment;

impl<D: Disk> Recorder<D> {
    /// All time shifts.
    pub fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// A segment begins of a stream that has a recording.
    pub(super) fn shift_opened(&mut self, key: StreamKey, track: Track, opened: &Opened) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        // Of what is kept as MP4 files alone, no objects stay.
        let window_s = if stream.settings.keeps_hls() { stream.settings.dvr_window_s } else { 0 };
        let reach_ms = u64::from(window_s) * 1_000;
        let Some(session) = stream.session.as_deref().filter(|_| reach_ms > 0) else { return };
        let board = stream.board.get_or_insert_with(|| self.shelf.begin(&stream.id, session, reach_ms));
        let header = stream.headers[place(track)].as_ref();
        board.tell(|shift| shift.opened(track, opened, header));
    }

    /// It has one more part, which is the newest of that recording, or of none.
    pub(super) fn shift_part(&self, key: StreamKey, track: Track, part: &Part, taken_by: Option<&RecordingName>) {
        let Some(board) = self.streams.get(&key).and_then(|stream| stream.board.as_ref()) else { return };
        let written = taken_by.and_then(|name| {
            let object = self.entries.get(name)?.recording.ledger().track(track).object?;
            let offset = object.bytes.checked_sub(part.bytes.len() as u64)?;
            Some(Place { recording: name.clone(), object: object.number, offset })
        });
        board.tell(|shift| shift.part(track, part, written.as_ref()));
    }

    /// It is whole, or a gap.
    pub(super) fn shift_closed(&self, key: StreamKey, track: Track, gap_us: Option<u64>) {
        if let Some(board) = self.streams.get(&key).and_then(|stream| stream.board.as_ref()) {
            board.tell(|shift| shift.closed(track, gap_us));
        }
    }

    /// Segments of a track are lost: they will be gaps.
    pub(super) fn shift_lost(&self, key: StreamKey, track: Track) {
        if let Some(board) = self.streams.get(&key).and_then(|stream| stream.board.as_ref()) {
            board.tell(|shift| shift.lost(track));
        }
    }

    /// Nobody goes back any more, but for those who do.
    pub(super) fn end_shift(&mut self, key: StreamKey, moment: Moment) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if let Some(board) = stream.board.take() {
            self.shelf.end(&stream.id, &board, moment.now);
        }
    }
}
