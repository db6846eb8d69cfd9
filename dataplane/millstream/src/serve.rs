//! `millstream serve`: configuration to policy chain to engine, then signals until the drain is over. Before it: [`crate::cli`];
//! after it: the engine owns everything that happens.
use std::path::Path;

use anyhow::Context as _;
use millstream_engine::config::Config;
use millstream_engine::{Addresses, Engine};
use millstream_policy::Chain;
use millstream_policy::preset::{Preset, preset};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};

use crate::cli::{Failure, Role, ServeFlags};
use crate::layers::{self, Layers};
use crate::settings::Settings;
use crate::settings::values::AuthPreset;
use crate::{keys, logging, settings};

/// Serves until a signal has ended it.
pub(crate) fn run(flags: ServeFlags) -> Result<(), Failure> {
    logging::start()?;
    let (layers, chain) = prepare(flags).map_err(Failure::Configuration)?;
    let signals = signals()?;
    let engine = start(layers.config, chain)?;
    info!("ready");
    wait(engine, signals, || {})
}

/// Everything that is decided before a socket is opened.
fn prepare(flags: ServeFlags) -> anyhow::Result<(Layers, Chain)> {
    if flags.role != Role::All {
        anyhow::bail!("this version knows the role \"all\" only; leave --role out, or give --role all");
    }
    let settings = match &flags.config {
        Some(file) => settings::read(file)?,
        None => Settings::default(),
    };
    let key_file = flags.key_file.as_deref().map(keys::read_key_file).transpose()?;
    let merging = layers::Flags { engine: flags.engine, data_dir: flags.data_dir, auth: flags.auth, key_file };
    let mut layers = layers::merge(merging, settings)?;
    if flags.control_url.is_some() {
        layers.warnings.push("--control-url: set, but not in force: this version has no fleets yet".to_owned());
    }
    for warning in &layers.warnings {
        warn!("{warning}");
    }
    let chain = chain(&layers)?;
    Ok((layers, chain))
}

/// The chain of the preset that was asked for; `signed` needs the master key, which is made at the first start.
fn chain(layers: &Layers) -> anyhow::Result<Chain> {
    let dir: &Path = &layers.data_dir;
    keys::make_data_dir(dir)?;
    keys::admin_token(dir)?;
    Ok(match layers.auth {
        AuthPreset::Open => {
            warn!(
                "AUTH IS OPEN: anyone who reaches the RTMP port may push any stream; use --auth signed in production"
            );
            preset(Preset::Open)
        }
        AuthPreset::Signed => {
            preset(Preset::Signed { master: keys::master_key(dir)?, legacy: layers.legacy_keys.clone() })
        }
    })
}

/// SIGTERM and SIGINT, caught from here on: one that arrives while the engine starts is not lost.
pub(crate) fn signals() -> Result<Signals, Failure> {
    Signals::new([SIGTERM, SIGINT]).context("cannot catch signals").map_err(Failure::Running)
}

/// Starts the engine and says where it listens.
pub(crate) fn start(config: Config, chain: Chain) -> Result<Engine, Failure> {
    let engine = millstream_engine::start(config, chain).map_err(Failure::running)?;
    let Addresses { rtmp, http, control } = engine.addresses();
    info!(listener = "rtmp", address = %rtmp, "listening for RTMP (push and play)");
    info!(listener = "http", address = %http, "listening for HTTP (play)");
    if let Some(control) = control {
        info!(listener = "control", address = %control, "listening for control (/metrics)");
    }
    Ok(engine)
}

/// Waits until the engine has ended: by a signal and a clean drain, or because a shard died. The first signal calls `on_signal`
/// before the drain starts.
pub(crate) fn wait(engine: Engine, mut signals: Signals, on_signal: impl Fn() + Send + 'static) -> Result<(), Failure> {
    let stop = engine.remote();
    let waiting = signals.handle();
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                error!(signal, "second signal: ending without waiting for sessions");
                std::process::exit(1);
            }
            info!(signal, "draining; a second signal ends at once");
            on_signal();
            stop.shutdown();
        }
    });
    let thread = thread.context("cannot start the thread that waits for signals").map_err(Failure::Running)?;
    let ended = engine.wait().map_err(Failure::running);
    waiting.close();
    // The thread ends with its signals; a panic in it has been printed, and does not change how the engine ended.
    drop(thread.join());
    if ended.is_ok() {
        info!("ended");
    }
    ended
}
