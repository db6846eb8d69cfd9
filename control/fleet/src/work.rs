//! Workers of other machines as control knows them: which there are, and which node each works for. A node that takes such workers has one, a worker has one
//! node; those that are left over wait for a node that loses its worker. Before it: workers' polls, and what nodes report; after it: the worker connects to
//! its node.
//!
//! Nothing of it is stored: after a start of control each worker says whose it is.
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream_control_protocol::exchange::NodeId;
use millstream_control_protocol::work::{Assignment, Ticket, WorkPoll, WorkPush, WorkerStatus};
use millstream_control_protocol::{PROTOCOL, understands};
use millstream_proto::secret::Secret;
use millstream_proto::sign::worker::WorkerKey;
use tokio::time::Instant;

use super::error::LinkError;
use super::fleet::{Fleet, lock};
use super::node_registry::Takers;
use super::runs::Runs;
use super::trust;
use crate::limits::{
    NODE_AWAY_AFTER, NODE_FORGOTTEN_AFTER, NODE_NAME_BYTES_MAX, TICKET_LASTS, WORK_BEGUN_WITHIN, WORK_LOOK_EVERY,
    WORK_LOOK_SERVING_EVERY, WORK_WAIT_MAX, WORKERS_MAX, is_name,
};

/// Makes the tickets that workers connect to nodes with.
#[derive(Clone, Debug)]
pub struct Tickets(WorkerKey);

impl Tickets {
    /// Of the token that control and its nodes share.
    pub fn new(node_token: &Secret) -> Self {
        Self(WorkerKey::new(node_token))
    }

    fn of(&self, worker: &NodeId, (node, url): (String, String), now_unix_s: u64) -> Assignment {
        let expires_unix_s = now_unix_s + TICKET_LASTS.as_secs();
        let ticket = self.0.ticket(&node, (&worker.name, worker.run), expires_unix_s);
        let ticket = Ticket(ticket.expose().to_owned());
        Assignment { node, url, expires_unix_s, ticket }
    }
}

/// A worker, as the API shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerView {
    /// Its name and its run.
    pub id: NodeId,
    /// How long ago it was heard, milliseconds.
    pub heard_ago_ms: u64,
    /// It has not been heard for longer than it would keep silent.
    pub away: bool,
    /// Another worker of this name was refused within the last minute.
    pub same_name: bool,
    /// The node that it was told; empty: none.
    pub node: String,
    /// It works for that.
    pub serving: bool,
    /// What it said about itself last.
    pub status: WorkerStatus,
}

/// All workers that were heard lately.
#[derive(Debug, Default)]
pub(super) struct Workers(BTreeMap<String, Member>);

#[derive(Debug)]
struct Member {
    id: NodeId,
    heard: Instant,
    serving: String,
    status: WorkerStatus,
    /// The node that it was told, where that takes workers, and since when.
    assigned: Option<Assigned>,
    runs: Runs,
}

#[derive(Clone, Debug)]
struct Assigned {
    node: String,
    url: String,
    since: Instant,
}

impl Member {
    fn is_away(&self) -> bool {
        self.heard.elapsed() > NODE_AWAY_AFTER
    }

    /// The node that nobody else is told: it works for it, or was told it a moment ago.
    fn holds(&self) -> Option<&str> {
        let told = self
            .assigned
            .as_ref()
            .filter(|assigned| assigned.node == self.serving || assigned.since.elapsed() < WORK_BEGUN_WITHIN);
        let held = told.map(|assigned| assigned.node.as_str()).or(Some(self.serving.as_str()));
        held.filter(|node| !node.is_empty() && !self.is_away())
    }
}

impl Workers {
    /// A worker was heard.
    fn hear(&mut self, poll: WorkPoll) -> Result<(), LinkError> {
        let name = poll.worker.name.as_str();
        if !is_name(name) {
            return Err(LinkError::WorkerName);
        }
        if !self.0.contains_key(name) {
            self.0.retain(|_, member| member.heard.elapsed() < NODE_FORGOTTEN_AFTER);
            if self.0.len() >= WORKERS_MAX {
                return Err(LinkError::Workers);
            }
            tracing::info!(worker = name, release = poll.status.release, "a worker has joined");
        }
        let fresh = || Member {
            id: poll.worker.clone(),
            heard: Instant::now(),
            serving: String::new(),
            status: WorkerStatus::default(),
            assigned: None,
            runs: Runs::default(),
        };
        let member = self.0.entry(name.to_owned()).or_insert_with(fresh);
        if member.id.run != poll.worker.run {
            let mut runs = std::mem::take(&mut member.runs);
            if runs.returned(poll.worker.run, member.id.run, member.is_away()).is_none() {
                if runs.refused() {
                    tracing::error!(
                        worker = name,
                        "two workers have the same name, and the second is refused: give it another one with --name"
                    );
                }
                member.runs = runs;
                return Err(LinkError::SameWorkerName);
            }
            runs.replaced(member.id.run);
            // It comes back to the node that it had.
            *member = Member { runs, assigned: member.assigned.take(), ..fresh() };
        }
        member.heard = Instant::now();
        member.serving = poll.serving;
        if member.serving.len() > NODE_NAME_BYTES_MAX {
            member.serving.clear();
        }
        member.status = poll.status;
        trust::tidy_worker(&mut member.status);
        Ok(())
    }

