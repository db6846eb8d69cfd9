//! What is counted beside the shards: the link's two ends, and webhooks. Written by those that do it; read for `/metrics`.
pub mod players;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

/// Rises.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts one.
    pub fn one(&self) {
        self.add(1);
    }

    /// Counts so many.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Counts in `well` or in `badly`, by how it went.
    pub fn of<T, E>(done: &Result<T, E>, well: &Self, badly: &Self) {
        if done.is_ok() { well.one() } else { badly.one() }
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// When something happened last.
#[derive(Debug)]
pub struct Last {
    begun: Instant,
    /// Milliseconds since then, and one; 0: never.
    at_ms: AtomicU64,
}

impl Default for Last {
    fn default() -> Self {
        Self { begun: Instant::now(), at_ms: AtomicU64::new(0) }
    }
}

impl Last {
    /// It happens now.
    pub fn now(&self) {
        self.at_ms.store(self.begun.elapsed().as_millis() as u64 + 1, Relaxed);
    }

    fn ago(&self) -> Option<Duration> {
        let at = self.at_ms.load(Relaxed).checked_sub(1).map(Duration::from_millis)?;
        Some(self.begun.elapsed().saturating_sub(at))
    }
}

/// All of them. Those of ends that this process does not have stay at zero.
#[derive(Debug, Default)]
pub struct Numbers {
    /// At control: polls of nodes.
    pub polls_heard: Count,
    /// At control: reports of nodes.
    pub reports_heard: Count,
    /// At control: reports whose events could not be kept.
    pub reports_not_kept: Count,
    /// At control: pieces of modules and slates that nodes fetched.
    pub files_given: Count,
    /// At control: events beyond the share of their stream.
    pub events_left_out: Count,
    /// At a node: polls that control answered.
    pub polls: Count,
    /// At a node: polls that failed.
    pub polls_failed: Count,
    /// At a node: reports that control acknowledged.
    pub reports: Count,
    /// At a node: reports that failed.
    pub reports_failed: Count,
    /// At a node: modules and slates fetched.
    pub files: Count,
    /// At a node: modules and slates that could not be fetched.
    pub files_failed: Count,
    /// At a node: when control answered last.
    pub control_heard: Last,
    /// At a node: when the state in force changed last.
    pub state_changed: Last,
    /// At a node: what players say.
    pub players: self::players::PlayerNumbers,
    other_store: AtomicU64,
    /// Deliveries of webhooks that were taken.
    pub delivered: Count,
    /// Deliveries of webhooks that will be tried again.
    pub retried: Count,
    /// Deliveries of webhooks that were given up.
    pub given_up: Count,
    /// The control port.
    api_panics: Count,
    control_connections: Count,
    control_per_address: Count,
    control_gave_way: Count,
    control_accept: Count,
    control_unread: Count,
    control_tls: Count,
    waiting: AtomicU64,
    /// Unix milliseconds; 0: none waits.
    oldest_ms: AtomicU64,
}

impl Numbers {
    /// Whether control has another store than this node follows.
    pub fn other_store(&self, is_so: bool) {
        self.other_store.store(u64::from(is_so), Relaxed);
    }

    /// How many deliveries wait, and since when the oldest does, Unix milliseconds.
    pub fn backlog(&self, waiting: u64, oldest_unix_ms: Option<u64>) {
        self.waiting.store(waiting, Relaxed);
        self.oldest_ms.store(oldest_unix_ms.unwrap_or(0), Relaxed);
    }

    /// A handler of the API panicked.
    pub fn api_panicked(&self) {
        self.api_panics.one();
    }

    /// The control port did without a connection: `connections`, `per_address`, `gave_way`, `accept`, `tls` (no handshake came of it); or without
    /// an answer, because too many others are not read: `unread`.
    pub fn control_refused(&self, why: &str) {
        match why {
            "connections" => self.control_connections.one(),
            "per_address" => self.control_per_address.one(),
            "gave_way" => self.control_gave_way.one(),
            "unread" => self.control_unread.one(),
            "tls" => self.control_tls.one(),
            _ => self.control_accept.one(),
        }
    }

    /// OpenMetrics text without its end, to stand behind other metrics.
    pub fn text(self: &Arc<Self>) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Shown(Arc::clone(self))));
        let mut out = String::new();
        // Writing into a String does not fail.
        let _ = text::encode_registry(&mut out, &registry);
        out.push_str(&self.players.text());
        out
    }
}

/// The end of OpenMetrics text.
pub const END: &str = "# EOF\n";

#[derive(Debug)]
struct Shown(Arc<Numbers>);

