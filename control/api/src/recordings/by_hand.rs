//! Recordings that are begun and ended by hand, whatever the settings of their stream say: a wish for the session that is on air, kept in the store until
//! that session is over. Before it: [`crate::routes::by_hand`]; after it: a task of all nodes, which holds for the life of the stream that they have then.
use std::time::Duration;

use millstream_control_protocol::task::Task;
use millstream_fleet::NodeView;
use millstream_store::item::Expect;
use tokio::time::Instant;

use super::desired::OnAir;
use crate::Api;
use crate::auth::Caller;
use crate::http::problem::{Answer, Problem};
use crate::model::recording_work::{ByHand, RecordedByHand};
use crate::model::{self, Kept, RECORDING_BY_HAND};
use crate::reconcile::{Subject, Unsettled};
use crate::streams::valid_id;

/// Streams whose recording was begun or ended by hand at the same time: all nodes are told of them.
const BY_HAND_MAX: u64 = 10_000;
/// A session is over once its node has not held the stream for so long: what a node told may be some seconds old.
const OVER_AFTER: Duration = Duration::from_secs(5);
/// The same where the node was started anew, or is not here: the longest that a publisher may be waited for, and a little.
const OVER_AFTER_RESTART: Duration = Duration::from_mins(11);

impl Api {
    /// Begins or ends the recording of a stream that is on air, for its session.
    pub(crate) async fn record_by_hand(&self, caller: &Caller, id: &str, wanted: bool) -> Answer<RecordedByHand> {
        valid_id(id)?;
        let found = self.fleet().look(id).await;
        let on_air = found.into_iter().find_map(|(node, live)| Some((node, live.publisher?)));
        let Some((node, publisher)) = on_air else {
            // Says so where there is none.
            self.stream(id).await?;
            return Err(Problem::conflict(format!(
                "stream {id} is not on air: what is done by hand is for a session; set isOnDemand to have it recorded whenever it is on air"
            )));
        };
        let view = self.fleet().nodes().into_iter().find(|view| view.id.name == node);
        let view = view.ok_or_else(|| Problem::unavailable("node-away", format!("node {node} has just gone"), 5))?;
        if view.status.record_store.is_empty() {
            return Err(Problem::conflict(format!(
                "node {node}, which stream {id} is on, has no recorder: its log says why, or its release has none"
            )));
        }
        let _making = self.makes().await;
        let lock = self.locks().lock(id).await;
        let before: Option<Kept<ByHand>> = model::load(self.store(), RECORDING_BY_HAND, id).await?;
        let now_ms = self.clock().now_ms();
        let mine = (wanted, node.as_str(), view.id.run, publisher.session);
        let (expect, last) = match &before {
            Some(Kept { value, .. }) if (value.wanted, value.node.as_str(), value.run, value.session) == mine => {
                return Ok(value.clone().shown(id));
            }
            Some(Kept { version, value }) => (Expect::Version(*version), value.number),
            None => (Expect::Absent, 0),
        };
        if before.is_none() && self.store().count(RECORDING_BY_HAND).await? >= BY_HAND_MAX {
            return Err(Problem::conflict(format!(
                "the recordings of {BY_HAND_MAX} streams that are on air were begun or ended by hand, which is the most; set isOnDemand instead"
            )));
        }
        let by_hand = ByHand {
            wanted,
            number: now_ms.max(last + 1),
            node,
            run: view.id.run,
            session: publisher.session,
            since_unix_ms: now_ms,
            by: caller.who.clone(),
        };
        let action = if wanted { "recording.start" } else { "recording.stop" };
        let unsettled = Unsettled::new(self, Subject::RecordedByHand(id.to_owned()));
        let put = model::to_put((RECORDING_BY_HAND, id), expect, None, &by_hand);
        let made = self.logged(caller, (action, id), Vec::new(), vec![put]).await?;
        made.map_err(|model::Conflict| {
            Problem::conflict("somebody else did so at the same moment; repeat the request")
        })?;
        let told = self.fleet().assign(Task::by_hand(id, wanted, by_hand.number));
        self.recordings().lock().by_hand.insert(id.to_owned(), OnAir::of(&by_hand));
        unsettled.settle();
        drop(lock);
        self.in_force(id, told).await;
        Ok(by_hand.shown(id))
    }

    /// Tells the nodes what is stored of a stream.
    pub(crate) async fn tell_by_hand(&self, id: &str) -> Answer<()> {
        let _lock = self.locks().lock(id).await;
        let kept = model::load::<ByHand>(self.store(), RECORDING_BY_HAND, id).await?;
        let mut inner = self.recordings().lock();
        if let Some(Kept { value, .. }) = kept {
            self.fleet().assign(Task::by_hand(id, value.wanted, value.number));
            inner.by_hand.insert(id.to_owned(), OnAir::of(&value));
        } else {
            self.fleet().settle(&Task::by_hand_id(id));
            inner.by_hand.remove(id);
        }
        Ok(())
    }

    /// What was done by hand for a session that is over is forgotten.
    pub(super) async fn look_after_by_hand(&self) {
        let over = {
            let mut inner = self.recordings().lock();
            let nodes = if inner.by_hand.is_empty() { Vec::new() } else { self.fleet().nodes() };
            let mut over = Vec::new();
            for (id, on_air) in &mut inner.by_hand {
                if self.fleet().holds(&on_air.node, id) == Some(true) {
                    on_air.absent_since = None;
                    continue;
                }
                let is_same = |node: &NodeView| node.id.name == on_air.node && node.id.run == on_air.run && !node.away;
                let wait = if nodes.iter().any(is_same) { OVER_AFTER } else { OVER_AFTER_RESTART };
                if on_air.absent_since.get_or_insert_with(Instant::now).elapsed() >= wait {
                    over.push(id.clone());
                }
            }
            over
        };
        for id in over {
            if let Err(problem) = self.forget_by_hand(&id).await {
                let status = problem.status().as_u16();
                tracing::warn!(status, stream = id, "what was done by hand about a recording cannot be forgotten now");
                return;
            }
        }
    }

    async fn forget_by_hand(&self, id: &str) -> Answer<()> {
        let _lock = self.locks().lock(id).await;
        let is_over = |on_air: &OnAir| on_air.absent_since.is_some_and(|since| since.elapsed() >= OVER_AFTER);
        // It may have been done again meanwhile.
        if !self.recordings().lock().by_hand.get(id).is_some_and(is_over) {
            return Ok(());
        }
        let unsettled = Unsettled::new(self, Subject::RecordedByHand(id.to_owned()));
        model::transact(self.store(), vec![model::to_delete((RECORDING_BY_HAND, id), Expect::Any)]).await?.ok();
        self.fleet().settle(&Task::by_hand_id(id));
        self.recordings().lock().by_hand.remove(id);
        unsettled.settle();
        tracing::debug!(stream = id, "what was done by hand about its recording is over with its session");
        Ok(())
    }
}
