//! A binding in force: which hook decides for which streams, how much its answers count, and what is done where it fails. Before it: the agent's
//! bindings and compiled modules; after it: [`super::step`] asks it.
use std::fmt;
use std::sync::Arc;

use millstream_control_protocol::state::{Binding, Mode};
use millstream_hooks::wit::auth;
use millstream_hooks::{Called, Hook};
use millstream_policy::{Action, Denial, Step, Why};
use millstream_proto::id::Id;

use crate::numbers::OfVersion;
use crate::pace::Pace;

/// Who answers: a hook, or in tests something else.
pub trait Decider: Send + Sync {
    /// The answer to a question.
    fn authorize(&self, request: &auth::Request) -> Called<auth::Step>;
    /// The answer after an upstream was asked.
    fn resume(&self, request: &auth::Request, state: &[u8], outcome: Result<auth::Reply, String>)
    -> Called<auth::Step>;
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
}

/// What is done where a hook gives no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fail {
    /// Nobody is let in: "busy". Who is in stays.
    #[default]
    Closed,
    /// It is as if the hook were not bound.
    Open,
}

impl Fail {
    /// The step for a request that has no answer.
    pub fn step(self, hook: &str) -> Step {
        match self {
            Self::Closed => {
                Denial::step(Why::Busy, format!("the hook {hook} cannot decide now; try again in a moment"))
            }
            Self::Open => Step::Abstain,
        }
    }
}

/// Whether a hook's answer to a request counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counts {
    /// It is not asked.
    NotAsked,
    /// It is asked once the chain has decided, and what it says is compared.
    Compared,
    /// It decides.
    Decides,
}

/// A binding in force. Shared by all shards.
pub struct Bound {
    /// The binding's id.
    pub id: String,
    /// The hook's name.
    pub hook: String,
    /// Which version of it.
    pub version: u64,
    /// The stream that it is for; `None`: all.
    pub stream: Option<Id>,
    /// Where it is asked.
    pub action: Action,
    /// Its place: lower ones are asked first, those of the same one in the order of their ids.
    pub order: u32,
    /// How much its answers count.
    pub mode: Mode,
    /// With [`Mode::Canary`]: of how many streams in a hundred it decides.
    pub canary_percent: u32,
    /// What is done where it fails.
    pub fail: Fail,
    /// `None`: its module is not here yet, so it cannot decide.
    pub decider: Option<Arc<dyn Decider>>,
    /// What is counted of the hook's version.
    pub numbers: Arc<OfVersion>,
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
        let stream = match &binding.stream {
            // No stream has such an id, so nobody is asked.
            Some(stream) => Some(Id::new(stream).ok()?),
            None => None,
        };
        binding.is_on().then(|| Self {
            id: binding.id.clone(),
            hook: binding.hook.clone(),
            version: binding.version,
            stream,
            action,
            order: binding.order,
            mode: binding.mode,
            canary_percent: binding.canary_percent,
            fail,
            decider,
            numbers,
            pace: Pace::default(),
        })
    }

    /// Whether its answer about this stream counts.
    pub fn counts(&self, stream: &Id) -> Counts {
        if self.stream.as_ref().is_some_and(|own| own != stream) {
            return Counts::NotAsked;
        }
        match self.mode {
            Mode::Live => Counts::Decides,
            Mode::Canary if share_of(stream) < self.canary_percent => Counts::Decides,
            Mode::Canary | Mode::Shadow => Counts::Compared,
            Mode::Off | Mode::Unknown => Counts::NotAsked,
        }
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, hook, version, mode, .. } = self;
        f.debug_struct("Bound")
            .field("id", id)
            .field("hook", hook)
            .field("version", version)
            .field("mode", mode)
            .finish()
    }
}

/// Where a stream lies among a hundred. The same on every node and in every release: a canary's streams stay its streams.
pub fn share_of(stream: &Id) -> u32 {
    // FNV-1a, 64 bits.
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = stream.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, mix);
    ((hash ^ (hash >> 32)) % 100) as u32
}
