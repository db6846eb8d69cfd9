//! What control wants done about recordings of this node: they are removed and cut, until it is done. Before it: `agent::recordings`, which gives the tasks that
//! are this node's; after it: the recorder's spool and the store. Tasks are given again after a restart, so nothing is kept here.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_agent::recordings::{Later, Recordings as OfNode};
use millstream_control_protocol::task::{Held, Progress, Task, TaskNews, Work};
use millstream_objects::{Key, ObjectStore};
use millstream_proto::id::Id;
use millstream_recorder::name::RecordingName;
use millstream_recorder::recorder::deleting::{DeleteError, Standing};
use millstream_recorder::run::Handle;
use millstream_recorder::store::StoreError;
use tokio::runtime::Handle as RuntimeHandle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::cutting::{self, Cutting};
use super::removing;
use super::storing::Storing;
use super::storyboard::Adding;

/// Recordings that are removed at the same time.
const REMOVED_AT_ONCE: usize = 2;
/// Waits between tries: the first, doubled up to the last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// A request to the store that was given up may still be carried out within this.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// The tasks of this node.
#[derive(Clone)]
pub(crate) struct Tasks(Arc<Inner>);

struct Inner {
    recorder: Handle,
    store: Arc<dyn ObjectStore>,
    place: String,
    runtime: RuntimeHandle,
    doing: Mutex<BTreeMap<String, Doing>>,
    changed: Notify,
    removing: Semaphore,
    cutting: Semaphore,
    /// Where clips are made.
    clips_dir: PathBuf,
    /// Held while a recording is removed: nothing is added to one then.
    adding: Adding,
    /// Recordings of which something may still be put that was given up: clips that were begun, and what was in the spool. With the keys that are not below
    /// their folders.
    stragglers: Mutex<BTreeMap<RecordingName, BTreeSet<Key>>>,
}

/// A task under way, or done and not taken back yet.
struct Doing {
    task: Task,
    news: TaskNews,
    runs: AbortHandle,
}

