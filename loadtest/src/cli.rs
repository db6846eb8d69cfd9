//! The command line. Flags change what the preset or file says; nothing that is given is ignored without a word.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use millstream_loadtest::handshakes::{Handshakes, shake_hands};
use millstream_loadtest::limits::{DURATION_MAX, HANDSHAKES_PER_SECOND_MAX};
use millstream_loadtest::plan::{Plan, Shape};
use millstream_loadtest::report::{Report, Verdict};
use millstream_loadtest::target::{HttpTarget, RtmpTarget};
use millstream_loadtest::{Options, run};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::progress::Progress;

/// Bad usage or a plan that cannot be carried out.
const EXIT_USAGE: u8 = 2;
const EXIT_FAILED: u8 = 1;
const EXIT_VOID: u8 = 3;

#[derive(Debug, Parser)]
#[command(
    name = "millstream-loadtest",
    version,
    about = "Load for live streaming servers: RTMP publishers, HTTP-FLV, RTMP and HLS viewers"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Carries out a plan and reports: 0 passed, 1 failed, 2 bad usage, 3 void (the machine was too busy)
    Run(Box<Run>),
    /// Shakes hands by TLS at a rate, in full each time, and reports as JSON; beside a run, on a core that the server does not have
    Handshakes(Shake),
    /// Lists the presets
    Presets,
}

#[derive(Debug, Args)]
struct Shake {
    /// Whom to shake hands with, and what each asks for then: https://HOST[:PORT][/PATH]
    url: String,
    /// How many come each second
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=i64::from(HANDSHAKES_PER_SECOND_MAX)))]
    per_second: u32,
    /// For how long they come
    #[arg(long, value_parser = humantime::parse_duration, default_value = "30s")]
    duration: Duration,
    /// They say hello, and nothing more
    #[arg(long)]
    unfinished: bool,
    /// Allow a server that is not on this machine
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Debug, Args)]
struct Run {
    /// A preset (see `presets`) or a TOML file
    plan: String,
    /// Where to push and play RTMP: rtmp://HOST[:PORT][/APP[/KEY]]; {stream} in KEY stands for the stream's name
    #[arg(long, value_name = "URL")]
    rtmp: Option<String>,
    /// Where to play HTTP-FLV: http://HOST[:PORT][/PATH], or ws://... for FLV over WebSocket, or https:// and wss:// over TLS; {stream} in PATH stands for the stream's name [default path: {stream}/live.flv]
    #[arg(long, value_name = "URL")]
    http: Option<String>,
    /// Where to play HLS, be it a cache: http://HOST[:PORT][/PATH] [default: {stream}/live.m3u8 beside HTTP-FLV]
    #[arg(long, value_name = "URL")]
    hls: Option<String>,
    /// Write the report as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the distribution of the delay, too
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// Process of the server [default: the one that listens on the URL's port]
    #[arg(long)]
    pid: Option<u32>,
    /// Where the server's /metrics are [default: looked for on its ports]
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<SocketAddr>,
    /// Allow a server that is not on this machine
    #[arg(long)]
    allow_remote: bool,
    /// No progress, only the report
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    changes: Changes,
}

/// What can be changed of a plan.
#[derive(Debug, Args)]
#[command(next_help_heading = "Changes to the plan")]
struct Changes {
    /// How long viewers are served
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// HTTP-FLV viewers
    #[arg(long)]
    viewers: Option<usize>,
    /// RTMP viewers
    #[arg(long)]
    rtmp_viewers: Option<usize>,
    /// HLS viewers that poll and fetch segments
    #[arg(long)]
    hls_viewers: Option<usize>,
    /// HLS viewers that wait for parts
    #[arg(long)]
    ll_hls_viewers: Option<usize>,
    /// Whether those ask for hinted parts
    #[arg(long)]
    hints: Option<bool>,
    /// Viewers that parse and compare all they get
    #[arg(long)]
    sample: Option<usize>,
    /// How viewers come
    #[arg(long, value_parser = shape)]
    schedule: Option<Shape>,
    /// How long their coming takes
    #[arg(long, value_parser = humantime::parse_duration)]
    over: Option<Duration>,
    /// Comers per second, of a steady schedule
    #[arg(long)]
    per_second: Option<u32>,
    /// How long each stays, of a churn schedule
    #[arg(long, value_parser = humantime::parse_duration)]
    stay: Option<Duration>,
    /// HTTP-FLV viewers that read slowly
    #[arg(long)]
    slow: Option<usize>,
    /// How fast those read, kbit/s
    #[arg(long)]
    slow_kbit: Option<u32>,
    /// Publishers; 0 watches what somebody else publishes
    #[arg(long)]
    publishers: Option<usize>,
    /// Name of the stream
    #[arg(long)]
    stream: Option<String>,
    /// An FLV file to publish, or `demo`
    #[arg(long, value_name = "FILE")]
    clip: Option<PathBuf>,
    /// Bit rate of the synthetic picture, kbit/s
    #[arg(long)]
    video_kbit: Option<u32>,
    /// Bit rate of the synthetic audio, kbit/s
    #[arg(long)]
    audio_kbit: Option<u32>,
    /// Frames per second of the synthetic stream
    #[arg(long)]
    fps: Option<u32>,
    /// Time between keyframes of the synthetic stream
    #[arg(long, value_parser = humantime::parse_duration)]
    gop: Option<Duration>,
}

