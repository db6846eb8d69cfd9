//! What is done about recordings: [`by_hand`] (begun and ended by hand), [`removal`] (removed), [`retention`] (removed because they are old), [`clips`].
//! Before it: the handlers; after it: tasks in the state that nodes are to have, and what nodes tell of them.
//!
//! What is to be done is in the store before anybody is told of it ([`Work`]), and leaves the store once a node says that it is done: neither a restart nor
//! a connection that breaks loses any of it. Which node does it is decided here, and again where that node goes away.
mod by_hand;
mod clips;
pub(crate) mod desired;
mod removal;
mod retention;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use millstream_control_protocol::task::{Progress, TaskNews};
use millstream_fleet::NodeView;
use millstream_store::StoreError;
use millstream_store::item::Query;
use tokio::time::Instant;

use self::desired::Known;
use crate::Api;
use crate::http::problem::Answer;
use crate::model::RECORDING_WORK;
use crate::model::recording_work::{ClipState, Work};

/// Tasks that one node is told of at the same time: the others wait here, so that neither a state nor a report grows with them.
const TASKS_PER_NODE_MAX: usize = 32;
/// What is to be done is looked at this often, also where nobody has told anything.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// It is read from the store again after this: a write whose answer was lost may have been made.
const READ_EVERY: Duration = Duration::from_mins(1);

impl Api {
    /// Has nodes do what is to be done about recordings, for as long as the process runs.
    pub async fn attend_to_recordings(self) {
        loop {
            self.look_after_recordings().await;
            tokio::select! {
                biased;
                () = self.recordings().wake.notified() => {}
                () = self.fleet().task_told(LOOK_EVERY) => {}
            }
        }
    }

    /// Looks once at all that is to be done: what is done leaves the store, what is not is given to a node that can do it.
    pub async fn look_after_recordings(&self) {
        if let Err(error) = self.read_work().await {
            tracing::warn!(%error, "what is to be done about recordings cannot be read now; it is read again");
        }
        self.look_after_by_hand().await;
        let given: Vec<(String, Known)> = {
            let inner = self.recordings().lock();
            if inner.work.is_empty() {
                return;
            }
            let given = inner.work.iter().filter(|(_, known)| known.node.is_some());
            given.map(|(id, known)| (id.clone(), known.clone())).collect()
        };
        let news = self.fleet().task_news();
        let news: HashMap<(&str, &str), &TaskNews> =
            news.iter().map(|(node, news)| ((node.as_str(), news.id.as_str()), news)).collect();
        for (id, known) in &given {
            let Some(node) = &known.node else { continue };
            let Some(news) = news.get(&(node.as_str(), id.as_str())) else { continue };
            let done = match news.progress {
                Progress::Done => self.work_is_done(id, known, news).await,
                Progress::Failed => self.work_has_failed(id, known, &news.why).await,
                Progress::Waits => self.work_waits(id, known, &news.why).await,
                Progress::Running => self.work_runs(id, known).await,
                Progress::Unknown => Ok(()),
            };
            if let Err(problem) = done {
                let status = problem.status().as_u16();
                tracing::warn!(status, task = id, "what a node has done cannot be written now; it is tried again");
            }
        }
        self.give_out_work().await;
    }

    /// Reads what is to be done where that is due.
    async fn read_work(&self) -> Result<(), StoreError> {
        let is_due = self.recordings().lock().read_at.is_none_or(|at| at.elapsed() >= READ_EVERY);
        if !is_due {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.store().page(Query { after, ..Query::all(RECORDING_WORK) }).await?;
            {
                let mut inner = self.recordings().lock();
                for item in &page.items {
                    if let Some(kept) = self.unreadable().read::<Work>(RECORDING_WORK, item) {
                        let known = Known { work: kept.value, ..Known::default() };
                        inner.work.entry(item.key.clone()).or_insert(known);
                    }
                }
            }
            after = page.next;
            if after.is_none() {
                self.recordings().lock().read_at = Some(Instant::now());
                return Ok(());
            }
        }
    }

