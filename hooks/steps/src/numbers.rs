//! What is counted of each version of a hook: calls, answers, failures, CPU time, disagreements. Written by [`super::step`]; read for `/metrics` and
//! by whoever decides on a rollback.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use millstream_control_protocol::hook_numbers::CPU_UP_TO_US as CPU_US;
use millstream_control_protocol::hook_numbers::{CPU_CLASSES, HookNumbers};
use millstream_hooks::Failure;
use millstream_hooks::wit::auth;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::recorder::Recorder;

/// Why a decision was not made where the hook itself gave no answer.
const OWN_FAILURES: [&str; 5] = ["not_ready", "late", "pending", "queue", "asks"];
/// What a hook answers.
const ANSWERS: [&str; 5] = ["allow", "deny", "next", "redirect", "ask"];
/// What goes wrong with a hook is said in the log this often.
const SAID_EVERY: Duration = Duration::from_mins(1);
/// Of viewers who ask for playlists, this many answers a second are compared.
const COMPARED_EVERY: Duration = Duration::from_millis(100);
/// Bytes of a name in `/metrics`.
const NAME_BYTES_MAX: usize = 64;

/// What became of notices for event hooks.
const NOTICES: [&str; 4] = ["told", "failed", "lost", "not_ready"];
/// What became of event hooks' orders.
const ORDERS: [&str; 6] = ["followed", "not_on_air", "shadow", "other_stream", "unknown", "dropped"];

/// Counts of one version of a hook.
#[derive(Debug)]
pub struct OfVersion {
    hook: String,
    version: u64,
    answers: [AtomicU64; ANSWERS.len()],
    failures: [AtomicU64; Failure::LABELS.len() + OWN_FAILURES.len()],
    cpu: [AtomicU64; CPU_CLASSES],
    cpu_ns: AtomicU64,
    kept: AtomicU64,
    moved: AtomicU64,
    agreed: AtomicU64,
    disagreed: AtomicU64,
    not_compared: AtomicU64,
    notices: [AtomicU64; NOTICES.len()],
    orders: [AtomicU64; ORDERS.len()],
    said: Mutex<Option<Instant>>,
    compared: Mutex<Option<Instant>>,
}

fn all<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

fn failure_labels() -> impl Iterator<Item = &'static str> {
    Failure::LABELS.into_iter().chain(OWN_FAILURES)
}

impl OfVersion {
    fn new(hook: &str, version: u64) -> Self {
        Self {
            hook: hook.to_owned(),
            version,
            answers: all(),
            failures: all(),
            cpu: all(),
            cpu_ns: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            agreed: AtomicU64::new(0),
            disagreed: AtomicU64::new(0),
            not_compared: AtomicU64::new(0),
            notices: all(),
            orders: all(),
            said: Mutex::default(),
            compared: Mutex::default(),
        }
    }

    pub(crate) fn answered(&self, step: &auth::Step) {
        let which = match step {
            auth::Step::Allow(_) => 0,
            auth::Step::Deny(_) => 1,
            auth::Step::Next => 2,
            auth::Step::Redirect(_) => 3,
            auth::Step::Ask(_) => 4,
        };
        add(&self.answers, which);
    }

    pub(crate) fn failed(&self, label: &str) {
        if let Some(which) = failure_labels().position(|known| known == label) {
            add(&self.failures, which);
        }
    }

    pub(crate) fn noticed(&self, what: &str, count: u64) {
        if let Some(counted) = NOTICES.iter().position(|known| *known == what).and_then(|which| self.notices.get(which))
        {
            counted.fetch_add(count, Relaxed);
        }
    }

    pub(crate) fn ordered(&self, what: &str) {
        if let Some(which) = ORDERS.iter().position(|known| *known == what) {
            add(&self.orders, which);
        }
    }

    pub(crate) fn took(&self, cpu: Duration) {
        let us = cpu.as_micros() as u64;
        add(&self.cpu, CPU_US.iter().position(|bound| us <= *bound).unwrap_or(CPU_US.len()));
        self.cpu_ns.fetch_add(cpu.as_nanos() as u64, Relaxed);
    }

