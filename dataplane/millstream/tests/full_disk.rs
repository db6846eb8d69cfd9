//! A server whose files may not grow any more, which is a full disk: what it still does, and how often it says so.
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What happens again and again is told so often (`store::repeated`).
const SAY_EVERY_S: u64 = 60;

struct Server {
    child: Child,
    log: Arc<Mutex<String>>,
    control: String,
    token: String,
}

impl Server {
    /// No file of it has more than so many blocks of 512 bytes.
    fn start(dir: &std::path::Path, blocks: u32) -> Self {
        let script = format!("ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut child = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_millstream"), "serve", "--shards=1"])
            .args(["--rtmp=127.0.0.1:0", "--http=127.0.0.1:0", "--control=127.0.0.1:0"])
            .current_dir(dir)
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stderr, log) = (child.stderr.take().unwrap(), Arc::<Mutex<String>>::default());
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *lines.lock().unwrap() += &(line + "\n");
            }
        });
        let by = Instant::now() + Duration::from_mins(1);
        while !log.lock().unwrap().contains(" ready") {
            assert!(Instant::now() < by, "{}", log.lock().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = log.lock().unwrap().clone();
        let line = said.lines().find(|line| line.contains("listening for control")).unwrap();
        let control = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        let token = std::fs::read_to_string(dir.join("millstream-data/admin-token")).unwrap().trim().to_owned();
        Self { child, log, control, token }
    }

    /// With the admin's token, or another one: the status and the body.
    fn ask(&self, token: Option<&str>, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.control).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let body = body.map(Value::to_string).unwrap_or_default();
        let (token, bytes) = (token.unwrap_or(&self.token), body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nIf-Match: *\r\n\
             Content-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    fn end(mut self) -> String {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        let log = self.log.lock().unwrap().clone();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// What leaked can be made worthless, whatever the disk has: that is when it is needed.
#[test]
fn on_a_full_disk_all_is_revoked_that_is_to_be_and_the_log_has_few_lines() {
    let (dir, since) = (tempfile::tempdir().unwrap(), Instant::now());
    let server = Server::start(dir.path(), 1_200);
    let operator = server.ask(None, "POST", "/api/v1/tokens", Some(&json!({ "name": "ci", "role": "operator" })));
    assert_eq!(operator.0, 201, "{operator:?}");
    let (token, id) = (operator.1["token"].as_str().unwrap(), operator.1["id"].as_str().unwrap());
    let text = "x".repeat(250);
    let labels: serde_json::Map<String, Value> = (0..32).map(|n| (n.to_string(), json!(text))).collect();
    let create = |n: usize| {
        let new = json!({ "id": format!("cam-{n}"), "settings": { "labels": labels } });
        server.ask(Some(token), "POST", "/api/v1/streams", Some(&new)).0
    };
    let made = (0..1_000).take_while(|n| create(*n) == 201).count();
    assert!((10..1_000).contains(&made), "{made} streams");
    assert!((1_000..1_100).all(|n| create(n) == 507));
    let (status, rotated) = server.ask(None, "POST", "/api/v1/streams/cam-0/key", Some(&json!({ "grace_s": 0 })));
    assert_eq!((status, &rotated["generation"], &rotated["previous"]), (200, &json!(2), &json!([])), "{rotated}");
    for n in 0..10 {
        assert_eq!(server.ask(None, "DELETE", &format!("/api/v1/streams/cam-{n}"), None).0, 204, "cam-{n}");
    }
    assert_eq!(server.ask(None, "DELETE", &format!("/api/v1/tokens/{id}"), None).0, 204);
    assert_eq!(server.ask(Some(token), "GET", "/api/v1/streams", None).0, 401);
    assert_eq!(create(2_000), 401);
    let took = since.elapsed();
    let log = server.end();
    // Of each kind one, and another one a minute where the machine is slow. By their words: the digits of a status are in times and ports, too.
    let most = 1 + (took.as_secs() / SAY_EVERY_S) as usize;
    for told in ["writes to the store were refused", "requests were answered with errors of ours"] {
        let lines = log.lines().filter(|line| line.contains(told)).count();
        assert!((1..=most).contains(&lines), "{lines} lines in {took:?}: {told}: {log}");
    }
    let of_disk = log.lines().filter(|line| line.contains("disk of the store is full")).count();
    assert!(of_disk <= 3 * most, "{of_disk} lines in {took:?}: {log}");
    // After a restart it is as it was said to be.
    let server = Server::start(dir.path(), 4_000_000);
    assert_eq!(server.ask(Some(token), "GET", "/api/v1/streams", None).0, 401);
    assert_eq!(server.ask(None, "GET", "/api/v1/streams/cam-0", None).0, 404);
    assert_eq!(server.ask(None, "GET", "/api/v1/streams/cam-12", None).0, if made > 12 { 200 } else { 404 });
    server.end();
}
