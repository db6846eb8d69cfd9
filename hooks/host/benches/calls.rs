//! Figures of hooks, CPU of the calling thread: `cargo bench -p millstream-hooks`.
//!
//! They are printed by this program itself: what counts is the CPU time that a call reports, its median and its share of a core, and not
//! the wall-clock time on a machine that does other things too.
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use millstream_hooks::wit::motion;
use millstream_hooks::{Capacity, Hook, Module, Runtime, Secret, Settings, World};

#[path = "../tests/kit/mod.rs"]
mod kit;
use kit::{guest, request, target};

fn main() {
    let runtime = Runtime::new(Capacity { calls: 16, kept: 16 }).expect("a runtime");
    let module =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/built/signed-url.wasm")).expect("built");
    let compiled = runtime.compile(&module, World::Auth).expect("a module");
    println!("compile signed-url ({} bytes): {:?}", module.len(), compiled.report.compile_time);

    let loads: Vec<Duration> = (0..20)
        .map(|_| {
            let began = std::time::Instant::now();
            black_box(runtime.load(&compiled.artifact).expect("it loads"));
            began.elapsed()
        })
        .collect();
    report("load of one artifact", &loads);
    println!("load of 20 artifacts: {:?}", loads.iter().sum::<Duration>());

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
        let calls: Vec<Duration> = (0..20_000)
            .map(|_| {
                let called = hook.authorize(&asked);
                called.result.expect("an answer");
                called.cpu
            })
            .collect();
        report(what, &calls);
    }

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
    let calls: Vec<Duration> = (0..5000)
        .map(|n| {
            let called = instance.on_frame(&luma, 160, 90, n * 40);
            called.result.expect("an answer");
            called.cpu
        })
        .collect();
    report("motion, 160x90, byte by byte in WAT", &calls);
}

fn report(what: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |share: usize| sorted[(sorted.len() - 1) * share / 100];
    let mean = times.iter().sum::<Duration>() / times.len() as u32;
    let per_second = 1.0 / mean.as_secs_f64();
    println!("{what}: p50 {:?}, p99 {:?}, mean {mean:?}, {per_second:.0} per second of a core", at(50), at(99));
}
