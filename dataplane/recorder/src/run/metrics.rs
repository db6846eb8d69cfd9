//! The recorder's numbers as OpenMetrics text, without its end. No label grows with streams.
use std::fmt::Write as _;

use super::Snapshot;

/// The text.
pub fn text(snapshot: &Snapshot) -> String {
    let numbers = &snapshot.numbers;
    let counters = [
        ("recordings_started", "Recordings begun", numbers.started),
        ("recordings_refused", "Recordings that found no room", numbers.refused),
        ("recordings_recovered", "Recordings found at a start or after the disk failed", numbers.recovered),
        ("recordings_stored", "Recordings that are in the store as a whole", numbers.done),
        ("recordings_deleted_unstored", "Recordings removed before all of them was stored", numbers.deleted),
        ("recordings_paused", "Times that a recording paused", numbers.paused),
        ("recordings_resumed", "Times that a recording went on", numbers.resumed),
        ("recorder_parts", "Parts written to the spool", numbers.parts),
        ("recorder_parts_left_out", "Parts that were not written", numbers.parts_left_out),
        ("recorder_written_bytes", "Bytes written to the spool", numbers.bytes),
        ("recorder_gaps", "Gaps that recordings name", numbers.gaps),
        (
            "recorder_lost",
            "Times that segments left the window, or their stream ended, before they were taken",
            numbers.lost,
        ),
        ("recorder_queue_full", "Times that the queue of a stream was full", snapshot.queue_full),
        ("recorder_syncs", "Batches of files synced", numbers.syncs),
        ("recorder_disk_errors", "Errors of the spool's disk", numbers.disk_errors),
        ("recorder_uploads", "Objects and playlists that the store has shown", numbers.stored),
        ("recorder_upload_failures", "Requests to the store that failed and are tried again", numbers.store_failures),
        ("recorder_mp4_files", "MP4 files that the store has shown", numbers.movies),
        ("recorder_damaged_objects", "Objects that are neither in the spool nor in the store", numbers.damaged),
        (
            "recorder_damaged_segments",
            "Segments that were not what was written when they were to be stored",
            numbers.spoilt,
        ),
        ("recorder_events_lost", "Events that nobody took in time", numbers.events_lost),
    ];
    let gauges = [
        ("recorder_spool_bytes", "Bytes in the spool", numbers.spool_bytes),
        ("recordings_open", "Recordings that are not in the store as a whole", numbers.recordings),
        ("recorder_uploads_running", "Requests to the store under way", numbers.uploads),
        ("recorder_store_away", "Whether the store fails again and again", u64::from(numbers.is_store_away)),
    ];
    let mut out = String::with_capacity(4_096);
    for (name, help, value) in counters {
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "# HELP millstream_{name} {help}.\n# TYPE millstream_{name} counter\nmillstream_{name}_total {value}"
        );
    }
    for (name, help, value) in gauges {
        let _ = writeln!(
            out,
            "# HELP millstream_{name} {help}.\n# TYPE millstream_{name} gauge\nmillstream_{name} {value}"
        );
    }
    out
}
