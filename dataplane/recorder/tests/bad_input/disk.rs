//! A disk that is full, read-only, gone, or has what is not ours.
use millstream_proto::media::Track;
use millstream_recorder::recorder::EventKind;
use millstream_recorder::spool::directory::{Directory, SpoolError};
use millstream_recorder::spool::disk::DiskError;

use crate::bench::{Bench, START_MS, text_of};

const BOTH: [Track; 2] = [Track::Video, Track::Audio];

fn whys(bench: &Bench) -> Vec<String> {
    let failed = |event: &millstream_recorder::recorder::Event| match &event.kind {
        EventKind::RecordingFailed { why } => Some(why.clone()),
        _ => None,
    };
    bench.events.iter().filter_map(failed).collect()
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_write_costs_what_came_while_it_was() {
    // At each byte of a part and of its record.
    for room in 0..40 {
        let mut bench = Bench::new(60);
        bench.begin("s", &BOTH);
        bench.segment(&BOTH, 0, 3);
        bench.faults.borrow_mut().room = Some(room);
        bench.segment(&BOTH, 1, 3);
        bench.faults.borrow_mut().room = None;
        bench.run(1_100);
        (3..5).for_each(|msn| bench.segment(&BOTH, msn, 3));
        bench.end();
        bench.finish();
        for track in BOTH {
            let segments = &bench.stored(track)[0].1;
            for msn in [0, 3, 4] {
                assert!(segments.contains(&Some(text_of(msn, 3))), "{room} bytes: {msn} is not in {segments:?}");
            }
        }
        assert_eq!(bench.told(), ["RecordingStarted", "RecordingPaused", "RecordingResumed", "RecordingStored"]);
        assert!(bench.summary().contains("\"reason\": \"disk_full\""));
    }
}

#[test]
fn a_spool_that_becomes_read_only_is_told_and_recording_goes_on_when_it_is_not_any_more() {
    let mut bench = Bench::new(60);
    bench.begin("s", &BOTH);
    bench.segment(&BOTH, 0, 3);
    bench.run(1_000);
    let read_only = DiskError::from(std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem));
    bench.faults.borrow_mut().refuses = Some(read_only);
    (1..60).for_each(|msn| bench.segment(&BOTH, msn, 3));
    let told = whys(&bench);
    assert!(told.iter().any(|why| why.contains("read-only")), "{told:?}");
    assert!(told.len() <= 3, "it is told once of the recording, and once of the stream: {told:?}");
    bench.faults.borrow_mut().refuses = None;
    bench.run(5_100);
    (60..62).for_each(|msn| bench.segment(&BOTH, msn, 3));
    bench.end();
    bench.finish();
    let all: Vec<_> = bench.stored(Track::Video).into_iter().flat_map(|(_, segments)| segments).collect();
    let expected = [0, 60, 61].map(|msn| Some(text_of(msn, 3)));
    assert_eq!(all, expected, "what was synced, and what came after");
}

#[test]
fn a_spool_that_is_removed_while_it_is_used_is_made_again() {
    let mut bench = Bench::new(60);
    bench.begin("s", &BOTH);
    bench.segment(&BOTH, 0, 3);
    std::fs::remove_dir_all(bench.spool()).expect("removed");
    (1..8).for_each(|msn| bench.segment(&BOTH, msn, 3));
    let told = whys(&bench);
    assert!(told.len() == 1 && told[0].contains("is gone"), "{told:?}");
    bench.end();
    bench.finish();
    let all: Vec<_> = bench.stored(Track::Video).into_iter().flat_map(|(_, segments)| segments).flatten().collect();
    assert_eq!(all.last().map(String::as_str), Some("<7.0><7.1><7.2>"), "{all:?}");
    assert!(all.len() >= 5, "it goes on within seconds: {all:?}");
    // Nobody else can have it now, either.
    assert!(matches!(Directory::open(&bench.spool()), Err(SpoolError::Locked { .. })));
}

#[test]
fn what_in_the_spool_is_not_the_recorders_is_told_and_left_alone() {
    let mut bench = Bench::new(60);
    bench.begin("s", &BOTH);
    bench.segment(&BOTH, 0, 3);
    bench.run(1_000);
    bench.recorder = None;
    let recording = std::fs::read_dir(bench.spool()).expect("the spool").map(|entry| entry.expect("one").path());
    let recording = recording.into_iter().find(|path| path.is_dir()).expect("a recording");
    let foreign = [
        bench.spool().join("notes.txt"),
        bench.spool().join("lost+found/x"),
        bench.spool().join(format!("{START_MS}-other/film.mp4")),
        recording.join("notes.txt"),
        recording.join("video-900.mp4"),
    ];
    for path in &foreign {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, "mine").expect("written");
    }
    bench.start();
    assert_eq!(bench.recorder().foreign().len(), foreign.len(), "{:?}", bench.recorder().foreign());
    bench.begin("t", &BOTH);
    bench.segment(&BOTH, 1, 3);
    bench.end();
    bench.finish();
    assert_eq!(bench.stored(Track::Video)[0].1.len(), 2, "it goes on beside them");
    for path in &foreign {
        assert_eq!(std::fs::read_to_string(path).expect("it is there"), "mine");
    }
}

#[test]
fn a_second_server_is_refused_and_told_where_and_by_whom() {
    let bench = Bench::new(60);
    let error = Directory::open(&bench.spool()).expect_err("it is used").to_string();
    let process = format!("process {}", std::process::id());
    assert!(error.contains(bench.spool().to_str().expect("text")) && error.contains(&process), "{error}");
    // The lock falls with who holds it, whatever its file says.
    let spool = bench.spool();
    let mut bench = bench;
    bench.recorder = None;
    Directory::open(&spool).expect("it is free");
    // And a path that is no directory is told as such.
    let file = spool.join("file");
    std::fs::write(&file, "").expect("written");
    let error = Directory::open(&file).expect_err("no directory").to_string();
    assert!(error.contains("check that it is a directory that the server may write to"), "{error}");
}
