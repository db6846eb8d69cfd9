//! What the kernel says about a process and its sockets, read from `/proc`.
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Resident memory of a process, bytes.
pub fn rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

/// User and system time of a process so far.
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    // The name in parentheses may hold spaces; the fields that count come after it.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|t| t.parse::<u64>().expect("ticks")).sum();
    // Linux shows these in USER_HZ, which is 100 on every architecture that Rust runs on.
    Duration::from_millis(ticks * 10)
}

/// Processes that this one has started and that have not ended.
pub fn children(pid: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let is_over = fields.next()? == "Z";
        fields.next()?.parse().ok().filter(|_| !is_over)
    };
    all.filter(|child| parent(*child) == Some(pid)).collect()
}

/// The same, with all that those have started.
pub fn below(pid: u32) -> Vec<u32> {
    children(pid).into_iter().flat_map(|child| std::iter::once(child).chain(below(child))).collect()
}

/// The command line of a process, with spaces between; empty where it has ended.
pub fn command(pid: u32) -> String {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.trim_end_matches('\0').replace('\0', " ")
}

/// Kills a process, which learns nothing of it.
pub fn kill(pid: u32) {
    let pid = Pid::from_raw(pid as i32).expect("a process id");
    kill_process(pid, Signal::KILL).expect("it can be killed");
}

/// Sends a fault of the code to the thread of a process that has this name: the kernel gives a signal for a thread's id to that thread.
pub fn fault(pid: u32, thread: &str) {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let found = tasks.filter_map(|task| {
        let path = task.ok()?.path();
        (fs::read_to_string(path.join("comm")).ok()?.trim() == thread).then_some(())?;
        path.file_name()?.to_str()?.parse().ok()
    });
    let [thread] = found.collect::<Vec<u32>>()[..] else { panic!("no thread, or several, of the name {thread:?}") };
    signal(thread, Signal::SEGV);
}

/// Stops a process where it is, until it [goes on](go_on). One that has ended is left alone.
pub fn stop(pid: u32) {
    signal(pid, Signal::STOP);
}

/// Has a process that was stopped go on.
pub fn go_on(pid: u32) {
    signal(pid, Signal::CONT);
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("{signal:?}: {error}"),
    }
}

/// Whether a process runs: one that has ended and that nobody has asked about does not.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives").count()
}

/// A control group with a limit of memory, of whichever version this machine counts memory with. Dropping it removes it, once nobody is in it.
#[derive(Debug)]
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// Makes one; `None`: this machine lets nobody make one here.
    pub fn new(bytes: u64) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let of = |v2: bool, line: &str| {
            let (of_mount, of_type) = line.split_once(" - ")?;
            let at = of_mount.split(' ').nth(4)?.to_owned();
            let is_it = if v2 {
                of_type.starts_with("cgroup2 ")
            } else {
                of_type.starts_with("cgroup ") && of_type.ends_with("memory")
            };
            let own = groups.lines().find_map(|line| {
                if v2 { line.strip_prefix("0::") } else { line.split_once(":memory:").map(|(_, path)| path) }
            })?;
            is_it.then(|| [at.clone() + own, at])
        };
        for (v2, file) in [(false, "memory.limit_in_bytes"), (true, "memory.max")] {
            for parent in mounts.lines().filter_map(|line| of(v2, line)).flatten() {
                let group = Self(PathBuf::from(parent).join(format!("millstream-tests-{}", std::process::id())));
                if fs::create_dir(&group.0).is_ok() && fs::write(group.0.join(file), bytes.to_string()).is_ok() {
                    return Some(group);
                }
            }
        }
        None
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        for _ in 0..100 {
            match fs::remove_dir(&self.0) {
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {}
                _ => return,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A TCP socket of this machine as `/proc/net/tcp` shows it.
#[derive(Debug, Clone, Copy)]
pub struct Tcp {
    /// 1 is ESTABLISHED.
    pub state: u8,
    /// Bytes that the application wrote and the peer has not acknowledged.
    pub unacknowledged: u64,
}

/// The end at `local` of the IPv4 connection to `peer`, if the kernel still knows it.
pub fn tcp(local: SocketAddr, peer: SocketAddr) -> Option<Tcp> {
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => format!("{:08X}:{:04X}", u32::from_le_bytes(v4.ip().octets()), v4.port()),
        SocketAddr::V6(_) => unreachable!("the tests use IPv4 here"),
    };
    let (local, peer) = (hex(local), hex(peer));
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&local.as_str()) && fields.get(2) == Some(&peer.as_str())).then(|| Tcp {
            state: u8::from_str_radix(fields[3], 16).expect("hex"),
            unacknowledged: u64::from_str_radix(fields[4].split(':').next().expect("a queue"), 16).expect("hex"),
        })
    })
}
