//! The state that nodes are to have, with a journal of its changes, so that a node that is a little behind gets only what it lacks.
//! Before it: control's records; after it: [`super::Fleet::poll`].
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millstream_control_protocol::exchange::Update;
use millstream_control_protocol::state::{Binding, Stream, Version};
use millstream_control_protocol::task::Task;

use crate::limits::JOURNAL_LEN_MAX;

/// All streams and bindings of hooks, and which of them changed lately.
#[derive(Debug)]
pub(super) struct DesiredState {
    version: Version,
    key_check: String,
    store: String,
    stands_for: Vec<String>,
    streams: BTreeMap<String, Stream>,
    bindings: BTreeMap<String, Binding>,
    tasks: BTreeMap<String, Task>,
    /// What changed by the number of the change, oldest first, without a hole up to `version.number`.
    journal: VecDeque<Entry>,
}

/// A thing of the state, by its id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Entry {
    Stream(String),
    Binding(String),
    Task(String),
}

impl DesiredState {
    pub(super) fn new(epoch: u64, key_check: String, streams: impl IntoIterator<Item = Stream>) -> Self {
        let streams = streams.into_iter().map(|stream| (stream.id.clone(), stream)).collect();
        let version = Version { epoch, number: 1 };
        let (store, stands_for) = (String::new(), Vec::new());
        Self {
            version,
            key_check,
            store,
            stands_for,
            streams,
            bindings: BTreeMap::new(),
            tasks: BTreeMap::new(),
            journal: VecDeque::new(),
        }
    }

    /// Says which store the streams are of, and in the place of which ones.
    pub(super) fn is_of(&mut self, store: String, stands_for: Vec<String>) {
        (self.store, self.stands_for) = (store, stands_for);
    }

