//! One world: who is in it, what befalls them, and what must hold at the end.
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_store::Store as _;
use millstream_store::item::{Kind, Query};
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::client::{Worker, list};
use super::control::Control;
use super::hooks::Operator;
use super::node::Node;
use super::random::{Count, Random};
use super::trace::Trace;

/// What befell a world: a walk in which nothing happens proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    acknowledged: u64,
    unknown: u64,
    crashes: u64,
    node_restarts: u64,
    other_stores: u64,
    refused_states: u64,
    checked_at_once: u64,
    events: u64,
    activations: u64,
    rollbacks: u64,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.crashes += other.crashes;
        self.node_restarts += other.node_restarts;
        self.other_stores += other.other_stores;
        self.refused_states += other.refused_states;
        self.checked_at_once += other.checked_at_once;
        self.events += other.events;
        self.activations += other.activations;
        self.rollbacks += other.rollbacks;
    }
}

impl Seen {
    /// Over some hundred seeds everything happens.
    pub(crate) fn has_all(&self) {
        let Self {
            acknowledged,
            unknown,
            crashes,
            node_restarts,
            other_stores,
            refused_states,
            checked_at_once,
            events,
            activations,
            rollbacks,
        } = *self;
        let seen = [
            acknowledged,
            unknown,
            crashes,
            node_restarts,
            other_stores,
            refused_states,
            checked_at_once,
            events,
            activations,
            rollbacks,
        ];
        assert!(!seen.contains(&0), "{self:?}");
    }
}

/// Walks a seed; panics where something does not hold.
pub(crate) fn walk(seed: u64, trace: &Trace) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(LocalSet::new().run_until(World::of(Random::new(seed, trace))))
}

pub(crate) struct World {
    control: Control,
    nodes: Vec<Node>,
}

impl World {
    async fn of(random: Random) -> Seen {
        let control = Control::new(random.clone());
        control.start().await;
        let mut operator = Operator::new(&control).await;
        let nodes: Vec<Node> = (0..=random.below(2)).map(|n| Node::new(n, &control)).collect();
        for node in &nodes {
            tokio::task::spawn_local(node.clone().follow());
            tokio::task::spawn_local(node.clone().keep());
            tokio::task::spawn_local(node.clone().report());
        }
        let steps = 4 + random.below(16);
        let working: Vec<_> = (0..=random.below(2))
            .map(|n| {
                let mut worker = Worker::new(n, &control, &nodes);
                tokio::task::spawn_local(async move {
                    worker.work(steps).await;
                    worker
                })
            })
            .collect();
        let operating = tokio::task::spawn_local(async move {
            operator.work(steps).await;
            operator
        });
        let world = Self { control, nodes };
        let mut befell = Seen::default();
        world.befall(&random, &mut befell).await;
        let mut workers = Vec::new();
        for worker in working {
            workers.push(worker.await.unwrap());
        }
        let operator = operating.await.unwrap();
        world.end(workers, &operator, &mut befell).await;
        befell
    }

    /// Crashes and losses, for some seconds.
    async fn befall(&self, random: &Random, seen: &mut Seen) {
        let (crashes, restarts) = (Count::default(), Count::default());
        for _ in 0..random.below(8) {
            sleep(random.context(2_500)).await;
            match random.below(10) {
                0..5 => {
                    self.control.crash();
                    crashes.one();
                    sleep(random.context(1_500)).await;
                    self.control.start().await;
                }
                5..9 => {
                    let node = &self.nodes[random.below(self.nodes.len() as u64) as usize];
                    node.restart();
                    restarts.one();
                }
                // One that follows nobody yet would follow whoever is there.
                _ if self.nodes.iter().any(|node| node.have().is_none()) => {}
                _ => self.set_up_anew(random, seen).await,
            }
        }
        (seen.crashes, seen.node_restarts) = (crashes.get(), restarts.get());
    }

