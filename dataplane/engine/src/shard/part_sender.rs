//! Parts for those who wait for them: once a part is there, it goes out to all of them one after the other, a call each, and not by their
//! tasks, which would stand in line behind whatever else is ready. Before it: [`super::packaging`], whose window has a new part; after it:
//! the requests' tasks in [`crate::egress::hls`] find that they are answered.
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::rc::Rc;

use bytes::{Buf as _, Bytes};
use millstream_hub::package::window::Window;
use millstream_proto::http::response::Cache;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::context::ShardContext;
use super::packaging::Packaging;
use super::wait;
use crate::egress::head::part_head;
use crate::io::{Budget, PARTS, WriterSlot};

/// Requests that wait for parts of one stream.
#[derive(Default)]
pub(crate) struct PartSender {
    /// By the number of their session: each has one request at a time.
    waiting: RefCell<BTreeMap<u64, Rc<Waiting>>>,
    /// A task is under way, and will find what comes meanwhile.
    under_way: Cell<bool>,
    /// Parts are going out.
    sending: Cell<bool>,
    /// Something has come that those who wait for anything have not been told of.
    news: Cell<bool>,
}

/// A part, by what names it in its playlists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PartId {
    pub(crate) track: Track,
    pub(crate) number: u64,
}

/// A request for the whole of a part.
struct Waiting {
    session: u64,
    id: PartId,
    keep_alive: bool,
    cache: Cache,
    writer: WriterSlot,
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
    part_sender: &'a PartSender,
    /// Where its writer belongs.
    home: &'a WriterSlot,
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
        self.part_sender.waiting.borrow_mut().remove(&self.waiting.session);
        if let Some(writer) = self.waiting.writer.take() {
            self.home.put(writer);
        }
    }
}

/// A part on its way out.
struct Load {
    id: PartId,
    part: Bytes,
    arrived: Time,
}

impl PartSender {
    /// This session is to get that part when it is there, by its writer, which comes back to where it is with the place's end. `None`: it is not
    /// there.
    pub(crate) fn wait<'a>(
        &'a self,
        session: u64,
        id: PartId,
        (keep_alive, cache): (bool, Cache),
        home: &'a WriterSlot,
    ) -> Option<Place<'a>> {
        let writer = WriterSlot::default();
        writer.put(home.take()?);
        let waiting = Rc::new(Waiting { session, id, keep_alive, cache, writer, delivered: Cell::default() });
        self.waiting.borrow_mut().insert(session, Rc::clone(&waiting));
        Some(Place { part_sender: self, home, waiting })
    }

    /// What waited for a playlist that is no longer this stream's is left to its task.
    pub(super) fn forget(&self) {
        self.waiting.borrow_mut().clear();
    }

    /// Sends parts that are there. True: the budget is spent, and more may be to be sent.
    fn send_some(&self, shard: &ShardContext, window: &Window, budget: &Budget) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let mut done = Vec::new();
        let mut now = shard.now();
        budget.renew(now);
        'row: for load in &loads(&waiting, window) {
            for one in waiting.values().filter(|one| one.id == load.id) {
                if budget.spent(now) {
                    break 'row;
                }
                one.deliver(load, shard);
                done.push(one.session);
                now = shard.now();
            }
        }
        for number in &done {
            waiting.remove(number);
        }
        budget.spent(now)
    }
}

/// Parts that are there and waited for, in the order in which they came.
fn loads(waiting: &BTreeMap<u64, Rc<Waiting>>, window: &Window) -> Vec<Load> {
    let mut wanted: Vec<PartId> = Vec::new();
    for one in waiting.values() {
        if !wanted.contains(&one.id) {
            wanted.push(one.id);
        }
    }
    let there = wanted.into_iter().filter_map(|id| {
        let (part, arrived) = window.part(id.track, id.number)?;
        Some(Load { id, part, arrived })
    });
    let mut loads: Vec<_> = there.collect();
    loads.sort_by_key(|load| load.arrived);
    loads
}

impl Waiting {
    /// Sends what fits of its part; its task does the rest.
    fn deliver(&self, Load { id, part, arrived }: &Load, shard: &ShardContext) {
        let Some(mut writer) = self.writer.take() else { return };
        let head = part_head(&shard.heads, id.track, part.len(), (self.keep_alive, self.cache));
        let mut sent = writer.send_now(&[IoSlice::new(&head), IoSlice::new(part)]);
        self.writer.put(writer);
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
        self.delivered.set(Some(Delivered { rest, arrived: *arrived }));
    }
}

/// Lets those who wait have what has come: first the parts go out, then the requests look again.
pub(super) fn announce(shard: &Rc<ShardContext>, packaging: &Rc<Packaging>) {
    packaging.part_sender.news.set(true);
    if !packaging.part_sender.under_way.replace(true) {
        let round = Round(Rc::clone(packaging));
        let shard_of_task = Rc::clone(shard);
        shard.spawn(async move {
            let (shard, budget) = (shard_of_task, Budget::new(&PARTS, Time::ZERO));
            while !round.is_over(&shard, &budget) {
                budget.yield_to_io(&shard.io_yield, shard.now()).await;
            }
        });
    }
}

/// Waits while parts go out. What a request that comes meanwhile costs would be added to the delay of those who wait for one.
pub(crate) async fn after_parts(packaging: &Packaging) {
    let place = wait::Place::default();
    while packaging.part_sender.sending.get() {
        packaging.waiters.changed(packaging.waiters.seen(), &place).await;
    }
}

/// A task that hands out what has come.
struct Round(Rc<Packaging>);

impl Round {
    /// Does one turn of it. True: that was all.
    fn is_over(&self, shard: &ShardContext, budget: &Budget) -> bool {
        let Packaging { part_sender, waiters, window, .. } = &*self.0;
        // A part that came while requests are told of the last one goes before the rest of them.
        part_sender.sending.set(part_sender.send_some(shard, &window.borrow(), budget));
        if part_sender.sending.get() {
            return false;
        }
        if part_sender.news.take() {
            waiters.change();
        }
        !waiters.wake_block()
    }
}

impl Drop for Round {
    /// However it ends, the requests look again.
    fn drop(&mut self) {
        self.0.part_sender.under_way.set(false);
        self.0.part_sender.sending.set(false);
        self.0.waiters.wake_all();
    }
}
