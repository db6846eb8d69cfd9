//! What a decision is: who asks ([`Request`]), what a step of the chain may answer ([`Step`]), and the chain itself ([`Chain`]).
//! No I/O, no clock. Before it: the engine's admission; after it: the verdict that a session gets.
//!
//! The steps of today: [`open::Open`] (anyone), [`signed::SignedPublish`] and [`signed::RecordedPlay`], which look at the
//! [`records::Records`] of the moment. [`preset::preset`] puts them into the chains that `--auth` names.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;

use millstream_proto::id::Id;
use millstream_proto::query::Params;

use crate::records::Records;

/// What a client wants to do: the same word that signatures sign.
pub use millstream_proto::sign::Action;

pub mod open;
pub mod preset;
pub mod records;
pub mod signed;
pub mod table;

#[cfg(test)]
mod tests;

/// Who asks, and over what.
#[derive(Clone, Debug)]
pub struct Client {
    /// The session's number, as in the log.
    pub session: u64,
    /// Its address.
    pub address: SocketAddr,
    /// `rtmp`, `http-flv`, `ws-flv`, `hls` or `dash`: an open set.
    pub protocol: &'static str,
    /// `User-Agent` or flashVer; may be empty.
    pub user_agent: String,
    /// `Referer` or pageUrl; may be empty.
    pub referer: String,
}

/// One question.
#[derive(Clone, Debug)]
pub struct Request {
    /// Publish or play.
    pub action: Action,
    /// The application: the first part of a push URL's path.
    pub app: Id,
    /// The stream's id.
    pub name: Id,
    /// Where the operator has mapped a path to the stream: what the client said, `app/name`. The application is the first one then.
    pub path: Option<String>,
    /// Query parameters of URL and stream key, decoded.
    pub params: Params,
    /// Who asks.
    pub client: Client,
}

/// Conditions under which a session is admitted. Empty today; hooks fill it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Grant {}

/// Why a session is refused, for statuses and metrics.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Why {
    /// No or a wrong credential.
    Unauthenticated,
    /// A credential that is too old.
    Expired,
    /// Known, and not allowed.
    Forbidden,
    /// No such stream.
    NotFound,
    /// Cannot decide now; try again.
    Busy,
}

/// A refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denial {
    /// The class.
    pub why: Why,
    /// A sentence for the peer: what was wrong and what to do. Never holds a secret.
    pub reason: String,
}

impl Denial {
    /// The refusal as what a step answers.
    pub fn step(why: Why, reason: impl Into<String>) -> Step {
        Step::Deny(Self { why, reason: reason.into() })
    }
}

/// What one step of a chain answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Admit, ask no further.
    Allow(Grant),
    /// Refuse, ask no further.
    Deny(Denial),
    /// No opinion.
    Abstain,
    /// The answer comes later, to the ticket that the engine made for this request.
    Pending,
}

/// What the chain as a whole decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Come in.
    Allow(Grant),
    /// Stay out.
    Deny(Denial),
}

/// A verdict, or the place in the chain that still thinks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Decided.
    Verdict(Verdict),
    /// Step number `step` answers later; go on with [`Chain::resume`].
    Pending {
        /// Its index in the chain.
        step: usize,
    },
}

/// When and beside what a question is asked.
#[derive(Clone, Copy, Debug)]
pub struct DecisionContext<'a> {
    /// What a pending answer must name.
    pub ticket: u64,
    /// The wall clock, Unix seconds.
    pub unix_s: u64,
    /// The streams that exist now.
    pub records: &'a Records,
}

/// One step of a chain.
pub trait Policy: Send + Sync {
    /// Its name, for logs and metrics.
    fn name(&self) -> &'static str;
    /// The answer.
    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step;
}

/// Ordered steps per action; each answers allow, deny or next, and the end of the chain denies.
#[derive(Clone, Default)]
pub struct Chain {
    publish: Vec<Arc<dyn Policy>>,
    play: Vec<Arc<dyn Policy>>,
}

impl Chain {
    /// A chain of these steps.
    pub fn new(publish: Vec<Arc<dyn Policy>>, play: Vec<Arc<dyn Policy>>) -> Self {
        Self { publish, play }
    }

    /// Asks from the first step on.
    pub fn ask(&self, request: &Request, context: DecisionContext<'_>) -> Answer {
        self.from(0, request, context)
    }

    /// Goes on with what the pending step `step` answered.
    pub fn resume(&self, step: usize, answer: Step, request: &Request, context: DecisionContext<'_>) -> Answer {
        match answer {
            Step::Allow(grant) => Answer::Verdict(Verdict::Allow(grant)),
            Step::Deny(denial) => Answer::Verdict(Verdict::Deny(denial)),
            Step::Pending => Answer::Pending { step },
            Step::Abstain => self.from(step + 1, request, context),
        }
    }

    fn from(&self, first: usize, request: &Request, context: DecisionContext<'_>) -> Answer {
        let steps = match request.action {
            Action::Publish => &self.publish,
            Action::Play => &self.play,
        };
        for (step, policy) in steps.iter().enumerate().skip(first) {
            match policy.decide(request, context) {
                Step::Abstain => {}
                answer => return self.resume(step, answer, request, context),
            }
        }
        Answer::Verdict(Verdict::Deny(Denial {
            why: Why::Forbidden,
            reason: "nothing in the configuration allows this".to_owned(),
        }))
    }
}
