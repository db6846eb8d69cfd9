//! Counts the instructions of each scenario under callgrind and compares them with the committed baseline:
//! `cargo run --release -p millstream-bench --bin instructions -- check` (or `bless`, to write a new baseline).
//!
//! A count depends on compiler, C library, valgrind and CPU features, so the baseline says which it was taken with. Where they are
//! the same, more than 3% above fails; elsewhere the counts are taken and shown, and nothing fails.
#![forbid(unsafe_code)]
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use millstream_bench::scenario::{SCENARIOS, Scenario};

/// A count may be this much above the baseline's.
const RISE_MAX: f64 = 0.03;
/// Runs of a scenario that are counted together.
const RUNS: u64 = 20;
/// CPU features that the C library and the compiler's own routines choose by.
const FEATURES: [&str; 16] = [
    "sse2", "ssse3", "sse4_1", "sse4_2", "avx", "avx2", "bmi1", "bmi2", "movbe", "fma", "erms", "fsrm", "avx512f",
    "avx512bw", "avx512vl", "asimd",
];

/// Instruction counts of the pipeline's steps.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Compare with the baseline; fails where a count has risen by more than 3%
    Check,
    /// Write a new baseline
    Bless {
        /// Why counts rise, if any does by more than 3%; kept in the baseline
        #[arg(long)]
        why: Option<String>,
    },
    /// Run one scenario (started under callgrind by the others)
    Run {
        /// Its name
        scenario: String,
    },
}

/// What a count depends on besides the code.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Environment(BTreeMap<String, String>);

/// Counts, and where they were taken.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Baseline {
    environment: Environment,
    why: Option<String>,
    instructions: BTreeMap<String, u64>,
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Task::Check => check(),
        Task::Bless { why } => bless(why),
        Task::Run { scenario } => {
            let (_, set_up) = SCENARIOS.iter().find(|(name, _)| *name == scenario).context("no such scenario")?;
            let mut scenario = set_up();
            scenario.run();
            counted(scenario.as_mut());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What callgrind counts: it is told to count between entry and exit of a function of this name.
#[inline(never)]
fn counted(scenario: &mut dyn Scenario) {
    for _ in 0..RUNS {
        scenario.run();
    }
}

fn baseline_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml")
}

fn check() -> anyhow::Result<ExitCode> {
    let path = baseline_path();
    let text = fs::read_to_string(&path).with_context(|| format!("{}: run bless first", path.display()))?;
    let old = Baseline::parse(&text).with_context(|| path.display().to_string())?;
    let new = Baseline { environment: Environment::here()?, why: None, instructions: count_all()? };
    let comparable = old.environment == new.environment;
    let risen = show(&old, &new);
    if !comparable {
        println!(
            "taken in another environment than the baseline, so only reported:\n{}",
            old.environment.against(&new.environment)
        );
        return Ok(ExitCode::SUCCESS);
    }
    let unknown: Vec<_> = new.instructions.keys().filter(|name| !old.instructions.contains_key(*name)).collect();
    if !risen.is_empty() || !unknown.is_empty() {
        println!(
            "FAILED: more than {}% above the baseline: {risen:?}; not in it: {unknown:?}.\nIf that is meant: bless --why \"...\", and say why in the commit",
            RISE_MAX * 100.0
        );
        return Ok(ExitCode::FAILURE);
    }
    println!("no count is more than {}% above the baseline", RISE_MAX * 100.0);
    Ok(ExitCode::SUCCESS)
}

