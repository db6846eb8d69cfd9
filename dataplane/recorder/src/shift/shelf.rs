//! All time shifts of a server, and their text: made when somebody asks, on a thread that may wait, and dropped when nobody has asked for a while. Before
//! it: [`super::Shift`]; after it: shards, which never wait here, and who gives out segments.
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_hub::package::archive::{Archive, ArchivedTrack, CHUNK_SEGMENTS, Chunk, ChunkWriter};
use millstream_hub::package::change::Session;
use millstream_hub::package::file_name::Name;
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::{Located, Shift};
use crate::limits::SHIFTS_PAST_MAX;
use crate::name::{TRACKS, place};

/// Text that nobody has asked for is dropped at the second look of this distance.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// What nobody watched when it ended stays for so long: the last playlists of a stream that is over are still given out, and one whose settings have
/// changed is followed anew.
const UNWATCHED_FOR: Duration = Duration::from_mins(1);

/// All of them.
#[derive(Debug, Default)]
pub struct Shelf {
    boards: Mutex<Boards>,
}

#[derive(Debug, Default)]
struct Boards {
    /// Of streams that are recorded.
    current: HashMap<Id, Arc<Board>>,
    /// Of those that were, for who still watches them; until then.
    past: VecDeque<(Id, Arc<Board>, Time)>,
    swept_at: Option<Time>,
}

/// One of them.
#[derive(Debug)]
pub struct Board {
    shift: Mutex<Shift>,
    text: Mutex<Text>,
    /// The newest archive; looked at by shards.
    published: Mutex<Option<Arc<Archive>>>,
    /// Somebody makes a newer one.
    is_busy: AtomicBool,
    /// Somebody has asked since it was last swept.
    is_asked: AtomicBool,
}

/// Whole chunks of both tracks.
#[derive(Debug, Default)]
struct Text {
    generation: u64,
    chunks: [Vec<Arc<Chunk>>; 2],
}

/// What a shard finds.
#[derive(Clone, Debug)]
pub enum Shelved {
    /// The stream is not recorded.
    Nothing,
    /// Not now; it is looked up again.
    Busy,
    /// This stream is.
    Board(Arc<Board>),
}

/// What panics elsewhere leave is whole: nothing in here stops half-way.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    /// A stream's recording begins. Goes on with what there is of the same session.
    pub fn begin(&self, id: &Id, session: &Session, reach_ms: u64) -> Arc<Board> {
        let boards = &mut *locked(&self.boards);
        let is_same = |board: &Arc<Board>| locked(&board.shift).session() == session.name;
        if let Some(known) = boards.current.get(id).filter(|board| is_same(board)) {
            return Arc::clone(known);
        }
        let at = boards.past.iter().position(|(of, board, _)| of == id && is_same(board));
        let board = match at.and_then(|at| boards.past.remove(at)) {
            Some((_, board, _)) => board,
            None => Arc::new(Board::new(Shift::new(session, reach_ms))),
        };
        boards.current.insert(id.clone(), Arc::clone(&board));
        board
    }

    /// This one is over. What somebody watches stays for as long as it reaches back.
    pub fn end(&self, id: &Id, board: &Arc<Board>, now: Time) {
        let boards = &mut *locked(&self.boards);
        // Another one may have begun before this one was told its end.
        if boards.current.get(id).is_some_and(|current| Arc::ptr_eq(current, board)) {
            boards.current.remove(id);
        }
        let reach = Duration::from_millis(locked(&board.shift).reach_ms());
        let until = now + if board.is_watched() { reach } else { UNWATCHED_FOR };
        boards.past.push_back((id.clone(), Arc::clone(board), until));
        if boards.past.len() > SHIFTS_PAST_MAX {
            // Those that nobody watches go first.
            let unwatched = boards.past.iter().position(|(_, board, _)| !board.is_watched());
            boards.past.remove(unwatched.unwrap_or(0));
        }
    }

    /// To be called now and then.
    pub fn sweep(&self, now: Time) {
        let boards = &mut *locked(&self.boards);
        if boards.swept_at.is_some_and(|at| now.since(at) < SWEEP_EVERY) {
            return;
        }
        boards.swept_at = Some(now);
        boards.past.retain(|(.., until)| *until > now);
        let past = boards.past.iter().map(|(_, board, _)| board);
        for board in boards.current.values().chain(past) {
            if !board.is_asked.swap(false, Ordering::Relaxed) {
                *locked(&board.published) = None;
                *locked(&board.text) = Text::default();
            }
        }
    }

    /// That of a stream that is recorded; of one that is over, that of the session with this name. Never waits.
    pub fn look(&self, id: &Id, over: Option<&str>) -> Shelved {
        let Ok(boards) = self.boards.try_lock() else { return Shelved::Busy };
        let Some(session) = over else {
            return boards.current.get(id).map_or(Shelved::Nothing, |board| Shelved::Board(Arc::clone(board)));
        };
        for board in boards.of(id) {
            match board.shift.try_lock() {
                Ok(shift) if shift.session() == session => return Shelved::Board(Arc::clone(board)),
                Ok(_) => {}
                Err(_) => return Shelved::Busy,
            }
        }
        Shelved::Nothing
    }

    /// Where a file of a session is.
    pub fn locate(&self, id: &Id, session: &str, track: Track, name: Name) -> Option<Located> {
        let boards: Vec<Arc<Board>> = {
            let boards = locked(&self.boards);
            boards.of(id).cloned().collect()
        };
        boards.iter().find_map(|board| {
            let shift = locked(&board.shift);
            if shift.session() == session { shift.locate(track, name) } else { None }
        })
    }
}

