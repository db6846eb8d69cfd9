//! Control's end with nodes that are played here.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use millstream_control_protocol::PROTOCOL;
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::{Answer, NodeId, Order, Outcome, Poll, Report, Whom};
use millstream_control_protocol::live::{Live, Viewer, ViewerPage};
use millstream_control_protocol::state::{Stream, Version};
use tokio::time::Instant;

use super::*;
use crate::limits::{ORDER_WAIT_MAX, VIEWERS_ASKED_AT_ONCE_MAX};

fn node(name: &str) -> NodeId {
    NodeId { name: name.to_owned(), run: 1 }
}

fn stream(id: &str) -> Stream {
    Stream { id: id.to_owned(), ..Stream::default() }
}

fn poll(name: &str, have: Option<Version>, wait_ms: u32) -> Poll {
    Poll { protocol: PROTOCOL, node: node(name), have, wait_ms, refused: None, tls: None }
}

fn event(seq: u64, what: What) -> Event {
    Event { seq, stream: "cam".to_owned(), what, ..Event::default() }
}

fn publish() -> What {
    What::Publish { encoder: String::new(), replaced_heard_ago_ms: None }
}

/// Answers every order of a node until the fleet is gone.
fn play(fleet: &Fleet, name: &'static str, reply: impl Fn(&Order) -> Answer + Send + 'static) {
    let fleet = fleet.clone();
    tokio::spawn(async move {
        let mut have = None;
        loop {
            let push = fleet.poll(&poll(name, have, 10_000)).await.unwrap();
            have = push.update.map_or(have, |update| Some(update.version));
            let outcomes = push.commands.iter().map(|c| Outcome { number: c.number, answer: reply(&c.what) });
            let report = Report { node: node(name), outcomes: outcomes.collect(), ..Report::default() };
            fleet.report(report).await.unwrap();
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_for_news_and_no_longer_than_it_wants() {
    let fleet = Fleet::new([stream("a")], String::new(), DropEvents);
    let first = fleet.poll(&poll("n", None, 10_000)).await.unwrap();
    let have = first.update.map(|update| update.version);
    assert_eq!(have, Some(fleet.version()));
    let before = Instant::now();
    assert_eq!(fleet.poll(&poll("n", have, 10_000)).await.unwrap().update, None);
    assert_eq!(before.elapsed().as_secs(), 10);
    let waiting = tokio::spawn({
        let fleet = fleet.clone();
        async move { fleet.poll(&poll("n", have, 10_000)).await }
    });
    tokio::time::sleep(Duration::from_millis(5)).await;
    let version = fleet.put(stream("b"));
    let before = Instant::now();
    let update = waiting.await.unwrap().unwrap().update.unwrap();
    assert_eq!((update.from, update.streams, before.elapsed().as_millis()), (have, vec![stream("b")], 0));
    assert!(!fleet.in_force(version, Duration::from_millis(50)).await, "the node has not said that it has it");
    let later = tokio::spawn({
        let fleet = fleet.clone();
        async move { fleet.in_force(version, Duration::from_secs(5)).await }
    });
    tokio::time::sleep(Duration::from_millis(5)).await;
    fleet.poll(&poll("n", Some(version), 0)).await.unwrap();
    assert!(later.await.unwrap());
}

/// Both poll and report as nodes do. A restart is no second node, and neither is a message that was under way when it happened.
#[tokio::test(start_paused = true)]
async fn of_two_nodes_with_one_name_the_second_is_refused_and_it_is_shown() {
    let fleet = Fleet::new([], String::new(), DropEvents);
    let poll = |run: u64| {
        let node = NodeId { name: "n".to_owned(), run };
        let (fleet, poll) =
            (fleet.clone(), Poll { protocol: PROTOCOL, node, have: None, wait_ms: 0, refused: None, tls: None });
        async move { fleet.poll(&poll).await.map(drop) }
    };
    for run in [1, 2, 3, 2, 3, 3] {
        assert_eq!(poll(run).await, Ok(()), "a restart, and one late message");
    }
    assert!(!fleet.nodes()[0].same_name);
    let mut refused = [0, 0];
    for _ in 0..10 {
        for (n, run) in [(0, 3), (1, 4)] {
            refused[n] += usize::from(poll(run).await == Err(LinkError::SameName));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    assert!(refused[0] <= 1 && refused[1] >= 6, "{refused:?}");
    assert_eq!((fleet.nodes()[0].id.run, fleet.nodes()[0].same_name), (3, true));
    // The first one is gone: the other one is the node of that name.
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(poll(4).await, Ok(()));
    assert!(!fleet.nodes()[0].same_name);
}

#[tokio::test(start_paused = true)]
async fn without_nodes_everything_is_in_force_and_nobody_is_found() {
    let fleet = Fleet::new([], String::new(), DropEvents);
    let version = fleet.put(stream("a"));
    assert!(fleet.in_force(version, Duration::ZERO).await);
    assert_eq!(fleet.look("a").await, []);
    assert_eq!(fleet.kick_stream("a", Whom::All).await, Kicked::default());
    assert_eq!(fleet.kick_session("nobody", 1).await.failed, [("nobody".to_owned(), LinkError::Away)]);
}

#[tokio::test(start_paused = true)]
async fn orders_reach_every_node_and_pages_of_viewers_go_over_all_of_them() {
    let fleet = Fleet::new([stream("cam")], String::new(), DropEvents);
    for name in ["n1", "n2"] {
        play(&fleet, name, move |order| match order {
            Order::KickStream { .. } => Answer::Kicked { sessions: 2 },
            Order::Look { stream } => {
                Answer::Live { live: Some(Box::new(Live { id: stream.clone(), ..Live::default() })) }
            }
            Order::Viewers { after, limit, .. } => {
                let all = (after + 1..=5).map(|session| Viewer { session, ..Viewer::default() });
                let viewers: Vec<_> = all.take(*limit as usize).collect();
                let next_after = viewers.last().map(|v| v.session).filter(|&last| last < 5);
                Answer::Viewers { page: millstream_control_protocol::live::ViewerPage { viewers, next_after } }
            }
            _ => Answer::NotUnderstood,
        });
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    let kicked = fleet.kick_stream("cam", Whom::All).await;
    assert_eq!((kicked.sessions, kicked.failed), (4, vec![]));
    assert_eq!(fleet.look("cam").await.len(), 2);
    assert!(
        matches!(&fleet.kick_session("n1", 3).await.failed[..], [(_, LinkError::Failed(why))] if why.contains("upgrade"))
    );
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = fleet.viewers("cam", cursor.as_ref(), 3).await;
        assert!(page.viewers.len() <= 3 && page.failed.is_empty());
        all.extend(page.viewers.iter().map(|(node, viewer)| format!("{node}/{}", viewer.session)));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<_> = ["n1", "n2"].iter().flat_map(|n| (1..=5).map(move |s| format!("{n}/{s}"))).collect();
    assert_eq!(all, expected);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_costs_a_moment_and_is_said() {
    let fleet = Fleet::new([stream("cam")], String::new(), DropEvents);
    let live = Live { id: "cam".to_owned(), ..Live::default() };
    let report = Report { node: node("n"), live: Some(vec![live.clone()]), ..Report::default() };
    fleet.report(report).await.unwrap();
    let before = Instant::now();
    assert_eq!(fleet.look("cam").await, [("n".to_owned(), live)], "as it told last");
    assert_eq!(before.elapsed(), ORDER_WAIT_MAX);
    assert_eq!(fleet.kick_stream("cam", Whom::All).await.failed, [("n".to_owned(), LinkError::Late)]);
    // What was given up is not done later.
    assert_eq!(fleet.poll(&poll("n", None, 0)).await.unwrap().commands, []);
}

struct Flaky(AtomicBool);

impl EventSink for Arc<Flaky> {
    fn keep(&self, _node: NodeId, _events: Vec<Event>) -> Promise<Result<(), String>> {
        let works = self.0.load(Ordering::SeqCst);
        Box::pin(async move { if works { Ok(()) } else { Err("the disk is full".to_owned()) } })
    }

    fn module(&self, _sha256: String, _at: u64) -> Promise<Result<Option<Bytes>, String>> {
        Box::pin(async { Ok(None) })
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_thanked_for_only_once_they_are_kept_and_heard_once() {
    let sink = Arc::new(Flaky(AtomicBool::new(false)));
    let fleet = Fleet::new([], String::new(), Arc::clone(&sink));
    let mut heard = fleet.events();
    let report = Report { node: node("n"), events: vec![event(1, publish())], ..Report::default() };
    assert_eq!(fleet.report(report.clone()).await, Err(LinkError::Keeping("the disk is full".to_owned())));
    sink.0.store(true, Ordering::SeqCst);
    assert_eq!(fleet.report(report.clone()).await.unwrap().events_through, 1);
    // Its receipt was lost: it tells again, and of one more.
    let mut again = report;
    again.events.push(event(
        2,
        What::Unpublish { why: "peer_closed".into(), lasted_ms: 1, received_bytes: 1, viewers: Vec::new() },
    ));
    assert_eq!(fleet.report(again).await.unwrap().events_through, 2);
    let seqs: Vec<_> = std::iter::from_fn(|| heard.try_recv().ok()).map(|heard| heard.event.seq).collect();
    assert_eq!(seqs, [1, 2]);
    assert_eq!(fleet.on_air()[0].1.publisher, None);
}

#[tokio::test(start_paused = true)]
async fn a_new_run_of_a_node_starts_from_nothing() {
    let fleet = Fleet::new([], String::new(), DropEvents);
    let report = |run, seq| Report {
        node: NodeId { name: "n".to_owned(), run },
        events: vec![event(seq, publish())],
        ..Report::default()
    };
    assert_eq!(fleet.report(report(1, 9)).await.unwrap().events_through, 9);
    assert_eq!(fleet.report(report(2, 1)).await.unwrap().events_through, 1);
    assert_eq!(fleet.nodes().len(), 1);
}

/// Whoever has the nodes' token chooses names: a new one is behind those that are there, also while they start anew.
#[tokio::test(start_paused = true)]
async fn nodes_that_come_later_are_behind_those_that_are_there() {
    let fleet = Fleet::new([], String::new(), DropEvents);
    let hear = async |name: &str, run| {
        let node = NodeId { name: name.to_owned(), run };
        fleet.poll(&Poll { node, ..poll(name, None, 0) }).await.unwrap();
    };
    // They were there before control began, and come back in another order.
    fleet.came_before(vec!["n".to_owned(), "gone".to_owned(), "m".to_owned()]);
    hear("b", 1).await;
    hear("m", 1).await;
    hear("n", 1).await;
    hear("a", 1).await;
    hear("m", 2).await;
    let order: Vec<(String, usize)> = fleet.nodes().into_iter().map(|view| (view.id.name, view.seniority)).collect();
    assert_eq!(order, [("a".into(), 4), ("b".into(), 3), ("m".into(), 2), ("n".into(), 0)]);
    assert_eq!(fleet.came(), ["n", "gone", "m", "b", "a"]);
    tokio::time::sleep(Duration::from_mins(61)).await;
    hear("m", 2).await;
    hear("c", 1).await;
    assert_eq!(fleet.came(), ["m", "c"], "who has not been heard for an hour is forgotten");
}

#[tokio::test(start_paused = true)]
async fn names_are_bounded() {
    let fleet = Fleet::new([], String::new(), DropEvents);
    for bad in ["", "a\nb", &"x".repeat(65)] {
        assert_eq!(fleet.poll(&poll(bad, None, 0)).await, Err(LinkError::Name));
    }
    for n in 0..crate::limits::NODES_MAX {
        fleet.poll(&poll(&n.to_string(), None, 0)).await.unwrap();
    }
    assert_eq!(fleet.poll(&poll("one more", None, 0)).await, Err(LinkError::Nodes));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_answers_more_than_was_asked_is_taken_by_what_was_asked() {
    let fleet = Fleet::new([stream("cam")], String::new(), DropEvents);
    let viewers = |from: u64, count: u64| {
        let of = |session| Viewer { session, peer: "x".repeat(1_000), ..Viewer::default() };
        (from..from + count).map(of).collect::<Vec<_>>()
    };
    play(&fleet, "n1", move |order| match order {
        Order::Viewers { after, .. } => {
            let page = ViewerPage { viewers: viewers(*after, 5_000), next_after: Some(*after) };
            Answer::Viewers { page }
        }
        Order::Look { .. } => Answer::Live { live: Some(Box::new(Live { id: "other".into(), ..Live::default() })) },
        _ => Answer::Kicked { sessions: u64::MAX },
    });
    play(&fleet, "n2", move |_| Answer::Kicked { sessions: u64::MAX });
    tokio::time::sleep(Duration::from_millis(5)).await;
    let page = fleet.viewers("cam", None, 10).await;
    assert_eq!((page.viewers.len(), page.next), (10, Some(("n1".to_owned(), 10))));
    assert_eq!(page.viewers[0].1.peer.len(), 128, "a page is bounded by how many are in it");
    assert!(matches!(&page.failed[..], [(node, LinkError::Failed(_))] if node == "n2"), "{:?}", page.failed);
    let next = fleet.viewers("cam", Some(&("n1".to_owned(), 10)), 10).await;
    assert_eq!((next.viewers[0].1.session, next.next), (11, Some(("n1".to_owned(), 20))), "pages go on");
    assert_eq!(fleet.look("cam").await, []);
    assert_eq!(fleet.kick_stream("cam", Whom::All).await.sessions, u64::MAX);
}

#[tokio::test(start_paused = true)]
async fn names_that_are_made_up_take_no_memory_from_nodes_that_are_there() {
    let fleet = Fleet::new([], String::new(), DropEvents);
    let live = |count: usize, of: &str| -> Vec<Live> {
        (0..count).map(|n| Live { id: format!("{of}-{n:032}"), ..Live::default() }).collect()
    };
    let report = |name: &str, live| Report { node: node(name), live: Some(live), ..Report::default() };
    fleet.report(report("real", live(100, "real"))).await.unwrap();
    for name in 0..20 {
        fleet.report(report(&format!("made-up-{name}"), live(1_000, "x"))).await.unwrap();
    }
    let held: Vec<(String, Live)> = fleet.on_air();
    assert!(held.len() < 6_000, "{} streams' figures are held", held.len());
    assert_eq!(held.iter().filter(|(node, _)| node == "real").count(), 100);
    fleet.report(report("real", live(120, "real"))).await.unwrap();
    assert_eq!(fleet.on_air().iter().filter(|(node, _)| node == "real").count(), 120);
    // Nor by events alone.
    for seq in 1..16 {
        let events = (0..1_000).map(|n| Event {
            seq: seq * 1_000 + n,
            stream: format!("s{seq}-{n}"),
            what: publish(),
            ..Event::default()
        });
        fleet.report(Report { node: node("talker"), events: events.collect(), ..Report::default() }).await.unwrap();
    }
    assert!(fleet.on_air().len() < 6_000, "{} streams' figures are held", fleet.on_air().len());
}

/// Nodes that hang cost a caller one wait together, and those that answer are shown.
#[tokio::test(start_paused = true)]
async fn viewers_are_asked_for_at_all_nodes_at_once() {
    let fleet = Fleet::new([], String::new(), DropEvents);
    for name in ["a", "c", "e", "g", "i"] {
        fleet.poll(&poll(name, None, 0)).await.unwrap();
    }
    for name in ["b", "h"] {
        play(&fleet, name, move |order| match order {
            Order::Viewers { after, limit, .. } => {
                let all = (after + 1..=3).map(|session| Viewer { session, ..Viewer::default() });
                let viewers: Vec<Viewer> = all.take(*limit as usize).collect();
                let next_after = viewers.last().map(|viewer| viewer.session).filter(|last| *last < 3);
                Answer::Viewers { page: ViewerPage { viewers, next_after } }
            }
            _ => Answer::NotUnderstood,
        });
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let (mut after, mut found) = (None, Vec::new());
    for _ in 0..3 {
        let before = Instant::now();
        let page = fleet.viewers("cam", after.as_ref(), 4).await;
        assert!(before.elapsed() <= ORDER_WAIT_MAX + Duration::from_millis(10), "{:?}", before.elapsed());
        assert!(page.viewers.len() <= 4);
        found.extend(page.viewers.iter().map(|(node, viewer)| format!("{node}{}", viewer.session)));
        after = page.next;
        if after.is_none() {
            assert!(
                page.failed.iter().any(|(node, error)| (node.as_str(), error) == ("i", &LinkError::Late)),
                "{:?}",
                page.failed
            );
            break;
        }
    }
    assert_eq!((after, found.join(" ")), (None, "b1 b2 b3 h1 h2 h3".to_owned()));
}

/// A page may come from every node that is asked: only so many are asked at the same time, and all are accounted for.
#[tokio::test(start_paused = true)]
async fn a_list_of_viewers_asks_few_nodes_at_once() {
    let fleet = Fleet::new([], String::new(), DropEvents);
    let names: Vec<String> = (0..100).map(|n| format!("n{n:03}")).collect();
    for name in &names {
        fleet.poll(&poll(name, None, 0)).await.unwrap();
    }
    let (before, asking) = (Instant::now(), fleet.clone());
    let listing = tokio::spawn(async move { asking.viewers("cam", None, 10).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut asked = 0;
    for name in &names {
        asked += fleet.poll(&poll(name, None, 0)).await.unwrap().commands.len();
    }
    assert_eq!(asked, VIEWERS_ASKED_AT_ONCE_MAX);
    let failed = listing.await.unwrap().failed;
    assert_eq!(failed, names.into_iter().map(|name| (name, LinkError::Late)).collect::<Vec<_>>());
    assert_eq!(before.elapsed(), ORDER_WAIT_MAX, "they share one wait");
}
