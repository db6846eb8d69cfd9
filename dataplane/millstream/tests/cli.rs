//! The binary from outside: what it prints, where, and its exit status.
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ID: &str = "98724e64-bcd1-4887-af4a-60be440709aa";
const MASTER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(args).current_dir(self.0.path()).env_clear().envs(env.iter().copied());
        Ran::new(&command.output().unwrap())
    }
}

#[derive(Debug)]
struct Ran {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { status: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    #[track_caller]
    fn prints(&self, line: &str) -> &Self {
        assert_eq!((self.status, self.stdout.as_str()), (Some(0), format!("{line}\n").as_str()), "{self:?}");
        self
    }

    /// Ended with this status, nothing on standard output, and each part on standard error.
    #[track_caller]
    fn fails(&self, status: i32, parts: &[&str]) -> &Self {
        assert_eq!((self.status, self.stdout.as_str()), (Some(status), ""), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {self:?}");
        }
        self
    }

    #[track_caller]
    fn hides(&self, secret: &str) -> &Self {
        assert!(!self.stdout.contains(secret) && !self.stderr.contains(secret), "{self:?}");
        self
    }
}

#[test]
fn sign_makes_the_golden_signature_of_the_original_system() {
    let room = Room::new();
    let key = room.file("key", "nodemedia2017privatekey\n", 0o644);
    let golden = "1670544000-63497837275539bdb8e21800887e2db9";
    let sign = |expires| room.run(&["sign", ID, "--expires", expires, "--key-file", &key], &[]);
    sign("1670544000").prints(golden).hides("nodemedia2017privatekey");
    sign("2022-12-09").prints(golden);
    room.run(&["sign", ID, "--expires=1670544000", "--legacy", "--key-file", &key], &[]).prints(golden);
    assert!(sign("1670544000").stderr.contains("in the past"));
    assert!(!room.run(&["sign", ID, "--expires=2100-01-01", "--key-file", &key], &[]).stderr.contains("in the past"));
}

#[test]
fn sign_uses_the_master_key_and_the_generation_of_the_configuration() {
    let room = Room::new();
    room.file("data/master-key", format!("{MASTER}\n"), 0o600);
    let config = "[node]\ndata_dir = \"data\"\n[[stream]]\nid = \"cam1\"\n[[stream]]\nid = \"cam2\"\ngeneration = 2\n";
    room.file("m.toml", config, 0o644);
    let sign = |id, more: &[&str]| room.run(&[&["sign", id, "--expires", "1900000000"], more].concat(), &[]);
    let v2 = "v2-1900000000-FpVAYIJPUb6PImwJ3BFnqsf1jznmkY6jSlIA10Tq1Uk";
    sign("cam1", &["--data-dir", "data"]).prints(v2).hides(MASTER);
    sign("cam1", &["--config", "m.toml"]).prints(v2);
    sign("cam1", &["--config", "m.toml", "--legacy"]).prints("1900000000-557adebec1fe9078fb6d793f5b117d6b");
    room.run(&["sign", "cam1", "--expires=1900000000"], &[("MILLSTREAM_DATA_DIR", "data")]).prints(v2);
    let key = room.file("key", "hush", 0o600);
    let env = [("MILLSTREAM_DATA_DIR", "data"), ("MILLSTREAM_KEY_FILE", key.as_str())];
    room.run(&["sign", "cam1", "--expires=1900000000"], &env).prints(v2);
    assert_ne!(sign("cam2", &["--config", "m.toml"]).stdout, sign("cam2", &["--data-dir", "data"]).stdout);
    assert!(sign("cam3", &["--config", "m.toml"]).stderr.contains("generation 1 is taken"));
}

#[test]
fn sign_does_not_make_a_master_key() {
    let room = Room::new();
    room.run(&["sign", "cam1", "--expires=2100-01-01"], &[]).fails(2, &["millstream-data/master-key", "first start"]);
    assert!(!room.path("millstream-data").exists());
    room.file("data/master-key", MASTER, 0o644);
    let loose = room.run(&["sign", "cam1", "--expires=2100-01-01", "--data-dir=data"], &[]);
    loose.fails(2, &["chmod 600"]).hides(MASTER);
}

#[test]
fn bad_usage_is_status_2() {
    let room = Room::new();
    let check = |args: &[&str], parts: &[&str]| {
        room.run(args, &[]).fails(2, parts);
    };
    check(&[], &["Usage"]);
    check(&["fly"], &["fly"]);
    check(&["serve", "--frobnicate"], &["--frobnicate"]);
    check(&["serve", "--rtmp", "nowhere"], &["--rtmp", "give an IP address and a port"]);
    check(&["serve", "--control", "0.0.0.0:8081"], &["loopback"]);
    check(&["serve", "--shards", "0"], &["--shards", "1 to 256"]);
    check(&["serve", "--io", "kqueue"], &["auto, uring, epoll"]);
    check(&["serve", "--auth", "opne"], &["did you mean \"open\"?"]);
    check(&["serve", "--role", "node"], &["--control-url"]);
    check(&["serve", "--role", "nod"], &["did you mean \"node\"?"]);
    check(&["serve", "--role", "node", "--control-url", "http://192.0.2.1"], &["not TLS", "--control-plain"]);
    check(&["serve", "--role", "node", "--control-url", "http://127.0.0.1:1"], &["node-token", "copy control's"]);
    check(&["serve", "--config", "none.toml"], &["none.toml: cannot be read"]);
    check(&["serve", "--key-file", "none"], &["none"]);
    check(&["serve", "--rtmp", "127.0.0.1:5", "--http", "127.0.0.1:5"], &["same port"]);
    check(&["sign", "cam1"], &["--expires"]);
    check(&["sign", "../cam", "--expires=1"], &["character"]);
    check(&["sign", "cam1", "--expires=tomorrow"], &["give a date"]);
    check(&["sign", "cam1", "--expires=1", "--key-file=none"], &["cannot read the key file none"]);
    check(&["check"], &["FILE"]);
    room.run(&["serve"], &[("MILLSTREAM_RTMP", "nowhere")]).fails(2, &["give an IP address"]);
    room.run(&["serve"], &[("MILLSTREAM_LOG", "a=b=c")]).fails(2, &["MILLSTREAM_LOG"]);
    assert!(!room.path("millstream-data").exists());
}

#[test]
fn help_and_version_are_status_0() {
    let room = Room::new();
    for args in [&["--help"][..], &["--version"], &["serve", "--help"], &["sign", "--help"]] {
        assert_eq!(room.run(args, &[]).status, Some(0), "{args:?}");
    }
}

#[test]
fn check_says_ok() {
    let room = Room::new();
    let file = room.file("m.toml", "[[stream]]\nid = \"cam1\"\n", 0o644);
    let ran = room.run(&["check", &file], &[]);
    ran.prints(&format!("{file}: ok"));
    assert_eq!(ran.stderr, "");
    let file = room.file(
        "n.toml",
        "[auth]\nedge_secret = \"hush-hush-hush-hush\"\n[hls]\nwindow = 6\n[[stream]]\nid = \"cam1\"\n",
        0o644,
    );
    let ran = room.run(&["check", &file], &[]);
    ran.prints(&format!("{file}: ok"));
    assert_eq!(ran.stderr, "");
}

#[test]
fn check_says_what_is_wrong_and_where() {
    let room = Room::new();
    let check = |content: &[u8], parts: &[&str]| {
        let file = room.file("m.toml", content, 0o644);
        room.run(&["check", &file], &[]).fails(2, parts).hides("hush");
    };
    check(b"[node]\nshard = 1\n", &["m.toml:2:1: node.shard: unknown key (did you mean shards?)"]);
    check(b"[node]\nio = 1\n[rtmp]\nlisten = \"x\"\n", &["m.toml:2:6: node.io", "m.toml:4:10: rtmp.listen"]);
    check(b"[auth]\nlegacy_keys = [\"hush\n", &["m.toml:2:"]);
    check(b"\x7fELF\x02\x01\x01\x00\xff\xfe", &["m.toml:1:1: this is a binary file"]);
    check(b"[node]\nio = \"\xff\"\n", &["m.toml:2:7: this is not UTF-8"]);
    check(b"[http]\nlisten = \"127.0.0.1:5\"\n[rtmp]\nlisten = \"0.0.0.0:5\"\n", &["m.toml:4:1: ", "same port"]);
    // What two settings say together has a place, too.
    check(b"[hls]\nsegment = \"2s\"\n  part = \"1500ms\"\n", &["m.toml:3:3: hls.part (1500 ms) is longer than half"]);
    check(b"hls.part = \"1500ms\"\nhls.segment = \"2s\"\n", &["m.toml:1:1: hls.part"]);
    room.file("m.toml", "[node]\nio = 1\nfoo = 1\n", 0o644);
    let ran = room.run(&["check", "m.toml"], &[]);
    assert!(ran.stderr.lines().all(|line| line.starts_with("m.toml:")) && ran.stderr.lines().count() == 2, "{ran:?}");
    room.run(&["check", "none.toml"], &[]).fails(2, &["none.toml: cannot be read"]);
    room.run(&["check", "."], &[]).fails(2, &["cannot be read"]);
}

#[test]
fn serve_refuses_a_loose_master_key_and_prints_no_secret() {
    let room = Room::new();
    room.file("data/master-key", MASTER, 0o640);
    let args = ["serve", "--data-dir=data", "--rtmp=127.0.0.1:0", "--http=127.0.0.1:0", "--control=127.0.0.1:0"];
    room.run(&args, &[]).fails(2, &["data/master-key", "chmod 600"]).hides(MASTER);
    let key = room.file("key", "hush\nhush\n", 0o600);
    room.run(&[&args[..], &["--key-file", &key]].concat(), &[]).fails(2, &["one line"]).hides("hush");
    assert!(Path::new(&key).exists());
}

/// Starts the server on free ports, ends it with SIGTERM once it is ready, and returns its status and its log.
fn serve_until_term(room: &Room, more: &[&str]) -> (Option<i32>, String) {
    serve_until_term_with(room, more, &[])
}

/// The same, with limits as `prlimit` takes them.
fn serve_until_term_with(room: &Room, more: &[&str], limits: &[&str]) -> (Option<i32>, String) {
    let ports = ["serve", "--rtmp=127.0.0.1:0", "--http=127.0.0.1:0", "--control=127.0.0.1:0", "--shards=1"];
    let binary = env!("CARGO_BIN_EXE_millstream");
    let mut command = Command::new(if limits.is_empty() { binary } else { "prlimit" });
    if !limits.is_empty() {
        // Becomes the server: its process id stays.
        command.args(limits).arg(binary);
    }
    command.args(ports).args(more).current_dir(room.0.path()).env_clear().stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut log = String::new();
    while !log.ends_with("ready\n") {
        assert_ne!(stderr.read_line(&mut log).unwrap(), 0, "ended before it was ready: {log}");
    }
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    stderr.read_to_string(&mut log).unwrap();
    (child.wait().unwrap().code(), log)
}

#[test]
fn serve_makes_its_secrets_once_and_ends_cleanly_on_sigterm() {
    let room = Room::new();
    room.file("m.toml", "[auth]\nlegacy_keys = [\"hush\"]\n[[stream]]\nid = \"cam1\"\n", 0o644);
    let (status, first) = serve_until_term(&room, &["--config=m.toml"]);
    assert_eq!(status, Some(0), "{first}");
    let master = std::fs::read_to_string(room.path("millstream-data/master-key")).unwrap();
    let token = std::fs::read_to_string(room.path("millstream-data/admin-token")).unwrap();
    assert_eq!(std::fs::metadata(room.path("millstream-data/master-key")).unwrap().permissions().mode() & 0o777, 0o600);
    let (status, second) = serve_until_term(&room, &["--config=m.toml"]);
    assert_eq!(status, Some(0), "{second}");
    assert_eq!(std::fs::read_to_string(room.path("millstream-data/master-key")).unwrap(), master);
    for secret in ["hush", master.trim_end(), token.trim_end()] {
        assert!(!first.contains(secret) && !second.contains(secret), "{first}{second}");
    }
    assert!(first.contains("millstream-data/master-key") && !second.contains("master-key"), "{first}{second}");
    assert!(first.matches("listening for").count() == 3, "{first}");
}

#[test]
fn limits_that_nobody_configured_are_no_warning() {
    let room = Room::new();
    let log = |more: &[&str]| {
        let (status, log) = serve_until_term_with(&room, more, &["--nofile=1000:1000"]);
        assert_eq!(status, Some(0), "{log}");
        log
    };
    let quiet = log(&[]);
    assert!(!quiet.contains(" WARN ") && quiet.contains("descriptors=1000"), "{quiet}");
    room.file("m.toml", "[limits]\nconnections = 5000\n", 0o644);
    let told = log(&["--config=m.toml"]);
    assert!(told.contains("limits.connections is cut to what the limit of open descriptors allows"), "{told}");
}

/// Nobody but root may listen below 1024 by default; a user namespace without rights is such a nobody.
#[test]
fn a_port_that_needs_a_right_says_which() {
    let room = Room::new();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-net_bind_service", "--inh-caps=-all", "--reuid=65534", "--clear-groups"]);
    command.arg(env!("CARGO_BIN_EXE_millstream")).args([
        "demo",
        "--http=127.0.0.1:1",
        "--rtmp=127.0.0.1:0",
        "--control=127.0.0.1:0",
    ]);
    let allowed = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if allowed.trim() != "1024" || !Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n") {
        eprintln!("skipped: needs root to give up a right, and ports below 1024 that need it");
        return;
    }
    std::fs::set_permissions(room.0.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let ran = Ran::new(&command.current_dir(room.0.path()).output().unwrap());
    ran.fails(1, &["cannot listen on 127.0.0.1:1 for HTTP", "setcap", "CAP_NET_BIND_SERVICE", "--http", "proxy"]);
}

/// A server that runs: what it has logged so far, and its end.
struct Running {
    child: std::process::Child,
    log: std::sync::Arc<std::sync::Mutex<String>>,
}

impl Running {
    fn start(room: &Room, more: &[&str]) -> Self {
        Self::start_in(room, more, &[])
    }

