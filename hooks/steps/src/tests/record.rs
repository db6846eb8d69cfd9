//! What is recorded of decisions, within which bounds, and what a replay makes of it.
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use super::*;
use crate::decision::{self, Decision, Verdict as Said};
use crate::recorder::Recorder;
use crate::redact;
use crate::replay::{Bounds, replay};

const TOKEN: &str = "hunter2-of-the-viewer";
const MUCH: usize = 64 << 20;

fn recording() -> (Rig, Recorder) {
    let (rig, recorder) = (Rig::new(), Recorder::new(MUCH));
    rig.node.record_to(recorder.clone());
    (rig, recorder)
}

fn recorded(recorder: &Recorder) -> Vec<(String, String)> {
    let shown = |decision: &Arc<Decision>| (decision.stream.to_string(), decision.verdict.to_string());
    recorder.decisions(|_| true).iter().map(shown).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(stream, verdict)| ((*stream).to_owned(), (*verdict).to_owned())).collect()
}

fn trap() -> Failure {
    Failure::Trap { cause: "unreachable".to_owned() }
}

fn ask(stream: &str) -> auth::Step {
    auth::Step::Ask(auth::Fetch {
        upstream: "accounts".to_owned(),
        method: "GET".to_owned(),
        path: format!("/{stream}"),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: 0,
        state: b"kept".to_vec(),
    })
}

/// Decides by the stream's name.
fn by_name(request: &auth::Request, said: Option<&str>) -> Result<auth::Step, Failure> {
    match (request.target.name.as_str(), said) {
        ("traps", _) => Err(trap()),
        ("denies", _) => Ok(deny("geo")),
        ("passes", _) => Ok(auth::Step::Next),
        ("200", None) => Ok(ask("200")),
        ("full", _) => Err(Failure::NoInstance),
        _ => Ok(allow()),
    }
}

#[test]
fn each_decision_of_a_hook_that_counts_is_recorded_once() {
    let (rig, recorder) = recording();
    let live = rig.bound(&binding(1, Mode::Live), Fail::Closed, plays(by_name));
    let shadow = rig.bound(&binding(2, Mode::Shadow), Fail::Closed, plays(|_, _| Ok(deny("forbidden"))));
    let chain = rig.chain(vec![live, shadow]);
    for stream in ["cam", "denies", "passes", "traps", "full"] {
        decide(&chain, &asks(stream, "rtmp", None));
    }
    assert_eq!(decide(&chain, &asks("200", "rtmp", None)), Answer::Pending { step: 0 });
    rig.answered.recv_timeout(SOON).unwrap();
    // A viewer of HLS asks often and is asked about once.
    let (steps, records) = (chain.for_shard(0), Records::default());
    for _ in 0..5 {
        steps.ask(&asks("hls", "hls", Some(7)), context(&records));
    }
    eventually(|| recorder.decisions(|_| true).len() >= 6);
    let mut found = recorded(&recorder);
    found.sort();
    let expected = [
        ("200", "allow"),
        ("cam", "allow"),
        ("denies", "deny geo"),
        ("hls", "allow"),
        ("passes", "next"),
        ("traps", "failed (trap)"),
    ];
    assert_eq!(found, pairs(&expected), "what the server had no room for is not the hook's decision");
    let all = recorder.decisions(|decision| decision.by.binding == "binding-1" && decision.by.version == 1);
    assert_eq!(all.len(), 6);
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert!(all.iter().all(|decision| now_ms.abs_diff(u128::from(decision.unix_ms)) < 60_000));
    let text = rig.numbers.text(Some(&recorder)).unwrap();
    assert!(text.contains("millstream_hook_recorded_total 6\n"), "{text}");
    assert!(text.contains("millstream_hook_record_decisions 6\n"), "{text}");
}

