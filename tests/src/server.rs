//! Starts the real `millstream` binary on free ports, learns them from its log, and checks on drop that it did not panic.
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{eventually, seconds};

/// The binary under test: `MILLSTREAM_BIN`, else the one beside the running test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MILLSTREAM_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    let path = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>").join("millstream");
    assert!(path.exists(), "{} is missing: run `cargo build --bins` with the same profile", path.display());
    path
}

/// Runs the binary to its end.
pub fn millstream(args: &[&str]) -> Output {
    let mut child = Command::new(binary())
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let deadline = Instant::now() + seconds(20);
    while child.try_wait().expect("wait").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let output = child.wait_with_output().expect("wait");
            panic!("millstream {args:?} did not end by itself; stderr:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("wait")
}

/// How a server is to be started.
#[derive(Debug, Default)]
pub struct Options {
    args: Vec<String>,
    config: String,
    signed: bool,
    demo: bool,
    role: Option<String>,
    descriptors: Option<u64>,
    group: Option<PathBuf>,
    disk_mib: Option<u64>,
    env: Vec<(String, String)>,
}

impl Options {
    /// Anyone may push; no configuration file unless [`Options::config`] gives one.
    pub fn open() -> Self {
        Self::default()
    }

    /// Pushes must be signed.
    pub fn signed() -> Self {
        Self { signed: true, ..Self::default() }
    }

    /// `millstream demo`.
    pub fn demo() -> Self {
        Self { demo: true, ..Self::default() }
    }

    pub fn arg(mut self, flag: &str, value: &str) -> Self {
        self.args.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// A flag without a value.
    pub fn flag(mut self, flag: &str) -> Self {
        self.args.push(flag.to_owned());
        self
    }

    /// A part of a fleet: `node` or `control`.
    pub fn role(self, role: &str) -> Self {
        Self { role: Some(role.to_owned()), ..self }.arg("--role", role)
    }

    pub fn shards(self, n: usize) -> Self {
        self.arg("--shards", &n.to_string())
    }

    /// How many descriptors the server may open.
    pub fn descriptors(self, most: u64) -> Self {
        Self { descriptors: Some(most), ..self }
    }

    /// The control group that the server is to be in.
    pub fn group(self, group: &Path) -> Self {
        Self { group: Some(group.to_owned()), ..self }
    }

    /// Its data directory is on a file system of its own, of so many MiB, in a mount namespace of the server.
    pub fn disk(self, mib: u64) -> Self {
        Self { disk_mib: Some(mib), ..self }
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Text of the configuration file.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self
    }

    /// Starts the server and waits until it listens.
    pub fn start(self) -> Server {
        let dir = tempfile::Builder::new().prefix("millstream-e2e-").tempdir().expect("a temporary directory");
        self.start_in(dir)
    }

    /// Like [`Options::start`], with a data directory that may already hold something.
    pub fn start_in(self, dir: TempDir) -> Server {
        // Each becomes the server: its process id stays.
        let disk = self.disk_mib.map(|mib| (dir.path().join("disk"), mib));
        let mut command = match (self.descriptors, &self.group, &disk) {
            (.., Some((disk, mib))) => {
                std::fs::create_dir(disk).expect("made");
                let mut unshare = millstream_test_support::disk::mounting(disk, *mib);
                unshare.arg(binary());
                unshare
            }
            (Some(most), ..) => {
                let mut prlimit = Command::new("prlimit");
                prlimit.arg(format!("--nofile={most}")).arg(binary());
                prlimit
            }
            (None, Some(group), None) => {
                let mut sh = Command::new("sh");
                sh.args(["-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$@\""]).arg(group).arg(binary());
                sh
            }
            (None, None, None) => Command::new(binary()),
        };
        command.arg(if self.demo { "demo" } else { "serve" });
        for listener in ["--rtmp", "--http", "--control"] {
            if !self.args.iter().any(|arg| arg == listener) {
                command.args([listener, "127.0.0.1:0"]);
            }
        }
        if !self.demo {
            command.arg("--data-dir").arg(disk.as_ref().map_or(dir.path(), |(disk, _)| disk));
            command.args(["--auth", if self.signed { "signed" } else { "open" }]);
            if !self.config.is_empty() {
                let file = dir.path().join("millstream.toml");
                std::fs::write(&file, &self.config).expect("the configuration is written");
                command.arg("--config").arg(file);
            }
        }
        command.args(&self.args);
        // A developer's own settings must not change what is tested.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MILLSTREAM_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .envs(self.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let log = Log::default();
        log.follow(child.stderr.take().expect("piped"));
        let stdout = Log::default();
        stdout.follow(child.stdout.take().expect("piped"));
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        // Nobody else sees it where it is mounted.
        let data_dir = disk.map_or(dir.path().to_owned(), |(disk, _)| {
            Path::new("/proc").join(child.id().to_string()).join("root").join(disk.strip_prefix("/").expect("absolute"))
        });
        let mut server = Server {
            data_dir,
            pid: child.id(),
            child: Some(child),
            log,
            stdout,
            dir: Some(dir),
            rtmp: unknown,
            http: unknown,
            control: unknown,
        };
        let listeners: &[&str] =
            if self.role.as_deref() == Some("control") { &["control"] } else { &["rtmp", "http", "control"] };
        for &listener in listeners {
            let address = server.listening(listener);
            match listener {
                "rtmp" => server.rtmp = address,
                "http" => server.http = address,
                _ => server.control = address,
            }
        }
        server
    }
}

/// Lines that a child wrote.
#[derive(Clone, Default, Debug)]
pub struct Log(Arc<Mutex<String>>);

impl Log {
    /// Reads a child's pipe to its end, on a thread.
    pub fn follow(&self, pipe: impl std::io::Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(pipe);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                log.lock().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more is read of the child's pipe while this is held: the child finds it full.
    pub fn unread(&self) -> MutexGuard<'_, String> {
        self.lock()
    }

    /// All of it so far.
    pub fn text(&self) -> String {
        self.lock().clone()
    }

    /// Whether that text occurs.
    pub fn has(&self, text: &str) -> bool {
        self.lock().contains(text)
    }
}

/// A running server. Dropping it kills it, and fails the test when the server panicked.
#[derive(Debug)]
pub struct Server {
    child: Option<Child>,
    pid: u32,
    /// What it wrote to stderr.
    pub log: Log,
    /// What it wrote to stdout.
    pub stdout: Log,
    dir: Option<TempDir>,
    data_dir: PathBuf,
    pub rtmp: SocketAddr,
    pub http: SocketAddr,
    pub control: SocketAddr,
}

impl Server {
    fn listening(&mut self, listener: &str) -> SocketAddr {
        let (log, field) = (self.log.clone(), format!("listening for {listener} "));
        eventually(&format!("the server says where its {listener} listener is"), seconds(15), || {
            if let Some(status) = self.try_wait() {
                panic!("the server ended at once: {status}");
            }
            let text = log.text();
            let line = text.lines().find(|line| line.to_ascii_lowercase().contains(&field))?;
            line.split("address=").nth(1)?.split_whitespace().next()?.trim_matches('"').parse().ok()
        })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn data_dir(&self) -> &Path {
        assert!(self.dir.is_some(), "a server that was killed is gone");
        &self.data_dir
    }

    /// `rtmp://.../stream/<key>`; the key may carry a query.
    pub fn push_url(&self, key: &str) -> String {
        format!("rtmp://{}/stream/{key}", self.rtmp)
    }

    /// `http://.../<id>/live.flv`.
    pub fn flv_url(&self, id: &str) -> String {
        format!("http://{}/{id}/live.flv", self.http)
    }

    /// What `millstream sign ID ...` prints for this server's data directory, without a leading `sign=`.
    pub fn sign(&self, id: &str, args: &[&str]) -> String {
        let dir = self.data_dir().to_str().expect("a path of ASCII");
        let mut all = vec!["sign", id, "--data-dir", dir];
        all.extend(args);
        let output = millstream(&all);
        assert!(output.status.success(), "sign failed: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("ASCII");
        let line = text.lines().last().expect("a line").trim();
        line.strip_prefix("sign=").unwrap_or(line).to_owned()
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        let response = crate::http::get(self.control, "/metrics");
        assert_eq!(response.status, 200, "/metrics");
        String::from_utf8(response.body).expect("UTF-8")
    }

    /// The sum of all samples of a metric (whose name is exact, without labels).
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let mut found = false;
        let sum = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .inspect(|_| found = true)
            .sum();
        assert!(found, "no metric {name} in:\n{text}");
        sum
    }

    /// Changes how many descriptors it may open, while it runs.
    pub fn limit_descriptors(&self, most: u64) {
        let (pid, limit) = (self.pid.to_string(), format!("--nofile={most}:"));
        let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("prlimit runs");
        assert!(status.success(), "prlimit: {status}");
    }

    pub fn terminate(&self) {
        let pid = Pid::from_raw(self.pid as i32).expect("a process id");
        kill_process(pid, Signal::TERM).expect("the server can be signalled");
    }

    pub fn hang_up(&self) {
        let pid = Pid::from_raw(self.pid as i32).expect("a process id");
        kill_process(pid, Signal::HUP).expect("the server can be signalled");
    }

    /// The exit status, if it has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("wait"))
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        eventually("the server ends", within, || self.try_wait())
    }

    /// Kills it as `kill -9` does; gives its data directory, as it was left.
    pub fn kill(mut self) -> TempDir {
        let mut child = self.child.take().expect("it runs");
        child.kill().and_then(|()| child.wait()).expect("it can be killed");
        self.dir.take().expect("it has one")
    }

    /// Whether it still answers on its HTTP port.
    pub fn healthy(&self) -> bool {
        crate::http::try_get(self.http, "/healthz").is_ok_and(|r| r.status == 200)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut died = None;
        if let Some(mut child) = self.child.take() {
            // A server that died by a signal of its own says nothing in its log.
            died = child.try_wait().ok().flatten().filter(|status| !status.success());
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = self.log.text();
        let panicked = log.contains("panicked");
        if std::thread::panicking() || panicked || died.is_some() {
            let mut shown = String::new();
            let lines: Vec<_> = log.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(200)) {
                let _ = writeln!(shown, "  | {line}");
            }
            eprintln!("the server's log (its last 200 lines):\n{shown}");
            if let Some(status) = died {
                eprintln!("the server had ended by itself: {status}");
            }
        }
        if !std::thread::panicking() {
            assert!(!panicked, "the server panicked; its log is above");
            assert!(died.is_none(), "the server died; its log is above");
        }
    }
}
