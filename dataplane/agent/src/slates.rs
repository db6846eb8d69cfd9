//! The clips that this node's streams show while their publisher is away: fetched when they are missing, as the modules of hooks are, checked, and
//! given to the engine. Before it: [`super::agent`], which says what streams name; after it: the engine's shards.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_control_protocol::exchange::Update;
use millstream_engine::Remote;
use millstream_engine::slates::SlateKey;
use millstream_fleet::backoff::Backoff;
use millstream_proto::media::Clip;
use tokio::sync::watch;
use tokio::time::timeout;

use super::agent::Shared;
use super::control::Control;
use super::modules;
use millstream_fleet::limits::{SLATES_BYTES_MAX, SLATES_MAX};
use millstream_fleet::numbers::Count;

/// Tries to get a clip that could not be had.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// The shards take a new set within this time, or are asked again.
const HOLD_WAIT: Duration = Duration::from_secs(2);
/// What a kept clip's name ends in.
const SUFFIX: &str = ".flv";

/// What streams name, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Slates {
    /// By stream.
    named: Mutex<BTreeMap<String, String>>,
    wanted: watch::Sender<BTreeSet<String>>,
    warnings: Mutex<Vec<String>>,
}

impl Default for Slates {
    fn default() -> Self {
        Self { named: Mutex::default(), wanted: watch::channel(BTreeSet::new()).0, warnings: Mutex::default() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slates {
    /// What streams name from here on. `is_here` says which clips the node's own configuration has given.
    pub(super) fn take_in(&self, update: &Update, is_here: impl Fn(SlateKey) -> bool) {
        let mut named = lock(&self.named);
        if update.from.is_none() {
            named.clear();
        }
        for id in &update.removed {
            named.remove(id);
        }
        for stream in &update.streams {
            let key = stream.slate.as_deref().and_then(SlateKey::from_hex).filter(|key| !is_here(*key));
            match key {
                Some(key) => named.insert(stream.id.clone(), key.to_string()),
                None => named.remove(&stream.id),
            };
        }
        let wanted: BTreeSet<String> = named.values().cloned().collect();
        self.wanted.send_if_modified(|before| {
            let differs = *before != wanted;
            *before = wanted;
            differs
        });
    }

    /// For the report: what is wrong.
    pub(super) fn warnings(&self) -> Vec<String> {
        lock(&self.warnings).clone()
    }

    /// Brings here what is wanted, for ever.
    pub(super) async fn bring(
        &self,
        control: &Control,
        engine: &Remote,
        dir: Option<PathBuf>,
        seed: u64,
        shared: &Shared,
    ) {
        let (least, most) = RETRY;
        let mut backoff = Backoff::new(least, most, seed);
        let mut changes = self.wanted.subscribe();
        let mut held: BTreeMap<String, (u64, Arc<Clip>)> = BTreeMap::new();
        loop {
            let wanted = changes.borrow_and_update().clone();
            let count = held.len();
            held.retain(|sha256, _| wanted.contains(sha256));
            let (mut warnings, mut is_new) = (Vec::new(), held.len() != count);
            for sha256 in wanted.iter().filter(|sha256| !held.contains_key(*sha256)).cloned().collect::<Vec<_>>() {
                let bytes: u64 = held.values().map(|(bytes, _)| bytes).sum();
                if held.len() >= SLATES_MAX || bytes >= SLATES_BYTES_MAX {
                    warnings.push(format!(
                        "slate {sha256} is not here: a node holds at most {SLATES_MAX} slates of {SLATES_BYTES_MAX} bytes; remove some"
                    ));
                    continue;
                }
                let had = get(control, dir.clone(), &sha256).await;
                Count::of(&had, &shared.numbers.files, &shared.numbers.files_failed);
                match had {
                    Ok(had) => {
                        held.insert(sha256, had);
                        is_new = true;
                    }
                    Err(error) => warnings
                        .push(format!("slate {sha256} is not here, and the usual one is shown instead of it: {error}")),
                }
            }
            let clips = held.iter().filter_map(|(name, (_, clip))| Some((SlateKey::from_hex(name)?, Arc::clone(clip))));
            let clips = Arc::new(clips.collect());
            let taken = !is_new || matches!(timeout(HOLD_WAIT, engine.hold_slates(&clips)).await, Ok(Ok(())));
            if let Some(dir) = dir.clone() {
                let dropped = tokio::task::spawn_blocking(move || modules::drop_others(&dir, &wanted, SUFFIX)).await;
                if let Ok(Err(error)) = dropped {
                    warnings.push(format!("slates that are not needed any more cannot be removed: {error}"));
                }
            }
            let failed = !warnings.is_empty() || !taken;
            self.settle(warnings, shared);
            if failed {
                drop(timeout(backoff.next_wait(), changes.changed()).await);
                if !taken {
                    // Told once more to all of them.
                    held.clear();
                }
            } else {
                backoff.reset();
                // Its sender is here, too.
                drop(changes.changed().await);
            }
        }
    }

    fn settle(&self, warnings: Vec<String>, shared: &Shared) {
        let mut said = lock(&self.warnings);
        if *said != warnings {
            for warning in warnings.iter().filter(|warning| !said.contains(warning)) {
                tracing::warn!("{warning}");
            }
            *said = warnings;
            shared.wake.notify_one();
        }
    }
}

/// A clip and the size of its file.
async fn get(control: &Control, dir: Option<PathBuf>, sha256: &str) -> Result<(u64, Arc<Clip>), String> {
    let file = modules::get(control, dir.as_deref(), sha256, SUFFIX).await.map_err(|error| error.to_string())?;
    let read = tokio::task::spawn_blocking(move || Clip::read(&file).map(|clip| (file.len() as u64, Arc::new(clip))));
    match read.await {
        Ok(read) => read.map_err(|error| format!("control sends what cannot be played: {error}")),
        Err(_) => Err("the node is ending".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use millstream_control_protocol::state::Stream;

    use super::*;

    fn stream(id: &str, slate: Option<&str>) -> Stream {
        Stream { id: id.to_owned(), slate: slate.map(str::to_owned), ..Stream::default() }
    }

    #[test]
    fn what_streams_name_is_wanted_as_long_as_one_does() {
        let slates = Slates::default();
        let (one, other) = ("1".repeat(64), "2".repeat(64));
        let update = |from: Option<_>, streams: Vec<Stream>, removed: &[&str]| Update {
            from,
            streams,
            removed: removed.iter().map(|&id| id.to_owned()).collect(),
            ..Update::default()
        };
        let wanted = || slates.wanted.borrow().iter().cloned().collect::<Vec<_>>();
        let later = Some(millstream_control_protocol::state::Version::default());
        let all = vec![stream("a", Some(&one)), stream("b", Some(&one)), stream("c", None), stream("d", Some("../x"))];
        slates.take_in(&update(None, all, &[]), |_| false);
        assert_eq!(wanted(), std::slice::from_ref(&one));
        slates.take_in(&update(later, vec![stream("a", Some(&other))], &[]), |_| false);
        assert_eq!(wanted(), [one.clone(), other.clone()]);
        slates.take_in(&update(later, vec![], &["b"]), |_| false);
        assert_eq!(wanted(), std::slice::from_ref(&other));
        slates.take_in(&update(later, vec![stream("a", Some(&other))], &[]), |_| true);
        assert_eq!(wanted(), [] as [String; 0]);
        slates.take_in(&update(None, vec![stream("c", Some(&one))], &[]), |_| false);
        assert_eq!(wanted(), [one]);
    }
}
