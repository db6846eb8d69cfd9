//! What a decision is: who asks ([`Request`]), what a step of the chain may answer ([`Step`]), and the chain itself ([`Chain`]).
//! No I/O, no clock. Before it: the engine's admission; after it: the verdict that a session gets.
//!
//! The steps of today: [`open::Open`] (anyone), [`signed::SignedPublish`] and [`signed::RecordedPlay`], which look at the
//! [`records::Records`] of the moment. [`preset::preset`] puts them into the chains that `--auth` names. Those that a configuration puts
//! before them: [`cidr::Cidr`], [`jwt::Jwt`], [`signed::Signed`], [`signed::Recorded`], each for some streams only by [`scope::only_for`].
//! [`signatures`] says which modules of hooks may run at all.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millstream_proto::id::Id;
use millstream_proto::query::Params;
use millstream_proto::secret::Secret;

use crate::records::{Labels, Records};

/// What a client wants to do: the same word that signatures sign.
pub use millstream_proto::sign::Action;

pub mod cidr;
pub mod jwt;
pub mod open;
pub mod preset;
pub mod records;
pub mod scope;
pub mod signatures;
pub mod signed;
pub mod table;

#[cfg(test)]
mod tests;

/// What tells a viewer without a session of its own from others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ViewerName {
    /// Of its CMCD session, else of its address and user agent: it can call itself what it likes.
    Claimed(u64),
    /// The session of its play grants, which this server names and signs: it keeps it wherever it goes.
    Granted(u64),
    /// The same, with a grant that is good still: it is in.
    Renewing(u64),
}

impl ViewerName {
    /// The number, whoever chose it.
    pub const fn number(self) -> u64 {
        match self {
            Self::Claimed(number) | Self::Granted(number) | Self::Renewing(number) => number,
        }
    }
}

/// Who asks, and over what.
#[derive(Clone, Debug)]
pub struct Client {
    /// The session's number, as in the log.
    pub session: u64,
    /// Its address.
    pub address: SocketAddr,
    /// `rtmp`, `http-flv`, `ws-flv`, `hls`, `dash` or `recorded`: an open set.
    pub protocol: &'static str,
    /// Its connection is encrypted, as far as the server or a proxy that it trusts can tell.
    pub secure: bool,
    /// `User-Agent` or flashVer; may be empty.
    pub user_agent: String,
    /// `Referer` or pageUrl; may be empty.
    pub referer: String,
    /// What all requests of a viewer have in common who has no session.
    pub viewer: Option<ViewerName>,
    /// What `Authorization: Bearer` of an HTTP player gave.
    pub bearer: Option<Secret>,
    /// The URL that an RTMP client connected to, as it gave it; empty over HTTP.
    pub tc_url: Secret,
}

impl Client {
    /// One of whom no more is known.
    pub fn new(session: u64, address: SocketAddr, protocol: &'static str) -> Self {
        Self {
            session,
            address,
            protocol,
            secure: false,
            user_agent: String::new(),
            referer: String::new(),
            viewer: None,
            bearer: None,
            tc_url: Secret::default(),
        }
    }
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
    /// The session is running, and is asked about again.
    pub recheck: bool,
    /// The labels that it was given when it was admitted; `None`: none, or it was not admitted yet.
    pub labels: Option<Labels>,
}

impl Request {
    /// Whether somebody may do that with a stream of that application: asked for the first time, and the stream was named by its id.
    pub fn new(action: Action, (app, name): (Id, Id), params: Params, client: Client) -> Self {
        Self { action, app, name, path: None, params, client, recheck: false, labels: None }
    }
}

/// Conditions under which a session is admitted. They go with it from shard to shard. Of HLS and DASH they hold for each playlist, and for the
/// files as far as viewers can be told apart (by address, and CMCD session or user agent): who changes these gets the files that it can
/// name until it needs a playlist.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Grant {
    /// The session is ended after this time; `None`: it is admitted for good.
    pub valid_for: Option<Duration>,
    /// The chain is asked about the session again after this time. It goes on where there is no decision then. Not for HLS and DASH, where the chain
    /// is asked with each playlist: a step that wants to be asked less often keeps what it has granted.
    pub recheck_after: Option<Duration>,
    /// What is given back when the session ends.
    pub held: Option<Held>,
    /// Nobody has decided, so that what was granted before goes on: what the session holds already is kept, in place of `held`.
    pub goes_on: bool,
    /// Labels of the session, and of the stream while it publishes: in events, the API and later questions.
    pub labels: Option<Labels>,
    /// For a publisher: it publishes this stream in place of the one that it named.
    pub rename: Option<Id>,
    /// For a publisher: what it publishes is recorded, or not, whatever the stream's settings say.
    pub record: Option<bool>,
}

