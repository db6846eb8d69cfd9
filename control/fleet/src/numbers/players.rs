//! What players say of how they play (CMCD), added up by protocol: for a node's `/metrics`. No label grows with streams or viewers. Before it: the node's
//! agent, which makes sessions of reports; after it: [`super::Numbers::text`].
use millstream_control_protocol::quality::{BITRATE_UP_TO_KBIT_S, LATENCY_UP_TO_MS, START_UP_TO_MS};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Count;

type ByProtocol<M> = Family<[(&'static str, &'static str); 1], M, fn() -> M>;

// What the API tells of a stream is in the same buckets: in seconds and bits per second here.
fn start() -> Histogram {
    Histogram::new(START_UP_TO_MS.map(|ms| f64::from(ms) / 1e3))
}

fn latency() -> Histogram {
    Histogram::new(LATENCY_UP_TO_MS.map(|ms| f64::from(ms) / 1e3))
}

fn bitrate() -> Histogram {
    Histogram::new(BITRATE_UP_TO_KBIT_S.map(|kbit_s| f64::from(kbit_s) * 1e3))
}

/// What a session has told at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Observed {
    /// Its start took so long, milliseconds.
    pub start_ms: Option<u32>,
    /// It is so far behind, milliseconds.
    pub latency_ms: Option<u32>,
    /// What it plays is encoded so, kbit/s.
    pub bitrate_kbit_s: Option<u32>,
    /// It has run dry so often.
    pub stalls: u32,
    /// It has stood still for so long, milliseconds.
    pub stalled_ms: u32,
    /// It has played for so long, milliseconds.
    pub played_ms: u32,
}

/// Sums of all players of a node.
#[derive(Debug)]
pub struct PlayerNumbers {
    reports: ByProtocol<Counter>,
    start: ByProtocol<Histogram>,
    latency: ByProtocol<Histogram>,
    bitrate: ByProtocol<Histogram>,
    stalls: ByProtocol<Counter>,
    stalled_ms: ByProtocol<Counter>,
    played_ms: ByProtocol<Counter>,
    left_out: Count,
}

impl Default for PlayerNumbers {
    fn default() -> Self {
        let counters = || ByProtocol::<Counter>::new_with_constructor(Counter::default);
        Self {
            reports: counters(),
            start: ByProtocol::new_with_constructor(start),
            latency: ByProtocol::new_with_constructor(latency),
            bitrate: ByProtocol::new_with_constructor(bitrate),
            stalls: counters(),
            stalled_ms: counters(),
            played_ms: counters(),
            left_out: Count::default(),
        }
    }
}

impl PlayerNumbers {
    /// A report was heard.
    pub fn heard(&self, protocol: &'static str) {
        self.reports.get_or_create(&[("protocol", protocol)]).inc();
    }

    /// A report of a session that there was no room for.
    pub fn left_out(&self) {
        self.left_out.one();
    }

    /// A session has told something.
    pub fn observed(&self, protocol: &'static str, told: &Observed) {
        let label = [("protocol", protocol)];
        let seconds = |family: &ByProtocol<Histogram>, ms: Option<u32>| {
            if let Some(ms) = ms {
                family.get_or_create(&label).observe(f64::from(ms) / 1e3);
            }
        };
        seconds(&self.start, told.start_ms);
        seconds(&self.latency, told.latency_ms);
        if let Some(kbit_s) = told.bitrate_kbit_s {
            self.bitrate.get_or_create(&label).observe(f64::from(kbit_s) * 1e3);
        }
        let sums =
            [(&self.stalls, told.stalls), (&self.stalled_ms, told.stalled_ms), (&self.played_ms, told.played_ms)];
        for (family, count) in sums.into_iter().filter(|(_, count)| *count > 0) {
            family.get_or_create(&label).inc_by(count.into());
        }
    }

    /// OpenMetrics text without its end.
    pub fn text(&self) -> String {
        let mut registry = Registry::default();
        let of = &mut registry;
        of.register(
            "millstream_player_reports",
            "What players told of themselves (CMCD), by protocol",
            self.reports.clone(),
        );
        let help = "From the wish to play to the first picture, as players say";
        of.register_with_unit("millstream_player_start", help, Unit::Seconds, self.start.clone());
        let help = "How far pictures are behind, as players say: each session every ten seconds";
        of.register_with_unit("millstream_player_latency", help, Unit::Seconds, self.latency.clone());
        let help = "How what is played is encoded, bits per second, as players say: each session every ten seconds";
        of.register("millstream_player_bitrate", help, self.bitrate.clone());
        of.register("millstream_player_stalls", "How often players have run dry", self.stalls.clone());
        let help = "For how long players have stood still because of that, milliseconds";
        of.register("millstream_player_stalled_ms", help, self.stalled_ms.clone());
        of.register(
            "millstream_player_played_ms",
            "For how long players have played, milliseconds",
            self.played_ms.clone(),
        );
        let left_out: Counter = Counter::default();
        left_out.inc_by(self.left_out.get());
        let help = "Reports of players that there was no room for";
        of.register("millstream_player_reports_left_out", help, left_out);
        let mut out = String::new();
        // Writing into a String does not fail.
        let _ = text::encode_registry(&mut out, &registry);
        out
    }
}