    /// The node that a worker is to work for, and where that takes it.
    fn choose(&mut self, name: &str, takers: &Takers) -> Option<(String, String)> {
        let held: Vec<String> = self
            .0
            .iter()
            .filter(|(other, _)| *other != name)
            .filter_map(|(_, member)| member.holds().map(str::to_owned))
            .collect();
        let is_free = |node: &str| !held.iter().any(|held| held == node);
        let member = self.0.get_mut(name)?;
        let of = |node: &str, url: &str| Assigned { node: node.to_owned(), url: url.to_owned(), since: Instant::now() };
        if member.serving.is_empty() {
            let is_kept = |assigned: &Assigned| {
                takers.get(&assigned.node) == Some(&assigned.url)
                    && is_free(&assigned.node)
                    && assigned.since.elapsed() < WORK_BEGUN_WITHIN
            };
            if !member.assigned.as_ref().is_some_and(is_kept) {
                // One that it does not come to is tried again when all others have been.
                let last = member.assigned.take().map(|assigned| assigned.node).unwrap_or_default();
                let behind = takers.iter().filter(|(node, _)| **node > last);
                let before = takers.iter().filter(|(node, _)| **node <= last);
                let free = behind.chain(before).find(|(node, _)| is_free(node));
                member.assigned = free.map(|(node, url)| of(node, url));
                if let Some(Assigned { node, .. }) = member.assigned.as_ref().filter(|next| next.node != last) {
                    tracing::info!(worker = name, node, "a worker is told its node");
                }
            }
        } else {
            // Control may have begun after it, or may not hear its node: it goes on.
            let url = takers.get(&member.serving);
            if let Some(assigned) = member.assigned.as_mut().filter(|assigned| assigned.node == member.serving) {
                // Its next run, or its next connection, has the node kept for a while.
                assigned.since = Instant::now();
                if let Some(url) = url {
                    assigned.url.clone_from(url);
                }
            } else {
                member.assigned = url.map(|url| of(&member.serving, url));
            }
        }
        member.assigned.as_ref().map(|assigned| (assigned.node.clone(), assigned.url.clone()))
    }

    fn views(&self) -> Vec<WorkerView> {
        let view = |member: &Member| {
            let node = member.assigned.as_ref().map_or_else(|| member.serving.clone(), |told| told.node.clone());
            WorkerView {
                id: member.id.clone(),
                heard_ago_ms: u64::try_from(member.heard.elapsed().as_millis()).unwrap_or(u64::MAX),
                away: member.is_away(),
                same_name: member.runs.was_refused(),
                serving: !node.is_empty() && member.serving == node && !member.is_away(),
                node,
                status: member.status.clone(),
            }
        };
        self.0.values().map(view).collect()
    }
}

impl Fleet {
    /// A worker's question whose it is; answered when that is another node than it was told, or when its wait is over.
    pub async fn work(&self, poll: WorkPoll, tickets: &Tickets) -> Result<WorkPush, LinkError> {
        let (worker, told) = (poll.worker.clone(), poll.assigned.clone());
        if !understands(poll.protocol) {
            tracing::warn!(
                worker = worker.name,
                protocol = poll.protocol,
                ours = PROTOCOL,
                "a worker is more than one release apart: it is served as far as it is understood; upgrade the older of the two"
            );
        }
        let until = Instant::now() + Duration::from_millis(u64::from(poll.wait_ms)).min(WORK_WAIT_MAX);
        // One that has a node is told news of it alone.
        let look_every = if poll.serving.is_empty() { WORK_LOOK_EVERY } else { WORK_LOOK_SERVING_EVERY };
        lock(&self.0.workers).hear(poll)?;
        loop {
            let takers = lock(&self.0.registry).takers();
            let chosen = lock(&self.0.workers).choose(&worker.name, &takers);
            let is_news = chosen.as_ref().map_or("", |(node, _)| node) != told;
            if is_news || Instant::now() >= until {
                let now_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                let assignment = chosen.map(|chosen| tickets.of(&worker, chosen, now_unix_s));
                return Ok(WorkPush { protocol: PROTOCOL, assignment });
            }
            tokio::time::sleep(look_every.min(until - Instant::now())).await;
        }
    }

