//! The bounds of a log, and which blocks a viewer can start at. Beside [`super`].
use super::*;
use crate::package::block::Tag;
use bytes::Bytes;
use millstream_proto::media::TagKind;
use millstream_proto::time::Time;

fn block(seq: u64, start: bool, ms: i64, bytes: usize) -> Arc<Block> {
    let tag = Tag { kind: TagKind::Video, timestamp_ms: ms as u32, body: Bytes::from(vec![0; bytes]), leading: false };
    Arc::new(Block::seal((seq, seq), start, Arc::default(), (ms, ms), (1, Time::ZERO), &[tag]))
}

fn log(bytes_max: usize, time_max_ms: u64) -> Log {
    Log::new(LogLimits { bytes_max, time_max: Duration::from_millis(time_max_ms), rtmp_chunk_bytes: 128 })
}

/// Blocks as (start, stamp, bytes) into a log: what is held, and where a viewer would start.
fn check(bytes_max: usize, blocks: &[(bool, i64, usize)], held: std::ops::Range<u64>, start: Option<u64>) {
    let mut log = log(bytes_max, 1_000);
    for (seq, &(start, ms, bytes)) in blocks.iter().enumerate() {
        log.append(block(seq as u64, start, ms, bytes));
        let costs: usize = (log.first()..log.head()).map(|seq| cost(&log.get(seq).unwrap().block)).sum();
        assert_eq!(log.bytes(), costs);
        assert!(log.bytes() <= bytes_max || log.head() - log.first() == 1);
    }
    assert_eq!((log.first()..log.head(), log.newest_start()), (held, start), "{blocks:?}");
}

#[test]
fn whole_gops_leave_by_time() {
    let gop = |ms| [(true, ms, 10), (false, ms + 200, 10)];
    check(1 << 20, &[gop(0), gop(400), gop(800)].concat(), 0..6, Some(4));
    check(1 << 20, &[gop(0), gop(400), gop(801)].concat(), 2..6, Some(4));
    // The newest GOP stays, however long it lasts.
    check(1 << 20, &[(true, 0, 10), (true, 100, 10), (false, 5_000, 10), (false, 9_000, 10)], 1..4, Some(1));
}

#[test]
fn whole_gops_leave_by_bytes() {
    let gop = |ms| [(true, ms, 3_000), (false, ms + 1, 3_000)];
    check(16_000, &[gop(0), gop(10)].concat(), 0..4, Some(2));
    check(16_000, &[gop(0), gop(10), gop(20)].concat(), 2..6, Some(4));
}

#[test]
fn a_gop_over_the_maximum_loses_its_start() {
    check(16_000, &[(true, 0, 6_000), (false, 1, 6_000), (false, 2, 6_000)], 1..3, None);
    check(16_000, &[(true, 0, 6_000), (false, 1, 6_000), (false, 2, 6_000), (true, 3, 6_000)], 3..4, Some(3));
    // One block is always held: who has begun it needs the next one, not this.
    check(16_000, &[(true, 0, 10), (true, 1, 60_000)], 1..2, Some(1));
}

#[test]
fn without_a_start_only_bytes_count() {
    check(1 << 20, &[(false, 0, 10), (false, 5_000, 10)], 0..2, None);
    check(1 << 20, &[(false, 0, 10), (false, 5_000, 10), (true, 5_001, 10)], 2..3, Some(2));
}

#[test]
fn stamps_that_stand_still_or_run_back_do_not_grow_it() {
    let mut log = log(100_000, 1_000);
    for seq in 0..100_000 {
        log.append(block(seq, true, 7 - (seq as i64 % 3), 1));
        assert!(log.bytes() <= 100_000);
    }
    // What a block costs besides its bytes is counted.
    assert!(log.head() - log.first() < 100_000 / size_of::<Block>() as u64);
}

#[test]
fn a_gap_starts_it_anew() {
    let mut log = log(1 << 20, 1_000);
    assert_eq!((log.first(), log.head(), log.newest_start()), (0, 0, None));
    log.append(block(7, true, 0, 10));
    log.append(block(8, false, 0, 10));
    assert_eq!((log.first(), log.head(), log.newest_start()), (7, 9, Some(7)));
    log.append(block(20, false, 0, 10));
    assert_eq!((log.first(), log.head(), log.newest_start()), (20, 21, None));
    assert!(log.get(8).is_none() && log.get(19).is_none() && log.get(21).is_none() && log.get(20).is_some());
    assert_eq!(log.bytes(), cost(&log.get(20).unwrap().block));
}

#[test]
fn the_first_reason_to_end_stays() {
    let mut log = log(1, 1);
    assert_eq!(log.ended(), None);
    log.end(EndReason::PublisherGone);
    log.end(EndReason::Shutdown);
    assert_eq!(log.ended(), Some(EndReason::PublisherGone));
}
