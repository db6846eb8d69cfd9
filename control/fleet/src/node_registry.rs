//! The nodes of a fleet as control knows them: what each told last, and what it is still to be told. Before it: polls and reports;
//! after it: the API's views. A lock is held for the time of a look or a change, never across a wait.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use millstream_control_protocol::diagnosis::{Condition, Diagnosis};
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::{Answer, Command, HookCalls, NodeId, Order, Poll, Report, Status};
use millstream_control_protocol::live::{Live, Publisher};
use millstream_control_protocol::state::Version;
use millstream_control_protocol::task::TaskNews;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::runs::Runs;
use super::time_series::Point;
use super::trust;
use crate::error::LinkError;
use crate::limits::{COMMANDS_WAITING_MAX, LIVE_BYTES_MAX, NODE_AWAY_AFTER, NODE_FORGOTTEN_AFTER, NODES_MAX, is_name};

/// A node, as the API shows it.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its name and its run.
    pub id: NodeId,
    /// What it said about itself last.
    pub status: Status,
    /// How long ago it was heard, milliseconds.
    pub heard_ago_ms: u64,
    /// It has not been heard for longer than it would keep silent.
    pub away: bool,
    /// Another node of this name was refused within the last minute.
    pub same_name: bool,
    /// It polls with this state in force.
    pub have: Option<Version>,
    /// Its place in the order in which nodes came: 0 has been here longest. A name that somebody has made up comes last.
    pub seniority: usize,
}

/// Nodes that are here and take workers of other machines, and where.
pub(super) type Takers = BTreeMap<String, String>;

#[derive(Debug)]
struct Member {
    id: NodeId,
    heard: Instant,
    status: Status,
    have: Option<Version>,
    /// What it shows of [`super::certificates`]; `None`: it takes none of them.
    tls: Option<u64>,
    /// It does not take this control's state.
    refuses: bool,
    live: BTreeMap<String, Live>,
    /// About what those take.
    live_bytes: usize,
    /// They are left out.
    is_crowded: bool,
    events_through: u64,
    failing_hooks: Vec<HookCalls>,
    /// What is wrong with which streams, and about what that takes.
    conditions: BTreeMap<String, Vec<Condition>>,
    conditions_bytes: usize,
    tasks: Vec<TaskNews>,
    orders: VecDeque<Command>,
    asked: HashMap<u64, oneshot::Sender<Answer>>,
    wake: Arc<Notify>,
    runs: Runs,
}

/// All nodes that were heard lately.
#[derive(Debug)]
pub(super) struct NodeRegistry {
    nodes: BTreeMap<String, Member>,
    last_command: u64,
    begun: Instant,
    /// Names in the order in which they came, also those of before this run that have not been heard yet.
    came: Vec<String>,
}

impl Default for NodeRegistry {
    fn default() -> Self {
        Self { nodes: BTreeMap::new(), last_command: 0, begun: Instant::now(), came: Vec::new() }
    }
}

impl NodeRegistry {
    /// A node was heard. A new run of it has nothing to do with the one before.
    fn hear(&mut self, id: &NodeId) -> Result<&mut Member, LinkError> {
        let name = id.name.as_str();
        if !is_name(name) {
            return Err(LinkError::Name);
        }
        if !self.nodes.contains_key(name) {
            self.nodes.retain(|_, member| member.heard.elapsed() < NODE_FORGOTTEN_AFTER);
            if self.nodes.len() >= NODES_MAX {
                return Err(LinkError::Nodes);
            }
            tracing::info!(node = name, "a node has joined");
            if !self.came.iter().any(|known| known == name) {
                let (nodes, is_young) = (&self.nodes, self.begun.elapsed() < NODE_FORGOTTEN_AFTER);
                self.came.retain(|known| is_young || nodes.contains_key(known));
                self.came.push(name.to_owned());
            }
        }
        let fresh = || Member {
            id: id.clone(),
            heard: Instant::now(),
            status: Status::default(),
            have: None,
            tls: None,
            refuses: false,
            live: BTreeMap::new(),
            live_bytes: 0,
            is_crowded: false,
            events_through: 0,
            failing_hooks: Vec::new(),
            conditions: BTreeMap::new(),
            conditions_bytes: 0,
            tasks: Vec::new(),
            orders: VecDeque::new(),
            asked: HashMap::new(),
            wake: Arc::default(),
            runs: Runs::default(),
        };
        let member = self.nodes.entry(name.to_owned()).or_insert_with(fresh);
        if member.id.run != id.run {
            let mut runs = std::mem::take(&mut member.runs);
            let Some(returned) = runs.returned(id.run, member.id.run, member.is_away()) else {
                if runs.refused() {
                    tracing::error!(
                        node = name,
                        run = member.id.run,
                        refused_run = id.run,
                        "two nodes have the same name, and the second is refused: give it another one with --node-name"
                    );
                }
                member.runs = runs;
                return Err(LinkError::SameName);
            };
            if returned == 0 {
                tracing::info!(node = name, "a node has started anew");
            }
            runs.replaced(member.id.run);
            *member = Member { runs, ..fresh() };
        }
        member.heard = Instant::now();
        Ok(member)
    }