fn decision(n: u32, stream: &str, verdict: Said) -> Decision {
    let mut request = crate::question::ask(&asks(stream, "hls", None), context(&Records::default()), None);
    TOKEN.clone_into(&mut request.client.token);
    let by = decision::Decider { binding: "b".to_owned(), hook: "h".to_owned(), version: 3 };
    let from = IpAddr::from(Ipv4Addr::from(n));
    let what = (Action::Play, Id::new(stream).unwrap(), from);
    Decision::new(u64::from(n), what, request, verdict, Arc::new(by))
}

#[test]
fn what_finds_no_room_in_the_queue_is_counted_and_what_is_kept_is_bounded() {
    let recorder = Recorder::new(1 << 20);
    // Nobody takes them: the thread is not started.
    for n in 0..10_000 {
        recorder.record(decision(n, "cam", Said::Step(allow())));
    }
    let kept = recorder.decisions(|_| true);
    let count = |line: &str| {
        let text = Numbers::default().text(Some(&recorder)).unwrap();
        text.lines().find_map(|l| l.strip_prefix(line)?.trim().parse::<usize>().ok()).expect(line)
    };
    let (dropped, taken) =
        (count("millstream_hook_record_dropped_total{why=\"queue\"}"), count("millstream_hook_recorded_total"));
    assert!(dropped > 0 && taken + dropped == 10_000, "{taken} {dropped}");
    let pushed_out = count("millstream_hook_record_dropped_total{why=\"oldest\"}")
        + count("millstream_hook_record_dropped_total{why=\"share\"}");
    assert_eq!((kept.len() + pushed_out, count("millstream_hook_record_decisions")), (taken, kept.len()));
    assert!(recorder.bytes() <= 1 << 20 && kept.len() > 500, "{} in {}", kept.len(), recorder.bytes());
    // The newest of those that found room stay, in order.
    let times: Vec<u64> = kept.iter().map(|decision| decision.unix_ms).collect();
    assert!(times.is_sorted() && times.last() == Some(&(taken as u64 - 1)), "{times:?}");
    // There is room again.
    recorder.record(decision(20_000, "cam", Said::Step(allow())));
    assert_eq!(recorder.decisions(|_| true).last().unwrap().unix_ms, 20_000);
}

/// The estimate holds against what an allocator would give: texts, lists and the parts of an answer are in it.
#[test]
fn a_decision_is_counted_with_all_that_it_holds() {
    let small = decision(1, "cam", Said::Failed("trap"));
    let mut large = decision(1, "cam", Said::Failed("trap")).question.expose().clone();
    large.client.user_agent = "u".repeat(1_000);
    large.target.params = vec![millstream_hooks::wit::types::Pair { name: "n".repeat(500), value: "v".repeat(500) }];
    let what = (Action::Play, Id::new("cam").unwrap(), IpAddr::from(Ipv4Addr::LOCALHOST));
    let verdict = Said::Step(auth::Step::Redirect("r".repeat(1_000)));
    let large = Decision::new(1, what, large, verdict, Arc::clone(&small.by));
    assert!(large.bytes() >= small.bytes() + 2_800, "{} and {}", large.bytes(), small.bytes());
}

fn soon() -> Bounds {
    Bounds { until: Instant::now() + SOON, listed_max: 2 }
}

fn called(result: Result<auth::Step, Failure>) -> Called<auth::Step> {
    Called { result, cpu: Duration::from_micros(25) }
}

