//! What nodes are asked of the decisions of hooks that they have recorded, and modules that they may fetch for that although no version has them.
use std::collections::BTreeMap;

use axum::body::Bytes;
use millstream_control_protocol::exchange::{Answer, Order};
use millstream_control_protocol::replay::{Recorded, Replay, Replayed, ShowRecorded};

use super::limits::{DIFFERENCES_LISTED_MAX, RECORDED_SHOWN_MAX, REPLAY_FOR_MAX, REPLAY_WAIT_MAX};
use super::{Fleet, LinkError, lock};

/// Bytes of a module that go out at once.
const PIECE_BYTES: usize = 1 << 20;
/// Characters of a text of a node.
const TEXT_CHARS_MAX: usize = 1_024;

/// What each node has told, by name.
pub type Told<T> = Vec<(String, Result<T, LinkError>)>;

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

    /// Has all nodes that are here replay what they have recorded; each in the time that the replay has, and some more.
    pub async fn replay(&self, mut replay: Replay) -> Told<Replayed> {
        replay.for_ms = replay.for_ms.min(u32::try_from(REPLAY_FOR_MAX.as_millis()).unwrap_or(u32::MAX));
        replay.listed_max = replay.listed_max.min(DIFFERENCES_LISTED_MAX as u32);
        let listed_max = replay.listed_max as usize;
        let nodes = lock(&self.0.registry).reporting();
        let order = Order::Replay { replay: Box::new(replay) };
        let answers = self.ask_all_for(nodes, &order, REPLAY_WAIT_MAX).await;
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

    /// Recorded decisions of all nodes that are here.
    pub async fn recorded(&self, mut wanted: ShowRecorded) -> Told<Vec<Recorded>> {
        wanted.limit = wanted.limit.min(RECORDED_SHOWN_MAX);
        let limit = wanted.limit as usize;
        let nodes = lock(&self.0.registry).reporting();
        let answers = self.ask_all_for(nodes, &Order::ShowRecorded { wanted }, REPLAY_WAIT_MAX).await;
        let told = |(node, answer): (String, Result<Answer, LinkError>)| {
            let decisions = match answer {
                Ok(Answer::Recorded { mut decisions }) => {
                    decisions.truncate(limit);
                    Ok(decisions)
                }
                Ok(_) => Err(LinkError::other_answer()),
                Err(error) => Err(error),
            };
            (node, decisions)
        };
        answers.into_iter().map(told).collect()
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
    use tokio::time::Instant;

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
            let poll =
                Poll { protocol: PROTOCOL, node: id, have: Some(fleet.version()), wait_ms: 1_000, refused: None };
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
        let told = fleet.replay(Replay { for_ms: u32::MAX, listed_max: u32::MAX, ..Replay::default() }).await;
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
