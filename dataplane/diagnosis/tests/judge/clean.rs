//! Clean streams have no condition, whatever their rate, GOP, tracks and order of frames, over a network that jitters.
use millstream_control_protocol::live::Watching;
use millstream_proto::media::Track;

use crate::fixture::{Arrival, Encoder, Random, Told, World, stretches};

/// A viewer that has so much yet to get, and takes what comes.
fn viewer(world: &World, session: u64, since_ms: u64, behind_ms: u64) -> Watching {
    let per_ms = world.received_bytes() / world.now_ms.max(1);
    Watching {
        session,
        played_ms: world.now_ms.saturating_sub(since_ms),
        sent_bytes: world.received_bytes().saturating_sub(behind_ms * per_ms),
        skips: 0,
        behind_ms,
    }
}

/// Viewers who have what there is, but for what is under way.
fn keep_up(world: &mut World, random: &mut Random) {
    world.watching = (1..=8).map(|session| viewer(world, session, 0, random.below(200))).collect();
}

/// What is told of an encoder over a network that jitters, and of viewers who keep up.
fn told_of(frames: &[Arrival], world: &mut World, seconds: u64) -> Vec<Told> {
    let mut random = Random(0x1234_5678_9ABC_DEF1);
    let (mut last_ms, mut frames) = (0, frames.to_vec());
    for arrival in &mut frames {
        last_ms = last_ms.max(arrival.at_ms + random.below(60));
        arrival.at_ms = last_ms;
    }
    world.run(&frames, seconds * 1_000, |world| keep_up(world, &mut random))
}

#[track_caller]
fn nothing(told: &[Told], what: &str) {
    assert!(stretches(told).is_empty(), "{what}: {:?}", stretches(told));
}

#[test]
fn viewers_that_begin_at_a_keyframe_have_a_gop_to_get_and_keep_up() {
    for gop_ms in [2_000, 4_000, 5_000] {
        let encoder = Encoder { gop_ms, ..Encoder::default() };
        let mut world = World::new(&encoder);
        let told = world.run(&encoder.frames(60), 60_000, |world| {
            // They come one by one, each begins at the keyframe before, and their networks have just what the stream has.
            let came: Vec<_> = (1..=20_u64).map(|n| (n, n * 2_333)).filter(|(_, at)| *at < world.now_ms).collect();
            world.watching =
                came.into_iter().map(|(n, at)| viewer(world, n, at, at % u64::from(gop_ms) + n * 7 % 60)).collect();
        });
        nothing(&told, &format!("GOPs of {gop_ms} ms"));
    }
}

#[test]
fn players_that_pace_themselves_keep_up() {
    let encoder = Encoder::default();
    let mut world = World::new(&encoder);
    let mut random = Random(77);
    let told = world.run(&encoder.frames(60), 60_000, |world| {
        // What they do not want yet waits in the server's log, now more and now less.
        let waits = [1_000, 2_500, 3_500, 8_000].map(|ms| ms + random.below(80));
        world.watching = (1..).zip(waits).map(|(n, waits_ms)| viewer(world, n, 10_000, waits_ms)).collect();
        if world.now_ms < 10_000 {
            world.watching.clear();
        }
    });
    nothing(&told, "pacing players");
}

#[test]
fn few_pictures_a_second_are_no_fault() {
    for fps in [1, 5, 10, 15, 20, 23] {
        for audio in [true, false] {
            let encoder = Encoder { fps, audio, announces_audio: audio, ..Encoder::default() };
            let told = told_of(&encoder.frames(60), &mut World::new(&encoder), 60);
            nothing(&told, &format!("{fps} pictures a second, audio: {audio}"));
        }
    }
}

#[test]
fn a_rate_that_varies_is_no_fault() {
    let encoder = Encoder { kbit_s: 6_000, ..Encoder::default() };
    let mut frames = encoder.frames(60);
    let mut random = Random(4_711);
    // Slides and films: of each stretch of some seconds the pictures are of another size, and every third or so is left out.
    let (mut until_ms, mut bytes, mut leaves_out) = (0, 0, false);
    frames.retain_mut(|arrival| {
        if arrival.at_ms >= until_ms {
            until_ms = arrival.at_ms + 500 + random.below(6_000);
            (bytes, leaves_out) = (50 + random.below(25_000) as usize, random.below(2) == 0);
        }
        if arrival.frame.track == Track::Video {
            arrival.frame.body = arrival.frame.body.slice(..bytes.min(arrival.frame.body.len()));
        }
        arrival.frame.keyframe || !leaves_out || random.below(3) > 0
    });
    nothing(&told_of(&frames, &mut World::new(&encoder), 60), "a rate that varies");
}

#[test]
fn audio_alone_is_no_fault() {
    let encoder = Encoder::default();
    let mut frames = encoder.frames(60);
    frames.retain(|arrival| arrival.frame.track == Track::Audio);
    nothing(&told_of(&frames, &mut World::new(&encoder), 60), "audio alone");
}

#[test]
fn a_clean_stream_has_no_condition() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for n in 0..120 {
        let audio = random.below(2) == 0;
        let encoder = Encoder {
            fps: [24, 25, 30, 48, 50, 60][random.below(6) as usize],
            gop_ms: 1_000 + random.below(3_001) as u32,
            audio,
            announces_audio: audio,
            b_frames: random.below(4) as u32,
            kbit_s: 200 + random.below(6_000) as u32,
        };
        let mut world = World::new(&encoder);
        // With B-frames nobody plays with low latency, who would wait for them.
        world.viewers = if encoder.b_frames > 0 { vec![("hls", 20)] } else { vec![("http-flv", 8), ("hls", 20)] };
        let mut frames = encoder.frames(60);
        let jitter_ms = 1 + random.below(80);
        let mut last_ms = 0;
        for arrival in &mut frames {
            // In order, as TCP has it.
            last_ms = last_ms.max(arrival.at_ms + random.below(jitter_ms));
            // A hiccup now and then, which the next packets make up for.
            if random.below(2_000) == 0 {
                last_ms += random.below(400);
            }
            arrival.at_ms = last_ms;
        }
        let has_viewers = random.below(2) == 0;
        let told = world.run(&frames, 60_000, |world| {
            if has_viewers {
                keep_up(world, &mut random);
            }
        });
        let found = stretches(&told);
        assert!(found.is_empty(), "{n}: {encoder:?}, jitter {jitter_ms} ms: {found:?}");
    }
}

#[test]
fn a_screen_that_stands_still_is_not_a_poor_uplink() {
    let encoder = Encoder::default();
    let mut world = World::new(&encoder);
    let mut frames = encoder.frames(30);
    // Nothing is sent for two times two seconds, and the stamps say so.
    frames.retain(|arrival| !(8_000..10_000).contains(&arrival.at_ms) && !(20_000..22_000).contains(&arrival.at_ms));
    nothing(&world.run(&frames, 30_000, |_| {}), "a screen that stands still");
}
