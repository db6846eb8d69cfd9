//! Policy steps of the tests' own: made per shard, replaced while the server runs, late, and with a grant that ends.
use std::cell::Cell;
use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use millstream_control_protocol::event::What;
use millstream_engine::config::{GrantConfig, IoChoice};
use millstream_policy::open::Open;
use millstream_policy::{
    Action, Chain, DecisionContext, Denial, Grant, Held, Policy, PolicyMaker, Request, Step, Undecided, Verdict, Why,
    shared,
};
use millstream_proto::id::Id;
use millstream_proto::rtmp::ClientRole;
use millstream_proto::sign::MasterKey;
use millstream_proto::sign::grant::GrantKeys;

use crate::harness::{Answer, Flv, Rtmp, SOON, Server, config, connect, eventually, frame};

/// Waits for a future of the engine's handle, on this thread.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let until = Instant::now() + SOON;
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Admits as many as it counts down: on a shard of its own, without a lock.
struct CountsDown(Rc<Cell<u32>>);

impl Policy for CountsDown {
    fn name(&self) -> &'static str {
        "counts-down"
    }

    fn decide(&self, _request: &Request, _context: DecisionContext<'_>) -> Step {
        let Some(left) = self.0.get().checked_sub(1) else { return Denial::step(Why::Forbidden, "all are taken") };
        self.0.set(left);
        Step::Allow(Grant::default())
    }
}

#[test]
fn a_step_is_made_once_for_each_shard_and_need_not_be_shared() {
    let made = Arc::new(Mutex::new(Vec::new()));
    let of_makers = Arc::clone(&made);
    let maker: PolicyMaker = Arc::new(move |shard| {
        of_makers.lock().unwrap().push(shard);
        Rc::new(CountsDown(Rc::new(Cell::new(2))))
    });
    let server = Server::start_with(config(IoChoice::Auto, 2), Chain::new(vec![shared(Open)], vec![maker]));
    eventually("both have one", || made.lock().unwrap().len() == 2);
    let statuses: Vec<u16> = (0..40).map(|_| Answer::get(server.at.http, "/nobody/live.flv").status()).collect();
    // Each shard admits two, and refuses all others: whichever they came to.
    assert_eq!(statuses.iter().filter(|status| **status == 404).count(), 4, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 36, "{statuses:?}");
    let mut made = made.lock().unwrap().clone();
    made.sort_unstable();
    assert_eq!(made, [0, 1]);
}

#[test]
fn the_chain_is_replaced_while_the_server_runs_and_who_is_admitted_stays() {
    let open = || Chain::new(vec![shared(Open)], vec![shared(Open)]);
    let server = Server::start_with(config(IoChoice::Auto, 2), open());
    let mut publisher = server.encoder("live");
    publisher.send((0..30).map(frame));
    let mut viewer = server.flv("live");
    let none = Chain::new(vec![shared(Open)], vec![Arc::new(|_| Rc::new(CountsDown(Rc::default())))]);
    wait(server.engine().remote().set_policies(&none)).unwrap();
    for _ in 0..8 {
        assert_eq!(Answer::get(server.at.http, "/live/live.flv").status(), 403);
    }
    publisher.send_live(30..60);
    viewer.until_frame(59);
    wait(server.engine().remote().set_policies(&open())).unwrap();
    server.flv("live").until_frame(59);
}

/// Never answers; whose time is over is let in where it says so.
struct Late(Step);

impl Policy for Late {
    fn name(&self) -> &'static str {
        "late"
    }

    fn decide(&self, _request: &Request, _context: DecisionContext<'_>) -> Step {
        Step::Pending
    }

    fn undecided(&self, _request: &Request, _why: Undecided) -> Step {
        self.0.clone()
    }
}