    /// Whether a node that follows this store follows another one than this.
    pub(super) fn is_foreign(&self, store: &str) -> bool {
        let known = store == self.store || self.stands_for.iter().any(|id| id == store);
        !(known || store.is_empty() || self.store.is_empty())
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Creates or changes a stream; nothing happens where it is just so already.
    pub(super) fn put(&mut self, stream: Stream) {
        if self.streams.get(&stream.id) != Some(&stream) {
            self.note(Entry::Stream(stream.id.clone()));
            self.streams.insert(stream.id.clone(), stream);
        }
    }

    /// What `look` finds at the first stream of which it finds something.
    pub(super) fn find_stream<T>(&self, look: impl FnMut(&Stream) -> Option<T>) -> Option<T> {
        self.streams.values().find_map(look)
    }

    /// Takes a stream out.
    pub(super) fn remove(&mut self, id: &str) {
        if self.streams.remove(id).is_some() {
            self.note(Entry::Stream(id.to_owned()));
        }
    }

    /// Binds a hook, or changes how it is bound; nothing happens where it is just so already.
    pub(super) fn bind(&mut self, binding: Binding) {
        if self.bindings.get(&binding.id) != Some(&binding) {
            self.note(Entry::Binding(binding.id.clone()));
            self.bindings.insert(binding.id.clone(), binding);
        }
    }

    /// Takes a binding out.
    pub(super) fn unbind(&mut self, id: &str) {
        if self.bindings.remove(id).is_some() {
            self.note(Entry::Binding(id.to_owned()));
        }
    }

    /// Has nodes do something; nothing happens where they are told just so already.
    pub(super) fn assign(&mut self, task: Task) {
        if self.tasks.get(&task.id) != Some(&task) {
            self.note(Entry::Task(task.id.clone()));
            self.tasks.insert(task.id.clone(), task);
        }
    }

    /// Has nodes do it no longer.
    pub(super) fn settle(&mut self, id: &str) {
        if self.tasks.remove(id).is_some() {
            self.note(Entry::Task(id.to_owned()));
        }
    }

    /// These are all streams from here on.
    pub(super) fn replace(&mut self, streams: impl IntoIterator<Item = Stream>) {
        let mut gone: BTreeSet<String> = self.streams.keys().cloned().collect();
        for stream in streams {
            gone.remove(&stream.id);
            self.put(stream);
        }
        for id in gone {
            self.remove(&id);
        }
    }

    fn note(&mut self, entry: Entry) {
        self.version.number += 1;
        self.journal.push_back(entry);
        if self.journal.len() > JOURNAL_LEN_MAX {
            self.journal.pop_front();
        }
    }

    /// What a node lacks that has this state in force; `None`: nothing.
    pub(super) fn update(&self, have: Option<Version>) -> Option<Update> {
        let lacks = |have: Version| {
            let changes = self.version.number.checked_sub(have.number)?;
            let known = have.epoch == self.version.epoch && changes <= self.journal.len() as u64;
            known.then_some(changes as usize)
        };
        let mut update = Update {
            version: self.version,
            key_check: self.key_check.clone(),
            store: self.store.clone(),
            stands_for: self.stands_for.clone(),
            ..Update::default()
        };
        match have.and_then(lacks) {
            Some(0) => return None,
            Some(changes) => {
                update.from = have;
                for entry in self.journal.iter().rev().take(changes).collect::<BTreeSet<_>>() {
                    match entry {
                        Entry::Stream(id) => match self.streams.get(id) {
                            Some(stream) => update.streams.push(stream.clone()),
                            None => update.removed.push(id.clone()),
                        },
                        Entry::Binding(id) => match self.bindings.get(id) {
                            Some(binding) => update.bindings.push(binding.clone()),
                            None => update.unbound.push(id.clone()),
                        },
                        Entry::Task(id) => match self.tasks.get(id) {
                            Some(task) => update.tasks.push(task.clone()),
                            None => update.settled.push(id.clone()),
                        },
                    }
                }
            }
            None => {
                update.streams = self.streams.values().cloned().collect();
                update.bindings = self.bindings.values().cloned().collect();
                update.tasks = self.tasks.values().cloned().collect();
            }
        }
        Some(update)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(id: &str, generation: u64) -> Stream {
        Stream { id: id.into(), generation, ..Stream::default() }
    }

    /// A node that applies what it is told.
    #[derive(Default)]
    struct Node {
        have: Option<Version>,
        streams: BTreeMap<String, Stream>,
        bindings: BTreeMap<String, Binding>,
        tasks: BTreeMap<String, Task>,
    }

    impl Node {
        /// How many streams and bindings it was told of; `None`: nothing new.
        fn catch_up(&mut self, desired: &DesiredState) -> Option<usize> {
            let update = desired.update(self.have)?;
            assert!(update.from.is_none() || update.from == self.have);
            if update.from.is_none() {
                self.streams.clear();
                self.bindings.clear();
                self.tasks.clear();
            }
            let told = update.streams.len() + update.removed.len() + update.bindings.len() + update.unbound.len();
            let told = told + update.tasks.len() + update.settled.len();
            update.removed.iter().for_each(|id| drop(self.streams.remove(id)));
            self.streams.extend(update.streams.into_iter().map(|stream| (stream.id.clone(), stream)));
            update.unbound.iter().for_each(|id| drop(self.bindings.remove(id)));
            self.bindings.extend(update.bindings.into_iter().map(|binding| (binding.id.clone(), binding)));
            update.settled.iter().for_each(|id| drop(self.tasks.remove(id)));
            self.tasks.extend(update.tasks.into_iter().map(|task| (task.id.clone(), task)));
            self.have = Some(update.version);
            assert_eq!((&self.streams, &self.bindings), (&desired.streams, &desired.bindings));
            assert_eq!(self.tasks, desired.tasks);
            Some(told)
        }
    }

    #[test]
    fn a_node_gets_what_it_lacks_and_no_more() {
        let mut desired = DesiredState::new(9, String::new(), [stream("a", 1), stream("b", 1)]);
        let mut node = Node::default();
        assert_eq!(node.catch_up(&desired), Some(2));
        assert_eq!(node.catch_up(&desired), None);
        desired.put(stream("a", 1));
        assert_eq!(node.catch_up(&desired), None, "nothing has changed");
        desired.put(stream("a", 2));
        desired.put(stream("a", 3));
        desired.remove("b");
        desired.remove("never");
        assert_eq!(node.catch_up(&desired), Some(2));
        desired.replace([stream("a", 3), stream("c", 1)]);
        assert_eq!(node.catch_up(&desired), Some(1));
    }

    #[test]
    fn bindings_come_and_go_as_streams_do_and_are_not_mistaken_for_them() {
        let binding = |id: &str, order| Binding { id: id.into(), order, ..Binding::default() };
        let mut desired = DesiredState::new(9, String::new(), [stream("a", 1)]);
        let mut node = Node::default();
        node.catch_up(&desired);
        desired.bind(binding("a", 1));
        desired.bind(binding("b", 1));
        assert_eq!(node.catch_up(&desired), Some(2));
        desired.bind(binding("a", 1));
        assert_eq!(node.catch_up(&desired), None, "nothing has changed");
        desired.bind(binding("b", 2));
        desired.unbind("a");
        desired.unbind("never");
        desired.put(stream("a", 2));
        assert_eq!(node.catch_up(&desired), Some(3));
        // Streams that are told anew leave bindings alone.
        desired.replace([stream("c", 1)]);
        assert_eq!(node.catch_up(&desired), Some(2));
        assert_eq!(Node::default().catch_up(&desired), Some(2), "a new node gets both kinds");
    }

    #[test]
    fn tasks_come_and_go_beside_streams_and_bindings_of_the_same_id() {
        let task = |id: &str, node: &str| Task { id: id.into(), node: node.into(), ..Task::default() };
        let mut desired = DesiredState::new(9, String::new(), [stream("a", 1)]);
        let mut node = Node::default();
        node.catch_up(&desired);
        desired.assign(task("a", "one"));
        desired.assign(task("b", "one"));
        assert_eq!(node.catch_up(&desired), Some(2));
        desired.assign(task("a", "one"));
        assert_eq!(node.catch_up(&desired), None, "nothing has changed");
        desired.assign(task("b", "two"));
        desired.settle("a");
        desired.settle("never");
        assert_eq!(node.catch_up(&desired), Some(2));
        desired.replace([stream("c", 1)]);
        assert_eq!(node.catch_up(&desired), Some(2));
        assert_eq!(Node::default().catch_up(&desired), Some(2), "a new node gets what is left to do");
    }

    #[test]
    fn a_node_that_is_far_behind_or_of_another_run_gets_everything() {
        let mut desired = DesiredState::new(9, String::new(), [stream("a", 1)]);
        let mut node = Node::default();
        node.catch_up(&desired);
        for generation in 2..JOURNAL_LEN_MAX as u64 + 3 {
            desired.put(stream("b", generation));
        }
        assert_eq!(desired.update(node.have).unwrap().from, None);
        assert_eq!(node.catch_up(&desired), Some(2));
        // Control has restarted: its numbers say nothing of the ones before.
        let restarted = DesiredState::new(10, String::new(), [stream("a", 1)]);
        assert_eq!(node.catch_up(&restarted), Some(1));
        // A number from the future is nobody's.
        node.have = Some(Version { epoch: 10, number: 99 });
        assert_eq!(node.catch_up(&restarted), Some(1));
    }
}
