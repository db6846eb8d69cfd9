//! Subscribers of the tests' own: one that records closed segments to memory, one that is too slow, and one that follows blocks.
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_control_protocol::state::{Flush, Stream};
use millstream_engine::config::{Config, IoChoice};
use millstream_engine::directory::Settings;
use millstream_engine::subscribers::{SubscriberMaker, Subscribers};
use millstream_hub::config::{HlsConfig, OnUnpublish, StreamConfig};
use millstream_hub::subscriber::{
    BlockCursor, ClosedSegment, Follows, NextBlock, NextSegment, Progress, SegmentCursor, Subscriber, View,
};
use millstream_policy::open::Open;
use millstream_policy::{Chain, DecisionContext, Grant, Policy, Request, Step, shared};
use millstream_proto::id::Id;
use millstream_proto::media::Track;

use crate::admin::{Told, ask};
use crate::harness::{Server, config, eventually, frame};

#[derive(Default)]
struct Recording {
    sessions: usize,
    segments: Vec<ClosedSegment>,
    lost: Vec<(Track, Range<u64>)>,
    ended: bool,
}

/// Records while its gate is open.
struct Recorder {
    cursor: SegmentCursor,
    open: Arc<AtomicBool>,
    into: Arc<Mutex<Recording>>,
}

impl Subscriber for Recorder {
    fn follows(&self) -> Follows {
        Follows::Segments
    }

    fn advance(&mut self, stream: View<'_>) -> Progress {
        if !self.open.load(Ordering::SeqCst) {
            return Progress::Behind;
        }
        let into = &mut *self.into.lock().unwrap();
        loop {
            match self.cursor.next(stream.window) {
                NextSegment::Began(_) => into.sessions += 1,
                NextSegment::Segment(segment) => into.segments.push(segment),
                NextSegment::Lost(track, msns) => into.lost.push((track, msns)),
                NextSegment::Wait => return Progress::CaughtUp,
                NextSegment::Ended => {
                    into.ended = true;
                    return Progress::Done;
                }
            }
        }
    }
}

fn recorder(open: &Arc<AtomicBool>, into: &Arc<Mutex<Recording>>) -> SubscriberMaker {
    let (open, into) = (Arc::clone(open), Arc::clone(into));
    SubscriberMaker::new(
        move |id, _| {
            let (open, into) = (Arc::clone(&open), Arc::clone(&into));
            let recorder = Recorder { cursor: SegmentCursor::new(), open, into };
            (id.as_str() == "live").then(|| Box::new(recorder) as _).into_iter().collect()
        },
        |_, _| false,
    )
}

/// Media sequence numbers of a track: those recorded, and those known to be lost.
fn numbers(recording: &Recording, track: Track) -> (Vec<u64>, Vec<u64>) {
    let of_track = recording.segments.iter().filter(|segment| segment.track == track);
    let lost = recording.lost.iter().filter(|(of, _)| *of == track).flat_map(|(_, msns)| msns.clone());
    (of_track.map(|segment| segment.opened.msn).collect(), lost.collect())
}

#[test]
fn subscribers_get_closed_segments_without_a_viewer_and_a_slow_one_is_told_its_loss() {
    let (open, gate) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let (quick, slow) = (Arc::new(Mutex::default()), Arc::new(Mutex::default()));
    let config = Config {
        subscribers: Subscribers::new([recorder(&open, &quick), recorder(&gate, &slow)]),
        hls: HlsConfig { segment: Duration::from_secs(1), window: 3, ..HlsConfig::default() },
        stream: StreamConfig { on_unpublish: OnUnpublish::End, ..StreamConfig::default() },
        ..config(IoChoice::Auto, 2)
    };
    let server = Server::start(config);
    let mut publisher = server.encoder("live");
    // A minute of the stream, in pieces that the log can hold.
    let recorded = |recording: &Mutex<Recording>| recording.lock().unwrap().segments.len();
    for piece in 0..60 {
        publisher.send((piece * 50..(piece + 1) * 50).map(frame));
        std::thread::sleep(Duration::from_millis(10));
        if piece == 9 {
            eventually("both record", || recorded(&slow) > 4);
            gate.store(false, Ordering::SeqCst);
        }
    }
    eventually("segments are recorded", || recorded(&quick) > 80);
    assert!(recorded(&slow) < 40);
    gate.store(true, Ordering::SeqCst);
    publisher.finish();
    eventually("both are at the end", || [&quick, &slow].iter().all(|recording| recording.lock().unwrap().ended));
    assert_eq!(server.metric("millstream_playlist_requests_total", ""), 0, "nobody asked for a playlist");

    let (quick, slow) = (quick.lock().unwrap(), slow.lock().unwrap());
    assert_eq!((quick.sessions, slow.sessions, quick.lost.len()), (1, 1, 0), "{:?}", quick.lost);
    for track in [Track::Video, Track::Audio] {
        let (all, _) = numbers(&quick, track);
        assert!(all.len() > 40 && all.windows(2).all(|pair| pair[1] == pair[0] + 1), "{all:?}");
        let us: u64 = quick.segments.iter().filter(|s| s.track == track).map(|segment| segment.duration_us).sum();
        assert!((59_000_000..=60_500_000).contains(&us), "{us}");
        let (some, lost) = numbers(&slow, track);
        assert!(lost.len() > 20 && lost.windows(2).all(|pair| pair[1] == pair[0] + 1), "{lost:?}");
        // It has what was there before and after, in order, and knows of all the others that they are lost.
        let mut known = [&some[..], &lost].concat();
        known.sort_unstable();
        assert!(known == all && some.is_sorted(), "{track:?}: {some:?} {lost:?}");
    }
    for segment in &quick.segments {
        let header = segment.header.as_ref().expect("a file header");
        assert!(header.bytes.windows(4).any(|name| name == b"moov"));
        let parts: usize = segment.parts.iter().map(bytes::Bytes::len).sum();
        assert!(parts > 500 && segment.parts.iter().all(|part| part[4..8] == *b"moof"));
    }
}

