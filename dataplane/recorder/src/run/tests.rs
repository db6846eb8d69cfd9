//! The recorder as a server runs it, over a real directory and a store in memory.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_hub::log::{Log, LogLimits};
use millstream_hub::package::change::{Change, Header, Opened, Part, Session};
use millstream_hub::package::window::Window;
use millstream_hub::subscriber::{Progress, View};
use millstream_proto::codec::Summary;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::*;
use crate::limits::{QUEUE_CHANGES_MAX, QUEUE_STREAM_BYTES_MAX};
use crate::store::{Answer, Body, Kind, Sums};

/// When the streams of these tests begin.
const ZERO_UNIX_MS: u64 = 1_795_531_265_000;

/// A store in memory.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Bytes>>);

impl Store for Memory {
    fn put<'a>(&'a self, key: &'a str, body: Body, _: Kind) -> Answer<'a, ()> {
        Box::pin(async move {
            let bytes = match body {
                Body::Bytes(bytes) => bytes,
                Body::Movie(movie) => {
                    let mut bytes = Vec::new();
                    movie
                        .read(|chunk| {
                            bytes.extend_from_slice(chunk);
                            Ok(())
                        })
                        .expect("its objects");
                    bytes.into()
                }
                Body::File(file, length) => {
                    use std::os::unix::fs::FileExt as _;
                    let mut bytes = vec![0; length as usize];
                    file.read_exact_at(&mut bytes, 0).expect("the file");
                    bytes.into()
                }
            };
            self.0.lock().expect("no panic").insert(key.to_owned(), bytes);
            Ok(())
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Sums>> {
        Box::pin(async move { Ok(self.0.lock().expect("no panic").get(key).map(|bytes| Sums::of(bytes))) })
    }
}

fn window(segment_bytes: usize) -> Window {
    let mut window = Window::new();
    let session = Session {
        name: "s1".to_owned(),
        target_duration_s: 2,
        window: 64,
        bytes_max: 1 << 30,
        zero_unix_ms: ZERO_UNIX_MS,
        guide: None,
    };
    window.apply(Change::Began(Arc::new(session)));
    let summary = Summary { codec: "mp4a.40.2".to_owned(), shape: None, unusual: None };
    let header = Header { number: 1, bytes: Bytes::from_static(b"moov"), timescale: 1_000, summary };
    window.apply(Change::Header(Track::Audio, Arc::new(header)));
    (0..5).for_each(|msn| segment(&mut window, msn, segment_bytes));
    window
}

fn segment(window: &mut Window, msn: u64, bytes: usize) {
    let opened = Opened {
        msn,
        header: 1,
        start: msn * 2_000,
        start_us: msn * 2_000_000,
        date_unix_ms: ZERO_UNIX_MS + msn * 2_000,
        ..Opened::default()
    };
    window.apply(Change::Opened(Track::Audio, opened));
    for number in 0..5 {
        window.apply(Change::Part(
            Track::Audio,
            Part {
                number: msn * 5 + number,
                duration: 400,
                duration_us: 400_000,
                independent: true,
                frames: 19,
                arrived: Time::ZERO,
                bytes: vec![msn as u8; bytes].into(),
            },
        ));
    }
    window.apply(Change::Closed(Track::Audio));
}

fn log() -> Log {
    Log::new(LogLimits { bytes_max: 1 << 20, time_max: Duration::from_secs(10), rtmp_chunk_bytes: 4_096 })
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_mins(1), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn recorded() -> StreamSettings {
    StreamSettings { is_on_demand: true, ondemand_time_s: 4, retention_days: 3, ..StreamSettings::default() }
}

#[test]
fn a_stream_is_in_the_store_when_it_is_over_and_the_spool_is_empty() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let spool = tempfile::tempdir().expect("a directory");
    let store = Arc::new(Memory::default());
    let path = spool.path().join("spool");
    let started = start(
        &path,
        Settings::default(),
        Arc::<Memory>::clone(&store),
        runtime.handle().clone(),
        runtime.handle().clone(),
    );
    let (handle, threads, mut events) = started.expect("it starts");
    let two = start(
        &path,
        Settings::default(),
        Arc::<Memory>::clone(&store),
        runtime.handle().clone(),
        runtime.handle().clone(),
    );
    assert!(two.err().expect("a second one does not").to_string().contains("used by another server"));

    let id = Id::new("cam").expect("an id");
    let (mut follower, log, mut window) = (handle.follower(&id, recorded()), log(), window(100));
    assert_eq!(follower.advance(View { log: &log, window: &window, encoder: None }), Progress::CaughtUp);
    eventually("its parts are in the spool", || handle.snapshot().numbers.parts == 25);
    window.apply(Change::Ended);
    assert_eq!(follower.advance(View { log: &log, window: &window, encoder: None }), Progress::Done);
    eventually("all of it is stored", || handle.snapshot().numbers.done == 1);

    let objects = store.0.lock().expect("no panic").clone();
    let names: Vec<&str> = objects.keys().map(|key| key.trim_start_matches("cam/rec/1795531265000-s1/")).collect();
    let expected = [
        "audio.m3u8",
        "audio/1.mp4",
        "audio/2.mp4",
        "audio/3.mp4",
        "audio/init-1.mp4",
        "index.m3u8",
        "manifest.mpd",
        "recording.json",
        "cam/vod-1795531265000.m3u8",
    ];
    assert_eq!(names, expected);
    assert_eq!(objects["cam/rec/1795531265000-s1/audio/1.mp4"], [[0; 500], [1; 500]].concat());
    let left: Vec<_> = std::fs::read_dir(&path).expect("the spool").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [directory::LOCK_FILE]);
    let kinds: Vec<String> = std::iter::from_fn(|| events.try_recv().ok()).map(|e| format!("{:?}", e.kind)).collect();
    assert!(kinds[0] == "RecordingStarted" && kinds[1].starts_with("RecordingStored"), "{kinds:?}");
    let text = metrics::text(&handle.snapshot());
    assert!(text.contains("millstream_recordings_stored_total 1\n"), "{text}");
    handle.stop();
    threads.join();
}

#[test]
fn names_that_a_killed_process_made_are_synced_by_the_next_one() {
    let spool = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(spool.path().join("1795531265000-s1")).expect("made, and not synced");
    let directory = Directory::open(spool.path()).expect("a spool");
    let moment = Clock::new().now();
    let mut recorder = Recorder::open(directory, Settings::default(), moment).expect("it starts");
    let batch = recorder.begin_sync(moment.now).expect("something to sync");
    assert!(batch.directories.contains(&String::new()), "the spool itself: a loss of power takes what is in it");
}

#[test]
fn a_stream_that_is_followed_again_is_recorded_from_where_its_first_recording_ends() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let spool = tempfile::tempdir().expect("a directory");
    let store: Arc<Memory> = Arc::default();
    let given = Arc::clone(&store) as Arc<dyn Store>;
    let (handle, threads, _events) =
        start(spool.path(), Settings::default(), given, runtime.handle().clone(), runtime.handle().clone())
            .expect("it starts");
    let id = Id::new("cam").expect("an id");
    let (log, mut window) = (log(), window(100));
    let mut follower = handle.follower(&id, recorded());
    follower.advance(View { log: &log, window: &window, encoder: None });
    eventually("it is recorded", || handle.snapshot().numbers.parts == 25);
    drop(follower);
    eventually("it is stored", || handle.snapshot().numbers.done == 1);
    let first = store.0.lock().expect("no panic").clone();

    // It is packaged anew from the oldest picture on that the stream has: the same segments come again.
    let mut follower = handle.follower(&id, recorded());
    segment(&mut window, 5, 100);
    follower.advance(View { log: &log, window: &window, encoder: None });
    eventually("it is recorded", || handle.snapshot().numbers.parts == 30);
    drop(follower);
    eventually("it is stored", || handle.snapshot().numbers.done == 2);
    handle.stop();
    threads.join();
    let both = store.0.lock().expect("no panic").clone();
    assert!(first.iter().all(|(key, bytes)| both.get(key) == Some(bytes)), "the first one is as it was");
    let second = format!("cam/rec/{}-s1/index.m3u8", ZERO_UNIX_MS + 10_000);
    assert!(both.contains_key(&second), "{:?}", both.keys());
}

#[test]
fn a_recording_is_removed_from_the_spool_once_it_does_not_grow() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let spool = tempfile::tempdir().expect("a directory");
    let path = spool.path().join("spool");
    // A store that takes nothing: all of it stays in the spool.
    let started = start(&path, Settings::default(), Arc::new(Away), runtime.handle().clone(), runtime.handle().clone());
    let (handle, threads, _events) = started.expect("it starts");
    let id = Id::new("cam").expect("an id");
    let name = RecordingName::parse("1795531265000-s1").expect("a name");
    assert_eq!(runtime.block_on(handle.standing(&name)), Standing::Gone);
    assert_eq!(runtime.block_on(handle.delete(&name)), Ok(None), "there is nothing to remove");
    let (mut follower, log, mut window) = (handle.follower(&id, recorded()), log(), window(100));
    follower.advance(View { log: &log, window: &window, encoder: None });
    eventually("it runs", || runtime.block_on(handle.standing(&name)) == Standing::Running);
    assert_eq!(runtime.block_on(handle.delete(&name)), Err(DeleteError::Running));
    window.apply(Change::Ended);
    follower.advance(View { log: &log, window: &window, encoder: None });
    drop(follower);
    eventually("it has ended", || runtime.block_on(handle.standing(&name)) == Standing::Storing);
    assert_eq!(runtime.block_on(handle.delete(&name)), Ok(Some(Vec::new())));
    assert_eq!(runtime.block_on(handle.standing(&name)), Standing::Gone);
    let left: Vec<_> = std::fs::read_dir(&path).expect("the spool").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [directory::LOCK_FILE]);
    eventually("its room is free", || {
        let numbers = handle.snapshot().numbers;
        (numbers.spool_bytes, numbers.recordings, numbers.uploads, numbers.deleted) == (0, 0, 0, 1)
    });
    handle.stop();
    threads.join();
}

