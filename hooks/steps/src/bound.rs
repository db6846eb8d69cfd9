//! A binding in force: which hook decides for which streams, how much its answers count, and what is done where it fails. Before it: the agent's
//! bindings and compiled modules; after it: [`super::step`] asks it.
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_control_protocol::state::Binding;
use millstream_hooks::wit::auth;
use millstream_hooks::{Called, Hook};
use millstream_policy::scope::Fail;
use millstream_policy::{Action, Denial, Step};
use millstream_proto::id::Id;

use crate::failing::Counted;
use crate::numbers::OfVersion;
use crate::pace::Pace;
use crate::reach::Reach;
pub use crate::reach::{Counts, share_of};

/// Who answers: a hook, or in tests something else.
pub trait Decider: Send + Sync {
    /// The answer to a question.
    fn authorize(&self, request: &auth::Request) -> Called<auth::Step>;
    /// The answer after an upstream was asked.
    fn resume(&self, request: &auth::Request, state: &[u8], outcome: Result<auth::Reply, String>)
    -> Called<auth::Step>;
    /// The same for questions that nothing is to come of, in the log, in counters and in what it keeps; `None`: nothing does.
    fn aside(&self) -> Option<Arc<dyn Decider>> {
        None
    }
}

impl Decider for Hook {
    fn authorize(&self, request: &auth::Request) -> Called<auth::Step> {
        self.authorize(request)
    }

    fn resume(
        &self,
        request: &auth::Request,
        state: &[u8],
        outcome: Result<auth::Reply, String>,
    ) -> Called<auth::Step> {
        self.resume(request, state, outcome.as_ref().map_err(String::as_str))
    }

    fn aside(&self) -> Option<Arc<dyn Decider>> {
        Some(Arc::new(self.aside()))
    }
}

/// The step for a request that a hook has not answered: with [`Fail::Open`] it is as if the hook were not bound.
pub fn unanswered(fail: Fail, hook: &str) -> Step {
    match fail {
        Fail::Closed => Denial::undecided(format!("the hook {hook} cannot decide now; try again in a moment")),
        Fail::Open => Step::Abstain,
    }
}

/// Bindings that have come into force in this process: each change of one makes another.
static NEWEST: AtomicU64 = AtomicU64::new(0);

/// A binding in force. Shared by all shards.
pub struct Bound {
    /// No other one has it, nor has the same binding before or after a change.
    pub(crate) number: u64,
    /// The binding's id.
    pub id: String,
    /// The hook's name.
    pub hook: String,
    /// Which version of it.
    pub version: u64,
    /// Its streams.
    pub reach: Reach,
    /// Where it is asked.
    pub action: Action,
    /// Its place: lower ones are asked first, those of the same one in the order of their ids.
    pub order: u32,
    /// What is done where it fails.
    pub fail: Fail,
    /// `None`: its module is not here yet, so it cannot decide.
    pub decider: Option<Arc<dyn Decider>>,
    /// What is counted of the hook's version.
    pub numbers: Arc<OfVersion>,
    /// How often it was called lately, and failed.
    pub calls: Counted,
    /// Whether it is quick enough for shards.
    pub pace: Pace,
}

impl Bound {
    /// A binding of an auth hook; `None`: it is for something else, or nobody is asked.
    pub fn new(
        binding: &Binding,
        fail: Fail,
        decider: Option<Arc<dyn Decider>>,
        numbers: Arc<OfVersion>,
    ) -> Option<Self> {
        let action = match (binding.kind.as_str(), binding.point.as_str()) {
            ("auth", "publish") => Action::Publish,
            ("auth", "play") => Action::Play,
            _ => return None,
        };
        Reach::of(binding).map(|reach| Self {
            number: NEWEST.fetch_add(1, Ordering::Relaxed),
            id: binding.id.clone(),
            hook: binding.hook.clone(),
            version: binding.version,
            reach,
            action,
            order: binding.order,
            fail,
            decider,
            numbers,
            calls: Counted::default(),
            pace: Pace::default(),
        })
    }

    /// Whether its answer about this stream counts.
    pub fn counts(&self, stream: &Id) -> Counts {
        self.reach.counts(stream)
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, hook, version, reach, .. } = self;
        f.debug_struct("Bound")
            .field("id", id)
            .field("hook", hook)
            .field("version", version)
            .field("mode", &reach.mode)
            .finish()
    }
}
