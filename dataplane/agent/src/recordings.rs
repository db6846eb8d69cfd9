//! Whoever has a node's recordings, as the agent sees it: it is given the tasks that are this node's, and tells how far it is. Before it: the state that
//! control wants; after it: the recorder and the store. A node without one has no recordings, and says so by naming no store.
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use millstream_control_protocol::exchange::Answer;
use millstream_control_protocol::task::{Held, Task, TaskNews, Work};

/// An answer that comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Has recordings.
pub trait Recordings: Send + Sync {
    /// Where they are kept, without secrets. Two nodes that say the same of a store that is not `file:` have the same one.
    fn place(&self) -> String;

    /// These, and no others, are to be done. Called with each change of the state; returns at once.
    fn take_up(&self, tasks: Vec<Task>);

    /// How far it is with each of them.
    fn news(&self) -> Vec<TaskNews>;

    /// Waits until there is other news than before.
    fn changed(&self) -> Later<'_, ()>;

    /// How far a recording is.
    fn look<'a>(&'a self, recording: &'a str) -> Later<'a, Held>;
}

/// Who has them, if somebody does.
#[derive(Clone, Default)]
pub(super) struct Records(pub(super) Option<Arc<dyn Recordings>>);

impl Records {
    /// Gives it those tasks that are for this node. What is begun by hand is the engine's to do.
    pub(super) fn take_up(&self, node: &str, tasks: &BTreeMap<String, Task>) {
        let Some(records) = &self.0 else { return };
        let is_mine = |task: &&Task| (task.node.is_empty() || task.node == node) && is_work(&task.what);
        records.take_up(tasks.values().filter(is_mine).cloned().collect());
    }

    pub(super) fn place(&self) -> String {
        self.0.as_ref().map(|records| records.place()).unwrap_or_default()
    }

    pub(super) fn news(&self) -> Vec<TaskNews> {
        self.0.as_ref().map(|records| records.news()).unwrap_or_default()
    }

    /// Never, where there is nobody.
    pub(super) async fn changed(&self) {
        match &self.0 {
            Some(records) => records.changed().await,
            None => std::future::pending().await,
        }
    }

    pub(super) async fn look(&self, recording: &str) -> Answer {
        match &self.0 {
            Some(records) => Answer::Recording { held: records.look(recording).await },
            None => Answer::Recording { held: Held::Nothing },
        }
    }
}

const fn is_work(what: &Work) -> bool {
    matches!(what, Work::Delete { .. } | Work::Clip { .. })
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Records" } else { "RecordsNone" })
    }
}
