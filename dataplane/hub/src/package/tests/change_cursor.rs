//! Who follows by [`ChangeCursor`] gets what the window was told, in each track's order, part by part, and knows what it missed.
use std::ops::Range;

use millstream_proto::media::{MediaEvent, Track};

use super::fixture::{PackagerFixture, Recording, config, stamp};
use crate::config::HlsConfig;
use crate::log::EndReason;
use crate::package::change::Change;
use crate::subscriber::{ChangeCursor, NextChange};

/// All that a cursor finds at once.
fn take(cursor: &mut ChangeCursor, fixture: &PackagerFixture) -> (Vec<Change>, Vec<(Track, Range<u64>)>) {
    let (mut changes, mut lost) = (Vec::new(), Vec::new());
    loop {
        match cursor.next(&fixture.window) {
            NextChange::Change(change) => changes.push(change),
            NextChange::Lost(track, msns) => lost.push((track, msns)),
            NextChange::Wait => return (changes, lost),
        }
    }
}

fn track_of(change: &Change) -> Option<Track> {
    match change {
        Change::Header(track, _)
        | Change::Parts(track, _)
        | Change::Opened(track, _)
        | Change::Part(track, _)
        | Change::Closed(track)
        | Change::Gap(track, _)
        | Change::Skipped(track, _)
        | Change::Marked(track, _) => Some(*track),
        Change::Began(_) | Change::Ended => None,
    }
}

/// What a cursor is to give of a track.
fn of(changes: &[Change], track: Track) -> Vec<Change> {
    let told = changes.iter().filter(|change| !matches!(change, Change::Parts(..) | Change::Skipped(..)));
    told.filter(|change| track_of(change).is_none_or(|of| of == track)).cloned().collect()
}

fn msns(changes: &[Change], track: Track) -> Vec<u64> {
    let opened = changes.iter().filter_map(|change| match change {
        Change::Opened(of, opened) if *of == track => Some(opened.msn),
        _ => None,
    });
    opened.collect()
}

fn recorded() -> PackagerFixture {
    let mut fixture = PackagerFixture::new(HlsConfig::default());
    fixture.told = Some(Vec::new());
    fixture.source.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
    fixture.ask();
    fixture
}

fn end(fixture: &mut PackagerFixture) {
    fixture.leave();
    fixture.source.log.end(EndReason::PublisherGone);
    fixture.advance();
}

#[test]
fn who_keeps_up_gets_each_part_with_the_window() {
    let mut fixture = recorded();
    let (mut cursor, mut got) = (ChangeCursor::new(), Vec::new());
    let frames = Recording { for_ms: 30_000, ..Recording::default() }.frames();
    let mut behind = 0;
    for (n, event) in frames.iter().enumerate() {
        fixture.arrive_unchecked(super::fixture::at(event), event);
        if n == frames.len() / 2 {
            // Another coding: a new header and a discontinuity in the middle.
            fixture.source.read(&[config(Track::Video, 2)]);
        }
        let told = fixture.told.as_ref().unwrap().iter().filter(|change| matches!(change, Change::Part(..))).count();
        let (changes, lost) = take(&mut cursor, &fixture);
        assert_eq!(lost, []);
        got.extend(changes);
        let given = got.iter().filter(|change| matches!(change, Change::Part(..))).count();
        behind += told - given;
    }
    assert_eq!(behind, 0, "each part at once");
    end(&mut fixture);
    got.extend(take(&mut cursor, &fixture).0);
    assert_eq!(got.last(), Some(&Change::Ended));
    assert_eq!(cursor.next(&fixture.window), NextChange::Wait, "the end is told once");
    let told = fixture.told.take().unwrap();
    for track in [Track::Video, Track::Audio] {
        let (told, got) = (of(&told, track), of(&got, track));
        assert!(got.iter().filter(|change| matches!(change, Change::Header(..))).count() >= 1);
        // A header is given where its first segment begins, which may be later than it was told.
        let without = |changes: &[Change]| {
            changes.iter().filter(|change| !matches!(change, Change::Header(..))).cloned().collect::<Vec<_>>()
        };
        assert_eq!(without(&got), without(&told), "{track:?}");
        let mut header = None;
        for change in &got {
            match change {
                Change::Header(_, new) => header = Some(new.number),
                Change::Opened(_, opened) => assert_eq!(Some(opened.header), header, "its header is before it"),
                _ => {}
            }
        }
    }
}

