//! Guests that misbehave while they run: stopped within their budget, with a message for their author, and nothing else happens.
use std::time::Duration;

use millstream_hooks::wit::auth::Step;
use millstream_hooks::{Failure, Secret, Settings, World};

use crate::fixture::{self, Guest, guest, request};

fn auth(items: &str, body: &str) -> Guest {
    let mut auth = guest(World::Auth);
    auth.items = items.into();
    auth.body = format!("{body} (i32.const 1024)");
    auth
}

/// The failure, after checking that it came in time and that the next call is as good as the first.
fn failure(guest: &Guest) -> Failure {
    let hook = guest.hook();
    let called = hook.authorize(&request("play", &[]));
    let failure = called.result.unwrap_err();
    // A tick is 1 ms, and filling all memory cannot be interrupted.
    assert!(called.cpu < Duration::from_millis(60), "{failure}: {:?}", called.cpu);
    assert_eq!(hook.authorize(&request("play", &[])).result.unwrap_err(), failure);
    let innocent = fixture::guest(World::Auth).hook().authorize(&request("play", &[]));
    assert_eq!(innocent.result.unwrap(), Step::Next);
    failure
}

#[test]
fn loops_end_at_the_budget() {
    let budget = Duration::from_millis(2);
    assert_eq!(failure(&auth("", "(loop $on (br $on))")), Failure::OutOfTime { budget });
    // Before anything is asked: the function that a module starts with.
    let mut start = auth("(func $start (loop $on (br $on))) (start $start)", "");
    assert_eq!(failure(&start), Failure::OutOfTime { budget });
    assert!(start.hook().describe().result.unwrap_err().to_string().contains("2 ms"));
    start.items = "(func $start unreachable) (start $start)".into();
    assert_eq!(failure(&start).label(), "trap");
    // A larger budget is kept to as well.
    let mut settings = Settings::new("slow", "1", World::Auth);
    settings.limits.cpu = Duration::from_millis(30);
    let called = auth("", "(loop $on (br $on))").hook_with(settings).authorize(&request("play", &[]));
    assert_eq!(called.result.unwrap_err(), Failure::OutOfTime { budget: Duration::from_millis(30) });
    assert!((30..90).contains(&called.cpu.as_millis()), "{:?}", called.cpu);
}

#[test]
fn recursion_and_growth_end_at_their_limits() {
    let deep = auth(
        "(func $deep (param i64) (result i64) (i64.add (call $deep (local.get 0)) (i64.const 1)))",
        "(drop (call $deep (i64.const 1)))",
    );
    assert_eq!(failure(&deep), Failure::StackOverflow);
    let limit_bytes = 8 << 20;
    let grow = "(if (i32.eq (i32.const -1) (memory.grow (i32.const 1000))) (then unreachable))";
    assert_eq!(failure(&auth("", grow)), Failure::Memory { limit_bytes });
    let slowly = "(loop $on (br_if $on (i32.ne (i32.const -1) (memory.grow (i32.const 1))))) (unreachable)";
    assert_eq!(failure(&auth("", slowly)), Failure::Memory { limit_bytes });
    // 12 MiB at its start: other worlds may have that.
    let mut large = auth("", "");
    large.memory = "200";
    assert_eq!(failure(&large), Failure::Memory { limit_bytes });
    let fill = "(drop (memory.grow (i32.const 126)))
        (loop $on (memory.fill (i32.const 0) (i32.const 1) (i32.const 8000000)) (br $on))";
    assert_eq!(failure(&auth("", fill)).label(), "time");
    let table = "(if (i32.eq (i32.const -1) (table.grow $t (ref.null func) (i32.const 1000000))) (then unreachable))";
    assert_eq!(failure(&auth("(table $t 1 funcref)", table)).label(), "trap");
}

#[test]
fn answers_that_are_not_valid() {
    let answer = |body: &str| {
        let failure = failure(&auth("(data (i32.const 64) \"\\ff\\fe\\80\")", body));
        assert_eq!(failure.label(), "answer", "{failure}");
        failure.to_string()
    };
    let store = |at: u32, value: u32| format!("(i32.store (i32.const {at}) (i32.const {value}))");
    // There is no fifth step.
    answer("(i32.store8 (i32.const 1024) (i32.const 9))");
    let deny =
        |ptr, len| format!("(i32.store8 (i32.const 1024) (i32.const 1)) {} {}", store(1028, ptr), store(1032, len));
    answer(&deny(64, 3));
    answer(&deny(65_530, 100));
    answer(&deny(u32::MAX, u32::MAX));
    assert!(answer(&deny(0, 0)).contains("denial.why"));
    let redirect =
        |len| format!("(i32.store8 (i32.const 1024) (i32.const 3)) {} {}", store(1028, 8192), store(1032, len));
    assert!(answer(&redirect(0)).contains("no absolute http"));
    assert!(answer(&redirect(64)).contains("control character"));
    assert!(answer(&redirect(4000)).contains("at most 2048"));
    let renamed = format!("(i32.store8 (i32.const 1052) (i32.const 1)) {} {}", store(1056, 64), store(1060, 3));
    let named = |name: &str| {
        failure(&auth(
            &format!("(data (i32.const 64) \"{name}\")"),
            &format!("(i32.store8 (i32.const 1024) (i32.const 0)) {renamed}"),
        ))
    };
    assert!(named("a b").to_string().contains("grant.rename: \"a b\" is no stream's name"));
    // The answer itself outside memory, or not aligned.
    for at in ["(return (i32.const 65535))", "(return (i32.const -4))", "(return (i32.const 1025))"] {
        answer(at);
    }
}

