//! Conditions that are told by what happens: connections that are lost, places that are taken, hooks, recordings; and streams that come and go.
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::live::{Live, Publisher};
use millstream_diagnosis::{HookTrouble, Streams, Tally};

use crate::fixture::{BEGIN_MS, Encoder, World, only, stretches, unpublish};

const ADDRESS: &str = "192.0.2.7:40001";

/// What is told when the encoder leaves with these words at these seconds, and is back a second later.
fn returns(ends: &[(u64, &str)]) -> Vec<crate::fixture::Told> {
    let encoder = Encoder::default();
    let (mut world, frames) = (World::new(&encoder), encoder.frames(150));
    let mut told = Vec::new();
    for (second, why) in ends {
        told.extend(world.run(&frames, second * 1_000, |_| {}));
        world.leave(why);
        told.extend(world.run(&[], second * 1_000 + 1_000, |_| {}));
        world.publish(&encoder, ADDRESS);
    }
    told.extend(world.run(&frames, 150_000, |_| {}));
    told
}

#[test]
fn an_encoder_that_loses_its_connection_and_comes_back() {
    let told = returns(&[(10, "peer_gone")]);
    only(&told, "encoder_reconnects", 12..=12, 70..=72);
    let told = returns(&[(10, "peer_gone"), (30, "timeout"), (50, "peer_closed")]);
    only(&told, "encoder_reconnects", 12..=12, 110..=112);
    assert_eq!(told[59].get("encoder_reconnects").unwrap().figures["reconnects"] as u64, 3);
}

#[test]
fn who_stops_and_starts_once_does_not_reconnect() {
    assert!(stretches(&returns(&[(10, "unpublished")])).is_empty());
    assert!(stretches(&returns(&[(10, "kicked")])).is_empty());
    only(&returns(&[(10, "unpublished"), (20, "unpublished")]), "encoder_reconnects", 22..=22, 80..=82);
}

#[test]
fn another_publisher_takes_the_place() {
    let encoder = Encoder::default();
    let (mut world, frames) = (World::new(&encoder), encoder.frames(120));
    let mut told = world.run(&frames, 10_000, |_| {});
    let old = world.session();
    world.publish(&encoder, "198.51.100.9:5000");
    world.tell(old, "192.0.2.7:40000", unpublish("replaced"));
    told.extend(world.run(&frames, 120_000, |_| {}));
    only(&told, "publisher_replaced", 11..=11, 69..=71);
    let condition = told[15].get("publisher_replaced").unwrap();
    assert_eq!((condition.about.as_str(), condition.why.as_str()), ("198.51.100.9", "192.0.2.7"));
}

#[test]
fn an_encoder_whose_network_died_takes_its_own_place() {
    let encoder = Encoder::default();
    let (mut world, frames) = (World::new(&encoder), encoder.frames(120));
    let mut told = world.run(&frames, 10_000, |_| {});
    told.extend(world.run(&[], 13_000, |_| {}));
    let old = world.session();
    world.publish(&encoder, ADDRESS);
    world.tell(old, "192.0.2.7:40000", unpublish("replaced"));
    told.extend(world.run(&frames, 60_000, |_| {}));
    only(&told, "encoder_reconnects", 14..=14, 60..=60);
}

#[test]
fn an_encoder_that_was_silent_takes_its_place_from_another_address() {
    let encoder = Encoder::default();
    let (mut world, frames) = (World::new(&encoder), encoder.frames(60));
    let mut told = world.run(&frames, 10_000, |_| {});
    // Heard a moment ago as far as the last look tells: the event says that it was not.
    let old = world.session();
    world.now_ms += 990;
    world.publish(&encoder, "198.51.100.9:5000");
    world.tell(old, "192.0.2.7:40000", unpublish("replaced"));
    world.now_ms += 10;
    told.extend(world.run(&frames, 60_000, |_| {}));
    only(&told, "encoder_reconnects", 12..=12, 60..=60);
}

#[test]
fn one_that_was_heard_is_not_silent_because_the_last_look_is_long_ago() {
    let encoder = Encoder::default();
    let (mut world, frames) = (World::new(&encoder), encoder.frames(120));
    let mut told = world.run(&frames, 10_000, |_| {});
    let (old, what) =
        (world.session(), |heard_ago| What::Publish { encoder: String::new(), replaced_heard_ago_ms: Some(heard_ago) });
    // Three seconds after the look, and it was heard 20 ms before.
    world.now_ms += 3_000;
    world.tell(old + 1, "198.51.100.9:5000", what(20));
    world.tell(old, "192.0.2.7:40000", unpublish("replaced"));
    world.now_ms -= 3_000;
    told.extend(world.run(&frames, 60_000, |_| {}));
    only(&told, "publisher_replaced", 11..=11, 60..=60);
}

#[test]
fn the_same_host_is_not_another_publisher() {
    let encoder = Encoder::default();
    let (mut world, frames) = (World::new(&encoder), encoder.frames(60));
    let mut told = world.run(&frames, 10_000, |_| {});
    let old = world.session();
    world.publish(&encoder, ADDRESS);
    world.tell(old, "192.0.2.7:40000", unpublish("replaced"));
    told.extend(world.run(&frames, 60_000, |_| {}));
    only(&told, "encoder_reconnects", 11..=11, 60..=60);
}

