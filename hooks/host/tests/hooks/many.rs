//! Many calls: failures concern their own call, busy neighbours kill nobody, swaps leave nothing behind.
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use millstream_hooks::wit::auth::Step;
use millstream_hooks::{Capacity, Failure, Hook, Runtime, Settings, World};

use crate::fixture::{RUNTIME, guest, request};

/// Adds to a number of its own store and traps at each hundredth.
fn traps_at_each_hundredth() -> Hook {
    let mut hundredth = guest(World::Auth);
    hundredth.imports = "(import \"millstream:hooks/host@0.1.0\" \"kv-add\" (func $add (param i32 i32 i64 i32 i32)))";
    hundredth.items = "(data (i32.const 0) \"n\")".into();
    hundredth.body = "(call $add (i32.const 0) (i32.const 1) (i64.const 1) (i32.const 0) (i32.const 512))
        (if (i64.eqz (i64.rem_u (i64.load (i32.const 520)) (i64.const 100))) (then unreachable))
        (i32.store8 (i32.const 1024) (i32.const 2)) (i32.const 1024)"
        .into();
    hundredth.hook()
}

fn each_hundredth(calls: usize) {
    let (hook, asked) = (traps_at_each_hundredth(), request("play", &[("a", "b")]));
    for n in 1..=calls {
        let result = hook.authorize(&asked).result;
        if n.is_multiple_of(100) {
            let failure = result.unwrap_err();
            assert_eq!(failure.label(), "trap", "call {n}: {failure}");
        } else {
            assert_eq!(result, Ok(Step::Next), "call {n}");
        }
    }
}

#[test]
fn a_trap_on_each_hundredth_call_fails_those_calls_alone() {
    each_hundredth(10_000);
}

#[test]
#[ignore = "takes a minute; tests/run --long has it"]
fn a_trap_on_each_hundredth_of_a_million_calls_fails_those_calls_alone() {
    each_hundredth(1_000_000);
}

/// Four threads that do nothing but compute, at the same priority on the same cores.
fn beside_neighbours(calls: usize) {
    let stop = Arc::new(AtomicBool::new(false));
    let neighbours: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let (hook, asked) = (guest(World::Auth).hook(), request("play", &[]));
    let failures: Vec<Failure> = (0..calls).filter_map(|_| hook.authorize(&asked).result.err()).collect();
    stop.store(true, Ordering::Relaxed);
    for neighbour in neighbours {
        neighbour.join().unwrap();
    }
    assert!(failures.is_empty(), "{} of {calls} innocent calls were killed: {:?}", failures.len(), failures.first());
}

#[test]
fn busy_neighbours_kill_no_innocent_call() {
    beside_neighbours(100_000);
}

#[test]
#[ignore = "takes a minute; tests/run --long has it"]
fn busy_neighbours_kill_none_of_a_million_innocent_calls() {
    beside_neighbours(1_000_000);
}

#[test]
fn threads_that_call_at_once_get_their_own_instances() {
    let hook = traps_at_each_hundredth();
    let failed: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let asked = request("play", &[]);
                    (0..2500).filter(|_| hook.authorize(&asked).result.is_err()).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(failed, 100, "one in a hundred of 10,000");
}

#[test]
fn a_full_pool_refuses_and_recovers() {
    let runtime = Runtime::new(Capacity { calls: 1, kept: 1 }).unwrap();
    let compiled = runtime.compile(&guest(World::Motion).core(), World::Motion).unwrap();
    let module = runtime.load(&compiled.artifact).unwrap();
    let hook = Hook::new(module, Settings::new("kept", "1", World::Motion));
    let kept: Vec<_> = (0..2).map(|_| hook.motion().result.unwrap()).collect();
    for _ in 0..3 {
        assert_eq!(hook.describe().result.unwrap_err(), Failure::NoInstance);
    }
    drop(kept);
    assert!(hook.describe().result.is_ok());
}

fn memory() -> (usize, usize) {
    let resident = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = resident.split(' ').nth(1).unwrap().parse().unwrap();
    (pages * 4, fs::read_to_string("/proc/self/maps").unwrap().lines().count())
}

#[test]
fn a_thousand_swaps_leave_nothing_behind() {
    let artifacts: Vec<_> = (0..4)
        .map(|n| {
            let mut version = guest(World::Auth);
            version.items = format!("(data (i32.const 64) \"version {n}\")");
            RUNTIME.compile(&version.core(), World::Auth).unwrap().artifact
        })
        .collect();
    let asked = request("play", &[]);
    let mut live = Hook::new(RUNTIME.load(&artifacts[0]).unwrap(), Settings::new("swapped", "0", World::Auth));
    let mut swap = |n: usize| {
        let module = RUNTIME.load(&artifacts[n % artifacts.len()]).unwrap();
        live = Hook::new(module, Settings::new("swapped", n.to_string(), World::Auth));
        for _ in 0..3 {
            assert_eq!(live.authorize(&asked).result, Ok(Step::Next));
        }
    };
    (0..200).for_each(&mut swap);
    let (kib, maps) = memory();
    (0..1000).for_each(&mut swap);
    let (kib_after, maps_after) = memory();
    assert!(kib_after < kib + 2048, "{kib} KiB before, {kib_after} KiB after");
    assert!(maps_after < maps + 16, "{maps} mappings before, {maps_after} after");
}

/// Each call finds memory, data, globals and tables as the module has them, whatever the calls before wrote, and wherever: some of their pages are written
/// over when they end, and others given back.
#[test]
fn no_call_sees_what_another_one_wrote() {
    let mut spoils = guest(World::Auth);
    spoils.memory = "64";
    let zeros = [0x1f00, 0xff00, 0x1_0100, 0x8_0000, 0x10_0000, 0x3f_fff0];
    let checks = zeros.map(|at| {
        format!("(if (i32.load (i32.const {at})) (then (unreachable))) (i32.store (i32.const {at}) (i32.const -1))")
    });
    let checks = checks.join("\n");
    spoils.items = "(data (i32.const 512) \"abcd\") (global $seen (mut i32) (i32.const 7)) (table $t 4 funcref) (func $one) (elem declare func $one)".into();
    spoils.body = format!(
        "{checks}
        (if (i32.ne (i32.load (i32.const 512)) (i32.const 0x64636261)) (then (unreachable)))
        (i32.store (i32.const 512) (i32.const 0))
        (if (i32.ne (global.get $seen) (i32.const 7)) (then (unreachable)))
        (global.set $seen (i32.const 8))
        (if (i32.ne (table.size $t) (i32.const 4)) (then (unreachable)))
        (drop (table.grow $t (ref.func $one) (i32.const 4)))
        (if (i32.eqz (ref.is_null (table.get $t (i32.const 1)))) (then (unreachable)))
        (table.set $t (i32.const 1) (ref.func $one))
        (if (i32.ne (memory.size) (i32.const 64)) (then (unreachable)))
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
        (if (i32.load (i32.const 0x480000)) (then (unreachable)))
        (i32.store (i32.const 0x480000) (i32.const -1))
        (i32.store8 (i32.const 1024) (i32.const 2)) (i32.const 1024)"
    );
    let (hook, asked) = (spoils.hook(), request("play", &[]));
    for call in 0..1_000 {
        assert_eq!(hook.authorize(&asked).result, Ok(Step::Next), "call {call}");
    }
}
