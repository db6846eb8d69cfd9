//! What the product's fan-out costs beside the bare kernel: the same stream to the same viewers from raw loops (the floor) and from
//! baselines on other runtimes, in turn with the product. Reading order: [`compare`] (a run, and the report), [`server`] (who
//! competes), [`baseline`] (the raw loops and the runtimes), [`publisher`], [`frames`] and [`drain`] (the load).
mod baseline;
mod cli;
mod compare;
mod drain;
mod frames;
mod measure;
mod publisher;
mod server;

use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    match cli::Cli::parse().command {
        cli::Command::Compare(flags) => compare::compare(&flags),
        cli::Command::Serve { backend, policy, viewers } => baseline::serve(backend, policy.into(), viewers),
    }
}
