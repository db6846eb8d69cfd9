//! Any sequence of operations leaves each binding with a version that is there, and rolling back is the inverse of activating.
use super::*;
use crate::model::hook::VersionRecord;

fn version(number: u64) -> VersionRecord {
    VersionRecord { number, ..VersionRecord::default() }
}

fn hook(numbers: &[u64]) -> HookRecord {
    let versions = numbers.iter().copied().map(version).collect();
    HookRecord { versions, last_version: numbers.last().copied().unwrap_or(0), ..HookRecord::default() }
}

fn binding(version: Which, mode: Mode) -> (String, BindingRecord) {
    (String::new(), BindingRecord { version, mode, ..BindingRecord::default() })
}

fn numbers(bindings: &[(String, BindingRecord)], hook: &HookRecord) -> Vec<u64> {
    bindings.iter().map(|(_, binding)| number(binding, hook).expect("a version that is there")).collect()
}

#[test]
fn a_rollback_undoes_the_last_step_and_nothing_else() {
    let hook = hook(&[1, 2, 3]);
    let n = Which::Number;
    let mut all = [
        binding(n(1), Mode::Live),
        binding(n(2), Mode::Live),
        binding(n(1), Mode::Shadow),
        binding(Which::Newest, Mode::Live),
    ];
    assert_eq!(activate(&mut all, &hook, 2), [0, 3]);
    assert_eq!(numbers(&all, &hook), [2, 2, 1, 2]);
    // A single one is moved.
    let step = next_step(all.iter().map(|(_, binding)| binding));
    assert!(move_to(&mut all[1].1, &hook, n(1), step));
    assert_eq!(roll_back(&mut all, &hook), [1]);
    assert_eq!(roll_back(&mut all, &hook), [0, 3]);
    assert_eq!(numbers(&all, &hook), [1, 2, 1, 3]);
    assert_eq!(roll_back(&mut all, &hook), [0_usize; 0], "there is nothing before");
    // One that has been turned off meanwhile stays as it is.
    activate(&mut all, &hook, 3);
    all[0].1.mode = Mode::Off;
    assert_eq!(roll_back(&mut all, &hook), [1]);
}

#[test]
fn what_fails_is_taken_back_to_what_has_not_failed_and_stays_there() {
    let mut hook = hook(&[1, 2, 3]);
    let failed = Failed { at_ms: 7, calls: 40, failures: 20 };
    let (_, mut one) = binding(Which::Number(1), Mode::Live);
    assert_eq!(take_back(&mut one, &hook, failed), None, "it never had another");
    assert!(move_to(&mut one, &hook, Which::Number(2), 1) && move_to(&mut one, &hook, Which::Newest, 2));
    hook.versions[1].failed = Some(failed);
    let generation = one.generation;
    assert_eq!(take_back(&mut one, &hook, failed), Some(1), "2 has failed before");
    assert_eq!((one.version, one.taken_back), (Which::Number(1), Some(TakenBack { version: 3, failed })));
    assert!(one.generation > generation && one.had.is_empty());
    // The newest does not reach it any more.
    hook.versions.push(version(4));
    assert_eq!(number(&one, &hook), Some(1));
    assert!(move_to(&mut one, &hook, Which::Number(4), 3) && one.taken_back.is_none());
}

#[test]
fn limits_of_failures() {
    let when = RollbackWhen::default();
    for (calls, failures, met) in [
        (10, 10, true),
        (9, 9, false),
        (200, 10, true),
        (201, 10, false),
        (1_000_000, 49_999, false),
        (1_000_000, 50_000, true),
        (0, 0, false),
    ] {
        assert_eq!(when.is_met(&told(calls, failures, &[])), met, "{failures} of {calls}");
    }
    assert!(!RollbackWhen { percent: 0, failures: 1 }.is_met(&told(10, 10, &[])));
    assert!(RollbackWhen { percent: 100, failures: 1 }.is_met(&told(u64::MAX, u64::MAX, &[])));
}

fn told(calls: u64, failures: u64, of: &[u64]) -> HookCalls {
    let blamed = |(at, failures): (usize, &u64)| AddressFailures { address: at.to_string(), failures: *failures };
    HookCalls { calls, failures, by_address: of.iter().enumerate().map(blamed).collect(), ..HookCalls::default() }
}

