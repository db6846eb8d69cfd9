//! What players said of how they play (CMCD), until somebody takes it. Before it: [`crate::egress`], which reads it with the requests that it admits;
//! after it: [`crate::admin`], by which the node's agent fetches it and adds it up. Nothing is added up here: a shard pays for a report's reading, and
//! only where there is one.
use std::cell::RefCell;

use millstream_proto::cmcd::Figures;
use millstream_proto::id::Id;

/// Reports of a shard that wait to be taken; those that come to a full list are counted and lost. About a second of a thousand low-latency players.
const WAITING_MAX: usize = 8_192;

/// One report, of a request that was admitted.
#[derive(Clone, Debug)]
pub struct Said {
    /// The stream, not its rendition.
    pub stream: Id,
    /// By what it is played, where the request says so: files of HLS and DASH are the same.
    pub protocol: Option<&'static str>,
    /// Who plays: a hash of the session that it names, and of nothing else where it does. Equal on all shards of this process, and on no other process.
    pub viewer: u64,
    /// What it says.
    pub figures: Figures,
}

/// Those that wait.
#[derive(Default)]
pub(crate) struct Inbox(RefCell<Vec<Said>>);

impl Inbox {
    /// False: there is no room for it.
    pub(crate) fn put(&self, said: Said) -> bool {
        let waiting = &mut *self.0.borrow_mut();
        let has_room = waiting.len() < WAITING_MAX;
        if has_room {
            waiting.push(said);
        }
        has_room
    }

    /// All of them, in the order in which they came.
    pub(crate) fn take(&self) -> Vec<Said> {
        self.0.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_so_many_and_is_empty_once_they_are_taken() {
        let inbox = Inbox::default();
        let said =
            |viewer| Said { stream: Id::new("cam").unwrap(), protocol: None, viewer, figures: Figures::default() };
        assert!((0..WAITING_MAX as u64).all(|viewer| inbox.put(said(viewer))));
        assert!(!inbox.put(said(0)));
        let taken = inbox.take();
        assert_eq!(
            (taken.len(), taken[0].viewer, taken.last().unwrap().viewer),
            (WAITING_MAX, 0, WAITING_MAX as u64 - 1)
        );
        assert!(inbox.take().is_empty() && inbox.put(said(1)));
    }
}
