//! What renditions cost: `cargo test --release -p millstream-worker --test throughput -- --ignored --nocapture`.
#![cfg(feature = "codecs")]
mod common;

use std::sync::Arc;
use std::time::Instant;

use common::{clip, ffmpeg, scratch, target, usual_arguments};
use millstream_worker::mark::{Fonts, MarkSet};
use millstream_worker::protocol::{Image, Marks, Text};
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

/// A line of text and an image of an eighth of the picture's width, as most marks are; and what a picture costs with and without them, in turns, since
/// the machine may be busy with something else.
#[test]
#[ignore = "a measurement"]
fn what_marks_cost() {
    let source = clip("throughput", &usual_arguments("1280x720", "30", "10"));
    let (mut decoder, mut pieces) = (Source::new(), Vec::new());
    for tag in &source {
        decoder.push(tag.kind, tag.timestamp_ms, tag.body.clone()).unwrap();
        pieces.extend(std::iter::from_fn(|| decoder.poll()));
    }
    let pictures = pieces.iter().filter(|piece| matches!(piece, Piece::Picture(_))).count() as f64;
    let logo = scratch("logo.png");
    ffmpeg(&["-f", "lavfi", "-i", "color=red@0.5:s=320x160:d=1,format=rgba", "-frames:v", "1", logo.to_str().unwrap()]);
    let text =
        Text { text: "Lobby, north door".into(), size_px: 36, rgba: [255, 255, 255, 180], left_px: 20, top_px: 20 };
    let image = Image { width_px: 160, height_px: 80, left_px: 1_100, top_px: 20, opacity_percent: 80 };
    let marks = Marks { text: Some(text), image: Some(image) };
    let (set, _) = MarkSet::read(&Fonts::built_in(), &marks, &std::fs::read(&logo).unwrap(), None);
    let set = Arc::new(set);
    for (name, size, rate) in [("360p", (640, 360), 400), ("480p", (854, 480), 600), ("720p", (1280, 720), 1_000)] {
        let mut took = [0.0; 2];
        for turn in 0..6 {
            let (mut rendition, mut tags) = (Rendition::new(target(size.0, size.1, rate)), Vec::new());
            rendition.set_marks((turn % 2 == 1).then_some(&set));
            let begun = cpu();
            for piece in &pieces {
                rendition.push(piece, &mut tags).unwrap();
            }
            took[turn % 2] += (cpu() - begun) / 3.0;
        }
        let ms = took.map(|seconds| seconds * 1_000.0 / pictures);
        println!("{name}: {:.2} ms of CPU a picture without marks, {:.2} ms with them", ms[0], ms[1]);
    }
}
