//! Walks many seeds: `millstream-sim --seeds A..B [--trace] [--plant DEFECT]`. All of them, also behind one that fails.
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use millstream_sim::{Seen, Trace, plants, replay, walk};

const USAGE: &str = "usage: millstream-sim --seeds A..B [--trace] [--plant DEFECT]";

struct Options {
    seeds: Range<u64>,
    trace: Trace,
    planted: Option<&'static str>,
}

fn options() -> Option<Options> {
    let mut options = Options { seeds: 0..0, trace: Trace::Hashed, planted: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seeds" => {
                let seeds = args.next()?;
                let (from, to) = seeds.split_once("..")?;
                options.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            "--trace" => options.trace = Trace::Printed,
            "--plant" => {
                let name = args.next()?;
                options.planted = Some(*plants().ok()?.iter().find(|of| **of == name)?);
            }
            _ => return None,
        }
    }
    (!options.seeds.is_empty()).then_some(options)
}

fn main() -> ExitCode {
    let Some(Options { seeds, trace, planted }) = options() else {
        eprintln!("{USAGE}; defects: {:?}", plants());
        return ExitCode::from(2);
    };
    let (begun, mut seen, mut failed) = (Instant::now(), Seen::new(), 0);
    for seed in seeds.clone() {
        match walk(seed, planted, trace) {
            Ok(walked) => {
                walked.seen.into_iter().for_each(|(what, count)| *seen.entry(what).or_default() += count);
                if trace == Trace::Printed {
                    println!("seed {seed}: trace hash {:016x}", walked.hash);
                }
            }
            Err(why) => {
                eprintln!("seed {seed} failed: {why}\nreplay it with: {}", replay(seed, planted));
                failed += 1;
            }
        }
    }
    let (seconds, count) = (begun.elapsed().as_secs_f64(), seeds.end - seeds.start);
    println!("{count} seeds in {seconds:.1} s, {:.0} per second, {failed} failed: {seen:?}", count as f64 / seconds);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
