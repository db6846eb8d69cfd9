//! Streams in which motion is looked for: which, with what settings, and what a worker has to be told of it. What the worker sees goes to who has
//! asked. Sans-IO but for the channel. Before it: [`super::workers`]; after it: [`super::process`].
//!
//! A worker that ends takes what it knew with it: who has asked is told that ([`Seen::Lost`]), and another worker is told all of it anew.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_proto::id::Id;
use millstream_worker::protocol::{Change, MotionSettings, Report, Why};
use tokio::sync::mpsc::Sender;

use super::hooks::{Looks, MotionHook};
use super::table::wait_after;

/// Streams that are watched at the same time: a worker takes no more.
const WATCHES_MAX: usize = 128;
/// Where a hook is to look and never does (it cannot be loaded), it is tried again after twice the time each time, up to this.
const HOOK_WAIT_MAX: Duration = Duration::from_mins(15);

/// What is seen of a stream.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Seen {
    /// Pictures are looked at: so many a second since this was told last.
    Watched {
        /// 0 where it has just begun.
        pictures_s: f32,
        /// They are decoded for renditions anyway.
        shared: bool,
        /// Frames that could not be decoded, since the worker began.
        frames_lost: u64,
    },
    /// Motion begins, goes on or ends.
    Motion {
        /// The stream's time now, milliseconds of its timeline.
        now_ms: i64,
        /// What has changed.
        change: Change,
        /// The picture of the moment, a JPEG, where motion begins and a picture could be made.
        picture: Bytes,
    },
    /// Nobody looks at it for now: an event under way is over.
    Lost {
        /// Why, for people.
        why: String,
    },
}

/// All that is wanted and told.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    wanted: BTreeMap<Id, Wanted>,
    /// Of the worker that runs, by the number that it was told.
    told: HashMap<u64, Told>,
    /// Streams that are not tried for a while.
    paused: HashMap<Id, Pause>,
    /// Streams that are not tried before then, by whatever hook.
    left_out: HashMap<Id, Instant>,
    /// How often in a row the hook of a stream never looked.
    failed: HashMap<Id, (Arc<MotionHook>, u32)>,
    /// Hooks that the worker has, by their numbers.
    hooks: Vec<(u64, Arc<MotionHook>)>,
    /// Numbers of wishes, hooks and of watches so far.
    numbers: u64,
}

/// Until when, and with which hook: another one is tried at once.
#[derive(Debug)]
struct Pause {
    until: Instant,
    hook: Option<Arc<MotionHook>>,
}

#[derive(Debug)]
struct Wanted {
    /// Of this wish: the same stream may be wished for again.
    number: u64,
    settings: MotionSettings,
    tell: Sender<Seen>,
}

#[derive(Debug)]
struct Told {
    stream: Id,
    /// The wish.
    wanted: u64,
    /// The hooks that look.
    hooks: Looks,
    /// It has looked at pictures.
    is_seen: bool,
}

/// What a worker is to be told.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum WatchOrder {
    /// Watch a stream, by the hook of this number where there is one, and with another one beside it.
    Watch(u64, Id, MotionSettings, [Option<u64>; 2]),
    Unwatch(u64),
    Hook(u64, Arc<MotionHook>),
    Unhook(u64),
}

impl Watches {
    /// Somebody wants to know of motion in a stream; gives the number of the wish, or `None` where there are too many. One before it for the same
    /// stream is no longer told anything.
    pub(crate) fn want(&mut self, stream: &Id, settings: MotionSettings, tell: Sender<Seen>) -> Option<u64> {
        if self.wanted.len() >= WATCHES_MAX && !self.wanted.contains_key(stream) {
            return None;
        }
        self.numbers += 1;
        let number = self.numbers;
        self.paused.remove(stream);
        self.wanted.insert(stream.clone(), Wanted { number, settings, tell });
        Some(number)
    }

    /// That wish is none any more.
    pub(crate) fn unwant(&mut self, stream: &Id, number: u64) {
        if self.wanted.get(stream).is_some_and(|wanted| wanted.number == number) {
            self.wanted.remove(stream);
        }
    }