    /// A node polls: what it is to do, and what wakes the poll when there is more.
    pub(super) fn poll(&mut self, poll: &Poll) -> Result<(Vec<Command>, Arc<Notify>), LinkError> {
        let member = self.hear(&poll.node)?;
        (member.have, member.tls) = (poll.have, poll.tls);
        let refuses = poll.refused.is_some();
        if refuses && !std::mem::replace(&mut member.refuses, refuses) {
            tracing::error!(
                node = poll.node.name,
                "the node keeps the streams that it has and does not follow this control, whose store is another one than before: restore the \
                 store; or, if this one is meant, start the node once with --accept-new-key"
            );
        }
        member.refuses = refuses;
        // Nobody waits any more for what was given up.
        let Member { orders, asked, .. } = member;
        orders.retain(|command| asked.get(&command.number).is_some_and(|sender| !sender.is_closed()));
        Ok((orders.drain(..).collect(), Arc::clone(&member.wake)))
    }

    /// Which of a report's events are new.
    pub(super) fn new_events(&mut self, report: &Report) -> Result<Vec<Event>, LinkError> {
        let through = self.hear(&report.node)?.events_through;
        Ok(report.events.iter().filter(|event| event.seq > through).cloned().collect())
    }

    /// Takes a report in, once its events are kept; gives the number up to which they are.
    pub(super) fn report(&mut self, report: Report) -> Result<u64, LinkError> {
        let mut room = LIVE_BYTES_MAX.saturating_sub(self.live_bytes());
        let member = self.hear(&report.node)?;
        member.status = report.status;
        member.failing_hooks = report.failing_hooks;
        member.tasks = report.tasks;
        for event in &report.events {
            if event.seq <= member.events_through {
                continue;
            }
            member.events_through = event.seq;
            // So that it is known at once who is on air; the next full report has the rest.
            match event.what {
                What::Publish { .. } => {
                    let Some(live) = member.live_of(&event.stream, &mut room) else { continue };
                    live.publisher = Some(Publisher {
                        session: event.session,
                        protocol: event.protocol.clone(),
                        peer: event.peer.clone(),
                        since_unix_ms: event.at_unix_ms,
                        ..Publisher::default()
                    });
                }
                What::SlateStarted {} => {
                    let Some(live) = member.live_of(&event.stream, &mut room) else { continue };
                    live.slate_since_unix_ms = Some(event.at_unix_ms);
                }
                What::SlateEnded { .. } => {
                    if let Some(live) = member.live.get_mut(&event.stream) {
                        live.slate_since_unix_ms = None;
                    }
                }
                What::Unpublish { .. } => {
                    // Where one replaces another, the new one's start is told before the old one's end.
                    if let Some(live) = member.live.get_mut(&event.stream)
                        && live.publisher.as_ref().is_some_and(|publisher| publisher.session == event.session)
                    {
                        live.publisher = None;
                    }
                }
                _ => {}
            }
        }
        for outcome in report.outcomes {
            if let Some(sender) = member.asked.remove(&outcome.number) {
                // Who asked may have given up.
                let _ = sender.send(outcome.answer);
            }
        }
        let events_through = member.events_through;
        if let Some(live) = report.live {
            self.take_live(&report.node.name, live);
        }
        if let Some(diagnoses) = report.diagnoses {
            self.take_diagnoses(&report.node.name, diagnoses);
        }
        Ok(events_through)
    }

