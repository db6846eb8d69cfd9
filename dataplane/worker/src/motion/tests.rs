//! What the detector finds in the clips of [`super::scenes`], by kind: precision and recall of events, of frames as they are and behind an encoder.
use std::collections::BTreeMap;

use super::scenes::{CLIP_MS, Clip, Kind};
use super::*;
use crate::codec::decode::Decoder;
use crate::codec::encode;
use crate::h264::nal;
use crate::picture::Colour;
use millstream_proto::zones::Zones;

const EVERY_MS: i64 = MotionSettings::EVERY_MS as i64;
/// Motion is to be told so soon after it begins, at the latest.
const SOON_MS: i64 = 2_000;
/// What is told when nothing moves is wrong; so long before it and behind it something may be seen.
const SLACK_MS: i64 = 400;

fn settings(percent: u8) -> MotionSettings {
    MotionSettings {
        percent,
        diff: 10,
        duration_ms: 2_000,
        timeout_ms: 60_000,
        every_ms: MotionSettings::EVERY_MS,
        keyframes_only: false,
        zones: Zones::WHOLE,
    }
}

/// What came of clips.
#[derive(Clone, Copy, Default)]
struct Score {
    clips: u32,
    found: u32,
    wrong: u32,
    missed: u32,
}

impl Score {
    fn precision(self) -> f64 {
        if self.found + self.wrong == 0 { 1.0 } else { f64::from(self.found) / f64::from(self.found + self.wrong) }
    }

    fn recall(self) -> f64 {
        if self.found + self.missed == 0 { 1.0 } else { f64::from(self.found) / f64::from(self.found + self.missed) }
    }

    fn and(self, other: Self) -> Self {
        Self {
            clips: self.clips + other.clips,
            found: self.found + other.found,
            wrong: self.wrong + other.wrong,
            missed: self.missed + other.missed,
        }
    }
}

/// Holds the events of a clip against what moves in it.
fn judge(clip: &Clip, settings: MotionSettings, frames: impl Iterator<Item = (i64, Luma)>) -> Score {
    let (mut detector, mut score, mut is_found) =
        (Detector::new(settings), Score { clips: 1, ..Score::default() }, false);
    let moves = clip.moves();
    // With some more than what has to change: it is in front of things that look like it.
    let begins = clip.fills(f32::from(settings.percent) * 0.012);
    for (at_ms, luma) in frames {
        let Some(Change::Started { pts_ms, .. }) = detector.push(&luma, at_ms) else { continue };
        match &moves {
            Some(moves) if (moves.start - SLACK_MS..moves.end + SLACK_MS).contains(&pts_ms) => {
                is_found |= begins.is_some_and(|begins| pts_ms < begins + SOON_MS);
            }
            _ => score.wrong += 1,
        }
    }
    score.found = u32::from(is_found);
    score.missed = u32::from(moves.is_some() && !is_found);
    score
}

fn raw(clip: &Clip) -> impl Iterator<Item = (i64, Luma)> {
    let size = (WIDTH as u32, HEIGHT as u32);
    (0..CLIP_MS).step_by(EVERY_MS as usize).map(move |at_ms| (at_ms, Luma::new(clip.luma(size, at_ms)).unwrap()))
}

/// The same frames, encoded at a camera's rate and decoded again.
fn coded(clip: &Clip) -> impl Iterator<Item = (i64, Luma)> {
    let (width, height) = (640, 360);
    let colour = Colour::assumed(width, height);
    let settings = encode::Settings { width, height, kbit_s: 400, fps: 5.0, colour };
    let mut encoder = encode::Encoder::new(settings).unwrap();
    let (mut decode, mut shrinker) = (Decoder::new().unwrap(), Shrinker::new());
    (0..CLIP_MS).step_by(EVERY_MS as usize).map(move |at_ms| {
        let picture = clip.picture((width, height), at_ms);
        let made = encoder.encode(&picture, at_ms, at_ms % 2_000 == 0).unwrap();
        let mut unit = Vec::new();
        for set in [&made.sps, &made.pps].into_iter().filter(|set| !set.is_empty()) {
            nal::put_annex_b(&mut unit, set);
        }
        nal::units(&made.frame, 4).for_each(|slice| nal::put_annex_b(&mut unit, slice));
        (at_ms, shrinker.shrink(&decode.decode(&unit).unwrap()).unwrap())
    })
}

