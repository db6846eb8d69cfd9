//! A child before it becomes `ffmpeg`: what keeps it in, since it reads what strangers send. Before it: the starter has started this program once more;
//! after it: `ffmpeg`, under the same process id and limits.
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::sandbox;

/// Becomes that program: it dies with its starter, may read the system's libraries and nothing else, and has no network. Returns where that is not possible.
pub fn become_ffmpeg(program: &Path, arguments: &[OsString]) -> io::Error {
    sandbox::enter_child(program);
    Command::new(program).args(arguments).exec()
}
