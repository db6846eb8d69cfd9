//! `millstream hook`: what authors of hooks need, without a server. Before it: [`crate::cli`]; after it: `millstream_hooks`, with the engine that a node has.
//!
//! The command line is the same in every build; one without the feature `hooks` says what to do.
use crate::failure::Failure;
use crate::hook_flags::HookCommand;

#[cfg(feature = "hooks")]
mod bench;
#[cfg(feature = "hooks")]
mod bound;
#[cfg(feature = "hooks")]
mod frames;
#[cfg(feature = "hooks")]
mod many;
#[cfg(feature = "hooks")]
mod new;
#[cfg(feature = "hooks")]
mod pack;
#[cfg(feature = "hooks")]
mod show;
#[cfg(feature = "hooks")]
mod test;

#[cfg(feature = "hooks")]
pub(crate) use bound::{given, secret, takes_config};

/// Does what the command line asks.
#[cfg(feature = "hooks")]
pub(crate) fn run(command: &HookCommand) -> Result<(), Failure> {
    match command {
        HookCommand::New(flags) => new::run(flags),
        HookCommand::Pack(flags) => pack::run(flags),
        HookCommand::Test(flags) => test::run(flags),
        HookCommand::Bench(flags) => bench::run(flags),
    }
}

/// This build cannot.
#[cfg(not(feature = "hooks"))]
pub(crate) fn run(_: &HookCommand) -> Result<(), Failure> {
    Err(not_built())
}

/// What to do about a build that has no hooks.
#[cfg(not(feature = "hooks"))]
pub(crate) fn not_built() -> Failure {
    let advice = "this program was built without hooks; build it with the feature \"hooks\", which is on by default: \
                  cargo install --locked --path dataplane/millstream";
    Failure::Configuration(anyhow::anyhow!(advice))
}
