//! A client with streams of its own: it makes, rotates and removes them, hangs up, sends again, and holds what it reads against what it knows.
use std::time::Duration;

use serde_json::{Value, json};

use super::control::{Control, Outcome};
use super::node::Node;
use super::random::{Count, Random};

/// What a stream may be as far as its client knows: each possibility is its generation, or nothing.
#[derive(Clone, Debug)]
pub(crate) struct Mine {
    pub(crate) id: String,
    may_be: Vec<Option<u64>>,
    /// Its generation when it was removed last: a new one goes on counting there.
    tombstone: u64,
    /// Its generation before a removal whose end nobody saw.
    removing: u64,
    /// The highest generation that it ever may have had.
    pub(crate) highest: u64,
    /// Generations of a revocation that was acknowledged: up to this one nothing may admit.
    pub(crate) revoked: u64,
}

/// Requests that an idempotency key was sent with.
#[derive(Clone, Debug)]
pub(crate) struct Keyed {
    pub(crate) name: String,
    pub(crate) acknowledged: bool,
}

pub(crate) struct Counts {
    pub(crate) acknowledged: Count,
    pub(crate) unknown: Count,
    pub(crate) checked_at_once: Count,
}

pub(crate) struct Worker {
    pub(crate) control: Control,
    pub(crate) nodes: Vec<Node>,
    pub(crate) streams: Vec<Mine>,
    pub(crate) keyed: Vec<Keyed>,
    pub(crate) counts: Counts,
    random: Random,
    number: u64,
}

const LONG: Duration = Duration::from_secs(30);

impl Worker {
    pub(crate) fn new(number: u64, control: &Control, nodes: &[Node]) -> Self {
        let mine = |n| Mine {
            id: format!("c{number}-{n}"),
            may_be: vec![None],
            tombstone: 0,
            removing: 0,
            highest: 0,
            revoked: 0,
        };
        Self {
            control: control.clone(),
            nodes: nodes.to_vec(),
            streams: (0..3).map(mine).collect(),
            keyed: Vec::new(),
            counts: Counts {
                acknowledged: Count::default(),
                unknown: Count::default(),
                checked_at_once: Count::default(),
            },
            random: control.random.clone(),
            number,
        }
    }

    /// So many things to do, one after the other.
    pub(crate) async fn work(&mut self, steps: u64) {
        for _ in 0..steps {
            tokio::time::sleep(self.random.context(500)).await;
            if self.random.percent(20) {
                self.make_with_key().await;
                continue;
            }
            let n = self.random.below(self.streams.len() as u64) as usize;
            self.change(n).await;
        }
    }

    fn patience(&self) -> Duration {
        if self.random.percent(30) { self.random.context(120) } else { LONG }
    }

    async fn change(&mut self, n: usize) {
        let mine = self.streams[n].clone();
        let before = match mine.may_be.as_slice() {
            [known] => *known,
            _ => return self.look(n).await,
        };
        let path = format!("/api/v1/streams/{}", mine.id);
        let key = format!("{path}/key");
        let patience = self.patience();
        let none: &[(&str, &str)] = &[];
        let (outcome, after) = match before {
            None => {
                let body = json!({ "id": mine.id });
                (
                    self.control.ask(("POST", "/api/v1/streams"), none, Some(&body), patience).await,
                    Some(mine.tombstone + 1),
                )
            }
            Some(generation) if self.random.percent(50) => {
                let body = json!({ "grace_s": if self.random.percent(60) { 0 } else { 2 } });
                let outcome = self.control.ask(("POST", &key), none, Some(&body), patience).await;
                (outcome, Some(generation + 1))
            }
            Some(generation) if self.random.percent(30) => {
                let body = json!({ "settings": { "videoname": "x" } });
                let any = [("If-Match", "*")];
                (self.control.ask(("PATCH", &path), &any, Some(&body), patience).await, Some(generation))
            }
            Some(_) => (self.control.ask(("DELETE", &path), &[("If-Match", "*")], None, patience).await, None),
        };
        let mine = &mut self.streams[n];
        mine.highest = mine.highest.max(after.unwrap_or(0));
        mine.removing = if after.is_none() { before.unwrap_or(0) } else { 0 };
        match outcome {
            Outcome::Answer(status @ 200..=299, body) => {
                self.counts.acknowledged.one();
                mine.may_be = vec![after];
                mine.tombstone = mine.tombstone.max(mine.removing);
                let whole = body["previous"].as_array().is_none_or(Vec::is_empty);
                if after.is_none() || (whole && after.is_some_and(|after| after > 1)) {
                    // Of a removed stream: up to the generation that it had. Ones that were tried and never came are the next one's.
                    mine.revoked = after.map_or(mine.removing, |after| after - 1);
                }
                if let Some(generation) = body["generation"].as_u64() {
                    assert_eq!(Some(generation), after, "{} {status} {body}", mine.id);
                }
                self.check_at_once(n, (before, &body));
            }
            // Said to be full: nothing was changed. As many earlier keys as may be are in their grace.
            Outcome::Answer(507, _) => mine.may_be = vec![before],
            Outcome::Answer(409, _) if before.is_some() && after.is_some() => mine.may_be = vec![before],
            Outcome::Answer(status @ 500..=599, _) => {
                assert_ne!(status, 500, "{}: the handler panicked", mine.id);
                mine.may_be = vec![before, after];
            }
            Outcome::Answer(status, body) => panic!("{} was answered with {status} {body}; it was {before:?}", mine.id),
            Outcome::Unknown => {
                self.counts.unknown.one();
                mine.may_be = vec![before, after];
            }
        }
        mine_sorted(&mut self.streams[n]);
    }