    /// Takes what a node tells of all its streams. What it told before goes first; where all nodes together tell too much, those that are
    /// away are forgotten, and then the one that came with it has no figures: who was here before is not harmed by a name that somebody has
    /// made up.
    fn take_live(&mut self, name: &str, live: Vec<Live>) {
        let bytes: usize = live.iter().map(trust::bytes_of).sum();
        if let Some(member) = self.nodes.get_mut(name) {
            member.forget_live();
        }
        if self.live_bytes() + bytes > LIVE_BYTES_MAX {
            for member in self.nodes.values_mut().filter(|member| member.is_away()) {
                member.forget_live();
                (member.conditions, member.conditions_bytes) = (BTreeMap::new(), 0);
            }
        }
        let fits = self.live_bytes() + bytes <= LIVE_BYTES_MAX;
        let Some(member) = self.nodes.get_mut(name) else { return };
        if fits {
            member.live = live.into_iter().map(|live| (live.id.clone(), live)).collect();
            member.live_bytes = bytes;
        } else if !member.is_crowded {
            tracing::warn!(
                node = name,
                bytes,
                "nodes tell of more streams than control keeps figures of: this one's are left out"
            );
        }
        member.is_crowded = !fits;
    }

    /// Takes what a node says is wrong with its streams; what it said before goes first, and where there is no room, all of it is left out.
    fn take_diagnoses(&mut self, name: &str, diagnoses: Vec<Diagnosis>) {
        let bytes: usize = diagnoses.iter().map(trust::bytes_of_diagnosis).sum();
        if let Some(member) = self.nodes.get_mut(name) {
            (member.conditions, member.conditions_bytes) = (BTreeMap::new(), 0);
        }
        if self.live_bytes() + bytes <= LIVE_BYTES_MAX
            && let Some(member) = self.nodes.get_mut(name)
        {
            member.conditions = diagnoses.into_iter().map(|told| (told.stream, told.conditions)).collect();
            member.conditions_bytes = bytes;
        }
    }

    /// What nodes that are here have found wrong with a stream, by node.
    pub(super) fn conditions(&self, stream: &str) -> Vec<(String, Vec<Condition>)> {
        let here = self.nodes.iter().filter(|(_, member)| !member.is_away());
        here.filter_map(|(name, member)| Some((name.clone(), member.conditions.get(stream)?.clone()))).collect()
    }

    /// The same, of a node.
    pub(super) fn conditions_at(&self, node: &str, stream: &str) -> Vec<Condition> {
        let member = self.nodes.get(node).filter(|member| !member.is_away());
        member.and_then(|member| member.conditions.get(stream)).cloned().unwrap_or_default()
    }

    /// About what all figures take.
    fn live_bytes(&self) -> usize {
        self.nodes.values().map(|member| member.live_bytes + member.conditions_bytes).sum()
    }

    /// Orders something of a node that is here.
    pub(super) fn order(&mut self, node: &str, what: Order) -> Result<oneshot::Receiver<Answer>, LinkError> {
        let number = self.last_command + 1;
        let member = self.nodes.get_mut(node).filter(|member| !member.is_away()).ok_or(LinkError::Away)?;
        member.asked.retain(|_, sender| !sender.is_closed());
        if member.asked.len() >= COMMANDS_WAITING_MAX {
            return Err(LinkError::Busy);
        }
        let (sender, receiver) = oneshot::channel();
        member.asked.insert(number, sender);
        member.orders.push_back(Command { number, what });
        // One poll waits; where none does just now, the next one finds the permit.
        member.wake.notify_one();
        self.last_command = number;
        Ok(receiver)
    }

    /// Nodes that are here.
    pub(super) fn present(&self) -> Vec<String> {
        self.nodes.iter().filter(|(_, member)| !member.is_away()).map(|(name, _)| name.clone()).collect()
    }

    /// Nodes that are here and take workers of other machines, and where.
    pub(super) fn takers(&self) -> Takers {
        let here = self.nodes.iter().filter(|(_, member)| !member.is_away() && !member.status.draining);
        let takers = here.filter(|(_, member)| !member.status.worker_url.is_empty());
        takers.map(|(name, member)| (name.clone(), member.status.worker_url.clone())).collect()
    }

    /// Nodes that are here and have told what they are: one that has only asked for news yet has decided nothing.
    pub(super) fn reporting(&self) -> Vec<String> {
        let told = self.nodes.iter().filter(|(_, member)| !member.is_away() && !member.status.release.is_empty());
        told.map(|(name, _)| name.clone()).collect()
    }

    /// Whether every node that is here has this state in force.
    pub(super) fn all_have(&self, version: Version) -> bool {
        self.nodes
            .values()
            // One that follows another store will not take it up.
            .filter(|member| !member.is_away() && !member.refuses)
            .all(|member| member.have.is_some_and(|have| have.epoch == version.epoch && have.number >= version.number))
    }

