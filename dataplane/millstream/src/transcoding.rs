//! Renditions and pictures of this node's streams: the engine is given who makes them, in a worker process that is this program again. Before it: the
//! configuration; after it: `millstream worker`.
use std::ffi::OsString;
#[cfg(feature = "transcode")]
use std::io::IsTerminal as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use millstream_agent::worker::Worker;
use millstream_control_protocol::exchange::WorkerLoad;
use millstream_engine::config::Config;
use millstream_engine::renditions::RenditionConfig;
use millstream_engine::{Addresses, Remote};
use millstream_fleet::http::guard::Guard;
use millstream_hub::encodable::Encodable;
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use millstream_proto::sign::job::JOB_KEY_BYTES;
use millstream_proto::sign::worker::WorkerKey;
use millstream_transcoder::{EncoderChoice, FfmpegChoice, Introduced, Program, RemotePort, Where, Workers, look};
use rustls::ServerConfig;
use tokio::runtime::Runtime;
use tokio::sync::watch::Receiver;
use tracing::{info, warn};

#[cfg(feature = "transcode")]
use millstream_worker::ffmpeg::FfmpegSettings;

#[cfg(feature = "transcode")]
use crate::cli::{ChildFlags, WorkerFlags};
use crate::failure::Failure;
use crate::settings::transcode::TranscodeSettings;
#[cfg(feature = "transcode")]
use crate::worker_command;
use crate::{own_metrics, public};

/// The command that makes this program a worker.
pub(crate) const COMMAND: &str = "worker";

/// A node's workers; none in a build without codecs.
pub(crate) struct Transcoding(Option<(Workers, Introduced)>);

/// The configuration of an engine whose streams have renditions. A worker is started when somebody asks for one.
pub(crate) fn transcoded(
    config: Config,
    settings: TranscodeSettings,
    runtime: &Runtime,
) -> anyhow::Result<(Config, Transcoding)> {
    let whence = match settings.worker {
        // What cannot be made here may be elsewhere.
        Where::Any | Where::Remote if !cfg!(feature = "transcode") => Where::Remote,
        Where::Local if !cfg!(feature = "transcode") => return Ok((config, Transcoding(None))),
        whence => whence,
    };
    let mut key = [0; JOB_KEY_BYTES];
    getrandom::fill(&mut key).context("no random bytes")?;
    let program = with_font(this_program(), settings.font.as_deref());
    let app = config.apps.first().map_or("stream", Id::as_str).to_owned();
    let (choice, encoder) = (settings.ffmpeg, settings.encoder);
    // What a worker of another machine has is known when it has come, and what an ffmpeg can when it has been asked: until then nothing is said to be missing.
    let hevc = whence != Where::Local || choice != FfmpegChoice::Off;
    Encodable { usual: encoder.codec(), av1: cfg!(feature = "av1"), hevc }.set();
    let workers =
        Workers::new(runtime.handle().clone(), (program, whence), app, key, Guard::PublicAnd(settings.allow), encoder);
    if whence != Where::Remote {
        let found = workers.clone();
        // It takes a tenth of a second, which no start waits for; and no end, should it hang.
        let looks = move || found.equip(look(&this_program(), &choice, encoder.of_ffmpeg()));
        std::thread::Builder::new().name("look for ffmpeg".to_owned()).spawn(looks).context("no thread")?;
    }
    let counted = workers.clone();
    own_metrics::and(move || counted.numbers());
    let renditions = RenditionConfig::new(Arc::new(workers.clone()), key);
    let introduced =
        Introduced { http: config.http_proxy_protocol_from.clone(), rtmp: config.proxy_protocol_from.clone() };
    Ok((Config { renditions, ..config }, Transcoding(Some((workers, introduced)))))
}

/// This very program as a worker, also where its file has been replaced meanwhile.
pub(crate) fn this_program() -> Program {
    Program { path: PathBuf::from("/proc/self/exe"), arguments: vec![OsString::from(COMMAND)] }
}

/// The same, which is given a font.
pub(crate) fn with_font(mut program: Program, font: Option<&Path>) -> Program {
    program.arguments.extend(font.into_iter().flat_map(|font| [OsString::from("--font"), font.as_os_str().to_owned()]));
    program
}

