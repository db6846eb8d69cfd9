//! Hooks of all nodes: how often their calls fail, what they write to their logs, and what control itself tells of them. Before it: reports and
//! orders; after it: the API.
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::{
    AddressFailures, Answer, HOOK_BLAME_MAX, HookCalls, HookLine, NodeId, Order,
};
use millstream_control_protocol::hook_numbers::HookNumbers;

use crate::error::LinkError;
use crate::event_sink::NodeEvent;
use crate::fleet::{Fleet, lock};
use crate::limits::{HOOK_LINES_MAX, HOOK_LOGS_ASKED_AT_ONCE_MAX, HOOK_VERSIONS_TOLD_MAX, ORDER_WAIT_MAX};
use crate::trust;

/// What is called a node in events that control tells itself.
const CONTROL: &str = "control";

/// What nodes tell together of a binding.
#[derive(Default)]
struct Sum {
    calls: u64,
    failures: u64,
    by_nobody: u64,
    by_address: BTreeMap<String, u64>,
}

/// Where the log of a node's run is read on from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogPlace {
    /// Which run of the node.
    pub run: u64,
    /// The number of the next line.
    pub next: u64,
}

/// Where a page of a hook's log ends, by node.
pub type LogCursor = BTreeMap<String, LogPlace>;

/// Which lines of a hook's log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogQuery {
    /// The hook's name.
    pub hook: String,
    /// Behind the page before; `None`: the newest ones.
    pub after: Option<LogCursor>,
    /// Of this version only.
    pub version: Option<u64>,
    /// At least so important.
    pub level: String,
    /// At most so many.
    pub limit: u32,
}

/// Some of what a hook has written on all nodes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HookLogs {
    /// Node and line, in the order of time.
    pub lines: Vec<(String, HookLine)>,
    /// Where it goes on, also with lines that are not written yet.
    pub next: LogCursor,
    /// Lines that nodes did not keep, because there were too many at once.
    pub dropped: u64,
    /// Nodes that could not be asked, and why.
    pub failed: Vec<(String, LinkError)>,
}

