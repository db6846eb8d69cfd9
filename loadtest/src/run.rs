//! A run: one thread, two polls. Publishers, viewers that join and sampled viewers wait in the **hot** poll and are served at once; viewers
//! that only drain wait in the **bulk** poll, which is looked into every [`BULK_EVERY`], so that their thousands never delay the few that
//! are timed. Before it: [`crate::plan`], [`crate::target`]; after it: [`crate::report`].
mod finish;
mod hls;
mod stage;
mod viewer_slot;
mod watch;

use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use millstream_proto::time::Time;

use crate::clock::Clock;
use crate::hls::{Edges, Wake};
use crate::ledger::Ledger;
use crate::limits::{DESCRIPTORS_SPARE, READ_BYTES};
use crate::media::{ClipError, Source};
use crate::net::{Poll, Ready, raise_descriptor_limit};
use crate::plan::{Plan, PlanError};
use crate::probe::Probe;
use crate::publisher::Publisher;
use crate::report::Report;
use crate::schedule::{self, Habit, Protocol, Visit};
use crate::server::{Metrics, Server, Usage};
use crate::tally::Tally;
use crate::target::{HttpTarget, RtmpTarget, TargetError};
use crate::wire::Heard;

pub use watch::{Tick, Watch};

/// How often draining viewers are looked after.
pub(crate) const BULK_EVERY: Duration = Duration::from_millis(2);

/// What is to be known of figures of viewers over TLS.
const OVER_TLS: &str = "HTTP-FLV viewers come over TLS: records are authenticated up to each one's first keyframe, and all records of the sampled ones; \
     bytes received are those of records";

/// Why a run could not even begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The plan cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The clip cannot be published.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// A URL cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Neither of the URLs that the plan needs.
    #[error("the plan has {0}, so it needs {1}")]
    NoTarget(&'static str, &'static str),
    /// More connections than descriptors.
    #[error(
        "the plan needs {wanted} descriptors, and this process may have {limit}: raise `ulimit -Hn`, or take at most {most} viewers"
    )]
    Descriptors {
        /// What the plan needs.
        wanted: u64,
        /// What there is.
        limit: u64,
        /// How many viewers that is enough for.
        most: u64,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The kernel refused something that every run needs.
    #[error("the kernel refuses what every run needs: {0}")]
    Kernel(#[from] io::Error),
}

/// Whom to load, and what else a run is told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where to push and play RTMP.
    pub rtmp: Option<RtmpTarget>,
    /// Where to play HTTP-FLV.
    pub http: Option<HttpTarget>,
    /// Where to play HLS, where that is not beside it.
    pub hls: Option<HttpTarget>,
    /// The server's process, where it should not be looked for.
    pub pid: Option<u32>,
    /// Where its `/metrics` are, where they should not be looked for.
    pub metrics: Option<SocketAddr>,
    /// Set by somebody who wants it to end now.
    pub stop: Arc<AtomicBool>,
}

impl Options {
    pub(crate) fn playlists(&self) -> Option<&HttpTarget> {
        self.hls.as_ref()
    }
}

/// What the harness and the server had used at some moment.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Time,
    bytes: u64,
    cpu: crate::net::Cpu,
    server: Option<Usage>,
}

/// When a visit ends: time, place, number of the visit. The earliest first.
type Leave = std::cmp::Reverse<(Time, usize, u32)>;

/// Everything that a run holds.
struct Run<'a> {
    plan: &'a Plan,
    options: &'a Options,
    streams: Vec<String>,
    clock: Clock,
    now: Time,
    hot: Poll,
    bulk: Poll,
    hot_ready: Vec<Ready>,
    bulk_ready: Vec<Ready>,
    scratch: Vec<u8>,
    plain: Vec<u8>,
    body: Vec<u8>,
    heard: Vec<Heard>,
    publishers: Vec<Publisher>,
    /// When each publisher's next frame is due, the earliest first.
    dues: BinaryHeap<std::cmp::Reverse<(Time, usize)>>,
    viewers: Vec<viewer_slot::ViewerSlot>,
    /// When HLS viewers go on by themselves, the earliest first.
    hls_wakes: BinaryHeap<Wake>,
    /// What the HLS viewers of each stream know together.
    edges: Vec<Edges>,
    visits: Vec<Visit>,
    next_visit: usize,
    leaves: BinaryHeap<Leave>,
    slow: Vec<usize>,
    present: usize,
    joining: usize,
    most: usize,
    ledgers: Vec<Ledger>,
    watched: Vec<bool>,
    tally: Tally,
    server: Server,
    /// Before the first viewer came.
    before: Option<Mark>,
    /// When all viewers were there.
    full: Option<Mark>,
    metrics_before: Option<Metrics>,
    notes: Vec<String>,
    second: watch::Second,
}

