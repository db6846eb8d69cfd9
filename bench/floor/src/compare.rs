//! Runs the contenders in turn, round after round, and reports what each costs beside the raw ring of the same policy.
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::baseline::Backend;
use crate::cli::{CompareFlags, Policy};
use crate::drain::{self, Progress};
use crate::measure::{Cpu, Spread, machine_busy, pin, probe, quantile};
use crate::publisher;
use crate::server::{Contender, Server};

/// Once everybody is there, before anything counts.
const WARM_UP: Duration = Duration::from_millis(1_500);
const JOIN_PATIENCE: Duration = Duration::from_mins(1);
/// A viewer that gets less than this part of what another gets was not served.
const FAIRNESS_MIN: f64 = 0.5;

/// One run of one contender.
#[derive(Clone, Copy, Debug)]
struct Run {
    cpu_per_gb: f64,
    user_share: f64,
    /// Part of its core that the server used.
    load: f64,
    delay_p50: Duration,
    delay_p99: Duration,
    probe_p99: Duration,
    /// Cores that neither server nor load kept busy.
    others: f64,
}

impl Run {
    /// The machine had no time for it: its figures are no gate.
    fn is_void(&self, flags: &CompareFlags) -> bool {
        self.probe_p99 > flags.probe_max() || self.others > flags.others_max
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.3} CPU-s/GB, user {:.0}%, delay {:.1}/{:.1} ms, probe {:.1} ms, others {:.2} cores",
            self.cpu_per_gb,
            self.user_share * 100.0,
            ms(self.delay_p50),
            ms(self.delay_p99),
            ms(self.probe_p99),
            self.others
        )
    }
}

