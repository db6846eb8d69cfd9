//! What is wanted, and what a worker has to be told of it: the difference, looked at again after each change, so that nothing is lost with a
//! worker that ends or a message that comes late. Sans-IO. Between [`super::workers`] and [`super::process`].
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_hub::config::Rendition;
use millstream_hub::encodable::PictureCodec;
use millstream_proto::id::{Id, RenditionName};
use millstream_worker::protocol::{self, Order, Report, Why};

use super::marks::Spoken;

/// A stream that its worker does not find is looked for again after this long: it may have begun anew.
const GONE_WAIT: Duration = Duration::from_millis(300);
/// What failed is tried again after this long.
const FAILED_WAIT: Duration = Duration::from_secs(2);
/// And what cannot be done before something has changed: the stream, or the load of the machine.
const HOPELESS_WAIT: Duration = Duration::from_secs(20);

/// A rendition that the machine was too slow for counts as not made until it is, or for so long: it has been tried again by then.
const SHED_FOR: Duration = Duration::from_secs(35);
const _: () = assert!(SHED_FOR.as_secs() > HOPELESS_WAIT.as_secs());

/// Renditions that are wanted, by their streams.
pub(crate) type Wanted = BTreeMap<Id, Vec<Rendition>>;

/// Adds what somebody asks for. False: it was wanted already.
pub(crate) fn want(wanted: &mut Wanted, stream: &Id, rendition: &Rendition) -> bool {
    let of_stream = wanted.entry(stream.clone()).or_default();
    if of_stream.contains(rendition) {
        return false;
    }
    of_stream.retain(|other| other.name != rendition.name);
    of_stream.push(rendition.clone());
    of_stream.sort_by_key(|rendition| (rendition.height_max, rendition.video_kbit_s));
    true
}

/// Removes what nobody asks for. False: it was not wanted.
pub(crate) fn unwant(wanted: &mut Wanted, stream: &Id, name: &RenditionName) -> bool {
    let Some(of_stream) = wanted.get_mut(stream) else { return false };
    let before = of_stream.len();
    of_stream.retain(|rendition| rendition.name != *name);
    let removed = of_stream.len() < before;
    if of_stream.is_empty() {
        wanted.remove(stream);
    }
    removed
}

/// Where the worker reads a stream and publishes a rendition.
pub(crate) trait Places {
    /// The stream over HTTP-FLV.
    fn source(&self, stream: &Id) -> protocol::SecretUrl;
    /// The rendition over RTMP.
    fn push(&self, rendition: &Id) -> protocol::SecretUrl;
    /// What is drawn over its renditions.
    fn marks(&self, stream: &Id, now: Instant) -> Spoken;
}

/// What one worker has been told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    jobs: HashMap<Id, Job>,
    last_job: u64,
    /// Streams and renditions that are not tried before then.
    paused: HashMap<Id, Instant>,
    /// Renditions that the machine was too slow for, by when.
    shed: BTreeMap<Id, Instant>,
    begun: bool,
}

#[derive(Debug)]
struct Job {
    number: u64,
    renditions: Vec<Rendition>,
    marks: Spoken,
    /// Those that are published.
    started: Vec<String>,
}