    /// What a worker is to be told now, and when there may be more without a change. `hooks_of`: the hooks that are to look at a stream.
    pub(crate) fn orders(
        &mut self,
        now: Instant,
        hooks_of: impl Fn(&Id) -> Looks,
    ) -> (Vec<WatchOrder>, Option<Instant>) {
        self.left_out.retain(|_, until| *until > now);
        self.paused.retain(|stream, pause| pause.until > now && hooks_of(stream).hook == pause.hook);
        let mut orders = Vec::new();
        let wanted = &self.wanted;
        self.failed.retain(|stream, _| wanted.contains_key(stream));
        self.told.retain(|watch, told| {
            let is_same = |wanted: &Wanted| wanted.number == told.wanted && hooks_of(&told.stream) == told.hooks;
            let stays = wanted.get(&told.stream).is_some_and(is_same);
            if !stays {
                orders.push(WatchOrder::Unwatch(*watch));
                // An event under way is over.
                if let Some(wanted) = wanted.get(&told.stream).filter(|wanted| wanted.number == told.wanted) {
                    tell(&told.stream, wanted, Seen::Lost { why: "another hook looks at it from here on".to_owned() });
                }
            }
            stays
        });
        for (stream, Wanted { number, settings, .. }) in wanted {
            if self.left_out.contains_key(stream) || self.paused.contains_key(stream) {
                continue;
            }
            if self.told.values().any(|told| told.wanted == *number) {
                continue;
            }
            let hooks = hooks_of(stream);
            let mut number_of = |hook: &Arc<MotionHook>| {
                if let Some((number, _)) = self.hooks.iter().find(|(_, known)| Arc::ptr_eq(known, hook)) {
                    return *number;
                }
                self.numbers += 1;
                orders.push(WatchOrder::Hook(self.numbers, Arc::clone(hook)));
                self.hooks.push((self.numbers, Arc::clone(hook)));
                self.numbers
            };
            let by = [&hooks.hook, &hooks.shadow].map(|hook| hook.as_ref().map(&mut number_of));
            self.numbers += 1;
            orders.push(WatchOrder::Watch(self.numbers, stream.clone(), *settings, by));
            let told = Told { stream: stream.clone(), wanted: *number, hooks, is_seen: false };
            self.told.insert(self.numbers, told);
        }
        let told = &self.told;
        self.hooks.retain(|(number, hook)| {
            let is_used = told.values().any(|told| told.hooks.all().any(|used| Arc::ptr_eq(used, hook)));
            if !is_used {
                orders.push(WatchOrder::Unhook(*number));
            }
            is_used
        });
        (orders, self.paused.values().map(|pause| pause.until).chain(self.left_out.values().copied()).min())
    }

    /// Streams that are wanted.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &Id> {
        self.wanted.keys()
    }

    /// Takes what the worker says.
    pub(crate) fn heard(&mut self, report: &Report, payload: &Bytes, now: Instant) {
        let (watch, seen) = match report {
            Report::Hooked { watch, tally, shadow } => {
                let hooks = self.told.get(watch).map(|told| &told.hooks);
                let of = hooks.and_then(|hooks| if *shadow { &hooks.shadow } else { &hooks.hook }.as_ref());
                if let Some(hook) = of {
                    (hook.told)(tally);
                }
                return;
            }
            Report::Motion { watch, now_ms, motion } => {
                (watch, Seen::Motion { now_ms: *now_ms, change: motion.clone(), picture: payload.clone() })
            }
            Report::Watched { watch, pictures_s, shared, frames_lost } => {
                (watch, Seen::Watched { pictures_s: *pictures_s, shared: *shared, frames_lost: *frames_lost })
            }
            Report::WatchEnded { watch, why, error } => {
                let Some(Told { stream, hooks: Looks { hook, .. }, is_seen, .. }) = self.told.get(watch) else {
                    return;
                };
                // Of other ends it is the source or the worker that is to blame.
                let never_looked = hook.as_ref().filter(|_| !is_seen && *why == Why::Unsupported);
                let times = match (never_looked, self.failed.remove(stream)) {
                    (None, _) => 0,
                    (Some(hook), Some((before, times))) if Arc::ptr_eq(hook, &before) => times + 1,
                    (Some(_), _) => 1,
                };
                self.failed.extend(never_looked.map(|hook| (stream.clone(), (Arc::clone(hook), times))));
                let doubled = wait_after(*why).saturating_mul(1 << times.saturating_sub(1).min(16));
                let wait = if times > 0 { doubled.min(HOOK_WAIT_MAX) } else { wait_after(*why) };
                self.paused.insert(stream.clone(), Pause { until: now + wait, hook: hook.clone() });
                let why = error.clone().unwrap_or_else(|| "the worker does not say why".to_owned());
                (watch, Seen::Lost { why })
            }
            _ => return,
        };
        let Some(told) = self.told.get_mut(watch) else { return };
        told.is_seen |= matches!(seen, Seen::Watched { .. });
        if let Some(wanted) = self.wanted.get(&told.stream).filter(|wanted| wanted.number == told.wanted) {
            tell(&told.stream, wanted, seen);
        }
        if matches!(report, Report::WatchEnded { .. }) {
            self.told.remove(watch);
        }
    }

    /// The stream of a watch.
    pub(crate) fn stream_of(&self, watch: u64) -> Option<&Id> {
        self.told.get(&watch).map(|told| &told.stream)
    }

    /// A stream is not watched until then, and why.
    pub(crate) fn leave_out(&mut self, stream: &Id, until: Instant, why: &str) {
        self.told.retain(|_, told| told.stream != *stream);
        self.left_out.insert(stream.clone(), until);
        if let Some(wanted) = self.wanted.get(stream) {
            tell(stream, wanted, Seen::Lost { why: why.to_owned() });
        }
    }

    /// The worker has ended.
    pub(crate) fn forget(&mut self) {
        self.paused.clear();
        self.hooks.clear();
        for (_, told) in self.told.drain() {
            if let Some(wanted) = self.wanted.get(&told.stream).filter(|wanted| wanted.number == told.wanted) {
                tell(&told.stream, wanted, Seen::Lost { why: "its worker ended; another one is started".to_owned() });
            }
        }
    }

    /// Streams that are wanted, and those of which pictures are looked at.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.wanted.len(), self.told.values().filter(|told| told.is_seen).count())
    }
}

/// Nobody is waited for: who takes nothing misses it.
fn tell(stream: &Id, wanted: &Wanted, seen: Seen) {
    if wanted.tell.try_send(seen).is_err() {
        tracing::debug!(%stream, "what was seen of a stream was not taken");
    }
}

#[cfg(test)]
mod tests;