#[test]
fn more_than_a_guest_may_hand_over() {
    let store = |at: u32, value: u32| format!("(i32.store (i32.const {at}) (i32.const {value}))");
    let hostcall = |guest: &Guest| assert_eq!(failure(guest), Failure::HostcallFuel { limit_bytes: 64 << 10 });
    // A reason of 100,000 bytes; what fits is cut.
    let deny = |len| {
        let why = "(i32.store8 (i32.const 1024) (i32.const 1))";
        format!("{why} {} {} {} {}", store(1028, 60), store(1032, 4), store(1036, 65_536), store(1040, len))
    };
    let mut long = auth("(data (i32.const 60) \"busy\")", &deny(100_000));
    long.memory = "4";
    hostcall(&long);
    long.body = format!("{} (i32.const 1024)", deny(60_000));
    let Step::Deny(denial) = long.hook().authorize(&request("play", &[])).result.unwrap() else { panic!("a denial") };
    assert_eq!((denial.why.as_str(), denial.reason.len()), ("busy", 256));
    // 1,000 labels that all are the same 60,000 bytes: 60 MB out of one page.
    let mut overlap = auth(
        "",
        &format!(
            "(local $n i32) (local $at i32) {} {}
         (loop $on
           (local.set $at (i32.add (i32.const 8192) (i32.mul (local.get $n) (i32.const 16))))
           (i32.store offset=0 (local.get $at) (i32.const 0)) (i32.store offset=4 (local.get $at) (i32.const 60000))
           (i32.store offset=8 (local.get $at) (i32.const 0)) (i32.store offset=12 (local.get $at) (i32.const 60000))
           (br_if $on (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000))))",
            store(1044, 8192),
            store(1048, 1000)
        ),
    );
    hostcall(&overlap);
    // A list of 2^28 slots.
    overlap.body = format!("{} {} (i32.const 1024)", store(1036, 0), store(1040, 1 << 28));
    assert!(["hostcall", "answer"].contains(&failure(&overlap).label()));
    // A log line of 100,000 bytes.
    let mut chatty = auth("", "(call $log (i32.const 1) (i32.const 0) (i32.const 100000))");
    chatty.imports = "(import \"millstream:hooks/host@0.1.0\" \"log\" (func $log (param i32 i32 i32)))";
    chatty.memory = "2";
    hostcall(&chatty);
}

#[test]
fn what_a_guest_repeats_is_bounded() {
    let mut chatty = auth(
        "",
        "(local $n i32) (loop $on (call $log (i32.const 2) (i32.const 0) (i32.const 10))
            (call $count (i32.const 0) (i32.const 3) (i64.const 1))
            (br_if $on (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100))))
         (i32.store8 (i32.const 1024) (i32.const 2))",
    );
    chatty.imports = "(import \"millstream:hooks/host@0.1.0\" \"log\" (func $log (param i32 i32 i32)))
        (import \"millstream:hooks/host@0.1.0\" \"count\" (func $count (param i32 i32 i64)))";
    chatty.items = "(data (i32.const 0) \"abc\\1b[31mred\")".into();
    let hook = chatty.hook();
    assert_eq!(hook.authorize(&request("play", &[])).result.unwrap(), Step::Next);
    let lines = hook.settings().logs.since(0);
    assert_eq!((lines.len(), hook.settings().logs.dropped()), (16, 84));
    assert_eq!(lines[0].text, "abc [31mre");
    assert_eq!(hook.settings().counters.snapshot().into_iter().collect::<Vec<_>>(), [("abc".to_owned(), 100)]);
}

#[test]
fn a_configuration_that_the_hook_refuses() {
    let mut picky = guest(World::Auth);
    picky.items = "(data (i32.const 0) \"key is missing\\0aset it\")".into();
    picky.check_config = "(i32.store (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1028) (i32.const 0))
        (i32.store (i32.const 1032) (i32.const 21)) (i32.const 1024)"
        .into();
    assert_eq!(picky.hook().check_config().result.unwrap(), Err("key is missing set it".to_owned()));
}

#[test]
fn secrets_are_computed_with_and_never_seen() {
    // Answers with the digest as the label's value? It cannot: bytes of a digest are no text. So it compares, and admits.
    let mut digest = guest(World::Auth);
    digest.imports =
        "(import \"millstream:hooks/host@0.1.0\" \"hmac\" (func $hmac (param i32 i32 i32 i32 i32 i32 i32)))
        (import \"millstream:hooks/host@0.1.0\" \"config\" (func $config (param i32 i32 i32)))";
    digest.items = "(data (i32.const 0) \"sha256key\")".into();
    digest.body = "(call $config (i32.const 6) (i32.const 3) (i32.const 512))
        (if (i32.load8_u (i32.const 512)) (then unreachable))
        (call $hmac (i32.const 0) (i32.const 6) (i32.const 6) (i32.const 3) (i32.const 0) (i32.const 3) (i32.const 512))
        (if (i32.load8_u (i32.const 512)) (then (i32.store8 (i32.const 1024) (i32.const 2)) (return (i32.const 1024))))
        (if (i32.ne (i32.load (i32.const 520)) (i32.const 32)) (then unreachable))
        (i32.const 1024)"
        .into();
    assert_eq!(digest.hook().authorize(&request("play", &[])).result.unwrap(), Step::Next, "without the secret");
    let mut settings = Settings::new("digest", "1", World::Auth);
    settings.secrets.insert("key".into(), Secret::new("s3cret"));
    assert!(matches!(digest.hook_with(settings).authorize(&request("play", &[])).result.unwrap(), Step::Allow(_)));
}
