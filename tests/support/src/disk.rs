//! A small file system of a test's own, which may be full: a tmpfs in a user and a mount namespace that one command runs in. Whoever uses it says so where
//! a system allows neither, and tests nothing.
use std::path::Path;
use std::process::Command;

/// A command with a file system of so many MiB at `at`; its program and arguments are to be added. It has the process id of what runs in the end.
pub fn mounting(at: &Path, mib: u64) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg(format!("mount -t tmpfs -o size={mib}m tmpfs \"$0\" && exec \"$@\"")).arg(at);
    command
}

/// Why there can be none here, which is printed; `None`: there can.
pub fn refused() -> Option<String> {
    let why = match mounting(&std::env::temp_dir(), 1).arg("true").output() {
        Ok(done) if done.status.success() => return None,
        Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    eprintln!("SKIPPED: no file system can be mounted here: {why}");
    Some(why)
}
