//! What nodes are asked of the decisions of hooks that they have recorded, and modules that they may fetch for that although no version has them.
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::{StreamExt as _, stream};
use millstream_control_protocol::exchange::{Answer, Order};
use millstream_control_protocol::replay::{Recorded, Replay, Replayed, ShowRecorded};
use tokio::time::Instant;

use super::error::LinkError;
use super::fleet::{Fleet, lock};
use super::limits::{
    DIFFERENCES_LISTED_MAX, RECORDED_ASKED_AT_ONCE_MAX, RECORDED_BYTES_MAX, RECORDED_EVENT_BYTES_MAX,
    RECORDED_NODE_WAIT_MAX, RECORDED_SHOWN_MAX, REPLAY_FOR_MAX, REPLAY_WAIT_MAX,
};

/// Bytes of a module that go out at once.
const PIECE_BYTES: usize = 1 << 20;
/// Characters of a text of a node.
const TEXT_CHARS_MAX: usize = 1_024;

/// What each node has told, by name.
pub type Told<T> = Vec<(String, Result<T, LinkError>)>;

/// What nodes have recorded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AllRecorded {
    /// Node and decision, oldest first.
    pub decisions: Vec<(String, Recorded)>,
    /// Of those that are wanted, so many have no room in an answer.
    pub left_out: u64,
    /// Nodes that did not answer, and why.
    pub unanswered: Vec<(String, LinkError)>,
}

/// Modules by SHA-256, and how many need each.
#[derive(Debug, Default)]
pub(super) struct Offers(BTreeMap<String, (Bytes, usize)>);

impl Offers {
    /// A piece of a module from its byte `at` on; nothing at its end.
    pub(super) fn piece(&self, sha256: &str, at: u64) -> Option<Bytes> {
        let (module, _) = self.0.get(sha256)?;
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(module.len());
        Some(module.slice(from..(from + PIECE_BYTES).min(module.len())))
    }
}

/// A module that nodes may fetch until this is dropped.
#[must_use]
pub struct Offered {
    fleet: Fleet,
    sha256: String,
}

impl Drop for Offered {
    fn drop(&mut self) {
        let mut offers = lock(&self.fleet.0.offers);
        if let Some((_, users)) = offers.0.get_mut(&self.sha256) {
            *users -= 1;
            if *users == 0 {
                offers.0.remove(&self.sha256);
            }
        }
    }
}

impl Fleet {
    /// Lets nodes fetch a module that no version has, by its SHA-256.
    pub fn offer(&self, sha256: &str, module: Bytes) -> Offered {
        lock(&self.0.offers).0.entry(sha256.to_owned()).or_insert((module, 0)).1 += 1;
        Offered { fleet: self.clone(), sha256: sha256.to_owned() }
    }

    /// Has all nodes that are here, but these, replay what they have recorded; each in the time that the replay has, and some more, but no longer than `wait`.
    pub async fn replay(&self, mut replay: Replay, without: &BTreeSet<String>, wait: Duration) -> Told<Replayed> {
        replay.for_ms = replay.for_ms.min(u32::try_from(REPLAY_FOR_MAX.as_millis()).unwrap_or(u32::MAX));
        replay.listed_max = replay.listed_max.min(DIFFERENCES_LISTED_MAX as u32);
        let listed_max = replay.listed_max as usize;
        let mut nodes = lock(&self.0.registry).reporting();
        nodes.retain(|node| !without.contains(node));
        let order = Order::Replay { replay: Box::new(replay) };
        let answers = self.ask_all_for(nodes, &order, wait.min(REPLAY_WAIT_MAX)).await;
        let told = |(node, answer): (String, Result<Answer, LinkError>)| {
            let replayed = match answer {
                Ok(Answer::Replayed { replayed }) => Ok(tidy(*replayed, &node, listed_max)),
                Ok(_) => Err(LinkError::other_answer()),
                Err(error) => Err(error),
            };
            (node, replayed)
        };
        answers.into_iter().map(told).collect()
    }

