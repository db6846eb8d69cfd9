//! Figures of hooks: `cargo bench -p millstream-hooks`.
//!
//! Criterion gets the CPU time that each call reports, and not the wall-clock time of a machine that does other things too. The percentiles of the
//! single calls are printed beside its estimates.
#![allow(missing_docs)]
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use millstream_hooks::wit::{events, motion, policy};
use millstream_hooks::{Capacity, Hook, Module, Runtime, Secret, Settings, World};

#[path = "../tests/hooks/fixture/mod.rs"]
mod fixture;
use fixture::{guest, request, source, target};

fn calls(criterion: &mut Criterion) {
    let runtime = Runtime::new(Capacity { calls: 16, kept: 16 }).expect("a runtime");
    let module =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/built/signed-url.wasm")).expect("built");
    let compiled = runtime.compile(&module, World::Auth).expect("a module");
    println!("compile signed-url ({} bytes): {:?}", module.len(), compiled.report.compile_time);

    figure(criterion, "load of one artifact (wall time)", || {
        let began = std::time::Instant::now();
        black_box(runtime.load(&compiled.artifact).expect("it loads"));
        began.elapsed()
    });

    let load = |module: &[u8], world| -> Module {
        runtime.load(&runtime.compile(module, world).expect("a module").artifact).expect("it loads")
    };
    let mut settings = Settings::new("signed-url", "1", World::Auth);
    settings.secrets.insert("key".into(), Secret::new("s3cret"));
    let signed = Hook::new(load(&module, World::Auth), settings).at(1_999_999_940_000);
    let asked = request("play", &[("expires", "2000000000"), ("sign", "00ff00ff00ff00ff00ff00ff00ff00ff")]);
    let empty = Hook::new(load(&guest(World::Auth).core(), World::Auth), Settings::new("empty", "1", World::Auth));
    for (what, hook) in
        [("auth, signed-url in Rust, fresh instance", &signed), ("auth, empty WAT guest, fresh instance", &empty)]
    {
        figure(criterion, what, || {
            let called = hook.authorize(&asked);
            called.result.expect("an answer");
            called.cpu
        });
    }

    guests(criterion, &runtime);

    let mut frames = guest(World::Motion);
    // Differences to the frame before, byte by byte: the work of a motion hook without its cleverness.
    frames.items = "(global $sum (mut i32) (i32.const 0))".into();
    frames.memory = "4";
    frames.body = "
        (loop $on
          (global.set $sum (i32.add (global.get $sum) (i32.sub
            (i32.load8_u (i32.add (local.get 0) (local.get $n)))
            (i32.load8_u (i32.add (i32.const 131072) (local.get $n))))))
          (i32.store8 (i32.add (i32.const 131072) (local.get $n)) (i32.load8_u (i32.add (local.get 0) (local.get $n))))
          (br_if $on (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (local.get 1))))
        (i32.store8 (i32.const 1024) (i32.const 0)) (i32.const 1024)"
        .into();
    let hook = Hook::new(load(&frames.core(), World::Motion), Settings::new("frames", "1", World::Motion));
    let mut instance = hook.motion().result.expect("an instance");
    let source =
        motion::Source { target: target(&[]), width: 1280, height: 720, fps_num: 25, fps_den: 1, extra: vec![] };
    instance.start(&source).result.expect("an answer").expect("it wants frames");
    let luma = vec![100; 160 * 90];
    let mut n = 0;
    figure(criterion, "motion, 160x90, byte by byte in WAT", || {
        n += 1;
        let called = instance.on_frame(&luma, 160, 90, n * 40);
        called.result.expect("an answer");
        called.cpu
    });
}