#[test]
fn another_encoders_start_is_no_reconnection() {
    let encoder = Encoder::default();
    let (mut world, frames) = (World::new(&encoder), encoder.frames(60));
    let mut told = world.run(&frames, 10_000, |_| {});
    world.leave("peer_gone");
    told.extend(world.run(&[], 12_000, |_| {}));
    world.publish(&encoder, "198.51.100.9:5000");
    told.extend(world.run(&frames, 60_000, |_| {}));
    assert!(stretches(&told).is_empty(), "{:?}", stretches(&told));
}

#[test]
fn a_publisher_whose_start_nobody_told_of_is_known() {
    let mut streams = Streams::default();
    let publisher = Publisher { session: 7, peer: "192.0.2.7:40000".to_owned(), ..Publisher::default() };
    let live = Live { id: "cam".to_owned(), publisher: Some(publisher), ..Live::default() };
    streams.look(&[(live, Vec::new())], |_| Vec::new(), BEGIN_MS);
    let event = |session: u64, peer: &str, what: What, at_unix_ms: u64| {
        let (stream, peer) = ("cam".to_owned(), peer.to_owned());
        Event { stream, session, peer, what, at_unix_ms, ..Event::default() }
    };
    streams.event(&event(7, "192.0.2.7:40000", unpublish("peer_gone"), BEGIN_MS + 1_000));
    let what = What::Publish { encoder: String::new(), replaced_heard_ago_ms: None };
    streams.event(&event(8, ADDRESS, what, BEGIN_MS + 3_000));
    streams.look(&[], |_| Vec::new(), BEGIN_MS + 4_000);
    assert_eq!(streams.diagnoses()[0].conditions[0].kind, "encoder_reconnects");
}

#[test]
fn a_recording_that_pauses() {
    let encoder = Encoder::default();
    let (mut world, frames) = (World::new(&encoder), encoder.frames(40));
    let recording = || "20270115-080000-cam".to_owned();
    world.tell(0, "", What::RecordingStarted { recording: recording(), store: String::new() });
    let mut told = world.run(&frames, 10_000, |_| {});
    world.tell(0, "", What::RecordingPaused { recording: recording(), why: "the disk is full".to_owned() });
    told.extend(world.run(&frames, 20_000, |_| {}));
    world.tell(0, "", What::RecordingResumed { recording: recording() });
    told.extend(world.run(&frames, 40_000, |_| {}));
    only(&told, "recording_paused", 11..=11, 20..=20);
    let condition = told[12].get("recording_paused").unwrap();
    assert_eq!((condition.about.as_str(), condition.why.as_str()), (recording().as_str(), "the disk is full"));
}

fn trouble(failed: u64, denied_publish: u64, denied_play: u64) -> HookTrouble {
    let (stream, hook) = ("cam".to_owned(), "geo".to_owned());
    let [failed, denied_publish, denied_play] =
        [(failed, "trap"), (denied_publish, "no key"), (denied_play, "not from there")].map(tally);
    HookTrouble { stream, hook, failed, denied_publish, denied_play }
}

fn tally((count, why): (u64, &str)) -> Tally {
    Tally { count, why: why.to_owned() }
}

#[test]
fn a_hook_that_turns_people_away_or_fails() {
    for (what, form, count, why) in [
        (trouble(2, 1, 3), "fails", 4, "trap"),
        (trouble(0, 1, 3), "denies_publish", 2, "no key"),
        (trouble(0, 0, 3), "denies_play", 6, "not from there"),
    ] {
        let encoder = Encoder::default();
        let (mut world, frames) = (World::new(&encoder), encoder.frames(60));
        let told = world.run(&frames, 60_000, |world| {
            if [10_000, 12_000].contains(&world.now_ms) {
                world.judge.trouble(&what, BEGIN_MS + world.now_ms);
            }
        });
        only(&told, "hook", 10..=10, 41..=43);
        let condition = told[14].get("hook").unwrap();
        assert_eq!((condition.form.as_str(), condition.figures["count"] as u64), (form, count));
        assert_eq!((condition.about.as_str(), condition.why.as_str()), ("geo", why));
    }
}

/// Form, hook, count and reason.
type Hook = (String, String, u64, String);

/// What is told of hooks at each second, where these troubles come at these seconds.
fn hooks(troubles: &[(u64, HookTrouble)], seconds: u64) -> Vec<Hook> {
    let encoder = Encoder::default();
    let (mut world, frames) = (World::new(&encoder), encoder.frames(seconds));
    let told = world.run(&frames, seconds * 1_000, |world| {
        for (_, what) in troubles.iter().filter(|(second, _)| second * 1_000 == world.now_ms) {
            world.judge.trouble(what, BEGIN_MS + world.now_ms);
        }
    });
    let of = |told: &crate::fixture::Told| {
        let one = told.get("hook");
        one.map(|one| hook(&one.form, &one.about, one.figures["count"] as u64, &one.why)).unwrap_or_default()
    };
    told.iter().map(of).collect()
}

