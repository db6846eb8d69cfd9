//! A step of the chain that asks an HTTP back end: the on_publish and on_play callbacks of nginx-rtmp and SRS, as they are. On the shard the
//! session waits and costs nothing; [`asker`] asks beside the shards and answers by ticket. Before it: the policy chain; after it: the
//! operator's back end.
//!
//! A back end that is slow or away costs nobody but those whom the step is for: every question has a deadline, so many are under way at
//! once and no more wait, and after some failures in a row the failure policy answers at once until the back end is back.
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millstream_engine::Remote;
use millstream_fleet::http::guard::Guard;
use millstream_fleet::http::url::Url;
use millstream_policy::scope::{Fail, Pass};
use millstream_policy::{DecisionContext, Denial, Grant, Policy, PolicyMaker, Request, Step, Undecided};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};

mod asker;
mod forms;
mod health;
mod kept;

#[cfg(test)]
mod tests;

pub use self::forms::Form;

/// Questions that may be on their way from the shards to the asker.
const QUESTIONS_MAX: usize = 4096;
/// Requests under way at once, of all callbacks together.
const AT_ONCE_TOTAL: usize = 256;

/// A back end and how it is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Callback {
    /// Its name in logs.
    pub name: String,
    /// Where it is.
    pub url: Url,
    /// Which addresses that may be.
    pub guard: Guard,
    /// What it is sent, and how its answer is read.
    pub form: Form,
    /// Time for an answer, with the wait for a turn and the connection.
    pub timeout: Duration,
    /// How long the verdict about a viewer of HLS or DASH is kept after its last playlist. Zero: each playlist is asked about.
    pub cache: Duration,
    /// Requests under way at once.
    pub at_once: usize,
    /// Where there is no verdict: no connection, no answer in time, or none that can be read.
    pub fail: Fail,
    /// What who passes gets.
    pub pass: Pass,
}

impl Callback {
    /// The answer where there is no verdict.
    fn failed(&self, reason: impl Into<String>) -> Step {
        match self.fail {
            Fail::Open => self.pass.step(Grant::default()),
            Fail::Closed => Denial::undecided(reason),
        }
    }
}

/// What all callbacks share: the runtime that asks, and where answers go. Cheap to clone.
#[derive(Clone)]
pub struct Callbacks {
    runtime: Handle,
    engine: Arc<OnceLock<Remote>>,
    total: Arc<Semaphore>,
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callbacks")
    }
}

/// A question on its way to the asker.
enum Question {
    /// Of a session that waits for the answer to this ticket.
    Session { ticket: u64, request: Box<Request> },
    /// Of somebody who wants to know what the back end says.
    Made { request: Box<Request>, answer: oneshot::Sender<Step> },
}

/// A way to ask a callback's back end about a made-up request.
#[derive(Clone)]
pub struct Probe(mpsc::Sender<Question>);

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl Probe {
    /// What it says; `None`: it has too much to do. Nothing that is kept is used or changed.
    pub async fn ask(&self, request: Request) -> Option<Step> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Question::Made { request: Box::new(request), answer }).ok()?;
        answered.await.ok()
    }
}

impl Callbacks {
    /// Ones that ask on this runtime.
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, engine: Arc::default(), total: Arc::new(Semaphore::new(AT_ONCE_TOTAL)) }
    }

    /// The engine that is answered, once it runs.
    pub fn answer_to(&self, engine: Remote) {
        // The first one stays: there is one engine in a process.
        let _ = self.engine.set(engine);
    }

    /// The step of each shard. The asker ends when the last of them is gone and all answers are given.
    pub fn maker(&self, callback: Callback) -> (PolicyMaker, Probe) {
        let engine = Arc::clone(&self.engine);
        let answer = move |ticket, step| {
            if let Some(engine) = engine.get() {
                engine.answer(ticket, step);
            }
        };
        let (to_asker, questions) = mpsc::channel(QUESTIONS_MAX);
        let callback = Arc::new(callback);
        self.runtime.spawn(asker::run(Arc::clone(&callback), questions, Arc::clone(&self.total), answer));
        let probe = Probe(to_asker.clone());
        let maker: PolicyMaker = Arc::new(move |_shard| {
            Rc::new(CallbackStep { callback: Arc::clone(&callback), to_asker: to_asker.clone() })
        });
        (maker, probe)
    }
}

struct CallbackStep {
    callback: Arc<Callback>,
    to_asker: mpsc::Sender<Question>,
}

impl Policy for CallbackStep {
    fn name(&self) -> &'static str {
        "callback"
    }

    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step {
        let question = Question::Session { ticket: context.ticket, request: Box::new(request.clone()) };
        match self.to_asker.try_send(question) {
            Ok(()) => Step::Pending,
            Err(_) => self.undecided(request, Undecided::Full),
        }
    }

    fn undecided(&self, _request: &Request, why: Undecided) -> Step {
        self.callback.failed(match why {
            Undecided::Late => "the server that decides did not answer in time; try again in a moment",
            Undecided::Full => "too many requests wait for the server that decides; try again in a moment",
        })
    }

    fn abstains_because(&self, _request: &Request) -> String {
        "the back end allows it, and pass = \"next\"".to_owned()
    }

    fn reads_params(&self, _request: &Request) -> bool {
        true
    }
}
