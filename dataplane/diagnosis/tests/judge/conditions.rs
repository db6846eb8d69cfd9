//! Each condition that is seen in samples: told soon after its cause, over soon after its end, and nothing beside it.
use millstream_control_protocol::live::Watching;
use millstream_proto::media::Track;

use crate::fixture::{Encoder, World, only, stretches};

#[test]
fn a_long_gop() {
    let long = Encoder { gop_ms: 20_000, ..Encoder::default() };
    let mut world = World::new(&long);
    let mut frames = long.frames(40);
    // From the second keyframe on it is set right.
    let right = Encoder::default().frames(40);
    frames.retain(|arrival| arrival.at_ms < 20_000);
    frames.extend(right.into_iter().filter(|arrival| arrival.at_ms >= 20_000));
    let told = world.run(&frames, 40_000, |_| {});
    only(&told, "gop_too_long", 6..=6, 22..=26);
    let at_18 = told[17].get("gop_too_long").unwrap();
    assert!((17.0..=18.0).contains(&at_18.figures["gop_s"]), "{at_18:?}");
}

#[test]
fn gops_that_stay_long_are_told_without_a_break() {
    let long = Encoder { gop_ms: 8_000, ..Encoder::default() };
    let told = World::new(&long).run(&long.frames(60), 60_000, |_| {});
    only(&told, "gop_too_long", 6..=6, 60..=60);
}

#[test]
fn stamps_that_jump() {
    for by_ms in [3_600_000_i64, 7_000, -9_000] {
        let encoder = Encoder::default();
        let mut world = World::new(&encoder);
        let mut frames = encoder.frames(60);
        for arrival in frames.iter_mut().filter(|arrival| arrival.at_ms >= 12_500) {
            arrival.frame.dts_ms += by_ms;
        }
        let told = world.run(&frames, 60_000, |_| {});
        only(&told, "timestamps_jump", 13..=14, 42..=45);
    }
}

#[test]
fn an_uplink_that_starves() {
    for percent in [50_u64, 80] {
        let encoder = Encoder::default();
        let mut world = World::new(&encoder);
        let mut frames = encoder.frames(60);
        // From the tenth to the thirtieth second so much of it passes; what waited comes at once after that.
        for arrival in frames.iter_mut().filter(|arrival| arrival.at_ms >= 10_000) {
            let late_ms = 10_000 + (arrival.at_ms - 10_000) * 100 / percent;
            arrival.at_ms = if late_ms < 30_000 { late_ms } else { arrival.at_ms.max(30_000) };
        }
        frames.sort_by_key(|arrival| arrival.at_ms);
        let told = world.run(&frames, 60_000, |_| {});
        only(&told, "uplink_starves", 12..=15, 30..=37);
        let behind_s = told[19].get("uplink_starves").unwrap().figures["behind_s"];
        assert!(behind_s > 1.5, "{behind_s}");
    }
}

#[test]
fn an_uplink_that_starves_where_looks_are_far_apart() {
    let encoder = Encoder::default();
    let mut world = World::new(&encoder);
    let mut frames = encoder.frames(100);
    for arrival in frames.iter_mut().filter(|arrival| arrival.at_ms >= 20_000) {
        arrival.at_ms = 20_000 + (arrival.at_ms - 20_000) * 10 / 8;
    }
    world.look_every_ms = 5_000;
    let told = world.run(&frames, 100_000, |_| {});
    let all = stretches(&told);
    assert!(told.iter().any(|look| look.get("uplink_starves").is_some()) && all.len() == 1, "{all:?}");
    assert!(told.iter().filter(|look| look.at_ms < 20_000).all(|look| look.conditions.is_empty()), "{all:?}");
}

#[test]
fn an_encoder_that_drops_frames_to_keep_up_is_told_until_it_has_caught_up() {
    let encoder = Encoder::default();
    let mut world = World::new(&encoder);
    let mut frames = encoder.frames(60);
    for arrival in frames.iter_mut().filter(|arrival| arrival.at_ms >= 10_000) {
        // Two seconds behind after four, and no further then; what waits at the end comes at once.
        let late_ms = if arrival.at_ms < 40_000 { (arrival.at_ms - 10_000).min(4_000) / 2 } else { 0 };
        arrival.at_ms = (arrival.at_ms + late_ms).max(if arrival.at_ms < 40_000 { 0 } else { 42_000 });
    }
    let told = world.run(&frames, 60_000, |_| {});
    only(&told, "uplink_starves", 12..=14, 45..=49);
    let behind_s = told[35].get("uplink_starves").unwrap().figures["behind_s"];
    assert!((1.8..=2.2).contains(&behind_s), "{behind_s}");
}