fn bless(why: Option<String>) -> anyhow::Result<ExitCode> {
    let new = Baseline { environment: Environment::here()?, why, instructions: count_all()? };
    let path = baseline_path();
    if let Ok(text) = fs::read_to_string(&path) {
        let old = Baseline::parse(&text)?;
        let risen = show(&old, &new);
        if old.environment == new.environment && !risen.is_empty() && new.why.is_none() {
            println!("FAILED: {risen:?} rise by more than {}%: give --why", RISE_MAX * 100.0);
            return Ok(ExitCode::FAILURE);
        }
    }
    fs::write(&path, new.text())?;
    println!("wrote {}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// Prints both, and gives the names of those that have risen too much.
fn show(old: &Baseline, new: &Baseline) -> Vec<String> {
    let mut risen = Vec::new();
    println!("{:<36} {:>14} {:>14} {:>8}", "instructions per run", "baseline", "now", "change");
    for (name, &now) in &new.instructions {
        let Some(&before) = old.instructions.get(name) else {
            println!("{name:<36} {:>14} {now:>14} {:>8}", "-", "new");
            continue;
        };
        let change = now as f64 / before.max(1) as f64 - 1.0;
        println!("{name:<36} {before:>14} {now:>14} {:>+7.2}%", change * 100.0);
        if change > RISE_MAX {
            risen.push(name.clone());
        }
    }
    risen
}

fn count_all() -> anyhow::Result<BTreeMap<String, u64>> {
    SCENARIOS.iter().map(|&(name, _)| Ok(((*name).to_owned(), count(name)?))).collect()
}

/// Instructions per run of one scenario.
fn count(scenario: &str) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*instructions*counted*"])
        .arg(std::env::current_exe()?)
        .args(["run", scenario])
        // What the caller has set must not change what is allocated where.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .context("valgrind is not installed: apt-get install valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let total = text.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse::<u64>().ok());
    match total {
        Some(total @ 1..) if output.status.success() => Ok(total / RUNS),
        _ => bail!("callgrind counted nothing of {scenario}:\n{text}"),
    }
}

impl Environment {
    fn here() -> anyhow::Result<Self> {
        let cpu = fs::read_to_string("/proc/cpuinfo")?;
        let field = |name: &str| {
            let line = cpu.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
            line.and_then(|line| line.split(':').nth(1)).unwrap_or_default().trim().to_owned()
        };
        let flags = format!("{} {}", field("flags"), field("Features"));
        let features: Vec<_> =
            FEATURES.into_iter().filter(|f| flags.split_whitespace().any(|flag| flag == *f)).collect();
        let values = [
            ("toolchain", env!("BENCH_RUSTC").to_owned()),
            ("libc", first_line("getconf", "GNU_LIBC_VERSION")?),
            ("valgrind", first_line("valgrind", "--version")?),
            ("architecture", std::env::consts::ARCH.to_owned()),
            ("cpu", format!("{} family {} model {}", field("model name"), field("cpu family"), field("model"))),
            ("cpu_features", features.join(" ")),
        ];
        Ok(Self(values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
    }

    /// One line per value that differs.
    fn against(&self, other: &Self) -> String {
        let mut lines = String::new();
        for (name, here) in &other.0 {
            let there = self.0.get(name).map_or("-", String::as_str);
            if there != here {
                let _ = writeln!(lines, "  {name}: baseline {there}, here {here}");
            }
        }
        lines
    }
}

fn first_line(program: &str, arg: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg(arg).output().with_context(|| format!("{program} is not installed"))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned())
}

impl Baseline {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let table: toml::Table = text.parse()?;
        let part = |name: &str| table.get(name).and_then(toml::Value::as_table).with_context(|| format!("no [{name}]"));
        let text = |value: &toml::Value| value.as_str().map(str::to_owned).context("not a text");
        let number =
            |value: &toml::Value| value.as_integer().and_then(|n| u64::try_from(n).ok()).context("not a count");
        let environment: anyhow::Result<_> =
            part("environment")?.iter().map(|(name, value)| Ok((name.clone(), text(value)?))).collect();
        let instructions: anyhow::Result<_> =
            part("instructions")?.iter().map(|(name, value)| Ok((name.clone(), number(value)?))).collect();
        let why = table.get("why").map(text).transpose()?;
        Ok(Self { environment: Environment(environment?), why, instructions: instructions? })
    }

    fn text(&self) -> String {
        let mut table = toml::Table::new();
        if let Some(why) = &self.why {
            table.insert("why".to_owned(), why.clone().into());
        }
        let environment = self.environment.0.iter().map(|(name, value)| (name.clone(), value.clone().into()));
        table.insert("environment".to_owned(), toml::Value::Table(environment.collect()));
        let counts = self.instructions.iter().map(|(name, &count)| (name.clone(), count.cast_signed().into()));
        table.insert("instructions".to_owned(), toml::Value::Table(counts.collect()));
        format!(
            "# Instructions per run of each scenario, and where they were counted. Written by `instructions bless`.\n{table}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_reads_as_it_was_written() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let baseline = Baseline {
            environment: Environment([pair("libc", "glibc 2.36"), pair("cpu", "a \"b\"")].into()),
            why: Some("because".to_owned()),
            instructions: [("a".to_owned(), 7), ("b".to_owned(), u64::from(u32::MAX) * 9)].into(),
        };
        assert_eq!(Baseline::parse(&baseline.text()).unwrap(), baseline);
    }

    #[test]
    fn scenarios_run_and_have_names_of_their_own() {
        for (name, set_up) in SCENARIOS.iter().filter(|(name, _)| !name.contains("10000")) {
            set_up().run();
            assert_eq!(SCENARIOS.iter().filter(|(other, _)| other == name).count(), 1);
        }
    }
}
