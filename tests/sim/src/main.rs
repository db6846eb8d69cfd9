//! Walks many seeds: `millstream-sim --seeds A..B [--trace] [--sabotage KIND]`.
use std::process::ExitCode;
use std::time::Instant;

use millstream_sim::{Sabotage, Totals, replay, walk};

const USAGE: &str = "usage: millstream-sim --seeds A..B [--trace] [--sabotage KIND]";

struct Options {
    seeds: std::ops::Range<u64>,
    trace: bool,
    sabotage: Option<Sabotage>,
}

fn options() -> Option<Options> {
    let mut options = Options { seeds: 0..0, trace: false, sabotage: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seeds" => {
                let seeds = args.next()?;
                let (from, to) = seeds.split_once("..")?;
                options.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            "--trace" => options.trace = true,
            "--sabotage" => {
                let kind = args.next()?;
                options.sabotage = Some(Sabotage::ALL.into_iter().find(|of| format!("{of:?}") == kind)?);
            }
            _ => return None,
        }
    }
    (!options.seeds.is_empty()).then_some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}; kinds: {:?}", Sabotage::ALL);
        return ExitCode::from(2);
    };
    let (begun, mut totals, count) = (Instant::now(), Totals::default(), options.seeds.end - options.seeds.start);
    for seed in options.seeds {
        match walk(seed, options.sabotage, options.trace) {
            Ok(walk) => {
                totals.add(&walk.totals);
                if options.trace {
                    println!("seed {seed}: trace hash {:016x}", walk.hash);
                }
            }
            Err(why) => {
                let planted = options.sabotage.map(|kind| format!(" --sabotage {kind:?}")).unwrap_or_default();
                eprintln!("seed {seed} failed: {why}\nreplay it with: {}{planted}", replay(seed));
                return ExitCode::FAILURE;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{count} seeds in {seconds:.1} s, {:.0} per second: {totals:?}", count as f64 / seconds);
    ExitCode::SUCCESS
}
