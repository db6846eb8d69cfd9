//! What somebody who looks on is told, once a second, and what is noticed while it is computed: that the harness itself is the limit.
use std::time::Duration;

use millstream_proto::time::Time;

use super::Run;
use crate::net::Cpu;

/// A harness that uses more of its core than this is the limit.
pub(super) const BUSY: f64 = 0.9;
/// For so many seconds on end.
const BUSY_SECONDS: u32 = 3;

/// One second of a run.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// Since the first planned viewer; negative before.
    pub seconds: f64,
    /// How long it is to last, seconds.
    pub of: f64,
    /// Publishers on air.
    pub publishers: usize,
    /// Viewers connected.
    pub viewers: usize,
    /// Of those, not yet at a keyframe.
    pub joining: usize,
    /// Viewers lost so far.
    pub lost: u64,
    /// Received in this second.
    pub mbit_s: f64,
    /// Delay in this second, milliseconds: median and 99%.
    pub delay_ms: (Option<f64>, Option<f64>),
    /// Share of a core that the harness used.
    pub harness_core: f64,
    /// Share of a core that the server used.
    pub server_core: Option<f64>,
}

/// Somebody who looks on.
pub trait Watch {
    /// Told once a second.
    fn tick(&mut self, tick: &Tick);
    /// Told what should be known early.
    fn note(&mut self, note: &str);
}

/// What the last tick saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Second {
    at: Time,
    bytes: u64,
    cpu: Cpu,
    server: Option<Duration>,
    busy: u32,
    told: bool,
}

impl Run<'_> {
    /// Tells how the last second went. `start`: when the first viewer was planned.
    pub(super) fn tick(&mut self, start: Option<Time>, watch: &mut dyn Watch) {
        let cpu = Cpu::now();
        let server = self.server.usage().map(|usage| usage.cpu);
        let last = self.second;
        let elapsed = self.now.since(last.at).as_secs_f64().max(1e-3);
        let harness_core = cpu.thread.saturating_sub(last.cpu.thread).as_secs_f64() / elapsed;
        let recent = &self.tally.recent_delay;
        watch.tick(&Tick {
            seconds: start.map_or(-1.0, |start| self.now.since(start).as_secs_f64()),
            of: self.plan.duration.as_secs_f64(),
            publishers: self.publishers.iter().filter(|publisher| publisher.plays()).count(),
            viewers: self.present,
            joining: self.joining,
            lost: self.tally.lost,
            mbit_s: (self.tally.bytes_received - last.bytes) as f64 * 8e-6 / elapsed,
            delay_ms: (recent.quantile_ms(0.5), recent.quantile_ms(0.99)),
            harness_core,
            server_core: server.zip(last.server).map(|(now, then)| now.saturating_sub(then).as_secs_f64() / elapsed),
        });
        self.tally.recent_delay.clear();
        let busy = if harness_core > BUSY { last.busy + 1 } else { 0 };
        let tell = busy == BUSY_SECONDS && !last.told;
        let bytes = self.tally.bytes_received;
        self.second = Second { at: self.now, bytes, cpu, server, busy, told: last.told || tell };
        if tell {
            let share = harness_core * 100.0;
            self.note(
                format!("the harness itself uses {share:.0}% of its core for {BUSY_SECONDS} s now: it is the limit, not the server"),
                watch,
            );
        }
    }
}
