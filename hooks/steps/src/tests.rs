//! Chains of bindings whose hooks are functions: order, share, failure policy, places, threads, upstreams, comparisons.
mod beside;
mod explaining;
mod record;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millstream_control_protocol::state::{Binding, Mode};
use millstream_hooks::wit::{auth, types};
use millstream_hooks::{Called, Failure};
use millstream_policy::open::Open;
use millstream_policy::records::{Record, Records};
use millstream_policy::scope::Fail;
use millstream_policy::{
    Action, Answer, Chain, Client, DecisionContext, Denial, Grant, Request, Step, Steps, Undecided, Verdict,
    ViewerName, Why, shared,
};
use millstream_proto::id::Id;
use millstream_proto::query::Params;

use crate::bound::{Bound, Decider, share_of};
use crate::chain::chain;
use crate::kept::{self, KeptGrants};
use crate::numbers::Numbers;
use crate::question::OnAir;
use crate::slots::{Holder, Slots};
use crate::step::{Fetcher, Node, Replied};

const SOON: Duration = Duration::from_secs(10);

type Answers = Box<dyn Fn(&auth::Request, Option<&str>) -> Result<auth::Step, Failure> + Send + Sync>;

/// A hook that is a function: of the question and, once an upstream was asked, what that said.
struct Plays {
    answers: Answers,
    cost: Duration,
    calls: AtomicU32,
}

impl Decider for Plays {
    fn authorize(&self, request: &auth::Request) -> Called<auth::Step> {
        self.calls.fetch_add(1, Relaxed);
        Called { result: (self.answers)(request, None), cpu: self.cost }
    }

    fn resume(
        &self,
        request: &auth::Request,
        state: &[u8],
        outcome: Result<auth::Reply, String>,
    ) -> Called<auth::Step> {
        assert_eq!(state, b"kept", "what the hook gave comes back");
        let said = outcome.map_or_else(|error| error, |reply| reply.status.to_string());
        Called { result: (self.answers)(request, Some(&said)), cpu: self.cost }
    }
}

/// Answers with the status that the path names; `/never` not at all.
struct Fetches;

impl Fetcher for Fetches {
    fn fetch(&self, fetch: auth::Fetch, replied: Replied) {
        let reply = |status| auth::Reply { status, headers: Vec::new(), body: Vec::new() };
        match fetch.path.trim_start_matches('/').parse() {
            Ok(status) => replied(Ok(reply(status))),
            Err(_) => drop(replied),
        }
    }
}

struct Rig {
    node: Arc<Node>,
    answered: Receiver<(u64, Step)>,
    numbers: Numbers,
}

impl Rig {
    fn new() -> Self {
        let node = Node::new(1, Box::new(Fetches));
        let (sender, answered) = channel();
        let sender = Mutex::new(sender);
        node.answers_go_to(Box::new(move |ticket, step| sender.lock().unwrap().send((ticket, step)).unwrap()));
        Self { node, answered, numbers: Numbers::default() }
    }

    fn bound(&self, binding: &Binding, fail: Fail, decider: impl Into<Option<Arc<Plays>>>) -> Arc<Bound> {
        let decider = decider.into().map(|decider| decider as Arc<dyn Decider>);
        let numbers = self.numbers.of(&binding.hook, binding.version);
        Arc::new(Bound::new(binding, fail, decider, numbers).expect("an auth binding that is on"))
    }

    fn chain(&self, bounds: Vec<Arc<Bound>>) -> Chain {
        chain(&Chain::new(vec![shared(Open)], vec![shared(Open)]), bounds, &self.node)
    }

    fn text(&self, line: &str) -> u64 {
        let text = self.numbers.text(None).unwrap();
        let found = text.lines().find_map(|l| l.strip_prefix(line)).unwrap_or_else(|| panic!("{line} in {text}"));
        found.trim().parse().unwrap()
    }
}

fn plays(
    answers: impl Fn(&auth::Request, Option<&str>) -> Result<auth::Step, Failure> + Send + Sync + 'static,
) -> Arc<Plays> {
    Arc::new(Plays { answers: Box::new(answers), cost: Duration::from_micros(20), calls: AtomicU32::new(0) })
}

fn binding(number: u32, mode: Mode) -> Binding {
    Binding {
        id: format!("binding-{number}"),
        hook: format!("hook-{number}"),
        kind: "auth".to_owned(),
        version: 1,
        point: "play".to_owned(),
        order: number,
        mode,
        ..Binding::default()
    }
}

