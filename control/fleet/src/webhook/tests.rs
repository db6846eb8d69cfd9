//! Deliveries to servers that are played here, out of an outbox in memory.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use millstream_control_protocol::event::What;
use millstream_proto::secret::Secret;
use millstream_proto::sign::webhook;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use super::deliver::{Deliverer, Patience};
use super::outbox::{Ask, Attempt, Backlog, Entry, Next, Outbox, OutboxError};
use super::*;
use crate::http::guard::Guard;

const SOON: Duration = Duration::from_secs(20);

/// Entries in order of arrival, each with the time that it is due, and what was noted.
#[derive(Default)]
struct Memory {
    entries: Mutex<BTreeMap<String, (Entry, u64)>>,
    notes: Mutex<Vec<(String, Attempt, Next)>>,
    broken: Mutex<bool>,
    /// How far behind the clock is what is believed of it.
    doubted: Mutex<Duration>,
}

impl Memory {
    fn add(&self, n: usize, lane: &str, url: &str) {
        let entry = Entry {
            key: format!("{n:04}"),
            lane: lane.to_owned(),
            hook: lane.split('/').next().unwrap().to_owned(),
            url: url.to_owned(),
            secret: Secret::new("hush"),
            kind: "publish".to_owned(),
            body: format!("{{\"n\":{n}}}").into_bytes(),
            attempts: 0,
            added_unix_ms: std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64,
        };
        self.entries.lock().unwrap().insert(entry.key.clone(), (entry, 0));
    }

    fn notes(&self) -> Vec<(String, Attempt, Next)> {
        self.notes.lock().unwrap().clone()
    }

    /// Age of an entry, so that it is old.
    fn age(&self, by: Duration) {
        for (entry, _) in self.entries.lock().unwrap().values_mut() {
            entry.added_unix_ms -= by.as_millis() as u64;
        }
    }
}

impl Outbox for Memory {
    fn due(&self, now_unix_ms: u64, ask: &Ask) -> Result<Vec<Entry>, OutboxError> {
        if *self.broken.lock().unwrap() {
            return Err(OutboxError("the disk is gone".to_owned()));
        }
        let entries = self.entries.lock().unwrap();
        let mut lanes = std::collections::HashSet::new();
        let heads = entries.values().filter(|(entry, _)| lanes.insert(entry.lane.clone()));
        let due = heads.filter(|(entry, due)| *due <= now_unix_ms && !ask.busy.contains(&entry.lane));
        let mut of_hook: BTreeMap<String, usize> = BTreeMap::new();
        let shared = due.filter(|(entry, _)| {
            let of_hook = of_hook.entry(entry.hook.clone()).or_default();
            *of_hook += 1;
            *of_hook <= ask.share(&entry.hook)
        });
        Ok(shared.take(ask.limit).map(|(entry, _)| entry.clone()).collect())
    }

    fn hurry(&self, hook: &str) -> Result<(), OutboxError> {
        let mut entries = self.entries.lock().unwrap();
        entries.values_mut().filter(|(entry, _)| entry.hook == hook).for_each(|(_, due)| *due = 0);
        Ok(())
    }

    fn give_up(&self, hook: &str, before_unix_ms: u64, attempt: &Attempt) -> Result<usize, OutboxError> {
        let mut entries = self.entries.lock().unwrap();
        let is_old = |entry: &Entry| entry.hook == hook && entry.added_unix_ms < before_unix_ms;
        let old: Vec<String> =
            entries.values().filter(|(entry, _)| is_old(entry)).map(|(e, _)| e.key.clone()).collect();
        for key in &old {
            entries.remove(key);
        }
        let notes = old.iter().map(|key| (key.clone(), attempt.clone(), Next::GivenUp));
        self.notes.lock().unwrap().extend(notes);
        Ok(old.len())
    }

    fn backlog(&self) -> Result<Backlog, OutboxError> {
        let entries = self.entries.lock().unwrap();
        Ok(Backlog {
            waiting: entries.len() as u64,
            oldest_unix_ms: entries.values().map(|(entry, _)| entry.added_unix_ms).min(),
            hooks: entries.values().map(|(entry, _)| entry.hook.clone()).collect(),
        })
    }

    fn believed_unix_ms(&self) -> u64 {
        std::time::UNIX_EPOCH.elapsed().unwrap().saturating_sub(*self.doubted.lock().unwrap()).as_millis() as u64
    }