#[test]
fn whose_time_is_over_gets_what_the_step_says() {
    let deny = Denial::step(Why::Forbidden, "the oracle is silent");
    let play = vec![shared(Late(Step::Abstain)), shared(Late(deny))];
    let server = Server::start_with(
        config(IoChoice::Auto, 1),
        Chain::new(vec![shared(Late(Step::Allow(Grant::default())))], play),
    );
    let began = Instant::now();
    // Closed after its second step: each has its own time.
    let mut viewer = Flv::ask(server.at.http, "live", 1);
    // Open.
    let mut publisher = Rtmp::connect(server.at.rtmp, "live", ClientRole::Publish);
    publisher.ready();
    assert!(began.elapsed() > Duration::from_secs(4));
    viewer.until("an answer", |viewer| !viewer.head().is_empty());
    assert!(viewer.head().starts_with("HTTP/1.1 403"), "{}", viewer.head());
    assert!(began.elapsed() > Duration::from_secs(9));
}

/// Admits for so long; the stream `live` is published for good.
struct Grants(Duration);

impl Policy for Grants {
    fn name(&self) -> &'static str {
        "grants"
    }

    fn decide(&self, request: &Request, _context: DecisionContext<'_>) -> Step {
        let for_good = request.action == Action::Publish && request.name.as_str() == "live";
        Step::Allow(if for_good { Grant::default() } else { Grant::valid_for(self.0) })
    }
}

/// The status of a request for a file, which is no text.
fn file_status(server: &Server, path: &str) -> u16 {
    let answer = Answer::get(server.at.http, path).0;
    std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap()
}

#[test]
fn a_grant_goes_with_the_session_and_with_the_files_of_hls_and_dash() {
    const VALID: Duration = Duration::from_secs(4);
    let grants = || shared(Grants(VALID));
    let server = Server::start_with(config(IoChoice::Auto, 2), Chain::new(vec![grants()], vec![grants()]));
    let mut publisher = server.encoder("live");
    publisher.send((0..300).map(frame));
    let _on_air = publisher.go_on(300);
    let (mut flv, mut rtmp) = (server.flv("live"), server.play("live"));
    // Some are handed over to the other shard, where their grants end all the same: which ones, the kernel decides.
    let mut publishers = Vec::new();
    while publishers.len() < 6 || server.metric("millstream_handovers_total", "") == 0 {
        publishers.push(server.publish(&format!("other-{}", publishers.len())).go_on(0));
    }
    let playlist = Answer::get(server.at.http, "/live/video.m3u8").text();
    let segment = playlist.lines().find(|line| line.starts_with("s/")).expect("a segment").to_owned();
    let path = format!("/live/{segment}");
    let last = Instant::now();
    for _ in 0..8 {
        assert_eq!(file_status(&server, &path), 200);
    }
    flv.until("its end", |viewer| viewer.closed);
    rtmp.until("its end", |viewer| viewer.closed);
    eventually("publishers end", || publishers.iter().all(crate::harness::OnAir::is_over));
    eventually("all are counted", || {
        server.metric("millstream_closed_total", "expired") == 2 + publishers.len() as u64
    });
    std::thread::sleep(VALID.saturating_sub(last.elapsed()) + Duration::from_millis(100));
    // At every shard: it is that viewer's, not the connection's.
    for _ in 0..8 {
        assert_eq!(file_status(&server, &path), 403);
    }
    let mut other = connect(server.at.http);
    write!(other, "GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: other\r\nConnection: close\r\n\r\n").unwrap();
    let (answer, _) = crate::harness::read_for(&mut other, SOON);
    assert!(crate::harness::contains(&answer, "HTTP/1.1 200"), "another viewer was admitted elsewhere");
    assert_eq!(Answer::get(server.at.http, "/live/video.m3u8").status(), 200, "it is asked about anew");
    assert_eq!(file_status(&server, &path), 200);
}

/// Has who publishes publish as `live`, gives everybody labels, and remembers what it was asked again.
struct Renames(Mutex<Vec<AskedAgain>>);

/// The stream's name and the session's labels.
type AskedAgain = (String, Vec<(String, String)>);