fn asks(stream: &str, protocol: &'static str, viewer: Option<u64>) -> Request {
    let client = Client {
        user_agent: "player".to_owned(),
        viewer: viewer.map(ViewerName::Claimed),
        ..Client::new(7, SocketAddr::from(([192, 0, 2, 1], 5000)), protocol)
    };
    let params = Params::parse("token=t&_HLS_msn=5").unwrap();
    Request::new(Action::Play, (Id::new("stream").unwrap(), Id::new(stream).unwrap()), params, client)
}

fn context(records: &Records) -> DecisionContext<'_> {
    DecisionContext { ticket: 9, unix_s: 0, records }
}

fn decide(chain: &Chain, request: &Request) -> Answer {
    chain.for_shard(0).ask(request, context(&Records::default()))
}

fn allow() -> auth::Step {
    auth::Step::Allow(grant(0, &[]))
}

fn grant(recheck_ms: u32, slots: &[(&str, u32)]) -> auth::Grant {
    let slots = slots.iter().map(|(key, max)| auth::Slot { key: (*key).to_owned(), max: *max }).collect();
    auth::Grant { recheck_ms, valid_ms: 0, slots, labels: Vec::new(), rename: None, recording: None, extra: Vec::new() }
}

fn ask_upstream(path: &str) -> auth::Step {
    auth::Step::Ask(auth::Fetch {
        upstream: "accounts".to_owned(),
        method: "GET".to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: 0,
        state: b"kept".to_vec(),
    })
}

fn deny(why: &str) -> auth::Step {
    auth::Step::Deny(auth::Denial { why: why.to_owned(), reason: String::new(), retry_ms: Some(2_000) })
}

fn allowed(answer: &Answer) -> bool {
    matches!(answer, Answer::Verdict(Verdict::Allow(_)))
}

fn denied(answer: Answer) -> Denial {
    match answer {
        Answer::Verdict(Verdict::Deny(denial)) => denial,
        other => panic!("{other:?} is no denial"),
    }
}

#[test]
fn bindings_are_asked_in_their_order_and_the_first_opinion_counts() {
    let rig = Rig::new();
    let (first, second) = (plays(|_, _| Ok(auth::Step::Next)), plays(|_, _| Ok(deny("geo"))));
    let (third, other) = (plays(|_, _| Ok(allow())), plays(|_, _| Ok(deny("forbidden"))));
    let own = Binding { stream: Some("cam".to_owned()), ..binding(2, Mode::Live) };
    let elsewhere = Binding { stream: Some("other".to_owned()), ..binding(0, Mode::Live) };
    let publish = Binding { point: "publish".to_owned(), ..binding(0, Mode::Live) };
    let bounds = vec![
        rig.bound(&binding(3, Mode::Live), Fail::Closed, third.clone()),
        rig.bound(&own, Fail::Closed, second.clone()),
        rig.bound(&elsewhere, Fail::Closed, other.clone()),
        rig.bound(&publish, Fail::Closed, other.clone()),
        rig.bound(&binding(1, Mode::Live), Fail::Closed, first.clone()),
    ];
    let denial = denied(decide(&rig.chain(bounds.clone()), &asks("cam", "rtmp", None)));
    assert_eq!((denial.why, denial.retry_after), (Why::Region, Some(Duration::from_secs(2))));
    assert!(allowed(&decide(&rig.chain(bounds), &asks("another", "rtmp", None))), "the second is for cam only");
    let calls = [first, second, third, other].map(|plays| plays.calls.load(Relaxed));
    assert_eq!(calls, [2, 1, 1, 0]);
    // Bindings of other kinds are none of ours.
    let events = Binding { kind: "events".to_owned(), point: "events".to_owned(), ..binding(1, Mode::Live) };
    assert!(Bound::new(&events, Fail::Closed, None, rig.numbers.of("h", 1)).is_none());
}

