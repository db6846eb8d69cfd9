//! All recordings of a server over a [`Disk`], without threads and clocks: changes of streams go in; appended files, batches to sync, jobs for the store
//! and events come out. Before it: [`crate::run`], or the simulator; after it: the disk and the store.
//!
//! Reading order: this file (streams, and what their changes do), [`entry`] (a recording with its files), [`syncing`] (what is durable), [`storing`] (what is
//! uploaded and told), [`movies`] (MP4 files), [`damage`] (objects that are not what was written), [`starting`] (a start, and a disk that failed),
//! [`room`] (pauses), [`splitting`] (the next one of a long recording), [`deleting`].
mod damage;
pub mod deleting;
mod entry;
mod making;
mod movies;
mod room;
mod shifting;
mod splitting;
mod starting;
mod status;
mod storing;
mod syncing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use millstream_hub::package::change::{Change, Header, Opened, Part, Session};
use millstream_hub::subscriber::NextChange;
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use millstream_proto::time::Time;
use serde::Serialize;

use self::entry::{Entry, Phase};
pub use self::making::MovieJob;
pub use self::status::{Numbers, RecordingStatus};
pub use self::storing::StoreJob;
use self::syncing::Syncing;
use crate::limits::{DISK_FREE_BYTES_MIN, MOVIE_BYTES_MAX, MOVIE_PART_OF_SPOOL, NAME_TRIES_MAX};
use crate::name::{INDEX_FILE, RecordingName, place};
use crate::recording::Write;
use crate::recording::ledger::Ledger;
use crate::recording::record::{Head, Movies, Reason, Record};
use crate::settings::{Settings, StreamSettings};
use crate::shift::shelf::{Board, Shelf};
use crate::spool::disk::{Disk, DiskError};
use crate::uploader::{Moment, Uploader};

/// A stream that is followed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamKey(pub u64);

/// Something that happened, for who keeps events.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Event {
    /// When, Unix milliseconds.
    pub unix_ms: u64,
    /// Of this stream.
    pub stream: String,
    /// The recording; `None` where there is none.
    pub recording: Option<RecordingNameText>,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// A recording's name as events tell it.
pub type RecordingNameText = String;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A recording began.
    RecordingStarted,
    /// It does not grow.
    RecordingPaused {
        /// Why.
        reason: Reason,
    },
    /// It grows again, or the store takes it again.
    RecordingResumed,
    /// The store does not take it.
    RecordingWaits {
        /// What the store says.
        why: String,
    },
    /// All of it is in the store.
    RecordingStored {
        /// Length, milliseconds.
        duration_ms: u64,
        /// Bytes of media.
        bytes: u64,
    },
    /// An MP4 file of it is in the store.
    RecordingFile {
        /// Where, below the stream's path.
        path: String,
        /// When it begins, Unix milliseconds.
        from_unix_ms: u64,
        /// How long it plays.
        duration_ms: u64,
        /// Its length.
        bytes: u64,
    },
    /// It was not begun, or lacks something for good.
    RecordingFailed {
        /// What, and what to do.
        why: String,
    },
}

/// A stream that is followed.
#[derive(Debug)]
struct Stream {
    id: Id,
    settings: StreamSettings,
    session: Option<Arc<Session>>,
    headers: [Option<Arc<Header>>; 2],
    /// A segment has begun, and nothing of it has come.
    begun: [Option<Opened>; 2],
    recording: Option<RecordingName>,
    /// The one before it, which is not at its end.
    tail: Option<Tail>,
    /// That none could be begun has been told.
    is_refusal_told: bool,
    /// None is begun before.
    retry_at: Time,
    /// What of it viewers may go back to.
    board: Option<Arc<Board>>,
}

/// A recording that gets the rest of this track's segment, and then nothing more.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Tail {
    recording: RecordingName,
    track: Track,
}

