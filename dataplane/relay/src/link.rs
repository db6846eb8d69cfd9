//! What the two ends of a target share: whether blocks are wanted, through which streams this one has come, and what people are told. Written by
//! [`super::push`] and [`super::follower`]; read by [`super::relays`].
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use millstream_control_protocol::live::Relay;
use millstream_hub::package::block::Block;
use millstream_proto::rtmp::relay_path::RelayPath;
use tokio::sync::watch;

/// Blocks on their way from the shard to the task: a second or so of a stream.
pub(super) const QUEUE_BLOCKS: usize = 32;

/// What a follower hands over.
#[derive(Debug)]
pub(super) struct Piece {
    /// The connection that it is for: what was meant for one before it is of no use.
    pub(super) connection: u64,
    /// The next block of the log; where some before it are lost, `after_loss`.
    pub(super) block: Arc<Block>,
    pub(super) after_loss: bool,
}

/// How a target is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Connecting,
    OnAir,
    Waiting,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::OnAir => "on_air",
            Self::Waiting => "waiting",
        }
    }
}

#[derive(Debug)]
struct Shown {
    state: State,
    since_unix_ms: u64,
    tries: u64,
    last_error: Option<String>,
}

/// One target of a stream.
#[derive(Debug)]
pub(super) struct Link {
    /// Its address, without the key.
    pub(super) target: String,
    /// The connection that blocks are wanted for; 0: none now.
    wanted: AtomicU64,
    path: watch::Sender<Option<RelayPath>>,
    shown: Mutex<Shown>,
    sent_bytes: AtomicU64,
    skips: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Link {
    pub(super) fn new(target: String) -> Self {
        let shown = Shown { state: State::Connecting, since_unix_ms: now_unix_ms(), tries: 0, last_error: None };
        Self {
            target,
            wanted: AtomicU64::new(0),
            path: watch::Sender::new(None),
            shown: Mutex::new(shown),
            sent_bytes: AtomicU64::new(0),
            skips: AtomicU64::new(0),
        }
    }

    /// The connection that blocks are wanted for, if one is.
    pub(super) fn wanted(&self) -> Option<u64> {
        Some(self.wanted.load(Ordering::Acquire)).filter(|connection| *connection != 0)
    }

    /// Blocks are wanted for this connection from here on, beginning at the newest keyframe; 0: none are.
    pub(super) fn want(&self, connection: u64) {
        self.wanted.store(connection, Ordering::Release);
    }

    /// Which way the stream has come, once that is known.
    pub(super) async fn path(&self) -> RelayPath {
        let mut path = self.path.subscribe();
        // The sender is here: it cannot be gone.
        let known = path.wait_for(Option::is_some).await;
        known.ok().and_then(|path| path.clone()).unwrap_or_default()
    }

    /// The stream has come this way.
    pub(super) fn set_path(&self, path: RelayPath) {
        self.path.send_replace(Some(path));
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn skipped(&self) {
        self.skips.fetch_add(1, Ordering::Relaxed);
    }

    /// It is in this state from now on; `error`: why the connection before it failed or ended.
    pub(super) fn enter(&self, state: State, error: Option<String>) {
        let shown = &mut *lock(&self.shown);
        (shown.state, shown.since_unix_ms) = (state, now_unix_ms());
        shown.tries += u64::from(state == State::Connecting);
        if error.is_some() {
            shown.last_error = error;
        }
    }

    pub(super) fn state(&self) -> State {
        lock(&self.shown).state
    }

    /// As people see it.
    pub(super) fn shown(&self) -> Relay {
        let shown = lock(&self.shown);
        Relay {
            target: self.target.clone(),
            state: shown.state.word().to_owned(),
            since_unix_ms: shown.since_unix_ms,
            tries: shown.tries,
            last_error: shown.last_error.clone(),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            skips: self.skips.load(Ordering::Relaxed),
        }
    }
}
