//! The event loop's side of HLS viewers: sockets that are ready and times that have come. Before it: [`super::stage`]; after it:
//! [`crate::hls`].
use std::cmp::Reverse;

use super::stage::token;
use super::viewer_slot::ViewerSlot;
use super::{Run, RunError};
use crate::hls::{HlsHall, HlsViewer};
use crate::net::Ready;
use crate::schedule::Habit;

/// Marks the socket of a viewer's second lane.
pub(super) const SECOND_LANE: u64 = 1 << 31;

impl Run<'_> {
    /// Begins an HLS viewer's visit.
    pub(super) fn begin_hls(&mut self, place: usize) -> Result<(), RunError> {
        if self.options.playlists().is_none() {
            return Err(RunError::NoTarget("HLS viewers", "--hls"));
        }
        if let ViewerSlot::Hls(viewer) = &mut self.viewers[place] {
            viewer.visit = viewer.visit.wrapping_add(1);
        }
        self.present += 1;
        self.joining += 1;
        self.serve_hls(place, true, HlsViewer::begin);
        Ok(())
    }

    /// Serves an HLS viewer whose socket is ready.
    pub(super) fn hls_ready(&mut self, place: usize, ready: Ready) {
        let lane = usize::from(ready.token & SECOND_LANE != 0);
        self.serve_hls(place, false, |viewer, hall| viewer.ready(lane, ready, hall));
    }

    /// Lets those go on whose time has come.
    pub(super) fn wake_hls(&mut self) {
        while let Some(&Reverse((_, place, visit, lane))) =
            self.hls_wakes.peek().filter(|Reverse((at, ..))| *at <= self.now)
        {
            self.hls_wakes.pop();
            if self.viewers[place].visit() == visit && self.viewers[place].present() {
                self.serve_hls(place, false, |viewer, hall| viewer.wake(lane, hall));
            }
        }
    }

    /// `is_new`: it begins now.
    fn serve_hls(
        &mut self,
        place: usize,
        is_new: bool,
        act: impl FnOnce(&mut HlsViewer, &mut HlsHall<'_>) -> Result<(), String>,
    ) {
        let first = token(&self.viewers[place], place);
        let (ViewerSlot::Hls(viewer), Some(target)) = (&mut self.viewers[place], self.options.playlists()) else {
            return;
        };
        let stream = viewer.slot.stream;
        let was_joining = viewer.joining();
        let mut hall = HlsHall {
            now: self.clock.now(),
            stall: self.plan.expect.stall,
            hints: self.plan.view.hints,
            target,
            stream: &self.streams[stream],
            poll: if viewer.slot.habit == Habit::Sample { &self.hot } else { &self.bulk },
            tokens: [first, first | SECOND_LANE],
            place,
            wakes: &mut self.hls_wakes,
            scratch: &mut self.scratch,
            tally: &mut self.tally,
            edges: &mut self.edges[stream],
            ledger: &mut self.ledgers[stream],
        };
        let lost = act(viewer, &mut hall).err();
        if let Some(why) = lost {
            viewer.lose(&why, &mut self.tally);
            self.present -= 1;
        }
        // Whoever has just begun was counted when that was decided.
        self.joining -= usize::from((was_joining || is_new) && !viewer.joining());
    }
}