/// All recordings.
pub struct Recorder<D: Disk> {
    disk: D,
    settings: Settings,
    streams: BTreeMap<StreamKey, Stream>,
    next_stream: u64,
    entries: BTreeMap<RecordingName, Entry<D::File>>,
    /// Recordings whose disk failed: when they are read anew.
    broken: BTreeMap<RecordingName, Time>,
    /// Recordings whose disk has failed, until they are done.
    failed: BTreeSet<RecordingName>,
    uploader: Uploader,
    syncing: Syncing,
    room: room::Room,
    events: VecDeque<Event>,
    numbers: Numbers,
    foreign: Vec<String>,
    /// MP4 files that are being made.
    movies_building: usize,
    /// What recordings have that ended while their session went on, by the session's name.
    had: BTreeMap<String, Had>,
    shelf: Arc<Shelf>,
}

/// What a recording has: no later one of its session has that again.
#[derive(Clone, Copy, Debug)]
struct Had {
    /// When it, or its last MP4 file, begins, Unix milliseconds.
    newest_begin_unix_ms: u64,
    end_unix_ms: u64,
}

/// A stream is packaged from no picture on that is older than this, milliseconds.
const PACKAGED_MS_MAX: u64 = 3_600_000;
/// How long a stream waits before it tries again to begin a recording.
const START_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

impl<D: Disk> Recorder<D> {
    /// A stream is followed from now on.
    pub fn follow(&mut self, id: Id, settings: StreamSettings) -> StreamKey {
        let key = StreamKey(self.next_stream);
        self.next_stream += 1;
        let stream = Stream {
            id,
            settings,
            session: None,
            headers: [None, None],
            begun: [None; 2],
            recording: None,
            tail: None,
            is_refusal_told: false,
            retry_at: Time::ZERO,
            board: None,
        };
        self.streams.insert(key, stream);
        key
    }

    /// The last that a stream had is lost: it has ended, and there was no room for it in time.
    pub fn end_lost(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get(&key).filter(|stream| stream.recording.is_some()) {
            self.numbers.lost += 1;
            tracing::warn!(stream = %stream.id, "the end of a recording is missing: what is written before it took too long");
        }
    }

    /// A stream is no longer followed; what it has is closed.
    pub fn unfollow(&mut self, key: StreamKey, moment: Moment) {
        self.end_shift(key, moment);
        self.finish(key, Reason::StreamEnded, moment);
        self.streams.remove(&key);
    }

    /// Takes the next change of a stream.
    pub fn change(&mut self, key: StreamKey, next: NextChange, moment: Moment) {
        let change = match next {
            NextChange::Change(change) => change,
            NextChange::Lost(track, msns) => return self.lost(key, track, msns.end, moment),
            NextChange::Wait => return,
        };
        if matches!(change, Change::Began(_)) {
            self.end_shift(key, moment);
            self.end_tail(key, moment);
        }
        let Some(stream) = self.streams.get_mut(&key) else { return };
        match change {
            Change::Began(session) => {
                (stream.headers, stream.begun) = ([None, None], [None; 2]);
                let longer = |ledger: &Ledger| session.target_duration_s > ledger.head().target_duration_s;
                stream.session = Some(Arc::clone(&session));
                let Some(name) = stream.recording.clone() else { return };
                let Some(entry) = self.entries.get_mut(&name) else { return };
                if longer(entry.recording.ledger()) {
                    return self.finish(key, Reason::Split, moment);
                }
                let writes = entry.recording.new_session();
                self.write(&name, &writes, moment);
            }
            Change::Header(track, header) => stream.headers[place(track)] = Some(header),
            Change::Opened(track, opened) => {
                self.split_if_due(key, track, &opened, moment);
                if let Some(stream) = self.streams.get_mut(&key) {
                    stream.begun[place(track)] = Some(opened);
                }
            }
            Change::Part(track, part) => {
                if let Some(name) = self.tail_of(key, track) {
                    if !self.has_begun(key, track) {
                        return self.tail_part(key, &name, track, &part, moment);
                    }
                    self.end_tail(key, moment);
                }
                if !self.begin_segment(key, track, true, moment) {
                    self.numbers.parts_left_out += 1;
                    return self.shift_part(key, track, &part, None);
                }
                let Some((name, _)) = self.recording_of(key) else { return };
                self.take_part(key, &name, (track, &part), moment);
            }
            Change::Closed(track) => {
                stream.begun[place(track)] = None;
                self.shift_closed(key, track, None);
                if let Some(name) = self.tail_of(key, track) {
                    let writes = self.entries.get_mut(&name).map(|entry| entry.recording.closed(track));
                    return self.tail_closed(key, &name, &writes.unwrap_or_default(), moment);
                }
                let Some((name, entry)) = self.recording_of(key) else { return };
                let writes = entry.recording.closed(track);
                self.write(&name, &writes, moment);
            }
            Change::Gap(track, us)
                if let Some(name) = self.tail_of(key, track).filter(|_| !self.has_begun(key, track)) =>
            {
                self.shift_closed(key, track, Some(us));
                let writes = self.entries.get_mut(&name).map(|entry| entry.recording.gap(track, us));
                self.tail_closed(key, &name, &writes.unwrap_or_default(), moment);
            }
            Change::Gap(track, us) => {
                let is_taken = self.begin_segment(key, track, false, moment);
                self.shift_closed(key, track, Some(us));
                let Some((name, entry)) = self.recording_of(key).filter(|_| is_taken) else { return };
                let writes = entry.recording.gap(track, us);
                self.write(&name, &writes, moment);
            }
            Change::Ended => self.finish(key, Reason::StreamEnded, moment),
            Change::Parts(..) | Change::Skipped(..) | Change::Marked(..) => {}
        }
    }

