//! What each preset answers, and how a chain goes through its steps.

use std::time::Duration;

use millstream_proto::id::Id;
use millstream_proto::query::Params;
use millstream_proto::secret::Secret;
use millstream_proto::sign::{Claim, MasterKey, legacy, v2};

use crate::preset::{Preset, preset};
use crate::records::{Record, Records};
use crate::scope::{Pass, only_for};
use crate::signed::{Apps, Recorded};
use crate::{
    Action, Answer, Chain, Client, DecisionContext, Denial, Grant, Policy, Request, Step, Undecided, Verdict, Why,
    shared,
};

const NOW: u64 = 1_763_900_000;
const EXPIRY: u64 = NOW + 3_600;
const OLD_KEY: &str = "old-secret";

fn id(name: &str) -> Id {
    Id::new(name).unwrap()
}

fn master() -> MasterKey {
    MasterKey::new([7; 32])
}

fn request(action: Action, app: &str, name: &str, query: &str) -> Request {
    let client = Client::new(1, "192.0.2.1:5000".parse().unwrap(), "rtmp");
    Request::new(action, (id(app), id(name)), Params::parse(query).unwrap(), client)
}

/// `cam1` at generation 1, `cam2` at generation 2, and `cam3` at generation 5, with two before it in grace.
fn records() -> Records {
    let cam3 = Record { generation: 5, previous: vec![(4, NOW + 1), (3, NOW)], ..Record::default() };
    [(id("cam1"), Record::default()), (id("cam2"), Record::of(2)), (id("cam3"), cam3)].into_iter().collect()
}

fn signed() -> Chain {
    preset(Preset::Signed { master: master(), legacy: vec![Secret::new(OLD_KEY)], apps: Apps::default() })
}

fn context(records: &Records) -> DecisionContext<'_> {
    DecisionContext { ticket: 1, unix_s: NOW, records }
}

fn v2_sign(action: Action, name: &str, generation: u64, expiry: u64) -> String {
    let secret = master().stream_secret(&id(name), generation);
    let sign = v2::sign(Claim { action, app: &id("stream"), id: &id(name) }, expiry, &secret);
    format!("sign={}", sign.expose())
}

fn legacy_sign(name: &str, secret: &Secret) -> String {
    format!("sign={}", legacy::sign(&id("stream"), &id(name), EXPIRY, secret).expose())
}

/// `None` is admitted; otherwise why not, and a part of the sentence that the peer is told.
#[track_caller]
fn check(chain: &Chain, request: &Request, expected: Option<(Why, &str)>) {
    let records = records();
    let answer = chain.for_shard(0).ask(request, context(&records));
    match (&answer, expected) {
        (Answer::Verdict(Verdict::Allow(_)), None) => {}
        (Answer::Verdict(Verdict::Deny(denial)), Some((why, part))) => {
            assert_eq!(denial.why, why, "{denial:?}");
            assert!(denial.reason.contains(part), "{denial:?}");
            for sign in request.params.all("sign").filter(|sign| sign.len() > 3) {
                assert!(!denial.reason.contains(sign), "{denial:?} repeats the signature");
            }
        }
        _ => panic!("{answer:?}, not {expected:?}"),
    }
}

#[test]
fn open_admits_anyone() {
    let open = preset(Preset::Open);
    check(&open, &request(Action::Publish, "live", "whatever", ""), None);
    check(&open, &request(Action::Play, "stream", "whatever", "sign=rubbish"), None);
}

#[test]
fn signed_admits_a_signed_publisher() {
    let publish = |name, query: &str| check(&signed(), &request(Action::Publish, "stream", name, query), None);
    publish("cam1", &v2_sign(Action::Publish, "cam1", 1, EXPIRY));
    publish("cam2", &v2_sign(Action::Publish, "cam2", 2, EXPIRY));
    publish("cam1", &legacy_sign("cam1", &master().stream_secret(&id("cam1"), 1)));
    publish("cam1", &legacy_sign("cam1", &Secret::new(OLD_KEY)));
}

