//! Walks many seeds: `millstream-sim [--whole] --seeds A..B [--trace] [--sabotage KIND] [--plant DEFECT]`.
use std::process::ExitCode;
use std::time::Instant;

use millstream_sim::{Sabotage, Totals, replay, walk, whole};

const USAGE: &str = "usage: millstream-sim [--whole] --seeds A..B [--trace] [--sabotage KIND] [--plant DEFECT]";

struct Options {
    seeds: std::ops::Range<u64>,
    trace: bool,
    sabotage: Option<Sabotage>,
    whole: bool,
    planted: Option<&'static str>,
}

fn options() -> Option<Options> {
    let mut options = Options { seeds: 0..0, trace: false, sabotage: None, whole: false, planted: None };
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
            "--whole" => options.whole = true,
            "--plant" => {
                let name = args.next()?;
                options.planted = Some(*whole::plants().ok()?.iter().find(|of| **of == name)?);
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
    if options.whole {
        return walk_whole(&options);
    }
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

fn walk_whole(options: &Options) -> ExitCode {
    let (begun, mut seen, count) = (Instant::now(), whole::Seen::new(), options.seeds.end - options.seeds.start);
    let trace = if options.trace { whole::Trace::Printed } else { whole::Trace::Hashed };
    for seed in options.seeds.clone() {
        match whole::walk(seed, options.planted, trace) {
            Ok(walked) => {
                for (what, count) in walked.seen {
                    *seen.entry(what).or_default() += count;
                }
                if options.trace {
                    println!("seed {seed}: trace hash {:016x}", walked.hash);
                }
            }
            Err(why) => {
                eprintln!("seed {seed} failed: {why}\nreplay it with: {}", whole::replay(seed, options.planted));
                return ExitCode::FAILURE;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{count} seeds in {seconds:.1} s, {:.0} per second: {seen:?}", count as f64 / seconds);
    ExitCode::SUCCESS
}
