//! Room for a start on a full disk: a file that is given back to the disk when the store cannot be opened for want of it. SQLite needs some
//! 40 KB beside the file itself before it reads the first item (the index of its log), and those are gone after each regular end.
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file's name in the data directory.
const FILE: &str = "store.reserve";
/// What it begins with, for whoever finds it.
const WORDS: &[u8] = b"Millstream keeps this room free so that it can start when the disk is full. It is made again when it is missing.\n";
/// Bytes that are kept: the index of the log, and some pages of the log.
const BYTES: usize = 64 << 10;

/// Takes the room, where it is not taken. Without it everything works but a start on a full disk.
pub(super) fn take(dir: &Path) {
    let path = path(dir);
    if fs::metadata(&path).is_ok_and(|file| file.len() == BYTES as u64) {
        return;
    }
    // Not zeros, of which some file systems would keep nothing.
    let bytes: Vec<u8> = WORDS.iter().copied().cycle().take(BYTES).collect();
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    if let Err(error) = file.and_then(|mut file: File| file.write_all(&bytes)) {
        // Half of it helps nobody.
        give_back(dir);
        tracing::debug!(%error, "no room can be kept for a start on a full disk");
    }
}

/// Gives the room back; says whether there was any.
pub(super) fn give_back(dir: &Path) -> bool {
    fs::remove_file(path(dir)).is_ok()
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}