impl Tasks {
    /// Of a node that keeps recordings there.
    pub(super) fn new(
        recorder: Handle,
        store: Arc<dyn ObjectStore>,
        (place, clips_dir): (String, PathBuf),
        adding: Adding,
        runtime: RuntimeHandle,
    ) -> Self {
        cutting::clear(&clips_dir);
        Self(Arc::new(Inner {
            recorder,
            store,
            place,
            runtime,
            doing: Mutex::default(),
            changed: Notify::new(),
            removing: Semaphore::new(REMOVED_AT_ONCE),
            cutting: Semaphore::new(1),
            clips_dir,
            adding,
            stragglers: Mutex::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Doing>> {
        // Every change under this lock is one step.
        self.0.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stragglers(&self) -> MutexGuard<'_, BTreeMap<RecordingName, BTreeSet<Key>>> {
        self.0.stragglers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_done(&self, id: &str, made: Made) {
        let mut doing = self.lock();
        let Some(Doing { news, .. }) = doing.get_mut(id) else { return };
        (news.progress, news.why) = (Progress::Done, String::new());
        (news.bytes, news.duration_ms) = (made.bytes, made.duration_ms);
        self.0.changed.notify_one();
    }

    fn tell(&self, id: &str, progress: Progress, why: String) {
        let mut doing = self.lock();
        let Some(known) = doing.get_mut(id) else { return };
        if (known.news.progress, known.news.why.as_str()) != (progress, why.as_str()) {
            (known.news.progress, known.news.why) = (progress, why);
            self.0.changed.notify_one();
        }
    }

    /// Until it is done, or taken back.
    async fn carry_out(self, task: Task) {
        let (least, most) = RETRY;
        let mut wait = least;
        loop {
            match self.try_once(&task).await {
                Ok(made) => return self.is_done(&task.id, made),
                Err(Trouble::ForEver(why)) => {
                    tracing::warn!(task = task.id, stream = task.stream, why, "control wants what cannot be done");
                    return self.tell(&task.id, Progress::Failed, why);
                }
                Err(Trouble::Now(why)) => {
                    tracing::info!(task = task.id, stream = task.stream, why, "it is tried again");
                    self.tell(&task.id, Progress::Waits, why);
                }
            }
            sleep(wait).await;
            wait = (wait * 2).min(most);
        }
    }

    async fn try_once(&self, task: &Task) -> Result<Made, Trouble> {
        if !task.store.is_empty() && task.store != self.0.place {
            let (theirs, ours) = (&task.store, &self.0.place);
            return Err(Trouble::Now(format!(
                "it is kept at {theirs}, and this node keeps recordings at {ours} now: start it with the store of before"
            )));
        }
        let stream = Id::new(&task.stream).map_err(|error| Trouble::ForEver(error.to_string()))?;
        match &task.what {
            Work::Delete { recording } => {
                self.remove(&stream, &named(recording)?).await?;
                Ok(Made::default())
            }
            Work::Clip { recording, clip, from_ms, to_ms } => {
                let name = named(recording)?;
                // It is never closed.
                let _turn = self.0.cutting.acquire().await.map_err(|error| Trouble::Now(error.to_string()))?;
                self.tell(&task.id, Progress::Running, String::new());
                let is_growing = self.0.recorder.standing(&name).await != Standing::Gone;
                self.stragglers().entry(name.clone()).or_default();
                let cutting = Cutting {
                    store: &self.0.store,
                    dir: &self.0.clips_dir,
                    stream: &stream,
                    name: &name,
                    clip,
                    from_ms: *from_ms,
                    to_ms: *to_ms,
                    is_growing,
                };
                let made = cutting.run().await?;
                tracing::info!(%stream, recording = %name, clip, bytes = made.bytes, "a clip is stored");
                Ok(Made { bytes: made.bytes, duration_ms: made.duration_ms })
            }
            _ => Err(Trouble::ForEver("this release of the node does not know how; upgrade it".to_owned())),
        }
    }

    async fn remove(&self, stream: &Id, name: &RecordingName) -> Result<(), Trouble> {
        // It is never closed.
        let turn = self.0.removing.acquire().await.map_err(|error| Trouble::Now(error.to_string()))?;
        match self.0.recorder.delete(name).await {
            Ok(Some(movies)) => {
                let movies = movies.iter().filter_map(|key| Key::parse(key).ok());
                self.stragglers().entry(name.clone()).or_default().extend(movies);
            }
            Ok(None) => {}
            Err(DeleteError::Running) => {
                let why = "it still runs; it is removed once it has ended: stop it, or its stream";
                return Err(Trouble::Now(why.to_owned()));
            }
            Err(error) => return Err(Trouble::Now(error.to_string())),
        }
        let failed = |error: StoreError| Trouble::Now(error.to_string());
        let store = Storing(Arc::clone(&self.0.store));
        let mut files = removing::its_files(&store, stream, name).await.map_err(failed)?;
        let late = self.stragglers().get_mut(name).map(|known| {
            // Its list goes with the first try.
            known.append(&mut files);
            known.clone()
        });
        let files = late.as_ref().unwrap_or(&files);
        let mut objects = {
            let _nothing_more = self.0.adding.read().await;
            removing::remove(&store, stream, name, files).await.map_err(failed)?
        };
        if late.is_some() {
            drop(turn);
            sleep(STRAGGLERS).await;
            objects += removing::remove(&store, stream, name, files).await.map_err(failed)?;
            self.stragglers().remove(name);
        }
        tracing::info!(%stream, recording = %name, objects, "a recording is removed");
        Ok(())
    }
}

/// What came of a task, where that has a size.
#[derive(Clone, Copy, Default)]
struct Made {
    bytes: u64,
    duration_ms: u64,
}

fn named(recording: &str) -> Result<RecordingName, Trouble> {
    let name = RecordingName::parse(recording);
    name.ok_or_else(|| Trouble::ForEver("this is no name of a recording".to_owned()))
}

/// Why it is not done.
pub(super) enum Trouble {
    /// It may be later.
    Now(String),
    /// It never will be.
    ForEver(String),
}

impl OfNode for Tasks {
    fn place(&self) -> String {
        self.0.place.clone()
    }

    fn take_up(&self, tasks: Vec<Task>) {
        let mut doing = self.lock();
        let wanted: BTreeMap<String, Task> = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
        doing.retain(|id, known| {
            let stays = wanted.get(id) == Some(&known.task);
            if !stays {
                known.runs.abort();
            }
            stays
        });
        for (id, task) in wanted {
            if doing.contains_key(&id) {
                continue;
            }
            let runs = self.0.runtime.spawn(self.clone().carry_out(task.clone())).abort_handle();
            let news = TaskNews { id: id.clone(), progress: Progress::Waits, ..TaskNews::default() };
            doing.insert(id, Doing { task, news, runs });
        }
    }

    fn news(&self) -> Vec<TaskNews> {
        self.lock().values().map(|known| known.news.clone()).collect()
    }

    fn changed(&self) -> Later<'_, ()> {
        Box::pin(self.0.changed.notified())
    }

    fn look<'a>(&'a self, recording: &'a str) -> Later<'a, Held> {
        Box::pin(async move {
            let Some(name) = RecordingName::parse(recording) else { return Held::Nothing };
            match self.0.recorder.standing(&name).await {
                Standing::Running => Held::Running,
                Standing::Storing => Held::Storing,
                Standing::Gone => Held::Nothing,
            }
        })
    }
}
