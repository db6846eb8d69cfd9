//! Idle viewers: they have all there is and wait for more. What comes goes out to them in send batches, without a turn of their tasks.
//! Before it: [`crate::shard::stream_handle`], whose log has something new; after it: the sockets, and for who cannot take all of it at once,
//! its task in [`super::pump`].
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use millstream_hub::viewer::{Fill, SEND_BYTES_MAX, SEND_PIECES_MAX};
use millstream_proto::time::Time;

use super::pump::Playing;
use crate::close::CloseReason;
use crate::io::{Area, Budget, FAN_OUT, SEND_BATCH_MAX, SendBatch, Sent, Writer, WriterSlot};
use crate::shard::context::ShardContext;

/// A visit touches memory that the kernel's work for the others has pushed out of the caches: that of who comes so many visits later is
/// asked for. One was too late, and more than four gained nothing, where tasks did this one by one.
const VISITS_PREFETCHED: usize = 4;
/// Viewers that are put off to the next batch, for each one that is sent to, before their own tasks send for them.
const PUT_OFF_MOST: usize = 4;

/// The viewers of one stream on one shard that are idle.
#[derive(Default)]
pub(crate) struct FanOut {
    /// Those that have been told of everything.
    told: RefCell<Vec<IdleViewer>>,
    /// Those that are to be told that there is more, in order.
    due: RefCell<VecDeque<IdleViewer>>,
    /// A task tells them.
    running: Cell<bool>,
}

/// A viewer in the fan-out, and where the memory is that a visit to it touches.
struct IdleViewer {
    playing: Weak<Playing>,
    areas: [Area; 3],
}

/// How a viewer is listed in its fan-out.
#[derive(Default)]
pub(crate) struct FanOutPlace {
    /// It has a place among the others.
    listed: Cell<bool>,
    /// Here while its task waits for more, so that others can send for it.
    writer: WriterSlot,
}

impl FanOut {
    /// Waits for more to send, or for the session's notify. Meanwhile what comes is sent. Gives the writer back; `None`: a defect took it.
    pub(super) async fn wait_idle(&self, playing: &Rc<Playing>, writer: Writer) -> Option<Writer> {
        let place = &playing.place;
        place.writer.put(writer);
        if !place.listed.replace(true) {
            let areas = [Area::of(&**playing), Area::of(&*playing.session), Area::of(&*playing.viewer)];
            self.told.borrow_mut().push(IdleViewer { playing: Rc::downgrade(playing), areas });
        }
        playing.session.notify.notified().await;
        place.writer.take()
    }

    /// There is more: those idle get it, some now and the others soon.
    pub(crate) fn tell(self: &Rc<Self>, shard: &Rc<ShardContext>) {
        self.due.borrow_mut().extend(self.told.borrow_mut().drain(..));
        if !self.running.get() && self.send_some(shard) {
            self.running.set(true);
            let (fan_out, shard_of_task) = (Rc::clone(self), Rc::clone(shard));
            shard.spawn(async move {
                let shard = shard_of_task;
                let _ends = Ends(&fan_out.running);
                loop {
                    shard.io_yield.wait().await;
                    if !fan_out.send_some(&shard) {
                        break;
                    }
                }
            });
        }
    }

    /// Sends for the length of a turn's budget. True: there are more to be told.
    fn send_some(&self, shard: &ShardContext) -> bool {
        // Most streams have few viewers, or none.
        let many = self.due.borrow().len().min(SEND_BATCH_MAX);
        if many == 0 {
            return false;
        }
        let send_batch = &mut *shard.send_batch.borrow_mut();
        let mut aboard = VecDeque::with_capacity(many);
        // A batch has no two sends to one socket: others of a connection of HTTP/2 have the next.
        let mut next_batch = Vec::new();
        let mut now = shard.now();
        let budget = Budget::new(&FAN_OUT, now);
        loop {
            // A batch that a defect ended may have left some.
            send_batch.clear();
            while !send_batch.is_full() {
                let Some(viewer) = next(&mut self.due.borrow_mut()) else { break };
                match shard.guarded(|| viewer.load(shard, send_batch, now)) {
                    Some(Visit::Loaded) => aboard.push_back(viewer),
                    Some(Visit::Idle) => self.told.borrow_mut().push(viewer),
                    Some(Visit::NextBatch) => next_batch.push(viewer),
                    Some(Visit::Leaves) => viewer.leave(),
                    None => viewer.fail(),
                }
            }
            let sending = aboard.len();
            send_batch.fire();
            now = shard.now();
            for sent in send_batch.results() {
                let Some(viewer) = next(&mut aboard) else { break };
                match shard.guarded(|| viewer.sent(sent, now)) {
                    Some(After::Idle) => self.told.borrow_mut().push(viewer),
                    Some(After::Behind) => self.due.borrow_mut().push_back(viewer),
                    Some(After::Full) => viewer.leave(),
                    Some(After::Unknown) | None => viewer.fail(),
                }
            }
            send_batch.clear();
            if next_batch.len() > sending * PUT_OFF_MOST {
                // Too little was sent to look at all of them again: their own tasks send for them.
                next_batch.drain(..).for_each(IdleViewer::leave);
            }
            self.due.borrow_mut().extend(next_batch.drain(..));
            let more = !self.due.borrow().is_empty();
            if !more || budget.spent(now) {
                return more;
            }
        }
    }
}

