//! `kill -9` of a process that records into a real directory: whatever it was told a second before is in the store in the end.
//!
//! The process is this test itself, started again with a variable that says what it is to be.
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millstream_hub::log::{Log, LogLimits};
use millstream_hub::package::change::{Change, Header, Opened, Part, Session};
use millstream_hub::package::window::Window;
use millstream_hub::subscriber::View;
use millstream_proto::codec::{Shape, Summary};
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use millstream_proto::time::Time;
use millstream_recorder::run;
use millstream_recorder::settings::{Settings, StreamSettings};
use millstream_recorder::store::{Answer, Body, Kind, Store, StoreError, Sums};
use millstream_test_support::hls::playlist::Media;
use millstream_test_support::hls::rules;
use millstream_test_support::random::Random;

const CHILD: &str = "MILLSTREAM_RECORDER_KILLED";
/// Lives of a process that are killed one after another, of each directory; and directories. Thirty kills; a thousand with `--long`.
const KILLS: u32 = 5;
const DIRECTORIES: u64 = 6;
/// A file of the store that says which object was overwritten with less.
const SHORTENED: &str = "shortened";
const PART_MS: u64 = 50;
const PARTS: u64 = 4;

/// A store in a directory: an object is there as a whole, or not.
struct Folder(PathBuf);

impl Folder {
    fn write(&self, key: &str, body: Body) -> std::io::Result<()> {
        let path = self.0.join(key);
        std::fs::create_dir_all(path.parent().expect("a parent"))?;
        let bytes = match body {
            Body::Bytes(bytes) => bytes.to_vec(),
            Body::Movie(movie) => {
                let mut bytes = Vec::new();
                movie.read(|chunk| {
                    bytes.extend_from_slice(chunk);
                    Ok(())
                })?;
                bytes
            }
            Body::File(file, length) => {
                let mut bytes = vec![0; length as usize];
                file.read_exact_at(&mut bytes, 0)?;
                bytes
            }
        };
        let is_media = path.extension().is_some_and(|extension| extension == "mp4" || extension == "m4s");
        if is_media && std::fs::metadata(&path).is_ok_and(|before| before.len() > bytes.len() as u64) {
            std::fs::write(self.0.join(SHORTENED), key)?;
        }
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, bytes)?;
        std::fs::rename(unfinished, path)
    }
}

