//! `engine/shard/mod.rs` and `mailbox.rs`: mailboxes, the slow clock, streams by name, the drain.
use std::collections::BTreeMap;
use std::time::Duration;

use millstream_hub::log::EndReason;
use millstream_hub::mirror::FeedMessage;
use millstream_hub::package::change::Change;
use millstream_hub::registry;
use millstream_hub::viewer::{CloseReason, OVERDUE_LOOK_EVERY};
use millstream_policy::Step;
use millstream_proto::id::Id;

use super::channel::Channel;
use super::conn::Task;
use super::door::Door;
use crate::Sabotage;
use crate::world::{Event, World};

/// Time for goodbyes once the drain is over.
const GOODBYE: Duration = Duration::from_millis(500);

/// What one shard tells another.
pub(crate) enum Mail {
    Publisher(usize),
    Subscribe {
        id: Id,
        from: usize,
        subscription: u64,
    },
    Unsubscribe {
        id: Id,
        from: usize,
        subscription: u64,
    },
    /// `jumps` is beside it for the check: how often the owner's cursor had jumped.
    Feed {
        id: Id,
        subscription: u64,
        message: FeedMessage,
        jumps: u64,
    },
    Package {
        id: Id,
        from: usize,
        subscription: u64,
    },
    Packaged {
        id: Id,
        subscription: u64,
        changes: Vec<Change>,
    },
    Unknown {
        id: Id,
        subscription: u64,
    },
    Answer {
        ticket: u64,
        step: Step,
    },
    Shutdown,
}

pub(crate) struct Shard {
    pub(crate) door: Door,
    pub(crate) channels: BTreeMap<Id, usize>,
    pub(crate) draining: bool,
    last_number: u64,
}

impl Shard {
    pub(crate) fn new(door: Door) -> Self {
        Self { door, channels: BTreeMap::new(), draining: false, last_number: 0 }
    }
}

impl World {
    /// `Shard::number`.
    pub(crate) fn number(&mut self, shard: usize) -> u64 {
        self.shards[shard].last_number += 1;
        self.shards[shard].last_number * self.settings.shards as u64 + shard as u64
    }

    /// `Shard::owner`.
    pub(crate) fn owner(&self, id: &Id) -> usize {
        registry::owner(id, self.settings.shards)
    }

    /// `Shard::put` and `Outbox::put`.
    pub(crate) fn mail(&mut self, from: usize, to: usize, mail: Mail) -> Result<(), Mail> {
        let wait_us = self.random.below(self.settings.mail_us) * if self.random.chance(20) { 100 } else { 1 };
        let mailbox = self.mailboxes.entry((from, to)).or_default();
        let full = mailbox.len() >= self.settings.mailbox_max && self.sabotage != Some(Sabotage::UnboundedMailbox);
        let put = if full {
            self.totals.mailbox_full += 1;
            Err(mail)
        } else {
            mailbox.push_back(mail);
            Ok(())
        };
        self.after(Duration::from_micros(wait_us), Event::Bell(to));
        put
    }

    /// The loop that listens to the bell, in `main`.
    pub(crate) fn bell(&mut self, shard: usize) {
        for from in 0..self.settings.shards {
            while let Some(mail) =
                self.mailboxes.get_mut(&(from, shard)).and_then(std::collections::VecDeque::pop_front)
            {
                self.receive(shard, mail);
            }
        }
    }

    /// `Shard::receive`.
    pub(crate) fn receive(&mut self, shard: usize, mail: Mail) {
        if self.over {
            return;
        }
        match mail {
            Mail::Publisher(link) => self.resume(shard, link),
            Mail::Subscribe { id, from, subscription } => match self.live(shard, &id) {
                Some(channel) => self.subscribe(channel, from, subscription),
                None => drop(self.mail(shard, from, Mail::Unknown { id, subscription })),
            },
            Mail::Unsubscribe { id, from, subscription } => {
                if let Some(channel) = self.live(shard, &id) {
                    self.channels[channel].unsubscribe(from, subscription);
                }
            }
            Mail::Feed { id, subscription, message, jumps } => match self.mirror_of(shard, &id, subscription) {
                Some(channel) => {
                    self.told(channel, message, jumps);
                    if self.channels[channel].is_over() {
                        self.remove(channel);
                    }
                }
                None => self.unsubscribe(shard, id, subscription),
            },
            Mail::Package { id, from, subscription } => {
                if let Some(channel) = self.live(shard, &id) {
                    self.package_for(channel, from, subscription);
                }
            }
            Mail::Packaged { id, subscription, changes } => {
                if let Some(channel) = self.mirror_of(shard, &id, subscription) {
                    self.repackaged(channel, changes);
                }
            }
            Mail::Unknown { id, subscription } => {
                if let Some(channel) = self.mirror_of(shard, &id, subscription) {
                    self.unknown(channel);
                    self.remove(channel);
                }
            }
            Mail::Answer { ticket, step } => self.answer(shard, ticket, step),
            Mail::Shutdown => self.shards[shard].draining = true,
        }
    }

