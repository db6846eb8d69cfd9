//! The files that a recording is cut into: where they end, that nothing is missing between them, and that a crash changes nothing of that.
use millstream_test_support::mp4::Movie;

use super::fixture::{Media, START_MS};
use super::shown;
use crate::recording::record::Reason;

/// All files that are due, in order: when they begin (milliseconds of the recording), and how long they are.
fn files(media: &mut Media) -> Vec<(u64, u64, Movie, Vec<u8>)> {
    let next = std::iter::from_fn(|| media.file());
    next.map(|(from, movie, bytes)| (from - START_MS, movie.duration_us() as u64 / 1_000, movie, bytes)).collect()
}

fn begins(files: &[(u64, u64, Movie, Vec<u8>)]) -> Vec<u64> {
    files.iter().map(|(from, ..)| *from).collect()
}

/// Each picture is in one file, and sound in each goes on to within a frame of its end.
fn whole(files: &[(u64, u64, Movie, Vec<u8>)], pictures: std::ops::Range<u64>) {
    let all: Vec<u64> =
        files.iter().flat_map(|(_, _, movie, bytes)| shown(movie, bytes, "vide")).map(|(number, _)| number).collect();
    assert_eq!(all, pictures.collect::<Vec<_>>());
    let mut last: Option<u64> = None;
    for (from, length_ms, movie, bytes) in files {
        let sounds = shown(movie, bytes, "soun");
        assert!(sounds.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "the file of {from} ms");
        let (first, end) = (sounds[0], sounds[sounds.len() - 1]);
        assert!(
            first.1 <= 1 && *length_ms as i64 - end.1 < 45,
            "the file of {from} ms: {first:?}, {end:?}, {length_ms}"
        );
        assert!(last.is_none_or(|last| first.0 <= last + 1 && first.0 + 1 >= last), "the file of {from} ms");
        last = Some(end.0);
    }
}

#[test]
fn files_end_at_the_first_keyframe_behind_their_time_and_nothing_is_between_them() {
    let mut media = Media::with_files(7_000);
    media.run(30_000, "a");
    // The last one may go on.
    let mut made = files(&mut media);
    assert_eq!(begins(&made), [0, 8_000, 16_000]);
    media.end();
    made.extend(files(&mut media));
    assert_eq!(begins(&made), [0, 8_000, 16_000, 24_000]);
    assert_eq!(made.iter().map(|(_, ms, ..)| ms / 10 * 10).collect::<Vec<_>>(), [8_000, 8_000, 8_000, 6_000]);
    whole(&made, 0..750);
    let listed = media.recording.ledger().movies();
    assert_eq!(listed[1].path, format!("mp4/2026/11/24/{}.mp4", START_MS + 8_000));
    assert_eq!((listed.len(), listed[3].bytes), (4, made[3].3.len() as u64));
    assert!(!media.recording.ledger().has_movies_to_make());
    assert_eq!(media.recording.ledger().objects_needed_from(), [u32::MAX; 2]);
}

#[test]
fn a_keyframe_within_a_segment_ends_a_file() {
    let mut media = Media::with_files(4_000);
    // A keyframe each 2.4 s, in segments of two seconds.
    media.gop = 60;
    media.run(20_000, "a");
    media.end();
    let made = files(&mut media);
    assert_eq!(begins(&made), [0, 4_800, 9_600, 14_400, 19_200]);
    whole(&made, 0..500);
}

#[test]
fn a_segment_without_a_keyframe_ends_no_file() {
    let mut media = Media::with_files(3_000);
    // A keyframe every six seconds, in segments of two.
    media.gop = 150;
    media.run(20_000, "a");
    media.end();
    let made = files(&mut media);
    assert_eq!(begins(&made), [0, 6_000, 12_000, 18_000]);
    whole(&made, 0..500);
}

#[test]
fn objects_stay_until_the_files_that_need_them_are_stored() {
    let mut media = Media::with_files(8_000);
    media.run(26_000, "a");
    // Objects have four seconds.
    assert_eq!(media.recording.ledger().objects_needed_from(), [0, 0]);
    assert_eq!(media.recording.ledger().whole_movies(), Some((1, 3)));
    media.file().expect("the first");
    let [video, audio] = media.recording.ledger().objects_needed_from();
    assert!((1..=3).contains(&video) && audio <= 3, "{video} {audio}");
    media.file().expect("the second");
    let [video, _] = media.recording.ledger().objects_needed_from();
    assert!((3..=5).contains(&video), "{video}");
    // What a file needs is what it says.
    let due = media.recording.ledger().due_movie().expect("the third");
    assert!(due.recipe.objects().iter().all(|(track, object)| {
        let [video, audio] = media.recording.ledger().objects_needed_from();
        *object >= if *track == millstream_proto::media::Track::Video { video } else { audio }
    }));
}

#[test]
fn another_coding_begins_another_file_and_the_same_one_goes_on() {
    let mut media = Media::with_files(60_000);
    media.run(5_000, "a");
    media.run(5_000, "a");
    media.session();
    media.run(5_000, "a");
    media.run(5_000, "b");
    media.run(5_000, "a");
    media.end();
    let made = files(&mut media);
    assert_eq!(made.len(), 3);
    assert!((14_990..15_200).contains(&made[0].1), "{}", made[0].1);
    let pictures: Vec<usize> = made.iter().map(|(_, _, movie, bytes)| shown(movie, bytes, "vide").len()).collect();
    assert_eq!(pictures, [375, 125, 125]);
}