#[test]
fn signed_refuses_other_publishers() {
    let refused = |name: &str, query: &str, why, part| {
        check(&signed(), &request(Action::Publish, "stream", name, query), Some((why, part)));
    };
    let right = v2_sign(Action::Publish, "cam1", 1, EXPIRY);
    refused("cam1", "", Why::Unauthenticated, "append ?sign=");
    refused("cam1", &format!("{right}&{right}"), Why::Unauthenticated, "more than one sign");
    refused("cam1", "sign=rubbish", Why::Unauthenticated, "form");
    refused("cam2", &right, Why::Unauthenticated, "wrong");
    refused("cam2", &v2_sign(Action::Publish, "cam2", 1, EXPIRY), Why::Unauthenticated, "wrong");
    refused("cam1", &v2_sign(Action::Play, "cam1", 1, EXPIRY), Why::Unauthenticated, "wrong");
    refused("cam1", &v2_sign(Action::Publish, "cam1", 1, NOW - 60), Why::Expired, "expired 60 s ago");
    refused("nobody", &v2_sign(Action::Publish, "nobody", 1, EXPIRY), Why::NotFound, "no stream nobody");
    refused("nobody", &legacy_sign("nobody", &Secret::new(OLD_KEY)), Why::NotFound, "no stream nobody");
}

#[test]
fn a_rotated_key_admits_until_its_grace_is_over() {
    let with =
        |generation| request(Action::Publish, "stream", "cam3", &v2_sign(Action::Publish, "cam3", generation, EXPIRY));
    let legacy = legacy_sign("cam3", &master().stream_secret(&id("cam3"), 4));
    check(&signed(), &with(5), None);
    check(&signed(), &with(4), None);
    check(&signed(), &request(Action::Publish, "stream", "cam3", &legacy), None);
    // The grace of 3 has ended with this second, and 2 has none.
    check(&signed(), &with(3), Some((Why::Unauthenticated, "wrong")));
    check(&signed(), &with(2), Some((Why::Unauthenticated, "wrong")));
}

/// A key of the older system opens what it opened there, and no stream whose key was rotated or that was removed and made again.
#[test]
fn a_legacy_key_ends_with_the_first_generation() {
    let rotated = |generation, previous| {
        [(id("cam1"), Record { generation, previous, ..Record::default() })].into_iter().collect::<Records>()
    };
    let admits = |records: &Records, path: Option<&str>| {
        let sign = match path {
            Some(path) => format!("sign={EXPIRY}-{}", legacy_digest(path)),
            None => legacy_sign("cam1", &Secret::new(OLD_KEY)),
        };
        let request = Request { path: path.map(str::to_owned), ..request(Action::Publish, "stream", "cam1", &sign) };
        matches!(signed().for_shard(0).ask(&request, context(records)), Answer::Verdict(Verdict::Allow(_)))
    };
    for path in [None, Some("live/my cam.1")] {
        assert!(admits(&rotated(1, Vec::new()), path));
        assert!(admits(&rotated(2, vec![(1, NOW + 1)]), path), "in its grace");
        assert!(!admits(&rotated(2, vec![(1, NOW)]), path), "the grace is over");
        assert!(!admits(&rotated(2, Vec::new()), path), "rotated without a grace, or removed and made again");
        assert!(!admits(&rotated(3, vec![(2, NOW + 9)]), path));
        assert!(!admits(&Records::default(), path), "removed");
    }
}

/// MD5 over a path that was signed with [`OLD_KEY`] elsewhere until [`EXPIRY`].
fn legacy_digest(path: &str) -> &'static str {
    match path {
        // printf '/live/my cam.1-1763903600-old-secret' | md5sum
        "live/my cam.1" => "e09a550eecfb6eaf3c1e79f88a25b3ba",
        _ => panic!("no digest was made for {path}"),
    }
}

#[test]
fn the_number_of_keys_that_are_tried_is_bounded() {
    let record =
        Record { generation: 1000, previous: (0..1000).rev().map(|n| (n, u64::MAX)).collect(), ..Record::default() };
    assert_eq!(record.in_force(NOW).collect::<Vec<_>>(), [1000, 999, 998, 997]);
}

