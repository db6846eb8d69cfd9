//! An engine from its start to its end: where it listens, signals, the drain. Before it: [`super`] and [`crate::demo`], which have its configuration; after it: the
//! engine owns everything that happens.
use std::sync::Arc;

use anyhow::Context as _;
use millstream_engine::config::Config;
use millstream_engine::{Addresses, Engine};
use millstream_policy::Chain;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use tracing::{error, info};

use crate::cli::Failure;
use crate::notify;
use crate::reload::Reload;

/// SIGTERM, SIGINT and SIGHUP, caught from here on: one that arrives while the engine starts is not lost. SIGXFSZ does nothing: where a file
/// may not grow (`RLIMIT_FSIZE`), the write fails, as on a full disk.
pub(crate) fn signals() -> Result<Signals, Failure> {
    let ignored = signal_hook::flag::register(SIGXFSZ, Arc::default());
    ignored.context("cannot catch signals").map_err(Failure::Running)?;
    Signals::new([SIGTERM, SIGINT, SIGHUP]).context("cannot catch signals").map_err(Failure::Running)
}

/// Starts the engine and says where it listens.
pub(crate) fn start(config: Config, chain: Chain) -> Result<Engine, Failure> {
    let engine = millstream_engine::start(config, chain).map_err(Failure::running)?;
    let Addresses { rtmp, http, rtmps, https, control } = engine.addresses();
    info!(listener = "rtmp", address = %rtmp, "listening for RTMP (push and play)");
    info!(listener = "http", address = %http, "listening for HTTP (play)");
    if let Some(rtmps) = rtmps {
        info!(listener = "rtmps", address = %rtmps, "listening for RTMPS (push and play)");
    }
    if let Some(https) = https {
        info!(listener = "https", address = %https, "listening for HTTPS (play)");
    }
    if let Some(control) = control {
        info!(listener = "control", address = %control, "listening for control (/metrics)");
    }
    Ok(engine)
}

/// Waits until the engine has ended: by a signal and a clean drain, or because a shard died. The first signal calls `on_signal`
/// before the drain starts; SIGHUP is none of these where there is something to reload.
pub(crate) fn wait(
    engine: Engine,
    mut signals: Signals,
    on_signal: impl Fn() + Send + 'static,
    mut reload: Option<Reload>,
) -> Result<(), Failure> {
    let stop = engine.remote();
    let waiting = signals.handle();
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut ending = false;
        for signal in signals.forever() {
            if signal == SIGHUP
                && let Some(reload) = &mut reload
            {
                reload.run();
                continue;
            }
            // A terminal that is closed says it after Ctrl-C.
            if ending && signal == SIGHUP {
                continue;
            }
            if std::mem::replace(&mut ending, true) {
                error!(signal, "second signal: ending without waiting for sessions");
                std::process::exit(1);
            }
            info!(signal, "draining; a second signal ends at once");
            notify::tell(notify::STOPPING);
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
