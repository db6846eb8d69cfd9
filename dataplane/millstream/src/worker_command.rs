//! `millstream worker --control-url ...`: a worker for nodes of other machines. Before it: the command line; after it: `millstream_transcoder`'s supervisor, which
//! starts this program again as the process that decodes.
use std::path::Path;

use anyhow::{Context as _, anyhow};
use millstream_transcoder::{EncoderChoice, FarWorker, LinkTo, look, serve_far};
use tracing::{info, warn};

use crate::cli::FarFlags;
use crate::failure::Failure;
use crate::settings::LogSettings;
use crate::transcoding::{this_program, with_font};
use crate::{keys, logging, node, notify};

/// Works until the process is ended: its end is that of what it has started.
pub(crate) fn run(flags: FarFlags, font: Option<&Path>) -> Result<(), Failure> {
    let _log = logging::start(&logging::Wanted::merge(&flags.log, &LogSettings::default()))?;
    let worker = prepare(flags, font).map_err(Failure::Configuration)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime").map_err(Failure::Running)?;
    info!(
        worker = worker.id.name,
        control = %worker.control.url,
        version = env!("CARGO_PKG_VERSION"),
        "a worker for nodes of other machines"
    );
    notify::tell(notify::READY);
    // On this thread, which lives as long as the process: children end with the thread that started them.
    runtime.block_on(serve_far(worker));
    Ok(())
}

fn prepare(flags: FarFlags, font: Option<&Path>) -> anyhow::Result<FarWorker> {
    let FarFlags { control_url, token_file, name, control_plain, ffmpeg, encoder, log: _ } = flags;
    let url = control_url.context("a worker is told where control is: give --control-url")?;
    if !url.secure && !url.is_loopback() {
        if !control_plain {
            return Err(anyhow!(
                "--control-url: {url} is not TLS: whoever is on the way could read this worker's token; give an https:// URL, or say that it may be \
                 plain with --control-plain"
            ));
        }
        warn!("--control-url: {url} is not TLS: whoever is on the way can read this worker's token");
    }
    let token = keys::read_worker_token(&token_file.context("a worker needs a token of control: give --token-file")?)?;
    let encoder = encoder.and_then(EncoderChoice::of_ffmpeg);
    let found = look(&this_program(), &ffmpeg.unwrap_or_default(), encoder);
    if encoder.is_some() {
        found.as_ref().map_err(|error| anyhow!("--encoder: {error}"))?;
    }
    millstream_worker::mark::Fonts::open(font).context("--font")?;
    let identity = node::identity(name, None)?;
    let program = with_font(this_program(), font);
    let (id, started_unix_ms) = (identity.node, identity.started_unix_ms);
    Ok(FarWorker { id, started_unix_ms, program, ffmpeg: found, encoder, control: LinkTo { url, token } })
}
