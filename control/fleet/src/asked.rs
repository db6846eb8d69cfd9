//! What nodes are asked and told to do, one or all at a time, within bounds of time and answers, and what they told last. Before it: control's API; after it:
//! [`crate::node_registry`], which has their orders wait for their next poll.
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{self, Stream as Answers, StreamExt as _};
use millstream_control_protocol::diagnosis::Condition;
use millstream_control_protocol::exchange::{Answer, Order, Whom};
use millstream_control_protocol::live::{Live, Viewer};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout_at};

use crate::error::LinkError;
use crate::event_sink::NodeEvent;
use crate::fleet::{Fleet, lock};
use crate::limits::{ORDER_WAIT_MAX, VIEWERS_ASKED_AT_ONCE_MAX, VIEWERS_PER_PAGE_MAX};
use crate::node_registry::NodeView;
use crate::time_series::Point;
use crate::trust;

/// How many sessions an order ended, and what stood in its way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kicked {
    /// Sessions that are being ended.
    pub sessions: u64,
    /// Nodes that could not be told, and why.
    pub failed: Vec<(String, LinkError)>,
}

/// Where a page of viewers ends: node and session number.
pub type ViewerCursor = (String, u64);

/// Some of a stream's viewers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ViewersOnNodes {
    /// Node and viewer, in the order of nodes' names and of session numbers.
    pub viewers: Vec<(String, Viewer)>,
    /// There are more behind this.
    pub next: Option<ViewerCursor>,
    /// Nodes that could not be asked, and why.
    pub failed: Vec<(String, LinkError)>,
}