#[test]
fn a_legacy_key_admits_the_legacy_form_only() {
    let claim = Claim { action: Action::Publish, app: &id("stream"), id: &id("cam1") };
    let query = format!("sign={}", v2::sign(claim, EXPIRY, &Secret::new(OLD_KEY)).expose());
    let request = request(Action::Publish, "stream", "cam1", &query);
    check(&signed(), &request, Some((Why::Unauthenticated, "wrong")));
}

#[test]
fn signed_knows_one_application() {
    for action in [Action::Publish, Action::Play] {
        let request = request(action, "live", "cam1", &v2_sign(action, "cam1", 1, EXPIRY));
        check(&signed(), &request, Some((Why::NotFound, "rtmp://HOST/stream/cam1")));
    }
}

#[test]
fn case_41_applications_that_are_listed_are_known_and_signed() {
    let apps = Apps::new([id("live"), id("stream")]);
    let chain = preset(Preset::Signed { master: master(), legacy: vec![Secret::new(OLD_KEY)], apps });
    let secret = master().stream_secret(&id("cam1"), 1);
    for app in ["live", "stream"] {
        let v2 = v2::sign(Claim { action: Action::Publish, app: &id(app), id: &id("cam1") }, EXPIRY, &secret);
        let legacy = legacy::sign(&id(app), &id("cam1"), EXPIRY, &Secret::new(OLD_KEY));
        for sign in [v2, legacy] {
            let query = format!("sign={}", sign.expose());
            check(&chain, &request(Action::Publish, app, "cam1", &query), None);
            // It covers the application that it was made for.
            let other = if app == "live" { "stream" } else { "live" };
            let refused = request(Action::Publish, other, "cam1", &query);
            check(&chain, &refused, Some((Why::Unauthenticated, "wrong")));
        }
        check(&chain, &request(Action::Play, app, "cam1", ""), None);
    }
    let other = request(Action::Publish, "app", "cam1", "");
    check(&chain, &other, Some((Why::NotFound, "rtmp://HOST/live/cam1 or rtmp://HOST/stream/cam1")));
}

#[test]
fn case_56_signatures_of_another_server_cover_the_path_that_it_had() {
    let mapped = |query: &str| Request {
        path: Some("live/studio/my cam.1".to_owned()),
        ..request(Action::Publish, "stream", "cam1", query)
    };
    // md5("/live/studio/my cam.1-1763903600-old-secret"), made with md5sum.
    let old = "sign=1763903600-06535cbfd1eef9af0acabfe7451211b4";
    check(&signed(), &mapped(old), None);
    check(&signed(), &mapped(&v2_sign(Action::Publish, "cam1", 1, EXPIRY)), None);
    check(&signed(), &mapped(&legacy_sign("cam1", &Secret::new(OLD_KEY))), None);
    check(&signed(), &request(Action::Publish, "stream", "cam1", old), Some((Why::Unauthenticated, "wrong")));
    check(&signed(), &mapped(&old.replace('c', "d")), Some((Why::Unauthenticated, "wrong")));
    check(&signed(), &mapped(&format!("{old}&{old}")), Some((Why::Unauthenticated, "more than one")));
}

#[test]
fn play_is_open_for_streams_with_a_record() {
    check(&signed(), &request(Action::Play, "stream", "cam1", ""), None);
    check(&signed(), &request(Action::Play, "stream", "cam1", "sign=rubbish"), None);
    check(&signed(), &request(Action::Play, "stream", "nobody", ""), Some((Why::NotFound, "no stream nobody")));
}