/// Counts blocks, and those that it did not see.
#[derive(Default)]
struct Blocks {
    seen: u64,
    lost: u64,
    ended: bool,
}

struct BlockCounter(BlockCursor, Arc<Mutex<Blocks>>);

impl Subscriber for BlockCounter {
    fn follows(&self) -> Follows {
        Follows::Blocks
    }

    fn advance(&mut self, stream: View<'_>) -> Progress {
        let blocks = &mut *self.1.lock().unwrap();
        loop {
            match self.0.next(stream.log) {
                NextBlock::Block(entry) => {
                    assert_eq!(entry.block.seq, blocks.seen + blocks.lost, "in order");
                    blocks.seen += 1;
                }
                NextBlock::Lost(lost) => blocks.lost += lost.end - lost.start,
                NextBlock::Wait => return Progress::CaughtUp,
                NextBlock::Ended(_) => {
                    blocks.ended = true;
                    return Progress::Done;
                }
            }
        }
    }
}

#[test]
fn a_subscriber_of_blocks_gets_the_log_and_makes_nobody_cut_it() {
    let blocks = Arc::new(Mutex::new(Blocks::default()));
    let of_maker = Arc::clone(&blocks);
    let make = move |_: &Id, _: &Settings| {
        vec![Box::new(BlockCounter(BlockCursor::at(0), Arc::clone(&of_maker))) as Box<dyn Subscriber>]
    };
    let maker = SubscriberMaker::new(make, |_, _| false);
    let config = Config {
        subscribers: Subscribers::new([maker]),
        stream: StreamConfig { on_unpublish: OnUnpublish::End, ..StreamConfig::default() },
        ..config(IoChoice::Auto, 1)
    };
    let server = Server::start(config);
    let mut publisher = server.encoder("live");
    publisher.send_live(0..100);
    publisher.finish();
    eventually("the end", || blocks.lock().unwrap().ended);
    let blocks = blocks.lock().unwrap();
    assert!(blocks.seen > 3 && blocks.lost == 0, "{}", blocks.seen);
    assert_eq!(server.metric("millstream_hls_parts_total", ""), 0);
}

/// Follows segments until it is dropped.
struct Follower(SegmentCursor, Arc<Mutex<(usize, usize)>>);

impl Subscriber for Follower {
    fn follows(&self) -> Follows {
        Follows::Segments
    }

    fn advance(&mut self, stream: View<'_>) -> Progress {
        while let NextSegment::Began(_) | NextSegment::Segment(_) | NextSegment::Lost(..) = self.0.next(stream.window) {
        }
        Progress::CaughtUp
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.1.lock().unwrap().1 += 1;
    }
}

