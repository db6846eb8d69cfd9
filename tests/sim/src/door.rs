//! Admission's steps: each does what the request's `door` parameter says at its place, now or later. The first is a hook, as the product runs it: its WebAssembly
//! answers at once, or asks an upstream whose answer comes in the walk's own time. The second is a step of this file's own.
use std::cell::RefCell;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use millstream_control_protocol::state::{Binding, Mode};
use millstream_engine_simulated::Remote;
use millstream_engine_simulated::io;
use millstream_hook_steps::bound::{Bound, Decider};
use millstream_hook_steps::chain::chain as with_hooks;
use millstream_hook_steps::numbers::Numbers;
use millstream_hook_steps::step::{Fetcher, Node, Replied};
use millstream_hooks::wit::auth;
use millstream_hooks::{Called, Hook, Module, Runtime, Settings, World};
use millstream_policy::scope::Fail;
use millstream_policy::{Chain, DecisionContext, Denial, Grant, Policy, PolicyMaker, Request, Step, Why, shared};

use crate::plan::Gate;
use crate::walk::sleep_ms;

thread_local! {
    static REMOTE: RefCell<Option<Remote>> = const { RefCell::new(None) };
}

/// Shards of a walk.
const SHARDS_MAX: usize = 16;

struct Gated(usize);

impl Policy for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step {
        let letters = request.params.get("door").expect("the door's parameter came through");
        let later_ms: u64 = request.params.get("later").and_then(|ms| ms.parse().ok()).expect("a number");
        let from = request.params.get("from").expect("the client's address came through");
        assert_eq!(request.client.address.ip().to_canonical().to_string(), from, "the door is told of another client");
        let decided = match Gate::from_letter(letters.chars().nth(self.0).expect("two letters")) {
            Gate::Allow => return Step::Allow(Grant::default()),
            Gate::Deny => return denied(),
            Gate::Next => return Step::Abstain,
            Gate::Never => return Step::Pending,
            Gate::LaterAllow => Step::Allow(Grant::default()),
            Gate::LaterDeny => denied(),
            Gate::LaterNext => Step::Abstain,
        };
        let ticket = context.ticket;
        let remote = REMOTE.with(|remote| remote.borrow().clone()).expect("it is open");
        io::spawn_outside(async move {
            sleep_ms(later_ms / 2).await;
            if io::draw(5) == 0 {
                // Not an answer.
                remote.answer(ticket, Step::Pending);
            }
            sleep_ms(later_ms - later_ms / 2).await;
            remote.answer(ticket, decided);
            if io::draw(5) == 0 {
                // An answer too many.
                remote.answer(ticket, Step::Allow(Grant::default()));
            }
        });
        Step::Pending
    }
}

fn denied() -> Step {
    Denial::step(Why::Forbidden, "not today")
}

/// The hook's module, compiled once.
static MODULE: LazyLock<(Runtime, Module)> = LazyLock::new(|| {
    let runtime = Runtime::without_pool().expect("hooks run here");
    let wasm = include_bytes!("../../../hooks/guests/built/gated.wasm");
    let compiled = runtime.compile(wasm, World::Auth).expect("a hook");
    let module = runtime.load(&compiled.artifact).expect("compiled by this program");
    (runtime, module)
});

/// A hook whose calls cost nothing: how long the machine takes must not decide where they run.
struct Costless(Hook);

impl Costless {
    fn of<T>(called: Called<T>) -> Called<T> {
        if let Err(failure) = &called.result {
            io::note(&format!("the hook failed: {failure}"));
        }
        Called { cpu: Duration::ZERO, ..called }
    }
}

impl Decider for Costless {
    fn authorize(&self, request: &auth::Request) -> Called<auth::Step> {
        Self::of(self.0.authorize(request))
    }

    fn resume(
        &self,
        request: &auth::Request,
        state: &[u8],
        outcome: Result<auth::Reply, String>,
    ) -> Called<auth::Step> {
        Self::of(self.0.resume(request, state, outcome.as_ref().map_err(String::as_str)))
    }
}

/// Answers after the time that its path says, in the walk's time.
struct Clock;

impl Fetcher for Clock {
    fn fetch(&self, fetch: auth::Fetch, replied: Replied) {
        io::spawn_outside(async move {
            // "never": no answer comes.
            let Ok(ms) = fetch.path.trim_start_matches('/').parse() else { return };
            sleep_ms(ms).await;
            replied(Ok(auth::Reply { status: 200, headers: Vec::new(), body: Vec::new() }));
        });
    }
}

/// The steps, with this version of the hook.
pub(crate) fn chain(version: u64) -> Chain {
    let steps = || -> Vec<PolicyMaker> { vec![shared(Gated(1))] };
    let node = Node::without_threads(SHARDS_MAX, Box::new(Clock));
    node.answers_go_to(Box::new(|ticket, step| {
        let remote = REMOTE.with(|remote| remote.borrow().clone()).expect("it is open");
        remote.answer(ticket, step);
    }));
    let bound = |point: &str| {
        let binding = Binding {
            id: point.to_owned(),
            hook: "gated".to_owned(),
            kind: "auth".to_owned(),
            point: point.to_owned(),
            version,
            mode: Mode::Live,
            ..Binding::default()
        };
        let mut settings = Settings::new("gated", version.to_string(), World::Auth);
        settings.config.insert("place".to_owned(), "0".to_owned());
        // A machine that stands still for some milliseconds is none of the walk's business.
        settings.limits.cpu = Duration::from_mins(1);
        let decider = Arc::new(Costless(Hook::new(MODULE.1.clone(), settings)));
        let numbers = Numbers::default().of("gated", version);
        Arc::new(Bound::new(&binding, Fail::Closed, Some(decider), numbers).expect("an auth hook that is on"))
    };
    with_hooks(&Chain::new(steps(), steps()), vec![bound("publish"), bound("play")], &node)
}

pub(crate) fn open(remote: &Remote) {
    REMOTE.with(|slot| *slot.borrow_mut() = Some(remote.clone()));
}

pub(crate) fn close() {
    REMOTE.with(|slot| *slot.borrow_mut() = None);
}
