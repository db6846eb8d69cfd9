//! A file system that is full to its last page, as a kernel does it: a write is cut where the pages end, and a recorder that starts meanwhile finds what is there.
//!
//! The file system is a tmpfs of this test's own, in a mount namespace that the test starts itself again in. Where the system allows neither, the test says so
//! and is no test.
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use millstream_proto::media::Track;
use millstream_recorder::recorder::EventKind;
use millstream_recorder::recording::record::Reason;
use millstream_test_support::disk;

use crate::bench::{Bench, START_MS};

const BOTH: [Track; 2] = [Track::Video, Track::Audio];
/// Where that file system is, for the process in the namespace.
const MOUNTED: &str = "MILLSTREAM_RECORDER_MOUNTED";
/// What the recorder leaves to others, the margin that it begins with, and what is recorded here.
const DISK_MIB: u64 = 64 + 2 + 14;
const SPOOL_MAX_BYTES: u64 = 64 << 20;
const PAGE_BYTES: u64 = 4_096;
/// No number of pages.
const PART_BYTES: usize = 18_003;
const PARTS: u64 = 3;

#[test]
fn a_real_disk_that_is_full_to_its_last_page_costs_what_came_while_it_was() {
    if let Some(disk) = std::env::var_os(MOUNTED).map(PathBuf::from) {
        return (0..14).for_each(|pages| fills(&disk, pages));
    }
    if disk::refused().is_some() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut again = disk::mounting(dir.path(), DISK_MIB);
    again.arg(std::env::current_exe().expect("this test"));
    again.args(["--exact", "real_disk::a_real_disk_that_is_full_to_its_last_page_costs_what_came_while_it_was"]);
    let done = again.arg("--nocapture").env(MOUNTED, dir.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
}

/// Leaves so many pages.
fn fill(disk: &Path, pages: u64) -> PathBuf {
    let path = disk.join("somebody elses");
    let mut file = File::create(&path).expect("made");
    let block = vec![1; 64 << 10];
    let mut bytes = 0;
    loop {
        match file.write(&block) {
            Ok(written) => bytes += written as u64,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                break;
            }
        }
    }
    file.set_len(bytes - pages * PAGE_BYTES).expect("shorter");
    path
}

fn text(msn: u64, part: u64) -> String {
    let mut text = format!("<{msn}.{part}>");
    text.extend(std::iter::repeat_n('.', PART_BYTES - text.len()));
    text
}

fn segment(bench: &mut Bench, msn: u64) {
    for track in BOTH {
        let date = START_MS + bench.now_ms;
        bench.open(track, msn, 0, 1, date);
    }
    for part in 0..PARTS {
        for track in BOTH {
            bench.part(track, &text(msn, part), 500);
        }
        bench.run(500);
    }
    for track in BOTH {
        bench.tell(millstream_hub::package::change::Change::Closed(track));
    }
}

/// Somebody else leaves so many pages of the disk, in the middle of a segment. Every second time the recorder is killed while it is full.
fn fills(disk: &Path, pages: u64) {
    let mut bench = Bench::on_disk(disk, 60, SPOOL_MAX_BYTES);
    bench.begin("s", &BOTH);
    segment(&mut bench, 0);
    for track in BOTH {
        let date = START_MS + bench.now_ms;
        bench.open(track, 1, 0, 1, date);
    }
    let filler = fill(disk, pages);
    // All of it before the recorder looks for room again: the disk itself says it.
    for part in 0..PARTS {
        for track in BOTH {
            bench.part(track, &text(1, part), 500);
        }
    }
    bench.run(1_500);
    let paused = |bench: &Bench| {
        let is_pause = |kind: &EventKind| matches!(kind, EventKind::RecordingPaused { reason: Reason::DiskFull });
        bench.events.iter().filter(|event| is_pause(&event.kind)).count()
    };
    assert_eq!(paused(&bench), 1, "{pages} pages: {:?}", bench.told());
    let is_killed = pages % 2 == 1;
    if is_killed {
        bench.start();
        bench.run(500);
    }
    std::fs::remove_file(filler).expect("removed");
    bench.run(1_100);
    if is_killed {
        // What is packaged is told anew.
        bench.begin("s", &BOTH);
    }
    (3..5).for_each(|msn| segment(&mut bench, msn));
    bench.end();
    bench.finish();
    let whole = |msn| (0..PARTS).map(|part| text(msn, part)).collect::<String>();
    for track in BOTH {
        let listed: Vec<String> = bench.stored(track).remove(0).1.into_iter().flatten().collect();
        for msn in [0, 3, 4] {
            assert!(listed.contains(&whole(msn)), "{pages} pages: {msn} of {track:?} is missing");
        }
        // Of what was under way whole parts are there, and nothing torn.
        for text in &listed {
            assert_eq!(text.len() % PART_BYTES, 0, "{pages} pages: a part of {track:?} is torn");
            assert!([0, 1, 3, 4].iter().any(|msn| whole(*msn).starts_with(text.as_str())), "{pages} pages: {track:?}");
        }
    }
    assert!(bench.summary().contains("\"reason\": \"disk_full\""), "{}", bench.summary());
}
