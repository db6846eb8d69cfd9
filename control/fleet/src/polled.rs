//! What nodes ask and tell: their polls for news, their reports, pieces of modules. Before it: nodes, over [`crate::router`] or within the process; after it:
//! [`crate::node_registry`], and the sink of their events.
use std::time::Duration;

use axum::body::Bytes;
use millstream_control_protocol::PROTOCOL;
use millstream_control_protocol::event::What;
use millstream_control_protocol::exchange::{Poll, Push, Receipt, Report};
use tokio::time::Instant;

use crate::error::LinkError;
use crate::event_sink::NodeEvent;
use crate::fleet::{Fleet, lock};
use crate::limits::POLL_WAIT_MAX;
use crate::{certificates, trust};

impl Fleet {
    /// A piece of a hook's module, from its byte `at` on; nothing at its end.
    pub async fn module(&self, sha256: &str, at: u64) -> Result<Bytes, LinkError> {
        if !certificates::is_sha256(sha256) {
            return Err(LinkError::Sha256);
        }
        if at == 0 {
            self.0.numbers.files_given.one();
        }
        if let Some(piece) = lock(&self.0.offers).piece(sha256, at) {
            return Ok(piece);
        }
        let piece = self.0.sink.module(sha256.to_owned(), at).await.map_err(LinkError::Module)?;
        piece.ok_or(LinkError::NoModule)
    }

    /// A node's question for news; answered when there are some, or when its wait is over.
    pub async fn poll(&self, poll: &Poll) -> Result<Push, LinkError> {
        self.0.numbers.polls_heard.one();
        let until = Instant::now() + Duration::from_millis(u64::from(poll.wait_ms)).min(POLL_WAIT_MAX);
        let mut had = false;
        loop {
            let changed = self.0.changed.notified();
            let (commands, wake) = lock(&self.0.registry).poll(poll)?;
            if !std::mem::replace(&mut had, true) {
                self.0.caught_up.notify_waiters();
            }
            let update = lock(&self.0.desired).update(poll.have).filter(|update| Some(update.version) != poll.refused);
            let tls = lock(&self.0.tls).news(poll.tls);
            if update.is_some() || tls.is_some() || !commands.is_empty() || Instant::now() >= until {
                return Ok(Push { protocol: PROTOCOL, update, commands, tls });
            }
            // Whatever it was, all is looked at again: so the order is as good as chance, and a simulation repeats it.
            tokio::select! {
                biased;
                () = changed => {}
                () = wake.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// What a node tells. Its events are kept before it is thanked.
    pub async fn report(&self, mut report: Report) -> Result<Receipt, LinkError> {
        self.0.numbers.reports_heard.one();
        trust::tidy(&mut report);
        if lock(&self.0.desired).is_foreign(&report.store) {
            // They wait for the store that they are about.
            report.events.clear();
        }
        let events = lock(&self.0.registry).new_events(&report)?;
        let node = report.node.clone();
        let (events, left_out) = lock(&self.0.shares).let_through(Instant::now(), &node, events);
        self.0.numbers.events_left_out.add(left_out);
        if !events.is_empty() {
            let kept = self.0.sink.keep(node.clone(), events.clone()).await;
            kept.inspect_err(|_| self.0.numbers.reports_not_kept.one()).map_err(LinkError::Keeping)?;
        }
        let untold = {
            let mut shares = lock(&self.0.shares);
            shares.kept(&node);
            shares.untold(Instant::now())
        };
        let has_tasks = !report.tasks.is_empty();
        let events_through = lock(&self.0.registry).report(report)?;
        if has_tasks {
            // One waits; where none does just now, the next look finds the permit.
            self.0.task_told.notify_one();
        }
        for event in events {
            // Nobody may be listening.
            let _ = self.0.heard.send(NodeEvent { node: node.clone(), event });
        }
        for (node, event) in untold {
            if let What::LeftOut { count } = event.what {
                tracing::warn!(
                    node = node.name,
                    stream = event.stream,
                    count,
                    "events of a stream were left out: it has too many"
                );
            }
            // Told once: what cannot be kept now is in the log.
            let kept = self.0.sink.keep(node.clone(), vec![event.clone()]).await;
            kept.unwrap_or_else(|_| self.0.numbers.reports_not_kept.one());
            let _ = self.0.heard.send(NodeEvent { node, event });
        }
        Ok(Receipt { protocol: PROTOCOL, events_through })
    }
}
