//! Watches: what a worker is told of them, with hooks and without, and what is tried again.
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
        let watch = |order: &WatchOrder| if let WatchOrder::Watch(number, ..) = order { Some(*number) } else { None };
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

#[test]
fn a_stream_that_ended_a_worker_is_watched_by_none_for_a_while_and_others_are() {
    let (mut watches, now) = (Watches::default(), Instant::now());
    let (bad, good) = (Id::new("bad").unwrap(), Id::new("good").unwrap());
    let (tell_bad, mut seen_of_bad) = channel(8);
    let (tell_good, mut seen_of_good) = channel(8);
    watches.want(&bad, SETTINGS, tell_bad).unwrap();
    watches.want(&good, SETTINGS, tell_good).unwrap();
    assert_eq!(watches.orders(now, none).0.len(), 2);
    assert_eq!((watches.stream_of(3), watches.stream_of(4)), (Some(&bad), Some(&good)));
    let until = now + Duration::from_secs(20);
    watches.leave_out(&bad, until, "it ended the worker");
    watches.forget();
    assert_eq!(all(&mut seen_of_bad), ["it ended the worker"], "it is told once, and why");
    assert_eq!(all(&mut seen_of_good), ["its worker ended; another one is started"]);
    let (orders, next) = watches.orders(now, none);
    assert_eq!((&orders[..], next), (&[WatchOrder::Watch(5, good, SETTINGS, [None; 2])][..], Some(until)));
    // Who asks anew changes nothing.
    let (tell_bad, _seen) = channel(8);
    watches.want(&bad, SETTINGS, tell_bad).unwrap();
    assert_eq!(watches.orders(now, none).0, []);
    assert!(matches!(&watches.orders(until, none).0[..], [WatchOrder::Watch(_, stream, ..)] if *stream == bad));
}