#[test]
fn a_hook_that_fails_decides_nothing_and_its_policy_does() {
    let rig = Rig::new();
    let trap = || plays(|_, _| Err(Failure::Trap { cause: "unreachable".to_owned() }));
    let of = |fail, decider: Option<Arc<Plays>>| rig.chain(vec![rig.bound(&binding(1, Mode::Live), fail, decider)]);
    let denial = denied(decide(&of(Fail::Closed, Some(trap())), &asks("cam", "rtmp", None)));
    assert!(denial.why == Why::Busy && denial.reason.contains("hook-1"), "{denial:?}");
    assert!(allowed(&decide(&of(Fail::Open, Some(trap())), &asks("cam", "rtmp", None))), "as if it were not bound");
    // Its module is not here yet.
    assert_eq!(denied(decide(&of(Fail::Closed, None), &asks("cam", "rtmp", None))).why, Why::Busy);
    assert_eq!(rig.text("millstream_hook_failures_total{hook=\"hook-1\",version=\"1\",cause=\"trap\"}"), 2);
    assert_eq!(rig.text("millstream_hook_failures_total{hook=\"hook-1\",version=\"1\",cause=\"not_ready\"}"), 1);
    // What it answers is no answer.
    let wrong = plays(|_, _| Ok(auth::Step::Redirect("https://x/\r\nSet-Cookie: a".to_owned())));
    assert_eq!(denied(decide(&of(Fail::Closed, Some(wrong)), &asks("cam", "rtmp", None))).why, Why::Busy);
    let elsewhere = plays(|_, _| Ok(auth::Step::Redirect("https://x.example/cam".to_owned())));
    let denial = denied(decide(&of(Fail::Closed, Some(elsewhere)), &asks("cam", "http-flv", None)));
    assert_eq!(denial.location.as_deref(), Some("https://x.example/cam"));
    let steps = of(Fail::Open, Some(trap())).for_shard(0);
    let late = steps.undecided(0, Undecided::Late, &asks("cam", "rtmp", None), context(&Records::default()));
    assert!(allowed(&late));
    // Who is in stays as it is: what the rest of the chain grants is not for it.
    let again = Request { recheck: true, ..asks("cam", "rtmp", None) };
    assert_eq!(denied(decide(&of(Fail::Open, Some(trap())), &again)).why, Why::Busy);
}

#[test]
fn a_publisher_is_renamed_and_labels_go_with_a_session() {
    let rig = Rig::new();
    let asked = Arc::new(Mutex::new(None));
    let heard = Arc::clone(&asked);
    let renames = plays(move |request, _| {
        *heard.lock().unwrap() = Some(request.clone());
        let rename = request.target.params.iter().find(|pair| pair.name == "token").map(|pair| pair.value.clone());
        let labels = vec![types::Pair { name: "tenant".to_owned(), value: "a\r\nb".to_owned() }];
        Ok(auth::Step::Allow(auth::Grant { rename, labels, ..grant(0, &[]) }))
    });
    let publish = Binding { point: "publish".to_owned(), ..binding(1, Mode::Live) };
    let chain = rig.chain(vec![
        rig.bound(&publish, Fail::Closed, renames.clone()),
        rig.bound(&binding(1, Mode::Live), Fail::Closed, renames),
    ]);
    let publishes = |token: &str| {
        let params = Params::parse(&format!("token={token}")).unwrap();
        Request { action: Action::Publish, params, ..asks("cam", "rtmp", None) }
    };
    let granted = |request: &Request| match decide(&chain, request) {
        Answer::Verdict(Verdict::Allow(grant)) => grant,
        other => panic!("{other:?}"),
    };
    assert_eq!(granted(&publishes("studio-1")).rename, Some(Id::new("studio-1").unwrap()));
    assert_eq!(granted(&publishes("cam")).rename, None, "its own name is none");
    assert_eq!(denied(decide(&chain, &publishes("no%20name"))).why, Why::Busy, "a failure: that can be no name");
    let played = granted(&asks("cam", "rtmp", None));
    assert_eq!(played.rename, None, "who plays is not renamed");
    assert_eq!(played.labels.as_deref(), Some(&[("tenant".to_owned(), "a  b".to_owned())][..]));
    // A hook is told of the labels of the record, of who publishes, and of the session; and of the record's settings.
    let pairs = |name: &str| Some([(name.to_owned(), "1".to_owned())].into_iter().collect());
    let record = Record { labels: pairs("of-record"), settings: pairs("hls_time"), ..Record::default() };
    let records: Records = [(Id::new("cam").unwrap(), record)].into_iter().collect();
    let on_air = OnAir { viewers: 3, labels: pairs("of-publisher") };
    *rig.node.on_air.write().unwrap() = [(Id::new("cam").unwrap(), on_air)].into_iter().collect();
    let again = Request { recheck: true, labels: pairs("of-session"), ..asks("cam", "rtmp", None) };
    chain.for_shard(0).ask(&again, context(&records));
    let asked = asked.lock().unwrap().take().unwrap();
    let names = |pairs: &[types::Pair]| pairs.iter().map(|pair| pair.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&asked.target.labels), ["of-record", "of-publisher", "of-session"]);
    assert_eq!((names(&asked.target.settings), asked.viewers), (vec!["hls_time".to_owned()], 3));
}

