//! The disk's thread: takes what the queues have, writes it, has it synced and stored, tells what happened. Before it: [`super::queue`]; after it:
//! [`crate::recorder::Recorder`], which decides all of it.
use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millstream_proto::id::Id;
use millstream_proto::time::Time;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::Snapshot;
use super::jobs::{make, perform};
use super::queue::{Feed, Queues};
use crate::limits::{CHANGES_PER_TURN, IDLE_LOOK_EVERY, LOOK_EVERY};
use crate::movie::copy::Built;
use crate::movie::make::MakeError;
use crate::name::RecordingName;
use crate::recorder::deleting::{DeleteError, Standing};
use crate::recorder::{Event, MovieJob, Recorder, StreamKey};
use crate::settings::StreamSettings;
use crate::spool::directory::{self, Directory};
use crate::spool::disk::{DiskError, SyncBatch};
use crate::store::Store;
use crate::uploader::{JobId, Moment, Outcome, StoreNews};

/// What the numbers are told anew after.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What other threads tell this one.
pub(super) enum Command {
    /// A stream is there.
    Follow(Id, StreamSettings, Feed),
    /// An MP4 file was made, or not.
    Made(Box<(MovieJob, Result<Built, MakeError>)>),
    /// How far is it?
    Look(RecordingName, oneshot::Sender<Standing>),
    /// It is to be removed.
    Delete(RecordingName, oneshot::Sender<Result<Option<Vec<String>>, DeleteError>>),
    /// The store cannot be used, for this reason.
    Unusable(String),
    /// The store has answered.
    Done(JobId, Outcome),
    /// A batch is durable, or not.
    Synced(Result<(), DiskError>),
    /// Write and sync what is there, and end.
    Stop,
}

/// What a clock of this process says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Moment {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX);
        Moment {
            // Not its first moment: what was "never" lies before it.
            now: Time::from_micros(micros.saturating_add(1)),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// A stream that is followed.
struct Followed {
    key: StreamKey,
    feed: Feed,
}

/// All that the thread has.
pub(super) struct DiskThread {
    pub(super) recorder: Recorder<Directory>,
    pub(super) clock: Clock,
    pub(super) commands: Receiver<Command>,
    pub(super) sender: Sender<Command>,
    pub(super) queues: Arc<Queues>,
    pub(super) store: Arc<dyn Store>,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) events: tokio::sync::mpsc::Sender<Event>,
    pub(super) snapshot: Arc<Mutex<Arc<Snapshot>>>,
    pub(super) syncs: Sender<SyncBatch<Arc<File>>>,
    pub(super) spool: PathBuf,
}

impl DiskThread {
    pub(super) fn run(mut self) {
        let _ = self.queues.thread.set(std::thread::current());
        let (mut followed, mut running) = (Vec::new(), HashMap::new());
        let mut told_at: Option<Time> = None;
        loop {
            let stops = self.take_commands(&mut followed, &mut running);
            let mut is_behind = false;
            followed.retain_mut(|stream| self.take_changes(stream, &mut is_behind));
            let moment = self.clock.now();
            self.recorder.poll(moment);
            self.begin_jobs(&mut running, moment);
            if stops {
                return self.finish(&mut followed);
            }
            if let Some(batch) = self.recorder.begin_sync(moment.now) {
                // Its thread lives as long as this one.
                let _ = self.syncs.send(batch);
            }
            self.tell(&mut told_at, moment);
            if !is_behind {
                // Whoever begins to be followed wakes it.
                let has_work = !followed.is_empty() || self.recorder.has_recordings();
                std::thread::park_timeout(if has_work { LOOK_EVERY } else { IDLE_LOOK_EVERY });
            }
        }
    }

