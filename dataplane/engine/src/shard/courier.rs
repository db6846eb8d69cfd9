//! Parts for those who wait for them: once a part is there, it goes out to all of them one after the other, a call each, and not by their
//! tasks, which would stand in line behind whatever else is ready. Before it: [`super::packaging`], whose window has a new part; after it:
//! the requests' tasks in [`crate::egress::hls`] find that they are answered.
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Buf as _, Bytes};
use millstream_hub::package::window::Window;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::Shard;
use super::packaging::Packaging;
use super::session::Session;
use crate::egress::hls::part_head;

/// Answers in a row; then the shard's other tasks have their turn.
const IN_A_ROW_MAX: usize = 512;

/// Requests that wait for parts of one stream.
#[derive(Default)]
pub(crate) struct Courier {
    /// By the number of their session: each has one request at a time.
    waiting: RefCell<BTreeMap<u64, Rc<Waiting>>>,
    /// A round has been begun, and will find what comes meanwhile.
    under_way: Cell<bool>,
}

/// A request for the whole of a part.
struct Waiting {
    session: Rc<Session>,
    track: Track,
    number: u64,
    keep_alive: bool,
    delivered: Cell<Option<Delivered>>,
}

/// A part that went out to the request that waited for it.
pub(crate) struct Delivered {
    /// What did not fit into the socket.
    pub(crate) rest: Vec<Bytes>,
    /// When there was something to send.
    pub(crate) arrived: Time,
}

/// A request's place among those that wait, for as long as it is held.
pub(crate) struct Place<'a> {
    courier: &'a Courier,
    waiting: Rc<Waiting>,
}

impl Place<'_> {
    /// What went out to it.
    pub(crate) fn delivered(&self) -> Option<Delivered> {
        self.waiting.delivered.take()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.courier.waiting.borrow_mut().remove(&self.waiting.session.number);
    }
}

/// A part on its way out.
struct Load {
    track: Track,
    number: u64,
    part: Bytes,
    arrived: Time,
}

impl Courier {
    /// This session is to get that part when it is there. Until then its task must not send.
    pub(crate) fn wait(&self, session: &Rc<Session>, (track, number): (Track, u64), keep_alive: bool) -> Place<'_> {
        let session = Rc::clone(session);
        let waiting = Rc::new(Waiting { session, track, number, keep_alive, delivered: Cell::default() });
        self.waiting.borrow_mut().insert(waiting.session.number, Rc::clone(&waiting));
        Place { courier: self, waiting }
    }

    /// What waited for a playlist that is no longer this stream's is left to its task.
    pub(super) fn forget(&self) {
        self.waiting.borrow_mut().clear();
    }

    /// Sends parts that are there. True: more are to be sent.
    fn round(&self, shard: &Shard, window: &Window) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let mut loads: Vec<Load> = Vec::new();
        let mut done = Vec::new();
        for one in waiting.values() {
            let Waiting { session, track, number, keep_alive, delivered } = &**one;
            let known = loads.iter().position(|load| (load.track, load.number) == (*track, *number));
            let known = known.or_else(|| {
                let (part, arrived) = window.part(*track, *number)?;
                loads.push(Load { track: *track, number: *number, part, arrived });
                Some(loads.len() - 1)
            });
            let Some(Load { part, arrived, .. }) = known.and_then(|at| loads.get(at)) else { continue };
            if done.len() == IN_A_ROW_MAX {
                break;
            }
            let head = part_head(shard, *track, part.len(), *keep_alive);
            let mut sent = session.send_now(&[IoSlice::new(&head), IoSlice::new(part)]);
            shard.stats.bytes_out.add(sent as u64);
            let mut rest = Vec::new();
            if sent == head.len() + part.len() {
                shard.stats.part_delay.observe(shard.now().since(*arrived).as_secs_f64());
            } else {
                rest = vec![head, part.clone()];
                for piece in &mut rest {
                    let taken = sent.min(piece.len());
                    piece.advance(taken);
                    sent -= taken;
                }
            }
            delivered.set(Some(Delivered { rest, arrived: *arrived }));
            done.push(session.number);
        }
        for number in &done {
            waiting.remove(number);
        }
        done.len() == IN_A_ROW_MAX
    }
}

/// Lets those who wait have what has come: first the parts go out, then the requests look again.
pub(super) fn announce(shard: &Rc<Shard>, packaging: &Rc<Packaging>) {
    if !packaging.courier.under_way.replace(true) {
        let round = Round(Rc::clone(packaging));
        let shard_of_task = Rc::clone(shard);
        shard.spawn(async move {
            while round.0.courier.round(&shard_of_task, &round.0.window.borrow()) {
                others_first().await;
            }
        });
    }
}

/// However it ends, the requests look again.
struct Round(Rc<Packaging>);

impl Drop for Round {
    fn drop(&mut self) {
        self.0.courier.under_way.set(false);
        self.0.waiters.wake_all();
    }
}

/// Waits until whatever is ready has run.
async fn others_first() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
