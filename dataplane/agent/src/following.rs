//! Which of control's states a node has, and which it takes: without I/O, so that the simulation of control and nodes runs it as it is. Before
//! it: what a poll is answered with; after it: the directory that the shards apply.
use std::collections::BTreeMap;

use millstream_control_protocol::PROTOCOL;
use millstream_control_protocol::exchange::{NodeId, Poll, Update};
use millstream_control_protocol::state::{Binding, State, Stream, Version};
use millstream_control_protocol::task::Task;

/// What a node asks control with, and judges its answers by.
#[derive(Clone, Debug, Default)]
pub struct Following {
    have: Option<Version>,
    store: String,
    refused: Option<Version>,
}

/// What to do with an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// Bring it into force; then say [`Following::taken`].
    Take,
    /// Leave it: it changes something that is not here. The next poll asks for all of it.
    Gap,
    /// Leave it: it is of another store than the one that is followed.
    OtherStore,
}

impl Following {
    /// Goes on from a state that was kept; `whole` says that it has all that this release knows.
    pub fn from_kept(state: &State, whole: bool) -> Self {
        Self { have: whole.then_some(state.version), store: state.store.clone(), refused: None }
    }

    /// What to ask.
    pub fn poll(&self, node: &NodeId, wait_ms: u32) -> Poll {
        Poll { protocol: PROTOCOL, node: node.clone(), have: self.have, wait_ms, refused: self.refused, tls: None }
    }

    /// The state in force.
    pub fn have(&self) -> Option<Version> {
        self.have
    }

    /// The store that is followed; empty where that is not known.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Whether control has another store than the one that is followed.
    pub fn refuses(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether an update is to be brought into force. Nothing has changed yet.
    pub fn judge(&mut self, update: &Update) -> Judgement {
        let known = |id: &String| id.is_empty() || *id == self.store;
        if !(self.store.is_empty() || known(&update.store) || update.stands_for.contains(&self.store)) {
            self.refused = Some(update.version);
            return Judgement::OtherStore;
        }
        if update.from.is_some() && update.from != self.have {
            self.have = None;
            return Judgement::Gap;
        }
        Judgement::Take
    }

    /// It is in force.
    pub fn taken(&mut self, update: &Update) {
        (self.have, self.refused) = (Some(update.version), None);
        // A control that does not say which store it has is of an older release, and of the same store.
        if !update.store.is_empty() {
            self.store.clone_from(&update.store);
        }
    }

    /// What is in force is not enough to go on from: everything is asked for.
    pub fn forget(&mut self) {
        self.have = None;
    }

    /// Follows whichever store control has from here on, as an operator has said.
    pub fn accept_any(&mut self) {
        self.store.clear();
    }
}

/// The whole of a state, put together from updates: what is kept on disk.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Whole {
    version: Version,
    key_check: String,
    store: String,
    streams: BTreeMap<String, Stream>,
    bindings: BTreeMap<String, Binding>,
    tasks: BTreeMap<String, Task>,
}

impl Whole {
    /// A state that was kept.
    pub fn of(state: State) -> Self {
        let streams = state.streams.into_iter().map(|stream| (stream.id.clone(), stream)).collect();
        let bindings = state.bindings.into_iter().flatten().map(|binding| (binding.id.clone(), binding)).collect();
        let tasks = state.tasks.into_iter().flatten().map(|task| (task.id.clone(), task)).collect();
        Self { version: state.version, key_check: state.key_check, store: state.store, streams, bindings, tasks }
    }

    /// Makes of it what an update says.
    pub fn take_in(&mut self, update: &Update) {
        if update.from.is_none() {
            self.streams.clear();
        }
        for id in &update.removed {
            self.streams.remove(id);
        }
        self.streams.extend(update.streams.iter().map(|stream| (stream.id.clone(), stream.clone())));
        rebind(&mut self.bindings, update);
        reassign(&mut self.tasks, update);
        (self.version, self.key_check) = (update.version, update.key_check.clone());
        if !update.store.is_empty() {
            self.store.clone_from(&update.store);
        }
    }

