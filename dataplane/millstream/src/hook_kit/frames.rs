//! Frames for motion hooks: made here, or of a file.
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use millstream_hooks::wit::motion::{Event, Source, Wanted};
use millstream_hooks::{Failure as CallFailure, Hook};

use crate::failure::Failure;

/// Frames that are made here.
const MADE_FRAMES: u64 = 150;
/// Those of them in which a square moves.
const MOVING: std::ops::Range<u64> = 50..75;
const WALL: u8 = 100;
const SQUARE: u8 = 200;

/// What a hook has seen.
pub(crate) struct Watched {
    pub(crate) wanted: Wanted,
    pub(crate) events: Vec<(u64, Event)>,
    /// Of each frame, the shortest first.
    pub(crate) cpu: Vec<Duration>,
    /// What ended it before the last frame.
    pub(crate) failure: Option<CallFailure>,
}

impl Watched {
    /// CPU time of this share of the frames, in percent.
    pub(crate) fn at(&self, percent: usize) -> Duration {
        let last = self.cpu.len().saturating_sub(1);
        self.cpu.get(last * percent / 100).copied().unwrap_or_default()
    }
}

/// Where frames come from.
pub(crate) enum Frames {
    /// Planes of the wanted size, one after the other.
    File(Vec<u8>),
    Square,
    Noise,
    Still,
}

impl Frames {
    pub(crate) fn of(text: &str) -> Result<Self, Failure> {
        Ok(match text {
            "square" => Self::Square,
            "noise" => Self::Noise,
            "still" => Self::Still,
            file => Self::File(
                fs::read(file).with_context(|| format!("cannot read {file}")).map_err(Failure::Configuration)?,
            ),
        })
    }

    /// How many there are in this size.
    pub(crate) fn count(&self, bytes: usize) -> Result<u64, Failure> {
        match self {
            Self::File(data) if data.is_empty() || !data.len().is_multiple_of(bytes) => {
                Err(Failure::Configuration(anyhow!(
                    "the file has {} bytes, which is no whole number of frames of {bytes}; \
                 ffmpeg makes one: ffmpeg -i IN -vf scale=WIDTH:HEIGHT,fps=FPS,format=gray -f rawvideo FILE",
                    data.len()
                )))
            }
            Self::File(data) => Ok((data.len() / bytes) as u64),
            _ => Ok(MADE_FRAMES),
        }
    }

    /// The frame of that number.
    pub(crate) fn frame(&self, n: u64, (width, height): (u32, u32)) -> Vec<u8> {
        let bytes = width as usize * height as usize;
        let mut luma = match self {
            Self::File(data) => return data[n as usize * bytes..][..bytes].to_vec(),
            Self::Still => return vec![WALL; bytes],
            Self::Square | Self::Noise => noisy(n, bytes),
        };
        if matches!(self, Self::Square) && MOVING.contains(&n) {
            // A fifth of the picture's height, from the left to the right.
            let size = height as usize / 5;
            let room = (width as usize).saturating_sub(size) as u64;
            let left = (room * (n - MOVING.start) / (MOVING.end - MOVING.start)) as usize;
            for row in luma.chunks_exact_mut(width as usize).skip(2 * size).take(size) {
                row[left..left + size].fill(SQUARE);
            }
        }
        luma
    }
}

/// A wall with noise of +-4, the same in each run.
fn noisy(n: u64, bytes: usize) -> Vec<u8> {
    let mut random = (n as u32).wrapping_mul(2_654_435_761) | 1;
    let mut pixel = || {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        WALL - 4 + (random % 9) as u8
    };
    (0..bytes).map(|_| pixel()).collect()
}

/// Starts an instance and gives it all frames at the rate that it wants.
pub(crate) fn watch(hook: &Hook, source: &Source, frames: &str) -> Result<Watched, Failure> {
    let frames = Frames::of(frames)?;
    let failed = |failure: CallFailure| Failure::Running(anyhow!("it cannot be started: {failure}"));
    let mut motion = hook.motion().result.map_err(failed)?;
    let wanted = motion.start(source).result.map_err(failed)?;
    let wanted = wanted.map_err(|why| Failure::Running(anyhow!("it does not want this stream: {why}")))?;
    let size = (wanted.width, wanted.height);
    let count = frames.count(size.0 as usize * size.1 as usize)?;
    let mut watched = Watched { wanted, events: Vec::new(), cpu: Vec::new(), failure: None };
    for n in 0..count {
        let pts_ms = (n as f64 * 1000.0 / f64::from(wanted.fps)) as u64;
        let called = motion.on_frame(&frames.frame(n, size), size.0, size.1, pts_ms);
        watched.cpu.push(called.cpu);
        match called.result {
            Ok(event) => watched.events.extend(event.map(|event| (pts_ms, event))),
            Err(failure) => {
                watched.failure = Some(failure);
                break;
            }
        }
    }
    watched.cpu.sort_unstable();
    Ok(watched)
}