fn hook(form: &str, about: &str, count: u64, why: &str) -> Hook {
    (form.to_owned(), about.to_owned(), count, why.to_owned())
}

#[test]
fn one_failure_is_not_told_for_as_long_as_the_hook_denies_somebody() {
    let mut troubles: Vec<_> = (2..=60).map(|second| (second, trouble(0, 0, 1))).collect();
    troubles.push((10, trouble(1, 0, 0)));
    let told = hooks(&troubles, 70);
    assert_eq!(told[8], hook("denies_play", "geo", 8, "not from there"));
    assert!((9..=39).all(|at| told[at] == hook("fails", "geo", 1, "trap")), "with its own reason and count: {told:?}");
    assert_eq!(told[40], hook("denies_play", "geo", 40, "not from there"), "thirty seconds after the failure");
}

#[test]
fn of_two_hooks_the_gravest_is_told_and_of_equals_the_newest() {
    let of = |name: &str, what: HookTrouble| HookTrouble { hook: name.to_owned(), ..what };
    let told = hooks(&[(5, of("quota", trouble(1, 0, 0))), (6, of("geo", trouble(0, 0, 2)))], 50);
    assert!((4..=34).all(|at| told[at] == hook("fails", "quota", 1, "trap")), "{told:?}");
    assert_eq!(told[35], hook("denies_play", "geo", 2, "not from there"), "the other one's is still told");
    let told = hooks(&[(5, of("quota", trouble(1, 0, 0))), (6, of("geo", trouble(2, 0, 0)))], 20);
    assert_eq!(told[4], hook("fails", "quota", 1, "trap"));
    assert_eq!(told[5], hook("fails", "geo", 2, "trap"));
    // Many hooks are bounded: those of which nothing has come for longest are forgotten.
    let many: Vec<_> = (0..50).map(|n| (5, of(&format!("hook-{n}"), trouble(1, 0, 0)))).collect();
    assert_eq!(hooks(&many, 10)[6], hook("fails", "hook-49", 1, "trap"));
}

#[test]
fn a_hook_that_could_not_be_asked_is_not_called_wrong() {
    for (why, form) in
        [("not_ready", "not_ready"), ("late", "late"), ("queue", "overloaded"), ("pending", "overloaded")]
    {
        let failed = HookTrouble { failed: tally((1, why)), ..trouble(0, 0, 0) };
        assert_eq!(hooks(&[(5, failed)], 10)[5], hook(form, "geo", 1, why));
    }
}

#[test]
fn a_stream_that_nobody_may_publish_is_told_of_and_forgotten() {
    let mut streams = Streams::default();
    streams.trouble(&trouble(0, 1, 0), BEGIN_MS);
    streams.look(&[], |_| Vec::new(), BEGIN_MS + 1_000);
    assert!(streams.take_changed() && !streams.take_changed());
    assert_eq!((streams.diagnoses().len(), streams.diagnoses()[0].stream.as_str()), (1, "cam"));
    streams.look(&[], |_| Vec::new(), BEGIN_MS + 20_000);
    assert!(!streams.take_changed(), "nothing new");
    streams.look(&[], |_| Vec::new(), BEGIN_MS + 40_000);
    assert!(streams.take_changed() && streams.diagnoses().is_empty());
}

#[test]
fn names_that_events_make_up_do_not_fill_the_memory() {
    let mut streams = Streams::default();
    let (at_unix_ms, what) = (BEGIN_MS, What::Publish { encoder: String::new(), replaced_heard_ago_ms: None });
    for n in 0..5_000 {
        let stream = format!("made-up-{n}");
        streams.event(&Event { stream, at_unix_ms, session: n, what: what.clone(), ..Event::default() });
        streams.trouble(&HookTrouble { stream: format!("made-up-too-{n}"), ..trouble(1, 0, 0) }, BEGIN_MS);
    }
    let live = |n: u64| Live { id: format!("held-{n}"), publisher: Some(Publisher::default()), ..Live::default() };
    let held: Vec<_> = (0..2_000).map(|n| (live(n), Vec::new())).collect();
    streams.look(&held, |_| Vec::new(), BEGIN_MS + 1_000);
    assert!(streams.diagnoses().len() <= 1_024, "{}", streams.diagnoses().len());
    // Those that are held are looked at, whatever was made up.
    streams.trouble(&HookTrouble { stream: "held-7".to_owned(), ..trouble(1, 0, 0) }, BEGIN_MS + 1_000);
    streams.look(&held, |_| Vec::new(), BEGIN_MS + 2_000);
    assert!(streams.diagnoses().iter().any(|one| one.stream == "held-7"));
}

#[test]
fn conditions_of_a_publisher_that_has_gone_are_over() {
    let encoder = Encoder { gop_ms: 20_000, ..Encoder::default() };
    let (mut world, frames) = (World::new(&encoder), encoder.frames(60));
    let mut told = world.run(&frames, 10_000, |_| {});
    world.leave("unpublished");
    told.extend(world.run(&[], 30_000, |_| {}));
    only(&told, "gop_too_long", 6..=6, 13..=16);
}