    fn settle(&self, key: &str, attempt: &Attempt, next: Next) -> Result<(), OutboxError> {
        self.notes.lock().unwrap().push((key.to_owned(), attempt.clone(), next));
        let mut entries = self.entries.lock().unwrap();
        match next {
            Next::Retry { due_unix_ms } => {
                let (entry, due) = entries.get_mut(key).unwrap();
                entry.attempts += 1;
                *due = due_unix_ms;
            }
            Next::Delivered | Next::GivenUp => drop(entries.remove(key)),
        }
        Ok(())
    }
}

type Got = Arc<Mutex<Vec<(HeaderMap, String)>>>;

/// A server that answers its n-th request as `answers` says, and with 200 after those.
struct Server {
    got: Got,
    url: String,
}

#[derive(Clone)]
struct Script {
    got: Got,
    answers: Arc<Vec<u16>>,
    slow: Duration,
}

impl Server {
    async fn start(answers: &[u16], slow: Duration) -> Self {
        let got = Got::default();
        let script = Script { got: Arc::clone(&got), answers: Arc::new(answers.to_vec()), slow };
        let take = async |State(script): State<Script>, headers: HeaderMap, body: Bytes| {
            let n = {
                let mut got = script.got.lock().unwrap();
                got.push((headers, String::from_utf8(body.to_vec()).unwrap()));
                got.len() - 1
            };
            tokio::time::sleep(script.slow).await;
            let status = StatusCode::from_u16(script.answers.get(n).copied().unwrap_or(200)).unwrap();
            (status, [("location", "http://127.0.0.1:1/")], "x".repeat(100_000))
        };
        let app = Router::new().route("/hook", post(take)).with_state(script);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { got, url }
    }

    fn got(&self) -> Vec<(HeaderMap, String)> {
        self.got.lock().unwrap().clone()
    }

    fn bodies(&self) -> Vec<String> {
        self.got().into_iter().map(|(_, body)| body).collect()
    }
}

fn patience() -> Patience {
    Patience {
        answer_wait: Duration::from_secs(5),
        retry_least: Duration::from_millis(20),
        retry_most: Duration::from_millis(50),
        give_up_after: Duration::from_hours(1),
        give_up_tries: 1,
    }
}

fn local() -> Guard {
    Guard::PublicAnd(vec!["127.0.0.0/8".parse().unwrap()])
}

/// Delivers until it is dropped.
fn deliver(outbox: &Arc<Memory>, guard: Guard, patience: Patience) -> (Arc<Notify>, watch::Sender<bool>) {
    let (news, (stop, stopped)) = (Arc::new(Notify::new()), watch::channel(false));
    let deliverer = Deliverer::new(Arc::clone(outbox) as _, guard, patience);
    tokio::spawn(deliverer.run(Arc::clone(&news), stopped));
    (news, stop)
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..SOON.as_millis() / 10 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not happen: {what}");
}

#[tokio::test]
async fn a_delivery_is_signed_and_says_what_it_is() {
    let (server, outbox) = (Server::start(&[], Duration::ZERO).await, Arc::new(Memory::default()));
    outbox.add(1, "hook/cam", &server.url);
    let (_news, _stop) = deliver(&outbox, local(), patience());
    eventually("delivered", || outbox.notes().len() == 1).await;
    let (headers, body) = server.got().remove(0);
    let header = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!((header("millstream-event"), header("millstream-delivery")), ("publish".into(), "0001".into()));
    assert_eq!((header("content-type").as_str(), body.as_str()), ("application/json", "{\"n\":1}"));
    let signature = header("millstream-signature");
    let at: u64 = signature.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
    assert_eq!(signature, webhook::sign(&Secret::new("hush"), at, body.as_bytes()));
    let (key, attempt, next) = outbox.notes().remove(0);
    assert_eq!((key.as_str(), attempt.status, attempt.error.as_str(), next), ("0001", Some(200), "", Next::Delivered));
}

#[tokio::test]
async fn what_fails_comes_again_and_its_lane_waits_for_it_while_others_go_on() {
    let (server, outbox) = (Server::start(&[500, 503], Duration::ZERO).await, Arc::new(Memory::default()));
    let other = Server::start(&[], Duration::ZERO).await;
    for n in 0..3 {
        outbox.add(n, "hook/cam", &server.url);
    }
    outbox.add(9, "other/cam", &other.url);
    let (_news, _stop) = deliver(&outbox, local(), patience());
    eventually("all delivered", || outbox.entries.lock().unwrap().is_empty()).await;
    assert_eq!(server.bodies(), ["{\"n\":0}", "{\"n\":0}", "{\"n\":0}", "{\"n\":1}", "{\"n\":2}"]);
    assert_eq!(other.bodies(), ["{\"n\":9}"]);
    let failed: Vec<_> = outbox.notes().into_iter().filter(|(_, _, next)| matches!(next, Next::Retry { .. })).collect();
    assert_eq!(failed.iter().map(|(_, attempt, _)| attempt.status).collect::<Vec<_>>(), [Some(500), Some(503)]);
}