/// Something that a session holds while it lives, as a place among a number of viewers. It is given back when the last copy is dropped.
#[derive(Clone)]
pub struct Held(Arc<dyn Any + Send + Sync>);

impl Held {
    /// This is dropped when nobody holds it any more.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Arc::new(held))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Held {}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl Grant {
    /// For this long.
    pub fn valid_for(time: Duration) -> Self {
        Self { valid_for: Some(time), ..Self::default() }
    }
}

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
    /// Only for who pays.
    Payment,
    /// Not where the client is.
    Region,
}

impl Why {
    /// The word for it, in the API, events and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Expired => "expired",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Busy => "busy",
            Self::Payment => "payment",
            Self::Region => "region",
        }
    }
}

/// A refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denial {
    /// The class.
    pub why: Why,
    /// A sentence for the peer: what was wrong and what to do. Never holds a secret.
    pub reason: String,
    /// Where the stream is to be had instead, for players over HTTP: a URL.
    pub location: Option<String>,
    /// When it makes sense to try again.
    pub retry_after: Option<Duration>,
    /// Nobody has decided this: who is in already stays.
    pub undecided: bool,
}

impl Denial {
    /// A refusal that says no more than this.
    pub fn new(why: Why, reason: impl Into<String>) -> Self {
        Self { why, reason: reason.into(), location: None, retry_after: None, undecided: false }
    }

    /// What a step answers that cannot decide now and lets nobody in meanwhile.
    pub fn undecided(reason: impl Into<String>) -> Step {
        Step::Deny(Self { undecided: true, ..Self::new(Why::Busy, reason) })
    }

    /// The refusal as what a step answers.
    pub fn step(why: Why, reason: impl Into<String>) -> Step {
        Step::Deny(Self::new(why, reason))
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

/// Why the decision of a pending step does not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undecided {
    /// It took too long.
    Late,
    /// Too many others wait for one: the step was not waited for at all.
    Full,
}

impl Undecided {
    const fn reason(self) -> &'static str {
        match self {
            Self::Late => "the decision took too long; try again in a moment",
            Self::Full => "too many requests wait for a decision; try again in a moment",
        }
    }
}

/// One step of a chain, as one shard has it: it need not be shared between threads.
pub trait Policy {
    /// Its name, for logs and metrics.
    fn name(&self) -> &'static str;
    /// The answer.
    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step;
    /// The answer where a pending one does not come. By default nobody is let in.
    fn undecided(&self, _request: &Request, why: Undecided) -> Step {
        Denial::undecided(why.reason())
    }
    /// What the chain as a whole has decided of a request that this step was asked about, or would have been asked about next.
    fn observe(&self, _request: &Request, _context: DecisionContext<'_>, _verdict: &Verdict) {}
    /// Why it abstains from this request, for people who ask what the chain does.
    fn abstains_because(&self, _request: &Request) -> String {
        "it has no opinion on this".to_owned()
    }
    /// Whether it goes by the parameters of this request's URL. The playlists that one names are then named with them.
    fn reads_params(&self, _request: &Request) -> bool {
        false
    }
    /// What it makes of this stream's viewers before it knows who asks.
    fn stance(&self, _name: &Id) -> Stance {
        Stance::Judges
    }
}

/// What a step makes of viewers of a stream, whoever they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stance {
    /// It depends on who asks.
    Judges,
    /// It leaves all of them to the next step.
    Passes,
    /// It admits all of them, if there is such a stream.
    Admits,
}

impl<P: Policy + ?Sized> Policy for Arc<P> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step {
        (**self).decide(request, context)
    }

    fn undecided(&self, request: &Request, why: Undecided) -> Step {
        (**self).undecided(request, why)
    }

    fn observe(&self, request: &Request, context: DecisionContext<'_>, verdict: &Verdict) {
        (**self).observe(request, context, verdict);
    }

    fn abstains_because(&self, request: &Request) -> String {
        (**self).abstains_because(request)
    }

    fn reads_params(&self, request: &Request) -> bool {
        (**self).reads_params(request)
    }

    fn stance(&self, name: &Id) -> Stance {
        (**self).stance(name)
    }
}

