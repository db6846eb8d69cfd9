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
            if self.paused.contains_key(stream) || self.told.values().any(|told| told.wanted == *number) {
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
        (orders, self.paused.values().map(|pause| pause.until).min())
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
mod tests {
    use millstream_proto::zones::Zones;
    use millstream_worker::protocol::{HookSpec, HookTally};
    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;

    const SETTINGS: MotionSettings = MotionSettings {
        percent: 30,
        diff: 10,
        duration_ms: 5_000,
        timeout_ms: 60_000,
        every_ms: MotionSettings::EVERY_MS,
        keyframes_only: false,
        zones: Zones::WHOLE,
    };

    fn none(_: &Id) -> Looks {
        Looks::default()
    }

    fn watched(watch: u64) -> Report {
        Report::Watched { watch, pictures_s: 5.0, shared: false, frames_lost: 0 }
    }

    fn all(receiver: &mut Receiver<Seen>) -> Vec<String> {
        std::iter::from_fn(|| receiver.try_recv().ok())
            .map(|seen| match seen {
                Seen::Watched { .. } => "watched".to_owned(),
                Seen::Motion { change, .. } => format!("{change:?}"),
                Seen::Lost { why } => why,
            })
            .collect()
    }

    #[test]
    fn a_worker_is_told_what_is_wanted_and_the_next_one_all_of_it() {
        let (mut watches, now, cam) = (Watches::default(), Instant::now(), Id::new("cam").unwrap());
        let (tell, mut seen) = channel(8);
        let wish = watches.want(&cam, SETTINGS, tell).unwrap();
        let (orders, look_at) = watches.orders(now, none);
        assert_eq!((&orders[..], look_at), (&[WatchOrder::Watch(2, cam.clone(), SETTINGS, [None; 2])][..], None));
        assert_eq!(watches.orders(now, none), (vec![], None), "it is told");
        watches.heard(&watched(9), &Bytes::new(), now);
        assert_eq!((all(&mut seen), watches.counts()), (vec![], (1, 0)));
        watches.heard(&watched(2), &Bytes::new(), now);
        assert_eq!((all(&mut seen), watches.counts()), (vec!["watched".to_owned()], (1, 1)));
        // It dies, and there is another one.
        watches.forget();
        assert_eq!(all(&mut seen), ["its worker ended; another one is started"]);
        assert_eq!(watches.orders(now, none).0, [WatchOrder::Watch(3, cam.clone(), SETTINGS, [None; 2])]);
        watches.heard(&watched(2), &Bytes::new(), now);
        assert!(all(&mut seen).is_empty(), "of the worker before");
        watches.unwant(&cam, wish);
        assert_eq!((watches.orders(now, none).0, watches.counts()), (vec![WatchOrder::Unwatch(3)], (0, 0)));
    }

    #[test]
    fn what_cannot_be_watched_is_tried_again_later_and_a_new_wish_at_once() {
        let (mut watches, now, cam) = (Watches::default(), Instant::now(), Id::new("cam").unwrap());
        let (tell, mut seen) = channel(8);
        let first = watches.want(&cam, SETTINGS, tell).unwrap();
        watches.orders(now, none);
        let ended = Report::WatchEnded { watch: 2, why: Why::Unsupported, error: Some("HEVC".to_owned()) };
        watches.heard(&ended, &Bytes::new(), now);
        assert_eq!(all(&mut seen), ["HEVC"]);
        let (orders, look_at) = watches.orders(now, none);
        let again = look_at.unwrap();
        assert!(orders.is_empty() && again > now + Duration::from_secs(10));
        assert_eq!(watches.orders(again, none).0, [WatchOrder::Watch(3, cam.clone(), SETTINGS, [None; 2])]);
        // With other settings, by whoever comes behind; the one before may take its own wish back later.
        let (tell, mut next) = channel(1);
        let other = MotionSettings { percent: 1, ..SETTINGS };
        watches.want(&cam, other, tell).unwrap();
        watches.unwant(&cam, first);
        let orders = watches.orders(again, none).0;
        assert_eq!(orders, [WatchOrder::Unwatch(3), WatchOrder::Watch(5, cam.clone(), other, [None; 2])]);
        // Who takes nothing does not hold anybody up.
        for _ in 0..3 {
            watches.heard(&watched(5), &Bytes::new(), again);
        }
        assert_eq!((all(&mut seen).len(), all(&mut next).len()), (0, 1));
    }

    #[test]
    fn a_hook_that_cannot_be_loaded_is_tried_again_later_and_later_and_another_one_at_once() {
        let (mut watches, mut now, cam) = (Watches::default(), Instant::now(), Id::new("cam").unwrap());
        let (tell, _seen) = channel(64);
        watches.want(&cam, SETTINGS, tell).unwrap();
        let hook = |name: &str| {
            let spec = HookSpec { name: name.to_owned(), ..HookSpec::default() };
            Arc::new(MotionHook { spec, sealed: Box::new(|_| None), told: Box::new(|_| {}) })
        };
        let (one, other) = (hook("one"), hook("other"));
        let by = |hook: &Arc<MotionHook>| {
            let hook = Arc::clone(hook);
            move |_: &Id| Looks { hook: Some(Arc::clone(&hook)), shadow: None }
        };
        let number = |orders: &[WatchOrder]| {
            let watch =
                |order: &WatchOrder| if let WatchOrder::Watch(number, ..) = order { Some(*number) } else { None };
            orders.iter().find_map(watch)
        };
        let ends = |watches: &mut Watches, watch, now| {
            let ended = Report::WatchEnded { watch, why: Why::Unsupported, error: Some("no memory".to_owned()) };
            watches.heard(&ended, &Bytes::new(), now);
        };
        let mut waits = Vec::new();
        for _ in 0..9 {
            let watch = number(&watches.orders(now, by(&one)).0).unwrap();
            ends(&mut watches, watch, now);
            let again = watches.orders(now, by(&one)).1.unwrap();
            waits.push((again - now).as_secs());
            now = again;
        }
        let first = waits[0];
        assert_eq!(waits[..4], [first, 2 * first, 4 * first, 8 * first]);
        assert_eq!(waits.last().copied(), Some(HOOK_WAIT_MAX.as_secs()));
        // Another one, and then none: at once. And as soon as it has looked, it is as at first.
        let of_one = number(&watches.orders(now, by(&one)).0).unwrap();
        ends(&mut watches, of_one, now);
        let of_other = number(&watches.orders(now, by(&other)).0).unwrap();
        ends(&mut watches, of_other, now);
        let again = watches.orders(now, by(&other)).1.unwrap();
        assert_eq!((again - now).as_secs(), first);
        assert!(number(&watches.orders(now, none).0).is_some());
        let looks = number(&watches.orders(now, by(&other)).0).unwrap();
        watches.heard(&watched(looks), &Bytes::new(), now);
        ends(&mut watches, looks, now);
        assert_eq!((watches.orders(now, by(&other)).1.unwrap() - now).as_secs(), first);
    }

    #[test]
    fn a_shadow_looks_beside_whoever_looks_and_its_calls_are_its_own() {
        let (mut watches, now, cam) = (Watches::default(), Instant::now(), Id::new("cam").unwrap());
        let (tell, _seen) = channel(8);
        watches.want(&cam, SETTINGS, tell).unwrap();
        let told = [(); 2].map(|()| Arc::new(std::sync::atomic::AtomicU64::new(0)));
        let [one, beside] = [0, 1].map(|at| {
            let told = Arc::clone(&told[at]);
            let told = move |tally: &HookTally| {
                told.fetch_add(tally.calls, std::sync::atomic::Ordering::Relaxed);
            };
            Arc::new(MotionHook { spec: HookSpec::default(), sealed: Box::new(|_| None), told: Box::new(told) })
        });
        let shadow = Some(Arc::clone(&beside));
        let alone = |_: &Id| Looks { hook: None, shadow: shadow.clone() };
        let both = |_: &Id| Looks { hook: Some(Arc::clone(&one)), shadow: shadow.clone() };
        let watch = |number, by| WatchOrder::Watch(number, cam.clone(), SETTINGS, by);
        let hook = |number, of: &Arc<MotionHook>| WatchOrder::Hook(number, Arc::clone(of));
        assert_eq!(watches.orders(now, alone).0, [hook(2, &beside), watch(3, [None, Some(2)])]);
        let hooked =
            |watch, calls, shadow| Report::Hooked { watch, tally: HookTally { calls, ..HookTally::default() }, shadow };
        // The built-in detector makes no calls.
        watches.heard(&hooked(3, 5, true), &Bytes::new(), now);
        watches.heard(&hooked(3, 100, false), &Bytes::new(), now);
        let orders = watches.orders(now, both).0;
        assert_eq!(orders, [WatchOrder::Unwatch(3), hook(4, &one), watch(5, [Some(4), Some(2)])]);
        watches.heard(&hooked(5, 7, false), &Bytes::new(), now);
        watches.heard(&hooked(5, 2, true), &Bytes::new(), now);
        assert_eq!(told.map(|told| told.load(std::sync::atomic::Ordering::Relaxed)), [7, 7]);
        let orders = watches.orders(now, none).0;
        assert_eq!(orders, [WatchOrder::Unwatch(5), watch(6, [None; 2]), WatchOrder::Unhook(2), WatchOrder::Unhook(4)]);
    }

    #[test]
    fn no_more_are_watched_than_a_worker_takes() {
        let mut watches = Watches::default();
        let (tell, _seen) = channel(1);
        let id = |n: usize| Id::new(&format!("cam{n}")).unwrap();
        assert!((0..WATCHES_MAX).all(|n| watches.want(&id(n), SETTINGS, tell.clone()).is_some()));
        assert_eq!(watches.want(&id(WATCHES_MAX), SETTINGS, tell.clone()), None);
        assert!(watches.want(&id(0), SETTINGS, tell).is_some());
    }

    #[test]
    fn a_stream_is_watched_anew_when_another_hook_is_to_look_at_it() {
        let (mut watches, now, cam) = (Watches::default(), Instant::now(), Id::new("cam").unwrap());
        let (tell, mut seen) = channel(8);
        let calls = Arc::new(std::sync::Mutex::new(0));
        let hook = |name: &str| {
            let calls = Arc::clone(&calls);
            Arc::new(MotionHook {
                spec: HookSpec { name: name.to_owned(), ..HookSpec::default() },
                sealed: Box::new(|_| Some(Bytes::from_static(b"code"))),
                told: Box::new(move |tally| *calls.lock().unwrap() += tally.calls),
            })
        };
        let (one, other) = (hook("one"), hook("other"));
        watches.want(&cam, SETTINGS, tell).unwrap();
        let by = |hook: &Arc<MotionHook>| {
            let hook = Arc::clone(hook);
            move |_: &Id| Looks { hook: Some(Arc::clone(&hook)), shadow: None }
        };
        let orders = watches.orders(now, by(&one)).0;
        let watch = |number, by| WatchOrder::Watch(number, cam.clone(), SETTINGS, [by, None]);
        assert_eq!(orders, [WatchOrder::Hook(2, Arc::clone(&one)), watch(3, Some(2))]);
        assert_eq!(watches.orders(now, by(&one)).0, [], "it is told");
        let tally = HookTally { calls: 5, ..HookTally::default() };
        watches.heard(&Report::Hooked { watch: 3, tally: tally.clone(), shadow: false }, &Bytes::new(), now);
        watches.heard(&Report::Hooked { watch: 9, tally, shadow: false }, &Bytes::new(), now);
        assert_eq!(*calls.lock().unwrap(), 5);
        let orders = watches.orders(now, by(&other)).0;
        let wanted =
            [WatchOrder::Unwatch(3), WatchOrder::Hook(4, Arc::clone(&other)), watch(5, Some(4)), WatchOrder::Unhook(2)];
        assert_eq!((&orders[..], all(&mut seen).len()), (&wanted[..], 1), "what was under way is over");
        assert_eq!(watches.orders(now, none).0, [WatchOrder::Unwatch(5), watch(6, None), WatchOrder::Unhook(4)]);
        // Another worker has no hook.
        watches.orders(now, by(&one));
        watches.forget();
        let orders = watches.orders(now, by(&one)).0;
        assert!(matches!(orders[..], [WatchOrder::Hook(..), WatchOrder::Watch(.., [Some(_), None])]), "{orders:?}");
    }
}