#[test]
fn who_comes_late_gets_both_tracks_interleaved_by_time() {
    let mut fixture = recorded();
    fixture.play_unchecked(&Recording { for_ms: 12_000, ..Recording::default() }.frames());
    let (changes, lost) = take(&mut ChangeCursor::new(), &fixture);
    assert_eq!(lost, []);
    // Never more of one track than a segment ahead of the other.
    let mut reached_us = [0_u64; 2];
    for change in &changes {
        if let Change::Part(track, part) = change {
            let at = usize::from(*track == Track::Audio);
            reached_us[at] += part.duration_us;
            assert!(reached_us[0].abs_diff(reached_us[1]) < 1_000_000, "{reached_us:?}");
        }
    }
    assert!(reached_us.iter().all(|us| *us > 11_000_000), "{reached_us:?}");
}

#[test]
fn who_is_too_slow_hears_what_is_lost_and_goes_on_with_a_whole_segment() {
    let mut fixture = recorded();
    let frames = Recording { for_ms: 90_000, ..Recording::default() }.frames();
    let at = |ms: i64| frames.iter().position(|event| stamp(event) >= ms).unwrap();
    let play = |fixture: &mut PackagerFixture, events: &[MediaEvent]| {
        for event in events {
            fixture.arrive_unchecked(super::fixture::at(event), event);
        }
    };
    let mut cursor = ChangeCursor::new();
    // In the middle of a segment.
    play(&mut fixture, &frames[..at(5_000)]);
    let (before, lost) = take(&mut cursor, &fixture);
    assert_eq!(lost, []);
    play(&mut fixture, &frames[at(5_000)..at(80_000)]);
    let (after, lost) = take(&mut cursor, &fixture);
    play(&mut fixture, &frames[at(80_000)..]);
    end(&mut fixture);
    let (rest, none) = take(&mut cursor, &fixture);
    assert_eq!(none, []);
    let told = fixture.told.take().unwrap();
    let got = [before.clone(), after.clone(), rest].concat();
    for track in [Track::Video, Track::Audio] {
        let lost: Vec<_> = lost.iter().filter(|(of, _)| *of == track).map(|(_, msns)| msns.clone()).collect();
        let [lost] = &lost[..] else { panic!("{lost:?}") };
        // The one that it was in is the first lost, and what comes next begins anew.
        assert_eq!(msns(&before, track).last(), Some(&lost.start));
        assert_eq!(msns(&after, track).first(), Some(&lost.end));
        let (all, got) = (msns(&told, track), msns(&got, track));
        let known: Vec<u64> = got.iter().copied().filter(|msn| *msn < lost.start).chain(lost.clone()).collect();
        let whole = [known, got.into_iter().filter(|msn| *msn >= lost.end).collect()].concat();
        assert_eq!(whole, all, "each is given or known to be lost");
    }
}

#[test]
fn a_new_session_is_told_and_begins_at_its_oldest_segment() {
    let mut fixture = recorded();
    fixture.play_unchecked(&Recording { for_ms: 5_000, ..Recording::default() }.frames());
    let mut cursor = ChangeCursor::new();
    let (first, _) = take(&mut cursor, &fixture);
    fixture.ask();
    let frames = Recording { from_ms: 5_000, for_ms: 5_000, ..Recording::default() }.frames();
    for event in &frames {
        fixture.arrive_unchecked(super::fixture::at(event), event);
    }
    let (second, lost) = take(&mut cursor, &fixture);
    assert_eq!(lost, []);
    let name = |changes: &[Change]| match changes.first() {
        Some(Change::Began(session)) => session.name.clone(),
        other => panic!("{other:?}"),
    };
    assert_ne!(name(&first), name(&second));
    assert!(matches!(second.get(1), Some(Change::Header(..))), "{:?}", second.get(1));
    assert!(msns(&second, Track::Video).len() > 2);
}
