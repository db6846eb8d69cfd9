//! The command line.
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Parser, Subcommand, ValueEnum};
use millstream_hub::config::FlushPolicy;

use crate::baseline::Backend;
use crate::server::Contender;

/// What the product's fan-out costs beside the bare kernel and beside other runtimes.
#[derive(Debug, Parser)]
#[command(name = "millstream-floor")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure product, floor and baselines in turn, and print the ratios
    Compare(CompareFlags),
    /// Serve as a baseline (started by compare)
    Serve {
        backend: Backend,
        policy: Policy,
        /// Viewers that it waits for
        viewers: usize,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CompareFlags {
    /// The product's binary; several, as NAME=PATH, to compare builds
    #[arg(long = "product", value_name = "[NAME=]PATH")]
    pub(crate) products: Vec<String>,
    /// Also the product with --io epoll
    #[arg(long)]
    pub(crate) epoll: bool,
    /// Baselines besides the raw ring
    #[arg(long, value_delimiter = ',', default_values = ["epoll", "monoio", "glommio", "tokio"], num_args = 0..)]
    pub(crate) baselines: Vec<Backend>,
    /// Flush policies
    #[arg(long, value_delimiter = ',', default_values = ["low", "balanced", "dense"])]
    pub(crate) policies: Vec<Policy>,
    /// Viewers
    #[arg(long, default_value_t = 1000)]
    pub(crate) viewers: usize,
    /// Length of a measurement; even, so that each has as many keyframes
    #[arg(long, default_value_t = 6.0)]
    pub(crate) seconds: f64,
    /// How often each contender runs
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// A run whose scheduling probe's p99 passes this is void
    #[arg(long, default_value_t = 5.0)]
    pub(crate) probe_max_ms: f64,
    /// So is one during which others kept more cores busy than this
    #[arg(long, default_value_t = 0.5)]
    pub(crate) others_max: f64,
    /// Viewers look for bytes all the time instead of sleeping until there are some: then no server pays for waking them, as on loopback
    /// it does, and the more often the slower it sends
    #[arg(long)]
    pub(crate) spin: bool,
    /// Core of the servers
    #[arg(long, default_value_t = 0)]
    pub(crate) server_core: usize,
    /// Core of publisher and viewers
    #[arg(long, default_value_t = 1)]
    pub(crate) load_core: usize,
}

impl CompareFlags {
    /// In the order in which they run: the product next to the raw ring.
    pub(crate) fn contenders(&self) -> anyhow::Result<Vec<Contender>> {
        let mut all = vec![Contender::Baseline(Backend::Uring)];
        for product in &self.products {
            let (name, path) = product.split_once('=').unwrap_or(("product", product));
            let binary = PathBuf::from(path);
            if !binary.is_file() {
                bail!("{path} is not there: build the product first, or use bench/floor/run");
            }
            for io in ["uring", "epoll"].into_iter().take(1 + usize::from(self.epoll)) {
                let name = if io == "uring" { name.to_owned() } else { format!("{name} --io epoll") };
                all.push(Contender::Product { name, binary: binary.clone(), io });
            }
        }
        all.extend(
            self.baselines
                .iter()
                .filter(|&&baseline| baseline != Backend::Uring)
                .map(|&baseline| Contender::Baseline(baseline)),
        );
        Ok(all)
    }

    /// See `probe_max_ms`.
    pub(crate) fn probe_max(&self) -> Duration {
        Duration::from_secs_f64(self.probe_max_ms / 1e3)
    }
}

/// The product's flush policies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Policy {
    /// At once.
    Low,
    /// With the next picture.
    Balanced,
    /// Every 100 ms.
    Dense,
}

impl Policy {
    /// As it is written in a configuration.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Balanced => "balanced",
            Self::Dense => "dense",
        }
    }
}

impl From<Policy> for FlushPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Low => Self::Low,
            Policy::Balanced => Self::Balanced,
            Policy::Dense => Self::Dense,
        }
    }
}
