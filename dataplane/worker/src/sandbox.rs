//! What keeps the worker in: a decoder of C++ reads what strangers send. Before it: the start of the process, while it has one thread; after
//! it: everything else that the process does.
//!
//! Each part is best effort and is told ([`crate::protocol::Sandbox`]): a kernel or a container may not have it. System calls are denied by a
//! list and not allowed by one, so that a new allocator or a new C library cannot break what is on air. Sockets stay: they are the worker's
//! work. Files do not: host names, which need some, are not looked up.
mod child;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, NetPort, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus,
};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule, apply_filter,
};

use crate::protocol::Sandbox;
pub(crate) use child::enter_child;

/// How far below the node's own priority.
pub(crate) const NICE: i32 = 5;
/// Address space of a worker without jobs, and what each job may take more: pictures of the largest source for all its renditions, and for
/// each of its threads a stack and an arena of the allocator, of which little is ever used.
const ADDRESS_SPACE_BYTES: u64 = 2 << 30;
const ADDRESS_SPACE_BYTES_JOB: u64 = 2 << 30;
/// And each stream in which motion is looked for: one thread, one decoder, some pictures.
const ADDRESS_SPACE_BYTES_WATCH: u64 = 512 << 20;
const ADDRESS_SPACE_BYTES_MAX: u64 = 128 << 30;
/// And each hook, or stream that a hook looks at: two memories of 4 GiB with what is around them, of which 16 MiB can be used. What can be written is
/// limited besides, so this is no room for data.
const ADDRESS_SPACE_BYTES_HOOK: u64 = 10 << 30;
/// Of that, what can be written: the memories, tables and code of an instance.
const DATA_BYTES_HOOK: u64 = 64 << 20;
/// Hooks and streams that they look at.
const HOOKS_MAX: u64 = 192;
const ADDRESS_SPACE_WITH_HOOKS_MAX: u64 = ADDRESS_SPACE_BYTES_MAX + HOOKS_MAX * ADDRESS_SPACE_BYTES_HOOK;
/// Sockets, and three pipes for each child of `ffmpeg`.
const FILES_MAX: u64 = 4096;

/// What of a socket's type says which it is: the rest are flags.
const SOCKET_KIND: u64 = 0xF;

static ENTERED: AtomicBool = AtomicBool::new(false);

/// Which code the process may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Code {
    /// What it was started with.
    Own,
    /// That of hooks besides.
    OfHooks,
}

/// Limits this process, and says what is in force. It connects to these TCP ports alone, or to any where none is given. To be called before there is a second
/// thread.
pub(crate) fn enter(code: Code, ports: &[u16]) -> Sandbox {
    // Dies with the node, whatever it does at that moment.
    warn("dying with the node", &set_parent_process_death_signal(Some(Signal::KILL)));
    warn("a lower priority", &nice(NICE));
    let limits = warn("limits", &limit(code));
    ENTERED.store(limits, Ordering::Relaxed);
    let files = confine(ports);
    let landlock = warn("landlock", &files) && files.unwrap_or_default();
    // The filters set it as well; a kernel without them has it all the same.
    let no_new_privs = warn("no new privileges", &rustix::thread::set_no_new_privs(true));
    let seccomp = warn("seccomp", &filter(code));
    Sandbox { no_new_privs, seccomp, landlock, limits }
}

/// The address space, and what of it can be written, that were given, bytes.
static SPACE_GIVEN: AtomicU64 = AtomicU64::new(0);
static DATA_GIVEN: AtomicU64 = AtomicU64::new(0);

/// Gives so many jobs, watches and hooks (or streams that they look at) the address space that they may need.
pub(crate) fn make_room(jobs: usize, watches: usize, hooks: usize) {
    if ENTERED.load(Ordering::Relaxed) {
        let (jobs, watches, hooks) = (jobs as u64, watches as u64, (hooks as u64).min(HOOKS_MAX));
        let own = ADDRESS_SPACE_BYTES + ADDRESS_SPACE_BYTES_JOB * jobs + ADDRESS_SPACE_BYTES_WATCH * watches;
        let own = own.min(ADDRESS_SPACE_BYTES_MAX);
        // Threads that are told to end hold their memory a while longer: room that was given is not taken back.
        let most = |given: &AtomicU64, bytes: u64| given.fetch_max(bytes, Ordering::Relaxed).max(bytes);
        let (space, data) = (own + ADDRESS_SPACE_BYTES_HOOK * hooks, own + DATA_BYTES_HOOK * hooks);
        warn("room for a job", &set(Resource::As, most(&SPACE_GIVEN, space), ADDRESS_SPACE_WITH_HOOKS_MAX));
        warn("room for a job", &set(Resource::Data, most(&DATA_GIVEN, data), ADDRESS_SPACE_WITH_HOOKS_MAX));
    }
}