    fn start_in(room: &Room, more: &[&str], env: &[(&str, &str)]) -> Self {
        let ports = ["serve", "--rtmp=127.0.0.1:0", "--http=127.0.0.1:0", "--shards=1"];
        let control =
            if more.iter().any(|arg| arg.starts_with("--control=")) { None } else { Some("--control=127.0.0.1:0") };
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(ports).args(control).args(more).current_dir(room.0.path()).env_clear().stderr(Stdio::piped());
        command.envs(env.iter().copied());
        let mut child = command.spawn().unwrap();
        let log = std::sync::Arc::<std::sync::Mutex<String>>::default();
        let (stderr, lines) = (child.stderr.take().unwrap(), std::sync::Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *lines.lock().unwrap() += &(line + "\n");
            }
        });
        let running = Self { child, log };
        running.says("ready");
        running
    }

    /// Waits until the log has this; gives all of it.
    fn says(&self, part: &str) -> String {
        let by = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let log = self.log.lock().unwrap().clone();
            if log.contains(part) {
                return log;
            }
            assert!(std::time::Instant::now() < by, "{part:?} is not in {log}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// The address that the log names for a listener.
    fn address(&self, listener: &str) -> String {
        let log = self.says(&format!("listening for {listener}"));
        let line = log.lines().find(|line| line.contains(&format!("listening for {listener}"))).unwrap().to_owned();
        line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    }

    fn end(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        let status = self.child.wait().unwrap().code();
        let log = self.says("ended");
        (status, log)
    }
}

#[test]
fn sighup_takes_over_the_log_level_and_names_what_needs_a_restart() {
    let room = Room::new();
    let write = |text: &str| room.file("m.toml", text, 0o644);
    write("[log]\nlevel = \"warn,millstream=info\"\n[rtmp]\nchunk_size = 4096\n");
    let server = Running::start(&room, &["--config=m.toml"]);
    server.signal("HUP");
    server.says("all of it is in force");
    write(
        "[log]\nlevel = \"debug\"\n[rtmp]\nchunk_size = 8192\n[auth]\nlegacy_keys = [\"hush\"]\n[[stream]]\nid = \"cam\"\n",
    );
    server.signal("HUP");
    let log = server.says("need a restart");
    let line = log.lines().find(|line| line.contains("need a restart")).unwrap();
    assert!(line.contains("rtmp.chunk_size, auth.legacy_keys") && !line.contains("log.level"), "{line}");
    assert!(
        !line.contains("[[stream]]") && log.contains("the streams of the file are in force added=1 removed=0"),
        "{log}"
    );
    assert!(log.contains("the log level is another one"), "{log}");
    // It is: what is said at that level is said now.
    drop(std::net::TcpStream::connect(server.address("HTTP")).unwrap());
    server.says("left without a byte");
    write("[log]\nlevel = \"wrong,,=\"\n");
    server.signal("HUP");
    server.says("nothing was changed, because the configuration is wrong");
    let (status, log) = server.end();
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains(" DEBUG ") && !log.contains("hush"), "{log}");
}