impl Fleet {
    /// Tells an event of control's own: to listeners, and to webhooks.
    pub async fn tell(&self, stream: Option<&str>, what: What) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event = Event {
            seq: self.0.own_events.fetch_add(1, Relaxed) + 1,
            at_unix_ms: since.as_millis() as u64,
            stream: stream.unwrap_or_default().to_owned(),
            what,
            ..Event::default()
        };
        let node = NodeId { name: CONTROL.to_owned(), run: self.version().epoch };
        // Told once: what cannot be kept now is in the log.
        let kept = self.0.sink.keep(node.clone(), vec![event.clone()]).await;
        if let Err(error) = kept {
            self.0.numbers.reports_not_kept.one();
            tracing::warn!(error, kind = event.what.kind(), "an event is not kept for webhooks");
        }
        // Nobody may be listening.
        let _ = self.0.heard.send(NodeEvent { node, event });
    }

    /// How often bindings' hooks were called and failed within the last minute, on all nodes together: of those that failed at all.
    pub fn failing_hooks(&self) -> Vec<HookCalls> {
        let mut sums: BTreeMap<_, Sum> = BTreeMap::new();
        for told in lock(&self.0.registry).failing_hooks() {
            let sum = sums.entry((told.binding, told.generation, told.version)).or_default();
            // A node says what it likes.
            let failures = told.failures.min(told.calls);
            sum.calls = sum.calls.saturating_add(told.calls);
            let by_nobody = told.by_nobody.min(failures);
            sum.failures = sum.failures.saturating_add(failures);
            sum.by_nobody = sum.by_nobody.saturating_add(by_nobody);
            let mut blamed = told.by_address;
            if blamed.is_empty() && failures > by_nobody {
                // It may all be of one address, the same one on all nodes that do not say.
                blamed.push(AddressFailures { address: String::new(), failures: failures - by_nobody });
            }
            for AddressFailures { address, failures } in blamed {
                let of_address = sum.by_address.entry(address).or_default();
                *of_address = of_address.saturating_add(failures);
            }
        }
        let calls = |((binding, generation, version), sum): (_, Sum)| {
            let mut by_address: Vec<_> = sum.by_address.into_iter().collect();
            by_address.sort_by_key(|(_, failures)| std::cmp::Reverse(*failures));
            by_address.truncate(HOOK_BLAME_MAX);
            let blamed = |(address, failures)| AddressFailures { address, failures };
            let by_address = by_address.into_iter().map(blamed).collect();
            let Sum { calls, failures, by_nobody, .. } = sum;
            HookCalls { binding, generation, version, calls, failures, by_nobody, by_address }
        };
        sums.into_iter().map(calls).collect()
    }

    /// What all nodes that are here count of a hook's versions, by version; and nodes that did not answer.
    pub async fn hook_numbers(&self, hook: &str) -> (BTreeMap<u64, HookNumbers>, Vec<(String, LinkError)>) {
        let nodes = lock(&self.0.registry).present();
        let order = |node: String| (node, Order::HookNumbers { hook: hook.to_owned() });
        let orders = nodes.into_iter().map(order).collect();
        let mut answers = pin!(self.ask_each(orders, HOOK_LOGS_ASKED_AT_ONCE_MAX, ORDER_WAIT_MAX));
        let (mut all, mut failed) = (BTreeMap::<u64, HookNumbers>::new(), BTreeMap::new());
        while let Some((node, answer)) = answers.next().await {
            match answer {
                Ok(Answer::HookNumbers { versions }) => {
                    for told in versions.into_iter().take(HOOK_VERSIONS_TOLD_MAX) {
                        let version = told.version;
                        let sum = || HookNumbers { version, ..HookNumbers::default() };
                        all.entry(version).or_insert_with(sum).add(told);
                    }
                }
                other => drop(failed.insert(node, other.err().unwrap_or_else(LinkError::other_answer))),
            }
        }
        (all, failed.into_iter().collect())
    }

    /// What a hook has written on all nodes that are here.
    pub async fn hook_logs(&self, query: LogQuery) -> HookLogs {
        let limit = query.limit.clamp(1, HOOK_LINES_MAX);
        let runs: BTreeMap<String, u64> =
            lock(&self.0.registry).runs().into_iter().map(|node| (node.name, node.run)).collect();
        let from_of = |node: &str| {
            let place = query.after.as_ref()?.get(node)?;
            // Another run counts anew.
            (Some(&place.run) == runs.get(node)).then_some(place.next)
        };
        let order = |node: &String| Order::HookLogs {
            hook: query.hook.clone(),
            // A node that was not there before tells all, once there is a place to go on from.
            from: query.after.is_some().then(|| from_of(node).unwrap_or(0)),
            version: query.version,
            level: query.level.clone(),
            limit,
        };
        let orders = runs.keys().map(|node| (node.clone(), order(node))).collect();
        let mut answers = pin!(self.ask_each(orders, HOOK_LOGS_ASKED_AT_ONCE_MAX, ORDER_WAIT_MAX));
        let mut all = HookLogs::default();
        // By time, and no more than are given: whichever end of them is wanted.
        let mut found: BTreeMap<(u64, String, u64), HookLine> = BTreeMap::new();
        let mut cut: BTreeMap<String, u64> = BTreeMap::new();
        while let Some((node, answer)) = answers.next().await {
            let place_before = from_of(&node).unwrap_or(0);
            let (lines, next) = match answer {
                Ok(Answer::HookLogs { mut lines, next, dropped }) => {
                    lines.truncate(limit as usize);
                    all.dropped = all.dropped.saturating_add(dropped);
                    (lines, next.max(place_before))
                }
                other => {
                    let error = other.err().unwrap_or_else(LinkError::other_answer);
                    all.failed.push((node.clone(), error));
                    (Vec::new(), place_before)
                }
            };
            if let Some(run) = runs.get(&node) {
                all.next.insert(node.clone(), LogPlace { run: *run, next });
            }
            // A node's clock may go back; its lines stay in their order.
            let mut latest_ms = 0;
            for mut line in lines {
                trust::tidy_line(&mut line);
                latest_ms = line.unix_ms.max(latest_ms);
                found.insert((latest_ms, node.clone(), line.number), line);
                if found.len() <= limit as usize {
                    continue;
                }
                // With a place to go on from, the newest ones wait for the next page; without one the oldest ones are left out.
                if query.after.is_none() {
                    found.pop_first();
                } else if let Some(((_, node, number), _)) = found.pop_last() {
                    let first = cut.entry(node).or_insert(number);
                    *first = number.min(*first);
                }
            }
        }
        for (node, first) in cut {
            if let Some(place) = all.next.get_mut(&node) {
                place.next = place.next.min(first);
            }
        }
        all.lines = found.into_iter().map(|((_, node, _), line)| (node, line)).collect();
        all
    }
}
