//! What keeps a child of `ffmpeg` in. Before it: the child has been started and is this program still; after it: it becomes `ffmpeg`.
//!
//! Unlike a worker it has to open files: its own, and libraries. So it may read where the system has those, and devices of graphics cards; the data
//! directory with its keys is not there. It has no sockets.
use std::collections::BTreeMap;
use std::io;
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
const READ: [&str; 11] = [
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/opt",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.conf",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices",
];
/// What is read and written.
const DEVICES: [&str; 7] =
    ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/dri", "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"];

/// Limits this process before it becomes that program.
pub(crate) fn enter_child(program: &Path) {
    warn("dying with the worker", &set_parent_process_death_signal(Some(Signal::KILL)));
    warn("limits", &limit());
    match files(program) {
        Ok(true) => {}
        Ok(false) => tracing::debug!("this kernel does not keep ffmpeg from files"),
        Err(error) => tracing::warn!(%error, "ffmpeg's sandbox is without landlock"),
    }
    warn("no new privileges", &rustix::thread::set_no_new_privs(true));
    warn("seccomp", &filter());
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
    let readable = READ.iter().map(Path::new).chain(its_own.as_deref()).map(|path| (path, read));
    let devices = DEVICES.iter().map(|path| (Path::new(path), read | AccessFs::WriteFile | AccessFs::IoctlDev));
    for (path, access) in readable.chain(devices) {
        let Ok(opened) = PathFd::new(path) else { continue };
        // Rights of directories make no sense of a file.
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(abi) };
        ruleset = ruleset.add_rule(PathBeneath::new(opened, access))?;
    }
    Ok(ruleset.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

fn filter() -> Result<(), Box<dyn std::error::Error>> {
    let mut denied = refused()?;
    // Files are landlock's to deny: devices are written to.
    denied.remove(&libc::SYS_openat);
    #[cfg(target_arch = "x86_64")]
    denied.remove(&libc::SYS_open);
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