#[test]
fn a_canary_decides_for_its_share_of_streams_and_the_same_ones_each_time() {
    let rig = Rig::new();
    let canary = Binding { canary_percent: 20, ..binding(1, Mode::Canary) };
    let chain = rig.chain(vec![rig.bound(&canary, Fail::Closed, plays(|_, _| Ok(deny("forbidden"))))]);
    let mut hit = 0;
    for number in 0..1_000 {
        let request = asks(&format!("stream-{number}"), "rtmp", None);
        let is_denied = !allowed(&decide(&chain, &request));
        assert_eq!(is_denied, share_of(&request.name) < 20, "{}", request.name);
        hit += u32::from(is_denied);
    }
    assert!((150..250).contains(&hit), "{hit} of 1,000");
}

#[test]
fn shadows_are_compared_and_never_followed() {
    let rig = Rig::new();
    let shadow = rig.bound(&binding(1, Mode::Shadow), Fail::Closed, plays(|_, _| Ok(deny("forbidden"))));
    let agrees = rig.bound(&binding(2, Mode::Shadow), Fail::Closed, plays(|_, _| Ok(auth::Step::Next)));
    let chain = rig.chain(vec![shadow, agrees]);
    let (steps, records) = (chain.for_shard(0), Records::default());
    let request = asks("cam", "rtmp", None);
    let answer = steps.ask(&request, context(&records));
    assert!(allowed(&answer));
    let Answer::Verdict(verdict) = answer else { panic!("pending") };
    steps.observe(&request, context(&records), &verdict);
    let count = |name: &str, hook| rig.text(&format!("{name}_total{{hook=\"{hook}\",version=\"1\"}}"));
    eventually(|| count("millstream_hook_disagreements", "hook-1") == 1);
    eventually(|| count("millstream_hook_agreements", "hook-2") == 1);
}

