//! Viewers at rest: they have all there is and wait for more. What comes goes out to them in volleys, without a turn of their tasks.
//! Before it: [`crate::shard::channel`], whose log has something new; after it: the sockets, and for who cannot take all of it at once,
//! its task in [`super::pump`].
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use millstream_hub::viewer::{Fill, SEND_BYTES_MAX, SEND_PIECES_MAX};
use millstream_proto::time::Time;

use super::pump::Playing;
use crate::close::CloseReason;
use crate::io::{Area, Budget, FAN_OUT, Sent, VOLLEY_MAX, Volley, Writer, WriterSlot};
use crate::shard::Shard;

/// A visit touches memory that the kernel's work for the others has pushed out of the caches: that of who comes so many visits later is
/// asked for. One was too late, and more than four gained nothing, where tasks did this one by one.
const VISITS_AHEAD: usize = 4;

/// The viewers of one stream on one shard that are at rest.
#[derive(Default)]
pub(crate) struct Crowd {
    /// Those that have been told of everything.
    told: RefCell<Vec<Guest>>,
    /// Those that are to be told that there is more, in order.
    due: RefCell<VecDeque<Guest>>,
    /// A task tells them.
    telling: Cell<bool>,
}

/// A viewer in the crowd, and where the memory is that a visit to it touches.
struct Guest {
    playing: Weak<Playing>,
    areas: [Area; 3],
}

/// How a viewer is listed in its crowd.
#[derive(Default)]
pub(crate) struct Rest {
    /// It has a place among the others.
    listed: Cell<bool>,
    /// Here while its task waits for more, so that others can send for it.
    writer: WriterSlot,
}

impl Crowd {
    /// Waits for more to send, or for the session's nudge. Meanwhile what comes is sent. Gives the writer back; `None`: a defect took it.
    pub(super) async fn rest(&self, playing: &Rc<Playing>, writer: Writer) -> Option<Writer> {
        let rest = &playing.rest;
        rest.writer.put(writer);
        if !rest.listed.replace(true) {
            let areas = [Area::of(&**playing), Area::of(&*playing.session), Area::of(&*playing.viewer)];
            self.told.borrow_mut().push(Guest { playing: Rc::downgrade(playing), areas });
        }
        playing.session.nudge.nudged().await;
        rest.writer.take()
    }

    /// There is more: those at rest get it, a row of them now and the others soon.
    pub(crate) fn tell(self: &Rc<Self>, shard: &Rc<Shard>) {
        self.due.borrow_mut().extend(self.told.borrow_mut().drain(..));
        if !self.telling.get() && self.row(shard) {
            self.telling.set(true);
            let (crowd, shard_of_task) = (Rc::clone(self), Rc::clone(shard));
            shard.spawn(async move {
                let shard = shard_of_task;
                let _ends = Ends(&crowd.telling);
                loop {
                    shard.io_yield.wait().await;
                    if !crowd.row(&shard) {
                        break;
                    }
                }
            });
        }
    }

    /// Sends for the length of a row. True: there are more to be told.
    fn row(&self, shard: &Shard) -> bool {
        // Most streams have few viewers, or none.
        let many = self.due.borrow().len().min(VOLLEY_MAX);
        if many == 0 {
            return false;
        }
        let volley = &mut *shard.volley.borrow_mut();
        let mut aboard = VecDeque::with_capacity(many);
        let mut now = shard.now();
        let budget = Budget::new(&FAN_OUT, now);
        loop {
            // A row that a defect ended may have left some.
            volley.clear();
            while volley.len() < VOLLEY_MAX {
                let Some(guest) = next(&mut self.due.borrow_mut()) else { break };
                match shard.guarded(|| guest.load(shard, volley, now)) {
                    Some(Visit::Loaded) => aboard.push_back(guest),
                    Some(Visit::Rests) => self.told.borrow_mut().push(guest),
                    Some(Visit::Leaves) => guest.leave(),
                    None => guest.fail(),
                }
            }
            volley.fire();
            now = shard.now();
            for sent in volley.results() {
                let Some(guest) = next(&mut aboard) else { break };
                match shard.guarded(|| guest.sent(sent, now)) {
                    Some(After::Rests) => self.told.borrow_mut().push(guest),
                    Some(After::Behind) => self.due.borrow_mut().push_back(guest),
                    Some(After::Full) => guest.leave(),
                    Some(After::Unknown) | None => guest.fail(),
                }
            }
            volley.clear();
            let more = !self.due.borrow().is_empty();
            if !more || budget.spent(now) {
                return more;
            }
        }
    }
}

/// The first of them; asks for the memory of who comes soon.
fn next(guests: &mut VecDeque<Guest>) -> Option<Guest> {
    let guest = guests.pop_front()?;
    if let Some(soon) = guests.get(VISITS_AHEAD - 1) {
        soon.areas.iter().for_each(|area| area.fetch());
    }
    Some(guest)
}

/// What came of a visit to a viewer.
enum Visit {
    /// What it gets is in the volley.
    Loaded,
    /// There is nothing for it.
    Rests,
    /// Its task is to look after it, if there is one.
    Leaves,
}

/// What came of a send.
enum After {
    /// It has all there is.
    Rests,
    /// There is more than one send takes.
    Behind,
    /// Its socket is full, or gone; or its task has ended.
    Full,
    /// It is not known what it got.
    Unknown,
}

impl Guest {
    /// Adds what there is for it to the volley.
    fn load(&self, shard: &Shard, volley: &mut Volley, now: Time) -> Visit {
        let Some(playing) = self.playing.upgrade() else { return Visit::Leaves };
        if playing.rest.writer.is_empty() || playing.ending().is_some() {
            return Visit::Leaves;
        }
        let pieces = &mut *shard.pieces.borrow_mut();
        // A viewer that a defect ended may have left some.
        pieces.clear();
        let channel = &playing.seat.channel;
        match playing.viewer.borrow_mut().fill(&channel.log.borrow(), &channel.config, now, pieces) {
            Fill::Send if let Some(writer) = playing.rest.writer.take() => {
                volley.add(writer, pieces);
                Visit::Loaded
            }
            Fill::Wait => Visit::Rests,
            Fill::Send | Fill::Close(_) => Visit::Leaves,
        }
    }

    /// Its send was made.
    fn sent(&self, Sent { writer, pieces, count }: Sent<'_>, now: Time) -> After {
        let Some(playing) = self.playing.upgrade() else { return After::Full };
        playing.rest.writer.put(writer);
        let Some(count) = count else { return After::Unknown };
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        playing.viewer.borrow_mut().sent(pieces, count);
        playing.count(pieces, count, true, now);
        if count < bytes {
            After::Full
        } else if bytes >= SEND_BYTES_MAX || pieces.len() >= SEND_PIECES_MAX {
            After::Behind
        } else {
            After::Rests
        }
    }

    /// Gives it back to its task.
    fn leave(self) {
        if let Some(playing) = self.playing.upgrade() {
            playing.rest.listed.set(false);
            if !playing.rest.writer.is_empty() {
                playing.session.nudge.nudge();
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
