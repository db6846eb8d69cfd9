//! Whoever runs hooks on a node. Before it: [`super::modules`], which says what is bound and brings the modules; after it: the chain that the engine's
//! shards decide by. A build without hooks has none: then bindings are kept and said to do nothing.
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Bytes;
use millstream_control_protocol::event::Event;
use millstream_control_protocol::exchange::{HookCalls, HookLine};
use millstream_control_protocol::hook_numbers::HookNumbers;
use millstream_control_protocol::replay::{Recorded, Replay, Replayed, ShowRecorded};
use millstream_control_protocol::state::{Binding, Mode};
pub use millstream_diagnosis::{HookTrouble, Tally};
use millstream_fleet::limits::HOOK_WARNINGS_MAX;

/// What came of bindings that were to be in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bound {
    /// Every shard decides by them; else they are to be bound again.
    pub in_force: bool,
    /// What is wrong with them, in sentences for people.
    pub warnings: Vec<String>,
}

/// [`Bound`], when it is known.
pub type Binds<'a> = Pin<Box<dyn Future<Output = Bound> + Send + 'a>>;

/// Runs hooks.
pub trait Runner: Send + Sync {
    /// Makes a module of this kind ready to be called. Blocks: it may compile for seconds. An error is for people.
    /// `signature`: what control says of who vouches for it.
    fn prepare(&self, sha256: &str, kind: &str, signature: Option<&str>, module: &[u8]) -> Result<(), String>;

    /// These bindings, and no others, are in force from here on. Those whose module is not ready decide as they do where a hook fails.
    fn bind<'a>(&'a self, bindings: &'a [Binding]) -> Binds<'a>;

    /// Bindings in force whose hooks failed within the last minute.
    fn failing(&self) -> Vec<HookCalls>;

    /// Whom hooks turned away, and how often they failed, since this was asked last.
    fn troubles(&self) -> Vec<HookTrouble> {
        Vec::new()
    }

    /// Something has happened on this node. May not wait.
    fn happened(&self, _event: &Event) {}

    /// What a hook has written to its log.
    fn logs(&self, which: &LogsOf<'_>) -> LogPage;

    /// What is counted of a hook's versions.
    fn numbers(&self, _hook: &str) -> Vec<HookNumbers> {
        Vec::new()
    }

    /// Whether a replay needs the candidate's bytes: there is something to replay, and it has not been compiled here.
    fn replay_needs_module(&self, _replay: &Replay) -> bool {
        false
    }

    /// Asks a candidate what was decided before. Blocks for seconds. `module` is empty where it is not needed. An error is for people.
    fn replay(&self, _replay: &Replay, _module: &[u8]) -> Result<Replayed, String> {
        Ok(Replayed::default())
    }

    /// Recorded decisions without secrets, oldest first. Blocks for a moment.
    fn recorded(&self, _wanted: &ShowRecorded) -> Vec<Recorded> {
        Vec::new()
    }
}

/// Which lines of a hook's log: see [`millstream_control_protocol::exchange::Order::HookLogs`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogsOf<'a> {
    /// The hook's name.
    pub hook: &'a str,
    /// From this line on; `None`: the newest ones.
    pub from: Option<u64>,
    /// Of this version only.
    pub version: Option<u64>,
    /// At least so important.
    pub level: &'a str,
    /// At most so many.
    pub limit: usize,
}

/// Some of a hook's log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogPage {
    /// The lines, oldest first.
    pub lines: Vec<HookLine>,
    /// The number behind the last line that was looked at.
    pub next: u64,
    /// Lines that were not kept.
    pub dropped: u64,
}

/// What runs hooks, if something does.
#[derive(Clone, Default)]
pub(super) struct Runs(pub(super) Option<Arc<dyn Runner>>);