fn counters(
    out: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &str),
    counts: &[(&str, &Count)],
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    counts.iter().try_for_each(|(value, count)| {
        metric.encode_family(&[(label, *value)])?.encode_counter::<[(&str, &str); 0], _, f64>(&count.get(), None)
    })
}

fn seconds(out: &mut DescriptorEncoder<'_>, (name, help): (&str, &str), ago: Option<Duration>) -> fmt::Result {
    let Some(ago) = ago else { return Ok(()) };
    out.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?.encode_gauge(&ago.as_secs_f64())
}

impl Collector for Shown {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let (out, of) = (&mut out, &*self.0);
        let heard = [
            ("poll", &of.polls_heard),
            ("report", &of.reports_heard),
            ("report_not_kept", &of.reports_not_kept),
            ("file", &of.files_given),
        ];
        counters(out, ("millstream_link_heard", "Messages of nodes that control heard, by kind.", "kind"), &heard)?;
        let help = "Events of streams that told more than their share.";
        out.encode_descriptor("millstream_link_events_left_out", help, None, MetricType::Counter)?
            .encode_counter::<[(&str, &str); 0], _, f64>(&of.events_left_out.get(), None)?;
        let asked = [
            ("poll", &of.polls),
            ("poll_failed", &of.polls_failed),
            ("report", &of.reports),
            ("report_failed", &of.reports_failed),
            ("file", &of.files),
            ("file_failed", &of.files_failed),
        ];
        counters(
            out,
            ("millstream_link_asked", "What a node asked control and told it, by outcome.", "outcome"),
            &asked,
        )?;
        seconds(
            out,
            ("millstream_link_control_age", "Since control last answered this node."),
            of.control_heard.ago(),
        )?;
        seconds(out, ("millstream_link_state_age", "Since this node's state last changed."), of.state_changed.ago())?;
        let help = "Requests to the API that a defect ended.";
        out.encode_descriptor("millstream_api_panics", help, None, MetricType::Counter)?
            .encode_counter::<[(&str, &str); 0], _, f64>(&of.api_panics.get(), None)?;
        let refused = [
            ("connections", &of.control_connections),
            ("per_address", &of.control_per_address),
            ("gave_way", &of.control_gave_way),
            ("accept", &of.control_accept),
            ("unread", &of.control_unread),
            ("tls", &of.control_tls),
        ];
        let help = "Connections and requests that the control port did without, by reason.";
        counters(out, ("millstream_control_refused", help, "reason"), &refused)?;
        let name = "millstream_link_other_store";
        let help = "Whether this node keeps its streams because control has another store than before (1).";
        let is_so = i64::from(of.other_store.load(Relaxed) > 0);
        out.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&is_so)?;
        let deliveries = [("delivered", &of.delivered), ("retried", &of.retried), ("given_up", &of.given_up)];
        counters(
            out,
            ("millstream_webhook_tries", "Tries of webhooks' deliveries, by outcome.", "outcome"),
            &deliveries,
        )?;
        let waiting = of.waiting.load(Relaxed);
        out.encode_descriptor(
            "millstream_webhook_waiting",
            "Deliveries of webhooks that wait.",
            None,
            MetricType::Gauge,
        )?
        .encode_gauge(&i64::try_from(waiting).unwrap_or(i64::MAX))?;
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let oldest = Some(of.oldest_ms.load(Relaxed)).filter(|oldest| *oldest > 0);
        let age = Duration::from_millis(oldest.map_or(0, |oldest| now_ms.saturating_sub(oldest)));
        seconds(out, ("millstream_webhook_oldest", "Age of the oldest delivery that waits; 0: none does."), Some(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown_and_ages_only_once_they_are_known() {
        let numbers = Arc::new(Numbers::default());
        numbers.polls.one();
        numbers.polls.one();
        Count::of(&Err::<(), ()>(()), &numbers.files, &numbers.files_failed);
        numbers.backlog(7, Some(1));
        let text = numbers.text();
        let has = |line: &str| assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        has("millstream_link_asked_total{outcome=\"poll\"} 2");
        has("millstream_link_asked_total{outcome=\"file_failed\"} 1");
        has("millstream_webhook_waiting 7");
        assert!(!text.contains("control_age") && !text.contains("EOF"), "{text}");
        let age = text.lines().find_map(|line| line.strip_prefix("millstream_webhook_oldest_seconds ")).unwrap();
        assert!(age.parse::<f64>().unwrap() > 1e9, "{age}");
        numbers.control_heard.now();
        assert!(numbers.text().contains("millstream_link_control_age_seconds 0"));
    }
}