/// A store that is away.
struct Away;

impl Store for Away {
    fn put<'a>(&'a self, _: &'a str, _: Body, _: Kind) -> Answer<'a, ()> {
        Box::pin(async { Err(crate::store::StoreError::Failed("away".to_owned())) })
    }

    fn head<'a>(&'a self, _: &'a str) -> Answer<'a, Option<Sums>> {
        Box::pin(async { Err(crate::store::StoreError::Failed("away".to_owned())) })
    }
}

#[test]
fn a_full_queue_holds_nothing_more_loses_nothing_and_never_waits() {
    let queues = Arc::new(Queues::default());
    let (mut follower, mut feed) = queue::queue(&queues);
    // Longer than the ring: five segments have 37 changes.
    let (log, mut window) = (log(), window(10));
    (5..60).for_each(|msn| segment(&mut window, msn, 10));
    let view = View { log: &log, window: &window, encoder: None };
    let mut took = 0;
    while follower.advance(view) == Progress::Behind {
        let before = took;
        while feed.next().is_some() {
            took += 1;
        }
        assert_eq!(took - before, QUEUE_CHANGES_MAX);
    }
    while feed.next().is_some() {
        took += 1;
    }
    assert!(took > QUEUE_CHANGES_MAX, "{took}");
    assert!(queues.full.load(std::sync::atomic::Ordering::Relaxed) > 0);

    // And by bytes: a part more than fits at most.
    let (mut follower, mut feed) = queue::queue(&queues);
    let large = QUEUE_STREAM_BYTES_MAX / 8;
    let window = self::window(large);
    let view = View { log: &log, window: &window, encoder: None };
    assert_eq!(follower.advance(view), Progress::Behind);
    let (mut bytes, mut parts) = (0, 0);
    loop {
        while let Some(next) = feed.next() {
            if let millstream_hub::subscriber::NextChange::Change(Change::Part(_, part)) = next {
                (bytes, parts) = (bytes + part.bytes.len(), parts + 1);
            }
        }
        assert!(bytes <= QUEUE_STREAM_BYTES_MAX + large, "{bytes}");
        bytes = 0;
        if follower.advance(view) == Progress::CaughtUp {
            break;
        }
    }
    while let Some(next) = feed.next() {
        parts += usize::from(matches!(next, millstream_hub::subscriber::NextChange::Change(Change::Part(..))));
    }
    assert_eq!(parts, 25, "all of them came");
    drop(feed);
    assert_eq!(follower.advance(view), Progress::Done, "nobody is there any more");
}

