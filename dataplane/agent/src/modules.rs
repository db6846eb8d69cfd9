//! Modules of the hooks that this node's bindings name: fetched when they are missing, held against their SHA-256, kept in a directory
//! by that name, and dropped when no binding needs them. Before it: [`super::agent`], which says what is bound; after it: whoever runs
//! hooks, and the reports, which say what is here and what is not.
//!
//! Where control is in this process its store is the directory, and a module is only looked at.
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use millstream_control_protocol::state::Binding;
use millstream_fleet::backoff::Backoff;
use millstream_policy::signatures::{SIGNATURES_READ_MAX, joined};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::agent::Shared;
use super::control::{Control, ControlError};
use super::runner::Runs;
use millstream_fleet::limits::{HOOK_WARNINGS_MAX, MODULE_BYTES_MAX, MODULES_BYTES_MAX};
use millstream_fleet::numbers::Count;

/// Tries to get a module that could not be had.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// What a kept module's name ends in.
const SUFFIX: &str = ".wasm";

/// What is bound, and what is here of it.
#[derive(Debug)]
pub(super) struct Modules {
    wanted: watch::Sender<Wanted>,
    here: Mutex<Here>,
}

/// What has to be here. It stays, too, while the state on disk names it: a restart begins with that.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Wanted {
    /// By SHA-256.
    now: BTreeMap<String, Module>,
    kept: BTreeSet<String>,
    /// All bindings, in the order of their ids; `None`: nobody has said yet, and what decides goes on.
    bindings: Option<Vec<Binding>>,
}

/// What is known of a module.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Module {
    bytes: u64,
    /// The hook's name.
    hook: String,
    kind: String,
    signature: Option<String>,
}

#[derive(Debug, Default)]
struct Here {
    held: BTreeSet<String>,
    warnings: Vec<String>,
}

impl Default for Modules {
    fn default() -> Self {
        Self { wanted: watch::channel(Wanted::default()).0, here: Mutex::default() }
    }
}

/// Why a module is not here.
#[derive(Debug, thiserror::Error)]
pub(super) enum ModuleError {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("what control sends has another SHA-256 ({0}); it is not used")]
    Other(String),
    #[error("{0}")]
    Unusable(String),
    #[error("the disk is full: free space in {}", .0.display())]
    Full(PathBuf),
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "the modules of all hooks have more than the {MODULES_BYTES_MAX} bytes that a node keeps; bind fewer of them"
    )]
    TooMuch,
}