impl Policy for Renames {
    fn name(&self) -> &'static str {
        "renames"
    }

    fn decide(&self, request: &Request, _context: DecisionContext<'_>) -> Step {
        let mut grant = Grant::default();
        grant.rename = Some(Id::new("live").unwrap());
        grant.labels = Some([("of".to_owned(), request.name.to_string())].into_iter().collect());
        grant.recheck_after = Some(Duration::from_secs(1));
        if request.recheck {
            let labels = request.labels.iter().flat_map(|labels| labels.iter().cloned()).collect();
            self.0.lock().unwrap().push((request.name.to_string(), labels));
        }
        Step::Allow(grant)
    }
}

#[test]
fn a_publisher_gets_another_stream_than_it_named_and_labels_that_are_told() {
    let renames = Arc::new(Renames(Mutex::default()));
    let step = || -> PolicyMaker {
        let renames = Arc::clone(&renames);
        Arc::new(move |_shard| Rc::new(Arc::clone(&renames)))
    };
    let server = Server::start_with(config(IoChoice::Auto, 2), Chain::new(vec![step()], vec![step()]));
    let remote = server.engine().remote();
    let mut events = remote.events().unwrap();
    // Several names: some are of the other shard than the stream. The newest one takes the place over.
    for named in ["a", "b", "c", "live"] {
        let mut publisher = server.encoder(named);
        publisher.send((0..30).map(frame));
        let event = wait(events.next()).unwrap();
        assert!(event.stream == "live" && matches!(event.what, What::Publish { .. }), "{event:?}");
        assert_eq!(event.labels.get("of").map(String::as_str), Some(named));
        let on_air = publisher.go_on(30);
        let mut viewer = server.flv("live");
        viewer.until_frame(29);
        let live = wait(remote.on_air()).unwrap();
        let streams: Vec<_> = live.iter().map(|live| live.id.as_str()).collect();
        assert_eq!(streams, ["live"]);
        let labels = live[0].publisher.as_ref().map(|publisher| publisher.labels.clone()).unwrap();
        assert_eq!(labels.get("of").map(String::as_str), Some(named));
        let viewers = wait(remote.viewers(&Id::new("live").unwrap(), 0, 10)).unwrap().viewers;
        assert_eq!(viewers[0].labels.get("of").map(String::as_str), Some("live"));
        // It is asked about by the name that it gave, with the labels that it has.
        let asked =
            || renames.0.lock().unwrap().contains(&(named.to_owned(), vec![("of".to_owned(), named.to_owned())]));
        eventually("the publisher is asked about", asked);
        drop(on_air);
        let event = wait(events.next()).unwrap();
        assert!(event.stream == "live" && matches!(event.what, What::Unpublish { .. }), "{event:?}");
        assert_eq!(event.labels.get("of").map(String::as_str), Some(named));
        drop(viewer);
        eventually("the viewer has gone", || wait(remote.on_air()).unwrap().is_empty());
    }
}

/// What the door says now, how many hold something of it, and what was decided.
#[derive(Default)]
struct Book {
    answer: Mutex<Option<Step>>,
    held: Mutex<Vec<std::sync::Weak<()>>>,
    rechecks: Mutex<u32>,
    verdicts: Mutex<Vec<bool>>,
}

struct AsksAgain(Arc<Book>);

impl Policy for AsksAgain {
    fn name(&self) -> &'static str {
        "asks-again"
    }

    fn decide(&self, request: &Request, _context: DecisionContext<'_>) -> Step {
        if request.recheck {
            *self.0.rechecks.lock().unwrap() += 1;
        }
        if let Some(answer) = &*self.0.answer.lock().unwrap() {
            return answer.clone();
        }
        let place = Arc::new(());
        self.0.held.lock().unwrap().push(Arc::downgrade(&place));
        let mut grant = Grant::default();
        (grant.recheck_after, grant.held) = (Some(Duration::from_secs(1)), Some(Held::new(place)));
        Step::Allow(grant)
    }

    fn observe(&self, _request: &Request, _context: DecisionContext<'_>, verdict: &Verdict) {
        self.0.verdicts.lock().unwrap().push(matches!(verdict, Verdict::Allow(_)));
    }
}