    /// Nodes that control says have this in force decide by it.
    fn check_at_once(&self, n: usize, (before, outcome): (Option<u64>, &Value)) {
        let Some(up) = self.control.up() else { return };
        let mine = &self.streams[n];
        let version = up.fleet.version();
        for view in up.fleet.nodes().iter().filter(|view| !view.away && view.have == Some(version)) {
            // It may have started anew since it was heard.
            let found = self.nodes.iter().find(|node| node.name() == view.id.name && node.have() == Some(version));
            let Some(node) = found else { continue };
            self.counts.checked_at_once.one();
            for generation in 0..=mine.revoked {
                if generation > 0 || mine.revoked > 0 {
                    assert!(
                        !node.admits(&mine.id, generation),
                        "{} admits generation {generation} of {mine:?} after {before:?} {outcome:?}: {}",
                        node.name(),
                        node.shows(&mine.id)
                    );
                }
            }
        }
    }

    /// Learns what a change came to whose end nobody saw, once whatever was begun is over.
    pub(crate) async fn look(&mut self, n: usize) {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let path = format!("/api/v1/streams/{}", self.streams[n].id);
        let mine = &mut self.streams[n];
        match self.control.ask(("GET", &path), &[], None, LONG).await {
            Outcome::Answer(200, body) => {
                let generation = body["generation"].as_u64();
                assert!(mine.may_be.contains(&generation), "{mine:?} is at {generation:?}");
                mine.may_be = vec![generation];
            }
            Outcome::Answer(404, _) => {
                assert!(mine.may_be.contains(&None), "{mine:?} is lost");
                mine.may_be = vec![None];
                mine.tombstone = mine.tombstone.max(mine.removing);
            }
            Outcome::Answer(503, _) | Outcome::Unknown => {}
            Outcome::Answer(status, body) => panic!("{status} {body}"),
        }
    }

    /// What it may be; one, once that is known.
    pub(crate) fn known(&self, n: usize) -> &[Option<u64>] {
        &self.streams[n].may_be
    }

    async fn make_with_key(&mut self) {
        let name = format!("k{}-{}", self.number, self.keyed.len());
        let mut keyed = Keyed { name: name.clone(), acknowledged: false };
        for _ in 0..=self.random.below(3) {
            let body = json!({ "settings": { "videoname": name } });
            let patience = self.patience();
            let key = [("Idempotency-Key", name.as_str())];
            match self.control.ask(("POST", "/api/v1/streams"), &key, Some(&body), patience).await {
                Outcome::Answer(201, _) => keyed.acknowledged = true,
                // Being carried out, or carried out with an answer that could not be kept.
                Outcome::Answer(409 | 500..=599, _) | Outcome::Unknown => {}
                Outcome::Answer(status, body) => panic!("{name}: {status} {body}"),
            }
            tokio::time::sleep(self.random.context(1_000)).await;
        }
        self.keyed.push(keyed);
    }
}

fn mine_sorted(mine: &mut Mine) {
    mine.may_be.sort_unstable();
    mine.may_be.dedup();
}

/// All streams as the API lists them.
pub(crate) async fn list(control: &Control) -> Vec<Value> {
    let (mut items, mut next) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/streams?limit=200{next}");
        let Outcome::Answer(200, page) = control.ask(("GET", &path), &[], None, LONG).await else {
            panic!("the streams cannot be listed");
        };
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return items,
        }
    }
}