impl Store for Folder {
    fn put<'a>(&'a self, key: &'a str, body: Body, _: Kind) -> Answer<'a, ()> {
        Box::pin(async move { self.write(key, body).map_err(|error| StoreError::Failed(error.to_string())) })
    }

    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Sums>> {
        Box::pin(async move { Ok(std::fs::read(self.0.join(key)).ok().map(|bytes| Sums::of(&bytes))) })
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

/// Records until it is killed; says each part that it was told.
#[test]
fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let settings = Settings { publisher_wait: Duration::from_secs(5), ..Settings::default() };
    let store = Arc::new(Folder(dir.join("store")));
    let (handle, _threads, _events) =
        run::start(&dir.join("spool"), settings, store, runtime.handle().clone(), runtime.handle().clone())
            .expect("it starts");
    let id = Id::new("cam").expect("an id");
    let mut follower =
        handle.follower(&id, StreamSettings { is_on_demand: true, ondemand_time_s: 1, ..StreamSettings::default() });
    let log = Log::new(LogLimits { bytes_max: 1 << 20, time_max: Duration::from_secs(10), rtmp_chunk_bytes: 4_096 });
    let (mut window, start_ms, began) = (Window::new(), unix_ms(), Instant::now());
    let session = format!("{start_ms}x{}", std::process::id());
    window.apply(Change::Began(Arc::new(Session {
        name: session.clone(),
        target_duration_s: 2,
        window: 6,
        bytes_max: 1 << 20,
        zero_unix_ms: start_ms,
        guide: None,
    })));
    let shape = Some(Shape::Video { width: 640, height: 360 });
    let summary = Summary { codec: "avc1.64001f".to_owned(), shape, unusual: None };
    let header = Header { number: 1, bytes: Bytes::from_static(b"moov"), timescale: 1_000, summary };
    window.apply(Change::Header(Track::Video, Arc::new(header)));
    let mut out = std::io::stdout();
    for number in 0_u64.. {
        let (msn, within) = (number / PARTS, number % PARTS);
        if within == 0 {
            window.apply(Change::Opened(
                Track::Video,
                Opened {
                    msn,
                    header: 1,
                    start: number * PART_MS,
                    start_us: number * PART_MS * 1_000,
                    date_unix_ms: start_ms + number * PART_MS,
                    ..Opened::default()
                },
            ));
        }
        let stamp = format!("{session}.{number}");
        let mut bytes = format!("<{stamp}>").into_bytes();
        bytes.resize(20_000, b'.');
        window.apply(Change::Part(
            Track::Video,
            Part {
                number,
                duration: PART_MS,
                duration_us: PART_MS * 1_000,
                independent: within == 0,
                frames: 2,
                arrived: Time::ZERO,
                bytes: bytes.into(),
            },
        ));
        if within + 1 == PARTS {
            window.apply(Change::Closed(Track::Video));
        }
        follower.advance(View { log: &log, window: &window, encoder: None });
        writeln!(out, "told {stamp}").and_then(|()| out.flush()).expect("somebody reads");
        std::thread::sleep(
            (began + Duration::from_millis((number + 1) * PART_MS)).saturating_duration_since(Instant::now()),
        );
    }
}

/// Starts it, kills it, and gives what it was told a second before.
fn kill_once(dir: &Path, random: &mut Random) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "the_process_that_is_killed", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let out = BufReader::new(child.stdout.take().expect("its output"));
    let told = Arc::new(Mutex::new(Vec::new()));
    let reader = {
        let told = Arc::clone(&told);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some(stamp) = line.strip_prefix("told ").or_else(|| line.split("told ").nth(1)) {
                    told.lock().expect("no panic").push((Instant::now(), stamp.to_owned()));
                }
            }
        })
    };
    let since = Instant::now();
    while told.lock().expect("no panic").is_empty() {
        assert!(since.elapsed() < Duration::from_mins(1), "it tells nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(random.within(1_100, 2_200)));
    let killed = Instant::now();
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    reader.join().expect("no panic");
    let told = told.lock().expect("no panic");
    let before = told.iter().filter(|(at, _)| killed.saturating_duration_since(*at) >= Duration::from_secs(1));
    before.map(|(_, stamp)| stamp.clone()).collect()
}

/// Parts that the store has, in the order of its playlists.
fn stored(dir: &Path) -> Vec<String> {
    let mut stamps = Vec::new();
    let mut recordings: Vec<_> = std::fs::read_dir(dir.join("store/cam/rec"))
        .expect("recordings")
        .map(|entry| entry.expect("one").path())
        .collect();
    recordings.sort();
    for recording in recordings {
        let text = std::fs::read_to_string(recording.join("video.m3u8")).expect("a playlist");
        let media = Media::parse(&text).expect("a playlist");
        assert_eq!(rules::check(&media), [], "{text}");
        assert!(media.ended, "{text}");
        for segment in &media.segments {
            let (offset, bytes) = segment.range.expect("a range");
            let object = std::fs::read(recording.join(segment.uri.as_ref().expect("whole"))).expect("it is there");
            let text = std::str::from_utf8(&object[offset as usize..(offset + bytes) as usize]).expect("text");
            let parts: Vec<&str> = text.split('<').skip(1).collect();
            assert!(parts.iter().all(|part| part.len() == 19_999), "a part is torn");
            stamps.extend(parts.iter().map(|part| part.split_once('>').expect("a stamp").0.to_owned()));
        }
    }
    stamps
}

/// One directory: a process records into it and is killed, again and again; then all that was told a second before each kill is in the store.
fn survives(seed: u64, kills: u32) -> usize {
    let (dir, mut random) = (tempfile::tempdir().expect("a directory"), Random::new(seed));
    let told: Vec<String> = (0..kills).flat_map(|_| kill_once(dir.path(), &mut random)).collect();
    // A last start, without a publisher, stores what there is.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let settings = Settings { publisher_wait: Duration::ZERO, ..Settings::default() };
    let store = Arc::new(Folder(dir.path().join("store")));
    let spool = dir.path().join("spool");
    let (handle, threads, _events) =
        run::start(&spool, settings, store, runtime.handle().clone(), runtime.handle().clone()).expect("it starts");
    let since = Instant::now();
    while std::fs::read_dir(&spool).expect("the spool").count() > 1 {
        assert!(since.elapsed() < Duration::from_mins(1), "{:#?}", handle.snapshot());
        std::thread::sleep(Duration::from_millis(20));
    }
    handle.stop();
    threads.join();
    let shortened = std::fs::read_to_string(dir.path().join("store").join(SHORTENED)).ok();
    assert_eq!(shortened, None, "directory {seed}: an object was overwritten with less");
    let stored = stored(dir.path());
    let unique: BTreeSet<&String> = stored.iter().collect();
    assert_eq!(unique.len(), stored.len(), "nothing twice");
    let missing: Vec<_> = told.iter().filter(|stamp| !unique.contains(stamp)).collect();
    assert!(missing.is_empty(), "directory {seed}: {missing:?}");
    told.len()
}

/// So many directories, some of them at a time; gives how many parts were told a second before a kill.
fn all_survive(directories: u64, at_once: u64, kills: u32) -> usize {
    let next = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..at_once)
        .map(|_| {
            let next = Arc::clone(&next);
            std::thread::spawn(move || {
                let seeds = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
                seeds.take_while(|seed| *seed < directories).map(|seed| survives(seed, kills)).sum::<usize>()
            })
        })
        .collect();
    workers.into_iter().map(|worker| worker.join().expect("nothing is missing")).sum()
}

#[test]
fn case_28_what_was_told_a_second_before_kill_9_is_stored() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let told = all_survive(DIRECTORIES, DIRECTORIES, KILLS);
    assert!(told > 30, "{told} parts came a second before a kill");
}

#[test]
#[ignore = "a thousand kills take six minutes; tests/run --long has it"]
fn case_28_what_was_told_a_second_before_each_of_a_thousand_kills_is_stored() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let told = all_survive(40, 8, 25);
    println!("{told} parts came a second before one of 1,000 kills, and all of them are stored");
    assert!(told > 1_000, "{told} parts came a second before a kill");
}
