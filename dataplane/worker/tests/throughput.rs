//! What renditions cost: `cargo test --release -p millstream-worker --test throughput -- --ignored --nocapture`.
#![cfg(feature = "codecs")]
mod common;

use std::time::Instant;

use common::{clip, target, usual_arguments};
use millstream_worker::transcode::{Piece, Rendition, Source, Transcoder};
use rustix::time::{ClockId, clock_gettime};

/// CPU time of the process, seconds.
fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

#[test]
#[ignore = "a measurement"]
fn frames_a_second() {
    let source = clip("throughput", &usual_arguments("1280x720", "30", "10"));
    let mut decoder = Source::new();
    let mut pieces = Vec::new();
    let begun = cpu();
    for tag in &source {
        decoder.push(tag.kind, tag.timestamp_ms, tag.body.clone()).unwrap();
        pieces.extend(std::iter::from_fn(|| decoder.poll()));
    }
    decoder.finish();
    pieces.extend(std::iter::from_fn(|| decoder.poll()));
    let pictures = pieces.iter().filter(|piece| matches!(piece, Piece::Picture(_))).count() as f64;
    let per_second = |took_s: f64| pictures / took_s;
    println!("decode 720p: {:.0} fps of CPU", per_second(cpu() - begun));
    for (name, size, rate) in [("480p", (854, 480), 1_400), ("360p", (640, 360), 800), ("240p", (426, 240), 400)] {
        let (mut rendition, mut tags) = (Rendition::new(target(size.0, size.1, rate)), Vec::new());
        let begun = cpu();
        for piece in &pieces {
            rendition.push(piece, &mut tags).unwrap();
        }
        println!("scale and encode {name}: {:.0} fps of CPU", per_second(cpu() - begun));
    }
    drop(pieces);
    let mut transcoder = Transcoder::new(&[target(854, 480, 1_400), target(640, 360, 800)]);
    let mut out = vec![Vec::new(), Vec::new()];
    let (begun, begun_at) = (cpu(), Instant::now());
    for tag in &source {
        transcoder.push(tag.kind, tag.timestamp_ms, tag.body.clone(), &mut out).unwrap();
    }
    transcoder.finish(&mut out).unwrap();
    let (took, passed) = (cpu() - begun, begun_at.elapsed().as_secs_f64());
    let share = took / (pictures / 30.0) * 100.0;
    println!("720p30 to 480p and 360p on one thread: {:.0} fps, {share:.0} % of a core when live", per_second(passed));
}
