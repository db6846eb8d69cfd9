//! What goes in comes out under its number, also when what is older has gone; and it is bounded.
use std::sync::Arc;

use bytes::Bytes;
use millstream_hub::package::change::{Header, Opened, Part, Session};
use millstream_proto::codec::Summary;
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::shelf::{Shelf, Shelved};
use super::*;

const UNIX_MS: u64 = 1_795_531_265_000;

fn session(name: &str) -> Session {
    Session {
        name: name.to_owned(),
        target_duration_s: 2,
        window: 6,
        bytes_max: 1 << 30,
        zero_unix_ms: UNIX_MS,
        guide: None,
    }
}

fn header(number: u32) -> Arc<Header> {
    let summary = Summary { codec: "avc1.64001f".to_owned(), shape: None, unusual: None };
    Arc::new(Header { number, bytes: vec![number as u8; 9].into(), timescale: 1_000, summary })
}

/// A segment as it was told.
#[derive(Clone, Copy, Debug)]
struct Told {
    msn: u64,
    date_unix_ms: u64,
    duration_ms: u64,
    header: u32,
    discontinuities: u64,
    discontinuity: bool,
    object: Option<(u32, u64)>,
    bytes: u64,
}

fn tell(shift: &mut Shift, told: &Told) {
    let opened = Opened {
        msn: told.msn,
        discontinuity: told.discontinuity,
        discontinuities: told.discontinuities,
        header: told.header,
        date_unix_ms: told.date_unix_ms,
        ..Opened::default()
    };
    shift.opened(Track::Video, &opened, Some(&header(told.header)));
    let recording = RecordingName::new(UNIX_MS, "s").expect("a name");
    // Two parts, of which one is longer.
    let first = told.bytes / 3;
    for (at, (bytes, ms)) in [(first, 500), (told.bytes - first, told.duration_ms - 500)].into_iter().enumerate() {
        let part = Part {
            number: 0,
            duration: ms,
            duration_us: ms * 1_000,
            independent: at == 0,
            frames: 15,
            arrived: Time::ZERO,
            bytes: vec![0; bytes as usize].into(),
        };
        let place = told.object.map(|(object, offset)| Place {
            recording: recording.clone(),
            object,
            offset: offset + if at == 0 { 0 } else { first },
        });
        shift.part(Track::Video, &part, place.as_ref());
    }
    shift.closed(Track::Video, None);
}

/// A stream with an object for each `per_object` segments, a new coding now and then, and segments that were not written.
fn stream(count: u64, per_object: u64) -> Vec<Told> {
    let (mut date, mut offset, mut discontinuities) = (UNIX_MS, 0, 0);
    (0..count)
        .map(|n| {
            let (duration_ms, bytes) = (1_900 + n % 3 * 100, 90 + n % 7);
            let discontinuity = n > 0 && n % 97 == 0;
            discontinuities += u64::from(discontinuity);
            if n % per_object == 0 {
                offset = 0;
            }
            date += if discontinuity { 700 } else { 0 };
            let object = (n % 50 != 13).then_some(((n / per_object) as u32, offset));
            let header = (discontinuities / 2) as u32 + 1;
            let told = Told {
                msn: 1_000 + n,
                date_unix_ms: date,
                duration_ms,
                header,
                discontinuities,
                discontinuity,
                object,
                bytes,
            };
            date += duration_ms;
            offset += if object.is_some() { bytes } else { 0 };
            told
        })
        .collect()
}

fn holds(shift: &Shift, told: &[Told]) {
    let first = shift.first_msn(Track::Video).expect("segments");
    let kept: Vec<&Told> = told.iter().filter(|told| told.msn >= first).collect();
    let found = shift.segments(Track::Video, 0, usize::MAX >> 1);
    assert_eq!(found.len(), kept.len());
    for (at, (found, told)) in found.iter().zip(&kept).enumerate() {
        let is = (found.msn, found.date_unix_ms, u64::from(found.duration_ms), found.header, found.discontinuities);
        assert_eq!(is, (told.msn, told.date_unix_ms, told.duration_ms, told.header, told.discontinuities));
        assert_eq!(found.discontinuity, told.discontinuity && at > 0, "{told:?}");
        assert_eq!((found.gap, found.independent), (told.object.is_none(), true));
        let located = shift.locate(Track::Video, Name::Segment(told.msn));
        let place = located.map(|located| match located {
            Located::Segment(place, bytes) => (place.object, place.offset, bytes),
            Located::Header(_) => panic!("a segment"),
        });
        assert_eq!(place, told.object.map(|(object, offset)| (object, offset, told.bytes)), "{told:?}");
        let header = shift.locate(Track::Video, Name::Header(told.header.into()));
        assert_eq!(header, Some(Located::Header(Bytes::from(vec![told.header as u8; 9]))));
    }
    // From the middle on, dates are the same.
    let from = first + found.len() as u64 / 2;
    assert_eq!(shift.segments(Track::Video, from, 3)[..], found[found.len() / 2..][..3]);
    assert_eq!(shift.locate(Track::Video, Name::Segment(first - 1)), None);
    assert_eq!(shift.locate(Track::Audio, Name::Segment(first)), None);
}