#[test]
fn running_sessions_are_asked_about_again_and_what_they_hold_is_given_back() {
    let book = Arc::new(Book::default());
    let asks = || shared(AsksAgain(Arc::clone(&book)));
    let server = Server::start_with(config(IoChoice::Auto, 2), Chain::new(vec![asks()], vec![asks()]));
    let mut publisher = server.encoder("live");
    publisher.send((0..30).map(frame));
    let on_air = publisher.go_on(30);
    let (mut flv, mut rtmp) = (server.flv("live"), server.play("live"));
    let held = || book.held.lock().unwrap().iter().filter(|place| place.strong_count() > 0).count();
    let rechecks = || *book.rechecks.lock().unwrap();
    assert_eq!(held(), 3);
    eventually("each is asked about, twice", || rechecks() >= 6);
    assert_eq!(held(), 3, "each holds one");
    // Nobody can decide: all go on.
    *book.answer.lock().unwrap() = Some(Denial::undecided("the oracle sleeps"));
    let before = rechecks();
    eventually("each is asked about", || rechecks() >= before + 3);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!on_air.is_over());
    assert_eq!(held(), 3);
    // Whatever the policy's reason is, it is one.
    *book.answer.lock().unwrap() = Some(Denial::step(Why::Busy, "not any more"));
    flv.until("its end", |viewer| viewer.closed);
    rtmp.until("its end", |viewer| viewer.closed);
    eventually("the publisher ends", || on_air.is_over());
    eventually("all is given back", || held() == 0);
    eventually("all are counted", || server.metric("millstream_closed_total", "revoked") == 3);
    let verdicts = book.verdicts.lock().unwrap().clone();
    assert!(verdicts.iter().filter(|allowed| !**allowed).count() >= 6, "{verdicts:?}");
    // Who is refused is told when to come again, or where to go.
    let refusal = |denial| {
        *book.answer.lock().unwrap() = Some(Step::Deny(denial));
        Answer::get(server.at.http, "/live/live.flv").text()
    };
    let mut busy = Denial::new(Why::Busy, "full");
    busy.retry_after = Some(Duration::from_secs(7));
    let answer = refusal(busy);
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("Retry-After: 7\r\n"), "{answer}");
    let mut elsewhere = Denial::new(Why::Forbidden, "not here");
    elsewhere.location = Some("https://other.example/live.flv".to_owned());
    let answer = refusal(elsewhere);
    assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
    assert!(answer.contains("Location: https://other.example/live.flv\r\n"), "{answer}");
    assert!(refusal(Denial::new(Why::Payment, "pay")).starts_with("HTTP/1.1 402 Payment"), "pay");
}

