//! Films of a stream's last seconds: what is in them, and what is held for them.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_test_support::mp4::Movie;

use super::fixture::{Media, START_MS};
use super::shown;
use crate::movie::make::MakeError;
use crate::movie::reel::{Bounds, Film, Reel};
use crate::movie::source::at_once;

/// When the stream of a fixture begins on its timeline.
const BEGINS_MS: u64 = 90_000;
const BOUNDS: Bounds = Bounds { back_ms: 10_000, bytes_max: 1 << 20, all_bytes_max: 1 << 20 };

fn film(reel: &Reel, from_ms: u64, to_ms: u64) -> Result<(Film, Movie, Vec<u8>), MakeError> {
    let film = at_once(reel.film(BEGINS_MS + from_ms, BEGINS_MS + to_ms, BEGINS_MS + from_ms))
        .expect("nothing is waited for")?;
    let bytes = film.pieces.concat();
    assert_eq!(film.bytes(), bytes.len() as u64);
    let movie = Movie::read(&bytes).expect("a right file");
    Ok((film, movie, bytes))
}

fn reel(bounds: Bounds) -> (Reel, Arc<AtomicUsize>) {
    let all = Arc::new(AtomicUsize::new(0));
    let mut reel = Reel::new(bounds, Arc::clone(&all));
    reel.began();
    (reel, all)
}

#[test]
fn a_film_has_whole_segments_with_each_frame_once_and_both_tracks() {
    let mut media = Media::new();
    media.run(20_000, "a");
    let (mut reel, all) = reel(BOUNDS);
    assert!(matches!(film(&reel, 0, 1), Err(MakeError::Empty)));
    assert_eq!((reel.reaches_ms(), reel.date_unix_ms(5)), (None, None));
    assert!(media.closed.drain(..).all(|segment| reel.push(segment)));
    assert_eq!(reel.reaches_ms(), Some(BEGINS_MS + 20_000));
    assert_eq!(reel.date_unix_ms(BEGINS_MS + 12_345), Some(START_MS + 12_345));
    let (made, movie, bytes) = film(&reel, 11_000, 15_000).expect("a film");
    assert_eq!(made.from_unix_ms, START_MS + 10_000);
    assert!((5_990..=6_050).contains(&made.duration_ms), "{}", made.duration_ms);
    let video: Vec<u64> = shown(&movie, &bytes, "vide").iter().map(|(number, _)| *number).collect();
    assert_eq!(video, (250..400).collect::<Vec<_>>());
    let audio = shown(&movie, &bytes, "soun");
    assert!(audio.len() >= 280 && audio.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "{}", audio.len());
    // What is older than ten seconds has gone, and all of it with the reel.
    let (made, ..) = film(&reel, 0, 15_000).expect("what there is");
    assert_eq!(made.from_unix_ms, START_MS + 10_000);
    assert!(all.load(Ordering::Relaxed) > 10_000);
    drop(reel);
    assert_eq!(all.load(Ordering::Relaxed), 0);
}

#[test]
fn what_is_filmed_stays_and_ends_early_where_there_is_no_room() {
    let mut media = Media::new();
    media.run(40_000, "a");
    let half: usize = media.closed.iter().flat_map(|segment| &segment.parts).map(bytes::Bytes::len).sum::<usize>() / 2;
    let (mut reel, _) = reel(Bounds { bytes_max: half, ..BOUNDS });
    let mut segments = media.closed.drain(..);
    assert!(segments.by_ref().take(6).all(|segment| reel.push(segment)));
    reel.film_from(Some(BEGINS_MS));
    let taken = segments.by_ref().take_while(|segment| reel.push(segment.clone())).count();
    assert!((10..16).contains(&taken), "{taken}");
    let (made, ..) = film(&reel, 0, 40_000).expect("the first half");
    assert_eq!(made.from_unix_ms, START_MS);
    assert!((16_000..24_000).contains(&made.duration_ms), "{}", made.duration_ms);
    // Without a film what is too much goes, the oldest first.
    reel.film_from(None);
    assert!(segments.all(|segment| reel.push(segment)));
    assert!(film(&reel, 38_000, 40_000).is_ok() && matches!(film(&reel, 0, 20_000), Err(MakeError::Empty)));
}

#[test]
fn an_encoder_that_comes_back_goes_on_in_the_same_film() {
    let mut media = Media::new();
    media.run(6_000, "a");
    media.run(6_000, "a");
    let (mut reel, _) = reel(BOUNDS);
    assert!(media.closed.drain(..).all(|segment| reel.push(segment)));
    let (made, movie, bytes) = film(&reel, 3_000, 11_000).expect("a film");
    assert!((9_900..=10_200).contains(&made.duration_ms), "{}", made.duration_ms);
    let video: Vec<u64> = shown(&movie, &bytes, "vide").iter().map(|(number, _)| *number).collect();
    assert_eq!(video, (50..300).collect::<Vec<_>>());
}

#[test]
fn what_was_there_before_with_another_header_is_left_out() {
    let mut media = Media::new();
    media.run(6_000, "a");
    media.run(6_000, "b");
    let (mut reel, _) = reel(BOUNDS);
    assert!(media.closed.drain(..).all(|segment| reel.push(segment)));
    let about =
        |about_ms| at_once(reel.film(BEGINS_MS + 3_000, BEGINS_MS + 11_000, BEGINS_MS + about_ms)).expect("at once");
    let after = about(7_000).expect("a film");
    assert_eq!(after.from_unix_ms, START_MS + 6_000);
    assert!((5_900..=6_100).contains(&after.duration_ms), "{}", after.duration_ms);
    assert!(about(3_000).expect("a film").from_unix_ms < START_MS + 3_001);
}

#[test]
fn all_of_a_moment_is_there_when_both_tracks_are() {
    let mut media = Media::new();
    media.run(10_000, "a");
    let (mut reel, _) = reel(BOUNDS);
    for segment in media.closed.drain(..) {
        let is_video = segment.track == millstream_proto::media::Track::Video;
        let before = reel.covers_ms();
        assert!(reel.push(segment));
        assert!(!is_video || before.is_none() || reel.covers_ms() == before, "sound of it is missing");
    }
    assert!(reel.covers_ms().is_some_and(|covers_ms| (9_000..=10_000).contains(&(covers_ms - BEGINS_MS))));
}
