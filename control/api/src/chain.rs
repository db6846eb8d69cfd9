//! The policy chain of the node in this process, as far as the API shows it. What its steps are is the process's to say: it implements
//! [`ShowChain`].
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use millstream_control_protocol::state::Stream;
use millstream_policy::{Action, Request};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A step of a chain.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct ChainStep {
    /// What it is called.
    #[schema(example = "cidr-3")]
    pub name: String,
    /// What it goes by: hook, callback, cidr, jwt, signed, recorded, open, or a kind of a later version.
    #[schema(example = "cidr")]
    pub kind: String,
    /// Where it comes from: binding (of a hook), configuration (`[[auth.steps]]`), preset (`auth.preset`), or a place of a later version.
    #[schema(example = "configuration")]
    pub origin: String,
    /// Whether it is asked for this stream.
    pub applies: bool,
    /// Its keys with their values in force; secrets are left out or shown as words.
    pub settings: Map<String, Value>,
}

/// What a step says of a request.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct StepAnswer {
    /// What it is called.
    #[schema(example = "cidr-3")]
    pub name: String,
    /// What it goes by.
    #[schema(example = "cidr")]
    pub kind: String,
    /// Where it comes from.
    #[schema(example = "configuration")]
    pub origin: String,
    /// allow, deny, next, or not_called (it asks somebody else, which was not done).
    #[schema(example = "next")]
    pub answer: String,
    /// Why.
    pub reason: String,
    /// Its answer is the chain's.
    pub decides: bool,
}

/// What a chain says of a request.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct Explained {
    /// allow, deny, or unknown (it depends on a step that was not called).
    #[schema(example = "deny")]
    pub verdict: String,
    /// Of a refusal: its class, such as unauthenticated, expired, forbidden, not_found or busy.
    #[schema(example = "forbidden")]
    pub why: Option<String>,
    /// The sentence that a client would be told, or what admits it.
    pub reason: String,
    /// The session would be ended after so many milliseconds; null: not by this.
    pub valid_ms: Option<u64>,
    /// Each step's answer, in the order of the chain, also of those behind the one that decides.
    pub steps: Vec<StepAnswer>,
}

/// An answer that comes.
pub type Explaining = Pin<Box<dyn Future<Output = Explained> + Send>>;

/// The chain that an engine runs by.
pub trait ShowChain: Send + Sync {
    /// The steps that are asked for an action, in order.
    fn steps(&self, action: Action, stream: &str) -> Vec<ChainStep>;

    /// What each step says of a request, made while its stream is `stream` (`None`: there is no such stream). Steps that ask somebody else
    /// do so only if `call` says so.
    fn explain(&self, request: Request, stream: Option<Stream>, unix_s: u64, call: bool) -> Explaining;
}

impl fmt::Debug for dyn ShowChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShowChain")
    }
}