fn shape(text: &str) -> Result<Shape, String> {
    match text {
        "ramp" => Ok(Shape::Ramp),
        "steady" => Ok(Shape::Steady),
        "burst" => Ok(Shape::Burst),
        "churn" => Ok(Shape::Churn),
        _ => Err("one of ramp, steady, burst, churn".to_owned()),
    }
}

impl Changes {
    fn apply(self, plan: &mut Plan) {
        fn set<T>(place: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        set(&mut plan.duration, self.duration);
        let view = &mut plan.view;
        set(&mut view.flv, self.viewers);
        set(&mut view.rtmp, self.rtmp_viewers);
        set(&mut view.hls, self.hls_viewers);
        set(&mut view.ll_hls, self.ll_hls_viewers);
        set(&mut view.hints, self.hints);
        set(&mut view.sample, self.sample);
        set(&mut view.schedule, self.schedule);
        set(&mut view.over, self.over);
        set(&mut view.per_second, self.per_second);
        set(&mut view.stay, self.stay);
        set(&mut view.slow, self.slow);
        set(&mut view.slow_kbit, self.slow_kbit);
        let publish = &mut plan.publish;
        set(&mut publish.count, self.publishers);
        set(&mut publish.stream, self.stream);
        set(&mut publish.clip, self.clip.map(Some));
        set(&mut publish.video_kbit, self.video_kbit);
        set(&mut publish.audio_kbit, self.audio_kbit);
        set(&mut publish.fps, self.fps);
        set(&mut publish.gop, self.gop);
    }
}

/// Runs what was asked for.
pub(crate) fn main() -> ExitCode {
    let asked = match Cli::parse().command {
        Command::Presets => {
            for (name, about) in Plan::presets() {
                println!("{name:<14} {about}");
            }
            return ExitCode::SUCCESS;
        }
        Command::Handshakes(asked) => return shake(asked),
        Command::Run(asked) => *asked,
    };
    let (json, hgrm) = (asked.json.clone(), asked.hgrm.clone());
    let report = match carry_out(asked) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    print!("{report}");
    let mut status = match report.verdict {
        Verdict::Passed => ExitCode::SUCCESS,
        Verdict::Failed => ExitCode::from(EXIT_FAILED),
        Verdict::Void => ExitCode::from(EXIT_VOID),
    };
    for (path, text) in [(json, Report::json as fn(&Report) -> String), (hgrm, Report::hgrm)] {
        if let Some(path) = path
            && let Err(error) = write(&path, &text(&report))
        {
            eprintln!("error: {error:#}");
            status = ExitCode::from(EXIT_FAILED);
        }
    }
    status
}

fn shake(asked: Shake) -> ExitCode {
    let Shake { url, per_second, duration, unfinished, allow_remote } = asked;
    let target = HttpTarget::parse(&url, allow_remote).map_err(anyhow::Error::from);
    let duration = duration.min(DURATION_MAX);
    let shaken = target.and_then(|target| Ok(shake_hands(&Handshakes { target, per_second, duration, unfinished })?));
    match shaken.and_then(|report| Ok((serde_json::to_string(&report)?, report.troubles.is_empty()))) {
        Ok((text, went_well)) => {
            println!("{text}");
            ExitCode::from(if went_well { 0 } else { EXIT_FAILED })
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn carry_out(asked: Run) -> anyhow::Result<Report> {
    let mut plan = Plan::load(&asked.plan)?;
    asked.changes.apply(&mut plan);
    plan.check()?;
    let remote = asked.allow_remote;
    let rtmp = asked.rtmp.map(|url| RtmpTarget::parse(&url, remote)).transpose().context("--rtmp")?;
    let http = asked.http.map(|url| HttpTarget::parse(&url, remote)).transpose().context("--http")?;
    let hls = asked.hls.map(|url| HttpTarget::parse_hls(&url, remote)).transpose().context("--hls")?;
    let hls = hls.or_else(|| http.as_ref().and_then(HttpTarget::hls_beside));
    // The first Ctrl-C ends the run and reports; the second ends the process.
    let stop = Arc::default();
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let options = Options { rtmp, http, hls, pid: asked.pid, metrics: asked.metrics, stop };
    let mut progress = Progress::new(asked.quiet);
    let report = run(&plan, &options, &mut progress);
    progress.finish();
    Ok(report?)
}