/// `Type=notify` of systemd: it waits for READY before it starts what needs this server.
#[test]
fn a_service_manager_is_told_when_it_is_ready_and_when_it_ends() {
    let room = Room::new();
    let socket = std::os::unix::net::UnixDatagram::bind(room.path("notify")).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let told = || {
        let mut buffer = [0; 100];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    let server = Running::start_in(&room, &[], &[("NOTIFY_SOCKET", room.path("notify").to_str().unwrap())]);
    assert_eq!(told(), "READY=1");
    assert_eq!(server.end().0, Some(0));
    assert_eq!(told(), "STOPPING=1");
}

#[test]
fn sighup_without_a_file_is_not_the_end() {
    let room = Room::new();
    let server = Running::start(&room, &[]);
    server.signal("HUP");
    server.says("nothing to reload");
    assert_eq!(server.end().0, Some(0));
}

/// A demo's terminal that is closed ends it as Ctrl-C does: with a drain.
#[test]
fn sighup_ends_a_demo_cleanly() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_millstream"))
        .args(["demo", "--rtmp=127.0.0.1:0", "--http=127.0.0.1:0", "--control=127.0.0.1:0"])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Ctrl-C ends it")));
    assert!(Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn logs_are_json_where_that_is_asked_for() {
    let room = Room::new();
    room.file("m.toml", "[log]\nformat = \"json\"\n", 0o644);
    for more in [&["--config=m.toml"][..], &["--log-format=json", "--log=info"]] {
        let (status, log) = Running::start(&room, more).end();
        assert_eq!(status, Some(0), "{log}");
        for line in log.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(
                line["timestamp"].is_string() && line["level"].is_string() && line["fields"]["message"].is_string(),
                "{line}"
            );
        }
        assert!(log.lines().count() > 5, "{log}");
    }
    room.run(&["serve", "--log=a=b=c"], &[]).fails(2, &["--log", "target=level"]);
    room.run(&["serve", "--log-format=xml"], &[]).fails(2, &["text, json"]);
}

#[test]
fn the_whole_configuration_is_printed_and_checks() {
    let room = Room::new();
    let printed = room.run(&["config"], &[]);
    assert_eq!(printed.status, Some(0), "{printed:?}");
    let file = room.file("m.toml", &printed.stdout, 0o644);
    room.run(&["check", &file], &[]).prints(&format!("{file}: ok"));
    room.file("own.toml", "[rtmp]\nlisten = \":1936\"\n", 0o644);
    let own = room.run(&["config", "--config=own.toml"], &[]);
    assert!(own.stdout.contains("\nlisten = \"0.0.0.0:1936\"\n"), "{own:?}");
}

/// `millstream config --markdown >docs/configuration.md` makes it anew.
#[test]
fn the_reference_in_the_documentation_is_of_this_program() {
    let room = Room::new();
    let made = room.run(&["config", "--markdown"], &[]).stdout;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        made == there,
        "docs/configuration.md is out of date: run millstream config --markdown >docs/configuration.md"
    );
}

