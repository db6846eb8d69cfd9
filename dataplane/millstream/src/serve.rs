//! `millstream serve`: configuration to policy chain to engine, then signals until the drain is over. Before it: [`crate::cli`];
//! after it: the engine owns everything that happens.
use std::path::Path;

use anyhow::Context as _;
use millstream_engine::config::Config;
use millstream_engine::{Addresses, Engine};
use millstream_policy::Chain;
use millstream_policy::preset::{Preset, preset};
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};

use crate::cli::{Failure, Role, ServeFlags};
use crate::control::{self, Control, Here, Told};
use crate::layers::{self, Layers};
use crate::settings::Settings;
use crate::settings::values::AuthPreset;
use crate::{keys, logging, settings, shown};

/// Serves until a signal has ended it.
pub(crate) fn run(flags: ServeFlags) -> Result<(), Failure> {
    logging::start()?;
    let (layers, secrets) = prepare(flags).map_err(Failure::Configuration)?;
    let signals = signals()?;
    let runtime = control::runtime().map_err(Failure::Running)?;
    // Before any port is open: who has the data directory is the server.
    let store = control::open_store(&layers.data_dir).map_err(Failure::Running)?;
    let shown = shown::shown(&layers);
    let directory = layers.config.directory.clone();
    let engine = start(layers.config, secrets.chain)?;
    let remote = engine.remote();
    let key_check = secrets.master.as_ref().map(MasterKey::check).unwrap_or_default();
    let told = Told {
        listen: layers.control,
        names: layers.control_names,
        admin_token: secrets.admin_token,
        master: secrets.master,
        streams: layers.streams,
        webhooks_allow: layers.webhooks_allow,
        config: shown,
        engine: Some(&remote),
    };
    let mut control = Control::start(&runtime, &store, told).map_err(Failure::Running)?;
    control.join(&runtime, Here { engine: remote, directory, key_check });
    info!("ready");
    let ended = wait(engine, signals, || {});
    control.stop(&runtime);
    ended
}

/// What is made at the first start and read at each.
struct Secrets {
    chain: Chain,
    admin_token: Secret,
    /// `None` where nothing checks a signature.
    master: Option<MasterKey>,
}

/// Everything that is decided before a socket is opened.
fn prepare(flags: ServeFlags) -> anyhow::Result<(Layers, Secrets)> {
    if flags.role != Role::All {
        anyhow::bail!("this version knows the role \"all\" only; leave --role out, or give --role all");
    }
    let settings = match &flags.config {
        Some(file) => settings::read(file)?,
        None => Settings::default(),
    };
    let key_file = flags.key_file.as_deref().map(keys::read_key_file).transpose()?;
    let merging = layers::Flags {
        engine: flags.engine,
        data_dir: flags.data_dir,
        auth: flags.auth,
        control_plain: flags.control_plain,
        key_file,
    };
    let mut layers = layers::merge(merging, settings)?;
    if flags.control_url.is_some() {
        layers.warnings.push("--control-url: set, but not in force: this version has no fleets yet".to_owned());
    }
    for warning in &layers.warnings {
        warn!("{warning}");
    }
    let secrets = secrets(&layers)?;
    Ok((layers, secrets))
}

/// The chain of the preset that was asked for, with what it needs; `signed` needs the master key, which is made at the first start.
fn secrets(layers: &Layers) -> anyhow::Result<Secrets> {
    let dir: &Path = &layers.data_dir;
    keys::make_data_dir(dir)?;
    let admin_token = keys::admin_token(dir)?;
    let (chain, master) = match layers.auth {
        AuthPreset::Open => {
            warn!(
                "AUTH IS OPEN: anyone who reaches the RTMP port may push any stream; use --auth signed in production"
            );
            (preset(Preset::Open), None)
        }
        AuthPreset::Signed => {
            let master = keys::master_key(dir)?;
            (preset(Preset::Signed { master: master.clone(), legacy: layers.legacy_keys.clone() }), Some(master))
        }
    };
    Ok(Secrets { chain, admin_token, master })
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
