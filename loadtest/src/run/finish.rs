//! The end of a run: what was the limit, did it go well, and the report.
use super::watch::BUSY;
use super::{Mark, Run};
use crate::net::Cpu;
use crate::probe::VOID_P99_MS;
use crate::report::{Counters, Delays, Hls, Limit, Report, Steady, Summary, Verdict, Viewers};
use crate::server::Metrics;
use crate::tally::Times;

/// Names of the product's counters.
const SENT: &str = "millstream_sent_bytes_total";
const RECEIVED: &str = "millstream_received_bytes_total";

/// Viewers per publisher that it takes to tell what one costs in memory.
const VIEWERS_FOR_MEMORY: usize = 200;
/// Gigabytes that it takes to tell what one costs in processor time: `/proc` counts in hundredths of a second.
const GIGABYTES_FOR_CPU: f64 = 0.05;

impl Run<'_> {
    /// What has been used so far.
    pub(super) fn mark(&self) -> Mark {
        Mark { at: self.now, bytes: self.tally.bytes_received, cpu: Cpu::now(), server: self.server.usage() }
    }

    /// Between the moment at which all viewers were there and `end`.
    fn steady(&self, end: &Mark) -> Option<Steady> {
        let start = self.full.or(self.before)?;
        let seconds = end.at.since(start.at).as_secs_f64();
        if seconds < 0.1 {
            return None;
        }
        let bytes = end.bytes - start.bytes;
        let gigabytes = bytes as f64 / 1e9;
        let own = end.cpu.process.saturating_sub(start.cpu.process).as_secs_f64();
        let loop_cpu = end.cpu.thread.saturating_sub(start.cpu.thread).as_secs_f64();
        let server = end.server.zip(start.server);
        let server_cpu = server.map(|(end, start)| end.cpu.saturating_sub(start.cpu).as_secs_f64());
        let busiest = server.map(|(end, start)| end.busiest_thread.saturating_sub(start.busiest_thread).as_secs_f64());
        let waited = server.map(|(end, start)| end.busiest_waited.saturating_sub(start.busiest_waited).as_secs_f64());
        let idle = self.before.and_then(|before| before.server);
        let grown = start.server.zip(idle).map(|(full, idle)| full.rss_bytes.saturating_sub(idle.rss_bytes) as f64);
        let delivered = gigabytes > GIGABYTES_FOR_CPU;
        Some(Steady {
            seconds,
            bytes,
            mbit_s: bytes as f64 * 8e-6 / seconds,
            harness_core: loop_cpu / seconds,
            harness_waited: end.cpu.waited.saturating_sub(start.cpu.waited).as_secs_f64() / seconds,
            server_core: server_cpu.map(|cpu| cpu / seconds),
            server_busiest: busiest.map(|cpu| cpu / seconds),
            server_waited: waited.map(|waited| waited / seconds),
            server_cpu_s_per_gb: server_cpu.filter(|_| delivered).map(|cpu| cpu / gigabytes),
            both_cpu_s_per_gb: server_cpu.filter(|_| delivered).map(|cpu| (cpu + own) / gigabytes),
            // Streams grow, too, and freed memory is used again: few viewers say nothing, and no growth says nothing either.
            server_bytes_per_viewer: grown
                .filter(|grown| {
                    let enough = VIEWERS_FOR_MEMORY * self.plan.publish.count.max(1);
                    self.full.is_some() && self.most >= enough && *grown > 0.0
                })
                .map(|grown| grown / self.most as f64),
        })
    }

    fn counters(&self, after: Option<&Metrics>) -> Option<Counters> {
        let (before, after) = (self.metrics_before.as_ref()?, after?);
        let grown = |name| Some((after.get(name)? - before.get(name).copied().unwrap_or(0.0)).max(0.0) as u64);
        let tally = &self.tally;
        Some(Counters {
            server_sent: grown(SENT)?,
            viewers_received: tally.bytes_received - tally.received_prelude_bytes,
            server_received: grown(RECEIVED)?,
            publishers_sent: tally.published_bytes - tally.published_prelude_bytes,
            // Of records nobody counts what is in them: the server does.
            comparable: tally.left + tally.lost + tally.slow_closed == 0
                && self.plan.view.slow == 0
                && self.options.http.as_ref().is_none_or(|http| http.tls.is_none()),
        })
    }

    fn troubles(&mut self) {
        let frames = self.tally.frames;
        for (count, what) in [
            (frames.missing, "sample: a frame did not come"),
            (frames.torn, "sample: pictures go on after a gap without a keyframe"),
            (frames.damaged, "sample: a frame differs from what was sent"),
            (frames.unknown, "sample: a frame that nobody sent"),
            (frames.backwards, "sample: a frame came twice or out of order"),
            (frames.overdue, "sample: a frame had not come when the run ended, long after it was planned"),
            (self.tally.stalls, "viewer: nothing came for longer than a stall"),
        ] {
            self.tally.troubles.add_many(what, count);
        }
        let sampled = self.watched.iter().any(|watched| *watched) && self.tally.joined > 0;
        if sampled && frames.same == 0 && self.plan.publish.count > 0 {
            self.tally.troubles.add("sample: no frame was like any that was sent");
        }
    }

    pub(super) fn report(mut self, ended: super::stage::Ended, probe: &Times) -> Report {
        self.troubles();
        let steady = self.steady(&ended.mark);
        let counters = self.counters(ended.metrics.as_ref());
        let descriptors = self.server.descriptors_max().is_some_and(|limit| (self.most as u64) + 32 >= limit);
        let limit = match &steady {
            _ if descriptors => Limit::Descriptors,
            Some(steady) if steady.harness_core > BUSY => Limit::Harness,
            Some(steady) if steady.server_busiest.is_some_and(|share| share > BUSY) => Limit::Server,
            Some(steady)
                if steady.harness_core + steady.harness_waited > BUSY
                    || steady
                        .server_busiest
                        .zip(steady.server_waited)
                        .is_some_and(|(ran, waited)| ran + waited > BUSY) =>
            {
                Limit::Machine
            }
            _ => Limit::None,
        };
        if let Some(why) = &ended.early {
            self.tally.troubles.add(format!("run: {why}"));
        }
        let void = probe.quantile_ms(0.99).is_some_and(|p99| p99 > VOID_P99_MS);
        let verdict = match (self.tally.troubles.counts().is_empty(), void) {
            (false, _) => Verdict::Failed,
            (true, true) => Verdict::Void,
            (true, false) => Verdict::Passed,
        };
        if void && verdict == Verdict::Failed {
            self.notes.push(format!("the scheduling probe's 99% passed {VOID_P99_MS} ms: the times are void, too"));
        }
        let tally = &self.tally;
        let mut delay = tally.video_delay.histogram().clone();
        // Both have the same bounds, so this does not fail.
        let _ = delay.add(tally.audio_delay.histogram());
        Report {
            verdict,
            limit,
            ended_early: ended.early,
            interrupted: ended.interrupted,
            seconds: ended.seconds,
            plan: self.plan.clone(),
            server_pid: self.server.pid,
            publishers_on_air: ended.publishers_on_air,
            published_frames: tally.published_frames,
            published_bytes: tally.published_bytes,
            viewers: Viewers {
                visits: tally.visits,
                joined: tally.joined,
                left: tally.left,
                lost: tally.lost,
                slow_closed: tally.slow_closed,
                most: self.most,
                at_end: ended.viewers,
                stalls: tally.stalls,
                stalled_s: tally.stalled.as_secs_f64(),
            },
            bytes_received: tally.bytes_received,
            hls: Hls {
                requests: tally.hls.requests,
                playlists: tally.hls.playlists,
                parts: tally.hls.parts,
                segments: tally.hls.segments,
                rebuffers: tally.hls.rebuffers,
                rebuffered_s: tally.hls.rebuffered.as_secs_f64(),
            },
            ms: Delays {
                video: Summary::of(&tally.video_delay),
                audio: Summary::of(&tally.audio_delay),
                steady: Summary::of(&tally.steady_delay),
                join: Summary::of(&tally.join),
                answer: Summary::of(&tally.answer),
                part: Summary::of(&tally.hls.part),
                playhead: Summary::of(&tally.hls.playhead),
                connect_late: Summary::of(&tally.connect_late),
                publish_late: Summary::of(&tally.publish_late),
                probe: Summary::of(probe),
            },
            frames: tally.frames,
            steady,
            counters,
            troubles: tally.troubles.counts().clone(),
            notes: self.notes,
            delay,
        }
    }
}