#[test]
fn a_stream_is_protected_where_it_matters_who_asks() {
    let recorded = |pass| shared(Recorded { apps: Apps::default(), pass });
    let judges = || shared(Says(Step::Abstain));
    let play = |before: Vec<crate::PolicyMaker>| signed().after([], before).for_shard(0).is_protected(&id("cam1"));
    assert!(!preset(Preset::Open).for_shard(0).is_protected(&id("cam1")));
    assert!(!play(vec![]) && !play(vec![recorded(Pass::Next)]), "whether there is a record is the same for all");
    assert!(play(vec![judges()]) && play(vec![recorded(Pass::Next), judges()]));
    assert!(!play(vec![recorded(Pass::Allow), judges()]), "nobody comes to the second one");
    assert!(play(vec![only_for(vec![id("cam1")], judges())]) && !play(vec![only_for(vec![id("cam2")], judges())]));
    assert!(Chain::default().for_shard(0).is_protected(&id("cam1")), "nobody is admitted");
}

#[test]
fn steps_hold_no_secret_in_their_debug_output() {
    let preset = Preset::Signed { master: master(), legacy: vec![Secret::new(OLD_KEY)], apps: Apps::default() };
    let text = format!("{preset:?}");
    assert!(!text.contains(OLD_KEY) && !text.contains('7'), "{text}");
}

/// A step that answers what it is told, once asked in its turn.
struct Says(Step);

impl Policy for Says {
    fn name(&self) -> &'static str {
        "says"
    }

    fn decide(&self, _request: &Request, _context: DecisionContext<'_>) -> Step {
        self.0.clone()
    }
}

fn chain(steps: &[Step]) -> Chain {
    Chain::new(steps.iter().cloned().map(|step| shared(Says(step))).collect(), Vec::new())
}

#[test]
fn the_first_opinion_counts_and_the_end_denies() {
    let publish = request(Action::Publish, "stream", "a", "");
    let (allow, deny) = (Step::Allow(Grant::default()), Denial::step(Why::Busy, "later"));
    let end = Some((Why::Forbidden, "nothing"));
    check(&chain(&[]), &publish, end);
    check(&chain(&[Step::Abstain, Step::Abstain]), &publish, end);
    check(&chain(&[Step::Abstain, allow.clone(), deny.clone()]), &publish, None);
    check(&chain(&[deny, allow.clone()]), &publish, Some((Why::Busy, "later")));
    check(&chain(&[allow]), &request(Action::Play, "stream", "a", ""), end);
}

#[test]
fn a_pending_step_is_resumed_where_it_stood() {
    let publish = request(Action::Publish, "stream", "a", "");
    let allow = Step::Allow(Grant::default());
    let chain = chain(&[Step::Abstain, Step::Pending, allow.clone()]).for_shard(0);
    let records = Records::default();
    assert_eq!(chain.ask(&publish, context(&records)), Answer::Pending { step: 1 });
    let resume = |answer| chain.resume(1, answer, &publish, context(&records));
    let allowed = Answer::Verdict(Verdict::Allow(Grant::default()));
    assert_eq!(resume(Step::Pending), Answer::Pending { step: 1 });
    assert_eq!(resume(Step::Abstain), allowed);
    assert_eq!(resume(allow), allowed);
    assert!(matches!(resume(Denial::step(Why::Busy, "later")), Answer::Verdict(Verdict::Deny(_))));
}

/// Pending, and who it is asked about too late abstains, pends, or is refused.
struct Silent(Option<Step>);

impl Policy for Silent {
    fn name(&self) -> &'static str {
        "silent"
    }

    fn decide(&self, _request: &Request, _context: DecisionContext<'_>) -> Step {
        Step::Pending
    }

    fn undecided(&self, request: &Request, why: Undecided) -> Step {
        self.0.clone().unwrap_or_else(|| Says(Step::Pending).undecided(request, why))
    }
}

