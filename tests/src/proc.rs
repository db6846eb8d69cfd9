//! What the kernel says about a process and its sockets, read from `/proc`.
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

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

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives").count()
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
