//! The worker's process: orders in, jobs, reports out. Before it: the binary's subcommand; after it: [`crate::job`] and [`crate::snapshot`].
use std::collections::HashMap;
use std::io::{self, Read, Write};

use crate::capacity;
use crate::job::{Job, Jobs};
use crate::net::{self, Port};
use crate::protocol::{FrameError, Order, PROTOCOL, Reader, Report, Sandbox, Why};
use crate::reporter::Reporter;
use crate::sandbox;
use crate::snapshot::{Request, Snapshots, Taken};
use crate::watch::Watch;

const READ_BYTES: usize = 16 << 10;
/// Jobs at the same time.
const JOBS_MAX: usize = 64;
/// Streams in which motion is looked for at the same time.
const WATCHES_MAX: usize = 128;

/// Why a worker ends before its node says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The pipes failed.
    #[error("the worker's pipes: {0}")]
    Io(#[from] io::Error),
    /// What came is no message, and nothing behind it can be read.
    #[error("the node's orders: {0}")]
    Frame(#[from] FrameError),
}

/// The worker's process: limits itself, then takes orders until its input ends. The kernel ends it with the *thread* that started it
/// (`PR_SET_PDEATHSIG`), so that has to be one that lives as long as the node.
///
/// # Errors
/// See [`RunError`]. When this returns, the process is to end: threads may still be at work.
pub fn run(input: impl Read, output: impl Write + Send + 'static) -> Result<(), RunError> {
    // Before there is any other thread: what is set for a thread holds for those that it starts.
    let sandbox = sandbox::enter();
    serve(input, output, sandbox)
}

/// Takes orders until the input ends, without limits on the process: for tests.
///
/// # Errors
/// See [`RunError`].
pub fn serve(mut input: impl Read, output: impl Write + Send + 'static, sandbox: Sandbox) -> Result<(), RunError> {
    let reporter = Reporter::start(output)?;
    let capacity = capacity::measure();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    tracing::info!(?capacity, ?sandbox, "worker ready");
    reporter.tell(Report::Ready { protocol: PROTOCOL, version, capacity, sandbox });
    let mut worker = Worker {
        snapshots: Snapshots::new(reporter.clone()),
        reporter,
        jobs: HashMap::new(),
        decoded: Jobs::default(),
        watches: HashMap::new(),
    };
    let (mut reader, mut buffer) = (Reader::new(), vec![0; READ_BYTES]);
    loop {
        let length = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        reader.push(buffer.get(..length).unwrap_or_default());
        loop {
            match reader.poll::<Order>() {
                Ok(Some(message)) => worker.obey(message.header),
                Ok(None) => break,
                Err(error @ FrameError::Json(_)) => tracing::warn!(%error, "an order that is not understood"),
                Err(error) => return Err(error.into()),
            }
        }
    }
    tracing::info!("the node has gone");
    Ok(())
}

struct Worker {
    reporter: Reporter,
    jobs: HashMap<u64, Job>,
    snapshots: Snapshots,
    /// What jobs have decoded.
    decoded: Jobs,
    watches: HashMap<u64, Watch>,
}

impl Worker {
    fn obey(&mut self, order: Order) {
        self.jobs.retain(|_, job| !job.is_over());
        self.watches.retain(|_, watch| !watch.is_over());
        match order {
            Order::Introduce { http, rtmp } => {
                net::introduce(Port::Http, http);
                net::introduce(Port::Rtmp, rtmp);
            }
            Order::Start { job, source, renditions } => {
                let refusal = match () {
                    () if self.jobs.contains_key(&job) => {
                        Some((Why::BadOrder, "a job of this number stands".to_owned()))
                    }
                    () if self.jobs.len() >= JOBS_MAX => {
                        Some((Why::Full, format!("renditions of {JOBS_MAX} streams are made here already")))
                    }
                    () => None,
                };
                if let Some((why, error)) = refusal {
                    return self.reporter.tell(Report::Ended { job, rendition: None, why, error: Some(error) });
                }
                sandbox::make_room(self.jobs.len() + 1, self.watches.len());
                let running = Job::start(job, source, renditions, self.reporter.clone(), &self.decoded);
                self.jobs.insert(job, running);
            }
            // A job that is over has told so; the order was on its way.
            Order::Renditions { job, renditions } => {
                if let Some(running) = self.jobs.get_mut(&job) {
                    running.set(renditions);
                }
            }
            Order::Stop { job } => {
                if let Some(running) = self.jobs.remove(&job) {
                    running.stop();
                }
            }
            Order::Snapshot { request, source, width_max, quality } => {
                let stream = crate::net::source::stream_of(&source);
                let running = self.decoded.newest(&stream);
                let running = running.map(|(picture, colour, pts_ms)| Taken { picture, colour, pts_ms });
                self.snapshots.ask(source, Request { id: request, width_max, quality }, running);
            }
            Order::Watch { watch, source, motion } => {
                if self.watches.contains_key(&watch) || self.watches.len() >= WATCHES_MAX {
                    let error = Some("a watch of this number stands, or there are too many".to_owned());
                    return self.reporter.tell(Report::WatchEnded { watch, why: Why::BadOrder, error });
                }
                sandbox::make_room(self.jobs.len(), self.watches.len() + 1);
                match Watch::start(watch, source, motion, self.reporter.clone(), self.decoded.clone()) {
                    Ok(running) => drop(self.watches.insert(watch, running)),
                    Err(error) => {
                        let error = Some(format!("no thread: {error}"));
                        self.reporter.tell(Report::WatchEnded { watch, why: Why::Failed, error });
                    }
                }
            }
            Order::Unwatch { watch } => drop(self.watches.remove(&watch)),
            Order::Unknown => tracing::warn!("an order of a newer version"),
        }
    }
}