#[test]
fn a_stream_on_air_is_offered_again_when_it_is_to_be_recorded_and_when_it_is_not() {
    // How many were made, and how many are over.
    let counts = Arc::new(Mutex::new((0, 0)));
    let of_maker = Arc::clone(&counts);
    let make = move |id: &Id, settings: &Settings| {
        let follower = (id.as_str() == "live" && settings.on_demand_s.is_some()).then(|| {
            of_maker.lock().unwrap().0 += 1;
            Box::new(Follower(SegmentCursor::new(), Arc::clone(&of_maker))) as Box<dyn Subscriber>
        });
        follower.into_iter().collect::<Vec<_>>()
    };
    let maker = SubscriberMaker::new(make, |before, after| before.on_demand_s != after.on_demand_s);
    // What follows for another reason goes on meanwhile.
    let others = Arc::new(Mutex::new((0, 0)));
    let of_other = Arc::clone(&others);
    let make = move |_: &Id, _: &Settings| {
        of_other.lock().unwrap().0 += 1;
        vec![Box::new(Follower(SegmentCursor::new(), Arc::clone(&of_other))) as Box<dyn Subscriber>]
    };
    let other = SubscriberMaker::new(make, |before, after| before.relays != after.relays);
    let server = Server::start(Config { subscribers: Subscribers::new([maker, other]), ..config(IoChoice::Auto, 2) });
    let mut publisher = server.encoder("live");
    publisher.send_live(0..50);
    let mut told = Told::nothing();
    let mut tell = |on_demand: bool, flush| {
        told.tell(&server, &[Stream { id: "live".to_owned(), on_demand, flush, ..Stream::default() }], &[]);
    };
    tell(false, None);
    assert_eq!(*counts.lock().unwrap(), (0, 0));
    tell(true, None);
    assert_eq!(*counts.lock().unwrap(), (1, 0));
    tell(true, Some(Flush::Low));
    assert_eq!(*counts.lock().unwrap(), (1, 0), "it goes on");
    tell(false, None);
    assert_eq!(*counts.lock().unwrap(), (1, 1));
    assert_eq!(*others.lock().unwrap(), (1, 0));
}

/// Grants what the first parameter of a publisher says of its recording.
struct Records;

impl Policy for Records {
    fn name(&self) -> &'static str {
        "records"
    }

    fn decide(&self, request: &Request, _context: DecisionContext<'_>) -> Step {
        let mut grant = Grant::default();
        grant.record = request.params.get("record").and_then(|word| word.parse().ok());
        Step::Allow(grant)
    }
}

#[test]
fn a_publishers_grant_and_then_an_order_decide_whether_a_stream_is_recorded() {
    let recorded = Arc::new(Mutex::new((0, 0)));
    let of_maker = Arc::clone(&recorded);
    let follow = move |_: &Id, settings: &Settings| {
        let follower = settings.on_demand_s.is_some().then(|| {
            of_maker.lock().unwrap().0 += 1;
            Box::new(Follower(SegmentCursor::new(), Arc::clone(&of_maker))) as Box<dyn Subscriber>
        });
        follower.into_iter().collect::<Vec<_>>()
    };
    let maker = SubscriberMaker::new(follow, |before, after| before.on_demand_s != after.on_demand_s);
    let config = Config { subscribers: Subscribers::new([maker]), ..config(IoChoice::Auto, 2) };
    let server = Server::start_with(config, Chain::new(vec![shared(Records)], vec![shared(Open)]));
    let mut told = Told::nothing();
    let streams = [("live", false), ("kept", true)];
    let streams = streams.map(|(id, on_demand)| Stream { id: id.to_owned(), on_demand, ..Stream::default() });
    told.tell(&server, &streams, &[]);
    let count = || *recorded.lock().unwrap();
    let (mut made, mut over) = (0, 0);
    // Of each: whether its record says so, and what the grant does.
    for (stream, record, is_recorded) in [
        ("live", "true", true),
        // Who comes back with another word, or with none, has what that says.
        ("live", "none", false),
        ("live", "true", true),
        ("live", "false", false),
        ("kept", "none", true),
        ("kept", "false", false),
        ("kept", "true", true),
    ] {
        let mut publisher = server.encoder(&format!("{stream}?record={record}"));
        publisher.send((0..20).map(frame));
        eventually("it is as granted", || {
            let (made, over) = count();
            made - over == usize::from(is_recorded)
        });
        publisher.finish();
        if stream == "live" && record == "false" {
            (made, over) = count();
        }
    }
    assert!(made >= 2 && made == over, "{made} {over}");
    // An order goes before the grant, for as long as the stream lasts.
    let on_air = {
        let publisher = server.encoder("other?record=false");
        publisher.go_on(0)
    };
    let (remote, other) = (server.engine().remote(), Id::new("other").unwrap());
    let before = count();
    assert_eq!(ask(remote.record(&other, true)), Ok(true));
    assert_eq!(count(), (before.0 + 1, before.1));
    assert_eq!(ask(remote.record(&other, false)), Ok(true));
    assert_eq!(count(), (before.0 + 1, before.1 + 1));
    assert_eq!(ask(remote.record(&Id::new("nobodys").unwrap(), true)), Ok(false));
    drop(on_air);
}
