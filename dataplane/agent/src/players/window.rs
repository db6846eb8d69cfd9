//! What one stream's players by one protocol have said within the last minutes, as bounded histograms: a minute at a time, so that the oldest is
//! forgotten. Sans-IO. Before it: [`super::session`]; after it: whoever asks how the stream plays.
use std::collections::VecDeque;

use millstream_control_protocol::quality::{
    BITRATE_UP_TO_KBIT_S, BUCKETS, BUFFER_UP_TO_MS, LATENCY_UP_TO_MS, MINUTES, Quality, START_UP_TO_MS, Spread,
};

const MINUTE_MS: u64 = 60_000;

/// What a session has to tell at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Told {
    pub(super) start_ms: Option<u32>,
    pub(super) latency_ms: Option<u32>,
    pub(super) bitrate_kbit_s: Option<u32>,
    pub(super) buffer_ms: Option<u32>,
    pub(super) stalls: u32,
    pub(super) stalled_ms: u32,
    pub(super) played_ms: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    counts: [u64; BUCKETS],
    sum: u64,
}

impl Counts {
    fn add(&mut self, value: Option<u32>, bounds: &[u32; BUCKETS - 1]) {
        let Some(value) = value else { return };
        let at = bounds.iter().position(|bound| value <= *bound).unwrap_or(BUCKETS - 1);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum += u64::from(value);
    }

    fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }

    fn spread(&self, bounds: &[u32; BUCKETS - 1]) -> Spread {
        Spread { up_to: bounds.map(u64::from).to_vec(), counts: self.counts.to_vec(), sum: self.sum }
    }
}

#[derive(Clone, Debug, Default)]
struct Minute {
    /// Which, counted from the clock's beginning.
    number: u64,
    start: Counts,
    latency: Counts,
    bitrate: Counts,
    buffer: Counts,
    stalls: u64,
    stalled_ms: u64,
    played_ms: u64,
}

/// The last minutes.
#[derive(Clone, Debug, Default)]
pub(super) struct Window(VecDeque<Minute>);

impl Window {
    pub(super) fn add(&mut self, told: &Told, now_ms: u64) {
        self.forget(now_ms);
        let number = now_ms / MINUTE_MS;
        if self.0.back().is_none_or(|minute| minute.number < number) {
            self.0.push_back(Minute { number, ..Minute::default() });
        }
        let Some(minute) = self.0.back_mut() else { return };
        minute.start.add(told.start_ms, &START_UP_TO_MS);
        minute.latency.add(told.latency_ms, &LATENCY_UP_TO_MS);
        minute.bitrate.add(told.bitrate_kbit_s, &BITRATE_UP_TO_KBIT_S);
        minute.buffer.add(told.buffer_ms, &BUFFER_UP_TO_MS);
        minute.stalls += u64::from(told.stalls);
        minute.stalled_ms += u64::from(told.stalled_ms);
        minute.played_ms += u64::from(told.played_ms);
    }

    /// Forgets what is too old; true: nothing is left.
    pub(super) fn forget(&mut self, now_ms: u64) -> bool {
        let oldest = (now_ms / MINUTE_MS + 1).saturating_sub(u64::from(MINUTES));
        self.0.retain(|minute| minute.number >= oldest);
        self.0.is_empty()
    }

    /// All of it; how many sessions there are now is not known here.
    pub(super) fn quality(&self, protocol: &str, sessions: u64) -> Quality {
        let mut all = Minute::default();
        for minute in &self.0 {
            all.start.merge(&minute.start);
            all.latency.merge(&minute.latency);
            all.bitrate.merge(&minute.bitrate);
            all.buffer.merge(&minute.buffer);
            all.stalls += minute.stalls;
            all.stalled_ms += minute.stalled_ms;
            all.played_ms += minute.played_ms;
        }
        Quality {
            protocol: protocol.to_owned(),
            sessions,
            start_ms: all.start.spread(&START_UP_TO_MS),
            latency_ms: all.latency.spread(&LATENCY_UP_TO_MS),
            bitrate_kbit_s: all.bitrate.spread(&BITRATE_UP_TO_KBIT_S),
            buffer_ms: all.buffer.spread(&BUFFER_UP_TO_MS),
            stalls: all.stalls,
            stalled_ms: all.stalled_ms,
            played_ms: all.played_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_their_buckets_until_they_are_too_old() {
        let mut window = Window::default();
        let told = |start_ms| Told { start_ms: Some(start_ms), stalls: 1, played_ms: 10, ..Told::default() };
        for (start_ms, at_ms) in [(100, 0), (101, 59_999), (40_000, 60_000)] {
            window.add(&told(start_ms), at_ms);
        }
        let quality = window.quality("hls", 3);
        assert_eq!((quality.start_ms.counts, quality.start_ms.sum), (vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 1], 40_201));
        assert_eq!((quality.stalls, quality.played_ms, quality.sessions), (3, 30, 3));
        assert_eq!(quality.latency_ms.counts.iter().sum::<u64>(), 0);
        // The fifth minute after the first: that one is over.
        assert!(!window.forget(u64::from(MINUTES) * MINUTE_MS));
        assert_eq!(window.quality("hls", 0).stalls, 1);
        assert!(window.forget(u64::from(MINUTES + 1) * MINUTE_MS));
    }
}