#[tokio::test]
async fn many_lanes_go_beside_each_other_but_one_hook_does_not_take_all_places() {
    let slow = Server::start(&[], Duration::from_secs(3)).await;
    let (quick, outbox) = (Server::start(&[], Duration::ZERO).await, Arc::new(Memory::default()));
    for n in 0..40 {
        outbox.add(n, &format!("slow/cam-{n}"), &slow.url);
    }
    outbox.add(99, "quick/cam", &quick.url);
    let (_news, _stop) = deliver(&outbox, local(), patience());
    eventually("the quick one", || !quick.got().is_empty()).await;
    assert!(slow.got().len() <= crate::limits::DELIVERIES_PER_HOOK_MAX);
}

#[tokio::test]
async fn case_39_receivers_that_hang_take_one_place_each_and_get_all_when_they_are_back() {
    let (hanging, outbox) = (Server::start(&[500; 5], Duration::ZERO).await, Arc::new(Memory::default()));
    let quick = Server::start(&[], Duration::ZERO).await;
    let dead = Server::start(&[], Duration::from_mins(1)).await;
    for n in 0..500 {
        outbox.add(n, &format!("away/cam-{n}"), &hanging.url);
    }
    for hook in 0..99 {
        (0..5).for_each(|n| outbox.add(1_000 + 5 * hook + n, &format!("dead-{hook}/cam-{n}"), &dead.url));
    }
    (0..20).for_each(|n| outbox.add(9_000 + n, &format!("quick/cam-{n}"), &quick.url));
    let (_news, _stop) = deliver(&outbox, local(), patience());
    eventually("the healthy one has all", || quick.got().len() == 20).await;
    assert!(dead.got().len() <= 99, "{} deliveries to 99 that hang", dead.got().len());
    eventually("who is back has all", || hanging.got().len() == 505).await;
    // What is older than deliveries are kept goes with a failed try, without one of its own.
    (0..50).for_each(|n| outbox.add(9_500 + n, &format!("gone/cam-{n}"), "http://127.0.0.1:1/hook"));
    outbox.age(Duration::from_hours(2));
    let given_up =
        || outbox.notes().iter().filter(|(key, _, next)| key.starts_with("95") && *next == Next::GivenUp).count();
    eventually("all are given up", || given_up() == 50).await;
}

#[tokio::test]
async fn news_are_delivered_without_waiting_for_the_next_look() {
    let (server, outbox) = (Server::start(&[], Duration::ZERO).await, Arc::new(Memory::default()));
    let (news, _stop) = deliver(&outbox, local(), patience());
    for n in 0..20 {
        outbox.add(n, "hook/cam", &server.url);
        news.notify_one();
    }
    eventually("all delivered", || server.got().len() == 20).await;
    assert!(server.bodies().is_sorted_by_key(String::len));
}

#[tokio::test]
async fn redirects_are_not_followed_and_gone_is_the_end() {
    let (server, outbox) = (Server::start(&[302, 410], Duration::ZERO).await, Arc::new(Memory::default()));
    outbox.add(1, "hook/cam", &server.url);
    let (_news, _stop) = deliver(&outbox, local(), patience());
    eventually("given up", || outbox.notes().len() == 2).await;
    let notes = outbox.notes();
    assert!(notes[0].1.error.contains("redirects"), "{notes:?}");
    assert_eq!((notes[1].1.status, notes[1].2), (Some(410), Next::GivenUp));
}

#[tokio::test]
async fn private_addresses_are_refused_unless_allowed() {
    let (server, outbox) = (Server::start(&[], Duration::ZERO).await, Arc::new(Memory::default()));
    outbox.add(1, "hook/cam", &server.url);
    outbox.add(2, "name/cam", &server.url.replace("127.0.0.1", "localhost"));
    outbox.add(3, "bad/cam", "file:///etc/passwd");
    let (_news, _stop) = deliver(&outbox, Guard::PublicAnd(Vec::new()), patience());
    eventually("noted", || outbox.notes().len() >= 3).await;
    assert!(server.got().is_empty());
    let errors: Vec<_> = outbox.notes().into_iter().map(|(key, attempt, _)| (key, attempt.error)).collect();
    let says = |key: &str, part: &str| errors.iter().any(|(k, error)| k == key && error.contains(part));
    assert!(says("0001", "private address") && says("0002", "private address") && says("0003", "URL"), "{errors:?}");
}

