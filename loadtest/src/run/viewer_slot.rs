//! A place for a viewer of either sort, as the stages see it. Before it: [`crate::schedule`] says who sits where; after it: [`super::stage`]
//! serves those who are ready.
use std::time::Duration;

use millstream_proto::time::Time;

use crate::hls::HlsViewer;
use crate::ledger::Ledger;
use crate::schedule::Slot;
use crate::tally::Tally;
use crate::viewer::Viewer;

#[derive(Debug)]
pub(super) enum ViewerSlot {
    /// One connection that a stream comes over.
    Stream(Viewer),
    /// Requests, one after another.
    Hls(Box<HlsViewer>),
}

impl ViewerSlot {
    pub(super) fn new(slot: Slot) -> Self {
        if slot.protocol.is_hls() { Self::Hls(Box::new(HlsViewer::new(slot))) } else { Self::Stream(Viewer::new(slot)) }
    }

    pub(super) fn slot(&self) -> Slot {
        match self {
            Self::Stream(viewer) => viewer.slot,
            Self::Hls(viewer) => viewer.slot,
        }
    }

    pub(super) fn visit(&self) -> u32 {
        match self {
            Self::Stream(viewer) => viewer.visit,
            Self::Hls(viewer) => viewer.visit,
        }
    }

    pub(super) fn present(&self) -> bool {
        match self {
            Self::Stream(viewer) => viewer.present(),
            Self::Hls(viewer) => viewer.present(),
        }
    }

    pub(super) fn joining(&self) -> bool {
        match self {
            Self::Stream(viewer) => viewer.joining(),
            Self::Hls(viewer) => viewer.joining(),
        }
    }

    pub(super) fn close(&mut self) {
        match self {
            Self::Stream(viewer) => viewer.close(),
            Self::Hls(viewer) => viewer.close(),
        }
    }

    pub(super) fn lose(&mut self, why: &str, tally: &mut Tally) {
        match self {
            Self::Stream(viewer) => viewer.lose(why, tally),
            Self::Hls(viewer) => viewer.lose(why, tally),
        }
    }

    pub(super) fn overdue(&self, now: Time, patience: Duration) -> Option<&'static str> {
        match self {
            Self::Stream(viewer) => viewer.overdue(now, patience),
            Self::Hls(viewer) => viewer.overdue(now, patience),
        }
    }

    pub(super) fn settle(&self, now: Time, stall: Duration, ledger: &Ledger, tally: &mut Tally) {
        match self {
            Self::Stream(viewer) => viewer.settle(now, stall, ledger, tally),
            Self::Hls(viewer) => viewer.settle(now, stall, ledger, tally),
        }
    }
}
