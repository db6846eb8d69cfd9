//! A slate as the configuration gives it: the path of a clip, which is read and checked with the configuration, so that an error has
//! its line. After it: [`crate::layers`] gives the clip to the engine.
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_engine::slates::SlateKey;
use millstream_proto::limits::CLIP_BYTES_MAX;
use millstream_proto::media::Clip;
use sha2::{Digest as _, Sha256};

/// A file that can be played.
#[derive(Clone, Debug)]
pub(crate) struct SlateFile {
    pub(crate) path: PathBuf,
    pub(crate) key: SlateKey,
    pub(crate) clip: Arc<Clip>,
}

impl PartialEq for SlateFile {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.key) == (&other.path, other.key)
    }
}

impl Eq for SlateFile {}

/// Reads and checks it; an error says what is wrong and what to give.
pub(crate) fn read(path: &str) -> Result<SlateFile, String> {
    if path.is_empty() {
        return Err("the path is empty; give that of an MP4 or FLV file".to_owned());
    }
    let path = Path::new(path);
    let unreadable =
        |error| format!("{}: {error}; give the path of an MP4 or FLV file that this user may read", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(CLIP_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let clip = Clip::read(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let key = SlateKey(Sha256::digest(&bytes).into());
    Ok(SlateFile { path: path.to_owned(), key, clip: Arc::new(clip) })
}