#[test]
fn two_addresses_alone_are_never_too_many_failures() {
    let when = RollbackWhen::default();
    for (calls, failures, of, met) in [
        (100, 100, &[100][..], false),
        (1_000, 900, &[500, 400], false),
        // What others have is enough by itself.
        (100, 100, &[60, 30, 5], true),
        (100, 100, &[60, 31, 5], false),
        (1_000, 110, &[50, 10, 10], true),
        // They are not more than one in twenty of the calls that are left.
        (1_100, 150, &[80, 21, 20], false),
        (1_100, 151, &[80, 21, 20], true),
        // A node says what it likes.
        (100, 100, &[u64::MAX, u64::MAX], false),
    ] {
        let told = told(calls, failures, of);
        assert_eq!(when.is_met(&told), met, "{told:?}");
        assert_eq!(when.blamed(&told).map(|blamed| blamed.failures), (!met).then_some(of[0]));
    }
    assert_eq!(when.blamed(&told(1_000, 40, &[40])), None, "few are nobody's fault");
    // What no client brought about counts whole.
    for (calls, failures, by_nobody, of, met) in [
        (100, 100, 100, &[] as &[u64], true),
        (100, 10, 10, &[], true),
        (100, 9, 9, &[], false),
        (100, 19, 9, &[10], false),
        (100, 20, 10, &[10], true),
        // Of failures that any of several may have brought about each is told: they take nothing of what is nobody's.
        (100, 30, 10, &[20, 20, 20], true),
        (100, 20, 0, &[20, 20, 20], false),
        // A node says what it likes.
        (100, 20, u64::MAX, &[20], true),
    ] {
        let told = HookCalls { by_nobody, ..told(calls, failures, of) };
        assert_eq!(when.is_met(&told), met, "{told:?}");
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

#[test]
fn any_sequence_of_operations_leaves_versions_that_are_there() {
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut hook = hook(&[1]);
        let mut all: Vec<_> = (0..4).map(|_| binding(Which::Newest, Mode::Live)).collect();
        for _ in 0..60 {
            let newest = hook.last_version;
            let any = hook.versions[random.below(hook.versions.len())].number;
            let one = random.below(all.len());
            match random.below(6) {
                0 => {
                    // An upload: the oldest that nobody names makes room.
                    let step = next_step(all.iter().map(|(_, binding)| binding));
                    if hook.versions.len() == 4 {
                        let named = |number| all.iter().any(|(_, b)| b.version == Which::Number(number));
                        let Some(at) = hook.versions.iter().position(|v| !named(v.number)) else { continue };
                        hook.versions.remove(at);
                    }
                    for (_, binding) in &mut all {
                        let before = number(binding, &hook);
                        if binding.version == Which::Newest {
                            note(binding, before, step);
                        }
                    }
                    hook.versions.push(version(newest + 1));
                    hook.last_version += 1;
                }
                1 => {
                    let before = numbers(&all, &hook);
                    let changed = activate(&mut all, &hook, any);
                    let live = all.iter().filter(|(_, b)| is_live(b));
                    assert!(live.map(|(_, b)| b.version).all(|version| version == Which::Number(any)));
                    // At once, and later, the inverse.
                    if !changed.is_empty() && random.below(2) == 0 {
                        assert_eq!(roll_back(&mut all, &hook), changed, "seed {seed}");
                        assert_eq!(numbers(&all, &hook), before, "seed {seed}");
                    }
                }
                2 => drop(roll_back(&mut all, &hook)),
                3 => {
                    let step = next_step(all.iter().map(|(_, binding)| binding));
                    let to = if random.below(2) == 0 { Which::Newest } else { Which::Number(any) };
                    move_to(&mut all[one].1, &hook, to, step);
                }
                4 => {
                    let bad = number(&all[one].1, &hook).unwrap();
                    if let Some(back) = take_back(&mut all[one].1, &hook, Failed::default()) {
                        assert!(back != bad && hook.versions.iter().any(|v| v.number == back && v.failed.is_none()));
                        if let Some(version) = hook.versions.iter_mut().find(|v| v.number == bad) {
                            version.failed = Some(Failed::default());
                        }
                    }
                }
                _ => all[one].1.mode = [Mode::Live, Mode::Canary, Mode::Off][random.below(3)],
            }
            numbers(&all, &hook);
            assert!(all.iter().all(|(_, b)| b.had.len() <= HISTORY_MAX));
        }
    }
}