#[test]
fn a_replay_lists_what_differs_and_counts_the_rest() {
    let allowed = |n, stream: &str| decision(n, stream, Said::Step(allow()));
    let decisions = [
        allowed(1, "cam"),
        allowed(2, "denies"),
        allowed(3, "traps"),
        decision(4, "traps", Said::Failed("time")),
        allowed(5, "200"),
        decision(6, "denies", Said::Step(deny("geo"))),
        allowed(7, "passes"),
    ];
    let mut told = Vec::new();
    let done = replay(decisions.iter(), soon(), |request, unix_ms| {
        told.push(unix_ms);
        assert_eq!(request.client.token, TOKEN, "the candidate is asked with what the client sent");
        called(by_name(request, None))
    });
    assert_eq!(told, [1, 2, 3, 4, 5, 6, 7], "at the time when it was asked");
    assert_eq!((done.decisions, done.same, done.differing), (7, 3, 3));
    assert_eq!((done.failed, done.not_comparable, done.left_out, done.cpu_us), (2, 1, 0, 175));
    let listed: Vec<_> = done.differences.iter().map(|it| (it.stream.as_str(), it.candidate.as_str())).collect();
    let trapped = format!("failed (trap): {}", trap());
    assert_eq!(listed, [("denies", "deny geo"), ("traps", trapped.as_str())], "two are listed, three counted");
    assert_eq!((done.differences[0].recorded.as_str(), done.differences[0].version), ("allow", 3));
}

#[test]
fn a_replay_ends_in_time_and_says_what_it_left_out() {
    let decisions: Vec<Decision> = (0..100).map(|n| decision(n, "cam", Said::Step(allow()))).collect();
    let bounds = Bounds { until: Instant::now() + Duration::from_millis(20), listed_max: 2 };
    let done = replay(decisions.iter(), bounds, |_, _| {
        std::thread::sleep(Duration::from_millis(5));
        called(Ok(allow()))
    });
    assert!(done.decisions < 50 && done.decisions + done.left_out == 100, "{done:?}");
}

#[test]
fn conditions_of_a_grant_are_part_of_the_verdict_and_words_of_a_refusal_are_not() {
    let granted = |recheck_ms, valid_ms, slots: &[(&str, u32)]| {
        let mut grant = grant(recheck_ms, slots);
        grant.valid_ms = valid_ms;
        Said::Step(auth::Step::Allow(grant))
    };
    let refused = |why: &str, reason: &str| {
        Said::Step(auth::Step::Deny(auth::Denial { why: why.to_owned(), reason: reason.to_owned(), retry_ms: None }))
    };
    let redirect = |to: &str| Said::Step(auth::Step::Redirect(to.to_owned()));
    for (a, b, differs) in [
        (granted(0, 60_000, &[]), granted(0, 59_998, &[]), false),
        (granted(0, 60_000, &[]), granted(0, 50_000, &[]), true),
        (granted(0, 500, &[]), granted(0, 0, &[]), true),
        (granted(1_000, 0, &[]), granted(9_000, 0, &[]), true),
        (granted(0, 0, &[("a", 1)]), granted(0, 0, &[("a", 2)]), true),
        (refused("geo", "x"), refused("geo", "y"), false),
        (refused("geo", "x"), refused("busy", "x"), true),
        (redirect("https://a/"), redirect("https://b/"), true),
        (granted(0, 0, &[]), Said::Step(auth::Step::Next), true),
        (Said::Failed("trap"), Said::Failed("time"), false),
        (Said::Failed("trap"), refused("busy", ""), true),
    ] {
        assert_eq!((a.differs(&b), b.differs(&a)), (differs, differs), "{a} and {b}");
    }
}

#[test]
fn case_54_what_a_client_sent_as_its_token_is_in_no_text_of_a_record() {
    let echo = auth::Denial { why: "forbidden".to_owned(), reason: format!("no account has {TOKEN}"), retry_ms: None };
    let kept = decision(1, "cam", Said::Step(auth::Step::Deny(echo.clone())));
    let done = replay([&kept].into_iter(), soon(), |request, _| {
        called(Ok(auth::Step::Redirect(format!("https://login.example/?was={}", request.client.token))))
    });
    assert_eq!(done.differing, 1);
    let (request, hidden) = redact::request(kept.question.expose());
    let texts = format!("{done:?} {:?} {request:?} {}", kept.question, hidden.text(&kept.verdict.to_string()));
    assert!(!texts.contains(TOKEN) && texts.contains(redact::HIDDEN), "{texts}");
    assert_eq!(hidden.places, ["client.token", "target.params.token"]);
}
