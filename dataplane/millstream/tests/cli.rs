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
    let file =
        room.file("n.toml", "[auth]\nedge_secret = \"hush\"\n[hls]\nwindow = 6\n[[stream]]\nid = \"cam1\"\n", 0o644);
    let ran = room.run(&["check", &file], &[]);
    ran.prints(&format!("{file}: ok"));
    assert!(ran.stderr.contains(&format!("warning: {file}:2:15: auth.edge_secret: set, but not in force")), "{ran:?}");
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
    check(b"[http]\nlisten = \"127.0.0.1:5\"\n[rtmp]\nlisten = \"0.0.0.0:5\"\n", &["m.toml", "same port"]);
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
    let ports = ["serve", "--rtmp=127.0.0.1:0", "--http=127.0.0.1:0", "--control=127.0.0.1:0", "--shards=1"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
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
    }
}