    /// Of the nodes that are here and take control's certificate: how many show what has this number, and the names of the others.
    pub(super) fn shown(&self, number: u64) -> (usize, Vec<String>) {
        let here = self.nodes.iter().filter(|(_, member)| !member.is_away());
        let takers: Vec<_> = here.filter_map(|(name, member)| Some((name, member.tls?))).collect();
        let lacking: Vec<_> =
            takers.iter().filter(|(_, shown)| *shown != number).map(|(name, _)| (*name).clone()).collect();
        (takers.len() - lacking.len(), lacking)
    }

    /// What was told last of a stream, by node.
    pub(super) fn last_told(&self, stream: &str) -> Vec<(String, Live)> {
        let told = self.nodes.iter().filter(|(_, member)| !member.is_away());
        told.filter_map(|(name, member)| Some((name.clone(), member.live.get(stream)?.clone()))).collect()
    }

    /// What nodes that are here told last of hooks that fail.
    pub(super) fn failing_hooks(&self) -> Vec<HookCalls> {
        let here = self.nodes.values().filter(|member| !member.is_away());
        here.flat_map(|member| member.failing_hooks.iter().cloned()).collect()
    }

    /// What nodes told last of their tasks.
    pub(super) fn task_news(&self) -> Vec<(String, TaskNews)> {
        let told = |(name, member): (&String, &Member)| {
            let news: Vec<_> = member.tasks.iter().map(|news| (name.clone(), news.clone())).collect();
            news
        };
        self.nodes.iter().flat_map(told).collect()
    }

    /// Whether a node that is here has told that it holds a stream; `None`: it is not here, or has not told what it holds.
    pub(super) fn holds(&self, node: &str, stream: &str) -> Option<bool> {
        let member = self.nodes.get(node).filter(|member| !member.is_away() && !member.status.release.is_empty())?;
        Some(member.live.contains_key(stream))
    }

    /// The runs of nodes that are here, by name.
    pub(super) fn runs(&self) -> Vec<NodeId> {
        self.nodes.values().filter(|member| !member.is_away()).map(|member| member.id.clone()).collect()
    }

    /// What was told last of all streams, by node.
    pub(super) fn on_air(&self) -> Vec<(String, Live)> {
        let present = self.nodes.iter().filter(|(_, member)| !member.is_away());
        present.flat_map(|(name, member)| member.live.values().map(|live| (name.clone(), live.clone()))).collect()
    }

    /// The figures of all streams, of all nodes that are here.
    pub(super) fn points(&self) -> BTreeMap<String, Point> {
        let mut points = BTreeMap::<String, Point>::new();
        for live in self.nodes.values().filter(|member| !member.is_away()).flat_map(|member| member.live.values()) {
            points.entry(live.id.clone()).or_default().add(live);
        }
        points
    }

    /// Names of nodes that came before control began, in the order in which they did; those that are not heard within an hour are forgotten.
    pub(super) fn came_before(&mut self, mut names: Vec<String>) {
        names.truncate(NODES_MAX);
        self.came = names;
    }

    /// The same, for the next run.
    pub(super) fn came(&self) -> Vec<String> {
        self.came.clone()
    }

    /// All nodes, by name.
    pub(super) fn views(&self) -> Vec<NodeView> {
        let order: HashMap<&str, usize> = self.came.iter().enumerate().map(|(n, name)| (name.as_str(), n)).collect();
        let view = |member: &Member| NodeView {
            id: member.id.clone(),
            status: member.status.clone(),
            heard_ago_ms: u64::try_from(member.heard.elapsed().as_millis()).unwrap_or(u64::MAX),
            away: member.is_away(),
            same_name: member.runs.was_refused(),
            have: member.have,
            seniority: order.get(member.id.name.as_str()).copied().unwrap_or(usize::MAX),
        };
        self.nodes.values().map(view).collect()
    }
}

impl Member {
    /// A stream's figures, made where there are none and room for some.
    fn live_of(&mut self, stream: &str, room: &mut usize) -> Option<&mut Live> {
        if !self.live.contains_key(stream) {
            let live = Live { id: stream.to_owned(), ..Live::default() };
            // With a publisher, which has an address and a protocol.
            let bytes = trust::bytes_of(&live) + 256;
            *room = room.checked_sub(bytes)?;
            self.live_bytes += bytes;
            self.live.insert(stream.to_owned(), live);
        }
        self.live.get_mut(stream)
    }

    fn forget_live(&mut self) {
        self.live = BTreeMap::new();
        self.live_bytes = 0;
    }

    fn is_away(&self) -> bool {
        self.heard.elapsed() > NODE_AWAY_AFTER
    }
}
