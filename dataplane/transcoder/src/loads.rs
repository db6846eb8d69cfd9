//! How the jobs of a worker do, as it says every few seconds: sans-IO. Before it: [`super::process`]; after it: what the node says of its worker.
use std::collections::HashMap;
use std::time::{Duration, Instant};

use millstream_proto::id::Id;

/// A job that has not been heard of for so long is over.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// No job decodes more pictures a second: a worker is not believed.
const FPS_MAX: f32 = 10_000.0;

/// The last word of each stream's job: pictures that it decodes a second, and how far it is behind, milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Loads(HashMap<Id, (f32, u32, Instant)>);

impl Loads {
    /// Takes what is said of a stream.
    pub(crate) fn heard(&mut self, stream: &Id, (decoded_fps, behind_ms): (f32, u32), now: Instant) {
        self.0.retain(|_, (_, _, at)| now.duration_since(*at) < HEARD_WITHIN);
        let decoded_fps = if decoded_fps.is_finite() { decoded_fps.clamp(0.0, FPS_MAX) } else { 0.0 };
        self.0.insert(stream.clone(), (decoded_fps, behind_ms, now));
    }

    /// Pictures that are decoded a second in all, and how far the slowest one is behind, milliseconds.
    pub(crate) fn sum(&self, now: Instant) -> (u64, u64) {
        let fresh = || self.0.values().filter(|(_, _, at)| now.duration_since(*at) < HEARD_WITHIN);
        let decoded_fps: f32 = fresh().map(|(fps, ..)| *fps).sum();
        (decoded_fps.round() as u64, fresh().map(|(_, behind_ms, _)| u64::from(*behind_ms)).max().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_added_up_while_they_are_heard_of() {
        let (mut loads, begin) = (Loads::default(), Instant::now());
        let id = |name| Id::new(name).unwrap();
        loads.heard(&id("a"), (24.7, 90), begin);
        loads.heard(&id("b"), (30.0, 20), begin + Duration::from_secs(4));
        loads.heard(&id("b"), (29.0, 10), begin + Duration::from_secs(7));
        assert_eq!(loads.sum(begin + Duration::from_secs(8)), (54, 90));
        assert_eq!(loads.sum(begin + Duration::from_secs(12)), (29, 10));
        assert_eq!(loads.sum(begin + Duration::from_mins(1)), (0, 0));
        loads.heard(&id("d"), (f32::INFINITY, 5), begin + Duration::from_secs(30));
        assert_eq!(loads.sum(begin + Duration::from_secs(31)), (0, 5));
        loads.heard(&id("c"), (f32::NAN, 5), begin + Duration::from_mins(1));
        assert_eq!((loads.sum(begin + Duration::from_mins(1)), loads.0.len()), ((0, 5), 1));
    }
}
