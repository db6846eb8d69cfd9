//! Room for revocations on a full disk: a file that is made shorter, a piece at a time, when a change that takes rights away finds no room.
//! What was given is taken back as soon as the disk has room for it.
use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file's name in the data directory.
const FILE: &str = "store.spare";
/// What it begins with, for whoever finds it.
const WORDS: &[u8] =
    b"Millstream keeps this room free so that tokens, keys and streams can be revoked when the disk is full. It is made again when it is missing.\n";
/// Bytes that are given at a time: about what one revocation adds to the log.
const PIECE_BYTES: u64 = 16 << 10;
/// Bytes that are kept at most: with as many the whole log can be taken into the file, whatever of it is new there.
const BYTES_MAX: u64 = 4 << 20;
/// Of what the disk has free no more than one part of so many is kept.
const PARTS: u64 = 4;
/// How often it is tried to have the whole of it again.
const TRY_EVERY: Duration = Duration::from_secs(10);

/// The file.
#[derive(Debug)]
pub(super) struct Spare {
    path: PathBuf,
    /// Bytes that it is to have.
    whole: u64,
    has: u64,
    /// Bytes that it had when it was made or grew last.
    had: u64,
    tried: Instant,
}

impl Spare {
    /// Takes the room, as far as the disk can do without it.
    pub(super) fn take(dir: &Path) -> Self {
        let path = dir.join(FILE);
        let has = fs::metadata(&path).map_or(0, |file| file.len());
        let free = nix::sys::statvfs::statvfs(dir)
            .map_or(0, |disk| disk.blocks_available().saturating_mul(disk.fragment_size()));
        let whole = (has + free / PARTS).min(BYTES_MAX) / PIECE_BYTES * PIECE_BYTES;
        let mut spare = Self { path, whole, has, had: has, tried: Instant::now() };
        spare.grow();
        spare
    }

    /// Gives a piece back to the disk; false: there is none left.
    pub(super) fn give(&mut self) -> bool {
        let less = self.has.saturating_sub(PIECE_BYTES);
        let given = self.has > 0
            && OpenOptions::new().write(true).open(&self.path).is_ok_and(|file| file.set_len(less).is_ok());
        self.has = if given { less } else { 0 };
        given
    }

    /// Whether there is half of what there was.
    pub(super) fn is_half_there(&self) -> bool {
        self.has * 2 >= self.had
    }

    /// Takes back what was given, as far as there is room; not at every call where there is none.
    pub(super) fn take_back(&mut self) {
        if self.has < self.whole && self.tried.elapsed() >= TRY_EVERY {
            self.tried = Instant::now();
            self.grow();
        }
    }

    fn grow(&mut self) {
        let grown = || -> std::io::Result<File> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
            file.seek(SeekFrom::Start(self.has))?;
            Ok(file)
        };
        let Ok(mut file) = grown() else { return };
        // Not zeros, of which some file systems would keep nothing.
        let piece: Vec<u8> = WORDS.iter().copied().cycle().take(PIECE_BYTES as usize).collect();
        while self.has < self.whole {
            // Half a piece helps nobody.
            if file.write_all(&piece).is_err() {
                let _ = file.set_len(self.has);
                break;
            }
            self.has += PIECE_BYTES;
        }
        self.had = self.has;
        // Where it cannot be kept, the next look at the file's length says so.
        let _ = file.sync_data();
    }
}
