//! Bitstreams that are damaged: each batch of mutations runs in a child process, so that a crash of the decoder is found and told. What a
//! worker does with them must cost the damaged frames and no more.
#![cfg(feature = "codecs")]
mod common;

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Sent, clip, scratch, target, tool, usual_arguments};
use millstream_proto::media::TagKind;
use millstream_worker::transcode::Transcoder;

const SEED: &str = "MILLSTREAM_DAMAGE_SEED";
const COUNT: &str = "MILLSTREAM_DAMAGE_COUNT";
const CLIP: &str = "MILLSTREAM_DAMAGE_CLIP";

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() >> 33) as usize % most.max(1)
    }
}

/// One GOP of each kind of stream.
fn gop(name: &str) -> Vec<Sent> {
    let mut arguments = usual_arguments("128x96", "30", "2");
    match name {
        "damage-high" => arguments.extend(["-preset", "slow", "-x264-params", "bframes=3:slices=2"]),
        "damage-baseline" => arguments.extend(["-profile:v", "baseline"]),
        "damage-open" => arguments.extend(["-g", "15", "-x264-params", "open-gop=1:b-adapt=0"]),
        other => panic!("{other}"),
    }
    let mut source = clip(name, &arguments);
    if name == "damage-open" {
        // Entered at a keyframe that is no IDR picture.
        let second = source.iter().enumerate().filter(|(_, tag)| tag.is_keyframe()).nth(1).unwrap().0;
        let headers = source.iter().filter(|tag| !tag.is_video() && !tag.is_audio()).cloned().collect::<Vec<_>>();
        source = headers.into_iter().chain(source.split_off(second)).collect();
    }
    source
}

fn mutate(source: &[Sent], random: &mut Random) -> Vec<Sent> {
    let mut source = source.to_vec();
    for _ in 0..=random.below(4) {
        let video: Vec<usize> = (0..source.len()).filter(|at| source[*at].kind == TagKind::Video).collect();
        // The first tags as often as all others: parameter sets and the keyframe.
        let at = if random.below(2) == 0 {
            video[random.below(4).min(video.len() - 1)]
        } else {
            video[random.below(video.len())]
        };
        let mut body = source[at].body.to_vec();
        match random.below(6) {
            0 => body.truncate(random.below(body.len())),
            1 => drop(source.remove(at)),
            2 => source.swap(at, video[random.below(video.len())]),
            3 => {
                let from = random.below(body.len());
                let until = from + random.below(body.len() - from);
                body[from..until].fill_with(|| random.next() as u8);
            }
            _ => {
                for _ in 0..=random.below(8) {
                    // The heads of tag and slice as often as all the rest.
                    let near = if random.below(2) == 0 { 48 } else { body.len() };
                    let byte = random.below(near.min(body.len()));
                    body[byte] ^= 1 << random.below(8);
                }
            }
        }
        if let Some(tag) = source.get_mut(at)
            && !body.is_empty()
        {
            tag.body = body.into();
        }
    }
    source
}

/// What the child does; said to standard error is the mutation that it is at.
#[test]
#[ignore = "run by damage_is_survived"]
fn inside() {
    let Ok(seed) = std::env::var(SEED) else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let source = gop(&std::env::var(CLIP).unwrap());
    let (mut ended, mut lost, mut slowest) = (0, 0, Duration::ZERO);
    for n in 0..number(COUNT) {
        let seed = seed.parse::<u64>().unwrap() + n;
        eprintln!("at {seed}");
        let mutated = mutate(&source, &mut Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1));
        let mut transcoder = Transcoder::new(&[target(64, 48, 60)]);
        let mut out = vec![Vec::new()];
        let begun = Instant::now();
        let error = mutated
            .iter()
            .find_map(|tag| transcoder.push(tag.kind, tag.timestamp_ms, tag.body.clone(), &mut out).err());
        let _ = transcoder.finish(&mut out);
        ended += u64::from(error.is_some());
        lost += transcoder.source_stats().lost;
        slowest = slowest.max(begun.elapsed());
    }
    println!("ended {ended}, frames lost {lost}, slowest {slowest:?}");
}

#[test]
fn damage_is_survived() {
    // `tests/run --long` sets more.
    let count = std::env::var("MILLSTREAM_DAMAGE_TOTAL").ok().and_then(|text| text.parse().ok()).unwrap_or(200_u64);
    let mut crashes = Vec::new();
    for name in ["damage-high", "damage-baseline", "damage-open"] {
        gop(name);
        let mut seed = 0;
        while seed < count {
            let done = Command::new(std::env::current_exe().unwrap())
                .args(["inside", "--exact", "--ignored", "--nocapture"])
                .env(SEED, seed.to_string())
                .env(COUNT, (count - seed).min(2_000).to_string())
                .env(CLIP, name)
                .output()
                .unwrap();
            let (said, complaint) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
            if done.status.success() {
                let summary = said.lines().find_map(|line| line.split_once("ended ")).map(|(_, rest)| rest);
                println!("{name} from {seed}: ended {}", summary.unwrap_or_default());
                seed += 2_000;
                continue;
            }
            let at: u64 =
                complaint.lines().rev().find_map(|line| line.strip_prefix("at ")?.parse().ok()).expect("where it was");
            println!("{name}: mutation {at} ends the process: {:?}", done.status);
            // A panic is ours; a signal is the decoder's.
            assert!(done.status.signal().is_some(), "{complaint}");
            crashes.push((name, at, done.status.signal()));
            seed = at + 1;
        }
    }
    println!("{} of {} mutations crash the decoder: {crashes:?}", crashes.len(), 3 * count);
}

/// A stream with a damaged GOP goes on behind it, on the same timeline.
#[test]
fn the_next_gop_is_whole() {
    let mut source = clip("usual-small", &usual_arguments("320x180", "30", "6"));
    let frames: Vec<usize> = (0..source.len()).filter(|at| source[*at].is_video()).collect();
    let mut body = source[frames[70]].body.to_vec();
    let half = body.len() / 2;
    body.truncate(half);
    body[20..half].fill(0x55);
    source[frames[70]].body = body.into();
    let mut transcoder = Transcoder::new(&[target(160, 90, 150)]);
    let mut out = vec![Vec::new()];
    for tag in &source {
        transcoder.push(tag.kind, tag.timestamp_ms, tag.body.clone(), &mut out).unwrap();
    }
    transcoder.finish(&mut out).unwrap();
    let stats = transcoder.source_stats();
    assert!((40..=50).contains(&stats.lost), "{stats:?}");
    let frames = common::frames(&out[0]);
    let keyframes: Vec<i64> = frames.iter().filter(|frame| frame.0).map(|frame| frame.1).collect();
    assert_eq!(keyframes, [0, 2_000, 4_000]);
    assert_eq!(frames.iter().filter(|frame| frame.1 >= 4_000).count(), 60);
    assert!(frames.windows(2).all(|pair| pair[0].1 < pair[1].1 && pair[0].2 < pair[1].2));
    let path = scratch("damaged-90p.flv");
    std::fs::write(&path, common::file(&out[0])).unwrap();
    tool(
        "ffprobe",
        &["-v", "error", "-show_entries", "frame=pts", "-select_streams", "v", path.to_str().unwrap(), "-of", "csv"],
    );
}