/// Judges clips of all kinds and prints a table.
fn table(title: &str, kinds: &[Kind], seeds: std::ops::Range<u64>, judge: impl Fn(Kind, u64) -> Score) -> Score {
    let mut all = BTreeMap::new();
    for kind in kinds {
        for seed in seeds.clone() {
            let score = judge(*kind, seed);
            if score.wrong + score.missed > 0 {
                println!("{kind:?} {seed}: {} wrong, {} missed", score.wrong, score.missed);
            }
            let sum: &mut Score = all.entry(*kind).or_default();
            *sum = sum.and(score);
        }
    }
    println!("| {title} | clips | found | missed | wrong |\n| --- | ---: | ---: | ---: | ---: |");
    for (kind, score) in &all {
        println!("| {kind:?} | {} | {} | {} | {} |", score.clips, score.found, score.missed, score.wrong);
    }
    let sum = all.values().fold(Score::default(), |sum, score| sum.and(*score));
    println!("precision {:.3}, recall {:.3}\n", sum.precision(), sum.recall());
    sum
}

fn is_good(score: Score) {
    assert!(score.precision() >= 0.95 && score.recall() >= 0.95, "{:.3} {:.3}", score.precision(), score.recall());
}

#[test]
fn precision_and_recall() {
    is_good(table("motion_percent 1", &Kind::ALL, 0..8, |kind, seed| {
        let clip = Clip::new(kind, seed, false);
        judge(&clip, settings(1), raw(&clip))
    }));
}

/// The settings that a record has when nobody says, which look for what fills a third of the picture.
#[test]
fn precision_and_recall_of_what_is_large() {
    is_good(table("motion_percent 30", &Kind::ALL, 100..106, |kind, seed| {
        let clip = Clip::new(kind, seed, true);
        judge(&clip, settings(30), raw(&clip))
    }));
}

#[test]
#[ignore = "takes half a minute; tests/run --long has it"]
fn precision_and_recall_behind_an_encoder() {
    is_good(table("behind an encoder", &Kind::ALL, 200..202, |kind, seed| {
        let clip = Clip::new(kind, seed, false);
        judge(&clip, settings(1), coded(&clip))
    }));
}

#[test]
#[ignore = "slow: more of the clips"]
fn precision_and_recall_at_length() {
    is_good(table("motion_percent 1", &Kind::ALL, 8..20, |kind, seed| {
        let clip = Clip::new(kind, seed, false);
        judge(&clip, settings(1), raw(&clip))
    }));
}

#[test]
#[ignore = "takes minutes: more of the clips behind an encoder"]
fn precision_and_recall_behind_an_encoder_at_length() {
    is_good(table("behind an encoder", &Kind::ALL, 200..210, |kind, seed| {
        let clip = Clip::new(kind, seed, false);
        judge(&clip, settings(1), coded(&clip))
    }));
}

/// What all this is for: a plain difference from frame to frame, with the same settings, takes light, cuts, noise and rain for motion.
#[test]
fn a_plain_difference_of_frames_is_not_enough() {
    let score = table("plain difference", &Kind::ALL, 0..4, |kind, seed| {
        let clip = Clip::new(kind, seed, false);
        let (mut before, mut score, mut moved_ms): (Option<Luma>, _, _) =
            (None, Score { clips: 1, ..Score::default() }, i64::MIN / 2);
        for (at_ms, luma) in raw(&clip) {
            let changed = before.as_ref().map_or(0, |before| {
                let pixels = luma.pixels().iter().zip(before.pixels());
                pixels.filter(|(now, before)| now.abs_diff(**before) >= 10).count()
            });
            before = Some(luma);
            if changed * 100 < PIXELS {
                continue;
            }
            let is_first = at_ms > moved_ms + 2_000;
            moved_ms = at_ms;
            let is_right =
                clip.moves().is_some_and(|moves| (moves.start - SLACK_MS..moves.end + SLACK_MS).contains(&at_ms));
            (score.found, score.wrong) =
                (score.found.max(u32::from(is_right)), score.wrong + u32::from(is_first && !is_right));
        }
        score.missed = u32::from(clip.moves().is_some() && score.found == 0);
        score
    });
    assert!(score.precision() < 0.7, "{:.3}", score.precision());
}

