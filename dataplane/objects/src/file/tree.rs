//! Walks from the directory to an object by descriptors, one segment at a time and through no symbolic link. Before it: keys; after it: the
//! kernel.
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{ErrorKind, ObjectError};
use crate::key::Key;

/// What names of temporary files begin with, and no segment of a key.
pub(super) const TEMPORARY: char = '~';

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory with objects below it.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    /// The directory itself: opened by each call, so that one that was mounted or removed meanwhile is noticed. It alone may be a symbolic
    /// link, for its path is the operator's.
    pub(super) fn root(&self) -> Result<OwnedFd, ObjectError> {
        rustix::fs::open(&self.root, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty()).map_err(|error| match error {
            Errno::NOENT => ObjectError::new(
                ErrorKind::Missing,
                format!("the directory {} is not there; make it, or mount it again", self.root.display()),
            ),
            Errno::NOTDIR => ObjectError::new(
                ErrorKind::Missing,
                format!("{} is no directory; name one in the setting", self.root.display()),
            ),
            error => self.cannot("open it", &error.into()),
        })
    }

    /// What the system refuses, with what to do.
    pub(super) fn cannot(&self, what: &str, error: &io::Error) -> ObjectError {
        let kind = ObjectError::of_io(error);
        let remedy = match kind {
            ErrorKind::Full => "free space there, or raise its quota",
            ErrorKind::Denied => "give the user of this process the right to read and write there (chown, chmod)",
            ErrorKind::ReadOnly => {
                "mount it so that it can be written to (after an error, the kernel makes it read-only: see dmesg)"
            }
            ErrorKind::Invalid => {
                "a file is where a directory has to be, or a directory or a symbolic link where a file has to be: move it away"
            }
            _ => "check the disk or the mount",
        };
        ObjectError::new(kind, format!("the directory {}: cannot {what}: {error}; {remedy}", self.root.display()))
    }

    pub(super) fn not_found(&self, key: &Key) -> ObjectError {
        ObjectError::new(ErrorKind::NotFound, format!("the directory {} has no object {key}", self.root.display()))
    }

    /// The directory of an object, or none.
    pub(super) fn folder_of(&self, key: &Key) -> Result<Option<OwnedFd>, ObjectError> {
        let mut folders = key.segments();
        folders.next_back();
        self.walk(folders)
    }

    /// The directory of this path, or none. What is in the way counts as none.
    pub(super) fn walk<'a>(&self, segments: impl Iterator<Item = &'a str>) -> Result<Option<OwnedFd>, ObjectError> {
        let mut at = self.root()?;
        for segment in segments {
            at = match open_folder(&at, segment) {
                Ok(folder) => folder,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(error) => return Err(self.cannot(&format!("open {segment} in it"), &error.into())),
            };
        }
        Ok(Some(at))
    }

    /// The directory of an object, made where it is not there; `None` when somebody removed it at that moment.
    pub(super) fn make_folder_of(&self, key: &Key) -> Result<Option<OwnedFd>, ObjectError> {
        let mut at = self.root()?;
        let mut folders = key.segments();
        folders.next_back();
        for segment in folders {
            let cannot = |error: Errno| self.cannot(&format!("make the directory {segment} for {key}"), &error.into());
            at = match open_folder(&at, segment) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&at, segment, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(Errno::NOENT) => return Ok(None),
                        Err(error) => return Err(cannot(error)),
                    }
                    // Also where another put made it just now: it may not have come so far.
                    rustix::fs::fsync(&at).map_err(cannot)?;
                    match open_folder(&at, segment) {
                        Err(Errno::NOENT) => return Ok(None),
                        opened => opened.map_err(cannot)?,
                    }
                }
                opened => opened.map_err(cannot)?,
            };
        }
        Ok(Some(at))
    }

    /// The file of an object, or none. A symbolic link, a pipe or a device is none.
    pub(super) fn object(&self, key: &Key) -> Result<Option<File>, ObjectError> {
        let Some(folder) = self.folder_of(key)? else { return Ok(None) };
        // Opening a pipe would wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let cannot = |error: Errno| self.cannot(&format!("read {key}"), &error.into());
        match rustix::fs::openat(&folder, key.name(), flags, Mode::empty()) {
            Ok(file) => {
                let stat = rustix::fs::fstat(&file).map_err(cannot)?;
                Ok(is_file(&stat).then(|| file.into()))
            }
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(None),
            Err(error) => Err(cannot(error)),
        }
    }

    /// Removes an object, and the directories that have nothing else in them.
    pub(super) fn remove(&self, key: &Key) -> Result<(), ObjectError> {
        let Some(folder) = self.folder_of(key)? else { return Ok(()) };
        let cannot = |error: Errno| self.cannot(&format!("remove {key}"), &error.into());
        match rustix::fs::statat(&folder, key.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if !is_file(&stat) => return Ok(()),
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(cannot(error)),
        }
        match rustix::fs::unlinkat(&folder, key.name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(cannot(error)),
        }
        rustix::fs::fsync(&folder).map_err(cannot)?;
        let folders: Vec<&str> = key.segments().collect();
        // The kernel refuses those that have something in them, and then those above have, too.
        for depth in (1..folders.len()).rev() {
            let Some(above) = self.walk(folders[..depth - 1].iter().copied())? else { break };
            if rustix::fs::unlinkat(&above, folders[depth - 1], AtFlags::REMOVEDIR).is_err() {
                break;
            }
        }
        Ok(())
    }
}

pub(super) fn open_folder(at: &OwnedFd, segment: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, segment, FOLDER, Mode::empty())
}

pub(super) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

pub(super) fn modified_ms(stat: &Stat) -> u64 {
    u64::try_from(stat.st_mtime * 1_000 + i64::try_from(stat.st_mtime_nsec).unwrap_or(0) / 1_000_000).unwrap_or(0)
}
