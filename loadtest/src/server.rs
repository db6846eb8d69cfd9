//! What a server on this machine uses and says of itself: `/proc` and `/metrics`. For a server elsewhere, nothing.
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::limits::METRICS_BYTES_MAX;

/// `/proc` shows times in units of USER_HZ, which is 100 on every architecture that Rust runs on.
const TICK: Duration = Duration::from_millis(10);
/// Longest wait for `/metrics`, and for a port that may have them.
const METRICS_WAIT: Duration = Duration::from_secs(5);
const LOOK_WAIT: Duration = Duration::from_millis(500);
/// State of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// A server process on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) pid: Option<u32>,
    metrics: Option<SocketAddr>,
}

/// What it has used so far.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Of the thread that has used most.
    pub(crate) busiest_thread: Duration,
    /// How long that thread could have run and had no core.
    pub(crate) busiest_waited: Duration,
    pub(crate) rss_bytes: u64,
}

/// Sums of the samples of each metric.
pub(crate) type Metrics = BTreeMap<String, f64>;

impl Server {
    /// The process given, or the one that listens at the first of `targets`; its metrics where given, or on any of its listening ports
    /// that is not a target itself: what is under load is not asked for anything else.
    pub(crate) fn find(targets: &[SocketAddr], pid: Option<u32>, metrics: Option<SocketAddr>) -> Self {
        let Some(address) = targets.first() else { return Self { pid, metrics } };
        let here = address.ip().to_canonical().is_loopback();
        let listeners = if here { listeners() } else { Vec::new() };
        let pid = pid.or_else(|| {
            let inodes = listeners.iter().filter(|(local, _)| local.port() == address.port()).map(|(_, inode)| *inode);
            let inodes: HashSet<u64> = inodes.collect();
            if inodes.is_empty() { None } else { processes().find(|pid| !sockets(*pid).is_disjoint(&inodes)) }
        });
        let metrics = metrics.or_else(|| {
            let mine = sockets(pid?);
            let ports: HashSet<u16> =
                listeners.iter().filter(|(_, inode)| mine.contains(inode)).map(|(local, _)| local.port()).collect();
            let others = ports.into_iter().filter(|port| targets.iter().all(|target| target.port() != *port));
            let mut candidates = others.map(|port| SocketAddr::new(address.ip(), port));
            candidates.find(|candidate| fetch(*candidate, LOOK_WAIT).is_some_and(|metrics| !metrics.is_empty()))
        });
        Self { pid, metrics }
    }

    /// What it has used so far; `None` when it is gone or elsewhere.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let pid = self.pid?;
        // The thread first: what it does in between is in the sum as well.
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        let busiest = tasks.filter_map(|task| schedule(&task.path().join("schedstat"))).max();
        let (busiest_thread, busiest_waited) = busiest.unwrap_or_default();
        let cpu = cpu(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let rss_kib: u64 =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()?;
        Some(Usage { cpu, busiest_thread, busiest_waited, rss_bytes: rss_kib * 1024 })
    }

    /// Its soft limit of open descriptors.
    pub(crate) fn descriptors_max(&self) -> Option<u64> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.pid?)).ok()?;
        limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
    }

    /// Its metrics, if it has any.
    pub(crate) fn metrics(&self) -> Option<Metrics> {
        fetch(self.metrics?, METRICS_WAIT)
    }
}

/// Out of a `schedstat` file: time on a core, and time waited for one.
pub(crate) fn schedule(path: &Path) -> Option<(Duration, Duration)> {
    let text = fs::read_to_string(path).ok()?;
    let mut fields = text.split_whitespace().map(|field| field.parse().map(Duration::from_nanos));
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

/// User and system time out of a `stat` file. The name in parentheses may hold anything; the fields that count come behind it.
fn cpu(stat: &str) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u32>().ok()?.checked_add(fields.get(12)?.parse().ok()?)?;
    Some(TICK * ticks)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Inodes of the sockets that a process has open.
fn sockets(pid: u32) -> HashSet<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

/// Local addresses and inodes of this machine's listening sockets. Of the address only the port is told.
fn listeners() -> Vec<(SocketAddr, u64)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| fs::read_to_string(path).ok());
    tables.flat_map(|table| table.lines().skip(1).filter_map(listener).collect::<Vec<_>>()).collect()
}

fn listener(line: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (&local, &state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?.parse().ok()?);
    let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    (state == LISTEN).then_some((SocketAddr::from(([0, 0, 0, 0], port)), inode))
}

/// Asks for `/metrics`; `None` where nobody answers it in time.
fn fetch(address: SocketAddr, wait: Duration) -> Option<Metrics> {
    let deadline = Instant::now() + wait;
    let mut socket = TcpStream::connect_timeout(&address, wait).ok()?;
    socket.set_write_timeout(Some(wait)).ok()?;
    // HTTP/1.0: the answer ends with the connection, and is not chunked.
    socket.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    let (mut answer, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        socket.set_read_timeout(Some(left)).ok()?;
        match socket.read(&mut buffer).ok()? {
            0 => break,
            count => answer.extend_from_slice(&buffer[..count]),
        }
        if answer.len() > METRICS_BYTES_MAX {
            return None;
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split_whitespace().nth(1).filter(|status| *status == "200")?;
    Some(parse(body))
}

/// Sums by name, whatever the labels.
fn parse(text: &str) -> Metrics {
    let mut sums = Metrics::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, _)) = line.split_once(['{', ' ']) else { continue };
        if let Some(value) = line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok()) {
            *sums.entry(name.to_owned()).or_default() += value;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn this_very_process_is_found_by_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::find(&[address], None, None);
        assert_eq!(server.pid, Some(std::process::id()));
        let usage = server.usage().unwrap();
        // User and system time are cut to whole ticks each, and the time on a core is not.
        assert!(usage.rss_bytes > 100_000 && usage.busiest_thread <= usage.cpu + 2 * TICK, "{usage:?}");
        assert!(server.descriptors_max().unwrap() > 10);
    }

    #[test]
    fn metrics_are_summed_over_labels() {
        let text = "# HELP a_total b\na_total{shard=\"0\"} 3\na_total{shard=\"1\"} 4.5\nup 1\n# EOF\n";
        assert_eq!(parse(text), Metrics::from([("a_total".to_owned(), 7.5), ("up".to_owned(), 1.0)]));
    }

    #[test]
    fn a_name_with_blanks_and_parentheses_is_passed_over() {
        let stat = "7 (a) b (c)) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0 100";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
    }
}