impl Told {
    /// Of a worker to which none of these streams is given before that time.
    pub(crate) fn without<'a>(left_out: impl Iterator<Item = (&'a Id, Instant)>) -> Self {
        Self { paused: left_out.map(|(stream, until)| (stream.clone(), until)).collect(), ..Self::default() }
    }

    /// Whether nothing has been told yet: true once.
    pub(crate) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    /// What is to be said now, and when there may be more to say without a change.
    pub(crate) fn orders(
        &mut self,
        wanted: &Wanted,
        places: &impl Places,
        now: Instant,
    ) -> (Vec<(Order, Bytes)>, Option<Instant>) {
        self.paused.retain(|_, until| *until > now);
        self.shed.retain(|_, until| *until > now);
        let mut orders = Vec::new();
        self.jobs.retain(|stream, job| {
            let stays = wanted.contains_key(stream);
            if !stays {
                orders.push((Order::Stop { job: job.number }, Bytes::new()));
            }
            stays
        });
        for (stream, renditions) in wanted {
            let is_paused = |id: &Id| self.paused.contains_key(id);
            if is_paused(stream) {
                continue;
            }
            let due = renditions.iter().filter(|rendition| !is_paused(&stream.of_rendition(&rendition.name)));
            let due: Vec<Rendition> = due.cloned().collect();
            let say = |renditions: &[Rendition]| -> Vec<protocol::Rendition> {
                renditions.iter().map(|rendition| spoken(stream, rendition, places)).collect()
            };
            if let Some(job) = self.jobs.get_mut(stream) {
                let marks = places.marks(stream, now);
                if job.marks != marks {
                    orders.push((Order::Marks { job: job.number, marks: marks.marks.clone() }, marks.payload()));
                    job.marks = marks;
                }
            }
            match self.jobs.get_mut(stream) {
                Some(job) if job.renditions == due => {}
                Some(job) => {
                    orders.push((Order::Renditions { job: job.number, renditions: say(&due) }, Bytes::new()));
                    job.renditions = due;
                }
                None if due.is_empty() => {}
                None => {
                    self.last_job += 1;
                    let job = self.last_job;
                    let spoken = places.marks(stream, now);
                    let (source, renditions, marks) = (places.source(stream), say(&due), spoken.marks.clone());
                    orders.push((Order::Start { job, source, renditions, marks }, spoken.payload()));
                    let started = Vec::new();
                    self.jobs.insert(stream.clone(), Job { number: job, renditions: due, marks: spoken, started });
                }
            }
        }
        (orders, self.paused.values().min().copied())
    }

    /// Takes what the worker says; gives the stream or rendition that it speaks of, if that is one of ours.
    pub(crate) fn heard(&mut self, report: &Report, now: Instant) -> Option<Id> {
        let number = match report {
            Report::Started { job, .. }
            | Report::Ended { job, .. }
            | Report::Load { job, .. }
            | Report::Marked { job, .. } => *job,
            _ => return None,
        };
        let (stream, job) = self.jobs.iter_mut().find(|(_, job)| job.number == number)?;
        let stream = stream.clone();
        let of_name = |name: &str| Some(stream.of_rendition(&RenditionName::new(name)?));
        match report {
            Report::Started { rendition, .. } => {
                if !job.started.contains(rendition) {
                    job.started.push(rendition.clone());
                }
                let id = of_name(rendition)?;
                self.shed.remove(&id);
                Some(id)
            }
            Report::Ended { rendition: Some(name), why, .. } => {
                job.renditions.retain(|rendition| rendition.name.as_str() != name);
                job.started.retain(|started| started != name);
                let id = of_name(name)?;
                self.paused.insert(id.clone(), now + wait_after(*why));
                if *why == Why::TooSlow {
                    self.shed.insert(id.clone(), now + SHED_FOR);
                }
                Some(id)
            }
            Report::Ended { rendition: None, why, .. } => {
                self.jobs.remove(&stream);
                self.paused.insert(stream.clone(), now + wait_after(*why));
                Some(stream)
            }
            _ => Some(stream),
        }
    }

    /// The stream of a job.
    pub(crate) fn stream_of(&self, job: u64) -> Option<&Id> {
        self.jobs.iter().find(|(_, known)| known.number == job).map(|(stream, _)| stream)
    }

    /// Renditions that are wanted, and that the machine is too slow for.
    pub(crate) fn shed(&self, wanted: &Wanted, now: Instant) -> BTreeMap<Id, Vec<String>> {
        let mut shed: BTreeMap<Id, Vec<String>> = BTreeMap::new();
        for (rendition, _) in self.shed.iter().filter(|(_, until)| **until > now) {
            let Some((stream, name)) = rendition.rendition() else { continue };
            if wanted.get(&stream).is_some_and(|wanted| wanted.iter().any(|one| one.name == name)) {
                shed.entry(stream).or_default().push(name.to_string());
            }
        }
        shed
    }

    /// Renditions that are published.
    pub(crate) fn started(&self) -> usize {
        self.jobs.values().map(|job| job.started.len()).sum()
    }
}

/// How long what ended is not tried again.
pub(crate) const fn wait_after(why: Why) -> Duration {
    match why {
        Why::Gone | Why::Stopped => GONE_WAIT,
        Why::Unsupported | Why::TooLarge | Why::NotSmaller | Why::TooSlow | Why::Full | Why::BadOrder => HOPELESS_WAIT,
        _ => FAILED_WAIT,
    }
}

fn spoken(stream: &Id, rendition: &Rendition, places: &impl Places) -> protocol::Rendition {
    protocol::Rendition {
        name: rendition.name.to_string(),
        push: places.push(&stream.of_rendition(&rendition.name)),
        width_max: rendition.width_max,
        height_max: rendition.height_max,
        video_kbit_s: rendition.video_kbit_s,
        codec: match rendition.codec() {
            PictureCodec::H264 => protocol::PictureCodec::H264,
            PictureCodec::Av1 => protocol::PictureCodec::Av1,
            PictureCodec::Hevc => protocol::PictureCodec::Hevc,
        },
    }
}

#[cfg(test)]
mod tests;