    /// So many calls were in each class of CPU time, in another process.
    pub fn took_in_classes(&self, calls: &[u64]) {
        for (counted, calls) in self.cpu.iter().zip(calls) {
            counted.fetch_add(*calls, Relaxed);
        }
    }

    /// They took this together.
    pub fn spent(&self, cpu: Duration) {
        self.cpu_ns.fetch_add(cpu.as_nanos() as u64, Relaxed);
    }

    /// So many calls failed in another process, by this cause.
    pub fn failed_elsewhere(&self, cause: &str, calls: u64) {
        let which = failure_labels().position(|known| known == cause);
        if let Some(counted) = which.and_then(|which| self.failures.get(which)) {
            counted.fetch_add(calls, Relaxed);
        }
    }

    /// What goes wrong is said, but not with each call.
    pub fn said(&self, error: &str) {
        if due(&self.said, SAID_EVERY) {
            let (hook, version) = (&self.hook, self.version);
            tracing::warn!(hook, version, error, "a hook failed; further failures are counted, and said once a minute");
        }
    }

    pub(crate) fn kept(&self) {
        self.kept.fetch_add(1, Relaxed);
    }

    pub(crate) fn moved(&self) {
        self.moved.fetch_add(1, Relaxed);
    }

    pub(crate) fn compare_now(&self) -> bool {
        due(&self.compared, COMPARED_EVERY)
    }

    pub(crate) fn compared(&self, agreed: bool) {
        if agreed { &self.agreed } else { &self.disagreed }.fetch_add(1, Relaxed);
    }

    /// So many comparisons were made in another process, and came out the same, or differently.
    pub fn compared_elsewhere(&self, agreed: u64, disagreed: u64) {
        self.agreed.fetch_add(agreed, Relaxed);
        self.disagreed.fetch_add(disagreed, Relaxed);
    }

    pub(crate) fn not_compared(&self) {
        self.not_compared.fetch_add(1, Relaxed);
    }

    /// Calls that came to an answer.
    pub fn answers(&self) -> u64 {
        self.answers.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Calls that failed by the hook's own fault.
    pub fn faults(&self) -> u64 {
        let of_hook = |(label, count): (&str, &AtomicU64)| if label == "busy" { 0 } else { count.load(Relaxed) };
        Failure::LABELS.into_iter().zip(&self.failures).map(of_hook).sum()
    }

    /// Comparisons that came out differently.
    pub fn disagreements(&self) -> u64 {
        self.disagreed.load(Relaxed)
    }

    /// All of it, for control.
    fn told(&self) -> HookNumbers {
        fn some<'a>(labels: impl IntoIterator<Item = &'a str>, counts: &[AtomicU64]) -> BTreeMap<String, u64> {
            let all = labels.into_iter().zip(counts.iter().map(|count| count.load(Relaxed)));
            all.filter(|(_, count)| *count > 0).map(|(label, count)| (label.to_owned(), count)).collect()
        }
        HookNumbers {
            version: self.version,
            answers: some(ANSWERS, &self.answers),
            failures: some(failure_labels(), &self.failures),
            agreed: self.agreed.load(Relaxed),
            disagreed: self.disagreements(),
            not_compared: self.not_compared.load(Relaxed),
            notices: some(NOTICES, &self.notices),
            orders: some(ORDERS, &self.orders),
            cpu_us: self.cpu_ns.load(Relaxed) / 1_000,
            cpu_calls: self.cpu.iter().map(|count| count.load(Relaxed)).collect(),
        }
    }
}

fn add(counts: &[AtomicU64], which: usize) {
    if let Some(count) = counts.get(which) {
        count.fetch_add(1, Relaxed);
    }
}

fn due(last: &Mutex<Option<Instant>>, every: Duration) -> bool {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= every);
    if is_due {
        *last = Some(now);
    }
    is_due
}

/// Counts of all versions that are bound. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Numbers(Arc<Mutex<ByVersion>>);

/// By hook and version.
type ByVersion = BTreeMap<(String, u64), Arc<OfVersion>>;

/// The samples of a metric: a further label, and the count.
type Rows<'a> = Box<dyn Fn(&OfVersion) -> Vec<(Option<(&'static str, &'static str)>, u64)> + 'a>;

