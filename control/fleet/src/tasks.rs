//! What nodes are to do about recordings, and how far they are. Before it: the API, which keeps in its store what is to be done; after it: the state
//! that all nodes are to have, and their reports.
use std::time::Duration;

use millstream_control_protocol::exchange::{Answer, Order};
use millstream_control_protocol::state::Version;
use millstream_control_protocol::task::{Held, Task, TaskNews};
use tokio::time::{Instant, timeout};

use crate::error::LinkError;
use crate::fleet::{Fleet, lock};
use crate::limits::ORDER_WAIT_MAX;

impl Fleet {
    /// Has nodes do something, until [`Fleet::settle`].
    pub fn assign(&self, task: Task) -> Version {
        self.change(|desired| desired.assign(task))
    }

    /// Has them do it no longer: it is done, or not wanted any more.
    pub fn settle(&self, id: &str) -> Version {
        self.change(|desired| desired.settle(id))
    }

    /// What nodes told last of their tasks: node and news.
    pub fn task_news(&self) -> Vec<(String, TaskNews)> {
        lock(&self.0.registry).task_news()
    }

    /// Waits until a node tells of its tasks, and no longer than this.
    pub async fn task_told(&self, wait: Duration) {
        // Late is as good as told: who waits looks at everything.
        let _ = timeout(wait, self.0.task_told.notified()).await;
    }

    /// Whether a node held a stream when it told last; `None`: it is not here, or has not told.
    pub fn holds(&self, node: &str, stream: &str) -> Option<bool> {
        lock(&self.0.registry).holds(node, stream)
    }

    /// How far a recording is at a node.
    pub async fn look_at_recording(&self, node: &str, recording: &str) -> Result<Held, LinkError> {
        let order = Order::LookAtRecording { recording: recording.to_owned() };
        match self.ask(node, order, Instant::now() + ORDER_WAIT_MAX).await? {
            Answer::Recording { held } => Ok(held),
            _ => Err(LinkError::other_answer()),
        }
    }
}
