//! What keeps a child of `ffmpeg` in. Before it: the child has been started and is this program still; after it: it becomes `ffmpeg`.
//!
//! Unlike a worker it has to open files: its own, and libraries. So it may read where the system has those, and devices of graphics cards; the data
//! directory with its keys is not there. It has no sockets.
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus,
};
use rustix::process::{Resource, Signal, set_parent_process_death_signal};
use seccompiler::SeccompAction;

use super::{hostile, install, refused, set, warn};

/// Address space of a child: frames of the largest picture, and what drivers of graphics cards reserve.
const ADDRESS_SPACE_BYTES: u64 = 16 << 30;
/// Of that, what can be written.
const DATA_BYTES: u64 = 4 << 30;
const FILES_MAX: u64 = 256;
/// Where the system has programs, libraries and what they look at. What is not there is left out.
const READ: [&str; 10] = [
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.conf",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices",
];
/// Programs with what belongs to them: one directory each.
const OPT: &str = "/opt";
/// What is read and written.
const DEVICES: [&str; 7] =
    ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/dri", "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"];

/// Limits this process before it becomes that program.
pub(crate) fn enter_child(program: &Path) {
    warn("dying with the worker", &set_parent_process_death_signal(Some(Signal::KILL)));
    warn("limits", &limit());
    let kept_from_files = files(program).unwrap_or_else(|error| {
        // The worker reads what a child says, and logs such lines at warn.
        let _ = writeln!(io::stderr(), "[error] the sandbox of ffmpeg is without landlock: {error}");
        false
    });
    warn("no new privileges", &rustix::thread::set_no_new_privs(true));
    warn("seccomp", &filter(kept_from_files));
}

fn limit() -> io::Result<()> {
    set(Resource::As, ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES)?;
    set(Resource::Data, DATA_BYTES, DATA_BYTES)?;
    set(Resource::Nofile, FILES_MAX, FILES_MAX)?;
    set(Resource::Core, 0, 0)
}

/// Whether this kernel sees to it.
fn files(program: &Path) -> Result<bool, RulesetError> {
    let abi = ABI::V5;
    let read = AccessFs::from_read(abi);
    let mut ruleset =
        Ruleset::default().handle_access(AccessFs::from_all(abi))?.handle_access(AccessNet::from_all(abi))?.create()?;
    // The program alone, and not what lies beside it: that may be anything.
    let its_own: Option<PathBuf> = program.canonicalize().ok();
    let of_opt = its_own.as_deref().and_then(in_opt);
    let its_own = its_own.as_deref().into_iter().chain(of_opt.as_deref());
    let readable = READ.iter().map(Path::new).chain(its_own).map(|path| (path, read));
    let devices = DEVICES.iter().map(|path| (Path::new(path), read | AccessFs::WriteFile | AccessFs::IoctlDev));
    for (path, access) in readable.chain(devices) {
        let Ok(opened) = PathFd::new(path) else { continue };
        // Rights of directories make no sense of a file.
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(abi) };
        ruleset = ruleset.add_rule(PathBeneath::new(opened, access))?;
    }
    Ok(ruleset.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

/// The directory in `/opt` that a program lies in.
fn in_opt(program: &Path) -> Option<PathBuf> {
    let first = program.strip_prefix(OPT).ok()?.components().next()?;
    Some(Path::new(OPT).join(first))
}

/// `kept_from_files`: landlock denies files.
fn filter(kept_from_files: bool) -> Result<(), Box<dyn std::error::Error>> {
    let mut denied = refused()?;
    // Devices are written to; where nothing else denies files, none is, and encoders on graphics cards do not work.
    if kept_from_files {
        denied.remove(&libc::SYS_openat);
        #[cfg(target_arch = "x86_64")]
        denied.remove(&libc::SYS_open);
    }
    denied.insert(libc::SYS_socket, Vec::new());
    install(denied, SeccompAction::Errno(libc::EPERM as u32))?;
    let mut deadly = hostile()?;
    // It is about to become another program, which may start threads as it likes.
    deadly.remove(&libc::SYS_execve);
    deadly.remove(&libc::SYS_clone);
    #[cfg(target_arch = "x86_64")]
    for call in [libc::SYS_fork, libc::SYS_vfork] {
        deadly.remove(&call);
    }
    let deadly: BTreeMap<_, _> = deadly;
    install(deadly, SeccompAction::KillProcess)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_opt_the_directory_of_the_program_is_read_alone() {
        assert_eq!(in_opt(Path::new("/opt/ffmpeg-8/bin/ffmpeg")), Some("/opt/ffmpeg-8".into()));
        assert_eq!([in_opt(Path::new("/usr/bin/ffmpeg")), in_opt(Path::new("/optical/ffmpeg"))], [None, None]);
        assert!(!READ.contains(&OPT));
    }

    #[test]
    fn without_landlock_no_file_is_written() {
        let path = std::env::temp_dir().join(format!("millstream-child-{}", std::process::id()));
        // A filter holds for the thread that sets it.
        let writes = |kept_from_files: bool| {
            let path = path.clone();
            let thread = std::thread::spawn(move || {
                rustix::thread::set_no_new_privs(true).unwrap();
                filter(kept_from_files).unwrap();
                let read = std::fs::read("/proc/self/stat").is_ok();
                (read, std::fs::write(&path, b"x").map_err(|error| error.kind()))
            });
            thread.join().unwrap()
        };
        assert_eq!(writes(false), (true, Err(io::ErrorKind::PermissionDenied)));
        assert_eq!(writes(true), (true, Ok(())));
        std::fs::remove_file(&path).unwrap();
    }
}
