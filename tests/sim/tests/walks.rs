//! A thousand seeds, the exactness of a replay, and the proof that the invariants can fail.
use millstream_sim::{Sabotage, Totals, replay, walk};

const SEEDS: u64 = 1_000;

#[test]
fn a_thousand_walks() {
    let mut totals = Totals::default();
    for seed in 0..SEEDS {
        match walk(seed, None, false) {
            Ok(walk) => totals.add(&walk.totals),
            Err(why) => panic!("seed {seed}: {why}\nreplay it with: {}", replay(seed)),
        }
    }
    println!("{totals:?}");
    // They have been where they were meant to go.
    assert!(totals.events > 1_000_000 && totals.frames > 100_000);
    let seen = [
        totals.skips,
        totals.mirror_jumps,
        totals.handovers,
        totals.takeovers,
        totals.refused,
        totals.mailbox_full,
        totals.pending,
        totals.ended,
        totals.closed,
        totals.drains,
        totals.parts,
    ];
    assert!(seen.iter().all(|&count| count > 100), "{totals:?}");
}

#[test]
fn a_seed_replays_exactly() {
    let hash = |seed| walk(seed, None, false).map(|walk| walk.hash);
    for seed in 0..50 {
        assert_eq!(hash(seed), hash(seed), "seed {seed}");
        assert_ne!(hash(seed), hash(seed + 1), "seed {seed}");
    }
}

/// The first seed that finds the planted defect says one of these.
fn check_found(sabotage: Sabotage, words: &[&str]) {
    let found = (0..SEEDS).find_map(|seed| walk(seed, Some(sabotage), false).err().map(|why| (seed, why)));
    let (seed, why) = found.unwrap_or_else(|| panic!("{sabotage:?} was not found within {SEEDS} seeds"));
    println!("{sabotage:?}: seed {seed}: {why}");
    assert!(words.iter().any(|word| why.contains(word)), "{sabotage:?}, seed {seed}: {why}");
}

#[test]
fn planted_defects_are_found() {
    check_found(Sabotage::TornTag, &["torn tag", "not as it was published"]);
    check_found(Sabotage::LostBlock, &["lost", "missing", "went back"]);
    check_found(Sabotage::Rewind, &["the cursor went back"]);
    check_found(Sabotage::UnboundedMailbox, &["passes its bound"]);
    check_found(Sabotage::EarlyStart, &["before the verdict", "only players get media"]);
    check_found(Sabotage::TwoPublishers, &["publishes again"]);
    check_found(Sabotage::LostPart, &["was promised", "was hinted"]);
}