    /// Writes one more part to a recording; false: it is left out.
    fn take_part(&mut self, key: StreamKey, name: &RecordingName, of: (Track, &Part), moment: Moment) -> bool {
        let (track, part) = of;
        let writes = self.entries.get_mut(name).map(|entry| entry.recording.part(track, part)).unwrap_or_default();
        let is_taken = !writes.is_empty() && self.write(name, &writes, moment);
        if is_taken {
            self.numbers.parts += 1;
        } else {
            self.numbers.parts_left_out += 1;
        }
        self.shift_part(key, track, part, is_taken.then_some(name));
        is_taken
    }

    fn recording_of(&mut self, key: StreamKey) -> Option<(RecordingName, &mut Entry<D::File>)> {
        let name = self.streams.get(&key)?.recording.clone()?;
        let entry = self.entries.get_mut(&name)?;
        Some((name, entry))
    }

    /// Segments of a track before this one are lost.
    fn lost(&mut self, key: StreamKey, track: Track, next_msn: u64, moment: Moment) {
        self.numbers.lost += 1;
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.begun[place(track)] = None;
        }
        self.shift_lost(key, track);
        if self.tail_of(key, track).is_some() {
            self.end_tail(key, moment);
        }
        let Some((name, entry)) = self.recording_of(key) else { return };
        if matches!(entry.phase, Phase::Paused { .. }) {
            return;
        }
        let writes = entry.recording.lost(next_msn);
        self.numbers.gaps += u64::from(!writes.is_empty());
        self.write(&name, &writes, moment);
    }

    /// The segment that has begun is told to the recording, now that something of it has come; a recording is begun where there is none. False:
    /// nothing is to be taken.
    fn begin_segment(&mut self, key: StreamKey, track: Track, starts: bool, moment: Moment) -> bool {
        let Some(stream) = self.streams.get_mut(&key) else { return false };
        let Some(opened) = stream.begun[place(track)] else { return stream.recording.is_some() };
        if stream.recording.is_none() && !(starts && self.begin_recording(key, &opened, moment)) {
            // The rest of the segment cannot be played without its beginning.
            if let Some(stream) = self.streams.get_mut(&key) {
                stream.begun[place(track)] = None;
            }
            return false;
        }
        let Some(stream) = self.streams.get_mut(&key) else { return false };
        stream.begun[place(track)] = None;
        let header = stream.headers[place(track)].clone();
        self.shift_opened(key, track, &opened);
        let Some((name, entry)) = self.recording_of(key) else { return false };
        if matches!(entry.phase, Phase::Paused { .. }) {
            entry.recording.pass_over(opened.msn);
            return false;
        }
        let writes = entry.recording.opened(track, &opened, header.as_deref());
        self.write(&name, &writes, moment)
    }

    /// Begins a recording with this segment, or goes on with one that was cut off.
    fn begin_recording(&mut self, key: StreamKey, opened: &Opened, moment: Moment) -> bool {
        let Some(stream) = self.streams.get_mut(&key) else { return false };
        let Some(session) = stream.session.clone() else { return false };
        let waits = |entry: &Entry<D::File>| {
            let head = entry.recording.ledger().head();
            matches!(entry.phase, Phase::Waiting { .. })
                && head.stream == stream.id
                && head.target_duration_s >= session.target_duration_s
        };
        if let Some((name, entry)) = self.entries.iter_mut().rev().find(|(_, entry)| waits(entry)) {
            entry.phase = Phase::Running;
            // Its numbers begin anew; that it broke off was written when it was found.
            let writes = entry.recording.new_session();
            debug_assert!(writes.is_empty(), "nothing has come since it was found");
            stream.recording = Some(name.clone());
            let name = name.clone();
            self.tell(Some(&name), EventKind::RecordingResumed, moment);
            return true;
        }
        // A stream that is followed anew is packaged from the oldest picture on that its log has.
        let is_had = self.had.get(&session.name).is_some_and(|had| {
            let end_unix_ms = opened.date_unix_ms + u64::from(session.target_duration_s) * 1_000;
            end_unix_ms <= had.end_unix_ms || opened.date_unix_ms <= had.newest_begin_unix_ms
        });
        if is_had || moment.now < stream.retry_at {
            return false;
        }
        let made = if self.room.is_left() { self.make_recording(key, &session, opened) } else { Err(DiskError::Full) };
        let Some(stream) = self.streams.get_mut(&key) else { return false };
        match made {
            Ok(name) => {
                stream.recording = Some(name.clone());
                stream.is_refusal_told = false;
                self.numbers.started += 1;
                self.tell(Some(&name), EventKind::RecordingStarted, moment);
                true
            }
            Err(error) => {
                stream.retry_at = moment.now + START_RETRY;
                if !std::mem::replace(&mut stream.is_refusal_told, true) {
                    let why = match error {
                        DiskError::Full if !self.room.is_left_on_disk() => format!(
                            "the disk of the spool is nearly full, and {} MiB of it are left to others: make room on it; it begins as soon as there is some",
                            DISK_FREE_BYTES_MIN >> 20
                        ),
                        DiskError::Full => "the spool has no room: check that the store takes what is recorded, or raise spool_max; it begins as soon as there is room".to_owned(),
                        error => format!("the spool cannot be written: {error}; it is tried again each second"),
                    };
                    let event = Event {
                        unix_ms: moment.unix_ms,
                        stream: stream.id.to_string(),
                        recording: None,
                        kind: EventKind::RecordingFailed { why },
                    };
                    self.numbers.refused += 1;
                    self.push_event(event);
                }
                false
            }
        }
    }

    fn make_recording(
        &mut self,
        key: StreamKey,
        session: &Session,
        opened: &Opened,
    ) -> Result<RecordingName, DiskError> {
        let Some(stream) = self.streams.get(&key) else { return Err(DiskError::Missing) };
        let mut tried = 0;
        let name = loop {
            let name = RecordingName::new(opened.date_unix_ms + tried, &session.name);
            let name = name.ok_or_else(|| DiskError::Failed("the session's name is no name".to_owned()))?;
            let is_known = self.entries.contains_key(&name) || self.broken.contains_key(&name);
            match if is_known { Err(DiskError::Exists) } else { self.disk.make_directory(name.as_str()) } {
                Ok(()) => break name,
                Err(DiskError::Exists) if tried < NAME_TRIES_MAX => tried += 1,
                Err(error) => return Err(error),
            }
        };
        let head = Head {
            name: name.clone(),
            stream: stream.id.clone(),
            target_duration_s: session.target_duration_s,
            object_ms: stream.settings.ondemand_time_s.max(1).saturating_mul(1_000),
            retention_days: stream.settings.retention_days,
            keeps_hls: stream.settings.keeps_hls(),
            movies: stream.settings.is_video.then(|| Movies {
                length_ms: stream.settings.video_time_s.max(1).saturating_mul(1_000),
                bytes_max: MOVIE_BYTES_MAX.min(self.settings.spool_max_bytes / MOVIE_PART_OF_SPOOL),
            }),
        };
        let made = self.disk.create(name.as_str(), INDEX_FILE).and_then(|index| {
            let record = Record::Head(head.clone()).encode();
            self.disk.append(&index, &record).map(|()| (index, record.len() as u64))
        });
        match made {
            Ok((index, bytes)) => {
                self.room.used_bytes += bytes;
                self.syncing.spool_changed = true;
                self.entries.insert(name.clone(), Entry::new(Ledger::new(head), index, bytes, Phase::Running));
                Ok(name)
            }
            Err(error) => {
                // Nothing was kept in it: what cannot be removed now is at the next start.
                let _ = self.disk.remove(name.as_str(), INDEX_FILE);
                let _ = self.disk.remove_directory(name.as_str());
                Err(error)
            }
        }
    }

    /// The stream's recording gets nothing more.
    fn finish(&mut self, key: StreamKey, reason: Reason, moment: Moment) {
        self.end_tail(key, moment);
        let Some(stream) = self.streams.get_mut(&key) else { return };
        stream.begun = [None; 2];
        let Some(name) = stream.recording.take() else { return };
        if reason == Reason::StreamEnded
            && let Some(session) = &stream.session
            && let Some(entry) = self.entries.get(&name)
        {
            let ledger = entry.recording.ledger();
            let begins = ledger.movie_begins().chain([name.start_unix_ms()]);
            let had = Had { newest_begin_unix_ms: begins.max().unwrap_or_default(), end_unix_ms: ledger.end_unix_ms() };
            self.had.retain(|_, had| had.end_unix_ms + PACKAGED_MS_MAX > moment.unix_ms);
            self.had.insert(session.name.clone(), had);
        }
        self.end(&name, reason, moment);
    }

    /// A recording gets nothing more.
    fn end(&mut self, name: &RecordingName, reason: Reason, moment: Moment) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let writes = entry.recording.end(reason);
        let is_paused = matches!(entry.phase, Phase::Paused { .. });
        entry.phase = Phase::Ended;
        if is_paused {
            // It may be that not even this can be written now.
            entry.put_off(writes);
        } else {
            self.write(name, &writes, moment);
        }
        self.put_off_written(name, moment);
    }

    /// Makes writes of a recording; where the disk has no room it pauses, and where the disk fails it is read anew. True: all were made.
    fn write(&mut self, name: &RecordingName, writes: &[Write], moment: Moment) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        for (at, write) in writes.iter().enumerate() {
            if write.media.is_some() && !self.room.takes_more() {
                self.pause(name, self.room.reason(), moment);
                return false;
            }
            match entry.commit(&mut self.disk, write) {
                Ok(bytes) => {
                    self.room.used_bytes += bytes;
                    self.numbers.bytes += bytes;
                }
                Err(DiskError::Full) => {
                    if entry.phase == Phase::Ended {
                        let rest = writes.get(at..).unwrap_or_default().to_vec();
                        entry.put_off(rest);
                    } else {
                        self.pause(name, Reason::DiskFull, moment);
                    }
                    return false;
                }
                Err(error) => {
                    self.disk_failed(name, &error, moment);
                    return false;
                }
            }
        }
        true
    }

    /// Tells an event of a recording.
    fn tell(&mut self, name: Option<&RecordingName>, kind: EventKind, moment: Moment) {
        let entry = name.and_then(|name| self.entries.get(name));
        let stream = entry.map(|entry| entry.recording.ledger().head().stream.to_string()).unwrap_or_default();
        let recording = name.map(|name| name.as_str().to_owned());
        self.push_event(Event { unix_ms: moment.unix_ms, stream, recording, kind });
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() < crate::limits::EVENTS_MAX {
            self.events.push_back(event);
        } else {
            self.numbers.events_lost += 1;
        }
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// An event could not be given on.
    pub(crate) fn event_lost(&mut self) {
        self.numbers.events_lost += 1;
    }

    /// To be called a few times a second: what is due by time.
    pub fn poll(&mut self, moment: Moment) {
        self.look_for_room(moment);
        self.read_broken_anew(moment);
        self.close_abandoned(moment);
        self.shelf.sweep(moment.now);
        self.tell_store(moment);
    }
}