#[test]
fn a_step_that_is_late_has_a_failure_policy_of_its_own() {
    let (publish, records) = (request(Action::Publish, "stream", "a", ""), records());
    let late = |timed_out| {
        let steps =
            vec![shared(Silent(timed_out)), shared(Says(Step::Allow(Grant::valid_for(Duration::from_secs(7)))))];
        let steps = Chain::new(steps, Vec::new()).for_shard(3);
        assert_eq!(steps.ask(&publish, context(&records)), Answer::Pending { step: 0 });
        steps.undecided(0, Undecided::Late, &publish, context(&records))
    };
    let Answer::Verdict(Verdict::Allow(grant)) = late(Some(Step::Abstain)) else { panic!("the next step decides") };
    assert_eq!(grant.valid_for, Some(Duration::from_secs(7)));
    for closed in [None, Some(Step::Pending)] {
        assert!(matches!(late(closed), Answer::Verdict(Verdict::Deny(Denial { why: Why::Busy, .. }))));
    }
}

/// Steps of a configuration, before those of the preset.
mod configured {
    use super::*;
    use crate::cidr::Cidr;
    use crate::scope::{Missing, Pass, only_for};
    use crate::signed::{Recorded, Signed, SignedPublish};

    fn networks(texts: &[&str]) -> Vec<millstream_proto::network::Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn step(policy: &impl Policy, request: &Request) -> Step {
        policy.decide(request, context(&records()))
    }

    #[test]
    fn addresses_that_may_and_may_not() {
        let from = |address: &str| {
            let mut request = request(Action::Play, "stream", "cam1", "");
            request.client.address = std::net::SocketAddr::new(address.parse().unwrap(), 1);
            request
        };
        let check = |allow: &[&str], deny: &[&str], address: &str, admits: bool| {
            let cidr = |pass| Cidr { allow: networks(allow), deny: networks(deny), pass };
            let answers = [Pass::Allow, Pass::Next].map(|pass| step(&cidr(pass), &from(address)));
            match answers {
                [Step::Allow(_), Step::Abstain] => assert!(admits, "{address}"),
                [Step::Deny(denial), Step::Deny(_)] => {
                    assert!(!admits && denial.why == Why::Forbidden, "{denial:?}");
                    assert!(denial.reason.contains("may play here") || denial.reason.contains("may not play here"));
                }
                other => panic!("{other:?}"),
            }
        };
        check(&["192.0.2.0/24"], &[], "192.0.2.9", true);
        check(&["192.0.2.0/24"], &[], "192.0.3.9", false);
        check(&["192.0.2.0/24"], &["192.0.2.9"], "192.0.2.9", false);
        check(&[], &["10.0.0.0/8"], "192.0.2.9", true);
        check(&[], &["10.0.0.0/8"], "10.1.1.1", false);
        // IPv4 on an IPv6 socket is IPv4.
        check(&[], &["10.0.0.0/8"], "::ffff:10.1.1.1", false);
        check(&["2001:db8::/32"], &[], "2001:db8::1", true);
        check(&["2001:db8::/32"], &[], "10.1.1.1", false);
    }

    fn signed_step(missing: Missing, until_exp: bool) -> Signed {
        let keys = SignedPublish::new(master(), vec![Secret::new(OLD_KEY)], Apps::default());
        Signed { keys, missing, pass: Pass::Allow, until_exp }
    }

    #[test]
    fn signatures_for_play() {
        let play = |query: &str| request(Action::Play, "stream", "cam1", query);
        let good = v2_sign(Action::Play, "cam1", 1, EXPIRY);
        let ask = |query: &str| step(&signed_step(Missing::Deny, false), &play(query));
        assert_eq!(ask(&good), Step::Allow(Grant::default()));
        let until = step(&signed_step(Missing::Deny, true), &play(&good));
        assert_eq!(until, Step::Allow(Grant::valid_for(Duration::from_secs(EXPIRY - NOW))));
        for bad in [
            v2_sign(Action::Publish, "cam1", 1, EXPIRY),
            v2_sign(Action::Play, "cam2", 2, EXPIRY),
            v2_sign(Action::Play, "cam1", 2, EXPIRY),
            v2_sign(Action::Play, "cam1", 1, NOW),
            format!("{good}&{good}"),
            // The legacy form is for publishers.
            legacy_sign("cam1", &Secret::new(OLD_KEY)),
            String::new(),
        ] {
            assert!(matches!(ask(&bad), Step::Deny(_)), "{bad}");
        }
        let lenient = signed_step(Missing::Next, false);
        assert_eq!(step(&lenient, &play("")), Step::Abstain);
        assert!(matches!(step(&lenient, &play("sign=v2-1-x")), Step::Deny(_)), "a wrong one is no missing one");
        let publish = request(Action::Publish, "stream", "cam1", &v2_sign(Action::Publish, "cam1", 1, EXPIRY));
        assert_eq!(step(&signed_step(Missing::Deny, false), &publish), Step::Allow(Grant::default()));
    }