#[test]
fn a_clip_is_the_same_for_the_same_seed() {
    let frames = |seed| raw(&Clip::new(Kind::ObjectInRain, seed, false)).nth(40).unwrap();
    assert_eq!(frames(3), frames(3));
    assert_ne!(frames(3), frames(4));
}

#[test]
fn motion_that_goes_on_is_cut_into_events_that_follow_each_other() {
    let mut detector = Detector::new(MotionSettings { timeout_ms: 3_000, ..settings(1) });
    let mut told = Vec::new();
    // A bright square goes around on noise-free grey.
    for n in 0..150_i64 {
        let mut pixels = vec![60_u8; PIXELS];
        let (left, top) = ((n as usize * 7) % (WIDTH - 40), 20 + (n as usize * 3) % 30);
        for y in top..top + 30 {
            for x in left..left + 30 {
                pixels[y * WIDTH + x] = 120 + ((x * 13 + y * 7) % 100) as u8;
            }
        }
        match detector.push(&Luma::new(pixels).unwrap(), n * EVERY_MS) {
            Some(Change::Started { pts_ms, .. }) => told.push((pts_ms, true)),
            Some(Change::Ended { pts_ms, .. }) => told.push((pts_ms, false)),
            _ => {}
        }
    }
    assert!(told.len() >= 8, "{told:?}");
    for pair in told.windows(2) {
        let [(before_ms, began), (after_ms, begins)] = pair else { panic!("two") };
        assert!(before_ms <= after_ms && began != begins, "{told:?}");
        assert!(!began || after_ms - before_ms == 3_000, "each lasts as long as it may: {told:?}");
    }
}

/// What moves outside of the zones is no motion, and of what moves inside a share of them is enough.
#[test]
fn motion_counts_in_its_zones_alone() {
    let frame = |n: i64| {
        let wall = (0..PIXELS).map(|at| 60 + ((at % WIDTH * 7) ^ (at / WIDTH * 13)) as u8 % 64);
        let mut pixels: Vec<u8> = wall.collect();
        // Something of 24 x 24 pixels goes to the right, within the left half of the picture.
        for (at, pixel) in pixels.iter_mut().enumerate().filter(|_| (15..40).contains(&n)) {
            let (x, y) = ((at % WIDTH) as i64, at / WIDTH);
            if (30..54).contains(&y) && (2 * (n - 15)..2 * (n - 15) + 24).contains(&x) {
                *pixel = 200 + (x + y as i64) as u8 % 20;
            }
        }
        Luma::new(pixels).unwrap()
    };
    let events = |zones: &str, percent: u8| {
        let mut detector = Detector::new(MotionSettings { zones: zones.parse().unwrap(), ..settings(percent) });
        let changes = (0..60).filter_map(|n| detector.push(&frame(n), n * EVERY_MS));
        changes.filter(|change| matches!(change, Change::Started { .. })).count()
    };
    assert_eq!(
        [events("", 2), events("0,0,50,100", 2), events("50,0,50,100", 2), events("0,70,100,30", 2)],
        [1, 1, 0, 0]
    );
    // It is 4 % of the picture, and 8 % of its left half.
    assert_eq!([events("", 6), events("0,0,50,100", 6), events("0,0,50,100; 50,0,50,100", 6)], [0, 1, 0]);
    // One that is smaller than a cell counts as one, and one that is thinner as a row or column.
    let cells = |zones: &str| compare::watched(zones.parse().unwrap()).iter().filter(|is| **is).count();
    assert_eq!([cells("50,50,1,1"), cells("0,30,100,5"), cells("30,0,1,100")], [1, compare::ACROSS, compare::DOWN]);
}