/// Every guest of `hooks/guests` that answers in an instance of its own, and motion, which keeps one.
fn guests(criterion: &mut Criterion, runtime: &Runtime) {
    let bound = |name: &str, world: World, config: &[(&str, &str)]| -> Hook {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../guests/built/{name}.wasm"));
        let compiled = runtime.compile(&std::fs::read(file).expect("built"), world).expect("a module");
        let mut settings = Settings::new(name, "1", world);
        settings.config = config.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        settings.secrets.insert("key".into(), Secret::new("s3cret"));
        Hook::new(runtime.load(&compiled.artifact).expect("it loads"), settings)
    };
    let mut asked = request("play", &[("user", "anna")]);
    // {"exp":2000000000} under "s3cret".
    asked.client.token =
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIwMDAwMDAwMDB9.BxODtHS5-P8TpaQs93Kje7EYCJ-M5-bbvZ9u0GzqVXk"
            .into();
    for (name, config) in [
        ("allow-list", &[("allow", "10.0.0.0/8, 192.0.2.0/24"), ("hours", "mon-sun 00:00-24:00")][..]),
        ("jwt", &[]),
        ("viewer-cap", &[("per-stream", "500"), ("per-viewer", "2")]),
    ] {
        let hook = bound(name, World::Auth, config).at(1_900_000_000_000);
        let call = || {
            let called = hook.authorize(&asked);
            assert!(matches!(called.result.expect("an answer"), millstream_hooks::wit::auth::Step::Allow(_)), "{name}");
            called.cpu
        };
        figure(criterion, &format!("auth, {name}, fresh instance"), call);
    }
    let source = policy::Source { kbps: 6000, ..source() };
    let ladder = bound("ladder", World::Policy, &[]);
    let call = || {
        let called = ladder.select_renditions(&source);
        assert_eq!(called.result.expect("an answer").len(), 3);
        called.cpu
    };
    figure(criterion, "policy, ladder, fresh instance", call);
    for batch in [1, 256] {
        let forwarder = bound("event-forwarder", World::Events, &[("markers", "publish-start")]);
        let mut id = 0;
        let call = || {
            let notice = |_| {
                id += 1;
                let (kind, target, client) = ("play-start".into(), target(&[]), Some(request("play", &[]).client));
                events::Notice { kind, id, unix_ms: id, target, client, detail: vec![] }
            };
            let notices: Vec<_> = (0..batch).map(notice).collect();
            let called = forwarder.on_notices(&notices);
            called.result.expect("an answer");
            called.cpu
        };
        figure(criterion, &format!("events, event-forwarder, {batch} at once"), call);
    }
    let mut watching = bound("motion", World::Motion, &[]).motion().result.expect("an instance");
    let source =
        motion::Source { target: target(&[]), width: 1280, height: 720, fps_num: 25, fps_den: 1, extra: vec![] };
    watching.start(&source).result.expect("an answer").expect("it wants frames");
    let mut n = 0_u64;
    let call = || {
        // A square that goes from the left to the right, and begins anew.
        let (mut luma, left) = (vec![100; 160 * 90], (n % 100) as usize);
        for row in luma.chunks_exact_mut(160).skip(30).take(20) {
            row[left..left + 20].fill(200);
        }
        n += 1;
        let called = watching.on_frame(&luma, 160, 90, n * 200);
        called.result.expect("an answer");
        called.cpu
    };
    figure(criterion, "motion, frame difference in Rust, 160x90", call);
}

/// Measures a call that says how long it took, and prints how the single calls are spread.
fn figure(criterion: &mut Criterion, what: &str, mut call: impl FnMut() -> Duration) {
    let mut times = Vec::new();
    criterion.bench_function(what, |bencher| {
        bencher.iter_custom(|calls| {
            let first = times.len();
            times.extend(std::iter::repeat_with(&mut call).take(calls as usize));
            times[first..].iter().sum()
        });
    });
    if times.is_empty() {
        // Left out by the command line's filter.
        return;
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    let per_second = times.len() as f64 / times.iter().sum::<Duration>().as_secs_f64();
    println!("{what}: p50 {:?}, p99 {:?}, {per_second:.0} per second of a core", at(50), at(99));
}

criterion_group!(benches, calls);
criterion_main!(benches);
