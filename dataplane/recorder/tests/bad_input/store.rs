//! A store that is away, or set up wrongly.
use millstream_proto::media::Track;
use millstream_recorder::recorder::{Event, EventKind};
use millstream_recorder::uploader::StoreNews;

use crate::bench::{Bench, text_of};

const BOTH: [Track; 2] = [Track::Video, Track::Audio];
/// What a recorded stream may take of memory, beside its log and window.
const MEMORY_BYTES_MAX: usize = 256 << 10;

/// Segments of 2 s for so long; gives the memory that the recording took at most, each minute.
fn record(bench: &mut Bench, from_msn: u64, minutes: u64) -> Vec<usize> {
    let mut took = Vec::new();
    for minute in 0..minutes {
        for msn in 0..30 {
            bench.segment(&BOTH, from_msn + minute * 30 + msn, 4);
        }
        took.push(bench.recorder().recordings()[0].memory_bytes);
    }
    took
}

fn media(bench: &Bench, track: Track) -> Vec<String> {
    bench.stored(track).into_iter().flat_map(|(_, segments)| segments).map(|segment| segment.expect("no gap")).collect()
}

#[test]
fn a_store_that_is_away_for_an_hour_costs_nothing_and_is_caught_up_with() {
    let mut bench = Bench::new(60);
    bench.begin("s", &BOTH);
    record(&mut bench, 0, 2);
    let before = bench.order.len();
    bench.store_error = Some("503 Slow Down".to_owned());
    let took = record(&mut bench, 60, 60);
    assert_eq!(bench.order.len(), before, "nothing is stored");
    assert_eq!(bench.recorder().store_news(), Some(StoreNews::Away("503 Slow Down".to_owned())));
    let missing = bench.recorder().recordings()[0].missing.clone();
    assert!(missing.uploads >= 120 && missing.failing_since.is_some(), "{missing:?}");
    let (first, most) = (took[9], took.iter().copied().max().unwrap_or_default());
    println!("memory of the recording: {first} bytes after 10 minutes, {most} bytes at most");
    assert!(most <= MEMORY_BYTES_MAX && most - first < 96 << 10, "{took:?}");
    // It is back, and takes a second for each request; the stream goes on.
    (bench.store_error, bench.store_takes_ms) = (None, 1_000);
    let (since_ms, mut msn) = (bench.now_ms, 60 + 60 * 30);
    while bench.recorder().recordings()[0].missing.uploads > 4 {
        bench.segment(&BOTH, msn, 4);
        msn += 1;
    }
    let ratio = 3_600_000 / (bench.now_ms - since_ms);
    println!("an hour is caught up with at {ratio} times its speed");
    assert!(ratio >= 5);
    assert_eq!(bench.recorder().store_news(), Some(StoreNews::Back));
    bench.end();
    bench.finish();
    for track in BOTH {
        let expected: Vec<String> = (0..msn).map(|msn| text_of(msn, 4)).collect();
        assert_eq!(media(&bench, track), expected, "all of it, in order");
        let folder = format!("/{}/", track.name());
        let order: Vec<u32> = bench
            .order
            .iter()
            .filter_map(|key| key.split_once(&folder)?.1.strip_suffix(".mp4")?.parse().ok())
            .collect();
        assert!(order.is_sorted(), "{order:?}");
    }
}

#[test]
fn a_recording_of_four_hours_takes_no_more_memory_than_a_stream_may() {
    for is_store_away in [false, true] {
        let mut bench = Bench::new(60);
        bench.store_error = is_store_away.then(|| "503".to_owned());
        bench.begin("s", &BOTH);
        let took = record(&mut bench, 0, 240);
        let most = took.iter().copied().max().unwrap_or_default();
        println!("four hours, the store away: {is_store_away}: {most} bytes");
        assert_eq!(bench.recorder().numbers().recordings, 1, "it is one");
        // Of rows alone it has 8 bytes each.
        assert!(most > 2 * 7_200 * 8, "all of it is counted: {most}");
        assert!(most <= MEMORY_BYTES_MAX, "{most}");
    }
}

#[test]
fn a_store_that_is_set_up_wrongly_is_told_once_and_in_the_status_of_each_recording() {
    for error in [
        "s3://recordings: cannot put x: it answers 404, NoSuchBucket; make the bucket",
        "s3://recordings: cannot put x: it answers 301, PermanentRedirect; set region=eu-west-3",
        "s3://recordings: cannot put x: it answers 403, InvalidAccessKeyId; check AWS_ACCESS_KEY_ID",
    ] {
        let mut bench = Bench::new(2);
        bench.store_error = Some(error.to_owned());
        let mut news = Vec::new();
        // It is asked at the start, and again when there is something to store.
        bench.recorder().store_unusable(error);
        for session in 0..4 {
            bench.begin(&format!("s{session}"), &BOTH);
            for msn in 0..10 {
                bench.segment(&BOTH, session * 10 + msn, 4);
                news.extend(bench.recorder().store_news());
            }
            bench.end();
        }
        bench.run(60_000);
        news.extend(bench.recorder().store_news());
        assert_eq!(news, [StoreNews::Away(error.to_owned())], "once");
        let recordings = bench.recorder().recordings();
        assert_eq!(recordings.len(), 4);
        for recording in &recordings {
            assert_eq!(recording.missing.error.as_deref(), Some(error));
            assert!(recording.missing.failing_since.is_some() && recording.missing.uploads >= 20);
        }
        // And each recording says so, for the API.
        let waits = |bench: &Bench| -> Vec<_> {
            let why = |event: &Event| match &event.kind {
                EventKind::RecordingWaits { why } => Some((event.recording.clone(), why.clone())),
                _ => None,
            };
            bench.events.iter().filter_map(why).collect()
        };
        let told = waits(&bench);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told.iter().all(|(recording, why)| recording.is_some() && why == error), "{told:?}");
        // Somebody mends it: uploads go on within the longest wait, and nothing has to be started anew.
        bench.store_error = None;
        bench.run(40_000);
        assert_eq!(bench.recorder().store_news(), Some(StoreNews::Back));
        assert_eq!(bench.recorder().numbers().recordings, 0, "{:#?}", bench.recorder().recordings());
        assert_eq!(media(&bench, Track::Video).len(), 40);
        assert_eq!(waits(&bench).len(), 4, "once");
    }
}

#[test]
fn a_store_that_was_mended_before_anything_was_to_be_stored_is_told_to_be_back() {
    let mut bench = Bench::new(2);
    bench.recorder().store_unusable("no such bucket");
    assert_eq!(bench.recorder().store_news(), Some(StoreNews::Away("no such bucket".to_owned())));
    bench.begin("s", &BOTH);
    (0..4).for_each(|msn| bench.segment(&BOTH, msn, 4));
    assert_eq!(bench.recorder().store_news(), Some(StoreNews::Back));
    bench.end();
    bench.finish();
    assert_eq!(bench.recorder().store_news(), None);
}

#[test]
fn that_a_recording_waits_is_told_after_ten_seconds_whatever_the_wall_clock_does() {
    let mut bench = Bench::new(2);
    bench.store_error = Some("503".to_owned());
    bench.begin("s", &BOTH);
    (0..3).for_each(|msn| bench.segment(&BOTH, msn, 4));
    assert!(!bench.told().contains(&"RecordingWaits".to_owned()), "{:?}", bench.told());
    bench.set_back_ms = 3_600_000;
    bench.run(15_000);
    assert!(bench.told().contains(&"RecordingWaits".to_owned()), "{:?}", bench.told());
}
