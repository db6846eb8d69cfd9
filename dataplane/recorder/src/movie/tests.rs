//! Files of recordings that are in a store, read back sample by sample: what is in them, when it is shown, and what they cost.
mod files;
pub(crate) mod fixture;
mod reel;

use millstream_test_support::mp4::Movie;

use self::fixture::{Media, START_MS, id};
use super::export::{ExportError, Exported, Span, export};
use super::stills::Stills;
use crate::name::RecordingName;

/// Makes a file of that span and reads it.
pub(crate) fn exported(
    media: &Media,
    from_ms: u64,
    to_ms: Option<u64>,
) -> Result<(Exported, Movie, Vec<u8>), ExportError> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("clip.mp4");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (store, name) = (media.store(true), RecordingName::new(START_MS, "s").expect("a name"));
    let made =
        runtime.block_on(export(&store, &id(), &name, Span { from_ms, to_ms, is_growing: false }, &path, &|_| Ok(())));
    if made.is_err() {
        assert!(!path.exists(), "after an error there is no file");
    }
    let made = made?;
    let bytes = std::fs::read(&path).expect("a file");
    let movie = Movie::read(&bytes).expect("a right file");
    assert_eq!(made.bytes, bytes.len() as u64);
    assert!((movie.duration_us() / 1_000).abs_diff(made.duration_ms as i64) <= 1);
    Ok((made, movie, bytes))
}

/// Numbers of the samples that are shown, and when, milliseconds.
fn shown(movie: &Movie, bytes: &[u8], handler: &str) -> Vec<(u64, i64)> {
    let track = movie.of(handler).expect("a track");
    let all = track.samples.iter().map(|sample| {
        let data = &bytes[sample.at as usize..][..sample.bytes as usize];
        let number = u64::from_be_bytes(data[..8].try_into().expect("eight bytes"));
        (number, track.shown_us(movie, sample.pts), track.shown_us(movie, sample.pts + i64::from(sample.duration)))
    });
    let end = track.end_us(movie);
    let mut all: Vec<_> =
        all.filter(|(_, from, to)| *to > 0 && *from < end).map(|(number, from, _)| (number, from / 1_000)).collect();
    all.sort_by_key(|(_, from)| *from);
    all
}

#[test]
fn all_of_a_recording_is_one_file_with_each_frame_once_at_its_time() {
    let mut media = Media::new();
    media.run(30_000, "a");
    let (made, movie, bytes) = exported(&media, 0, None).expect("a file");
    assert_eq!((made.from_unix_ms, made.left_out, made.ends_early), (START_MS, 0, false));
    assert!((29_990..=30_050).contains(&made.duration_ms), "{}", made.duration_ms);
    let video = shown(&movie, &bytes, "vide");
    assert_eq!(video.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..750).collect::<Vec<_>>());
    assert!(video.iter().all(|(number, ms)| (*number as i64 * 40 - ms).abs() <= 1), "{:?}", &video[..5]);
    let audio = shown(&movie, &bytes, "soun");
    assert!(audio.len() >= 1_405 && audio.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "{}", audio.len());
    // Sound is counted from where it began.
    let first = audio[0].1 - audio[0].0 as i64 * 1_024 / 48;
    assert!(audio.iter().all(|(number, ms)| (*number as i64 * 1_024 / 48 + first - ms).abs() <= 1));
    assert_eq!(movie.creation_time, START_MS / 1_000 + 2_082_844_800);
}

#[test]
fn a_span_is_shown_from_its_first_moment_to_its_last() {
    let mut media = Media::new();
    media.run(30_000, "a");
    for (from_ms, to_ms) in [(0, 4_000), (4_000, 8_000), (4_500, 9_100), (1, 2), (26_040, 99_000), (3_999, 4_001)] {
        let (made, movie, bytes) = exported(&media, from_ms, Some(to_ms)).expect("a file");
        let (from_ms, to_ms) = (from_ms as i64, to_ms.min(30_000) as i64);
        assert!((made.duration_ms as i64 - (to_ms - from_ms)).abs() <= 45, "{from_ms} {to_ms}: {}", made.duration_ms);
        assert_eq!(made.from_unix_ms as i64, START_MS as i64 + from_ms);
        let video = shown(&movie, &bytes, "vide");
        let numbers: Vec<_> = video.iter().map(|(number, _)| *number as i64).collect();
        let expected: Vec<_> = (0..750).filter(|n| (n + 1) * 40 > from_ms && n * 40 < to_ms).collect();
        assert_eq!(numbers, expected, "{from_ms} {to_ms}");
        assert!(video.iter().all(|(number, ms)| (*number as i64 * 40 - from_ms - ms).abs() <= 1));
        // No more than from the keyframe on.
        let first = movie.of("vide").expect("a track").samples[0];
        assert!(first.sync && movie.of("vide").expect("a track").shown_us(&movie, first.pts) > -2_000_000);
        let audio = shown(&movie, &bytes, "soun");
        assert!(audio.len() as i64 * 1_024 / 48 >= to_ms - from_ms - 45, "{from_ms} {to_ms}: {} frames", audio.len());
    }
    for (from_ms, to_ms) in [(30_000, None), (99_000, Some(100_000)), (5_000, Some(5_000)), (6_000, Some(5_000))] {
        let error = exported(&media, from_ms, to_ms).expect_err("nothing of it is there");
        assert!(matches!(error, ExportError::Outside { length_ms: 30_000 }), "{error}");
    }
}