fn io(path: &Path) -> impl Fn(io::Error) -> ModuleError + '_ {
    |error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            ModuleError::Full(path.parent().unwrap_or(path).to_owned())
        }
        _ => ModuleError::Io { path: path.to_owned(), error },
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 as modules are named.
fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// What can be a module's SHA-256, and so a file's name.
fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Modules {
    fn here(&self) -> MutexGuard<'_, Here> {
        // Every change under this lock is one step.
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are all bindings from here on.
    pub(super) fn want<'a>(&self, bindings: impl Iterator<Item = &'a Binding> + Clone) {
        let on = bindings.clone().filter(|binding| binding.is_on() && is_sha256(&binding.sha256));
        let module = |binding: &Binding| {
            let Binding { bytes, hook, kind, signature, .. } = binding;
            Module { bytes: *bytes, hook: hook.clone(), kind: kind.clone(), signature: signature.clone() }
        };
        let mut now = BTreeMap::new();
        for binding in on {
            let entry: &mut Module = now.entry(binding.sha256.clone()).or_insert_with(|| module(binding));
            // The same bytes may be a version of two hooks, each with signatures of its own.
            for signature in binding.signature.iter().flat_map(|all| all.split_whitespace()) {
                let all = joined(entry.signature.as_deref(), signature, SIGNATURES_READ_MAX);
                entry.signature = all.or_else(|| entry.signature.take());
            }
        }
        let bindings = Some(bindings.cloned().collect());
        self.wanted.send_if_modified(|wanted| {
            let next = Wanted { now, bindings, kept: wanted.kept.clone() };
            let differs = *wanted != next;
            *wanted = next;
            differs
        });
    }

    /// The state on disk has these bindings.
    pub(super) fn kept<'a>(&self, bindings: impl Iterator<Item = &'a Binding>) {
        let kept = bindings.filter(|binding| binding.is_on()).map(|binding| binding.sha256.clone()).collect();
        self.wanted.send_if_modified(|wanted| {
            let differs = wanted.kept != kept;
            wanted.kept = kept;
            differs
        });
    }

    /// For the report: what is here, and what is wrong.
    pub(super) fn told(&self) -> (Vec<String>, Vec<String>) {
        let here = self.here();
        (here.held.iter().cloned().collect(), here.warnings.clone())
    }

    /// Brings here what is wanted, and into force what is bound, for ever.
    pub(super) async fn bring(
        &self,
        control: &Control,
        dir: Option<PathBuf>,
        seed: u64,
        (shared, runs): (&Shared, &Runs),
    ) {
        let (news, numbers) = (&shared.wake, &shared.numbers);
        let (least, most) = RETRY;
        let mut backoff = Backoff::new(least, most, seed);
        let mut changes = self.wanted.subscribe();
        loop {
            let wanted = changes.borrow_and_update().clone();
            // At once, with the modules that are ready: what was unbound decides no more.
            let mut bound = runs.bind(wanted.bindings.as_deref()).await;
            let mut warnings = Vec::new();
            let (mut failed, mut is_new) = (false, false);
            let mut bytes_held = 0;
            for (sha256, Module { bytes, hook, kind, signature }) in &wanted.now {
                bytes_held += bytes;
                let done = if bytes_held > MODULES_BYTES_MAX {
                    Err(ModuleError::TooMuch)
                } else if self.here().held.contains(sha256) {
                    continue;
                } else {
                    let got = get(control, dir.as_deref(), sha256, SUFFIX).await;
                    Count::of(&got, &numbers.files, &numbers.files_failed);
                    match got {
                        Ok(module) => runs
                            .prepare(sha256, kind, signature.as_deref(), module)
                            .await
                            .map_err(ModuleError::Unusable),
                        Err(error) => Err(error),
                    }
                };
                match done {
                    Ok(()) => {
                        self.here().held.insert(sha256.clone());
                        is_new = true;
                        news.notify_one();
                    }
                    Err(error) => {
                        // The same module is not usable the next time either.
                        failed |= !matches!(error, ModuleError::Unusable(_));
                        let hook: String = hook.chars().take(64).collect();
                        let is =
                            if matches!(error, ModuleError::Unusable(_)) { "cannot be used" } else { "is not here" };
                        warnings.push(format!("the module {sha256} of hook {hook:?} {is}: {error}"));
                    }
                }
            }
            if is_new {
                bound = runs.bind(wanted.bindings.as_deref()).await;
            }
            failed |= !bound.in_force;
            bound.warnings.extend(warnings);
            self.settle(&wanted, dir.clone(), bound.warnings, news).await;
            if failed {
                // Whatever is new is wanted at once; else the same again, later.
                drop(timeout(backoff.next_wait(), changes.changed()).await);
            } else {
                backoff.reset();
                // Its sender is here, too.
                drop(changes.changed().await);
            }
        }
    }

    /// Forgets what is not wanted any more, and tells what is wrong.
    async fn settle(&self, wanted: &Wanted, dir: Option<PathBuf>, mut warnings: Vec<String>, news: &Notify) {
        let needed: BTreeSet<String> = wanted.now.keys().chain(&wanted.kept).cloned().collect();
        if let Some(dir) = dir {
            let dropped = tokio::task::spawn_blocking(move || drop_others(&dir, &needed, SUFFIX)).await;
            if let Ok(Err(error)) = dropped {
                warnings.push(format!("modules that are not needed any more cannot be removed: {error}"));
            }
        }
        warnings.truncate(HOOK_WARNINGS_MAX);
        let mut here = self.here();
        here.held.retain(|sha256| wanted.now.contains_key(sha256));
        if here.warnings != warnings {
            for warning in warnings.iter().filter(|warning| !here.warnings.contains(warning)) {
                tracing::warn!("{warning}");
            }
            here.warnings = warnings;
            news.notify_one();
        }
    }
}

/// What is called so, from the directory, or from control, and then kept there.
pub(super) async fn get(
    control: &Control,
    dir: Option<&Path>,
    sha256: &str,
    suffix: &str,
) -> Result<Bytes, ModuleError> {
    let path = dir.map(|dir| dir.join(format!("{sha256}{suffix}")));
    if let Some(path) = path.clone() {
        let name = sha256.to_owned();
        let found = tokio::task::spawn_blocking(move || whole(&path, &name)).await;
        if let Ok(Some(found)) = found {
            return Ok(found.into());
        }
    }
    let module = control.module(sha256).await?;
    let name = sha256.to_owned();
    let kept = tokio::task::spawn_blocking(move || {
        let other = self::sha256(&module);
        if other != name {
            return Err(ModuleError::Other(other));
        }
        path.map_or(Ok(()), |path| save(&path, &module)).map(|()| module)
    });
    // The runtime is ending.
    kept.await.unwrap_or_else(|error| Err(io(Path::new(sha256))(io::Error::other(error))))
}

/// The file, if it is what it is called; what a crash or a failing disk left of one is not.
fn whole(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MODULE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    (read.is_ok() && sha256(&bytes) == name).then_some(bytes)
}

/// Writes a module beside its place and renames it into it: it is whole or not there.
fn save(path: &Path, module: &Bytes) -> Result<(), ModuleError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io(path))?;
    let beside = path.with_extension("new");
    // What a crash may have left: its mode is not to be trusted.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(path)(error)),
        _ => {}
    }
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut file| {
        file.write_all(module)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&beside, path)) {
        // A full disk is not to be kept full by what could not be finished.
        let _ = fs::remove_file(&beside);
        return Err(io(path)(error));
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(path))
}

/// Removes what is not needed, and what a crash left of it. Files of other names are not ours.
pub(super) fn drop_others(dir: &Path, needed: &BTreeSet<String>, suffix: &str) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let Some((stem, extension)) = name.rsplit_once('.') else { continue };
        let ours = is_sha256(stem) && (extension == "new" || format!(".{extension}") == suffix);
        if ours && (extension == "new" || !needed.contains(stem)) {
            fs::remove_file(dir.join(&*name))?;
        }
    }
    Ok(())
}