impl Boards {
    /// Those of a stream, the newest first.
    fn of(&self, id: &Id) -> impl Iterator<Item = &Arc<Board>> {
        let past = self.past.iter().rev().filter(move |(of, ..)| of == id).map(|(_, board, _)| board);
        self.current.get(id).into_iter().chain(past)
    }
}

impl Board {
    fn new(shift: Shift) -> Self {
        Self {
            shift: Mutex::new(shift),
            text: Mutex::default(),
            published: Mutex::default(),
            is_busy: AtomicBool::new(false),
            is_asked: AtomicBool::new(false),
        }
    }

    /// Somebody has asked for it lately.
    fn is_watched(&self) -> bool {
        locked(&self.published).is_some()
    }

    /// The recorder has news.
    pub(crate) fn tell<T>(&self, news: impl FnOnce(&mut Shift) -> T) -> T {
        news(&mut locked(&self.shift))
    }

    /// The newest archive. Never waits.
    pub fn archive(&self) -> Option<Arc<Archive>> {
        self.published.try_lock().ok()?.clone()
    }

    /// It is wanted. True: a newer one is to be made, by who asks.
    pub fn ask(&self) -> bool {
        self.is_asked.store(true, Ordering::Relaxed);
        !self.is_busy.swap(true, Ordering::Acquire)
    }

    /// Makes a newer one. Takes some milliseconds for each hour that is not text yet.
    pub fn renew(&self) {
        static VERSION: AtomicU64 = AtomicU64::new(1);
        let archive = {
            let text = &mut *locked(&self.text);
            let (session, reach_ms, generation) = {
                let shift = locked(&self.shift);
                (shift.session().to_owned(), shift.reach_ms(), shift.generation())
            };
            if text.generation != generation {
                *text = Text { generation, ..Text::default() };
            }
            let tracks = TRACKS.map(|track| self.renew_track(&session, track, &mut text.chunks[place(track)]));
            Archive { version: VERSION.fetch_add(1, Ordering::Relaxed), session, reach_ms, tracks }
        };
        *locked(&self.published) = Some(Arc::new(archive));
        self.is_busy.store(false, Ordering::Release);
    }

    fn renew_track(&self, session: &str, track: Track, chunks: &mut Vec<Arc<Chunk>>) -> Option<ArchivedTrack> {
        let first = locked(&self.shift).first_msn(track)?;
        // A chunk whose first segments are gone goes as a whole.
        let gone = chunks.partition_point(|chunk| chunk.first_msn < first);
        chunks.drain(..gone);
        let partial = loop {
            let from = chunks.last().map_or(first, |last| last.end_msn());
            // The recorder waits for no text.
            let segments = locked(&self.shift).segments(track, from, CHUNK_SEGMENTS as usize);
            let mut writer = ChunkWriter::new(session, track, chunks.last().map(|last| last.header));
            let mut is_whole = false;
            for segment in segments {
                if !writer.takes(&segment) {
                    is_whole = true;
                    break;
                }
                writer.push(segment);
            }
            is_whole |= writer.is_full();
            match writer.finish(is_whole).map(Arc::new) {
                Some(chunk) if chunk.is_whole => chunks.push(chunk),
                partial => break partial,
            }
        };
        let chunks: Vec<Arc<Chunk>> = chunks.iter().cloned().chain(partial).collect();
        let first_msn = chunks.first().map_or(first, |chunk| chunk.first_msn);
        Some(ArchivedTrack { first_msn, chunks })
    }
}
