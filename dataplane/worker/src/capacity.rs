//! Measures what this machine can hold. Before it: the start of the worker; after it: [`crate::protocol::Report::Ready`].
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::codec::av1::Av1Encoder;
use crate::codec::decode::Decoder;
use crate::codec::encode::{Encoder, Settings};
use crate::h264::nal;
use crate::picture::{Colour, Picture};
use crate::protocol::{Capacity, macroblocks};

const SIZE: (u32, u32) = (640, 360);
/// The same of AV1, whose encoder takes twenty times as long.
const AV1_SIZE: (u32, u32) = (320, 180);
const AV1_PICTURES: u32 = 16;
/// Pictures that are encoded and decoded, and how long it may take.
const PICTURES: u32 = 24;
const TIME: Duration = Duration::from_millis(200);

/// Encodes and decodes a few pictures with motion in them. What counts is the time of this thread: the machine may be busy with something else.
pub(crate) fn measure() -> Capacity {
    let (encode_mb_s, units) = encode();
    Capacity { cores: cores(), decode_mb_s: decode(&units), encode_mb_s, av1_mb_s: 0.0 }
}

/// The same for AV1 alone: not at the start of a worker, most of which are never asked for it.
pub(crate) fn measure_av1() -> Capacity {
    let measured = Capacity { cores: cores(), av1_mb_s: av1(), ..Capacity::default() };
    tracing::info!(?measured, "AV1");
    measured
}

fn cores() -> u32 {
    thread::available_parallelism().map_or(1, NonZero::get) as u32
}

/// Encodes a few pictures as AV1. What else the machine does at the moment has little part in it: what counts is the time of this thread, which does all of
/// it.
fn av1() -> f32 {
    let (width, height) = AV1_SIZE;
    let settings = Settings { width, height, kbit_s: 200, fps: 15.0, colour: Colour::assumed(width, height) };
    let Ok(mut encoder) = Av1Encoder::new(settings) else { return 0.0 };
    let (begun, mut made) = (cpu(), 0);
    for n in 0..AV1_PICTURES {
        let Some(picture) = drifting(AV1_SIZE, n) else { break };
        let Ok(units) = encoder.encode(&picture, n == 0) else { break };
        made += units.len() as u32;
    }
    // Those that it holds back.
    made += encoder.finish().len() as u32;
    rate(made, AV1_SIZE, cpu().saturating_sub(begun))
}

/// What this thread has worked so far.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

fn rate(pictures: u32, (width, height): (u32, u32), took: Duration) -> f32 {
    (pictures * macroblocks(width, height)) as f32 / took.as_secs_f32().max(1e-6)
}

fn encode() -> (f32, Vec<Vec<u8>>) {
    let (width, height) = SIZE;
    let colour = Colour::assumed(width, height);
    let settings = Settings { width, height, kbit_s: 800, fps: 30.0, colour };
    let (mut units, mut took) = (Vec::new(), Duration::ZERO);
    let Ok(mut encoder) = Encoder::new(settings) else { return (0.0, units) };
    for n in 0..PICTURES {
        let Some(picture) = pattern(SIZE, n) else { break };
        let begun = cpu();
        let Ok(made) = encoder.encode(&picture, i64::from(n) * 33, n == 0) else { break };
        took += cpu().saturating_sub(begun);
        let mut unit = Vec::new();
        for set in [&made.sps, &made.pps].into_iter().filter(|set| !set.is_empty()) {
            nal::put_annex_b(&mut unit, set);
        }
        nal::units(&made.frame, 4).for_each(|slice| nal::put_annex_b(&mut unit, slice));
        units.push(unit);
        if took > TIME {
            break;
        }
    }
    (rate(units.len() as u32, SIZE, took), units)
}

fn decode(units: &[Vec<u8>]) -> f32 {
    let Ok(mut decoder) = Decoder::new() else { return 0.0 };
    let begun = cpu();
    let pictures = units.iter().take_while(|unit| decoder.decode(unit).is_ok()).count();
    rate(pictures as u32, SIZE, cpu().saturating_sub(begun))
}

/// Smooth light that drifts: what takes an encoder of AV1 long is noise, and most of that is lost at the rates of renditions.
fn drifting((width, height): (u32, u32), n: u32) -> Option<Picture> {
    let wave = |at: u32| (at % 128).abs_diff(64);
    let luma = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let luma = luma.map(|(x, y)| (48 + wave(x + 3 * n) + wave(x / 2 + 2 * y + n)) as u8);
    let chroma = (0..height / 2).flat_map(|y| (0..width / 2).map(move |x| (96 + wave(x + y + 2 * n)) as u8));
    let samples = luma.chain(chroma.clone()).chain(chroma).collect();
    Picture::from_samples(width, height, samples)
}

/// Textures that move.
fn pattern((width, height): (u32, u32), n: u32) -> Option<Picture> {
    let luma =
        (0..height).flat_map(|y| (0..width).map(move |x| (((x + 3 * n) ^ (y + n)) * 5 + ((x * y) >> 6)) as u8 >> 1));
    let chroma = (0..height / 2).flat_map(|y| (0..width / 2).map(move |x| (128 + (x + y + 2 * n) % 64) as u8));
    let samples = luma.chain(chroma.clone()).chain(chroma).collect();
    Picture::from_samples(width, height, samples)
}