#[test]
fn completions_and_manual_pages_know_the_commands() {
    let room = Room::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = room.run(&["completions", shell], &[]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("log-format") && ran.stdout.contains("stream"), "{shell}: {ran:?}");
        let checked = match shell {
            "bash" => Command::new("bash").args(["-n", &room.file("c", &ran.stdout, 0o644)]).status(),
            _ => continue,
        };
        assert!(checked.unwrap().success());
    }
    let page = room.run(&["man"], &[]);
    assert!(page.stdout.contains(".TH millstream 1") && page.stdout.contains("serve"), "{page:?}");
    std::fs::create_dir(room.path("man")).unwrap();
    assert_eq!(room.run(&["man", "man"], &[]).status, Some(0));
    for name in ["millstream.1", "millstream-serve.1", "millstream-stream-add.1", "millstream-recordings-ls.1"] {
        assert!(room.path("man").join(name).exists(), "{name} is missing");
    }
}

#[test]
fn what_is_wrong_with_a_stream_command_is_said_and_changes_nothing() {
    let room = Room::new();
    room.file("m.toml", "[[stream]]\nid = \"fixed\"\n", 0o644);
    let server = Running::start(&room, &["--config=m.toml"]);
    let api = format!("http://{}", server.address("control"));
    let stream = |args: &[&str]| room.run(&[&["stream"], args, &["--api", &api]].concat(), &[]);
    let longest = "a".repeat(64);
    assert_eq!(stream(&["add", &longest]).status, Some(0));
    assert!(stream(&["ls"]).stdout.contains(&longest));
    // Names: the same words as everywhere, before anybody is asked.
    for bad in ["", "a b", "a/b", "lobby.flv", "\u{e9}", &"a".repeat(65)] {
        for word in ["add", "rm", "key", "show"] {
            let ran = stream(&[word, bad]);
            assert!(ran.status == Some(2) && ran.stdout.is_empty(), "{word} {bad:?}: {ran:?}");
        }
    }
    for word in ["rm", "key", "show"] {
        stream(&[word, "nobody"]).fails(1, &["404", "nobody"]);
    }
    // A stream of the file is changed there.
    for args in [&["rm", "fixed"][..], &["key", "fixed", "--rotate"]] {
        stream(args).fails(1, &["409", "configuration file", "systemctl reload millstream"]);
    }
    assert!(stream(&["key", "fixed"]).stdout.contains("/stream/fixed?sign=v2-"));
    // Expiries and graces at their ends.
    let past = stream(&["key", &longest, "--expires", "1970-01-02"]);
    assert!(past.status == Some(0) && past.stderr.contains("in the past"), "{past:?}");
    for bad in ["1969-12-31", "2030-02-30", "9999999999999", "-1"] {
        let expires = format!("--expires={bad}");
        let ran = stream(&["key", &longest, &expires]);
        assert!(matches!(ran.status, Some(1 | 2)) && ran.stdout.is_empty(), "{bad}: {ran:?}");
    }
    for (grace, status) in [("0s", 0), ("366days", 0), ("367days", 1), ("soon", 2), ("-1s", 2)] {
        let grace = format!("--grace={grace}");
        let ran = stream(&["key", &longest, "--rotate", &grace]);
        assert_eq!((ran.status, ran.stdout.is_empty()), (Some(status), status != 0), "{grace}: {ran:?}");
    }
    assert!(stream(&["key", &longest, "--grace=1h"]).status != Some(0), "a grace belongs to a rotation");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn sign_takes_expiries_and_names_at_their_ends_and_nothing_beyond() {
    let room = Room::new();
    let key = room.file("key", "nodemedia2017privatekey\n", 0o644);
    let sign = |id: &str, expires: &str| {
        let expires = format!("--expires={expires}");
        room.run(&["sign", id, &expires, "--key-file", &key], &[])
    };
    for (id, expires) in [("a", "1970-01-01"), (&"a".repeat(64), "2099-12-31"), ("A_-9", "999999999999")] {
        let ran = sign(id, expires);
        assert!(
            ran.status == Some(0) && ran.stdout.trim().split_once('-').is_some_and(|(_, md5)| md5.len() == 32),
            "{ran:?}"
        );
    }
    for (id, expires) in [
        ("", "2099-12-31"),
        (&"a".repeat(65), "2099-12-31"),
        ("a/b", "2099-12-31"),
        ("a", ""),
        ("a", "2099-13-01"),
        ("a", "1e9"),
        ("a", "-5"),
        ("a", "9999999999999"),
    ] {
        sign(id, expires).fails(2, &[]).hides("nodemedia2017privatekey");
    }
}

#[test]
fn streams_are_made_listed_and_removed_without_curl() {
    let room = Room::new();
    room.file("m.toml", "[[stream]]\nid = \"fixed\"\n", 0o644);
    let server = Running::start(&room, &["--config=m.toml"]);
    let api = format!("http://{}", server.address("control"));
    let stream = |args: &[&str]| room.run(&[&["stream"], args, &["--api", &api]].concat(), &[]);
    let added = stream(&["add", "lobby"]);
    assert_eq!(added.status, Some(0), "{added:?}");
    assert!(
        added.stdout.contains("rtmp://127.0.0.1:") && added.stdout.contains("stream key lobby?sign=v2-"),
        "{added:?}"
    );
    stream(&["add", "lobby"]).fails(1, &["409"]);
    let key = stream(&["key", "lobby", "--expires", "2100-01-01"]);
    let url = key.stdout.trim().to_owned();
    assert!(url.starts_with("rtmp://127.0.0.1:") && url.contains("/stream/lobby?sign=v2-4102444800-"), "{key:?}");
    let rotated = stream(&["key", "lobby", "--expires", "2100-01-01", "--rotate", "--grace", "0s"]).stdout;
    assert!(rotated.starts_with("rtmp://") && rotated.trim() != url, "{rotated}");
    stream(&["key", "lobby", "--expires", "soon"]).fails(1, &["expires", "give a day"]);
    let listed = stream(&["ls"]);
    for row in ["lobby  no", "fixed  no"] {
        assert!(listed.stdout.contains(row), "{listed:?}");
    }
    let shown: serde_json::Value = serde_json::from_str(&stream(&["show", "lobby"]).stdout).unwrap();
    assert_eq!((&shown["id"], shown.get("session")), (&"lobby".into(), None));
    stream(&["rm", "lobby"]).prints("lobby: removed");
    stream(&["rm", "lobby"]).fails(1, &["404"]);
    assert!(!stream(&["ls"]).stdout.contains("lobby"));
    // Whose token it is can be said, and what is missing is said.
    room.file("wrong", "nonsense\n", 0o600);
    stream(&["ls", "--token-file", "wrong"]).fails(1, &["401"]).hides("nonsense");
    let token = room.path("millstream-data/admin-token");
    room.run(&["stream", "ls"], &[("MILLSTREAM_API", &api), ("MILLSTREAM_TOKEN_FILE", token.to_str().unwrap())])
        .prints(stream(&["ls"]).stdout.trim_end_matches('\n'));
    Room::new().run(&["stream", "ls", "--api", &api], &[]).fails(1, &["--data-dir", "--token-file"]);
    stream(&["ls", "--data-dir", "none"]).fails(1, &["none/admin-token"]);
    room.run(&["stream", "ls", "--api", "http://192.0.2.1:8081"], &[]).fails(1, &["not TLS"]);
    room.run(&["stream", "ls", "--api", "http://127.0.0.1:1"], &[]).fails(1, &["--api", "is a server running"]);
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn serve_open_says_so_and_needs_no_master_key() {
    let room = Room::new();
    let (status, log) = serve_until_term(&room, &["--auth=open", "--control-url=http://c"]);
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("anyone who reaches the RTMP port may push"), "{log}");
    assert!(log.contains("control.url (--control-url): set, but not in force"), "{log}");
    assert!(!room.path("millstream-data/master-key").exists());
}

#[test]
fn a_port_that_is_taken_is_status_1() {
    let room = Room::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let rtmp = format!("--rtmp={}", taken.local_addr().unwrap());
    let port = taken.local_addr().unwrap().port().to_string();
    for command in [&["serve", "--auth=open"][..], &["demo"]] {
        let args = [command, &[rtmp.as_str(), "--http=127.0.0.1:0", "--control=127.0.0.1:0"]].concat();
        room.run(&args, &[]).fails(1, &[&port]);
        assert!(!room.path("millstream-data").exists(), "nothing is made where a first start fails");
    }
}