impl Numbers {
    /// Those of a version, which go on from where they were.
    pub fn of(&self, hook: &str, version: u64) -> Arc<OfVersion> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (hook.to_owned(), version);
        Arc::clone(all.entry(key).or_insert_with(|| Arc::new(OfVersion::new(hook, version))))
    }

    /// What is counted of a hook's versions, in their order.
    pub fn told(&self, hook: &str) -> Vec<HookNumbers> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().filter(|version| version.hook == hook).map(|version| version.told()).collect()
    }

    /// Forgets those that are not among these.
    pub fn retain(&self, stays: impl Fn(&str, u64) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(hook, version), _| stays(hook, *version));
    }

    /// As OpenMetrics text, without its end, and with what a recorder counts.
    pub fn text(&self, recorder: Option<&Recorder>) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        if let Some(recorder) = recorder {
            registry.register_collector(Box::new(recorder.clone()));
        }
        let mut out = String::new();
        text::encode_registry(&mut out, &registry)?;
        Ok(out)
    }
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all: Vec<Arc<OfVersion>> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect();
        if all.is_empty() {
            return Ok(());
        }
        let one =
            |of: fn(&OfVersion) -> &AtomicU64| -> Rows<'_> { Box::new(move |v| vec![(None, of(v).load(Relaxed))]) };
        let rows =
            |name: &'static str, labels: Vec<&'static str>, of: fn(&OfVersion) -> &[AtomicU64]| -> Rows<'static> {
                Box::new(move |version| {
                    let counts = of(version).iter().map(|count| count.load(Relaxed));
                    labels.iter().zip(counts).map(|(label, count)| (Some((name, *label)), count)).collect()
                })
            };
        // Of event hooks alone.
        let some = |rows: Rows<'static>| -> Rows<'static> {
            Box::new(move |version| rows(version).into_iter().filter(|(_, count)| *count > 0).collect())
        };
        let families: [(&str, &str, Rows<'_>); 9] = [
            (
                "millstream_hook_notices",
                "Events for event hooks: told, or lost and why",
                some(rows("result", NOTICES.to_vec(), |v| &v.notices)),
            ),
            (
                "millstream_hook_orders",
                "What event hooks ordered, and what became of it",
                some(rows("result", ORDERS.to_vec(), |v| &v.orders)),
            ),
            (
                "millstream_hook_answers",
                "Decisions of hooks by answer",
                rows("answer", ANSWERS.to_vec(), |v| &v.answers),
            ),
            (
                "millstream_hook_failures",
                "Decisions that hooks did not make, by cause",
                rows("cause", failure_labels().collect(), |v| &v.failures),
            ),
            ("millstream_hook_kept", "Questions answered by a grant that still holds", one(|v| &v.kept)),
            ("millstream_hook_moved", "Decisions that were made on a thread of their own", one(|v| &v.moved)),
            (
                "millstream_hook_agreements",
                "Comparisons of a shadow with what was decided: the same",
                one(|v| &v.agreed),
            ),
            (
                "millstream_hook_disagreements",
                "Comparisons of a shadow with what was decided: something else",
                one(|v| &v.disagreed),
            ),
            ("millstream_hook_comparisons_left_out", "Comparisons that were not made", one(|v| &v.not_compared)),
        ];
        for (name, help, rows) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for version in &all {
                let hook = [("hook", cut(&version.hook)), ("version", version.version.to_string())];
                for (more, count) in rows(version) {
                    let labels: Vec<(&str, String)> =
                        hook.iter().cloned().chain(more.map(|(name, value)| (name, value.to_owned()))).collect();
                    family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
            }
        }
        let mut family = encoder.encode_descriptor(
            "millstream_hook_cpu_seconds",
            "CPU time of calls of hooks",
            None,
            MetricType::Histogram,
        )?;
        for version in &all {
            let labels = [("hook", cut(&version.hook)), ("version", version.version.to_string())];
            let bounds = CPU_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(version.cpu.iter().map(|count| count.load(Relaxed))).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let sum = version.cpu_ns.load(Relaxed) as f64 / 1e9;
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

fn cut(name: &str) -> String {
    name.chars().take(NAME_BYTES_MAX).collect()
}
