//! The recorder as a server runs it: a thread for the disk, one for syncs, and the store on a runtime that is given. The only files of this crate
//! with clocks and threads.
//!
//! Reading order: [`queue`] (from the shards), [`thread`] (the disk's), [`jobs`] (the store's), [`background`] (their priority), [`metrics`].
pub mod background;
mod jobs;
pub mod metrics;
mod queue;
#[cfg(test)]
mod tests;
mod thread;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use millstream_hub::package::archive::Archived;
use millstream_hub::package::file_name::Name;
use millstream_hub::subscriber::Subscriber;
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use tokio::sync::oneshot;

use self::queue::Queues;
use self::thread::{Clock, Command, DiskThread};
use crate::limits::EVENTS_MAX;
use crate::name::{RecordingName, object_file};
use crate::recorder::deleting::{DeleteError, Standing};
use crate::recorder::{Event, Numbers, Recorder, RecordingStatus};
use crate::settings::{Settings, StreamSettings};
use crate::shift::Located;
use crate::shift::shelf::{Shelf, Shelved};
use crate::spool::directory::{self, Directory, SpoolError};
use crate::spool::disk::DiskError;
use crate::store::Store;

/// Why the recorder cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its directory cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// What is in it cannot be read.
    #[error("the spool cannot be read: {0}; check the disk that it is on")]
    Disk(#[from] DiskError),
    /// The system gives no thread.
    #[error("no thread for the recorder: {0}")]
    Thread(std::io::Error),
}

/// The recorder at a moment, told anew each second.
#[derive(Clone, Default, Debug)]
pub struct Snapshot {
    /// Counts.
    pub numbers: Numbers,
    /// Times that a stream's queue was full.
    pub queue_full: u64,
    /// Recordings that are not done.
    pub recordings: Vec<RecordingStatus>,
    /// What in the spool is not the recorder's.
    pub foreign: Vec<String>,
}

/// The running recorder. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Handle {
    commands: Sender<Command>,
    queues: Arc<Queues>,
    snapshot: Arc<Mutex<Arc<Snapshot>>>,
    shelf: Arc<Shelf>,
    viewers: tokio::runtime::Handle,
    spool: Arc<Path>,
}

/// The recorder's threads, to be waited for.
#[derive(Debug)]
pub struct Threads(Vec<JoinHandle<()>>);

/// Starts it: recordings in the spool go on. Uploads run on that runtime, and what viewers wait for on `viewers`: it does not stand behind
/// the reads of uploads. Events come out of the receiver; those that nobody takes in time are counted.
pub fn start(
    spool: &Path,
    settings: Settings,
    store: Arc<dyn Store>,
    runtime: tokio::runtime::Handle,
    viewers: tokio::runtime::Handle,
) -> Result<(Handle, Threads, tokio::sync::mpsc::Receiver<Event>), StartError> {
    let clock = Clock::new();
    let recorder = Recorder::open(Directory::open(spool)?, settings, clock.now())?;
    let (commands, inbox) = channel();
    let (syncs, batches) = channel();
    let (events, outbox) = tokio::sync::mpsc::channel(EVENTS_MAX);
    let (queues, snapshot) = (Arc::new(Queues::default()), Arc::new(Mutex::default()));
    let handle = Handle {
        commands: commands.clone(),
        queues: Arc::clone(&queues),
        snapshot: Arc::clone(&snapshot),
        shelf: Arc::clone(recorder.shelf()),
        viewers,
        spool: spool.into(),
    };
    let disk = DiskThread {
        recorder,
        clock,
        commands: inbox,
        sender: commands.clone(),
        queues: Arc::clone(&queues),
        store,
        runtime,
        events,
        snapshot,
        syncs,
        spool: spool.to_owned(),
    };
    let spool = spool.to_owned();
    let synced = background::thread("recorder-sync", move || sync_batches(&spool, &batches, &commands, &queues));
    let written = background::thread("recorder-disk", move || disk.run());
    let threads = [written, synced].into_iter().collect::<Result<Vec<_>, _>>().map_err(StartError::Thread)?;
    Ok((handle, Threads(threads), outbox))
}

