//! Caches in front of the server, started with the very files that `docs/cdn` gives to users: only the lines that those mark are changed.
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::tools::Tool;
use crate::{eventually, seconds};

/// A running cache. Dropping it ends it.
#[derive(Debug)]
pub struct Cache {
    tool: Tool,
    dir: TempDir,
    pub address: SocketAddr,
}

/// A line of nginx's log: what a viewer's request cost the origin.
#[derive(Debug, Clone)]
pub struct Logged {
    /// When it was answered, seconds since 1970.
    pub at: f64,
    pub status: u16,
    /// Whether the origin was asked.
    pub asked_origin: bool,
    /// Path and query.
    pub url: String,
}

/// The CloudFront Function of `docs/cdn` with these keys: generation and text of each.
pub fn function(keys: &[(u32, &str)], edge_secret: &str) -> String {
    let keys: Vec<String> = keys.iter().map(|(generation, key)| format!("'{generation}': '{key}'")).collect();
    let changes = [("'1': 'the key'", keys.join(", ")), ("the edge_secret of the origin", edge_secret.to_owned())];
    adapted("grants.js", &changes)
}

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("docs/cdn").join(name)
}

/// The file with each of the texts replaced, all of which must be on lines that the file marks as the ones to change.
fn adapted(name: &str, changes: &[(&str, String)]) -> String {
    let mut text = std::fs::read_to_string(docs(name)).expect("docs/cdn");
    for (old, new) in changes {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(old)).collect();
        assert!(
            !lines.is_empty() && lines.iter().all(|line| line.contains("# <-") || line.contains("// <-")),
            "{name}: {old:?} is on {lines:#?}"
        );
        text = text.replace(old, new);
    }
    text
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port")
}

impl Cache {
    /// nginx with `docs/cdn/nginx.conf`.
    pub fn nginx(origin: SocketAddr) -> Self {
        Self::nginx_with(origin, "the edge_secret of no origin")
    }

    /// The same, before an origin with this `edge_secret`.
    pub fn nginx_with(origin: SocketAddr, edge_secret: &str) -> Self {
        Self::nginx_before(origin, None, edge_secret)
    }

    /// The same, with `docs/cdn/nginx-bucket.conf` and a bucket at that address.
    pub fn nginx_with_bucket(origin: SocketAddr, bucket: SocketAddr) -> Self {
        Self::nginx_before(origin, Some(bucket), "the edge_secret of no origin")
    }

    fn nginx_before(origin: SocketAddr, bucket: Option<SocketAddr>, edge_secret: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("millstream-nginx-").tempdir().expect("a temporary directory");
        let address = free_address();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let text = adapted(
            "nginx.conf",
            &[
                ("/run/nginx-millstream.pid", at("pid")),
                ("/var/log/nginx/millstream-error.log", at("error.log")),
                ("/var/log/nginx/millstream.log", at("access.log")),
                ("/var/cache/nginx/millstream-playlists", at("playlists")),
                ("/var/cache/nginx/millstream-media", at("media")),
                ("/var/cache/nginx/millstream-grants", at("grants")),
                ("the edge_secret of the origin", edge_secret.to_owned()),
                ("server 127.0.0.1:8080", format!("server {origin}")),
                ("listen 80 ", format!("listen {address} ")),
            ],
        );
        let text = match bucket {
            None => text,
            Some(bucket) => {
                let bucket = adapted("nginx-bucket.conf", &[("127.0.0.1:9000", bucket.to_string())]);
                std::fs::write(at("bucket.conf"), bucket).expect("the configuration is written");
                let first = "        # The freshness lifetime is the origin's: half";
                text.replacen(first, &format!("        include {};\n{first}", at("bucket.conf")), 1)
            }
        };
        let file = at("nginx.conf");
        std::fs::write(&file, text).expect("the configuration is written");
        // The workers of a master that is root would be somebody who may not read the directory.
        let mut args = vec!["-c", &file, "-e", "stderr"];
        let as_root = rustix::process::geteuid().is_root();
        args.extend(["-g", if as_root { "daemon off; user root;" } else { "daemon off;" }]);
        Self::started(Tool::start("nginx", &args), dir, address)
    }