#[tokio::test]
async fn a_server_that_hangs_costs_its_time_and_old_entries_are_given_up() {
    let (server, outbox) = (Server::start(&[], Duration::from_mins(1)).await, Arc::new(Memory::default()));
    outbox.add(1, "hook/cam", &server.url);
    let quick = Patience { answer_wait: Duration::from_millis(100), ..patience() };
    let (_news, _stop) = deliver(&outbox, local(), quick);
    eventually("a try", || !outbox.notes().is_empty()).await;
    assert!(outbox.notes()[0].1.error.contains("did not answer in time"));
    outbox.age(Duration::from_hours(2));
    eventually("given up", || outbox.notes().iter().any(|(_, _, next)| *next == Next::GivenUp)).await;
}

/// The clock leaps by ten years: what waits is ten years old, and is kept for as long as the leap is not believed.
#[tokio::test]
async fn a_leap_of_the_clock_gives_nothing_up() {
    let (server, outbox) = (Server::start(&[500; 8], Duration::ZERO).await, Arc::new(Memory::default()));
    (0..20).for_each(|n| outbox.add(n, &format!("hook/cam-{n}"), &server.url));
    let leap = Duration::from_hours(10 * 365 * 24);
    *outbox.doubted.lock().unwrap() = leap;
    outbox.age(leap);
    let (_news, _stop) = deliver(&outbox, local(), patience());
    eventually("all are delivered in the end", || outbox.entries.lock().unwrap().is_empty()).await;
    assert_eq!(server.got().len(), 28);
    assert!(outbox.notes().iter().all(|(_, _, next)| *next != Next::GivenUp));
    // Once it is believed, they are old.
    *outbox.doubted.lock().unwrap() = Duration::ZERO;
    (20..40).for_each(|n| outbox.add(n, &format!("gone/cam-{n}"), "http://127.0.0.1:1/hook"));
    outbox.age(leap);
    let given_up = || outbox.notes().iter().filter(|(_, _, next)| *next == Next::GivenUp).count();
    eventually("all are given up", || given_up() == 20).await;
}

/// A server that was off for days, and whose receivers start a moment after it does.
#[tokio::test]
async fn what_grew_old_while_the_server_was_off_is_tried_some_times() {
    let (server, outbox) = (Server::start(&[500; 8], Duration::ZERO).await, Arc::new(Memory::default()));
    (0..20).for_each(|n| outbox.add(n, &format!("hook/cam-{n}"), &server.url));
    outbox.age(Duration::from_hours(48));
    let (_news, _stop) = deliver(&outbox, local(), Patience { give_up_tries: 12, ..patience() });
    eventually("all are delivered", || outbox.entries.lock().unwrap().is_empty()).await;
    assert!(outbox.notes().iter().all(|(_, _, next)| *next != Next::GivenUp));
}

#[tokio::test]
async fn an_outbox_that_is_back_is_gone_on_with() {
    let (server, outbox) = (Server::start(&[], Duration::ZERO).await, Arc::new(Memory::default()));
    outbox.add(1, "hook/cam", &server.url);
    *outbox.broken.lock().unwrap() = true;
    let (news, _stop) = deliver(&outbox, local(), patience());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.got().is_empty());
    *outbox.broken.lock().unwrap() = false;
    news.notify_one();
    eventually("delivered", || server.got().len() == 1).await;
}

#[test]
fn the_body_is_the_event_with_where_it_happened() {
    let node = NodeId { name: "n1".to_owned(), run: 5 };
    let what = What::Unpublish { why: "peer_closed".to_owned(), lasted_ms: 7, received_bytes: 8, viewers: Vec::new() };
    let event = Event { seq: 3, stream: "cam".to_owned(), what, ..Event::default() };
    let body: serde_json::Value = serde_json::from_slice(&body(&node, &event)).unwrap();
    assert_eq!((body["id"].as_str(), body["node"].as_str()), (Some("n1-5-3"), Some("n1")));
    assert_eq!((body["stream"].as_str(), body["what"]["kind"].as_str()), (Some("cam"), Some("unpublish")));
}