    /// True: it is to end.
    fn take_commands(&mut self, followed: &mut Vec<Followed>, running: &mut HashMap<JobId, AbortHandle>) -> bool {
        let mut stops = false;
        while let Ok(command) = self.commands.try_recv() {
            let moment = self.clock.now();
            match command {
                Command::Follow(id, settings, feed) => {
                    let key = self.recorder.follow(id, settings);
                    followed.push(Followed { key, feed });
                }
                // Who asked may have gone.
                Command::Look(name, tell) => {
                    let _ = tell.send(self.recorder.standing(&name));
                }
                Command::Delete(name, tell) => {
                    let _ = tell.send(self.recorder.delete(&name));
                }
                Command::Done(id, outcome) => {
                    running.remove(&id);
                    self.recorder.store_done(id, outcome, moment);
                }
                Command::Unusable(error) => self.recorder.store_unusable(&error),
                Command::Made(made) => self.recorder.movie_built(&made.0, made.1, moment),
                Command::Synced(result) => self.recorder.synced(&result, moment),
                Command::Stop => stops = true,
            }
        }
        stops
    }

    /// Takes what a stream has, as far as it is its turn. False: nothing more comes of it.
    fn take_changes(&mut self, stream: &mut Followed, is_behind: &mut bool) -> bool {
        let moment = self.clock.now();
        for _ in 0..CHANGES_PER_TURN {
            let Some(next) = stream.feed.next() else {
                let is_over = stream.feed.is_over();
                if is_over {
                    if stream.feed.is_cut_off() {
                        self.recorder.end_lost(stream.key);
                    }
                    self.recorder.unfollow(stream.key, moment);
                }
                return !is_over;
            };
            self.recorder.change(stream.key, next, moment);
        }
        *is_behind = true;
        true
    }

    fn begin_jobs(&mut self, running: &mut HashMap<JobId, AbortHandle>, moment: Moment) {
        for id in self.recorder.take_cancelled() {
            if let Some(task) = running.remove(&id) {
                task.abort();
            }
        }
        for job in self.recorder.movie_jobs(moment) {
            let (spool, sender, queues) = (self.spool.clone(), self.sender.clone(), Arc::clone(&self.queues));
            self.runtime.spawn(async move {
                let made = make(spool, job).await;
                let _ = sender.send(Command::Made(Box::new(made)));
                queues.wake();
            });
        }
        for job in self.recorder.store_jobs(moment) {
            let (id, store, sender) = (job.job.id, Arc::clone(&self.store), self.sender.clone());
            let (queues, spool) = (Arc::clone(&self.queues), self.spool.clone());
            let task = self.runtime.spawn(async move {
                let outcome = perform(store, &spool, job.job, job.file, job.movie).await;
                // Nobody is there to hear it when the server stops.
                let _ = sender.send(Command::Done(id, outcome));
                queues.wake();
            });
            running.insert(id, task.abort_handle());
        }
    }

    /// What is there is written and synced: the next start goes on from there.
    fn finish(&mut self, followed: &mut Vec<Followed>) {
        for mut stream in followed.drain(..) {
            while let Some(next) = stream.feed.next() {
                let moment = self.clock.now();
                self.recorder.change(stream.key, next, moment);
            }
        }
        let everything = self.recorder.everything();
        if let Err(error) = directory::sync(&self.spool, &everything) {
            tracing::warn!(%error, "the spool could not be synced at the end");
        }
        self.tell(&mut None, self.clock.now());
    }

    fn tell(&mut self, told_at: &mut Option<Time>, moment: Moment) {
        for event in self.recorder.take_events() {
            tracing::info!(stream = event.stream, recording = event.recording, event = ?event.kind, "recording");
            if self.events.try_send(event).is_err() {
                self.recorder.event_lost();
            }
        }
        match self.recorder.store_news() {
            Some(StoreNews::Away(error)) => {
                tracing::error!(%error, "recordings cannot be stored: they wait in the spool, and uploads are tried again until they are");
            }
            Some(StoreNews::Back) => tracing::info!("recordings are stored again"),
            None => {}
        }
        if told_at.is_some_and(|at| moment.now.since(at) < TELL_EVERY) {
            return;
        }
        *told_at = Some(moment.now);
        self.recorder.tell_waiting(moment);
        let snapshot = Snapshot {
            numbers: self.recorder.numbers(),
            queue_full: self.queues.full.load(Ordering::Relaxed),
            recordings: self.recorder.recordings(),
            foreign: self.recorder.foreign().to_vec(),
        };
        if let Ok(mut told) = self.snapshot.lock() {
            *told = Arc::new(snapshot);
        }
    }
}
