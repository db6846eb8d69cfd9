//! What waits to be delivered, as whoever keeps it offers it. Before it: control's store, which writes an entry per hook and event
//! when it keeps the event ([`super::body`] makes the bytes); after it: [`super::deliver`].
//!
//! The trait is blocking, as stores on disk are; it is called on threads where that is allowed.
use std::collections::{HashMap, HashSet};

use millstream_proto::secret::Secret;

/// One delivery that is due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What the outbox knows it by; also sent, so that a receiver can tell a delivery that comes twice.
    pub key: String,
    /// Deliveries of one lane go out one after the other, in the order in which they were added: a hook's id and a stream's.
    pub lane: String,
    /// The hook's id, for the log.
    pub hook: String,
    /// Where it goes: `https://` or `http://`.
    pub url: String,
    /// What it is signed with.
    pub secret: Secret,
    /// The kind of event, as in its body.
    pub kind: String,
    /// The body, JSON.
    pub body: Vec<u8>,
    /// Tries so far.
    pub attempts: u32,
    /// When it was added, by the clock of whoever keeps it, Unix milliseconds.
    pub added_unix_ms: u64,
}

/// What came of a try, for the delivery log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// When it began, Unix milliseconds.
    pub at_unix_ms: u64,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// The receiver's status, where it gave one.
    pub status: Option<u16>,
    /// What went wrong; empty where nothing did. Never holds the secret, nor anything that the receiver said.
    pub error: String,
}

/// What becomes of the entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It was taken: forget it.
    Delivered,
    /// Offer it again, not before this time, Unix milliseconds. What is behind it in its lane waits.
    Retry {
        /// When.
        due_unix_ms: u64,
    },
    /// It will not be tried again: forget it, and go on with what is behind it.
    GivenUp,
}

/// The outbox cannot be read or written now; says why, for the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the outbox cannot be used now: {0}")]
pub struct OutboxError(pub String);

/// What may be offered: not more than can be sent now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ask {
    /// Lanes that are under way.
    pub busy: HashSet<String>,
    /// How many entries of a hook may be offered, for hooks that differ from `share`.
    pub shares: HashMap<String, usize>,
    /// And of every other.
    pub share: usize,
    /// In all.
    pub limit: usize,
    /// Nothing is postponed for longer than up to here, Unix milliseconds: what is, was by a clock that has been set back since, and is due.
    pub latest_unix_ms: Option<u64>,
}

impl Ask {
    /// How many entries of this hook may be offered.
    pub fn share(&self, hook: &str) -> usize {
        self.shares.get(hook).copied().unwrap_or(self.share)
    }

    /// Whether a hook's lane of a stream is under way.
    pub fn is_busy(&self, hook: &str, stream: &str) -> bool {
        !self.busy.is_empty() && self.busy.contains(&format!("{hook}/{stream}"))
    }
}

/// What waits, in numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    /// Entries.
    pub waiting: u64,
    /// Since when the oldest first one of a lane waits, Unix milliseconds.
    pub oldest_unix_ms: Option<u64>,
    /// Hooks for which something waits.
    pub hooks: HashSet<String>,
}

/// A durable queue of deliveries.
pub trait Outbox: Send + Sync + 'static {
    /// The first entry of lanes whose time has come, as many as is asked for, those that were due first first. Entries stay until they
    /// are settled, so one may be offered again. Costs what it finds, whatever else waits.
    fn due(&self, now_unix_ms: u64, ask: &Ask) -> Result<Vec<Entry>, OutboxError>;

    /// All that waits for a hook is due now: its receiver was away, and is back.
    fn hurry(&self, hook: &str) -> Result<(), OutboxError>;

    /// Gives some of a hook's first entries up that were added before this time, with this in the delivery log; how many those were.
    fn give_up(&self, hook: &str, before_unix_ms: u64, attempt: &Attempt) -> Result<usize, OutboxError>;

    /// What waits.
    fn backlog(&self) -> Result<Backlog, OutboxError>;

    /// What time it is as far as the clock is believed, Unix milliseconds: a clock that leaps makes every entry old at once.
    fn believed_unix_ms(&self) -> u64;

    /// Writes what came of a try into the delivery log, and what becomes of the entry. Durable once it has returned.
    fn settle(&self, key: &str, attempt: &Attempt, next: Next) -> Result<(), OutboxError>;
}