    /// All workers of other machines that were heard within the last hour, by name.
    pub fn workers(&self) -> Vec<WorkerView> {
        lock(&self.0.workers).views()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(name: &str, run: u64, serving: &str) -> WorkPoll {
        let worker = NodeId { name: name.to_owned(), run };
        WorkPoll { worker, serving: serving.to_owned(), ..WorkPoll::default() }
    }

    fn takers(names: &[&str]) -> Takers {
        names.iter().map(|name| ((*name).to_owned(), format!("tcp://{name}:8082"))).collect()
    }

    /// The node that a worker is told after it has said that.
    fn told(workers: &mut Workers, poll: WorkPoll, takers: &Takers) -> String {
        let name = poll.worker.name.clone();
        workers.hear(poll).unwrap();
        workers.choose(&name, takers).map(|(node, _)| node).unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn each_node_has_one_worker_and_the_others_wait() {
        let (mut workers, all) = (Workers::default(), takers(&["a", "b"]));
        assert_eq!(told(&mut workers, poll("one", 1, ""), &Takers::new()), "");
        assert_eq!(told(&mut workers, poll("one", 1, ""), &all), "a");
        assert_eq!(told(&mut workers, poll("two", 1, ""), &all), "b");
        assert_eq!(told(&mut workers, poll("three", 1, ""), &all), "");
        assert_eq!(told(&mut workers, poll("one", 1, "a"), &all), "a");
        assert_eq!(told(&mut workers, poll("two", 1, "b"), &all), "b");
        tokio::time::advance(NODE_AWAY_AFTER.saturating_sub(Duration::from_secs(1))).await;
        assert_eq!(told(&mut workers, poll("two", 1, "b"), &all), "b");
        assert_eq!(told(&mut workers, poll("three", 1, ""), &all), "");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(told(&mut workers, poll("three", 1, ""), &all), "a", "the first one is away");
        // It comes back, and waits.
        assert_eq!(told(&mut workers, poll("three", 1, "a"), &all), "a");
        assert_eq!(told(&mut workers, poll("one", 2, ""), &all), "");
        let views: Vec<_> = workers.views().into_iter().map(|view| (view.id.name, view.node, view.serving)).collect();
        let view = |name: &str, node: &str, serving| (name.to_owned(), node.to_owned(), serving);
        assert_eq!(views, [view("one", "", false), view("three", "a", true), view("two", "b", true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_serves_goes_on_whatever_control_knows() {
        // Of a control that has just begun.
        let mut workers = Workers::default();
        assert_eq!(told(&mut workers, poll("one", 1, "a"), &Takers::new()), "");
        assert_eq!(told(&mut workers, poll("two", 1, ""), &takers(&["a"])), "", "it is the other's");
        assert_eq!(told(&mut workers, poll("one", 1, "a"), &takers(&["a", "b"])), "a");
        // And of one that does not hear the node.
        assert_eq!(told(&mut workers, poll("one", 1, "a"), &Takers::new()), "a");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_a_worker_does_not_reach_is_told_another_one() {
        let (mut workers, all) = (Workers::default(), takers(&["a", "b"]));
        assert_eq!(told(&mut workers, poll("one", 1, ""), &all), "a");
        tokio::time::advance(WORK_BEGUN_WITHIN).await;
        assert_eq!(told(&mut workers, poll("one", 1, ""), &all), "b");
        assert_eq!(told(&mut workers, poll("two", 1, ""), &all), "a");
        tokio::time::advance(WORK_BEGUN_WITHIN).await;
        assert_eq!(told(&mut workers, poll("two", 1, "a"), &all), "a");
        assert_eq!(told(&mut workers, poll("one", 1, ""), &all), "b", "it is tried again");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_started_again_comes_back_to_its_node_after_hours() {
        let (mut workers, all) = (Workers::default(), takers(&["a", "b"]));
        assert_eq!(told(&mut workers, poll("one", 1, "b"), &all), "b");
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(told(&mut workers, poll("one", 1, "b"), &all), "b");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(told(&mut workers, poll("one", 2, ""), &all), "b", "and not to the first that is free");
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_workers_of_one_name_one_is_refused() {
        let (mut workers, all) = (Workers::default(), takers(&["a"]));
        // One that is started anew is the next run.
        assert_eq!(told(&mut workers, poll("one", 1, "a"), &all), "a");
        assert_eq!(told(&mut workers, poll("one", 2, ""), &all), "a");
        let mut refused = 0;
        for _ in 0..8 {
            for run in [1, 2] {
                refused += usize::from(workers.hear(poll("one", run, "")) == Err(LinkError::SameWorkerName));
            }
        }
        assert!((4..=8).contains(&refused), "{refused}");
        assert!(workers.views()[0].same_name);
        assert_eq!(workers.hear(poll("", 1, "")), Err(LinkError::WorkerName));
        assert_eq!(workers.hear(poll("a\nb", 1, "")), Err(LinkError::WorkerName));
    }
}