/// Carries a plan out, and reports. `watch` is told how it goes.
pub fn run(plan: &Plan, options: &Options, watch: &mut dyn Watch) -> Result<Report, RunError> {
    plan.check()?;
    needs(plan, options)?;
    let source = Arc::new(Source::new(&plan.publish)?);
    let wanted = (plan.connections() + plan.publish.count) as u64 + DESCRIPTORS_SPARE;
    let limit = raise_descriptor_limit()?;
    if wanted > limit {
        let most = limit.saturating_sub(DESCRIPTORS_SPARE + plan.publish.count as u64);
        return Err(RunError::Descriptors { wanted, limit, most });
    }
    let mut run = Run::new(plan, options)?;
    if plan.view.flv > 0 && options.http.as_ref().is_some_and(|http| http.tls.is_some()) {
        run.note(OVER_TLS.to_owned(), watch);
    }
    if let Some(theirs) = run.server.descriptors_max().filter(|theirs| *theirs < wanted) {
        run.note(format!("the server may open {theirs} descriptors, and the plan needs {wanted} of it"), watch);
    }
    run.metrics_before = run.server.metrics();
    let probe = Probe::start()?;
    let ended_early = run.stages(&source, watch)?;
    let probe = probe.finish();
    Ok(run.report(ended_early, &probe))
}

/// Whether the URLs are there that the plan needs.
fn needs(plan: &Plan, options: &Options) -> Result<(), RunError> {
    let several = plan.publish.count > 1;
    match &options.rtmp {
        None if plan.publish.count > 0 => return Err(RunError::NoTarget("publishers", "--rtmp")),
        None if plan.view.rtmp > 0 => return Err(RunError::NoTarget("RTMP viewers", "--rtmp")),
        Some(rtmp) if several && rtmp.name().is_some() => return Err(TargetError::Name.into()),
        _ => {}
    }
    match &options.http {
        None if plan.view.flv > 0 => Err(RunError::NoTarget("HTTP-FLV viewers", "--http")),
        _ if plan.view.hls_total() > 0 && options.playlists().is_none() => {
            Err(RunError::NoTarget("HLS viewers", "--hls (or --http without a path)"))
        }
        _ if several && plan.view.hls_total() > 0 && options.playlists().is_some_and(|hls| !hls.names_streams()) => {
            Err(TargetError::Name.into())
        }
        Some(http) if several && plan.view.flv > 0 && !http.names_streams() => Err(TargetError::Name.into()),
        _ => Ok(()),
    }
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, options: &'a Options) -> Result<Self, RunError> {
        let named = options.rtmp.as_ref().and_then(RtmpTarget::name).map(|name| vec![name.to_owned()]);
        let streams = named.unwrap_or_else(|| plan.streams());
        let slots = schedule::slots(plan, streams.len());
        let mut watched = vec![false; streams.len()];
        for slot in slots.iter().filter(|slot| slot.habit == Habit::Sample) {
            watched[slot.stream] = true;
        }
        let ledger = || if plan.publish.count == 0 { Ledger::learned() } else { Ledger::written() };
        let rtmp_only = slots.iter().all(|slot| slot.protocol == Protocol::Rtmp);
        // Whoever serves playlists may be a cache; the server is behind it.
        let http = options.http.as_ref().or(options.hls.as_ref()).filter(|_| !rtmp_only).map(|target| target.address);
        let rtmp = options.rtmp.as_ref().map(|target| target.address);
        let targets: Vec<SocketAddr> = http.into_iter().chain(rtmp).collect();
        Ok(Self {
            plan,
            options,
            clock: Clock::start(),
            now: Time::ZERO,
            hot: Poll::new()?,
            bulk: Poll::new()?,
            hot_ready: Vec::new(),
            bulk_ready: Vec::new(),
            scratch: vec![0; READ_BYTES],
            plain: Vec::new(),
            body: Vec::new(),
            heard: Vec::new(),
            publishers: Vec::new(),
            dues: BinaryHeap::new(),
            visits: schedule::visits(&plan.view, slots.len(), plan.duration),
            viewers: slots.into_iter().map(viewer_slot::ViewerSlot::new).collect(),
            hls_wakes: BinaryHeap::new(),
            edges: streams.iter().map(|_| Edges::default()).collect(),
            next_visit: 0,
            leaves: BinaryHeap::new(),
            slow: Vec::new(),
            present: 0,
            joining: 0,
            most: 0,
            ledgers: streams.iter().map(|_| ledger()).collect(),
            streams,
            watched,
            tally: Tally::new(),
            server: Server::find(&targets, options.pid, options.metrics),
            before: None,
            full: None,
            metrics_before: None,
            notes: Vec::new(),
            second: watch::Second::default(),
        })
    }

    fn note(&mut self, note: String, watch: &mut dyn Watch) {
        watch.note(&note);
        self.notes.push(note);
    }
}