impl Fleet {
    /// Events from here on. A listener that is too far behind is told how many it missed.
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.0.heard.subscribe()
    }

    /// All nodes that were heard within the last hour, by name.
    pub fn nodes(&self) -> Vec<NodeView> {
        lock(&self.0.registry).views()
    }

    /// Every stream that is held, by node, as it was told last: some seconds ago.
    pub fn on_air(&self) -> Vec<(String, Live)> {
        lock(&self.0.registry).on_air()
    }

    /// Takes in how all streams are now, for [`Fleet::time_series`]; to be called every [`SERIES_EVERY`].
    pub fn take_series(&self, now_unix_ms: u64) {
        let points = lock(&self.0.registry).points();
        lock(&self.0.series).take(now_unix_ms, points);
    }

    /// How a stream was on air within the last hour, the oldest point first.
    pub fn time_series(&self, stream: &str) -> Vec<Point> {
        lock(&self.0.series).of(stream)
    }

    /// What nodes that are here have found wrong with a stream, by node, as they told last: at once where something has changed.
    pub fn conditions(&self, stream: &str) -> Vec<(String, Vec<Condition>)> {
        lock(&self.0.registry).conditions(stream)
    }

    /// The same, of one node.
    pub fn conditions_at(&self, node: &str, stream: &str) -> Vec<Condition> {
        lock(&self.0.registry).conditions_at(node, stream)
    }

    /// A stream as nodes that are here told of it last, by node; nobody is asked.
    pub fn last_told(&self, stream: &str) -> Vec<(String, Live)> {
        lock(&self.0.registry).last_told(stream)
    }

    pub(crate) async fn ask(&self, node: &str, order: Order, until: Instant) -> Result<Answer, LinkError> {
        if Instant::now() >= until {
            return Err(LinkError::Late);
        }
        let answer = lock(&self.0.registry).order(node, order)?;
        match timeout_at(until, answer).await {
            Ok(Ok(Answer::Failed { reason })) => Err(LinkError::Failed(reason)),
            Ok(Ok(Answer::NotUnderstood)) => {
                Err(LinkError::Failed("its release does not know this order; upgrade it".to_owned()))
            }
            Ok(Ok(answer)) => Ok(answer),
            // Its run is over.
            Ok(Err(_)) => Err(LinkError::Away),
            Err(_) => Err(LinkError::Late),
        }
    }

    /// A stream as it is now, by node: only nodes that hold it. A node that was told to look and does not answer is shown as it told
    /// last.
    pub async fn look(&self, stream: &str) -> Vec<(String, Live)> {
        let nodes = lock(&self.0.registry).present();
        let last_told = lock(&self.0.registry).last_told(stream);
        let mut found = Vec::new();
        for (node, answer) in self.ask_all(nodes, &Order::Look { stream: stream.to_owned() }).await {
            match answer {
                Ok(Answer::Live { live: Some(live) }) if live.id == stream => found.push((node, *live)),
                Ok(_) => {}
                Err(_) => found.extend(last_told.iter().find(|(told, _)| *told == node).cloned()),
            }
        }
        found
    }

    /// Asks all nodes at the same time.
    async fn ask_all(&self, nodes: Vec<String>, order: &Order) -> Vec<(String, Result<Answer, LinkError>)> {
        self.ask_all_for(nodes, order, ORDER_WAIT_MAX).await
    }

    /// The same, with so much time.
    pub(crate) async fn ask_all_for(
        &self,
        nodes: Vec<String>,
        order: &Order,
        wait: Duration,
    ) -> Vec<(String, Result<Answer, LinkError>)> {
        let at_once = nodes.len();
        let orders = nodes.into_iter().map(|node| (node, order.clone())).collect();
        let mut answers: Vec<_> = self.ask_each(orders, at_once, wait).collect().await;
        answers.sort_by(|(a, _), (b, _)| a.cmp(b));
        answers
    }

    /// Asks nodes, so many at the same time, and gives every node's answer as it comes. Together they have the time of one: nodes that
    /// hang cost the caller one wait, and whose turn does not come by its end is late.
    pub(crate) fn ask_each(
        &self,
        orders: Vec<(String, Order)>,
        at_once: usize,
        wait: Duration,
    ) -> impl Answers<Item = (String, Result<Answer, LinkError>)> + use<> {
        let (fleet, until) = (self.clone(), Instant::now() + wait);
        let ask = move |(node, order): (String, Order)| {
            let fleet = fleet.clone();
            async move {
                let answer = fleet.ask(&node, order, until).await;
                (node, answer)
            }
        };
        stream::iter(orders).map(ask).buffer_unordered(at_once.max(1))
    }

    /// Who watches a stream, at most `limit`, after the cursor of the page before.
    pub async fn viewers(&self, stream: &str, after: Option<&ViewerCursor>, limit: u32) -> ViewersOnNodes {
        let limit = limit.clamp(1, VIEWERS_PER_PAGE_MAX) as usize;
        let after_of = |node: &str| after.filter(|(at, _)| at == node).map_or(0, |(_, session)| *session);
        let mut nodes = lock(&self.0.registry).present();
        nodes.retain(|node| after.is_none_or(|(at, _)| node >= at));
        let order = |node: String| {
            let after = after_of(&node);
            (node, Order::Viewers { stream: stream.to_owned(), after, limit: limit as u32 })
        };
        let orders = nodes.into_iter().map(order).collect();
        let mut answers = pin!(self.ask_each(orders, VIEWERS_ASKED_AT_ONCE_MAX, ORDER_WAIT_MAX));
        // No more than a page is held, however many nodes answer.
        let (mut found, mut ends, mut failed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut is_cut = false;
        while let Some((node, answer)) = answers.next().await {
            let mut told = match answer {
                Ok(Answer::Viewers { page }) => page,
                Ok(_) => {
                    failed.insert(node, LinkError::other_answer());
                    continue;
                }
                Err(error) => {
                    failed.insert(node, error);
                    continue;
                }
            };
            let after = after_of(&node);
            // No more than was asked for, whatever it says: pages that never end would be read for ever.
            told.viewers.retain(|viewer| viewer.session > after);
            if told.viewers.len() > limit {
                told.viewers.truncate(limit);
                told.next_after = told.viewers.last().map(|viewer| viewer.session);
            }
            told.viewers.iter_mut().for_each(trust::tidy_viewer);
            if let Some(next) = told.next_after.filter(|next| *next > after && !told.viewers.is_empty()) {
                ends.insert(node.clone(), next);
            }
            found.extend(told.viewers.into_iter().map(|viewer| ((node.clone(), viewer.session), viewer)));
            while found.len() > limit {
                found.pop_last();
                is_cut = true;
            }
        }
        // Behind the first node that has more there is nothing yet.
        let end: Option<ViewerCursor> = ends.pop_first();
        if let Some((node, _)) = &end {
            found.retain(|(of, _), _| of <= node);
        }
        let last = found.keys().next_back().cloned();
        let is_full = found.len() == limit && is_cut;
        let next = if is_full && end.as_ref().is_none_or(|end| last.as_ref() < Some(end)) { last } else { end };
        let viewers = found.into_iter().map(|((node, _), viewer)| (node, viewer)).collect();
        ViewersOnNodes { viewers, next, failed: failed.into_iter().collect() }
    }

    /// Ends sessions of a stream on every node.
    pub async fn kick_stream(&self, stream: &str, whom: Whom) -> Kicked {
        let nodes = lock(&self.0.registry).present();
        self.kick(nodes, &Order::KickStream { stream: stream.to_owned(), whom }).await
    }

    /// Ends one session of a node.
    pub async fn kick_session(&self, node: &str, session: u64) -> Kicked {
        self.kick(vec![node.to_owned()], &Order::KickSession { session }).await
    }

    async fn kick(&self, nodes: Vec<String>, order: &Order) -> Kicked {
        let mut kicked = Kicked::default();
        for (node, answer) in self.ask_all(nodes, order).await {
            match answer {
                Ok(Answer::Kicked { sessions }) => kicked.sessions = kicked.sessions.saturating_add(sessions),
                Ok(_) => kicked.failed.push((node, LinkError::other_answer())),
                Err(error) => kicked.failed.push((node, error)),
            }
        }
        kicked
    }
}