/// What a worker's process does, or one that it starts.
#[cfg(feature = "transcode")]
pub(crate) fn work(flags: WorkerFlags) -> Result<(), Failure> {
    let WorkerFlags { far, font, child } = flags;
    if far.control_url.is_some() {
        return worker_command::run(far, font.as_deref());
    }
    if std::io::stdin().is_terminal() {
        let advice = "a worker of another machine is told where control is: give --control-url and --token-file. \
                      Without them this command is for the server, which starts it by itself";
        return Err(Failure::Configuration(anyhow!(advice)));
    }
    let ChildFlags { hooks, ports, ffmpeg, encoder, ffmpeg_starter, ffmpeg_child, arguments } = child;
    let own_arguments = vec![OsString::from(COMMAND)];
    if let Some(program) = ffmpeg_starter {
        return millstream_worker::ffmpeg::serve_starter(&program, &own_arguments).map_err(Failure::running);
    }
    if let Some(program) = ffmpeg_child {
        return Err(Failure::running(millstream_worker::ffmpeg::become_ffmpeg(&program, &arguments)));
    }
    let ffmpeg = ffmpeg.map(|program| FfmpegSettings { program, encoder, own_arguments });
    // The node logs what comes on this way as it logs what codecs write.
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false).without_time();
    lines.with_target(false).with_writer(std::io::stderr).init();
    let fonts = millstream_worker::mark::Fonts::open(font.as_deref()).map_err(Failure::running)?;
    let (input, output) = (std::io::stdin().lock(), std::io::stdout());
    #[cfg(feature = "hooks")]
    if hooks {
        return millstream_worker::run_with_hooks(
            input,
            output,
            (fonts, &ports),
            ffmpeg.as_ref(),
            crate::hook_eyes::eyes,
        )
        .map_err(Failure::running);
    }
    let _ = hooks;
    millstream_worker::run(input, output, (fonts, &ports), ffmpeg.as_ref()).map_err(Failure::running)
}

/// Refuses a font or an encoder that no worker could use, before anything is started.
pub(crate) fn look_at(settings: &TranscodeSettings) -> anyhow::Result<()> {
    if settings.worker == Where::Remote || !cfg!(feature = "transcode") {
        return Ok(());
    }
    #[cfg(feature = "transcode")]
    millstream_worker::mark::Fonts::open(settings.font.as_deref()).context("transcode.font")?;
    if settings.encoder == EncoderChoice::Rav1e && !cfg!(feature = "av1") {
        anyhow::bail!(
            "transcode.encoder: this program was built without rav1e; build it with the feature av1, or let another one encode"
        );
    }
    if let Some(encoder) = settings.encoder.of_ffmpeg() {
        look(&this_program(), &settings.ffmpeg, Some(encoder)).context("transcode.encoder")?;
    }
    Ok(())
}

/// Has workers of other machines taken, where some may come; gives where they are told to come to, else nothing.
pub(crate) fn take_workers(
    workers: Option<&Workers>,
    settings: &TranscodeSettings,
    (node, token): (&str, &Secret),
    shown: Option<&Receiver<Arc<ServerConfig>>>,
) -> Result<String, Failure> {
    let Some(workers) = workers.filter(|_| settings.worker != Where::Local) else { return Ok(String::new()) };
    let tls = match &settings.worker_url {
        Some(url) if url.starts_with("tls://") => {
            let shown = shown.context("transcode.worker_url begins with tls://, which needs certificates: see [tls]");
            Some(shown.map_err(Failure::Configuration)?.clone())
        }
        _ => None,
    };
    let listen = settings.workers_come_to();
    let bound = || -> std::io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let (listener, address) = bound().map_err(|error| {
        let advice = millstream_engine::listen_advice(&error, "config FILE: transcode.worker_listen");
        Failure::Running(anyhow!("cannot listen on {listen} for workers of other machines: {error}; {advice}"))
    })?;
    let url = public::worker_url(settings.worker_url.as_deref(), address);
    info!(listener = "workers", %address, url, "listening for workers of other machines");
    if tls.is_none() && !address.ip().is_loopback() {
        warn!(
            %address,
            "workers of other machines come here without TLS: who is on the way can read and change what is sent; let transcode.worker_url begin with tls://, \
             or listen in a private network (transcode.worker_listen)"
        );
    }
    if settings.worker_url.is_none() && address.ip().is_loopback() {
        warn!(url, "only workers of this machine come to this address: set transcode.worker_listen");
    }
    workers.listen(RemotePort { listener, tls, node: node.to_owned(), key: WorkerKey::new(token) });
    Ok(url)
}

/// The worker as the agent sees it.
struct Kept(Workers);

impl Worker for Kept {
    fn shed(&self, stream: &str) -> Vec<String> {
        self.0.shed(stream)
    }

    fn load(&self) -> WorkerLoad {
        self.0.load()
    }
}

impl Transcoding {
    /// Who takes pictures.
    pub(crate) fn workers(&self) -> Option<Workers> {
        self.0.as_ref().map(|(workers, _)| workers.clone())
    }

    /// Who knows how the worker does, where there is one.
    pub(crate) fn worker(&self) -> Option<Arc<dyn Worker>> {
        self.workers().map(|workers| Arc::new(Kept(workers)) as Arc<dyn Worker>)
    }

    /// The engine listens: workers may be told where.
    pub(crate) fn reach(self, engine: Remote) {
        let Addresses { http, rtmp, .. } = *engine.addresses();
        if let Some((workers, introduced)) = self.0 {
            workers.reach(engine, millstream_transcoder::Addresses { http, rtmp, introduced });
        }
    }
}
