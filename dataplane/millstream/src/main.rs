//! The binary. Start with `cli` (what can be asked) and `commands` (who does it), then `serve` (how the parts are put together), `layers` and `settings` (what
//! the parts are told), `control` (store and API beside the engine), `node` (what follows a control), `keys` (the secrets on disk), `demo` (the server with a publisher of its own).
//!
//! Invariants: no secret is printed but the one that `sign` is asked for; nothing that is set is ignored without a word.
#![forbid(unsafe_code)]

use std::process::ExitCode;

mod acme;
mod api_client;
mod backup_command;
mod certificates;
mod chain;
mod check_command;
mod cli;
mod clock;
mod commands;
mod config_command;
mod control;
mod demo;
mod failure;
mod flags;
mod fleet_certificates;
mod grant_key_command;
#[cfg(all(feature = "hooks", feature = "transcode"))]
mod hook_eyes;
mod hook_flags;
mod hook_host;
mod hook_kit;
#[cfg(feature = "hooks")]
mod hook_ladders;
#[cfg(feature = "hooks")]
mod hook_logs;
#[cfg(feature = "hooks")]
mod hook_modules;
#[cfg(feature = "hooks")]
mod hook_motion;
#[cfg(feature = "hooks")]
mod hook_orders;
#[cfg(feature = "hooks")]
mod hook_record;
#[cfg(feature = "hooks")]
mod hook_record_of_node;
#[cfg(feature = "hooks")]
mod hook_remake;
#[cfg(feature = "hooks")]
mod hook_replay;
mod hook_settings;
#[cfg(feature = "hooks")]
mod hook_trials;
#[cfg(feature = "hooks")]
mod hook_viewers;
#[cfg(feature = "hooks")]
mod hooks;
mod keys;
mod ktls;
mod layers;
mod logging;
mod motion;
mod node;
mod notify;
mod own_metrics;
mod paper_command;
mod pictures;
mod public;
mod recordings;
mod recordings_command;
mod recordings_export;
mod relays;
mod reload;
mod serve;
mod settings;
mod sign_command;
mod stream_command;
mod transcoding;
#[cfg(feature = "hooks")]
mod upstreams;
#[cfg(feature = "transcode")]
mod worker_command;

fn main() -> ExitCode {
    commands::run()
}
