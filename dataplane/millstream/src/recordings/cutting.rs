//! Cuts a part of a recording out as an MP4 file and stores it beside the recording. Before it: [`super::tasks`]; after it: `recorder::movie`, which makes
//! the file on this machine's disk, and the store, which is shown to have it before that copy goes.
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_objects::{Body, Key, Meta, ObjectError, ObjectStore, confirm};
use millstream_proto::id::Id;
use millstream_recorder::limits::DISK_FREE_BYTES_MIN;
use millstream_recorder::movie::export::{ExportError, Exported, Span, export};
use millstream_recorder::movie::make::MakeError;
use millstream_recorder::name::RecordingName;
use nix::sys::statvfs::statvfs;

use super::storing::Storing;
use super::tasks::Trouble;

/// Where clips are made, in the data directory.
pub(super) const DIRECTORY: &str = "clips";
/// How long who gets it may keep it: it may be removed.
const CACHE_CONTROL: &str = "public, max-age=3600";

/// What is to be cut.
pub(super) struct Cutting<'a> {
    pub(super) store: &'a Arc<dyn ObjectStore>,
    /// Where the file is made.
    pub(super) dir: &'a Path,
    pub(super) stream: &'a Id,
    pub(super) name: &'a RecordingName,
    pub(super) clip: &'a str,
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    /// More of the recording may come to the store.
    pub(super) is_growing: bool,
}

/// A file that goes when it is no longer needed.
struct Passing(PathBuf);

impl Drop for Passing {
    fn drop(&mut self) {
        // One that was never made is not there; what a kill leaves goes at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Removes what a run before has left.
pub(super) fn clear(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let _ = std::fs::remove_file(entry.path());
    }
}

impl Cutting<'_> {
    /// Makes and stores it; gives what was made.
    pub(super) async fn run(&self) -> Result<Exported, Trouble> {
        let key = Key::of([self.stream.as_str(), "rec", self.name.as_str(), "clips", &format!("{}.mp4", self.clip)]);
        let key = key.map_err(|error| Trouble::ForEver(error.to_string()))?;
        let now = |error: std::io::Error| Trouble::Now(format!("{} cannot be used: {error}", self.dir.display()));
        std::fs::create_dir_all(self.dir).map_err(now)?;
        let file = Passing(self.dir.join(format!("{}.mp4", self.clip)));
        let span = Span { from_ms: self.from_ms, to_ms: Some(self.to_ms), is_growing: self.is_growing };
        let store = Storing(Arc::clone(self.store));
        let room = |bytes| self.has_room(bytes);
        let made = export(&store, self.stream, self.name, span, &file.0, &room).await;
        let made = made.map_err(|error| self.trouble(&error))?;
        let opened = Arc::new(File::open(&file.0).map_err(now)?);
        let failed = |error: ObjectError| Trouble::Now(error.to_string());
        let body = Body::file(opened, 0..made.bytes);
        let sums = self.store.put(&key, body, Meta::of(&key, CACHE_CONTROL)).await.map_err(failed)?;
        confirm(self.store.as_ref(), &key, sums).await.map_err(failed)?;
        Ok(made)
    }

    /// Beside what other parts of the server need: recordings come first.
    fn has_room(&self, bytes: u64) -> Result<(), String> {
        let free =
            statvfs(self.dir).map_or(u64::MAX, |disk| disk.blocks_available().saturating_mul(disk.fragment_size()));
        let wanted = DISK_FREE_BYTES_MIN.saturating_add(bytes);
        if free >= wanted {
            return Ok(());
        }
        let dir = self.dir.display();
        Err(format!("the disk of {dir} has {free} bytes free, and {wanted} are wanted for it: make room there"))
    }

    fn trouble(&self, error: &ExportError) -> Trouble {
        let why = error.to_string();
        let may_come = matches!(error, ExportError::NoRecording(_) | ExportError::Outside { .. }) && self.is_growing;
        let is_passing = match error {
            ExportError::Store(_) | ExportError::File { .. } | ExportError::NotYet { .. } | ExportError::NoRoom(_) => {
                true
            }
            ExportError::Make(made) => matches!(made, MakeError::Unreadable(_)),
            _ => may_come,
        };
        if is_passing { Trouble::Now(why) } else { Trouble::ForEver(why) }
    }
}
