//! The last state that control sent, on disk, so that a node that restarts while control is away still admits whom it knows. Written
//! beside its place and renamed into it: it is whole or it is the one before. Readable by its owner alone: it tells which streams
//! there are, though no secret.
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use millstream_control_protocol::state::State;
use millstream_control_protocol::understands;

use millstream_fleet::limits::STATE_BYTES_MAX;

/// Why a kept state cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptError {
    /// The system's reason.
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// It is not what this program wrote.
    #[error("{0} is damaged ({1}); it is left as it is, and written anew when control sends a state")]
    Damaged(PathBuf, String),
    /// Somebody wrote it who is too far ahead or behind.
    #[error("{0} is of version {1} of the link, which this release does not understand; control sends it anew")]
    Version(PathBuf, u32),
}

/// Reads what was kept; `None` where nothing was.
pub fn load(path: &Path) -> Result<Option<State>, KeptError> {
    let io = |error| KeptError::Io(path.to_owned(), error);
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(io)?,
    };
    let mut bytes = Vec::new();
    file.take(STATE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    let damaged = |why: String| KeptError::Damaged(path.to_owned(), why);
    if bytes.len() > STATE_BYTES_MAX {
        return Err(damaged("it is larger than any state may be".to_owned()));
    }
    let state: State = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if !understands(state.protocol) {
        return Err(KeptError::Version(path.to_owned(), state.protocol));
    }
    Ok(Some(state))
}

/// Keeps a state; durable once it has returned.
pub fn save(path: &Path, state: &State) -> Result<(), KeptError> {
    let io = |error| KeptError::Io(path.to_owned(), error);
    let beside = path.with_extension("new");
    let json = serde_json::to_vec(state).map_err(|error| io(error.into()))?;
    // What a crash may have left: its mode is not to be trusted.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut file| {
        file.write_all(&json)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&beside, path)) {
        // A full disk is not to be kept full by what could not be finished.
        let _ = fs::remove_file(&beside);
        return Err(io(error));
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use millstream_control_protocol::PROTOCOL;
    use millstream_control_protocol::state::Stream;

    use super::*;

    fn state() -> State {
        let stream = Stream { id: "cam".to_owned(), ..Stream::default() };
        State { protocol: PROTOCOL, streams: vec![stream], ..State::default() }
    }

    #[test]
    fn what_is_kept_is_read_again_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        assert_eq!(load(&path).unwrap(), None);
        fs::write(path.with_extension("new"), "left by a crash").unwrap();
        save(&path, &state()).unwrap();
        save(&path, &state()).unwrap();
        assert_eq!(load(&path).unwrap(), Some(state()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_said_and_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        fs::write(&path, "{\"streams\": [").unwrap();
        assert!(matches!(load(&path), Err(KeptError::Damaged(..))));
        fs::write(&path, "{\"protocol\": 99}").unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("version 99 of the link"));
        fs::write(&path, serde_json::to_vec(&State { protocol: PROTOCOL + 1, ..state() }).unwrap()).unwrap();
        assert!(load(&path).unwrap().is_some(), "the next release's is understood");
    }

    #[test]
    fn a_failed_write_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        save(&path, &state()).unwrap();
        let nowhere = dir.path().join("missing/state.json");
        assert!(matches!(save(&nowhere, &State::default()), Err(KeptError::Io(..))));
        // The place beside is taken by something that cannot be replaced.
        fs::create_dir(path.with_extension("new")).unwrap();
        assert!(save(&path, &State::default()).is_err());
        assert_eq!(load(&path).unwrap(), Some(state()));
    }
}
