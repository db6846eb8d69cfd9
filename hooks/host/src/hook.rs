//! A module that is bound, and the calls that can be made of it.
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::Instance;

use crate::answer;
use crate::call::{Called, Failure};
use crate::module::{Module, Role};
use crate::settings::Settings;
use crate::state::{State, thread_cpu};
use crate::wit::{auth, events, meta, policy};
use crate::world::World;

/// A hook that can be called, from any thread and by many at once. Every call makes an instance of its own, but for
/// motion hooks: [`Hook::motion`] makes one that is kept.
#[derive(Clone)]
pub struct Hook {
    module: Module,
    settings: Arc<Settings>,
    unix_ms: Option<u64>,
}

impl Hook {
    /// Binds a module.
    pub fn new(module: Module, settings: Settings) -> Self {
        Self { module, settings: Arc::new(settings), unix_ms: None }
    }

    /// The same hook, which is told this time in place of the real one: for replays.
    pub fn at(&self, unix_ms: u64) -> Self {
        Self { unix_ms: Some(unix_ms), ..self.clone() }
    }

    /// The same hook with copies of its values, and with a log and counters that nobody reads: for questions that nothing is to come of.
    #[must_use]
    pub fn aside(&self) -> Self {
        let aside = self.settings.aside();
        Self { settings: Arc::new(aside), ..self.clone() }
    }

    /// What it was bound with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Asks an auth hook.
    pub fn authorize(&self, request: &auth::Request) -> Called<auth::Step> {
        self.call(|store, instance| {
            let Role::Auth(exports) = &self.module.exports().role else { return Ok(Err(self.not(World::Auth))) };
            let step = exports.load(&mut *store, instance)?.call_authorize(store, request)?;
            Ok(answer::step(step).map_err(Failure::Answer))
        })
    }

    /// Goes on with an auth hook that asked an upstream.
    pub fn resume(
        &self,
        request: &auth::Request,
        state: &[u8],
        outcome: Result<&auth::Reply, &str>,
    ) -> Called<auth::Step> {
        self.call(|store, instance| {
            let Role::Auth(exports) = &self.module.exports().role else { return Ok(Err(self.not(World::Auth))) };
            let step = exports.load(&mut *store, instance)?.call_resume(store, request, state, outcome)?;
            Ok(answer::step(step).map_err(Failure::Answer))
        })
    }

    /// Asks a policy hook.
    pub fn select_renditions(&self, source: &policy::Source) -> Called<Vec<policy::Rendition>> {
        self.call(|store, instance| {
            let Role::Policy(exports) = &self.module.exports().role else { return Ok(Err(self.not(World::Policy))) };
            let renditions = exports.load(&mut *store, instance)?.call_select_renditions(store, source)?;
            Ok(answer::renditions(renditions).map_err(Failure::Answer))
        })
    }

    /// Tells an event hook, at most 256 notices at once.
    pub fn on_notices(&self, notices: &[events::Notice]) -> Called<Vec<events::Order>> {
        self.call(|store, instance| {
            let Role::Events(exports) = &self.module.exports().role else { return Ok(Err(self.not(World::Events))) };
            let orders = exports.load(&mut *store, instance)?.call_on_notices(store, notices)?;
            Ok(answer::orders(orders).map_err(Failure::Answer))
        })
    }

    /// What the module says of itself. It is asked without a configuration.
    pub fn describe(&self) -> Called<meta::Info> {
        self.call(|store, instance| {
            let info = self.module.exports().meta.load(&mut *store, instance)?.call_describe(store)?;
            Ok(answer::info(info).map_err(Failure::Answer))
        })
    }

    /// Whether the module can work with its configuration; the inner error is the hook's own text.
    pub fn check_config(&self) -> Called<Result<(), String>> {
        self.call(|store, instance| {
            let verdict = self.module.exports().meta.load(&mut *store, instance)?.call_check_config(store)?;
            Ok(Ok(verdict.map_err(|text| answer::text(&text))))
        })
    }

    fn not(&self, called: World) -> Failure {
        Failure::World { is: self.module.world(), called }
    }

    /// A store of this hook's, for a call that began then.
    pub(crate) fn store(&self, began: std::time::Duration) -> Store<State> {
        State::store(self.module.runtime().engine(), &self.settings, self.unix_ms, began)
    }

    /// One call in an instance of its own.
    fn call<T>(
        &self,
        with: impl FnOnce(&mut Store<State>, &Instance) -> wasmtime::Result<Result<T, Failure>>,
    ) -> Called<T> {
        let running = self.module.runtime().run();
        let began = thread_cpu();
        let mut store = self.store(began);
        let answer = self.module.pre().instantiate(&mut store).and_then(|instance| {
            store.data_mut().entered = true;
            with(&mut store, &instance)
        });
        let result = answer.unwrap_or_else(|error| Err(Failure::of(&error, store.data())));
        drop(store);
        drop(running);
        Called { result, cpu: thread_cpu().saturating_sub(began) }
    }
}