/// Runs all that was asked for.
pub(crate) fn compare(flags: &CompareFlags) -> anyhow::Result<()> {
    pin(flags.load_core)?;
    let dir = std::env::temp_dir().join(format!("millstream-floor-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let result = rounds(flags, &dir);
    std::fs::remove_dir_all(&dir)?;
    result
}

fn rounds(flags: &CompareFlags, dir: &std::path::Path) -> anyhow::Result<()> {
    let contenders = flags.contenders()?;
    let mut failed = 0;
    for &policy in &flags.policies {
        let mut runs: Vec<Vec<Option<Run>>> = vec![Vec::new(); contenders.len()];
        for round in 0..flags.rounds {
            for (contender, runs) in contenders.iter().zip(&mut runs) {
                let what = format!("{} {}/{} {}", policy.label(), round + 1, flags.rounds, contender.name());
                let run = match run(contender, policy, flags, dir) {
                    Ok(run) => Some(run),
                    // The others' figures are kept.
                    Err(error) => {
                        eprintln!("{what}: {error:#}");
                        failed += 1;
                        None
                    }
                };
                if let Some(run) = &run {
                    eprintln!("{what}: {run}");
                }
                runs.push(run);
            }
        }
        report(policy, flags, &contenders, &runs);
    }
    if failed > 0 {
        bail!("{failed} runs failed; what they said stands above");
    }
    Ok(())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn run(contender: &Contender, policy: Policy, flags: &CompareFlags, dir: &std::path::Path) -> anyhow::Result<Run> {
    let server = Server::start(contender, policy, flags.viewers, flags.server_core, dir)?;
    let (epoch, progress) = (Instant::now(), Progress::default());
    let stop_probe = AtomicBool::new(false);
    let (ready, accepted) = sync_channel(1);
    let (publish, wire, play) = (server.publish, server.wire, server.play);
    thread::scope(|scope| {
        let stop = &progress.stop;
        let sender = scope.spawn(move || publisher::publish(publish, wire, epoch, stop, &ready));
        let window = (|| {
            accepted.recv_timeout(JOIN_PATIENCE).context("the publisher was not accepted")?;
            let drain = scope.spawn(|| drain::drain(play, &server.path, (flags.viewers, flags.spin), epoch, &progress));
            let joining = Instant::now();
            while progress.connected.load(Relaxed) < flags.viewers {
                if drain.is_finished() || joining.elapsed() > JOIN_PATIENCE {
                    progress.stop.store(true, Relaxed);
                    return drain.join().map_err(|_| anyhow::anyhow!("the drain panicked"))?.map(|_| None);
                }
                thread::sleep(Duration::from_millis(5));
            }
            thread::sleep(WARM_UP);
            // Not on the server's core: what runs there waits for a whole flush inside one system call.
            let prober = scope.spawn(|| probe(flags.load_core, &stop_probe));
            let snapshot = || {
                anyhow::Ok((
                    Instant::now(),
                    progress.bytes.load(Relaxed),
                    Cpu::of(server.pid())?,
                    Cpu::of(std::process::id())?,
                    machine_busy()?,
                ))
            };
            let first = snapshot();
            thread::sleep(Duration::from_secs_f64(flags.seconds));
            let last = snapshot();
            stop_probe.store(true, Relaxed);
            // One flag for publisher and viewers: the first of them to go ends a baseline, and the others must know why.
            progress.stop.store(true, Relaxed);
            let drained = drain.join().map_err(|_| anyhow::anyhow!("the drain panicked"))??;
            let mut late = prober.join().map_err(|_| anyhow::anyhow!("the probe panicked"))??;
            let probe_p99 = quantile(&mut late, 0.99);
            Ok(Some((first?, last?, drained, probe_p99)))
        })();
        progress.stop.store(true, Relaxed);
        let sent = sender.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))?;
        // What went wrong with the server first shows at its viewers.
        let Some((first, last, drained, probe_p99)) = window? else { bail!("viewers could not join in time") };
        sent.context("the publisher")?;
        let (bytes, wall) = (last.1 - first.1, (last.0 - first.0).as_secs_f64());
        let (server_cpu, load_cpu) = (last.2.since(first.2), last.3.since(first.3));
        if bytes == 0 || drained.fairness < FAIRNESS_MIN {
            bail!("viewers were not served: {bytes} bytes, fairness {:.2}", drained.fairness);
        }
        let window = first.0 - epoch..last.0 - epoch;
        let mut delays: Vec<_> =
            drained.frames.iter().filter(|frame| window.contains(&frame.sent)).map(|frame| frame.delay).collect();
        Ok(Run {
            cpu_per_gb: server_cpu.total / (bytes as f64 / 1e9),
            user_share: server_cpu.user_share(),
            load: server_cpu.total / wall,
            delay_p50: quantile(&mut delays, 0.5),
            delay_p99: quantile(&mut delays, 0.99),
            probe_p99,
            others: (last.4 - first.4 - server_cpu.total - load_cpu.total) / wall,
        })
    })
}

fn report(policy: Policy, flags: &CompareFlags, contenders: &[Contender], runs: &[Vec<Option<Run>>]) {
    println!(
        "\n{}: {} viewers, {} rounds of {} s; medians, least-greatest in brackets; x is against the raw ring of the same round",
        policy.label(),
        flags.viewers,
        flags.rounds,
        flags.seconds
    );
    println!(
        "{:<22} {:>24} {:>20} {:>6} {:>6} {:>16} {:>9} {:>6} {:>6}",
        "", "CPU-s/GB", "x raw", "user", "core", "delay p50/p99 ms", "probe p99", "others", "void"
    );
    let raw = contenders.iter().position(|c| *c == Contender::Baseline(Backend::Uring)).map(|at| &runs[at]);
    let spread = |values: Option<Spread>| {
        values.map_or_else(|| "-".to_owned(), |s| format!("{:.3} [{:.3}-{:.3}]", s.median, s.min, s.max))
    };
    for (contender, runs) in contenders.iter().zip(runs) {
        let done = || runs.iter().flatten();
        let of = |field: fn(&Run) -> f64| Spread::of(done().map(field)).map_or(0.0, |s| s.median);
        let ratio = |(raw, run): (&Option<Run>, &Option<Run>)| Some((*run)?.cpu_per_gb / (*raw)?.cpu_per_gb);
        let ratios = raw.map(|raw| raw.iter().zip(runs).filter_map(ratio));
        println!(
            "{:<22} {:>24} {:>20} {:>5.0}% {:>5.0}% {:>16} {:>9.1} {:>6.2} {:>6}",
            contender.name(),
            spread(Spread::of(done().map(|run| run.cpu_per_gb))),
            spread(ratios.and_then(Spread::of)),
            of(|run| run.user_share) * 100.0,
            of(|run| run.load) * 100.0,
            format!("{:.1} / {:.1}", of(|run| ms(run.delay_p50)), of(|run| ms(run.delay_p99))),
            of(|run| ms(run.probe_p99)),
            of(|run| run.others),
            format!("{}/{}", done().filter(|run| run.is_void(flags)).count(), done().count()),
        );
    }
    if runs.iter().flatten().flatten().any(|run| run.is_void(flags)) {
        println!(
            "VOID as a gate: in some runs the scheduling probe's p99 passed {} ms, or others kept more than {} cores busy",
            flags.probe_max_ms, flags.others_max
        );
    }
}
