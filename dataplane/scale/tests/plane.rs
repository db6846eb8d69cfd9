//! Planes against what the curve says, sample by sample.
use millstream_scale::{Kernel, Scaler};

fn curve(at: f64) -> f64 {
    match at.abs() {
        at @ ..1.0 => (1.5 * at - 2.5) * at * at + 1.0,
        at @ ..2.0 => ((2.5 - 0.5 * at) * at - 4.0) * at + 2.0,
        _ => 0.0,
    }
}

/// Rows of `from` samples become rows of `to`.
fn rows(samples: &[u8], from: usize, to: usize) -> Vec<u8> {
    let times = from as f64 / to as f64;
    let weights: Vec<(usize, Vec<f64>)> = (0..to)
        .map(|n| {
            let centre = (n as f64 + 0.5) * times;
            let first = (centre - 2.0 * times).floor().max(0.0) as usize;
            let end = ((centre + 2.0 * times).ceil() as usize).min(from);
            (first, (first..end).map(|at| curve((at as f64 + 0.5 - centre) / times)).collect())
        })
        .collect();
    let scaled = samples.chunks_exact(from).flat_map(|row| {
        weights.iter().map(|(first, weights)| {
            let sum: f64 = weights.iter().zip(&row[*first..]).map(|(weight, sample)| weight * f64::from(*sample)).sum();
            (sum / weights.iter().sum::<f64>()).round().clamp(0.0, 255.0) as u8
        })
    });
    scaled.collect()
}

fn turned(samples: &[u8], across: usize) -> Vec<u8> {
    (0..across).flat_map(|x| samples.iter().skip(x).step_by(across).copied()).collect()
}

#[test]
fn planes_are_what_the_curve_says_whatever_is_multiplied_at_once() {
    let (across, down) = (1280, 720);
    let noise = (0..across * down).map(|at| ((at as u32).wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<u8>>();
    for (width, height) in [(854, 480), (640, 360), (426, 240), (1280, 720)] {
        let mut scaled = vec![0; width * height];
        let target = (&mut scaled[..], (width as u32, height as u32));
        let source = (&noise[..], (across as u32, down as u32));
        Scaler::default().plane(source, target, Kernel::CatmullRom).unwrap();
        let low = turned(&rows(&turned(&noise, across), down, height), height);
        let expected = rows(&low, across, width);
        let differ = scaled.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(differ.is_some_and(|most| most <= 2), "{width}x{height}: {differ:?}");
    }
}

#[test]
fn sizes_that_are_not_those_of_the_samples_are_refused() {
    let (mut scaler, source) = (Scaler::default(), [128; 64 * 64]);
    let mut plane = |size, target_size| {
        let mut target = [0; 32 * 32];
        scaler.plane((&source, size), (&mut target, target_size), Kernel::Mean).map(|()| target)
    };
    assert_eq!(plane((64, 64), (32, 32)), Some([128; 32 * 32]));
    assert_eq!(plane((65, 64), (32, 32)), None);
    assert_eq!(plane((64, 64), (33, 32)), None);
}
