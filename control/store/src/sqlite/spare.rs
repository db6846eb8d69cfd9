//! Room for revocations on a full disk: a file that is made shorter, a piece at a time, when a change that takes rights away finds no room.
//! What was given is taken back as soon as the disk has room for it.
use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Room;

/// The file's name in the data directory.
const FILE: &str = "store.spare";
/// What it begins with, for whoever finds it.
const WORDS: &[u8] =
    b"Millstream keeps this room free so that tokens, keys and streams can be revoked when the disk is full. It is made again when it is missing.\n";
/// Bytes that are given at a time: about what one revocation adds to the log.
const PIECE_BYTES: u64 = 16 << 10;
/// Bytes that are kept at most: with as many the whole log can be taken into the file, whatever of it is new there.
const BYTES_MAX: u64 = 4 << 20;
/// It takes no more than one part of so many of what the disk would have free without it.
const PARTS: u64 = 4;
/// How often it is tried to have the whole of it again.
const TRY_EVERY: Duration = Duration::from_secs(10);

/// The file. Its length is looked up each time: whoever has the directory may have changed it.
#[derive(Debug)]
pub(super) struct Spare {
    path: PathBuf,
    /// Bytes that it had when it was made or grew last.
    had: u64,
    tried: Instant,
}

impl Spare {
    /// Takes the room, as far as the disk can do without it.
    pub(super) fn take(dir: &Path) -> Self {
        let mut spare = Self { path: dir.join(FILE), had: 0, tried: Instant::now() };
        spare.had = spare.has();
        spare.grow(spare.free());
        spare
    }

    fn has(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Bytes that the disk has free.
    fn free(&self) -> u64 {
        let disk = self.path.parent().and_then(|dir| nix::sys::statvfs::statvfs(dir).ok());
        disk.map_or(0, |disk| disk.blocks_available().saturating_mul(disk.fragment_size()))
    }

    /// Gives a piece back to the disk; false: there is none left, or none for such a change.
    pub(super) fn give(&self, room: Room) -> bool {
        let has = self.has();
        let less = has.saturating_sub(PIECE_BYTES);
        has > 0
            && less >= self.stays(room)
            && OpenOptions::new().write(true).open(&self.path).is_ok_and(|file| file.set_len(less).is_ok())
    }

    /// Bytes that stay for others.
    fn stays(&self, room: Room) -> u64 {
        match room {
            Room::All => 0,
            Room::Half => self.had / 2,
        }
    }

    /// Whether there is half of what such a change may use.
    pub(super) fn is_half_there(&self, room: Room) -> bool {
        self.has() >= u64::midpoint(self.stays(room), self.had)
    }

    /// Takes back what was given or removed, as far as there is room now; not at every call.
    pub(super) fn take_back(&mut self) {
        if self.tried.elapsed() >= TRY_EVERY {
            self.tried = Instant::now();
            self.grow(self.free());
        }
    }

    fn grow(&mut self, free: u64) {
        let mut has = self.has();
        let whole = (has.saturating_add(free) / PARTS).min(BYTES_MAX);
        if has + PIECE_BYTES > whole {
            return;
        }
        let opened = || -> std::io::Result<File> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
            file.seek(SeekFrom::Start(has))?;
            Ok(file)
        };
        let Ok(mut file) = opened() else { return };
        // Not zeros, of which some file systems would keep nothing.
        let piece: Vec<u8> = WORDS.iter().copied().cycle().take(PIECE_BYTES as usize).collect();
        while has + PIECE_BYTES <= whole {
            // Half a piece helps nobody.
            if file.write_all(&piece).is_err() {
                let _ = file.set_len(has);
                break;
            }
            has += PIECE_BYTES;
        }
        self.had = has;
        // Where it cannot be kept, the next look at the file's length says so.
        let _ = file.sync_data();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(dir: &Path) -> Spare {
        let tried = Instant::now().checked_sub(TRY_EVERY).unwrap();
        Spare { path: dir.join(FILE), had: 0, tried }
    }

    #[test]
    fn what_a_full_disk_had_no_room_for_is_taken_once_there_is_some() {
        let dir = tempfile::tempdir().unwrap();
        let mut spare = due(dir.path());
        spare.grow(0);
        assert_eq!(spare.has(), 0);
        // No more than its part of it, however often.
        spare.grow(1 << 20);
        assert_eq!((spare.has(), spare.had), (256 << 10, 256 << 10));
        spare.grow((1 << 20) - spare.has());
        assert_eq!(spare.has(), 256 << 10);
        spare.grow(40 << 10);
        assert_eq!(spare.has(), 256 << 10, "nothing is given away either");
        spare.grow(1 << 30);
        assert_eq!(spare.has(), BYTES_MAX);
    }

    #[test]
    fn it_is_made_again_when_it_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let mut spare = due(dir.path());
        spare.take_back();
        let had = spare.has();
        assert!(had > 0, "the disk has no room for this test");
        fs::remove_file(&spare.path).unwrap();
        assert!(!spare.give(Room::All));
        spare.take_back();
        assert_eq!(spare.has(), 0, "not at every call");
        spare.tried = due(dir.path()).tried;
        spare.take_back();
        assert!(spare.has() > 0);
        assert!(spare.give(Room::All));
    }

    #[test]
    fn half_of_it_is_for_what_makes_worthless_what_leaked() {
        let dir = tempfile::tempdir().unwrap();
        let mut spare = due(dir.path());
        spare.grow(16 * PARTS * PIECE_BYTES);
        let count = |room| (0..100).take_while(|_| spare.give(room)).count();
        assert_eq!((count(Room::Half), count(Room::All)), (8, 8));
    }
}