    /// Control is set up anew with an empty disk, and nobody has said that this is meant; then the right disk is back.
    async fn set_up_anew(&self, random: &Random, seen: &mut Seen) {
        let right = self.control.lose_disk();
        seen.other_stores += 1;
        // Whatever was on its way from the right one has come.
        sleep(Duration::from_secs(3)).await;
        let before: Vec<_> = self.nodes.iter().map(|node| (node.clone(), node.generations())).collect();
        self.control.start().await;
        sleep(Duration::from_millis(200) + random.context(3_000)).await;
        for (node, generations) in before {
            assert!(
                generations.is_empty() || node.generations() == generations,
                "{} did not keep its streams: {generations:?} became {:?}",
                node.name(),
                node.generations()
            );
        }
        self.control.restore(right);
        self.control.start().await;
    }

    /// Everything works again: what was acknowledged is there, and everywhere.
    async fn end(self, mut workers: Vec<Worker>, operator: &Operator, seen: &mut Seen) {
        self.control.faulty.store(false, Ordering::Relaxed);
        self.nodes.iter().for_each(Node::mend);
        if self.control.up().is_none() {
            self.control.start().await;
        }
        sleep(Duration::from_secs(15)).await;
        let items = list(&self.control).await;
        let generation = |item: &serde_json::Value| item["generation"].as_u64().unwrap();
        let stored: BTreeMap<String, u64> =
            items.iter().map(|item| (item["id"].as_str().unwrap().to_owned(), generation(item))).collect();
        for node in &self.nodes {
            assert_eq!(node.generations(), stored, "{} has not what is stored", node.name());
        }
        let named = operator.named().await;
        for node in &self.nodes {
            assert_eq!(node.versions(), named, "{} decides by other versions than control names", node.name());
        }
        (seen.activations, seen.rollbacks) = (operator.activations.get(), operator.rollbacks.get());
        for worker in &mut workers {
            for n in 0..worker.streams.len() {
                worker.look(n).await;
                let [known] = *worker.known(n) else { panic!("everything works, and {n} is not known") };
                let mine = &worker.streams[n];
                assert_eq!(stored.get(&mine.id).copied(), known, "{mine:?}");
                self.check_keys(&mine.id, known, mine.highest);
            }
            for keyed in &worker.keyed {
                let made = items.iter().filter(|item| item["settings"]["videoname"] == keyed.name.as_str()).count();
                assert!(made <= 1 && (made == 1 || !keyed.acknowledged), "{keyed:?} made {made}");
            }
            seen.acknowledged += worker.counts.acknowledged.get();
            seen.unknown += worker.counts.unknown.get();
            seen.checked_at_once += worker.counts.checked_at_once.get();
        }
        for node in &self.nodes {
            self.check_events(node, seen).await;
            seen.refused_states += node.refused.get();
        }
    }

    /// Graces are over: the key in force admits, and no other.
    fn check_keys(&self, id: &str, known: Option<u64>, highest: u64) {
        for node in &self.nodes {
            for generation in 1..=highest + 1 {
                assert_eq!(
                    node.admits(id, generation),
                    known == Some(generation),
                    "{}: generation {generation} of {id}, which is at {known:?}",
                    node.name()
                );
            }
            assert_eq!(node.admits(id, 0), known == Some(1), "{}: the older system's key of {id}", node.name());
        }
    }

    /// Each event that a node may have forgotten is kept.
    async fn check_events(&self, node: &Node, seen: &mut Seen) {
        let (mut kept, mut after) = (0, None);
        loop {
            let prefix = format!("seen-by-{}-", node.name());
            let query = Query { prefix, after, ..Query::all(Kind("session")) };
            let page = self.control.disk().page(query).await.unwrap();
            kept += page.items.len() as u64;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let told: u64 = node.acknowledged().values().sum();
        assert!(kept >= told, "{}: {told} events were acknowledged, and {kept} are kept", node.name());
        seen.events += told;
    }
}