#[test]
fn a_stream_that_ends_while_its_queue_is_full_is_known_to_lack_its_end() {
    let queues = Arc::new(Queues::default());
    let (log, mut window) = (log(), window(10));
    (5..60).for_each(|msn| segment(&mut window, msn, 10));
    let view = View { log: &log, window: &window, encoder: None };
    for takes in [false, true] {
        let (mut follower, mut feed) = queue::queue(&queues);
        while follower.advance(view) == Progress::Behind && takes {
            while feed.next().is_some() {}
        }
        drop(follower);
        while feed.next().is_some() {}
        assert!(feed.is_over());
        assert_eq!(feed.is_cut_off(), !takes);
    }
}

#[test]
fn what_has_left_the_window_is_found_where_it_was_written() {
    use std::os::unix::fs::FileExt as _;

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let spool = tempfile::tempdir().expect("a directory");
    let store: Arc<Memory> = Arc::default();
    let started = start(spool.path(), Settings::default(), store, runtime.handle().clone(), runtime.handle().clone());
    let (handle, threads, _events) = started.expect("it starts");
    let id = Id::new("cam").expect("an id");
    assert!(matches!(handle.archive(&id, None), Archived::NotRecorded));
    // An object that is not full yet, and nothing of it is in the store.
    let mut follower = handle.follower(&id, StreamSettings { ondemand_time_s: 3_600, ..recorded() });
    let (log, mut window) = (log(), window(100));
    follower.advance(View { log: &log, window: &window, encoder: None });
    (5..100).for_each(|msn| {
        segment(&mut window, msn, 100);
        follower.advance(View { log: &log, window: &window, encoder: None });
        if msn % 20 == 0 {
            std::thread::sleep(Duration::from_millis(60));
        }
    });
    let reaches = |end: u64| {
        eventually("the archive is as far as that", || match handle.archive(&id, None) {
            Archived::Ready(archive) => archive.track(Track::Audio).is_some_and(|track| track.end_msn() == end),
            _ => false,
        });
    };
    reaches(100);
    for msn in [0, 1, 63, 64, 99] {
        let located = handle.locate(&id, "s1", Track::Audio, Name::Segment(msn));
        let Some(Located::Segment(place, bytes)) = located else { panic!("{msn}: {located:?}") };
        assert_eq!((place.object, place.offset, bytes), (1, msn * 500, 500));
        let file = handle.spool_file(&place.recording, Track::Audio, place.object);
        let mut found = vec![0; bytes as usize];
        std::fs::File::open(file).expect("it is there").read_exact_at(&mut found, place.offset).expect("all of it");
        assert_eq!(found, vec![msn as u8; 500], "its bytes");
    }
    let header = handle.locate(&id, "s1", Track::Audio, Name::Header(1));
    assert_eq!(header, Some(Located::Header(Bytes::from_static(b"moov"))));
    assert_eq!(handle.locate(&id, "s1", Track::Audio, Name::Segment(100)), None);
    // It is no longer recorded: nobody begins to go back, and who does goes on.
    drop(follower);
    eventually("it is told", || matches!(handle.archive(&id, None), Archived::NotRecorded));
    assert!(matches!(handle.archive(&id, Some("s1")), Archived::Ready(_)), "of what is over");
    assert!(handle.locate(&id, "s1", Track::Audio, Name::Segment(1)).is_some());
    handle.stop();
    threads.join();
}