    /// Varnish with `docs/cdn/varnish.vcl`.
    pub fn varnish(origin: SocketAddr) -> Self {
        let dir = tempfile::Builder::new().prefix("millstream-varnish-").tempdir().expect("a temporary directory");
        let address = free_address();
        let text = adapted(
            "varnish.vcl",
            &[("\"127.0.0.1\"", format!("\"{}\"", origin.ip())), ("\"8080\"", format!("\"{}\"", origin.port()))],
        );
        let file = dir.path().join("millstream.vcl").display().to_string();
        std::fs::write(&file, text).expect("the configuration is written");
        let (work, listen) = (dir.path().join("work").display().to_string(), address.to_string());
        #[rustfmt::skip]
        let args = ["-F", "-j", "none", "-n", &work, "-a", &listen, "-f", &file, "-s", "malloc,256m", "-T", "none"];
        Self::started(Tool::start("varnishd", &args), dir, address)
    }

    fn started(mut tool: Tool, dir: TempDir, address: SocketAddr) -> Self {
        eventually("the cache listens", seconds(20), || {
            assert!(tool.running(), "the cache has ended: {}", tool.stderr.text());
            crate::http::try_get(address, "/healthz").ok()
        });
        Self { tool, dir, address }
    }

    /// Process id of the master.
    pub fn pid(&self) -> u32 {
        self.tool.pid()
    }

    /// All that nginx has logged so far.
    pub fn log(&self) -> Vec<Logged> {
        let text = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        let line = |line: &str| {
            let mut fields = line.split(' ');
            let (at, status) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            let asked_origin = !matches!(fields.next()?, "HIT" | "STALE" | "UPDATING");
            Some(Logged { at, status, asked_origin, url: fields.next()?.to_owned() })
        };
        text.lines().map(|l| line(l).unwrap_or_else(|| panic!("a line of nginx's log: {l}"))).collect()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // Both have a child that does the work, and end it when they are told to end; a kill would leave it behind.
        if let Some(pid) = rustix::process::Pid::from_raw(self.tool.pid() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = std::time::Instant::now() + seconds(5);
        while self.tool.running() && std::time::Instant::now() < deadline {
            std::thread::sleep(crate::millis(20));
        }
    }
}

/// Requests to the origin that came sooner after the last one for the same URL than that answer was fresh, and how many there were in all.
/// `fresh_s` tells the freshness lifetime of a URL, in seconds.
pub fn too_many(log: &[Logged], fresh_s: impl Fn(&str) -> f64) -> (Vec<String>, usize) {
    let mut by_url: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for line in log.iter().filter(|l| l.asked_origin && l.status == 200) {
        by_url.entry(&line.url).or_default().push(line.at);
    }
    let all = by_url.values().map(Vec::len).sum();
    let mut faults = Vec::new();
    for (url, mut times) in by_url {
        times.sort_by(f64::total_cmp);
        for pair in times.windows(2) {
            if pair[1] - pair[0] < fresh_s(url) {
                faults.push(format!("{url} was asked for again after {:.3} s", pair[1] - pair[0]));
            }
        }
    }
    (faults, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_request_within_the_lifetime_is_one_too_many() {
        let line = |at, asked_origin, url: &str| Logged { at, status: 200, asked_origin, url: url.to_owned() };
        let log = [line(1.0, true, "/a"), line(1.1, false, "/a"), line(1.2, true, "/b"), line(2.5, true, "/a")];
        assert_eq!(too_many(&log, |_| 1.0), (vec![], 3));
        let (faults, _) = too_many(&log, |_| 2.0);
        assert_eq!(faults, ["/a was asked for again after 1.500 s"]);
    }

    #[test]
    fn what_users_are_to_change_is_marked() {
        let change = [("server 127.0.0.1:8080", "server 127.0.0.1:9".to_owned())];
        assert!(adapted("nginx.conf", &change).contains("server 127.0.0.1:9"));
        let unmarked = std::panic::catch_unwind(|| adapted("nginx.conf", &[("proxy_cache_lock on", String::new())]));
        assert!(unmarked.is_err());
    }
}