/// Makes a step for a shard, on the shard's thread; its number is given.
pub type PolicyMaker = Arc<dyn Fn(usize) -> Rc<dyn Policy> + Send + Sync>;

/// One step for all shards.
pub fn shared(policy: impl Policy + Send + Sync + 'static) -> PolicyMaker {
    let policy = Arc::new(policy);
    Arc::new(move |_shard| Rc::new(Arc::clone(&policy)))
}

/// The steps of every shard: who makes them, per action, in order. Cheap to clone.
#[derive(Clone, Default)]
pub struct Chain {
    publish: Vec<PolicyMaker>,
    play: Vec<PolicyMaker>,
}

impl Chain {
    /// A chain of these steps.
    pub fn new(publish: Vec<PolicyMaker>, play: Vec<PolicyMaker>) -> Self {
        Self { publish, play }
    }

    /// This chain with steps before its own.
    pub fn after(
        &self,
        publish: impl IntoIterator<Item = PolicyMaker>,
        play: impl IntoIterator<Item = PolicyMaker>,
    ) -> Self {
        let before = |first: &mut Vec<PolicyMaker>, own: &[PolicyMaker]| first.extend(own.iter().cloned());
        let (mut publish, mut play): (Vec<_>, Vec<_>) = (publish.into_iter().collect(), play.into_iter().collect());
        before(&mut publish, &self.publish);
        before(&mut play, &self.play);
        Self { publish, play }
    }

    /// The steps of one shard.
    pub fn for_shard(&self, shard: usize) -> Steps {
        let make = |makers: &[PolicyMaker]| makers.iter().map(|make| make(shard)).collect();
        Steps { publish: make(&self.publish), play: make(&self.play) }
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("publish", &self.publish.len()).field("play", &self.play.len()).finish()
    }
}

/// The ordered steps of one shard per action; each answers allow, deny or abstain, and the end denies.
pub struct Steps {
    publish: Vec<Rc<dyn Policy>>,
    play: Vec<Rc<dyn Policy>>,
}

impl Steps {
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

    /// Goes on with what the pending step `step` answers where its decision does not come. It cannot ask for more time.
    pub fn undecided(&self, step: usize, why: Undecided, request: &Request, context: DecisionContext<'_>) -> Answer {
        let answer = match self.of(request.action).get(step).map(|policy| policy.undecided(request, why)) {
            Some(Step::Pending) | None => Denial::undecided(why.reason()),
            Some(answer) => answer,
        };
        self.resume(step, answer, request, context)
    }

    /// Tells every step what was decided.
    pub fn observe(&self, request: &Request, context: DecisionContext<'_>, verdict: &Verdict) {
        for policy in self.of(request.action) {
            policy.observe(request, context, verdict);
        }
    }

    /// Whether a step goes by the parameters of this request's URL.
    pub fn reads_params(&self, request: &Request) -> bool {
        self.of(request.action).iter().any(|policy| policy.reads_params(request))
    }

    /// Whether not everybody may play this stream: what one viewer is given must not be given to the next one unasked.
    pub fn is_protected(&self, name: &Id) -> bool {
        let mut stances = self.play.iter().map(|policy| policy.stance(name));
        stances.find(|stance| *stance != Stance::Passes) != Some(Stance::Admits)
    }

    /// The steps that are asked for this action, in order.
    pub fn of(&self, action: Action) -> &[Rc<dyn Policy>] {
        match action {
            Action::Publish => &self.publish,
            Action::Play => &self.play,
        }
    }

    fn from(&self, first: usize, request: &Request, context: DecisionContext<'_>) -> Answer {
        for (step, policy) in self.of(request.action).iter().enumerate().skip(first) {
            match policy.decide(request, context) {
                Step::Abstain => {}
                answer => return self.resume(step, answer, request, context),
            }
        }
        Answer::Verdict(Verdict::Deny(Denial::new(Why::Forbidden, "nothing in the configuration allows this")))
    }
}