    /// As it is kept.
    pub fn state(&self) -> State {
        State {
            protocol: PROTOCOL,
            version: self.version,
            key_check: self.key_check.clone(),
            store: self.store.clone(),
            streams: self.streams.values().cloned().collect(),
            bindings: Some(self.bindings.values().cloned().collect()),
            tasks: Some(self.tasks.values().cloned().collect()),
        }
    }
}

/// Brings bindings to what an update makes of them.
pub(super) fn rebind(bindings: &mut BTreeMap<String, Binding>, update: &Update) {
    if update.from.is_none() {
        bindings.clear();
    }
    for id in &update.unbound {
        bindings.remove(id);
    }
    bindings.extend(update.bindings.iter().map(|binding| (binding.id.clone(), binding.clone())));
}

/// The same of tasks.
pub(super) fn reassign(tasks: &mut BTreeMap<String, Task>, update: &Update) {
    if update.from.is_none() {
        tasks.clear();
    }
    for id in &update.settled {
        tasks.remove(id);
    }
    tasks.extend(update.tasks.iter().map(|task| (task.id.clone(), task.clone())));
}

/// Whether a kept state has all that this release knows: one that says nothing of bindings or tasks is of a release that knew none.
pub fn is_whole(state: &State) -> bool {
    state.bindings.is_some() && state.tasks.is_some()
}

/// A kept state as the update that makes it.
pub fn update_of(state: &State) -> Update {
    Update {
        version: state.version,
        from: None,
        key_check: state.key_check.clone(),
        store: state.store.clone(),
        streams: state.streams.clone(),
        bindings: state.bindings.clone().unwrap_or_default(),
        tasks: state.tasks.clone().unwrap_or_default(),
        ..Update::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(store: &str, stands_for: &[&str], number: u64) -> Update {
        let stands_for = stands_for.iter().map(|id| (*id).to_owned()).collect();
        Update { version: Version { epoch: 1, number }, store: store.to_owned(), stands_for, ..Update::default() }
    }

    #[test]
    fn another_store_is_taken_only_where_an_operator_has_said_so() {
        let check = |followed: &str, told: &Update, expected| {
            let mut following = Following { store: followed.to_owned(), ..Following::default() };
            assert_eq!(following.judge(told), expected, "{followed} {told:?}");
            assert_eq!(following.refuses(), expected == Judgement::OtherStore);
            assert_eq!(following.poll(&NodeId::default(), 0).refused.is_some(), following.refuses());
            following.accept_any();
            assert_eq!(following.judge(told), Judgement::Take);
            following.taken(told);
            assert!(!following.refuses());
        };
        check("", &update("a", &[], 1), Judgement::Take);
        check("a", &update("a", &[], 1), Judgement::Take);
        check("a", &update("", &[], 1), Judgement::Take);
        check("a", &update("b", &[], 1), Judgement::OtherStore);
        check("a", &update("b", &["z", "a"], 1), Judgement::Take);
        check("a", &update("b", &["z"], 1), Judgement::OtherStore);
    }

    #[test]
    fn a_control_of_before_does_not_make_a_node_forget_which_store_it_follows() {
        let mut following = Following::default();
        for (told, expected) in
            [("a", Judgement::Take), ("", Judgement::Take), ("b", Judgement::OtherStore), ("a", Judgement::Take)]
        {
            let told = update(told, &[], 1);
            assert_eq!(following.judge(&told), expected);
            if expected == Judgement::Take {
                following.taken(&told);
            }
        }
    }

    #[test]
    fn a_change_of_something_else_is_left_and_everything_asked_for() {
        let mut following = Following::default();
        following.taken(&update("a", &[], 1));
        let change = Update { from: Some(Version { epoch: 1, number: 2 }), ..update("a", &[], 3) };
        assert_eq!((following.judge(&change), following.have()), (Judgement::Gap, None));
    }
}