    /// Recorded decisions of all nodes that are here: the newest ones, as many and as large as are given at once.
    pub async fn recorded(&self, mut wanted: ShowRecorded) -> AllRecorded {
        wanted.limit = wanted.limit.min(RECORDED_SHOWN_MAX);
        let limit = wanted.limit as usize;
        let nodes = lock(&self.0.registry).reporting();
        let until = Instant::now() + REPLAY_WAIT_MAX;
        let ask = |node: String| {
            let (fleet, order) = (self.clone(), Order::ShowRecorded { wanted: wanted.clone() });
            async move {
                let answer = fleet.ask(&node, order, until.min(Instant::now() + RECORDED_NODE_WAIT_MAX)).await;
                (node, answer)
            }
        };
        let mut answers = pin!(stream::iter(nodes).map(ask).buffer_unordered(RECORDED_ASKED_AT_ONCE_MAX));
        let mut all = AllRecorded::default();
        // By time; of one node in its own order.
        let mut found: BTreeMap<(u64, String, usize), String> = BTreeMap::new();
        let mut bytes = 0;
        while let Some((node, answer)) = answers.next().await {
            let decisions = match answer {
                Ok(Answer::Recorded { decisions }) => decisions,
                other => {
                    let error = other.err().unwrap_or_else(LinkError::other_answer);
                    all.unanswered.push((node, error));
                    continue;
                }
            };
            for (number, decision) in decisions.into_iter().take(limit).enumerate() {
                if decision.event.len() > RECORDED_EVENT_BYTES_MAX {
                    all.left_out += 1;
                    continue;
                }
                bytes += decision.event.len();
                found.insert((decision.unix_ms, node.clone(), number), decision.event);
                while found.len() > limit || bytes > RECORDED_BYTES_MAX {
                    all.left_out += u64::from(found.len() <= limit);
                    bytes -= found.pop_first().map_or(0, |(_, event)| event.len());
                }
            }
        }
        all.unanswered.sort_by(|(a, _), (b, _)| a.cmp(b));
        all.decisions =
            found.into_iter().map(|((unix_ms, node, _), event)| (node, Recorded { unix_ms, event })).collect();
        all
    }
}

/// What a node tells, cut to what it may tell, and said to be of that node.
fn tidy(mut replayed: Replayed, node: &str, listed_max: usize) -> Replayed {
    replayed.differences.truncate(listed_max);
    for difference in &mut replayed.differences {
        node.clone_into(&mut difference.node);
        let texts = [
            &mut difference.stream,
            &mut difference.action,
            &mut difference.ip,
            &mut difference.protocol,
            &mut difference.binding,
            &mut difference.recorded,
            &mut difference.candidate,
        ];
        texts.into_iter().for_each(cut);
    }
    replayed
}

fn cut(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
        text.truncate(end);
    }
    if text.contains(char::is_control) {
        *text = text.replace(char::is_control, " ");
    }
}

#[cfg(test)]
mod tests {
    use millstream_control_protocol::PROTOCOL;
    use millstream_control_protocol::exchange::{NodeId, Outcome, Poll, Report, Status};
    use millstream_control_protocol::replay::Difference;

    use super::*;
    use crate::DropEvents;

    /// A node that has told its release, and answers orders with what `reply` says, if anything.
    async fn play(
        fleet: &Fleet,
        name: &'static str,
        release: &str,
        reply: impl Fn(&Order) -> Option<Answer> + Send + 'static,
    ) {
        let id = NodeId { name: name.to_owned(), run: 1 };
        let status = Status { release: release.to_owned(), ..Status::default() };
        let report = Report { node: id.clone(), status, ..Report::default() };
        fleet.report(report.clone()).await.unwrap();
        let fleet = fleet.clone();
        tokio::spawn(async move {
            let poll = Poll {
                protocol: PROTOCOL,
                node: id,
                have: Some(fleet.version()),
                wait_ms: 1_000,
                refused: None,
                tls: None,
            };
            loop {
                let push = fleet.poll(&poll).await.unwrap();
                let outcome = |c: &millstream_control_protocol::exchange::Command| {
                    Some(Outcome { number: c.number, answer: reply(&c.what)? })
                };
                let outcomes = push.commands.iter().filter_map(outcome).collect();
                fleet.report(Report { outcomes, ..report.clone() }).await.unwrap();
            }
        });
    }