    /// Gives what nobody does to a node that can, as far as nodes have room.
    async fn give_out_work(&self) {
        let nodes = self.fleet().nodes();
        let (mut given, mut idle) = (Vec::new(), Vec::new());
        {
            let mut inner = self.recordings().lock();
            let mut loads: BTreeMap<String, usize> = BTreeMap::new();
            let mut removing = BTreeSet::new();
            for known in inner.work.values() {
                let does = known.node.iter().filter(|node| can(&known.work, &nodes, node));
                does.for_each(|node| *loads.entry(node.clone()).or_default() += 1);
                if known.work.clip.is_none() {
                    removing.insert(known.work.recording.clone());
                }
            }
            for (id, known) in &mut inner.work {
                // Nothing is cut out of what goes: it goes with that.
                if known.work.clip.is_some() && removing.contains(&known.work.recording) {
                    continue;
                }
                if known.node.as_ref().is_some_and(|node| can(&known.work, &nodes, node)) {
                    continue;
                }
                match who(&known.work, &nodes) {
                    Ok(node) => {
                        let load = loads.entry(node.to_owned()).or_default();
                        if *load < TASKS_PER_NODE_MAX {
                            *load += 1;
                            known.node = Some(node.to_owned());
                            given.push(known.work.to_task(node));
                        }
                    }
                    // Where its node is away, it is still that one's.
                    Err(why) if why != known.why => idle.push((id.clone(), known.clone(), why)),
                    Err(_) => {}
                }
            }
        }
        for task in given {
            self.fleet().assign(task);
        }
        for (id, known, why) in idle {
            // What cannot be written now is written when it is next looked at.
            let _ = self.work_waits(&id, &known, &why).await;
        }
    }

    /// A node has done it.
    async fn work_is_done(&self, id: &str, known: &Known, news: &TaskNews) -> Answer<()> {
        match &known.work.clip {
            None => self.recording_is_removed(id, known).await,
            Some(cut) => self.clip_is_over(id, known, cut, Ok(news)).await,
        }
    }

    /// A node cannot do it.
    async fn work_has_failed(&self, id: &str, known: &Known, why: &str) -> Answer<()> {
        match &known.work.clip {
            // It is still to be done, once the node is another one.
            None => self.work_waits(id, known, why).await,
            Some(cut) => self.clip_is_over(id, known, cut, Err(why)).await,
        }
    }

    /// A node does it.
    async fn work_runs(&self, id: &str, known: &Known) -> Answer<()> {
        let Some(cut) = known.work.clip.as_ref().filter(|_| !known.is_begun) else { return Ok(()) };
        self.say_of_clip(&known.work, cut, ClipState::Running, "").await?;
        if let Some(known) = self.recordings().lock().work.get_mut(id) {
            (known.is_begun, known.why) = (true, String::new());
        }
        Ok(())
    }

    /// It is not done yet, for this reason: it is shown with the recording.
    async fn work_waits(&self, id: &str, known: &Known, why: &str) -> Answer<()> {
        if known.why == why {
            return Ok(());
        }
        match &known.work.clip {
            None => self.say_why_not_removed(&known.work, why).await?,
            Some(cut) => self.say_of_clip(&known.work, cut, ClipState::Queued, why).await?,
        }
        if let Some(known) = self.recordings().lock().work.get_mut(id) {
            why.clone_into(&mut known.why);
            known.is_begun = false;
        }
        Ok(())
    }
}

/// Whether this node is here and has the store that it is about.
fn can(work: &Work, nodes: &[NodeView], name: &str) -> bool {
    let has = |node: &NodeView| work.store.is_empty() || node.status.record_store == work.store;
    nodes.iter().any(|node| node.id.name == name && !node.away && has(node))
}

/// The node that is to do it: the one that recorded it, or another one that has the same store. The error is for people.
fn who<'a>(work: &Work, nodes: &'a [NodeView]) -> Result<&'a str, String> {
    let here = || nodes.iter().filter(|node| !node.away && !node.status.release.is_empty());
    let own = here().find(|node| node.id.name == work.node);
    if let Some(own) = own
        && (work.store.is_empty() || own.status.record_store == work.store)
    {
        return Ok(&own.id.name);
    }
    let other = here().find(|node| work.is_anybodys() && node.status.record_store == work.store);
    if let Some(other) = other {
        return Ok(&other.id.name);
    }
    let Work { node, store, .. } = work;
    Err(match own {
        Some(own) if own.status.record_store.is_empty() => {
            format!("node {node}, which has it, has no recorder now: its log says why")
        }
        Some(own) => format!(
            "it is kept at {store}, and node {node} keeps recordings at {} now: start the node with the store of before",
            own.status.record_store
        ),
        None => format!("node {node}, which has it, is not here: it is done once the node is"),
    })
}
