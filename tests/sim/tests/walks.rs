//! Walks of the product's own engine: some hundreds of seeds, the exactness of a replay, and the proof that the checks can fail.
use std::process::Command;

use millstream_sim::{Seen, Trace, plants, replay, walk};

/// Seeds of this test; `tests/run --long` goes on from there.
const WALKS: u64 = 400;
/// Seeds that find each planted defect.
const SEEDS: u64 = 1_000;

#[test]
fn many_walks() {
    let mut seen = Seen::new();
    for seed in 0..WALKS {
        match walk(seed, None, Trace::Hashed) {
            Ok(walked) => walked.seen.into_iter().for_each(|(what, count)| *seen.entry(what).or_default() += count),
            Err(why) => panic!("seed {seed}: {why}\nreplay it with: {}", replay(seed, None)),
        }
    }
    println!("{seen:?}");
    // They have been where they were meant to go.
    let least = [
        ("drains", 40),
        ("ended", 40),
        ("files of ended streams", 40),
        ("further streams", 20),
        ("frames", 40_000),
        ("handovers", 40),
        ("hooks replaced", 40),
        ("kicks", 20),
        ("mailbox full", 40),
        ("mirror jumps", 40),
        ("parts", 400),
        ("parts waited for", 40),
        ("playlists", 400),
        ("publishes", 400),
        ("refused", 40),
        ("settings changed", 200),
        ("skips", 40),
        ("TLS", 80),
        ("HTTP/2", 40),
        ("files over HTTP/2", 200),
        ("viewers", 400),
    ];
    for (what, least) in least {
        assert!(seen.get(what).copied().unwrap_or(0) >= least, "{what}: {seen:?}");
    }
}

/// In one process, and byte for byte in two.
#[test]
fn a_seed_replays_exactly() {
    let hash = |seed| walk(seed, None, Trace::Hashed).map(|walked| walked.hash);
    for seed in 0..30 {
        assert_eq!(hash(seed), hash(seed), "seed {seed}");
        assert_ne!(hash(seed), hash(seed + 1), "seed {seed}");
    }
    let trace = |seeds: &str| {
        let sim = env!("CARGO_BIN_EXE_millstream-sim");
        let out = Command::new(sim).args(["--trace", "--seeds", seeds]).output().expect("it runs");
        let text = String::from_utf8(out.stdout).expect("text");
        // The last line tells how long it took.
        text.trim_end().rsplit_once('\n').expect("lines").0.to_owned()
    };
    let (first, second) = (trace("5..9"), trace("5..9"));
    assert!(first.lines().count() > 100, "{first}");
    assert!(first == second, "two traces differ");
}

#[test]
fn planted_defects_are_found() {
    let plants = plants().unwrap_or_else(|lost| panic!("{lost}"));
    assert!(plants.len() >= 18);
    for plant in plants {
        let found = (0..SEEDS).find_map(|seed| Some((seed, walk(seed, Some(plant), Trace::Hashed).err()?)));
        let (seed, why) = found.unwrap_or_else(|| panic!("{plant} was not found within {SEEDS} seeds"));
        println!("{plant}: seed {seed}: {}", why.lines().next().unwrap_or_default());
    }
}