/// Whether it went well; what did not is logged.
fn warn<E: std::fmt::Display>(what: &str, done: &Result<impl Sized, E>) -> bool {
    if let Err(error) = done {
        tracing::warn!(%error, "the worker's sandbox is without {what}");
    }
    done.is_ok()
}

fn limit(code: Code) -> io::Result<()> {
    let most = if code == Code::OfHooks { ADDRESS_SPACE_WITH_HOOKS_MAX } else { ADDRESS_SPACE_BYTES_MAX };
    set(Resource::As, ADDRESS_SPACE_BYTES, most)?;
    set(Resource::Data, ADDRESS_SPACE_BYTES, most)?;
    set(Resource::Nofile, FILES_MAX, FILES_MAX)?;
    set(Resource::Core, 0, 0)
}

/// Sets a limit, and no higher than it was allowed to be.
fn set(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum.map_or(maximum, |before| before.min(maximum));
    let limit = Rlimit { current: Some(current.min(maximum)), maximum: Some(maximum) };
    Ok(setrlimit(resource, limit)?)
}

/// No file can be opened, no TCP port be listened at, and none but these be connected to. Whether this kernel sees to it; for ports it has to be 6.7 or newer.
fn confine(ports: &[u16]) -> Result<bool, RulesetError> {
    let mut ruleset =
        Ruleset::default().handle_access(AccessFs::from_all(ABI::V5))?.handle_access(AccessNet::BindTcp)?;
    if !ports.is_empty() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut ruleset = ruleset.create()?;
    for port in ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    let status = ruleset.restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

type Rules = BTreeMap<i64, Vec<Rule>>;

fn filter(code: Code) -> Result<(), Box<dyn std::error::Error>> {
    install(refused()?, SeccompAction::Errno(libc::EPERM as u32))?;
    // The C library asks for it first, and then for `clone`, whose flags can be looked at. Hooks' memories begin as a copy where there are no files in memory.
    let absent = [libc::SYS_clone3, libc::SYS_memfd_create].map(|call| (call, Vec::new()));
    install(BTreeMap::from(absent), SeccompAction::Errno(libc::ENOSYS as u32))?;
    if code == Code::Own {
        install(no_new_code()?, SeccompAction::Errno(libc::EPERM as u32))?;
    }
    install(hostile()?, SeccompAction::KillProcess)
}

/// From here on calls of these rules come to that.
fn install(rules: Rules, action: SeccompAction) -> Result<(), Box<dyn std::error::Error>> {
    let arch = std::env::consts::ARCH.try_into()?;
    let filter: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?.try_into()?;
    Ok(apply_filter(&filter)?)
}

/// Nothing that was written becomes code.
fn no_new_code() -> Result<Rules, Box<dyn std::error::Error>> {
    let executable = || -> Result<Vec<Rule>, seccompiler::BackendError> {
        let exec = libc::PROT_EXEC as u64;
        Ok(vec![Rule::new(vec![Condition::new(2, Length::Dword, Op::MaskedEq(exec), exec)?])?])
    };
    let calls = [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect];
    let mut rules: Rules =
        calls.into_iter().map(|call| Ok((call, executable()?))).collect::<Result<_, seccompiler::BackendError>>()?;
    // Ways around it: a personality in which all that can be read can be run, and memory that is shared the old way.
    rules.extend([libc::SYS_personality, libc::SYS_shmget, libc::SYS_shmat].map(|call| (call, Vec::new())));
    Ok(rules)
}

/// What no worker does: who does it is not the worker any more.
fn hostile() -> Result<Rules, Box<dyn std::error::Error>> {
    let mut calls = vec![
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_setuid,
        libc::SYS_setgid,
        libc::SYS_open_by_handle_at,
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([libc::SYS_fork, libc::SYS_vfork, libc::SYS_iopl, libc::SYS_ioperm]);
    let mut rules: Rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    // A thread, or another process.
    let process = Condition::new(0, Length::Qword, Op::MaskedEq(libc::CLONE_THREAD as u64), 0)?;
    rules.insert(libc::SYS_clone, vec![Rule::new(vec![process])?]);
    Ok(rules)
}

/// What a library may try, and gets no further with.
fn refused() -> Result<Rules, Box<dyn std::error::Error>> {
    let mut calls = vec![
        libc::SYS_openat2,
        libc::SYS_unlinkat,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_mkdirat,
        libc::SYS_mknodat,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_fchmodat,
        libc::SYS_fchownat,
        libc::SYS_truncate,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_io_uring_setup,
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        libc::SYS_creat,
        libc::SYS_unlink,
        libc::SYS_rename,
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_mknod,
        libc::SYS_link,
        libc::SYS_symlink,
        libc::SYS_chmod,
        libc::SYS_chown,
    ]);
    let mut rules: Rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let writes = |flags: u8| -> Result<Vec<Rule>, seccompiler::BackendError> {
        let one = |flag: i32| {
            let has = Condition::new(flags, Length::Dword, Op::MaskedEq(flag as u64), flag as u64)?;
            Rule::new(vec![has])
        };
        [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC].into_iter().map(one).collect()
    };
    rules.insert(libc::SYS_openat, writes(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, writes(1)?);
    let other = |family: i32| Condition::new(0, Length::Dword, Op::Ne, family as u64);
    // Streams alone, and TCP: what Landlock says of ports holds for that. A filter knows no "all kinds but one".
    let others = (0..=SOCKET_KIND).filter(|kind| *kind != libc::SOCK_STREAM as u64);
    let kinds = others.map(|kind| Ok(vec![Condition::new(1, Length::Dword, Op::MaskedEq(SOCKET_KIND), kind)?]));
    let is_not = |protocol: i32| Condition::new(2, Length::Dword, Op::Ne, protocol as u64);
    let mut sockets = kinds.collect::<Result<Vec<_>, seccompiler::BackendError>>()?;
    sockets.push(vec![other(libc::AF_INET)?, other(libc::AF_INET6)?]);
    sockets.push(vec![is_not(0)?, is_not(libc::IPPROTO_TCP)?]);
    rules.insert(libc::SYS_socket, sockets.into_iter().map(Rule::new).collect::<Result<_, _>>()?);
    // A connection that begins with what is sent is made without `connect`, where Landlock looks.
    let fast_open = libc::MSG_FASTOPEN as u64;
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        let connects = Condition::new(flags, Length::Dword, Op::MaskedEq(fast_open), fast_open)?;
        rules.insert(call, vec![Rule::new(vec![connects])?]);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    const INSIDE: &str = "MILLSTREAM_SANDBOX_TEST";

    /// Whether the kernel gives memory of this kind, and lets it become that.
    #[allow(unsafe_code, reason = "memory that nothing refers to")]
    fn is_mapped(bytes: usize, protection: i32, then: Option<i32>) -> bool {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, which nothing reads or writes and which is given back.
        unsafe {
            let at = libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0);
            if at == libc::MAP_FAILED {
                return false;
            }
            let is_so = then.is_none_or(|then| libc::mprotect(at, bytes, then) == 0);
            libc::munmap(at, bytes);
            is_so
        }
    }

    /// Whether a socket of this kind is refused, and whether it is to send before it is connected.
    #[allow(unsafe_code, reason = "sockets of kinds that the standard library has not")]
    fn is_refused(kind: i32, protocol: i32, connects_by_sending: bool) -> bool {
        let is_refused =
            |result: i64| result < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM);
        // SAFETY: a new socket, which nothing else refers to and which is closed; the address and the bytes live longer than the call.
        unsafe {
            let socket = libc::socket(libc::AF_INET, kind, protocol);
            if socket < 0 {
                return is_refused(i64::from(socket));
            }
            let to: libc::sockaddr_in = std::mem::zeroed();
            let to = libc::sockaddr_in { sin_family: libc::AF_INET as u16, ..to };
            let (at, length) = ((&raw const to).cast(), size_of::<libc::sockaddr_in>() as u32);
            let flags = if connects_by_sending { libc::MSG_FASTOPEN } else { libc::MSG_NOSIGNAL };
            let sent = libc::sendto(socket, b"x".as_ptr().cast(), 1, flags, at, length);
            let is_so = is_refused(sent as i64);
            libc::close(socket);
            is_so
        }
    }

    /// What a process in the sandbox can do and what not; the last thing that it tries ends it.
    #[test]
    #[ignore = "run by a_process_is_kept_in"]
    fn inside() {
        let Ok(last) = std::env::var(INSIDE) else { return };
        let hooks = last == "hooks";
        let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers =
            release.split(|char: char| !char.is_ascii_digit()).map(|digits| digits.parse::<u32>().unwrap());
        let knows_ports = (numbers.next(), numbers.next()) >= (Some(6), Some(7));
        let sandbox = super::enter(if hooks { super::Code::OfHooks } else { super::Code::Own }, &[port]);
        super::make_room(3, 2, usize::from(hooks));
        assert!(sandbox.no_new_privs && sandbox.seccomp && sandbox.limits, "{sandbox:?}");
        std::thread::spawn(|| vec![1_u8; 300 << 20].iter().map(|byte| u64::from(*byte)).sum::<u64>()).join().unwrap();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let elsewhere = std::net::TcpStream::connect(("127.0.0.1", port.wrapping_add(1).max(1))).unwrap_err().kind();
        assert_eq!(elsewhere == std::io::ErrorKind::PermissionDenied, sandbox.landlock && knows_ports, "{elsewhere:?}");
        assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_err());
        let (stream, tcp) = (libc::SOCK_STREAM, libc::IPPROTO_TCP);
        for (kind, protocol) in [
            (libc::SOCK_DGRAM, 0),
            (libc::SOCK_RAW, tcp),
            (libc::SOCK_SEQPACKET, 0),
            (libc::SOCK_DCCP, 0),
            (stream, libc::IPPROTO_SCTP),
            (stream, libc::IPPROTO_MPTCP),
        ] {
            assert!(is_refused(kind, protocol, false), "{kind} {protocol}");
        }
        assert!(!is_refused(stream, 0, false) && !is_refused(stream | libc::SOCK_CLOEXEC, tcp, false));
        assert!(is_refused(stream, 0, true), "it would connect where nothing looks");
        assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err());
        assert!(std::fs::write("/tmp/millstream-sandbox", b"x").is_err());
        assert_eq!(std::fs::read("/etc/hostname").is_err(), sandbox.landlock);
        // What can be reserved is more than what can be written.
        let (read, exec) = (libc::PROT_READ, libc::PROT_EXEC);
        assert!(is_mapped(9 << 30, libc::PROT_NONE, None) == hooks && !is_mapped(64 << 30, read, None));
        assert!(!is_mapped(12 << 30, read | libc::PROT_WRITE, None));
        assert_eq!([is_mapped(4096, read | exec, None), is_mapped(4096, read, Some(read | exec))], [hooks; 2]);
        println!("all as it should be");
        match last.as_str() {
            "exec" => drop(Command::new("/bin/true").spawn()),
            "abort" => std::process::abort(),
            _ => {}
        }
        println!("and still there");
    }

    #[test]
    fn a_process_is_kept_in() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        for (last, signal) in
            [("exec", Some(libc::SIGSYS)), ("abort", Some(libc::SIGABRT)), ("nothing", None), ("hooks", None)]
        {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child
                .args(["sandbox::tests::inside", "--exact", "--ignored", "--nocapture"])
                .env(INSIDE, last)
                .env("PORT", &port);
            let done = child.output().unwrap();
            let said = String::from_utf8_lossy(&done.stdout);
            assert!(said.contains("all as it should be"), "{said} {}", String::from_utf8_lossy(&done.stderr));
            assert_eq!(
                (done.status.signal(), said.contains("and still there")),
                (signal, signal.is_none()),
                "{last}: {said}"
            );
        }
    }
}