#[test]
fn a_full_disk_ends_a_file_and_a_hole_has_no_length() {
    let mut media = Media::with_files(60_000);
    media.run(6_000, "a");
    media.gap(600_000);
    assert_eq!(media.recording.ledger().whole_movies(), Some((1, 1)), "so that what it holds can go");
    media.run(6_000, "a");
    media.end();
    let made = files(&mut media);
    assert_eq!(begins(&made), [0, 606_000]);
    assert!(made.iter().all(|(_, ms, ..)| (5_990..6_050).contains(ms)));
    // A server that was away for ten minutes: the file that it was in has its time.
    let mut media = Media::with_files(60_000);
    media.run(6_000, "a");
    media.break_off(Reason::ServerStopped);
    media.session();
    media.run(6_000, "a");
    media.end();
    let made = files(&mut media);
    assert_eq!(made.len(), 1);
    assert!((11_990..12_100).contains(&made[0].1), "{}", made[0].1);
    assert_eq!(shown(&made[0].2, &made[0].3, "vide").len(), 300);
}

#[test]
fn an_encoder_that_comes_back_each_second_makes_right_files() {
    for (sessions, coding_changes) in [(false, false), (true, false), (true, true)] {
        let mut media = Media::with_files(5_000);
        for n in 0..20 {
            if sessions {
                media.session();
            }
            media.run(1_000, if coding_changes && n % 2 == 0 { "b" } else { "a" });
        }
        media.end();
        let made = files(&mut media);
        assert_eq!(made.len(), if coding_changes { 20 } else { 4 });
        let pictures: usize = made.iter().map(|(_, _, movie, bytes)| shown(movie, bytes, "vide").len()).sum();
        assert_eq!(pictures, 500);
    }
}

#[test]
fn one_track_alone_is_cut_in_files_too() {
    for (has_video, has_audio) in [(true, false), (false, true)] {
        let mut media = Media::with_files(4_000);
        (media.has_video, media.has_audio) = (has_video, has_audio);
        media.run(11_000, "a");
        media.end();
        let made = files(&mut media);
        assert_eq!(made.len(), 3);
        let handler = if has_video { "vide" } else { "soun" };
        let all: Vec<u64> =
            made.iter().flat_map(|(_, _, movie, bytes)| shown(movie, bytes, handler)).map(|(n, _)| n).collect();
        let (mut once, frames) = (all.clone(), if has_video { 275 } else { 516 });
        once.dedup();
        assert!(once.len() >= frames && once.windows(2).all(|pair| pair[1] == pair[0] + 1), "{}", once.len());
    }
}

#[test]
fn a_file_that_is_large_ends_before_its_time() {
    let mut media = Media::with_files(3_600_000);
    media.bytes_max(100_000);
    media.run(60_000, "a");
    media.end();
    let made = files(&mut media);
    assert!(made.len() > 2 && made.iter().all(|(_, _, _, bytes)| bytes.len() < 150_000), "{}", made.len());
    whole(&made, 0..1_500);
}

/// The stream's clock begins at 0xFFFFF000 and passes 32 bits.
#[test]
fn case_02_a_file_in_which_32_bits_of_milliseconds_are_passed_is_monotonic() {
    let mut media = Media::with_files(8_000);
    media.clock_ms = 0xFFFF_F000;
    media.run(30_000, "a");
    media.end();
    let made = files(&mut media);
    assert_eq!(begins(&made), [0, 8_000, 16_000, 24_000]);
    whole(&made, 0..750);
    for (from, _, movie, bytes) in &made {
        let pictures = shown(movie, bytes, "vide");
        assert!(pictures.iter().all(|(number, ms)| (*number as i64 * 40 - *from as i64 - ms).abs() <= 1));
        for track in &movie.tracks {
            assert!(track.samples.windows(2).all(|pair| pair[0].dts < pair[1].dts));
        }
    }
}

/// A composition offset of 0xFFFFDE is -34 ms: shown 34 ms before its decode time, and in step with the sound.
#[test]
fn case_03_negative_composition_offsets_keep_their_times_in_files() {
    let mut media = Media::with_files(8_000);
    // Offsets of 40, 80 and 0 ms become 6, 46 and -34.
    media.shift_ms = -34;
    media.run(16_000, "a");
    media.end();
    let made = files(&mut media);
    assert_eq!(made.len(), 2);
    let mut seen = 0;
    for (_, _, movie, bytes) in &made {
        let (video, audio) = (shown(movie, bytes, "vide"), shown(movie, bytes, "soun"));
        assert!(video.windows(2).all(|pair| pair[1].1 - pair[0].1 == 40 || pair[1].1 - pair[0].1 == 39));
        // Picture n is shown at n * 40 - 34, sound n at n * 1,024 / 48 - 15, both of the recording.
        let (picture, sound) = (video[10], audio[20]);
        let apart = (sound.0 as i64 * 1_024 / 48 - 15) - (picture.0 as i64 * 40 - 34);
        assert!((sound.1 - picture.1 - apart).abs() <= 2, "{picture:?} {sound:?} {apart}");
        seen += video.len();
    }
    assert_eq!(seen, 400);
}
