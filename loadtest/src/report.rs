//! What a run found, for people (text), programs (JSON) and plots (`.hgrm`). Before it: [`crate::run()`] fills it.
mod text;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::plan::Plan;
use crate::tally::{Frames, Times};

/// How a run went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing went wrong.
    Passed,
    /// Something went wrong; `troubles` say what.
    Failed,
    /// Nothing went wrong, but the machine was too busy for the times to mean something.
    Void,
}

/// What was the limit, as far as the harness can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Neither side was busy.
    None,
    /// The server's busiest thread used its core up.
    Server,
    /// The harness used its core up: the server may be capable of more.
    Harness,
    /// Others had the core that the server or the harness wanted.
    Machine,
    /// Descriptors of this process or of the server.
    Descriptors,
}

/// Times of one kind, milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// Median.
    pub p50: Option<f64>,
    /// 90%.
    pub p90: Option<f64>,
    /// 99%.
    pub p99: Option<f64>,
    /// 99.9%.
    pub p999: Option<f64>,
    /// Longest.
    pub max: Option<f64>,
}

impl Summary {
    pub(crate) fn of(times: &Times) -> Self {
        let at = |quantile| times.quantile_ms(quantile);
        Self { count: times.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

/// All that is told of times, milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Delays {
    /// Planned send to arrival, frames.
    pub video: Summary,
    /// Planned send to arrival, audio.
    pub audio: Summary,
    /// Both, while all viewers were there.
    pub steady: Summary,
    /// Connect start to the first byte of a keyframe.
    pub join: Summary,
    /// HTTP-FLV request sent to the first byte of a keyframe.
    pub answer: Summary,
    /// Planned to real connect start: the harness's own.
    pub connect_late: Summary,
    /// Planned to real send: the harness's own.
    pub publish_late: Summary,
    /// Planned send of the last frame of a part or segment to the arrival of the whole, of sampled HLS viewers.
    pub part: Summary,
    /// Planned send to the model player's screen, of sampled HLS viewers.
    pub playhead: Summary,
    /// How late a thread that sleeps a millisecond wakes.
    pub probe: Summary,
}

/// What HLS viewers asked for and got.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Hls {
    /// Requests that went out.
    pub requests: u64,
    /// Media playlists that came.
    pub playlists: u64,
    /// Parts that came.
    pub parts: u64,
    /// Whole segments that came.
    pub segments: u64,
    /// How often the model player's picture had to wait.
    pub rebuffers: u64,
    /// Seconds of that.
    pub rebuffered_s: f64,
}

/// Viewers of the whole run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Viewers {
    /// Visits begun.
    pub visits: u64,
    /// Of those, reached a keyframe.
    pub joined: u64,
    /// Went by plan.
    pub left: u64,
    /// Lost.
    pub lost: u64,
    /// Slow ones that the server sent away.
    pub slow_closed: u64,
    /// Most at the same time.
    pub most: usize,
    /// At the end.
    pub at_end: usize,
    /// Silences longer than a stall.
    pub stalls: u64,
    /// Seconds of them all together.
    pub stalled_s: f64,
}

/// Bytes and processors while all viewers were there.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Steady {
    /// Seconds that it lasted.
    pub seconds: f64,
    /// Bytes that viewers received.
    pub bytes: u64,
    /// Mbit/s of them.
    pub mbit_s: f64,
    /// Share of a core that the harness's loop used.
    pub harness_core: f64,
    /// Share of the time in which the harness's loop could have run and had no core.
    pub harness_waited: f64,
    /// Share of a core that the server used.
    pub server_core: Option<f64>,
    /// Share of a core that the server's busiest thread used.
    pub server_busiest: Option<f64>,
    /// Share of the time in which that thread could have run and had no core.
    pub server_waited: Option<f64>,
    /// Processor seconds per GB, server alone.
    pub server_cpu_s_per_gb: Option<f64>,
    /// Processor seconds per GB, server and load together.
    pub both_cpu_s_per_gb: Option<f64>,
    /// Resident bytes of the server per viewer, beyond what it had before the first.
    pub server_bytes_per_viewer: Option<f64>,
}

/// What the server's own counters say, beside ours.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counters {
    /// Bytes sent to viewers, by the server.
    pub server_sent: u64,
    /// Bytes received by viewers, by us, without what RTMP says before a play request is answered.
    pub viewers_received: u64,
    /// Bytes received from publishers, by the server.
    pub server_received: u64,
    /// Bytes sent by publishers, by us, without what RTMP says before a publish request is answered.
    pub publishers_sent: u64,
    /// Whether both ends of each connection were there to the end, so that the two must agree.
    pub comparable: bool,
}

/// A whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How it went.
    pub verdict: Verdict,
    /// What was the limit.
    pub limit: Limit,
    /// Why it ended before its time, if it did.
    pub ended_early: Option<String>,
    /// Somebody pressed Ctrl-C.
    pub interrupted: bool,
    /// Seconds from the first planned viewer on.
    pub seconds: f64,
    /// What was asked for.
    pub plan: Plan,
    /// Process id of the server, where it is on this machine.
    pub server_pid: Option<u32>,
    /// Publishers that were on air.
    pub publishers_on_air: usize,
    /// Frames that they sent.
    pub published_frames: u64,
    /// Bytes that they sent.
    pub published_bytes: u64,
    /// Viewers.
    pub viewers: Viewers,
    /// Bytes that viewers received.
    pub bytes_received: u64,
    /// HLS viewers.
    pub hls: Hls,
    /// Times, milliseconds.
    pub ms: Delays,
    /// Frames of the sample.
    pub(crate) frames: Frames,
    /// While all viewers were there.
    pub steady: Option<Steady>,
    /// The server's counters and ours.
    pub counters: Option<Counters>,
    /// What went wrong, and how often.
    pub troubles: BTreeMap<String, u64>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Delays of frames and sounds, for the `.hgrm`.
    #[serde(skip)]
    pub(crate) delay: Histogram<u64>,
}

