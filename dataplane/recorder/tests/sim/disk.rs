//! A disk in memory that tears writes, loses what was not synced, and runs full, from a seed.
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use millstream_recorder::spool::disk::{Disk, DiskError, Entry, SyncBatch};
use millstream_test_support::random::Random;

#[derive(Default)]
struct Node {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// A bit of it has been changed.
    is_flipped: bool,
}

/// A change of names that may be lost.
#[derive(Clone)]
enum Naming {
    Link(String, usize),
    Unlink(String),
}

#[derive(Default, Clone)]
struct Names {
    now: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    since: Vec<Naming>,
}

impl Names {
    fn link(&mut self, name: &str, node: usize) {
        self.now.insert(name.to_owned(), node);
        self.since.push(Naming::Link(name.to_owned(), node));
    }

    fn unlink(&mut self, name: &str) {
        self.now.remove(name);
        self.since.push(Naming::Unlink(name.to_owned()));
    }

    fn sync(&mut self) {
        self.durable = self.now.clone();
        self.since.clear();
    }

    fn lose(&mut self, random: &mut Random) {
        let kept = random.below(self.since.len() as u64 + 1) as usize;
        for naming in self.since.drain(..).take(kept) {
            match naming {
                Naming::Link(name, node) => drop(self.durable.insert(name, node)),
                Naming::Unlink(name) => drop(self.durable.remove(&name)),
            }
        }
        self.now = self.durable.clone();
    }
}

#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    /// Directories by name; a number stands for one, so that a name used again is another one.
    spool: Names,
    directories: Vec<Names>,
    /// The process dies in the middle of this operation.
    dies_in: Option<u64>,
    is_dead: bool,
    /// Bytes that can still be appended.
    room: u64,
    /// Whether it says so before.
    is_honest: bool,
    /// The next appends and syncs fail.
    fails: u32,
    tear: u64,
}

/// The disk; a clone is the same one. It outlives the process.
#[derive(Clone)]
pub(crate) struct SimDisk(Rc<RefCell<State>>);

/// So much is free when nothing is wrong.
const ROOM: u64 = 1 << 40;

