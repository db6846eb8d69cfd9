//! The encoder as the worker uses it.
use millstream_av1::{Encoder, Settings};

fn settings() -> Settings {
    Settings { size: (64, 48), kbit_s: 100, fps: 15.0, level: 0, colour: [1; 3], full_range: false }
}

#[test]
fn a_picture_comes_four_pictures_later_and_is_a_key_frame_where_that_was_asked_for() {
    let mut encoder = Encoder::new(settings()).unwrap();
    let mut keys = Vec::new();
    for n in 0..30_usize {
        let samples = [vec![(n * 7) as u8; 64 * 48], vec![128; 32 * 24], vec![128; 32 * 24]];
        let planes = [(&samples[0][..], 64), (&samples[1][..], 32), (&samples[2][..], 32)];
        let made = encoder.encode(planes, [0, 7, 8, 25].contains(&n)).unwrap();
        assert_eq!(made.len(), usize::from(n >= 4), "{n}");
        keys.extend(made.iter().map(|unit| unit.key));
    }
    keys.extend(encoder.finish().iter().map(|unit| unit.key));
    let at: Vec<usize> = keys.iter().enumerate().filter(|(_, key)| **key).map(|(n, _)| n).collect();
    assert_eq!((keys.len(), at), (30, vec![0, 7, 8, 25]));
}

#[test]
fn what_the_encoder_does_not_take_is_an_error() {
    let small = Encoder::new(Settings { size: (8, 8), ..settings() }).unwrap_err();
    assert_eq!(small.to_string(), "rav1e: invalid width 8 (expected >= 16, <= 65535)");
}