/// The first of them; asks for the memory of who comes soon.
fn next(viewers: &mut VecDeque<IdleViewer>) -> Option<IdleViewer> {
    let viewer = viewers.pop_front()?;
    if let Some(soon) = viewers.get(VISITS_PREFETCHED - 1) {
        soon.areas.iter().for_each(|area| area.fetch());
    }
    Some(viewer)
}

/// What came of a visit to a viewer.
enum Visit {
    /// What it gets is in the send batch.
    Loaded,
    /// There is nothing for it.
    Idle,
    /// Another stream of its connection is in this one.
    NextBatch,
    /// Its task is to look after it, if there is one.
    Leaves,
}

/// What came of a send.
enum After {
    /// It has all there is.
    Idle,
    /// There is more than one send takes.
    Behind,
    /// Its socket is full, or gone; or its task has ended.
    Full,
    /// It is not known what it got.
    Unknown,
}

impl IdleViewer {
    /// Adds what there is for it to the send batch.
    fn load(&self, shard: &ShardContext, send_batch: &mut SendBatch, now: Time) -> Visit {
        let Some(playing) = self.playing.upgrade() else { return Visit::Leaves };
        let Some(writer) = playing.place.writer.take() else { return Visit::Leaves };
        if playing.ending().is_some() || !writer.is_free() {
            let waits = playing.ending().is_none() && writer.is_in_batch();
            playing.place.writer.put(writer);
            return if waits { Visit::NextBatch } else { Visit::Leaves };
        }
        let pieces = &mut *shard.pieces.borrow_mut();
        // A viewer that a defect ended may have left some.
        pieces.clear();
        let handle = &playing.viewer_guard.handle;
        let visit = match playing.viewer.borrow_mut().fill(&handle.log.borrow(), &handle.config, now, pieces) {
            Fill::Send => {
                send_batch.add(writer, pieces);
                return Visit::Loaded;
            }
            Fill::Wait => Visit::Idle,
            Fill::Close(_) => Visit::Leaves,
        };
        playing.place.writer.put(writer);
        visit
    }

    /// Its send was made.
    fn sent(&self, Sent { writer, pieces, count, unsent }: Sent<'_>, now: Time) -> After {
        let Some(playing) = self.playing.upgrade() else { return After::Full };
        playing.place.writer.put(writer);
        let Some(count) = count else { return After::Unknown };
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        playing.viewer.borrow_mut().sent(pieces, count);
        playing.count(pieces, count, true, now);
        if count < bytes || unsent {
            After::Full
        } else if bytes >= SEND_BYTES_MAX || pieces.len() >= SEND_PIECES_MAX {
            After::Behind
        } else {
            After::Idle
        }
    }

    /// Gives it back to its task.
    fn leave(self) {
        if let Some(playing) = self.playing.upgrade() {
            playing.place.listed.set(false);
            if !playing.place.writer.is_empty() {
                playing.session.notify.notify();
            }
        }
    }

    /// Ends it: what it was sent is not known.
    fn fail(self) {
        if let Some(playing) = self.playing.upgrade() {
            playing.session.end(CloseReason::Defect);
        }
        self.leave();
    }
}

/// Says that a task has ended, however it does.
struct Ends<'a>(&'a Cell<bool>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