fn sync_batches(
    spool: &Path,
    batches: &Receiver<crate::spool::disk::SyncBatch<Arc<std::fs::File>>>,
    commands: &Sender<Command>,
    queues: &Queues,
) {
    while let Ok(batch) = batches.recv() {
        let result = directory::sync(spool, &batch);
        if commands.send(Command::Synced(result)).is_err() {
            return;
        }
        queues.wake();
    }
}

impl Handle {
    /// Who follows a stream that is to be recorded, on the shard that owns it: it has the stream packaged.
    pub fn follower(&self, id: &Id, settings: StreamSettings) -> Box<dyn Subscriber> {
        let (follower, feed) = queue::queue(&self.queues);
        // A recorder that has stopped drops the other end, and the follower is done.
        let _ = self.commands.send(Command::Follow(id.clone(), settings, feed));
        self.queues.wake();
        Box::new(follower)
    }

    /// How far a recording is.
    pub async fn standing(&self, name: &RecordingName) -> Standing {
        let (tell, told) = oneshot::channel();
        let _ = self.commands.send(Command::Look(name.clone(), tell));
        self.queues.wake();
        // A recorder that has ended has nothing that grows; what it left is read at the next start.
        told.await.unwrap_or(Standing::Storing)
    }

    /// The store was asked whether it can be used, and cannot: that is told once, whether or not anything is to be stored.
    pub fn store_unusable(&self, error: String) {
        let _ = self.commands.send(Command::Unusable(error));
        self.queues.wake();
    }

    /// Removes what the spool has of a recording that does not grow, and has nothing more of it stored. `Some`: something was there; these are the keys of
    /// its MP4 files.
    pub async fn delete(&self, name: &RecordingName) -> Result<Option<Vec<String>>, DeleteError> {
        let (tell, told) = oneshot::channel();
        let _ = self.commands.send(Command::Delete(name.clone(), tell));
        self.queues.wake();
        told.await.unwrap_or(Err(DeleteError::Ended))
    }

    /// What of a stream on air is recorded, as it is and soon newer; of one that is over, what was of the session with this name. Never waits, and may
    /// be called on a shard's thread.
    pub fn archive(&self, id: &Id, over: Option<&str>) -> Archived {
        let board = match self.shelf.look(id, over) {
            Shelved::Nothing => return Archived::NotRecorded,
            Shelved::Busy => return Archived::Soon,
            Shelved::Board(board) => board,
        };
        if board.ask() {
            let board = Arc::clone(&board);
            self.viewers.spawn_blocking(move || board.renew());
        }
        board.archive().map_or(Archived::Soon, Archived::Ready)
    }

    /// Whether a stream on air has a time shift, or may have one. Never waits.
    pub fn has_archive(&self, id: &Id) -> bool {
        !matches!(self.shelf.look(id, None), Shelved::Nothing)
    }

    /// Where a file is that playlists of a session of a stream named. May wait for a moment: not for shards.
    pub fn locate(&self, id: &Id, session: &str, track: Track, name: Name) -> Option<Located> {
        self.shelf.locate(id, session, track, name)
    }

    /// The file of an object in the spool, as long as it is there.
    pub fn spool_file(&self, recording: &RecordingName, track: Track, object: u32) -> PathBuf {
        self.spool.join(recording.as_str()).join(object_file(track, object))
    }

    /// The recorder as it was within the last second.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.lock().map(|told| Arc::clone(&told)).unwrap_or_default()
    }

    /// Writes and syncs what is there, and ends: the next start goes on from there.
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
        self.queues.wake();
    }
}

impl Threads {
    /// Waits for their end.
    pub fn join(self) {
        for thread in self.0 {
            if thread.join().is_err() {
                tracing::error!("a thread of the recorder panicked");
            }
        }
    }
}