impl Report {
    /// For programs.
    pub fn json(&self) -> String {
        // Only maps with keys that are not strings fail, and there is none here.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The distribution of the delay in the form that HdrHistogram's plotters read; milliseconds.
    pub fn hgrm(&self) -> String {
        let mut out = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
        let delay = &self.delay;
        let mut count = 0;
        for step in delay.iter_quantiles(5) {
            count += step.count_since_last_iteration();
            let (value, quantile) = (step.value_iterated_to() as f64 / 1e3, step.quantile_iterated_to());
            // Writing to a String does not fail.
            let _ = if quantile < 1.0 {
                writeln!(out, "{value:12.3} {quantile:14.12} {count:10} {:14.2}", 1.0 / (1.0 - quantile))
            } else {
                writeln!(out, "{value:12.3} {quantile:14.12} {count:10}")
            };
        }
        let (mean, deviation) = (delay.mean() / 1e3, delay.stdev() / 1e3);
        let (max, total) = (delay.max() as f64 / 1e3, delay.len());
        let _ = writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
        let _ = writeln!(out, "#[Max     = {max:12.3}, Total count    = {total:12}]");
        let _ = writeln!(out, "#[Buckets = {:12}, SubBuckets     = {:12}]", delay.buckets(), delay.distinct_values());
        out
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    /// A report with something in each place.
    pub(crate) fn example() -> Report {
        let mut times = Times::new();
        (1..=1000).for_each(|n| times.record(Duration::from_micros(n * 100)));
        let summary = Summary::of(&times);
        Report {
            verdict: Verdict::Failed,
            limit: Limit::Server,
            ended_early: Some("the server went away".to_owned()),
            interrupted: false,
            seconds: 12.5,
            plan: Plan::load("smoke").unwrap(),
            server_pid: Some(77),
            publishers_on_air: 1,
            published_frames: 900,
            published_bytes: 1_600_000,
            viewers: Viewers { visits: 12, joined: 11, lost: 1, most: 12, at_end: 11, ..Viewers::default() },
            bytes_received: 18_000_000,
            hls: Hls { requests: 410, playlists: 200, parts: 198, segments: 0, rebuffers: 2, rebuffered_s: 0.3 },
            ms: Delays { video: summary, join: summary, probe: summary, ..Delays::default() },
            frames: Frames { same: 5_000, damaged: 2, ..Frames::default() },
            steady: Some(Steady {
                seconds: 10.0,
                bytes: 12_500_000,
                mbit_s: 10.0,
                harness_core: 0.25,
                harness_waited: 0.01,
                server_core: Some(0.97),
                server_busiest: Some(0.96),
                server_waited: Some(0.02),
                server_cpu_s_per_gb: Some(0.31),
                both_cpu_s_per_gb: Some(0.55),
                server_bytes_per_viewer: Some(5_100.0),
            }),
            counters: Some(Counters {
                server_sent: 18_000_000,
                viewers_received: 18_000_000,
                server_received: 1_600_000,
                publishers_sent: 1_600_001,
                comparable: true,
            }),
            troubles: BTreeMap::from([("viewer: answered with status 503".to_owned(), 1)]),
            notes: vec!["a note".to_owned()],
            delay: times.histogram().clone(),
        }
    }

    #[test]
    fn json_has_what_programs_ask_for() {
        let json: serde_json::Value = serde_json::from_str(&example().json()).unwrap();
        assert_eq!(json["verdict"], "failed");
        assert_eq!(json["limit"], "server");
        assert_eq!(json["ms"]["video"]["count"], 1000);
        assert!((json["ms"]["video"]["p50"].as_f64().unwrap() - 50.0).abs() < 0.1);
        assert_eq!(json["ms"]["audio"]["p50"], serde_json::Value::Null);
        assert_eq!(json["plan"]["duration"], "5s");
        assert_eq!(json["frames"]["damaged"], 2);
        assert_eq!(json["troubles"]["viewer: answered with status 503"], 1);
    }

    #[test]
    fn hgrm_is_a_rising_table_that_ends_at_one() {
        let text = example().hgrm();
        let rows = text.lines().skip(2).take_while(|line| !line.starts_with('#'));
        let rows: Vec<Vec<f64>> =
            rows.map(|row| row.split_whitespace().map(|cell| cell.parse().unwrap()).collect()).collect();
        assert!(rows.len() > 10);
        assert!(
            rows.windows(2)
                .all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1] && pair[0][2] <= pair[1][2])
        );
        let last = rows.last().unwrap();
        assert!((last[1] - 1.0).abs() < f64::EPSILON && (last[2] - 1000.0).abs() < f64::EPSILON, "{last:?}");
        assert!(text.contains("Total count    =         1000]"));
    }
}