    #[test]
    fn records_as_a_condition() {
        let recorded = || Recorded { apps: Apps::default(), pass: Pass::Next };
        assert_eq!(step(&recorded(), &request(Action::Play, "stream", "cam1", "")), Step::Abstain);
        assert!(matches!(step(&recorded(), &request(Action::Play, "stream", "other", "")), Step::Deny(_)));
    }

    /// A step whose answer is drawn; it remembers that it was asked.
    struct Drawn(Step, std::rc::Rc<std::cell::RefCell<Vec<usize>>>, usize);

    impl Policy for Drawn {
        fn name(&self) -> &'static str {
            "drawn"
        }

        fn decide(&self, _request: &Request, _context: DecisionContext<'_>) -> Step {
            self.1.borrow_mut().push(self.2);
            self.0.clone()
        }
    }

    thread_local! {
        static ASKED: std::rc::Rc<std::cell::RefCell<Vec<usize>>> = std::rc::Rc::default();
    }

    /// Configured steps are asked in their order, then the preset's; the first that decides, decides; one for other streams is not asked.
    #[test]
    fn any_chain_is_asked_in_order_until_one_decides() {
        let mut seed = 88_172_645_463_325_252_u64;
        let mut draw = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        let answers = [
            Step::Abstain,
            Step::Abstain,
            Step::Abstain,
            Step::Allow(Grant::default()),
            Denial::step(Why::Forbidden, "no"),
            Step::Pending,
        ];
        for _ in 0..2_000 {
            let (configured, of_preset) = (draw(6), draw(3));
            let drawn: Vec<(Step, bool)> = (0..configured + of_preset)
                .map(|n| (answers[draw(answers.len())].clone(), n < configured && draw(3) == 0))
                .collect();
            let makers: Vec<_> = drawn
                .iter()
                .enumerate()
                .map(|(n, (answer, elsewhere))| {
                    let answer = answer.clone();
                    let maker: crate::PolicyMaker = std::sync::Arc::new(move |_| {
                        std::rc::Rc::new(Drawn(answer.clone(), ASKED.with(std::rc::Rc::clone), n))
                    });
                    if *elsewhere { only_for(vec![id("cam9")], maker) } else { maker }
                })
                .collect();
            let (before, preset) = makers.split_at(configured);
            let chain = Chain::new(Vec::new(), preset.to_vec()).after(Vec::new(), before.to_vec());
            ASKED.with(|asked| asked.borrow_mut().clear());
            let answer = chain.for_shard(0).ask(&request(Action::Play, "stream", "cam1", ""), context(&records()));
            let here: Vec<usize> = (0..drawn.len()).filter(|n| !drawn[*n].1).collect();
            let decides = here.iter().copied().find(|n| drawn[*n].0 != Step::Abstain);
            let expected: Vec<usize> = here.into_iter().take_while(|n| decides.is_none_or(|by| *n <= by)).collect();
            assert_eq!(ASKED.with(|asked| asked.borrow().clone()), expected);
            match (decides.map(|n| (n, &drawn[n].0)), answer) {
                (Some((_, Step::Allow(_))), Answer::Verdict(Verdict::Allow(_)))
                | (Some((_, Step::Deny(_))) | None, Answer::Verdict(Verdict::Deny(_))) => {}
                (Some((by, Step::Pending)), Answer::Pending { step }) => assert_eq!(step, by),
                other => panic!("{other:?}"),
            }
        }
    }
}