fn eventually(is_so: impl Fn() -> bool) {
    let until = std::time::Instant::now() + SOON;
    while !is_so() {
        assert!(std::time::Instant::now() < until, "it does not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_upstream_is_asked_and_the_hook_goes_on_with_its_answer() {
    let rig = Rig::new();
    let answers = move |request: &auth::Request, said: Option<&str>| {
        Ok(match said {
            None => ask_upstream(&format!("/{}", request.target.name)),
            Some("200") => allow(),
            Some("100") => ask_upstream("/100"),
            Some(_) => deny("forbidden"),
        })
    };
    let chain = rig.chain(vec![rig.bound(&binding(1, Mode::Live), Fail::Closed, plays(answers))]);
    let told = |stream| {
        assert_eq!(decide(&chain, &asks(stream, "rtmp", None)), Answer::Pending { step: 0 });
        rig.answered.recv_timeout(SOON)
    };
    assert_eq!(told("200"), Ok((9, Step::Allow(Grant::default()))));
    assert!(matches!(told("403"), Ok((9, Step::Deny(denial))) if denial.why == Why::Forbidden));
    // It asks once more, and once too often.
    assert!(matches!(told("100"), Ok((9, Step::Deny(denial))) if denial.why == Why::Busy));
    assert_eq!(rig.text("millstream_hook_failures_total{hook=\"hook-1\",version=\"1\",cause=\"asks\"}"), 1);
}

#[test]
fn slow_hooks_decide_on_a_thread_and_quick_ones_on_the_shard() {
    let rig = Rig::new();
    let slow =
        Plays { answers: Box::new(|_, _| Ok(allow())), cost: Duration::from_millis(1), calls: AtomicU32::new(0) };
    let chain = rig.chain(vec![rig.bound(&binding(1, Mode::Live), Fail::Closed, Arc::new(slow))]);
    let (mut on_shard, mut moved) = (0, 0);
    for _ in 0..100 {
        match decide(&chain, &asks("cam", "rtmp", None)) {
            Answer::Pending { .. } => {
                moved += 1;
                assert_eq!(rig.answered.recv_timeout(SOON), Ok((9, Step::Allow(Grant::default()))));
            }
            answer @ Answer::Verdict(_) => {
                assert!(allowed(&answer));
                on_shard += 1;
            }
        }
    }
    assert!(on_shard <= 5, "5 ms of 100 ms: {on_shard} ran on the shard");
    assert_eq!(rig.text("millstream_hook_moved_total{hook=\"hook-1\",version=\"1\"}"), moved);
}

#[test]
fn viewers_of_hls_are_asked_about_once_and_hold_one_place() {
    let rig = Rig::new();
    let plays = plays(|request, _| {
        assert!(request.target.params.iter().all(|pair| pair.name != "_HLS_msn"), "that is the player's own");
        Ok(auth::Step::Allow(grant(60_000, &[("account", 1)])))
    });
    let bound = rig.bound(&binding(1, Mode::Live), Fail::Closed, plays.clone());
    let chain = rig.chain(vec![Arc::clone(&bound)]);
    let (steps, records) = (chain.for_shard(0), Records::default());
    let ask = |viewer| steps.ask(&asks("cam", "hls", Some(viewer)), context(&records));
    for _ in 0..10 {
        assert!(allowed(&ask(1)));
    }
    assert_eq!((plays.calls.load(Relaxed), rig.node.slots.held("hook-1", "account")), (1, 1));
    // A second viewer finds none, at another shard neither; the first has its own there, too.
    assert_eq!(denied(ask(2)).why, Why::Busy);
    let elsewhere = chain.for_shard(1);
    let other = |viewer| elsewhere.ask(&asks("cam", "hls", Some(viewer)), context(&records));
    assert!(allowed(&other(1)));
    assert_eq!(denied(other(2)).why, Why::Busy);
    // Somebody elsewhere who says the same name is somebody else.
    let mut elsewhere_asks = asks("cam", "hls", Some(1));
    elsewhere_asks.client.address = SocketAddr::from(([198, 51, 100, 7], 5000));
    assert_eq!(denied(steps.ask(&elsewhere_asks, context(&records))).why, Why::Busy);
    assert!(steps.reads_params(&asks("cam", "hls", Some(1))), "playlists go on with the token");
    // Another chain with the same binding goes on with them.
    let (calls, another) = (plays.calls.load(Relaxed), rig.chain(vec![Arc::clone(&bound)]));
    assert!(allowed(&another.for_shard(0).ask(&asks("cam", "hls", Some(1)), context(&records))));
    assert_eq!(plays.calls.load(Relaxed), calls);
    // With the binding its viewers' grants go, and what they held.
    drop((steps, elsewhere, chain, another, bound));
    rig.node.sweep(Instant::now());
    assert_eq!(rig.node.slots.held("hook-1", "account"), 0);
}

/// A grant of a place, with a label, for a minute.
fn labelled() -> auth::Step {
    let labels = vec![types::Pair { name: "tier".to_owned(), value: "gold".to_owned() }];
    auth::Step::Allow(auth::Grant { labels, ..grant(60_000, &[("account", 1)]) })
}

#[test]
fn viewers_keep_their_places_when_their_binding_changes_and_are_asked_about_anew() {
    let rig = Rig::new();
    let records = Records::default();
    let first = rig.chain(vec![rig.bound(&binding(1, Mode::Live), Fail::Closed, plays(|_, _| Ok(labelled())))]);
    let before = first.for_shard(0);
    let ask = |steps: &Steps, viewer| steps.ask(&asks("cam", "hls", Some(viewer)), context(&records));
    assert!(allowed(&ask(&before, 1)));
    // The next version sees that it is asked again, and about whom.
    let next = plays(|request, _| {
        let labels: Vec<_> = request.target.labels.iter().map(|pair| pair.value.as_str()).collect();
        assert_eq!(
            (request.recheck, &labels[..]),
            if request.recheck { (true, &["gold"][..]) } else { (false, &[][..]) }
        );
        Ok(labelled())
    });
    let second =
        rig.chain(vec![rig.bound(&Binding { version: 2, ..binding(1, Mode::Live) }, Fail::Closed, next.clone())]);
    let now = second.for_shard(0);
    drop((before, first));
    rig.node.sweep(Instant::now());
    // Somebody else, who comes first, finds the place taken.
    assert_eq!(denied(ask(&now, 2)).why, Why::Busy);
    assert!(allowed(&ask(&now, 1)) && allowed(&ask(&now, 1)));
    assert_eq!((next.calls.load(Relaxed), rig.node.slots.held("hook-1", "account")), (2, 1));
    // Who is not admitted any more holds nothing any more.
    let third = plays(|request, _| Ok(if request.recheck { deny("busy") } else { labelled() }));
    let third = rig.chain(vec![rig.bound(&Binding { version: 3, ..binding(1, Mode::Live) }, Fail::Closed, third)]);
    let now = third.for_shard(0);
    let denial = denied(ask(&now, 1));
    assert_eq!((denial.why, denial.undecided, rig.node.slots.held("hook-1", "account")), (Why::Busy, false, 0));
    assert!(allowed(&ask(&now, 2)));
}

#[test]
fn who_asks_on_is_not_gone_though_nobody_decides() {
    let (mut kept, began) = (KeptGrants::default(), Instant::now());
    let request = asks("cam", "hls", Some(1));
    let (key, at) = (kept::key(&request).unwrap(), |seconds| began + Duration::from_secs(seconds));
    assert!(kept.keep(key, 1, &request, &Grant::default(), began));
    for seconds in [15, 30, 45] {
        assert!(kept.stays(key, 2, at(seconds)).is_some());
        assert!(kept.sweep(at(seconds + 1)).is_empty());
    }
    assert_eq!(kept.sweep(at(65)).len(), 1);
    // What was granted for a time is over with it, whoever asks on.
    assert!(kept.keep(key, 1, &request, &Grant::valid_for(Duration::from_secs(10)), at(100)));
    for seconds in [101, 110, 119] {
        assert_eq!(kept.get(key, 1, at(seconds)).is_some(), seconds < 110);
    }
    assert_eq!(kept.sweep(at(121)).len(), 1);
}

#[test]
fn what_was_granted_does_not_count_once_the_hook_has_no_opinion() {
    let rig = Rig::new();
    let records = Records::default();
    let answers = Arc::new(AtomicU32::new(0));
    let say = Arc::clone(&answers);
    let plays = plays(move |_, _| match say.load(Relaxed) {
        0 => Ok(auth::Step::Allow(grant(1, &[("account", 1)]))),
        1 => Ok(auth::Step::Next),
        _ => Err(Failure::Trap { cause: "a panic".to_owned() }),
    });
    let bound = rig.bound(&binding(1, Mode::Live), Fail::Closed, plays);
    let chain = chain(&Chain::new(Vec::new(), Vec::new()), vec![bound], &rig.node);
    let steps = chain.for_shard(0);
    let ask = || steps.ask(&asks("cam", "hls", Some(1)), context(&records));
    assert!(allowed(&ask()));
    std::thread::sleep(Duration::from_millis(5));
    answers.store(1, Relaxed);
    assert_eq!((denied(ask()).undecided, rig.node.slots.held("hook-1", "account")), (false, 0), "the end of the chain");
    answers.store(2, Relaxed);
    assert!(denied(ask()).undecided, "nobody is in");
}

#[test]
fn who_is_in_stays_while_the_hook_fails() {
    let rig = Rig::new();
    let records = Records::default();
    let of_grants = |viewer| {
        let mut asked = asks("cam", "grant", None);
        asked.client.viewer = Some(viewer);
        asked
    };
    let granted = |session| of_grants(ViewerName::Granted(session));
    let works = rig.chain(vec![rig.bound(
        &binding(1, Mode::Live),
        Fail::Closed,
        plays(|_, _| {
            let slots = vec![auth::Slot { key: "account".to_owned(), max: 2 }];
            Ok(auth::Step::Allow(auth::Grant { valid_ms: 60_000, slots, ..grant(1_000, &[]) }))
        }),
    )]);
    let before = works.for_shard(0);
    for asked in [asks("cam", "hls", Some(1)), granted(1)] {
        assert!(allowed(&before.ask(&asked, context(&records))));
    }
    let traps = || Failure::Trap { cause: "a panic".to_owned() };
    for decider in [Some(plays(move |_, _| Err(traps()))), None] {
        let fails = rig.chain(vec![rig.bound(&binding(1, Mode::Live), Fail::Closed, decider)]);
        // Renewals come to any shard.
        let steps = [0, 1].map(|shard| fails.for_shard(shard));
        let held = |answer: Answer| match answer {
            Answer::Verdict(Verdict::Allow(grant)) => {
                assert!(
                    grant.valid_for.is_some_and(|left| left < Duration::from_mins(1)),
                    "no longer than it was granted"
                );
                (grant.held.is_some(), grant.goes_on)
            }
            other => panic!("{other:?}"),
        };
        let viewer = asks("cam", "hls", Some(1));
        assert_eq!(held(steps[0].ask(&viewer, context(&records))), (true, false));
        let renewing = |token: &str| {
            let mut asked = of_grants(ViewerName::Renewing(1));
            asked.params = Params::parse(&format!("token={token}")).unwrap();
            asked
        };
        assert_eq!(held(steps[1].ask(&renewing("t"), context(&records))), (false, true));
        assert_eq!(held(steps[1].ask(&renewing("another"), context(&records))), (false, true));
        // Also where the decision does not come.
        assert_eq!(held(steps[0].undecided(0, Undecided::Late, &viewer, context(&records))), (true, false));
        // Whose play grant is over is not in.
        for newcomer in [asks("cam", "hls", Some(2)), granted(1), granted(2)] {
            let denial = denied(steps[0].ask(&newcomer, context(&records)));
            assert!(denial.undecided && denial.why == Why::Busy);
        }
    }
}

#[test]
fn a_session_of_grants_keeps_its_place_wherever_it_goes() {
    let rig = Rig::new();
    let plays = plays(|_, _| Ok(auth::Step::Allow(grant(60_000, &[("account", 1)]))));
    let chain = rig.chain(vec![rig.bound(&binding(1, Mode::Live), Fail::Closed, plays)]);
    let (steps, records) = (chain.for_shard(0), Records::default());
    let ask = |session, address: [u8; 4]| {
        let mut asked = asks("cam", "grant", None);
        asked.client.viewer = Some(ViewerName::Granted(session));
        asked.client.address = SocketAddr::from((address, 5000));
        steps.ask(&asked, context(&records))
    };
    // The engine keeps what was granted with the session.
    let first = ask(1, [192, 0, 2, 1]);
    assert!(allowed(&first));
    let second = ask(1, [198, 51, 100, 7]);
    assert!(allowed(&second), "its phone has left the house");
    drop(first);
    assert_eq!(rig.node.slots.held("hook-1", "account"), 1);
    assert_eq!(denied(ask(2, [192, 0, 2, 1])).why, Why::Busy);
}

#[test]
fn a_place_that_cannot_be_kept_is_not_given() {
    let rig = Rig::new();
    let answers: Answers = Box::new(|_, _| Ok(auth::Step::Allow(grant(60_000, &[("account", 10_000)]))));
    // It costs nothing, so all of them are decided at once.
    let grants = Arc::new(Plays { answers, cost: Duration::ZERO, calls: AtomicU32::new(0) });
    let chain = rig.chain(vec![rig.bound(&binding(1, Mode::Live), Fail::Closed, grants)]);
    let (steps, records) = (chain.for_shard(0), Records::default());
    let let_in = (0..4_200).filter(|viewer| allowed(&steps.ask(&asks("cam", "hls", Some(*viewer)), context(&records))));
    assert_eq!((let_in.count(), rig.node.slots.held("hook-1", "account")), (4_096, 4_096), "those of one address");
}

#[test]
fn places_are_given_back_however_often_a_holder_has_them() {
    let slots = Slots::default();
    let take = |key: &str, max, session| slots.take("hook", key, max, Holder::Session(session));
    let (a, b) = (take("k", 2, 1).unwrap(), take("k", 2, 2).unwrap());
    assert!(take("k", 2, 3).is_none());
    let again = take("k", 2, 1).expect("it has one already");
    drop(a);
    assert!(take("k", 2, 3).is_none(), "the first still holds it");
    drop(again);
    let c = take("k", 2, 3).expect("a place is free");
    assert!(take("other", 0, 1).is_none());
    assert_eq!(slots.held("hook", "k"), 2);
    drop((b, c));
    assert_eq!(slots.held("hook", "k"), 0);
    assert!(slots.take("another hook", "k", 1, Holder::Session(1)).is_some());
}