    fn replayed(differing: u64) -> Replayed {
        let one = Difference { node: "somebody else".to_owned(), recorded: "x".repeat(5_000), ..Difference::default() };
        Replayed { decisions: 500, differing, differences: vec![one; 300], ..Replayed::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn every_node_is_asked_and_those_that_do_not_answer_are_named() {
        let fleet = Fleet::new([], String::new(), DropEvents);
        play(&fleet, "busy", "1", |_| Some(Answer::Failed { reason: "other replays took all the time".to_owned() }))
            .await;
        play(&fleet, "hangs", "1", |_| None).await;
        play(&fleet, "new", "", |_| None).await;
        play(&fleet, "old", "1", |_| Some(Answer::NotUnderstood)).await;
        play(&fleet, "works", "1", |order| {
            let Order::Replay { replay } = order else { panic!("{order:?}") };
            assert_eq!((u128::from(replay.for_ms), replay.listed_max), (REPLAY_FOR_MAX.as_millis(), 100), "bounded");
            let replayed = replayed(7);
            Some(Answer::Replayed { replayed: Box::new(replayed) })
        })
        .await;
        let before = Instant::now();
        let order = Replay { for_ms: u32::MAX, listed_max: u32::MAX, ..Replay::default() };
        let told = fleet.replay(order.clone(), &BTreeSet::new(), Duration::MAX).await;
        assert_eq!(before.elapsed(), REPLAY_WAIT_MAX, "all of them together cost one wait");
        let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["busy", "hangs", "old", "works"], "one that has told nothing of itself has decided nothing");
        assert!(told[..3].iter().all(|(_, told)| told.is_err()) && told[1].1 == Err(LinkError::Late), "{told:?}");
        let works = told[3].1.as_ref().unwrap();
        assert_eq!(
            (works.decisions, works.differing, works.differences.len()),
            (500, 7, 100),
            "as many as were asked for"
        );
        let first = &works.differences[0];
        assert_eq!((first.node.as_str(), first.recorded.len()), ("works", TEXT_CHARS_MAX));
        let (before, without) = (Instant::now(), ["busy".to_owned(), "old".to_owned()].into());
        let told = fleet.replay(order, &without, Duration::from_secs(2)).await;
        assert_eq!(before.elapsed(), Duration::from_secs(2));
        assert_eq!(told.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["hangs", "works"]);
    }

    #[tokio::test(start_paused = true)]
    async fn decisions_of_many_nodes_are_bounded_in_bytes_and_time() {
        let fleet = Fleet::new([], String::new(), DropEvents);
        let names: Vec<&'static str> = (0..60).map(|n| &*format!("node-{n:02}").leak()).collect();
        for (at, name) in names.iter().enumerate() {
            // A third of them hang: 0, 3 and so on to 57. The others have a mebibyte each, of which the newest nodes' is newer.
            let decision = move |n: u64| Recorded { unix_ms: at as u64 * 100 + n, event: "x".repeat(16 << 10) };
            play(&fleet, name, "1", move |order| {
                let Order::ShowRecorded { wanted } = order else { panic!("{order:?}") };
                assert_eq!(wanted.limit, RECORDED_SHOWN_MAX);
                let mut decisions: Vec<_> = (0..64).map(decision).collect();
                decisions.push(Recorded { unix_ms: 1_000_000, event: "x".repeat(RECORDED_EVENT_BYTES_MAX + 1) });
                (at % 3 > 0).then_some(Answer::Recorded { decisions })
            })
            .await;
        }
        let before = Instant::now();
        let all = fleet.recorded(ShowRecorded { limit: u32::MAX, ..ShowRecorded::default() }).await;
        assert!(before.elapsed() <= REPLAY_WAIT_MAX, "{:?}", before.elapsed());
        let late = || names.iter().step_by(3).map(|name| ((*name).to_owned(), LinkError::Late));
        assert_eq!(all.unanswered, late().collect::<Vec<_>>(), "those that hang keep nobody else from answering");
        let bytes: usize = all.decisions.iter().map(|(_, decision)| decision.event.len()).sum();
        assert_eq!(bytes, RECORDED_BYTES_MAX);
        assert_eq!(all.left_out as usize + all.decisions.len(), 40 * 65);
        assert!(all.decisions.is_sorted_by_key(|(_, decision)| decision.unix_ms), "oldest first");
        assert_eq!(all.decisions.last().map(|(node, _)| node.as_str()), Some("node-59"), "the newest");
    }

    #[tokio::test]
    async fn a_module_is_given_while_somebody_offers_it() {
        let fleet = Fleet::new([], String::new(), DropEvents);
        let sha256 = "a".repeat(64);
        let module = Bytes::from(vec![7; PIECE_BYTES + 10]);
        let (one, other) = (fleet.offer(&sha256, module.clone()), fleet.offer(&sha256, module));
        drop(one);
        let mut lengths = Vec::new();
        for at in [0, PIECE_BYTES as u64, PIECE_BYTES as u64 + 10, u64::MAX] {
            lengths.push(fleet.module(&sha256, at).await.unwrap().len());
        }
        assert_eq!(lengths, [PIECE_BYTES, 10, 0, 0]);
        drop(other);
        assert_eq!(fleet.module(&sha256, 0).await, Err(LinkError::NoModule));
    }
}