#[test]
fn segments_come_out_as_they_went_in_and_the_oldest_go() {
    let told = stream(700, 30);
    let mut shift = Shift::new(&session("s"), 600_000);
    for (n, one) in told.iter().enumerate() {
        tell(&mut shift, one);
        if n % 60 == 59 {
            holds(&shift, &told[..=n]);
        }
    }
    let kept_ms: u64 = shift.segments(Track::Video, 0, 10_000).iter().map(|s| u64::from(s.duration_ms)).sum();
    // What may be listed is a chunk longer, and stays fetchable for a minute.
    let most_ms = 600_000 + 64 * 2_000 + LINGER_MS;
    assert!((most_ms - 2_000..most_ms + 2_200).contains(&kept_ms), "{kept_ms}");
}

#[test]
fn it_is_bounded_whatever_comes() {
    for (count, per_object) in [(9_000, 60), (2_000, 1)] {
        let mut shift = Shift::new(&session("s"), u64::MAX >> 20);
        let told = stream(count, per_object);
        for one in &told {
            tell(&mut shift, one);
        }
        let of = &shift.tracks[0];
        let room = of.rows.capacity() * size_of::<Row>()
            + of.marks.capacity() * size_of::<Mark>()
            + of.runs.capacity() * size_of::<Run>();
        assert!(2 * room <= 256 << 10, "{room} bytes a track");
        assert!(of.rows.len() > 500);
        let from = told.len() - of.rows.len();
        holds(&shift, &told[from..]);
    }
}

#[test]
fn what_is_told_again_counts_once_and_a_hole_begins_anew() {
    let told = stream(20, 30);
    let mut shift = Shift::new(&session("s"), 600_000);
    for one in told[..15].iter().chain(&told[10..]) {
        tell(&mut shift, one);
    }
    holds(&shift, &told);
    // Segments that nobody told of are gaps, as long as the rest says.
    let before = shift.generation();
    let more = Told { msn: 1_024, date_unix_ms: told[19].date_unix_ms + 10_000, object: Some((9, 0)), ..told[19] };
    tell(&mut shift, &more);
    let found = shift.segments(Track::Video, 1_019, 10);
    assert_eq!(
        found.iter().map(|found| (found.msn, found.gap)).collect::<Vec<_>>(),
        [
            (1_019, told[19].object.is_none()),
            (1_020, true),
            (1_021, true),
            (1_022, true),
            (1_023, true),
            (1_024, false)
        ]
    );
    assert!(found[1..5].iter().all(|gap| (1_900..=2_000).contains(&gap.duration_ms)), "{found:?}");
    assert_eq!((found[5].date_unix_ms, shift.generation()), (more.date_unix_ms, before));
    assert!(
        matches!(shift.locate(Track::Video, Name::Segment(1_024)), Some(Located::Segment(place, _)) if place.object == 9)
    );
    // With a discontinuity among them it begins anew.
    let next = Told { msn: 1_030, discontinuities: 7, ..more };
    tell(&mut shift, &next);
    assert_eq!((shift.first_msn(Track::Video), shift.generation()), (Some(1_030), before + 1));
}

#[test]
fn text_is_made_when_somebody_asks_grows_and_is_dropped_when_nobody_does() {
    let (shelf, id) = (Shelf::default(), Id::new("cam").expect("an id"));
    assert!(matches!(shelf.look(&id, None), Shelved::Nothing));
    let board = shelf.begin(&id, &session("s"), 3_600_000);
    let told = stream(150, 30);
    board.tell(|shift| told[..100].iter().for_each(|one| tell(shift, one)));
    assert_eq!(board.archive(), None, "nobody has asked");
    assert!(board.ask() && !board.ask(), "one makes it");
    board.renew();
    let first = board.archive().expect("an archive");
    let track = first.track(Track::Video).expect("video");
    assert_eq!((track.first_msn, track.end_msn()), (1_000, 1_100));
    // At 1024, 1088, and the discontinuity at 1097.
    let borders: Vec<_> = track.chunks.iter().map(|chunk| (chunk.first_msn, chunk.is_whole)).collect();
    assert_eq!(borders, [(1_000, true), (1_024, true), (1_088, true), (1_097, false)]);
    let text = String::from_utf8(track.chunks[1].text.to_vec()).expect("text");
    assert!(text.contains("\ns/s/v/1024.m4s\n") && text.contains("#EXT-X-GAP"), "{text}");
    board.tell(|shift| told[100..].iter().for_each(|one| tell(shift, one)));
    assert!(board.ask());
    board.renew();
    let next = board.archive().expect("an archive");
    let more = next.track(Track::Video).expect("video");
    assert!(next.version > first.version && more.end_msn() == 1_150);
    assert!(Arc::ptr_eq(&more.chunks[0], &track.chunks[0]), "a chunk is made once");
    // The stream is over: who watches it goes on.
    let now = Time::from_millis(1_000);
    shelf.sweep(now);
    shelf.end(&id, &board, now);
    assert!(matches!(shelf.look(&id, None), Shelved::Nothing));
    assert!(matches!(shelf.look(&id, Some("s")), Shelved::Board(of) if Arc::ptr_eq(&of, &board)));
    assert!(matches!(shelf.look(&id, Some("t")), Shelved::Nothing));
    assert!(shelf.locate(&id, "s", Track::Video, Name::Segment(1_020)).is_some());
    assert_eq!(shelf.locate(&id, "t", Track::Video, Name::Segment(1_020)), None);
    let again = shelf.begin(&id, &session("s"), 3_600_000);
    assert!(Arc::ptr_eq(&again, &board), "who is followed anew goes on");
    shelf.sweep(now + std::time::Duration::from_secs(61));
    shelf.sweep(now + std::time::Duration::from_secs(122));
    assert_eq!(board.archive(), None, "nobody has asked for a minute and more");
}
