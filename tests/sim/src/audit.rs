//! What must hold after every event: bounds of logs, mailboxes and doors, and cursors that only move forward.
use millstream_hub::log::Log;
use millstream_proto::limits::{RTMP_ASSEMBLY_BYTES_MAX, RTMP_INBOX_BYTES_MAX, RTMP_OUTPUT_BYTES_MAX};

use crate::world::World;

impl World {
    pub(crate) fn audit(&mut self) {
        for ((from, to), mailbox) in &self.mailboxes {
            assert!(mailbox.len() <= self.settings.mailbox_max, "the mailbox from {from} to {to} passes its bound");
        }
        for shard in &self.shards {
            assert!(shard.door.pending.len() <= shard.door.pending_max, "too many are parked");
            assert!(shard.channels.len() <= self.settings.streams_max, "too many streams");
            for &channel in shard.channels.values() {
                let channel = &mut self.channels[channel];
                let (first, head) = (channel.log.first(), channel.log.head());
                if (first, head) == channel.seen {
                    continue;
                }
                assert!(first >= channel.seen.0 && head >= channel.seen.1, "a log goes back");
                channel.seen = (first, head);
                check_log(&channel.log);
            }
        }
        // One link per event: all of them get their turn.
        let links = self.links.len() as u64;
        if let Some(link) = self.links.get(self.totals.events.checked_rem(links).unwrap_or_default() as usize)
            && let Some(rtmp) = &link.conn.rtmp
        {
            let most = RTMP_ASSEMBLY_BYTES_MAX + RTMP_INBOX_BYTES_MAX + RTMP_OUTPUT_BYTES_MAX;
            assert!(rtmp.held_bytes() <= most, "a session holds {} bytes", rtmp.held_bytes());
        }
    }
}

fn check_log(log: &Log) {
    let held = log.head() - log.first();
    let (Some(oldest), Some(newest)) = (log.get(log.first()), log.get(log.head().wrapping_sub(1))) else {
        return assert_eq!(held, 0, "a log with holes");
    };
    assert!(log.bytes() <= log.limits.bytes_max || held == 1, "a log of {} bytes", log.bytes());
    let reach_ms = u128::from(newest.block.last_ms.saturating_sub(oldest.block.first_ms).max(0).unsigned_abs());
    if reach_ms > log.limits.time_max.as_millis() {
        let starts = (log.first() + 1..log.head()).filter_map(|seq| log.get(seq)).any(|entry| entry.block.start);
        assert!(!starts, "a log that reaches back {reach_ms} ms holds more than its newest GOP");
    }
    assert_eq!((oldest.block.seq, newest.block.seq + 1), (log.first(), log.head()), "a log with holes");
}