/// Asks for a grant, at whichever shard; the answer's head and body.
fn post_grant(server: &Server, query: &str) -> String {
    let mut socket = connect(server.at.http);
    write!(socket, "POST /live/grant{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    String::from_utf8(crate::harness::read_for(&mut socket, SOON).0).unwrap()
}

#[test]
fn a_session_holds_one_place_over_all_renewals_of_its_grant_and_gives_it_back_with_the_last() {
    let book = Arc::new(Book::default());
    let play = shared(AsksAgain(Arc::clone(&book)));
    let keys = Some(GrantKeys::new(&MasterKey::new([5; 32]), 1));
    let grants = GrantConfig { keys, previews: None, life: Duration::from_mins(1), edge_secrets: Vec::new() };
    let config = millstream_engine::config::Config { grants, ..config(IoChoice::Auto, 2) };
    let server = Server::start_with(config, Chain::new(vec![shared(Open)], vec![play]));
    let held = || book.held.lock().unwrap().iter().filter(|place| place.strong_count() > 0).count();
    let grant_in = |answer: &str| {
        let (_, rest) = answer.split_once("\"grant\":\"").unwrap_or_else(|| panic!("no grant in {answer}"));
        rest.split_once('"').unwrap().0.to_owned()
    };
    // The policy wants to ask again in a second; a grant lives five all the same.
    let began = Instant::now();
    let [mut first, second] = [(); 2].map(|()| grant_in(&post_grant(&server, "")));
    assert_eq!(held(), 2, "two sessions");
    // Renewals come to both shards.
    for _ in 0..12 {
        first = grant_in(&post_grant(&server, &format!("?grant={first}")));
        eventually("each session holds one", || held() == 2);
    }
    // Where nobody can decide, a session goes on with what it has.
    let mut goes_on = Grant::default();
    (goes_on.goes_on, goes_on.recheck_after) = (true, Some(Duration::from_secs(1)));
    *book.answer.lock().unwrap() = Some(Step::Allow(goes_on));
    for _ in 0..4 {
        first = grant_in(&post_grant(&server, &format!("?grant={first}")));
        assert_eq!(held(), 2);
    }
    *book.answer.lock().unwrap() = None;
    // Grants end with whole seconds.
    std::thread::sleep(Duration::from_millis(1_500));
    first = grant_in(&post_grant(&server, &format!("?grant={first}")));
    assert_eq!(*book.rechecks.lock().unwrap(), 0, "a renewal is asked about as it comes");
    let renewed = Instant::now();
    eventually("the second, which was not renewed, gives its place back", || held() == 1);
    assert!(
        began.elapsed() > Duration::from_secs(3) && renewed.elapsed() < Duration::from_secs(7),
        "{:?}",
        began.elapsed()
    );
    eventually("the first, too", || held() == 0);
    assert_ne!(first, second);
    // Refusals are those of play.
    *book.answer.lock().unwrap() = Some(Denial::step(Why::Payment, "pay"));
    assert!(post_grant(&server, &format!("?grant={first}")).starts_with("HTTP/1.1 402 "));
}

#[test]
fn a_grant_plays_over_four_connections_at_all_shards_together() {
    let keys = Some(GrantKeys::new(&MasterKey::new([5; 32]), 1));
    let grants = GrantConfig { keys, previews: None, life: Duration::from_mins(1), edge_secrets: Vec::new() };
    let config = millstream_engine::config::Config { grants, ..config(IoChoice::Auto, 2) };
    let server = Server::start(config);
    let mut publisher = server.publish("live");
    publisher.send(crate::harness::head());
    publisher.send((0..20).map(crate::harness::frame));
    let _on_air = publisher.go_on(20);
    let path_of = |answer: &str| {
        let (_, rest) = answer.split_once("\"path\":\"").unwrap_or_else(|| panic!("no grant in {answer}"));
        rest.split_once('"').unwrap().0.to_owned()
    };
    let path = path_of(&post_grant(&server, ""));
    // Where one is refused, its connection is closed; they come to either shard.
    let play = |path: &str| {
        let mut socket = connect(server.at.http);
        write!(socket, "GET {path}live.flv HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        socket
    };
    let viewers = || {
        let at = |shard| server.metric("millstream_viewers", &format!("shard=\"{shard}\",protocol=\"http-flv\""));
        at(0) + at(1)
    };
    // All at once: what two shards took at the same moment is set right.
    let mut sockets: Vec<_> = (0..24).map(|_| play(&path)).collect();
    eventually("four play", || {
        std::thread::sleep(Duration::from_millis(300));
        viewers() == 4
    });
    // Who leaves makes room, at whichever shard.
    let is_open = |socket: &mut std::net::TcpStream| {
        let (bytes, is_over) = crate::harness::read_for(socket, Duration::from_millis(200));
        !is_over && !bytes.is_empty()
    };
    sockets.retain_mut(is_open);
    assert_eq!(sockets.len(), 4);
    sockets.pop();
    eventually("one has left", || viewers() == 3);
    eventually("another one plays", || {
        let mut socket = play(&path);
        let plays = is_open(&mut socket);
        sockets.push(socket);
        plays
    });
    // Another session has its own.
    let other = path_of(&post_grant(&server, ""));
    let mut socket = play(&other);
    eventually("the other session plays", || is_open(&mut socket));
}
