//! Every maximum of the recorder, each with its unit and by whom it is bounded.
use std::time::Duration;

/// Bytes of one record of an index: a codec configuration has 64 KiB at most, and a header holds it once.
pub const RECORD_BYTES_MAX: usize = 256 << 10;
/// Bytes of an index that are read at a start: a recording is split long before (see [`crate::settings::Settings::recording_max`]).
pub const INDEX_BYTES_MAX: u64 = 1 << 30;
/// Bytes of an index that are searched for the next good record behind a damaged one.
pub const RESYNC_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an object: one that reaches this ends before its time. Its offsets and lengths are kept in 30 bits.
pub const OBJECT_BYTES_MAX: u64 = 512 << 20;
/// Gaps that a recording names; more are counted.
pub const GAPS_MAX: usize = 1_000;
/// Names of foreign files in a spool that are told.
pub const FOREIGN_MAX: usize = 64;
/// Tries to find a name for a recording that was never used.
pub const NAME_TRIES_MAX: u64 = 1_000;

/// Changes that wait between a shard and the disk's thread, of one stream. The window of the stream is the buffer behind it.
pub const QUEUE_CHANGES_MAX: usize = 256;
/// Bytes of parts that wait, of one stream: the longest part always fits into an empty queue.
pub const QUEUE_STREAM_BYTES_MAX: usize = 8 << 20;
/// Bytes of parts that wait, of all streams.
pub const QUEUE_BYTES_MAX: usize = 256 << 20;
/// Changes of one stream that are written before the next stream's turn.
pub const CHANGES_PER_TURN: usize = 64;
/// Events that wait for who keeps them; more are counted.
pub const EVENTS_MAX: usize = 1_024;

/// The disk's thread looks into its queues this often: nobody has to wake it for a part, and a part waits no longer.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The same, while nothing is followed and nothing waits to be stored.
pub const IDLE_LOOK_EVERY: Duration = Duration::from_secs(1);
/// From the beginning of one sync to the beginning of the next. With a part's length, a look and the sync itself it is within the second that a
/// loss of power may cost.
pub const SYNC_EVERY: Duration = Duration::from_millis(400);
/// Playlists in the store are rewritten no more often.
pub const PLAYLISTS_EVERY: Duration = Duration::from_secs(10);
/// Whether there is room is looked at this often.
pub const ROOM_EVERY: Duration = Duration::from_secs(1);
/// Room that must be left on the disk besides the spool, bytes: other parts of the server write there too.
pub const DISK_FREE_BYTES_MIN: u64 = 64 << 20;

/// Uploads at a time, to the store.
pub const UPLOADS_MAX: usize = 16;
/// Uploads of one recording that are held ready; what else is whole is found when it is its turn.
pub const UPLOADS_READY_MAX: usize = 32;
/// Bytes of memory that the list of a recording's segments may take: one that takes more is split. Half a day of segments of two seconds takes a third.
pub const LEDGER_BYTES_MAX: usize = 1 << 20;
/// Uploads at a time, of one recording.
pub const UPLOADS_PER_RECORDING_MAX: usize = 4;
/// The first wait after an upload that failed; it doubles.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
pub const RETRY_MAX: Duration = Duration::from_secs(30);
/// So many failures in a row, and the store counts as away: one upload at a time asks it again.
pub const AWAY_FAILURES: u32 = 3;
/// An upload is given up and tried again after this, and a second more for each [`UPLOAD_BYTES_PER_SECOND_MIN`].
pub const UPLOAD_TIMEOUT: Duration = Duration::from_mins(1);
/// The slowest upload that is waited for.
pub const UPLOAD_BYTES_PER_SECOND_MIN: u64 = 256 << 10;
/// Characters of a store's error that are kept.
pub const ERROR_CHARS_MAX: usize = 512;

/// Bytes of an object that are read at once for an MP4 file, of each track.
pub const MOVIE_READ_BYTES: usize = 1 << 20;
/// Bytes that the header of a fragment has as a rule: a read of fewer would be made twice.
pub const MOVIE_FRAGMENT_READ_BYTES: usize = 4 << 10;
/// The same, where the objects are in the spool.
pub const MOVIE_SPOOL_READ_BYTES: usize = 64 << 10;
/// Bytes after which an MP4 file ends before its time, at the next keyframe; and no more than a part of the spool, for its objects wait there.
pub const MOVIE_BYTES_MAX: u64 = 4 << 30;
/// Which part of the spool.
pub const MOVIE_PART_OF_SPOOL: u64 = 4;
/// MP4 files that are being made, of all recordings: each takes a thread, and some megabytes an hour of it.
pub const MOVIES_AT_ONCE: usize = 2;
/// One that could not be made is tried again after this.
pub const MOVIE_RETRY: Duration = Duration::from_secs(5);
/// MP4 files that a recording lists; more are counted.
pub const MOVIES_LISTED_MAX: usize = 20_000;
/// Objects that one track may be ahead of the other.
pub const OBJECTS_APART_MAX: u32 = 3;
/// Bytes of a playlist of a stored recording: half a day of segments of a second has a third of it.
pub const STORED_PLAYLIST_BYTES_MAX: usize = 16 << 20;
/// Segments of a track that time shift reaches back, whatever its setting says, at eight bytes each: four hours and a half of 2 s. With what is below, both
/// tracks take 200 KiB at most. (A queue doubles its room when it is full: these are a little less than powers of two.)
pub const SHIFT_SEGMENTS_MAX: usize = 8_190;
/// Changes of header, date or run of a track within that reach, at 40 bytes each; with more of them it is shorter.
pub const SHIFT_MARKS_MAX: usize = 254;
/// Objects of a track within that reach, at 48 bytes each; with more of them it is shorter.
pub const SHIFT_OBJECTS_MAX: usize = 510;
/// Headers of a track within that reach; with more of them it is shorter. Their bytes are those that the recording holds.
pub const SHIFT_HEADERS_MAX: usize = 64;
/// Streams that are over and that somebody still watches.
pub const SHIFTS_PAST_MAX: usize = 64;
