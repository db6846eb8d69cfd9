//! Jobs: the renditions of a stream, made by threads. Before it: [`crate::run`] has an order; after it: the node's ports.
//!
//! The threads of a job, in the order of a frame: [`reader`] (a connection to the source), [`pipeline`] (decodes; one for the stream), and for
//! each rendition [`encoder`] and [`pusher`]. Between them are bounded queues of [`crate::queue`].
//!
//! A rendition that is added while its job runs does not wait for a keyframe: it gets a pipeline of its own, whose connection begins at the
//! newest keyframe, and goes over to the job's pipeline at a keyframe that both have ([`meeting`]).
//!
//! Invariants: no queue grows past its bound; a rendition that cannot be sent loses frames up to a keyframe and holds nothing up; a job that
//! falls behind ends its highest rendition.
mod encoder;
mod marking;
mod meeting;
mod pace;
mod pipeline;
mod pusher;
mod reader;
mod rendition;
mod running;
mod shared;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::protocol::{NAME_CHARS_MAX, PictureCodec, RENDITIONS_MAX, Rendition, SecretUrl, Why};
use crate::reporter::Reporter;
use marking::Marking;
pub(crate) use marking::Said;
use pipeline::{Pipeline, Role};
use running::Running;
pub(crate) use shared::Jobs;
use shared::Shared;

/// Pixels and kbit/s that a rendition may ask for.
const KBIT_S: std::ops::RangeInclusive<u32> = 16..=100_000;
const SIDE: std::ops::RangeInclusive<u32> = 16..=4096;

/// One job. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Job {
    shared: Arc<Shared>,
    renditions: Vec<(Rendition, Arc<Running>)>,
    /// Tells the job's pipeline that nobody needs it.
    pipeline: Option<Arc<AtomicBool>>,
    marking: Marking,
}

impl Job {
    /// Starts a job, whose pictures are shared with `jobs`.
    pub(crate) fn start(
        id: u64,
        source: SecretUrl,
        renditions: Vec<Rendition>,
        marks: Said,
        (reporter, jobs): (Reporter, &Jobs),
    ) -> Self {
        tracing::info!(job = id, renditions = renditions.len(), "job starts");
        let shared = Arc::new(Shared::new(id, source, reporter, (jobs.ffmpeg(), jobs.room())));
        jobs.add(&shared);
        let marking = Marking::new(&marks.fonts);
        let mut job = Self { shared, renditions: Vec::new(), pipeline: None, marking };
        if !marks.is_empty() {
            job.mark(marks);
        }
        job.set(renditions);
        job
    }

    /// The new whole set of renditions.
    pub(crate) fn set(&mut self, wanted: Vec<Rendition>) {
        if let Err(error) = check(&wanted) {
            return self.shared.end(Why::BadOrder, Some(error.to_owned()));
        }
        self.renditions.retain(|(rendition, running)| {
            let stays = !running.is_over() && wanted.contains(rendition);
            if !stays {
                running.end(Why::Stopped, None);
            }
            stays
        });
        let known: HashSet<String> = self.renditions.iter().map(|(rendition, _)| rendition.name.clone()).collect();
        let new: Vec<Rendition> = wanted.into_iter().filter(|rendition| !known.contains(&rendition.name)).collect();
        if self.renditions.is_empty()
            && let Some(unneeded) = self.pipeline.take()
        {
            // Nothing goes over to it; what is new gets a pipeline that is then the job's.
            unneeded.store(true, Ordering::Relaxed);
            self.shared.meeting.forget();
        }
        if new.is_empty() {
            return;
        }
        if let Err(error) = self.add(new) {
            self.shared.end(Why::Failed, Some(format!("no thread: {error}")));
        }
    }

    fn add(&mut self, new: Vec<Rendition>) -> io::Result<()> {
        let role = if self.pipeline.is_some() { Role::Joins } else { Role::Whole };
        let mut outlets = Vec::new();
        for rendition in new {
            let (running, outlet) = rendition::start(&self.shared, &rendition)?;
            self.renditions.push((rendition, running));
            outlets.push(outlet);
        }
        let unneeded = Arc::new(AtomicBool::new(false));
        Pipeline::start(&self.shared, role, outlets, Arc::clone(&unneeded))?;
        if role == Role::Whole {
            self.pipeline = Some(unneeded);
        }
        Ok(())
    }

    /// What is drawn over its renditions from now on.
    pub(crate) fn mark(&mut self, marks: Said) {
        self.marking.say(&self.shared, marks);
    }

    /// Ends the job.
    pub(crate) fn stop(self) {
        self.shared.end(Why::Stopped, None);
    }

    /// It has ended by itself.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.is_over()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.shared.leave();
    }
}

fn check(renditions: &[Rendition]) -> Result<(), &'static str> {
    if renditions.len() > RENDITIONS_MAX {
        return Err("too many renditions");
    }
    let mut names = HashSet::new();
    for rendition in renditions {
        if rendition.name.is_empty() || rendition.name.chars().count() > NAME_CHARS_MAX {
            return Err("a rendition's name is empty or too long");
        }
        if !names.insert(&rendition.name) {
            return Err("two renditions of one name");
        }
        if rendition.codec == PictureCodec::Unknown {
            return Err("a rendition is to be encoded as something that this worker does not know");
        }
        if !KBIT_S.contains(&rendition.video_kbit_s)
            || !SIDE.contains(&rendition.width_max)
            || !SIDE.contains(&rendition.height_max)
        {
            return Err("a rendition's size or bit rate is out of range");
        }
    }
    Ok(())
}