#[test]
fn b_frames_while_somebody_plays_with_low_latency() {
    let encoder = Encoder { b_frames: 2, ..Encoder::default() };
    let mut world = World::new(&encoder);
    world.viewers = vec![("hls", 10)];
    let told = world.run(&encoder.frames(50), 50_000, |world| match world.now_ms {
        10_000 => world.viewers.push(("ws-flv", 1)),
        20_000 => world.viewers.truncate(1),
        _ => {}
    });
    only(&told, "b_frames", 11..=12, 28..=31);
    let figures = &told[15].get("b_frames").unwrap().figures;
    assert!(
        (60.0..=70.0).contains(&figures["b_frames_percent"]) && (figures["viewers"] - 1.0).abs() < 0.1,
        "{figures:?}"
    );
}

#[test]
fn audio_that_is_announced_and_does_not_come() {
    let encoder = Encoder { audio: false, ..Encoder::default() };
    let mut world = World::new(&encoder);
    let told = world.run(&encoder.frames(20), 20_000, |_| {});
    only(&told, "audio", 3..=4, 20..=20);
    assert_eq!(told[10].get("audio").unwrap().form, "missing");
}

#[test]
fn audio_that_the_server_leaves_out_is_not_missing() {
    let encoder = Encoder { audio: false, ..Encoder::default() };
    let mut world = World::new(&encoder);
    world.dropped = vec!["audio"];
    assert!(stretches(&world.run(&encoder.frames(20), 20_000, |_| {})).is_empty());
    world.dropped = vec!["video"];
    assert!(!stretches(&world.run(&encoder.frames(40), 40_000, |_| {})).is_empty());
}

#[test]
fn audio_of_which_the_configuration_came_alone_has_not_stopped() {
    let encoder = Encoder { audio: false, ..Encoder::default() };
    let mut world = World::new(&encoder);
    world.configure_audio();
    let told = world.run(&encoder.frames(20), 20_000, |_| {});
    only(&told, "audio", 3..=4, 20..=20);
    assert_eq!(told[10].get("audio").unwrap().form, "missing");
}

#[test]
fn audio_is_missed_where_there_are_few_pictures() {
    let encoder = Encoder { audio: false, ..Encoder::default() };
    let mut frames = encoder.frames(40);
    let mut last_ms = None;
    frames.retain(|arrival| {
        last_ms.is_none_or(|last| arrival.at_ms >= last + 2_500) && {
            last_ms = Some(arrival.at_ms);
            true
        }
    });
    let told = World::new(&encoder).run(&frames, 40_000, |_| {});
    let all = stretches(&told);
    assert!(matches!(all.get("audio").map(Vec::as_slice), Some([(3..=7, 40)])), "{all:?}");
}

#[test]
fn audio_that_stops_and_goes_on() {
    let encoder = Encoder::default();
    let mut world = World::new(&encoder);
    let mut frames = encoder.frames(40);
    frames.retain(|arrival| arrival.frame.track == Track::Video || !(10_000..20_000).contains(&arrival.at_ms));
    let told = world.run(&frames, 40_000, |_| {});
    only(&told, "audio", 13..=14, 20..=23);
    assert_eq!(told[15].get("audio").unwrap().form, "stopped");
}

#[test]
fn audio_that_is_ahead_or_behind() {
    for (by_ms, form) in [(1_200, "ahead"), (-1_200, "behind")] {
        let encoder = Encoder::default();
        let mut world = World::new(&encoder);
        let mut frames = encoder.frames(30);
        for arrival in frames.iter_mut().filter(|arrival| arrival.frame.track == Track::Audio) {
            arrival.frame.dts_ms += by_ms;
        }
        let told = world.run(&frames, 30_000, |_| {});
        only(&told, "audio", 3..=5, 30..=30);
        let audio = told[10].get("audio").unwrap();
        assert!(audio.form == form && (1.1..=1.3).contains(&audio.figures["apart_s"]), "{audio:?}");
    }
}