    fn unsubscribe(&mut self, shard: usize, id: Id, subscription: u64) {
        let owner = self.owner(&id);
        drop(self.mail(shard, owner, Mail::Unsubscribe { id, from: shard, subscription }));
    }

    fn live(&self, shard: usize, id: &Id) -> Option<usize> {
        self.shards[shard].channels.get(id).copied().filter(|&channel| !self.channels[channel].is_over())
    }

    fn mirror_of(&self, shard: usize, id: &Id, subscription: u64) -> Option<usize> {
        let channel = self.shards[shard].channels.get(id).copied()?;
        (self.channels[channel].subscription() == Some(subscription)).then_some(channel)
    }

    /// `Shard::remove`.
    pub(crate) fn remove(&mut self, channel: usize) {
        let Channel { shard, id, .. } = &self.channels[channel];
        let channels = &mut self.shards[*shard].channels;
        if channels.get(id) == Some(&channel) {
            channels.remove(id);
        }
    }

    /// `Shard::own`.
    pub(crate) fn own(&mut self, shard: usize, id: &Id) -> Option<usize> {
        if let Some(channel) = self.live(shard, id) {
            return Some(channel);
        }
        if self.shards[shard].channels.len() >= self.settings.streams_max {
            return None;
        }
        let channel = self.new_owner(shard, id);
        self.shards[shard].channels.insert(id.clone(), channel);
        Some(channel)
    }

    /// `Shard::tune_in`, up to the wait in `Channel::playable`; `None`: nobody publishes it; an error: busy.
    pub(crate) fn tune_in(&mut self, shard: usize, id: &Id) -> Result<Option<usize>, ()> {
        if let Some(channel) = self.live(shard, id) {
            return Ok(Some(channel));
        }
        let owner = self.owner(id);
        if owner == shard {
            return Ok(None);
        }
        if self.shards[shard].channels.len() >= self.settings.streams_max {
            return Err(());
        }
        let subscription = self.number(shard);
        let mail = Mail::Subscribe { id: id.clone(), from: shard, subscription };
        self.mail(shard, owner, mail).map_err(drop)?;
        let channel = self.new_mirror(shard, id, subscription);
        self.shards[shard].channels.insert(id.clone(), channel);
        Ok(Some(channel))
    }

    /// `live`'s loop and `Shard::sweep`, with `Sessions::sweep`.
    pub(crate) fn sweep(&mut self, shard: usize) {
        if self.over {
            return;
        }
        for link in 0..self.links.len() {
            self.sweep_link(shard, link);
        }
        self.expire(shard, false);
        let idle = |&channel: &usize| self.channels[channel].is_idle_mirror(self.now);
        let idle: Vec<_> = self.shards[shard].channels.values().copied().filter(idle).collect();
        for channel in idle {
            self.remove(channel);
            let (id, subscription) = (self.channels[channel].id.clone(), self.channels[channel].subscription());
            self.unsubscribe(shard, id, subscription.expect("a mirror"));
        }
        let draining = self.draining_until.filter(|_| self.shards[shard].draining);
        if let Some(until) = draining {
            if self.now >= until {
                self.end_all(shard, self.now >= until + GOODBYE / 2);
            }
            if self.now >= until + GOODBYE {
                return self.process_ends();
            }
        }
        self.after(OVERDUE_LOOK_EVERY / if draining.is_some() { 10 } else { 2 }, Event::Sweep(shard));
    }

    fn sweep_link(&mut self, shard: usize, link: usize) {
        let conn = &self.links[link].conn;
        if conn.shard != shard || matches!(conn.task, Task::Over | Task::Mailed) {
            return;
        }
        if conn.deadline.is_some_and(|deadline| deadline <= self.now) {
            self.end(link, "timeout");
        }
        let conn = &self.links[link].conn;
        if conn.ending.is_some() {
            return;
        }
        let Some(play) = &conn.play else { return };
        match play.viewer.overdue(&self.channels[play.channel].config, self.now) {
            Some(CloseReason::NoStart) => self.wake(link),
            Some(why) => {
                self.totals.closed += 1;
                self.end(link, why.label());
            }
            None => {}
        }
    }

    /// `Shard::end_all`.
    fn end_all(&mut self, shard: usize, late: bool) {
        self.expire(shard, true);
        let channels: Vec<_> = self.shards[shard].channels.values().copied().collect();
        for channel in channels {
            if !late && self.channels[channel].subscription().is_some() {
                continue;
            }
            self.end_channel(channel, EndReason::Shutdown);
        }
        for link in 0..self.links.len() {
            let conn = &self.links[link].conn;
            let here = conn.shard == shard && !matches!(conn.task, Task::Over | Task::Mailed);
            if here && conn.ending.is_none() && conn.play.is_none() {
                self.end_politely(link, "shutdown");
            }
        }
    }

    /// The process is gone, and with it everything that it held.
    fn process_ends(&mut self) {
        self.over = true;
        for link in 0..self.links.len() {
            self.over(link, "process ended");
        }
        for shard in &mut self.shards {
            shard.channels.clear();
            while shard.door.pending.expire(self.now + Duration::from_hours(1)).is_some() {}
        }
        self.mailboxes.clear();
    }
}
