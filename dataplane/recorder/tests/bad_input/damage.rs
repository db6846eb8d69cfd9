//! The disk changed what was written.
use millstream_proto::media::Track;
use millstream_recorder::recording::playlist::Reach;
use millstream_recorder::spool::directory::Directory;
use millstream_recorder::spool::recover::{Found, recover};
use millstream_test_support::random::Random;

use crate::bench::{Bench, text_of};

const BOTH: [Track; 2] = [Track::Video, Track::Audio];

/// The only recording in the spool.
fn recording(bench: &Bench) -> std::path::PathBuf {
    let mut all = std::fs::read_dir(bench.spool()).expect("the spool").map(|entry| entry.expect("one").path());
    all.find(|path| path.is_dir()).expect("a recording")
}

/// Five segments of both tracks, synced and not ended.
fn recorded(ondemand_time_s: u32) -> Bench {
    let mut bench = Bench::new(ondemand_time_s);
    record(&mut bench);
    bench
}

fn record(bench: &mut Bench) {
    bench.begin("s", &BOTH);
    (0..5).for_each(|msn| bench.segment(&BOTH, msn, 3));
    bench.run(1_000);
}

fn change(path: &std::path::Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("a file");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn a_changed_bit_anywhere_in_an_index_costs_nothing() {
    let mut bench = recorded(3);
    bench.recorder = None;
    let (directory, spool) = (recording(&bench), bench.spool());
    let name = directory.file_name().expect("a name").to_str().expect("text").to_owned();
    let index = std::fs::read(directory.join("index")).expect("an index");
    let mut disk = Directory::open(&spool).expect("the spool");
    let mut playlists = || match recover(&mut disk, &name).expect("it is read") {
        Found::Recording(found) => {
            assert_eq!((found.cut_bytes, found.damaged_bytes, &found.records), (0, 0, &Vec::new()));
            BOTH.map(|track| found.ledger.media_playlist(track, Reach::All, false))
        }
        other => panic!("{other:?}"),
    };
    let good = playlists();
    assert_eq!(good[0].matches("#EXTINF").count(), 5, "{}", good[0]);
    for bit in (0..index.len() * 8).step_by(3) {
        change(&directory.join("index"), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        assert_eq!(playlists(), good, "bit {bit} of {}", index.len() * 8);
        std::fs::write(directory.join("index"), &index).expect("written");
    }
}

#[test]
fn whatever_is_damaged_in_an_index_what_is_found_is_right_and_costs_its_neighbours_only() {
    // Objects that were stored are no longer in the spool.
    for is_store_away in [false, true] {
        let mut bench = Bench::new(3);
        bench.store_error = is_store_away.then(|| "503".to_owned());
        record(&mut bench);
        damage_at_random(&mut bench);
    }
}

fn damage_at_random(bench: &mut Bench) {
    bench.recorder = None;
    let (directory, spool) = (recording(bench), bench.spool());
    let name = directory.file_name().expect("a name").to_str().expect("text").to_owned();
    let files: Vec<(std::path::PathBuf, Vec<u8>)> = std::fs::read_dir(&directory)
        .expect("a recording")
        .map(|entry| entry.expect("one").path())
        .map(|path| (path.clone(), std::fs::read(path).expect("a file")))
        .collect();
    let index = std::fs::read(directory.join("index")).expect("an index");
    let whole: Vec<String> = (0..5).map(|msn| text_of(msn, 3)).collect();
    let mut disk = Directory::open(&spool).expect("the spool");
    let (mut random, mut lost) = (Random::new(7), 0);
    for round in 0..300 {
        std::fs::create_dir_all(&directory).expect("made");
        for (path, bytes) in &files {
            std::fs::write(path, bytes).expect("written");
        }
        // Other bytes, zeros, or none, behind the head.
        let from = random.within(60, index.len() as u64) as usize;
        let to = (from + random.within(1, 64) as usize).min(index.len());
        let kind = random.below(3);
        change(&directory.join("index"), |bytes| match kind {
            0 => bytes[from..to].copy_from_slice(&random.bytes(to - from)),
            1 => bytes[from..to].fill(0),
            _ => drop(bytes.drain(from..to)),
        });
        let found = match recover(&mut disk, &name).expect("it is read") {
            Found::Recording(found) => found,
            // The first records are damaged: nothing is known of what is behind them, or it is not ours.
            other => {
                assert!(from < 400, "{round}: {other:?}");
                continue;
            }
        };
        for track in BOTH {
            let mut at = 0;
            for segment in found.ledger.segments(track).filter(|segment| segment.object.is_some()) {
                let file = directory.join(format!("{}-{}.mp4", track.name(), segment.object.expect("one")));
                let key = format!("cam/rec/{name}/{}/{}.mp4", track.name(), segment.object.expect("one"));
                let bytes = std::fs::read(&file).unwrap_or_else(|_| bench.store[&key].clone());
                let (offset, length) = (segment.offset as usize, segment.bytes as usize);
                let text = std::str::from_utf8(&bytes[offset..offset + length]).expect("text");
                // All of it, or the beginning where its end is damaged.
                let place = whole[at..].iter().position(|whole| whole.starts_with(text) && text.ends_with('>'));
                let place = place.unwrap_or_else(|| panic!("{round}: {from}..{to}, {kind}: {track:?} {text}"));
                lost += place;
                at += place + 1;
            }
            // Without its header a track cannot be played: those are at the beginning.
            assert!(at >= 3 || from > index.len() / 3 || from < 300, "{round}: {from}..{to} of {}: {at}", index.len());
        }
    }
    // Of 300 times 5 segments of both tracks.
    assert!(lost < 450, "{lost}");
}

#[test]
fn behind_a_damaged_place_of_an_index_recording_goes_on_and_the_gap_is_named() {
    for object_s in [60, 3] {
        let mut bench = recorded(object_s);
        bench.recorder = None;
        let path = recording(&bench).join("index");
        change(&path, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..middle + 40].fill(0xA5);
        });
        bench.start();
        bench.run(10_000);
        bench.finish();
        for track in BOTH {
            let stored = bench.stored(track);
            let segments = &stored[0].1;
            // One segment has lost what the records said of it, and the next ones are as they were.
            assert!(segments.len() >= 4, "{segments:?}");
            for msn in [0, 1, 4] {
                assert!(
                    segments.contains(&Some(text_of(msn, 3))),
                    "{object_s} s, {track:?}: {msn} is not in {segments:?}"
                );
            }
            assert!(stored[0].0.segments.last().expect("one").discontinuity_number >= 1);
        }
        let summary = bench.summary();
        assert!(summary.contains("\"reason\": \"damaged\""), "{summary}");
    }
}