impl SimDisk {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(State { room: ROOM, is_honest: true, ..State::default() })))
    }

    /// The process dies in the middle of the operation that is so many ahead.
    pub(crate) fn die_in(&self, operations: u64, tear: u64) {
        let state = &mut *self.0.borrow_mut();
        (state.dies_in, state.tear) = (Some(operations), tear);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.borrow().is_dead
    }

    /// No more than this fits.
    pub(crate) fn fill(&self, room: u64, is_honest: bool) {
        let state = &mut *self.0.borrow_mut();
        (state.room, state.is_honest) = (room, is_honest);
    }

    pub(crate) fn make_room(&self) {
        self.fill(ROOM, true);
    }

    /// The next operations that write or sync fail.
    pub(crate) fn fail(&self, operations: u32) {
        self.0.borrow_mut().fails = operations;
    }

    /// Changes a bit of a file that was synced; gives the recording, the file, its bytes as they were, and which of them it was. One bit of a
    /// file at most: two in one record are told from one, and are not put right.
    pub(crate) fn flip(&self, random: &mut Random) -> Option<(String, String, Vec<u8>, usize)> {
        let state = &mut *self.0.borrow_mut();
        let mut all = Vec::new();
        for (directory, at) in &state.spool.now {
            all.extend(state.directories[*at].now.iter().map(|(name, node)| (directory.clone(), name.clone(), *node)));
        }
        if all.is_empty() {
            return None;
        }
        let (directory, name, node) = all.swap_remove(random.below(all.len() as u64) as usize);
        let node = &mut state.nodes[node];
        if node.is_flipped || node.durable.is_empty() || !node.data.starts_with(&node.durable) {
            return None;
        }
        node.is_flipped = true;
        let bit = random.below(node.durable.len() as u64 * 8) as usize;
        let before = node.data.clone();
        node.data[bit / 8] ^= 1 << (bit % 8);
        node.durable[bit / 8] ^= 1 << (bit % 8);
        Some((directory, name, before, bit / 8))
    }

    /// A new process; where the power was lost, what was not synced is lost in part.
    pub(crate) fn restart(&self, power_lost: bool, random: &mut Random) {
        let state = &mut *self.0.borrow_mut();
        (state.is_dead, state.dies_in, state.fails) = (false, None, 0);
        if !power_lost {
            return;
        }
        for node in &mut state.nodes {
            let grown = node.data.starts_with(&node.durable);
            if grown {
                let more = random.below((node.data.len() - node.durable.len()) as u64 + 1) as usize;
                node.data.truncate(node.durable.len() + more);
                // A file system may know a length before it has the bytes.
                if more > 0 && random.chance(200) {
                    let zeros = random.below(more as u64 + 1) as usize;
                    let from = node.data.len() - zeros;
                    node.data[from..].fill(0);
                }
            } else if random.chance(500) {
                node.data = node.durable.clone();
            }
            node.durable = node.data.clone();
        }
        state.spool.lose(random);
        for names in &mut state.directories {
            names.lose(random);
        }
    }

    /// Syncs a batch, or a part of it where the process dies meanwhile.
    pub(crate) fn sync(&self, batch: &SyncBatch<usize>, mut is_done: impl FnMut() -> bool) -> Result<(), DiskError> {
        let state = &mut *self.0.borrow_mut();
        if state.fails > 0 {
            state.fails -= 1;
            return Err(DiskError::Failed("the disk failed to sync".to_owned()));
        }
        for file in &batch.files {
            if is_done() {
                let node = &mut state.nodes[*file];
                if node.data.starts_with(&node.durable) {
                    let from = node.durable.len();
                    node.durable.extend_from_slice(&node.data[from..]);
                } else {
                    node.durable = node.data.clone();
                }
            }
        }
        for directory in &batch.directories {
            if is_done() {
                match directory.as_str() {
                    "" => state.spool.sync(),
                    name => {
                        if let Some(at) = state.spool.now.get(name) {
                            state.directories[*at].sync();
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Names of what is in the spool.
    pub(crate) fn all(&self) -> BTreeSet<String> {
        let state = self.0.borrow();
        let files = |at: &usize| state.directories[*at].now.keys().cloned().collect::<Vec<_>>();
        state
            .spool
            .now
            .iter()
            .flat_map(|(name, at)| files(at).into_iter().map(move |file| format!("{name}/{file}")))
            .collect()
    }

    /// A file as it is, for who reads beside the recorder.
    pub(crate) fn peek(&self, directory: &str, name: &str) -> Option<Vec<u8>> {
        let state = self.0.borrow();
        let node = *state.directories[*state.spool.now.get(directory)?].now.get(name)?;
        Some(state.nodes[node].data.clone())
    }

    pub(crate) fn bytes_of(&self, file: usize) -> Vec<u8> {
        self.0.borrow().nodes[file].data.clone()
    }
}

impl State {
    fn step(&mut self) -> Result<(), DiskError> {
        if self.is_dead {
            return Err(DiskError::Failed("the process is dead".to_owned()));
        }
        if let Some(left) = &mut self.dies_in {
            if *left == 0 {
                self.is_dead = true;
            } else {
                *left -= 1;
            }
        }
        Ok(())
    }

    fn names(&mut self, directory: &str) -> Result<&mut Names, DiskError> {
        let at = *self.spool.now.get(directory).ok_or(DiskError::Missing)?;
        Ok(&mut self.directories[at])
    }
}

impl Disk for SimDisk {
    type File = usize;

    fn entries(&mut self) -> Result<Vec<Entry>, DiskError> {
        let state = self.0.borrow();
        Ok(state.spool.now.keys().map(|name| Entry { name: name.clone(), is_directory: true }).collect())
    }

    fn files(&mut self, directory: &str) -> Result<Vec<(String, u64)>, DiskError> {
        let state = &mut *self.0.borrow_mut();
        state.step()?;
        let names = state.names(directory)?.now.clone();
        Ok(names.into_iter().map(|(name, node)| (name, state.nodes[node].data.len() as u64)).collect())
    }

    fn make_directory(&mut self, directory: &str) -> Result<(), DiskError> {
        let state = &mut *self.0.borrow_mut();
        state.step()?;
        if state.spool.now.contains_key(directory) {
            return Err(DiskError::Exists);
        }
        state.directories.push(Names::default());
        let at = state.directories.len() - 1;
        state.spool.link(directory, at);
        Ok(())
    }

    fn remove_directory(&mut self, directory: &str) -> Result<(), DiskError> {
        let state = &mut *self.0.borrow_mut();
        state.step()?;
        if !state.names(directory)?.now.is_empty() {
            return Err(DiskError::Failed("it is not empty".to_owned()));
        }
        state.spool.unlink(directory);
        Ok(())
    }

    fn create(&mut self, directory: &str, name: &str) -> Result<usize, DiskError> {
        let state = &mut *self.0.borrow_mut();
        state.step()?;
        let node = state.nodes.len();
        let names = state.names(directory)?;
        if names.now.contains_key(name) {
            return Err(DiskError::Exists);
        }
        names.link(name, node);
        state.nodes.push(Node::default());
        Ok(node)
    }

    fn open(&mut self, directory: &str, name: &str) -> Result<usize, DiskError> {
        let state = &mut *self.0.borrow_mut();
        state.step()?;
        state.names(directory)?.now.get(name).copied().ok_or(DiskError::Missing)
    }

    fn append(&mut self, file: &usize, bytes: &[u8]) -> Result<(), DiskError> {
        let state = &mut *self.0.borrow_mut();
        state.step()?;
        if state.is_dead {
            // In the middle of this one.
            let torn = (state.tear % (bytes.len() as u64 + 1)) as usize;
            state.nodes[*file].data.extend_from_slice(&bytes[..torn]);
            return Err(DiskError::Failed("the process is dead".to_owned()));
        }
        if state.fails > 0 {
            state.fails -= 1;
            let torn = (state.tear % (bytes.len() as u64 + 1)) as usize;
            state.nodes[*file].data.extend_from_slice(&bytes[..torn]);
            return Err(DiskError::Failed("the disk failed to write".to_owned()));
        }
        let fits = bytes.len().min(state.room as usize);
        state.room -= fits as u64;
        state.nodes[*file].data.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() { Err(DiskError::Full) } else { Ok(()) }
    }

    fn truncate(&mut self, file: &usize, bytes: u64) -> Result<(), DiskError> {
        let state = &mut *self.0.borrow_mut();
        state.step()?;
        state.nodes[*file].data.truncate(bytes as usize);
        Ok(())
    }

    fn read(&mut self, file: &usize, offset: u64, bytes: usize) -> Result<Vec<u8>, DiskError> {
        let state = &mut *self.0.borrow_mut();
        state.step()?;
        let data = &state.nodes[*file].data;
        data.get(offset as usize..offset as usize + bytes).map(<[u8]>::to_vec).ok_or(DiskError::Missing)
    }

    fn remove(&mut self, directory: &str, name: &str) -> Result<(), DiskError> {
        let state = &mut *self.0.borrow_mut();
        state.step()?;
        let names = state.names(directory)?;
        if !names.now.contains_key(name) {
            return Err(DiskError::Missing);
        }
        names.unlink(name);
        Ok(())
    }

    fn rename(&mut self, directory: &str, from: &str, to: &str) -> Result<(), DiskError> {
        let state = &mut *self.0.borrow_mut();
        state.step()?;
        let names = state.names(directory)?;
        let node = *names.now.get(from).ok_or(DiskError::Missing)?;
        names.unlink(from);
        names.link(to, node);
        Ok(())
    }

    fn free_bytes(&mut self) -> u64 {
        let state = self.0.borrow();
        if state.is_honest { state.room } else { ROOM }
    }
}