/// Viewers who receive this share of the stream from the tenth to the thirtieth second, and are behind by what they lack.
fn slow_viewers(shares: &[f64]) -> Vec<crate::fixture::Told> {
    let encoder = Encoder::default();
    let mut world = World::new(&encoder);
    world.run(&encoder.frames(60), 60_000, |world| {
        let received = world.received_bytes();
        let slow_s = world.now_ms.clamp(10_000, 30_000) as f64 / 1_000.0 - 10.0;
        let is_slow = (10_000..30_000).contains(&world.now_ms);
        let viewer = |(n, share): (usize, &f64)| {
            let behind_s = if is_slow { slow_s * (1.0 - share) } else { 0.0 };
            let behind = (behind_s * received as f64 / world.now_ms as f64 * 1_000.0) as u64;
            Watching {
                session: n as u64,
                played_ms: world.now_ms,
                sent_bytes: received - behind,
                skips: 0,
                behind_ms: (behind_s * 1_000.0) as u64,
            }
        };
        world.watching = shares.iter().enumerate().map(viewer).collect();
    })
}

#[test]
fn a_bitrate_that_most_viewers_cannot_receive() {
    let told = slow_viewers(&[0.6, 0.7, 0.7, 1.0, 1.0]);
    let all = stretches(&told);
    let (short, lag) = (&all["bitrate_above_viewers"], &all["viewers_lag"]);
    assert!(matches!(short.as_slice(), [(12..=15, 38..=43)]), "{all:?}");
    assert!(matches!(lag.as_slice(), [(17..=20, 38..=43)]), "they are behind by three seconds after nine: {all:?}");
    assert_eq!(all.len(), 2);
    assert_eq!(told[17].get("bitrate_above_viewers").unwrap().figures["looked_at"] as u64, 5);
    let figures = &told[17].get("bitrate_above_viewers").unwrap().figures;
    let share = figures["median_kbit_s"] / figures["bitrate_kbit_s"];
    assert!((0.65..=0.75).contains(&share) && (2_900.0..3_200.0).contains(&figures["bitrate_kbit_s"]), "{figures:?}");
}

#[test]
fn few_viewers_that_lag_are_not_the_bitrates_fault() {
    let told = slow_viewers(&[0.3, 1.0, 1.0, 1.0, 1.0]);
    only(&told, "viewers_lag", 14..=17, 38..=43);
    let figures = &told[20].get("viewers_lag").unwrap().figures;
    assert_eq!((figures["lagging"] as u64, figures["looked_at"] as u64), (1, 5));
}

#[test]
fn one_of_many_that_lags_is_not_told() {
    let mut shares = vec![1.0; 31];
    shares.push(0.2);
    assert!(stretches(&slow_viewers(&shares)).is_empty());
}

#[test]
fn a_viewer_that_skips_lags() {
    let encoder = Encoder::default();
    let mut world = World::new(&encoder);
    let told = world.run(&encoder.frames(40), 40_000, |world| {
        let skips = u64::from(world.now_ms >= 10_000);
        let (played_ms, sent_bytes) = (world.now_ms, world.received_bytes());
        world.watching = vec![Watching { session: 1, played_ms, sent_bytes, skips, behind_ms: 0 }];
    });
    only(&told, "viewers_lag", 12..=12, 28..=31);
    let lag = told[15].get("viewers_lag").unwrap();
    assert_eq!((lag.form.as_str(), lag.figures["skipped"] as u64), ("skips", 1));
    assert!(!lag.figures.contains_key("behind_s"), "it is not behind now: {lag:?}");
}

#[test]
fn one_viewer_alone_is_no_half_of_them() {
    only(&slow_viewers(&[0.5]), "viewers_lag", 15..=18, 38..=43);
}

#[test]
fn a_worker_that_sheds() {
    let encoder = Encoder::default();
    let mut world = World::new(&encoder);
    let told = world.run(&encoder.frames(40), 40_000, |world| {
        let is_slow = (5_000..15_000).contains(&world.now_ms);
        world.shed = if is_slow { vec!["720p".to_owned(), "480p".to_owned()] } else { Vec::new() };
    });
    only(&told, "worker_sheds", 5..=5, 28..=31);
    assert_eq!(told[8].get("worker_sheds").unwrap().about, "720p, 480p");
}