#[test]
fn a_changed_bit_of_media_costs_its_segment_and_nothing_else() {
    // Found at a start, and when it is to be stored.
    for starts_anew in [true, false] {
        let mut bench = recorded(60);
        let file = recording(&bench).join("video-1.mp4");
        change(&file, |bytes| bytes[20] ^= 0x10);
        if starts_anew {
            bench.start();
            bench.run(10_000);
        } else {
            bench.end();
        }
        bench.finish();
        let video = bench.stored(Track::Video);
        assert_eq!(
            video[0].1,
            [Some(text_of(0, 3)), None, Some(text_of(2, 3)), Some(text_of(3, 3)), Some(text_of(4, 3))],
            "anew: {starts_anew}"
        );
        assert_eq!(bench.stored(Track::Audio)[0].1, [0, 1, 2, 3, 4].map(|msn| Some(text_of(msn, 3))));
        let summary = bench.summary();
        assert!(summary.contains("\"reason\": \"damaged\""), "{summary}");
        assert!(std::fs::read_dir(bench.spool()).expect("the spool").count() == 1, "only the lock is left");
    }
}

#[test]
fn an_object_that_is_lost_while_the_disk_is_full_is_named_by_no_playlist() {
    let mut bench = Bench::new(3);
    bench.begin("s", &BOTH);
    (0..4).for_each(|msn| bench.segment(&BOTH, msn, 3));
    bench.store_error = Some("503".to_owned());
    (4..8).for_each(|msn| bench.segment(&BOTH, msn, 3));
    bench.run(1_000);
    // All of it, so that nothing of it can be stored.
    change(&recording(&bench).join("video-4.mp4"), |bytes| bytes.fill(b'x'));
    bench.faults.borrow_mut().room = Some(0);
    bench.store_error = None;
    bench.run(60_000);
    let (key, text) = bench.store.iter().find(|(key, _)| key.ends_with("/video.m3u8")).expect("a playlist");
    let text = std::str::from_utf8(text).expect("text");
    let folder = key.trim_end_matches("video.m3u8");
    for uri in text.lines().filter(|line| line.starts_with("video/")) {
        assert!(bench.store.contains_key(&format!("{folder}{uri}")), "{uri} is named and not there: {text}");
    }
    bench.faults.borrow_mut().room = None;
    bench.run(2_000);
    bench.end();
    bench.finish();
    let segments = bench.stored(Track::Video).remove(0).1;
    let missing: Vec<_> = (0..segments.len()).filter(|at| segments[*at].is_none()).collect();
    assert!(missing == [6, 7] && segments[5] == Some(text_of(5, 3)), "{segments:?}");
    assert!(bench.summary().contains("\"damaged_objects\": [\n        4\n      ]"), "{}", bench.summary());
}

#[test]
fn what_is_left_for_people_to_look_at_takes_room_until_they_remove_it() {
    let mut bench = Bench::new(60);
    bench.store_error = Some("503".to_owned());
    record(&mut bench);
    bench.end();
    bench.run(1_000);
    let directory = recording(&bench);
    let file = directory.join("video-1.mp4");
    let bytes = std::fs::metadata(&file).expect("an object").len();
    change(&file, |bytes| bytes.fill(b'x'));
    bench.store_error = None;
    bench.finish();
    bench.run(2_000);
    let damaged = directory.join("video-1.mp4.damaged");
    assert!(damaged.exists());
    assert_eq!(bench.recorder().numbers().spool_bytes, bytes);
    bench.start();
    bench.run(2_000);
    assert_eq!(bench.recorder().numbers().spool_bytes, bytes, "after a start, too");
    std::fs::remove_file(damaged).expect("removed");
    bench.run(2_000);
    assert_eq!(bench.recorder().numbers().spool_bytes, 0);
}

#[test]
fn an_index_whose_beginning_is_damaged_is_left_for_people_to_look_at() {
    let mut bench = recorded(60);
    bench.recorder = None;
    let directory = recording(&bench);
    change(&directory.join("index"), |bytes| bytes[..30].fill(0xA5));
    bench.start();
    bench.run(10_000);
    assert!(bench.recorder().foreign()[0].contains("the beginning of its index is damaged"));
    assert!(directory.join("video-1.mp4").exists() && bench.recorder().numbers().recordings == 0);
}