impl Runs {
    /// Brings bindings into force; `None`: they are not known yet, and nothing changes.
    pub(super) async fn bind(&self, bindings: Option<&[Binding]>) -> Bound {
        let mut bound = match (&self.0, bindings) {
            (_, None) => Bound { in_force: true, warnings: Vec::new() },
            (Some(runner), Some(bindings)) => runner.bind(bindings).await,
            (None, Some(bindings)) => {
                let warnings = bindings.iter().filter_map(idle).take(HOOK_WARNINGS_MAX).collect();
                Bound { in_force: true, warnings }
            }
        };
        bound.warnings.truncate(HOOK_WARNINGS_MAX);
        bound
    }

    /// Makes a module ready where something runs it.
    pub(super) async fn prepare(
        &self,
        sha256: &str,
        kind: &str,
        signature: Option<&str>,
        module: Bytes,
    ) -> Result<(), String> {
        let Some(runner) = self.0.clone() else { return Ok(()) };
        let (sha256, kind, signature) = (sha256.to_owned(), kind.to_owned(), signature.map(str::to_owned));
        let prepare = move || runner.prepare(&sha256, &kind, signature.as_deref(), &module);
        let prepared = tokio::task::spawn_blocking(prepare).await;
        // The runtime is ending, or a defect has been printed.
        prepared.unwrap_or_else(|_| Err("it could not be made ready".to_owned()))
    }

    /// Asks a candidate what was decided before; `get` brings its module where it is needed. A build that runs no hooks has decided nothing.
    pub(super) async fn replay(
        &self,
        replay: &Replay,
        get: impl Future<Output = Result<Bytes, String>>,
    ) -> Result<Replayed, String> {
        let Some(runner) = self.0.clone() else { return Ok(Replayed::default()) };
        let module = if runner.replay_needs_module(replay) { get.await? } else { Bytes::new() };
        let replay = replay.clone();
        let replayed = tokio::task::spawn_blocking(move || runner.replay(&replay, &module)).await;
        replayed.unwrap_or_else(|_| Err("the node is ending".to_owned()))
    }

    /// Recorded decisions.
    pub(super) async fn recorded(&self, wanted: &ShowRecorded) -> Vec<Recorded> {
        let Some(runner) = self.0.clone() else { return Vec::new() };
        let wanted = wanted.clone();
        tokio::task::spawn_blocking(move || runner.recorded(&wanted)).await.unwrap_or_default()
    }
}

impl Runs {
    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Bindings in force whose hooks failed within the last minute.
    pub(super) fn failing(&self) -> Vec<HookCalls> {
        self.0.as_ref().map(|runner| runner.failing()).unwrap_or_default()
    }

    /// Whom hooks turned away, and how often they failed, since this was asked last.
    pub(super) fn troubles(&self) -> Vec<HookTrouble> {
        self.0.as_ref().map(|runner| runner.troubles()).unwrap_or_default()
    }

    /// Something has happened on this node.
    pub(super) fn happened(&self, event: &Event) {
        if let Some(runner) = &self.0 {
            runner.happened(event);
        }
    }

    /// What a hook has written to its log.
    pub(super) fn logs(&self, which: &LogsOf<'_>) -> LogPage {
        self.0.as_ref().map(|runner| runner.logs(which)).unwrap_or_default()
    }

    /// What is counted of a hook's versions.
    pub(super) fn numbers(&self, hook: &str) -> Vec<HookNumbers> {
        self.0.as_ref().map(|runner| runner.numbers(hook)).unwrap_or_default()
    }
}

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Runs" } else { "RunsNone" })
    }
}

/// Where nothing runs hooks, what is bound is kept, and said to do nothing.
fn idle(binding: &Binding) -> Option<String> {
    let Binding { hook, kind, point, mode, .. } = binding;
    let mode = match mode {
        Mode::Off => return None,
        Mode::Shadow => "shadow",
        Mode::Canary => "canary",
        Mode::Live => "live",
        Mode::Unknown => "a word of a later release",
    };
    // Words of another process, as literals and not for ever.
    let cut = |text: &String| text.chars().take(64).collect::<String>();
    let (hook, kind, point) = (cut(hook), cut(kind), cut(point));
    Some(format!(
        "hook {hook:?} ({kind}) is bound to {point} as {mode}, and is not in force: this build runs no hooks, and decides as it would without it"
    ))
}
