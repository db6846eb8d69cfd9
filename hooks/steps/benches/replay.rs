//! Figures of the record of decisions: what it takes of memory, and how quickly a candidate is asked about it. `cargo bench -p millstream-hook-steps`.
//!
//! The record is full: of as many decisions as 64 MiB hold, of viewers with signed URLs. Criterion gets the CPU time of the calls for a replay of
//! ten thousand of them; the figure of the whole record is printed.
#![allow(missing_docs)]
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millstream_hook_steps::decision::{Decider, Decision, Verdict};
use millstream_hook_steps::replay::{Bounds, replay};
use millstream_hook_steps::ring::{Owner, Ring};
use millstream_hooks::wit::{auth, types};
use millstream_hooks::{Capacity, Hook, Runtime, Secret, Settings, World};
use millstream_policy::Action;
use millstream_proto::id::Id;

const ROOM: usize = 64 << 20;
/// Decisions that criterion replays again and again.
const SAMPLE: usize = 10_000;
/// When signatures were looked at: a minute before they end.
const NOW_MS: u64 = 1_999_999_940_000;
/// A signature that is wrong, which takes as long as one that is right.
const SIGN: &str = "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff";

fn request(n: u32) -> auth::Request {
    let pair = |name: &str, value: &str| types::Pair { name: name.to_owned(), value: value.to_owned() };
    auth::Request {
        action: "play".to_owned(),
        recheck: false,
        client: types::Client {
            session: n.to_string(),
            ip: Ipv4Addr::from(0x0a00_0000 + n).to_string(),
            port: 50_000,
            protocol: "hls".to_owned(),
            secure: false,
            user_agent:
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
                    .to_owned(),
            referer: "https://example.com/watch/cam".to_owned(),
            token: String::new(),
            extra: Vec::new(),
        },
        target: types::Target {
            app: "stream".to_owned(),
            name: "cam".to_owned(),
            params: vec![pair("expires", "2000000000"), pair("sign", SIGN)],
            settings: Vec::new(),
            labels: Vec::new(),
            extra: Vec::new(),
        },
        viewers: n,
        extra: Vec::new(),
    }
}

fn replays(criterion: &mut Criterion) {
    let runtime = Runtime::new(Capacity { calls: 4, kept: 0 }).expect("a runtime");
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/built/signed-url.wasm");
    let module = std::fs::read(built).expect("built");
    let artifact = runtime.compile(&module, World::Auth).expect("a module").artifact;
    let mut settings = Settings::new("signed-url", "1", World::Auth);
    settings.secrets.insert("key".into(), Secret::new("s3cret"));
    let hook = Hook::new(runtime.load(&artifact).expect("it loads"), settings);

    let (mut ring, by) = (Ring::new(ROOM, Duration::from_hours(24)), {
        Arc::new(Decider { binding: "b".to_owned(), hook: "signed".to_owned(), version: 1 })
    });
    let denied = Verdict::of(&hook.at(NOW_MS).authorize(&request(1))).expect("an answer");
    let began = Instant::now();
    let mut pushed = 0_u32;
    let id = Id::new("cam").expect("an id");
    loop {
        let address = IpAddr::from(Ipv4Addr::from(0x0a00_0000 + pushed));
        let what = (Action::Play, id.clone(), address);
        let decision = Decision::new(NOW_MS, what, request(pushed), denied.clone(), Arc::clone(&by));
        let bytes = decision.bytes();
        let owner = Owner { address, stream: id.clone() };
        let dropped = ring.push(Arc::new(decision), owner, bytes, Duration::from_millis(pushed.into()));
        pushed += 1;
        if dropped.oldest + dropped.over_share > 0 {
            break;
        }
    }
    println!("{} decisions in {} bytes, {:?} each to add", ring.len(), ring.bytes(), began.elapsed() / pushed);

    let decisions: Vec<Arc<Decision>> = ring.iter().cloned().collect();
    let bounds = Bounds { until: Instant::now() + Duration::from_mins(5), listed_max: 100 };
    let began = Instant::now();
    let done =
        replay(decisions.iter().map(AsRef::as_ref), bounds, |request, unix_ms| hook.at(unix_ms).authorize(request));
    let wall = began.elapsed();
    assert_eq!((done.same, done.left_out), (done.decisions, 0));
    let per_second = done.decisions as f64 * 1e6 / done.cpu_us as f64;
    println!("{} decisions replayed in {wall:?}: {per_second:.0} per second of CPU time of calls", done.decisions);

    let some = &decisions[..decisions.len().min(SAMPLE)];
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(some.len() as u64)).sample_size(10);
    group.bench_function("of a record, signed-url in Rust", |bencher| {
        bencher.iter_custom(|times| {
            let replayed = (0..times).map(|_| {
                let bounds = Bounds { until: Instant::now() + Duration::from_mins(5), listed_max: 100 };
                let asked = some.iter().map(AsRef::as_ref);
                let done = replay(asked, bounds, |request, unix_ms| hook.at(unix_ms).authorize(request));
                assert_eq!((done.same, done.left_out), (some.len() as u64, 0));
                Duration::from_micros(done.cpu_us)
            });
            replayed.sum()
        });
    });
    group.finish();
}

criterion_group!(benches, replays);
criterion_main!(benches);
