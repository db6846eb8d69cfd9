//! What bindings would say of made-up requests, and that nothing comes of asking.
use super::*;
use crate::explain::{Explanation, explain};

fn told(explanation: Explanation) -> (Step, String) {
    match explanation {
        Explanation::Step(step, why) => (step, why),
        Explanation::Asks(asking) => panic!("it asks {:?}", asking.fetch.upstream),
    }
}

#[test]
fn what_a_binding_would_say_is_told_as_it_is_now_and_takes_nothing() {
    let rig = Rig::new();
    let plays = plays(|request, _| {
        Ok(if request.viewers > 5 { deny("payment") } else { auth::Step::Allow(grant(0, &[("account", 1)])) })
    });
    let bound = rig.bound(&binding(1, Mode::Live), Fail::Closed, plays);
    let request = asks("cam", "rtmp", None);
    let ask = || told(explain(&bound, &rig.node, &request, context(&Records::default()))).0;
    for _ in 0..3 {
        assert!(matches!(ask(), Step::Allow(grant) if grant.held.is_none()));
    }
    assert_eq!(rig.node.slots.held("hook-1", "account"), 0);
    let _taken = rig.node.slots.take("hook-1", "account", 1, Holder::Session(1));
    assert!(
        matches!(ask(), Step::Deny(denial) if denial.why == Why::Busy && denial.reason.contains("places are taken"))
    );
    let of = [(Id::new("cam").unwrap(), OnAir { viewers: 6, labels: None })];
    *rig.node.on_air.write().unwrap() = of.into_iter().collect();
    assert!(matches!(ask(), Step::Deny(denial) if denial.why == Why::Payment));
    for answer in ["allow", "deny", "next", "redirect"] {
        let line = format!("millstream_hook_answers_total{{hook=\"hook-1\",version=\"1\",answer=\"{answer}\"}}");
        assert_eq!(rig.text(&line), 0, "nothing is counted");
    }
}

#[test]
fn an_upstream_is_asked_where_that_is_wanted_and_what_fails_says_why() {
    let rig = Rig::new();
    let records = Records::default();
    let request = asks("cam", "rtmp", None);
    let plays = plays(|_, said| {
        Ok(match said {
            Some("204") => allow(),
            Some(_) => deny("forbidden"),
            None => ask_upstream("/204"),
        })
    });
    let bound = rig.bound(&binding(1, Mode::Live), Fail::Closed, plays);
    let asking = || match explain(&bound, &rig.node, &request, context(&records)) {
        Explanation::Asks(asking) => asking,
        Explanation::Step(step, why) => panic!("{step:?}: {why}"),
    };
    assert_eq!(asking().fetch.path, "/204");
    let reply = |status| Ok(auth::Reply { status, headers: Vec::new(), body: Vec::new() });
    assert!(matches!(told(asking().resume(&bound, &rig.node, &request, reply(204))).0, Step::Allow(_)));
    assert!(matches!(told(asking().resume(&bound, &rig.node, &request, reply(403))).0, Step::Deny(_)));
    let fails = rig.bound(
        &binding(2, Mode::Live),
        Fail::Closed,
        super::plays(|_, _| Err(Failure::Trap { cause: "a panic".to_owned() })),
    );
    let (step, why) = told(explain(&fails, &rig.node, &request, context(&records)));
    assert!(matches!(step, Step::Deny(denial) if denial.undecided) && why.contains("a panic"), "{why}");
    // One that asks without end ends as it does for a session.
    let asks_on = rig.bound(&binding(3, Mode::Live), Fail::Open, super::plays(|_, _| Ok(ask_upstream("/200"))));
    let mut explanation = explain(&asks_on, &rig.node, &request, context(&records));
    for _ in 0..2 {
        let Explanation::Asks(asking) = explanation else { panic!("it may ask twice") };
        explanation = asking.resume(&asks_on, &rig.node, &request, reply(200));
    }
    let (step, why) = told(explanation);
    assert!(step == Step::Abstain && why.contains("more than twice"), "{why}");
}
