//! Clean streams have no condition, whatever their rate, GOP, tracks and order of frames, over a network that jitters.
use millstream_control_protocol::live::Watching;

use crate::kit::{Encoder, Random, World, stretches};

/// Viewers who have what there is, but for what is under way.
fn keep_up(world: &mut World, random: &mut Random) {
    let received = world.received_bytes();
    let viewer = |session: u64, behind_ms: u64| Watching {
        session,
        played_ms: world.now_ms,
        sent_bytes: received.saturating_sub(behind_ms * 300),
        skips: 0,
        behind_ms,
    };
    world.watching = (1..=8).map(|session| viewer(session, random.below(200))).collect();
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
    let told = world.run(&frames, 30_000, |_| {});
    assert!(stretches(&told).is_empty(), "{:?}", stretches(&told));
}