#[test]
fn stills_are_evenly_over_a_recording_and_none_is_of_a_gap() {
    let mut media = Media::new();
    media.run(20_000, "a");
    media.gap(3_600_000);
    media.run(20_000, "a");
    let (store, stream, name) = (media.store(true), id(), RecordingName::new(START_MS, "s").expect("a name"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut stills = runtime.block_on(Stills::open(&store, &stream, &name)).expect("a recording");
    let length_ms = stills.length_ms();
    let times = |every_ms| stills.moments(every_ms).iter().map(|moment| moment.at_ms).collect::<Vec<_>>();
    // Segments of two seconds, in each of which is a keyframe.
    assert_eq!(times(10_000), [0, 10_000, 20_000, 30_000], "of {length_ms}");
    assert_eq!(times(1), (0..20).map(|n| n * 2_000).collect::<Vec<_>>(), "no segment is twice");
    assert_eq!(times(1_000_000), [0]);
    // What is no H.264 has none, and that is no error.
    let moment = stills.moments(10_000)[1];
    assert_eq!(runtime.block_on(stills.still(&moment)).expect("the store answers"), None);
    let other = RecordingName::new(1, "s").expect("a name");
    let none = runtime.block_on(Stills::open(&store, &stream, &other)).expect("the store answers");
    assert_eq!((none.length_ms(), none.moments(1).len()), (0, 0));
}

#[test]
fn runs_follow_each_other_without_a_hole_and_in_sync() {
    let mut media = Media::new();
    media.run(6_000, "a");
    // Another session: its clock begins anew; then an hour passes; then the same clock goes on with a jump.
    media.session();
    media.run(5_000, "a");
    media.gap(3_600_000);
    media.run(4_000, "a");
    media.jump(50_000);
    media.run(3_000, "a");
    let (made, movie, bytes) = exported(&media, 0, None).expect("a file");
    assert_eq!((made.left_out, made.ends_early), (0, false));
    assert!((17_990..18_200).contains(&made.duration_ms), "{}", made.duration_ms);
    let (video, audio) = (shown(&movie, &bytes, "vide"), shown(&movie, &bytes, "soun"));
    assert_eq!(video.len(), 450);
    assert!(video.windows(2).all(|pair| (39..=90).contains(&(pair[1].1 - pair[0].1))), "no hole, nothing backwards");
    // Each run's first picture and first sound are as far apart as they were.
    for (run, first) in media.firsts.iter().enumerate() {
        let at = |list: &[(u64, i64)], number| list.iter().find(|(found, _)| *found == number).map(|(_, ms)| *ms);
        let (picture, sound) = (at(&video, first.0), at(&audio, first.1 + 2));
        let apart = sound.expect("sound") - picture.expect("a picture") - 2 * 1_024 / 48;
        assert!((apart - first.2).abs() <= 2, "run {run}: {apart} ms instead of {}", first.2);
    }
    // A span over a seam.
    let (made, movie, bytes) = exported(&media, 5_000, Some(12_000)).expect("a file");
    assert!((6_950..7_100).contains(&made.duration_ms), "{}", made.duration_ms);
    assert_eq!(shown(&movie, &bytes, "vide").len(), 175);
}

#[test]
fn a_file_ends_where_a_coding_changes() {
    let mut media = Media::new();
    media.run(6_000, "a");
    media.run(6_000, "b");
    let (made, movie, bytes) = exported(&media, 0, None).expect("a file");
    assert!(made.ends_early && (5_990..6_100).contains(&made.duration_ms), "{made:?}");
    assert_eq!(shown(&movie, &bytes, "vide").len(), 150);
    let (made, ..) = exported(&media, 6_000, None).expect("a file");
    assert!(!made.ends_early && (5_990..6_100).contains(&made.duration_ms), "{made:?}");
    let (made, ..) = exported(&media, 4_000, Some(9_000)).expect("a file");
    assert!(made.ends_early && (1_990..2_100).contains(&made.duration_ms), "{made:?}");
}

#[test]
fn one_track_alone_is_a_file_too() {
    for (has_video, has_audio) in [(true, false), (false, true)] {
        let mut media = Media::new();
        (media.has_video, media.has_audio) = (has_video, has_audio);
        media.run(10_000, "a");
        let (made, movie, bytes) = exported(&media, 2_500, Some(7_500)).expect("a file");
        assert_eq!(movie.tracks.len(), 1);
        assert!((4_970..=5_045).contains(&made.duration_ms), "{}", made.duration_ms);
        let handler = if has_video { "vide" } else { "soun" };
        assert!(shown(&movie, &bytes, handler).len() >= if has_video { 125 } else { 230 });
    }
}

#[test]
fn what_the_store_lost_is_a_hole_and_nothing_else() {
    let mut media = Media::new();
    media.run(20_000, "a");
    media.lost.push("video/2.mp4".to_owned());
    media.damaged.push("audio/3.mp4".to_owned());
    let (made, movie, bytes) = exported(&media, 0, None).expect("a file");
    assert!(made.left_out > 0 && made.duration_ms >= 19_900, "{made:?}");
    let video = shown(&movie, &bytes, "vide");
    assert_eq!(video.len(), 400, "four seconds of twenty are lost");
    assert!(video.iter().all(|(number, ms)| (*number as i64 * 40 - ms).abs() <= 1), "and nothing moves");
    let nothing = Media::new();
    assert!(matches!(exported(&nothing, 0, None), Err(ExportError::NoRecording(_))));
}

#[test]
fn nothing_is_written_of_a_span_that_is_to_come_or_where_there_is_no_room() {
    let mut media = Media::new();
    media.run(20_000, "a");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("clip.mp4");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (store, name) = (media.store(true), RecordingName::new(START_MS, "s").expect("a name"));
    let cut = |to_ms, is_growing, free: u64| {
        let span = Span { from_ms: 0, to_ms: Some(to_ms), is_growing };
        let asked = std::sync::atomic::AtomicU64::new(0);
        let room = |bytes| {
            asked.store(bytes, std::sync::atomic::Ordering::Relaxed);
            if bytes <= free { Ok(()) } else { Err("the disk is full".to_owned()) }
        };
        let made = runtime.block_on(export(&store, &id(), &name, span, &path, &room));
        assert_eq!(made.is_ok(), path.exists());
        (made, asked.into_inner())
    };
    assert!(matches!(cut(30_000, true, u64::MAX), (Err(ExportError::NotYet { length_ms: 20_000 }), 0)));
    let (made, bytes) = cut(30_000, false, u64::MAX);
    assert_eq!(made.expect("up to its end").bytes, bytes);
    std::fs::remove_file(&path).expect("it is there");
    assert!(matches!(cut(30_000, false, bytes - 1), (Err(ExportError::NoRoom(_)), _)));
}

#[test]
fn playlists_that_are_none_of_ours_are_refused() {
    use super::playlist::read;
    use millstream_proto::media::Track;

    let good = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-DISCONTINUITY-SEQUENCE:3\n#EXT-X-MAP:URI=\"video/init-2.mp4\"\n\
        #EXT-X-PROGRAM-DATE-TIME:2026-11-24T14:41:05.250Z\n#EXTINF:2.000,\n#EXT-X-BYTERANGE:10@20\nvideo/7.mp4\n\
        #EXT-X-DISCONTINUITY\n#EXT-X-GAP\n#EXTINF:1.5,\nvideo/gap-1.mp4\n";
    let list = read(Track::Video, good).expect("one of ours");
    assert_eq!((list[0].run, list[0].date_unix_ms, list[0].duration_ms), (3, 1_795_531_265_250, 2_000));
    assert_eq!(list[0].place.map(|p| (p.init, p.object, p.at, p.bytes)), Some((2, 7, 20, 10)));
    assert_eq!((list[1].run, list[1].date_unix_ms, list[1].place), (4, 1_795_531_267_250, None));
    for (from, to) in [
        ("video/7.mp4", "../7.mp4"),
        ("video/7.mp4", "http://a/7.mp4"),
        ("video/7.mp4", "audio/7.mp4"),
        ("10@20", "18446744073709551615@20"),
        ("10@20", "x"),
        ("2.000", "-2"),
        ("2.000", "99999999999"),
        ("video/init-2.mp4", "video/init-02.mp4"),
        ("2026-11-24T", "2026-13-24T"),
        ("#EXTM3U", "<html>"),
    ] {
        assert!(read(Track::Video, &good.replacen(from, to, 1)).is_err(), "{to}");
    }
}
