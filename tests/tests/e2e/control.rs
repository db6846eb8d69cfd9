//! Control from outside: streams by API, the original's documented call, keys, kicks, events, kills, and what the API costs viewers.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::documents::{Block, blocks_in};
use millstream_tests::flv::Tag;
use millstream_tests::http::{self, Viewer};
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Log, Options, Server, binary, millstream};
use millstream_tests::tools::{Tool, ffmpeg, ffmpeg_push, ffprobe};
use millstream_tests::{eventually, percentile, seconds};
use serde_json::json;

/// The call of the user's document, with host and token to be put in.
const DOCUMENTED: &str = r#"{"isFlv":"true", "isHls":"false","isVideo":"false", "isImage":"false","isMotion":"false", "isOnDemand":"false","isCMAF":"false","video_time":"60","image_time":"30","hls_time":"2","hls_list_size":"5", "outdate":"2100-01-01"}"#;

#[test]
fn the_documented_call_makes_a_stream_that_ffmpeg_pushes_and_ffprobe_plays() {
    let server = Options::signed().start();
    let client = Client::admin(&server);
    let curl = Tool::start(
        "curl",
        &[
            "-s",
            "-d",
            DOCUMENTED,
            "-H",
            "Content-Type: application/json",
            "-H",
            &format!("Authorization: Bearer {}", client.token()),
            "-X",
            "POST",
            &format!("http://{}/Prod/videostream", server.control),
        ],
    );
    let made = curl.wait(seconds(20));
    assert!(made.status.success(), "{}", made.stderr);
    let record: serde_json::Value = serde_json::from_str(&made.stdout).unwrap_or_else(|_| panic!("{}", made.stdout));
    let (id, key) = (record["id"].as_str().expect("an id"), record["key"].as_str().expect("a key"));
    let push = ffmpeg_push(&server.push_url(&format!("{id}?sign={key}")), 30);
    Viewer::watch(server.http, id).find("keyframe", seconds(10), Tag::is_keyframe);
    let tracks = ffprobe(&server.flv_url(id));
    assert!(tracks.iter().any(|t| t.starts_with("h264,")) && tracks.contains(&"aac".to_owned()), "{tracks:?}");
    drop(push);
    assert!(!server.log.has(client.token()), "the token is in the log");
    assert!(!server.log.has(&key[11..]), "the key is in the log");
}

/// A command of the README that begins so, with the words behind it.
fn readme_command(begins: &str) -> Vec<String> {
    let commands: Vec<String> = blocks_in("README.md").iter().flat_map(Block::commands).collect();
    let command = commands
        .iter()
        .find_map(|command| Some(command.strip_prefix("sudo ").unwrap_or(command).strip_prefix(begins)?.to_owned()));
    command.expect("the README has it").split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect()
}

#[test]
fn case_43_a_stream_made_by_the_commands_of_the_readme_plays_in_every_way_that_it_names() {
    let server = Options::signed().start();
    let (api, data_dir) = (format!("http://{}", server.control), server.data_dir().to_str().expect("ASCII").to_owned());
    let mut add = readme_command("millstream stream ");
    add.splice(0..0, ["stream".to_owned()]);
    add.extend(["--api".to_owned(), api, "--data-dir".to_owned(), data_dir.clone()]);
    let made = millstream(&add.iter().map(String::as_str).collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success(), "{add:?}: {}", String::from_utf8_lossy(&made.stderr));
    let url =
        said.split_whitespace().find(|word| word.starts_with("rtmp://") && word.contains("sign=")).expect("a push URL");
    let id = add[2].as_str();
    // The README's own line for ffmpeg, with a short file of the test's.
    let video = format!("{data_dir}/video.mp4");
    let file = ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=640x360:r=30:d=60",
        "-f",
        "lavfi",
        "-i",
        "sine=d=60",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-c:a",
        "aac",
        &video,
    ]);
    assert!(file.status.success(), "{}", file.stderr);
    let push: Vec<String> = readme_command("ffmpeg ")
        .into_iter()
        .map(|word| {
            if word == "video.mp4" {
                video.clone()
            } else if word.starts_with("rtmp://") {
                url.to_owned()
            } else {
                word
            }
        })
        .collect();
    let _push = Tool::start("ffmpeg", &push.iter().map(String::as_str).collect::<Vec<_>>());
    Viewer::watch(server.http, id).find("keyframe", seconds(10), Tag::is_keyframe);
    let addresses = [
        server.flv_url(id),
        format!("rtmp://{}/stream/{id}", server.rtmp),
        format!("http://{}/{id}/live.m3u8", server.http),
        format!("http://{}/{id}/manifest.mpd", server.http),
    ];
    for address in addresses {
        let tracks = ffprobe(&address);
        let both = tracks.iter().any(|t| t.starts_with("h264,")) && tracks.contains(&"aac".to_owned());
        assert!(both, "{address}: {tracks:?}");
    }
    for page in ["index.html", "flv.html", "hls.html", "dash.html"] {
        assert_eq!(http::get(server.http, &format!("/{id}/{page}")).status, 200, "{page}");
    }
}

/// Makes a stream and gives the value of `sign=`.
fn make(client: &mut Client, id: &str) -> String {
    client.post("/api/v1/streams", &json!({ "id": id })).is(201);
    client.get(&format!("/api/v1/streams/{id}/key")).is(200).text("sign").to_owned()
}

#[test]
fn a_stream_just_made_plays_within_a_second_of_its_first_keyframe() {
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    let mut took = Vec::new();
    for n in 0..10 {
        let id = format!("cam-{n}");
        let sign = make(&mut client, &id);
        let push = Publisher::start(server.rtmp, "stream", &format!("{id}?sign={sign}")).expect("let in at once");
        let pushing = push.repeat(Clip::small());
        let mut viewer = Viewer::watch(server.http, &id);
        viewer.find("keyframe", seconds(10), Tag::is_keyframe);
        let played = Instant::now();
        let sent = pushing.sent();
        let (_, first) = sent.iter().find(|(tag, _)| tag.is_keyframe()).expect("a keyframe was sent");
        took.push(played.duration_since(*first));
    }
    let worst = percentile(&mut took, 1.0);
    println!("from the encoder's first keyframe to the viewer's, ten new streams: worst {worst:?}");
    assert!(worst <= seconds(1), "{took:?}");
}

#[test]
fn a_key_is_rotated_with_grace_and_without() {
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    let old = make(&mut client, "cam");
    let admitted = |sign: &str| {
        let push = Publisher::start(server.rtmp, "stream", &format!("cam?sign={sign}"));
        push.map(|push| drop(push.finish())).is_ok()
    };
    assert!(admitted(&old));
    client.post("/api/v1/streams/cam/key", &json!({ "grace_s": 3600 })).is(200);
    let new = client.get("/api/v1/streams/cam/key").is(200).text("sign").to_owned();
    assert!(admitted(&old) && admitted(&new), "both admit during the grace");
    client.post("/api/v1/streams/cam/key", &json!({ "grace_s": 0 })).is(200);
    assert!(!admitted(&old) && !admitted(&new), "none admits any more");
    // The command line knows the generation that the API has come to.
    let sign = server.sign("cam", &["--expires", "2100-01-01"]);
    assert!(admitted(&sign));
    let etag = client.get("/api/v1/streams/cam").is(200).etag;
    client.request("DELETE", "/api/v1/streams/cam", &format!("If-Match: {etag}\r\n"), None).is(204);
    assert!(!admitted(&sign), "a stream that is removed admits nobody");
    assert_eq!(http::get(server.http, "/cam/live.flv").status, 404);
    let again = make(&mut client, "cam");
    assert!(admitted(&again) && !admitted(&sign), "keys of the one before do not admit to the next one of its name");
}

#[test]
fn a_session_is_seen_and_ended_and_told_of() {
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    let mut events = client.listen().expect("events");
    let sign = make(&mut client, "cam");
    let push = Publisher::start(server.rtmp, "stream", &format!("cam?sign={sign}")).expect("let in");
    let pushing = push.repeat(Clip::small());
    let mut viewer = Viewer::watch(server.http, "cam");
    viewer.find("keyframe", seconds(10), Tag::is_keyframe);
    let session = eventually("the session has numbers", seconds(10), || {
        let session = client.get("/api/v1/streams/cam/session");
        (session.status == 200 && session.json["publisher"]["bitrate_bps"].as_u64() > Some(0)).then_some(session.json)
    });
    let video = &session["publisher"]["video"];
    assert!(video["codec"].as_str().is_some_and(|codec| codec.starts_with("avc1.")), "{session}");
    let viewers = client.get("/api/v1/streams/cam/viewers").is(200).json;
    assert_eq!(viewers["items"][0]["protocol"], "http-flv", "{viewers}");
    assert!(!client.get("/api/v1/nodes").is(200).json["items"].as_array().expect("a list").is_empty());
    client.request("DELETE", "/api/v1/streams/cam/session", "", None).is(200);
    eventually("the publisher is cut off", seconds(10), || (!pushing.alive()).then_some(()));
    assert!(Publisher::start(server.rtmp, "stream", "cam?sign=rubbish").is_err());
    let mut told = String::new();
    eventually("all of it is told", seconds(10), || {
        let mut bytes = [0_u8; 4096];
        let read = std::io::Read::read(&mut events.stream, &mut bytes).expect("more events");
        told.push_str(&String::from_utf8_lossy(&bytes[..read]));
        ["event: publish", "event: unpublish", "event: refused"].iter().all(|event| told.contains(event)).then_some(())
    });
    assert!(!told.contains(&sign[20..]), "a signature is in the events");
    let history = client.get("/api/v1/streams/cam/history").is(200).json;
    assert!(history["items"][0]["ended_unix_ms"].is_u64(), "{history}");
}

#[test]
fn an_output_that_is_off_is_not_found_and_comes_back() {
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    let sign = make(&mut client, "cam");
    let push = Publisher::start(server.rtmp, "stream", &format!("cam?sign={sign}")).expect("let in");
    let _pushing = push.repeat(Clip::small());
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    let mut set = |on: bool| {
        let patch = json!({ "settings": { "isFlv": on } });
        client.request("PATCH", "/api/v1/streams/cam", "If-Match: *\r\n", Some(&patch)).is(200);
    };
    set(false);
    assert_eq!(http::get(server.http, "/cam/live.flv").status, 404);
    set(true);
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
}

/// A receiver of webhooks that answers the first delivery with an error and the others with success; gives head and body of each.
fn receiver() -> (std::net::SocketAddr, std::sync::mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let (sender, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let mut reader = std::io::BufReader::new(stream);
            let (mut head, mut line) = (String::new(), String::new());
            while std::io::BufRead::read_line(&mut reader, &mut line).is_ok_and(|read| read > 2) {
                head.push_str(&line.to_ascii_lowercase());
                line.clear();
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            std::io::Read::read_exact(&mut reader, &mut body).expect("a whole body");
            let status = if n == 0 { "503 Later" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = std::io::Write::write_all(reader.get_mut(), answer.as_bytes());
            if sender.send((head, body)).is_err() {
                return;
            }
        }
    });
    (address, received)
}

/// RFC 2104, for a key that is shorter than a block.
fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let pad = |byte: u8| -> Vec<u8> {
        let padded = key.iter().copied().chain(std::iter::repeat(0)).take(64);
        padded.map(|key| key ^ byte).collect()
    };
    let inner = Sha256::digest([pad(0x36), message.to_vec()].concat());
    let outer = Sha256::digest([pad(0x5c), inner.to_vec()].concat());
    outer.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

#[test]
fn a_webhook_is_told_signed_in_order_and_again_until_it_is_taken() {
    let server = Options::signed().config("[webhooks]\nallow = [\"127.0.0.0/8\"]\n").start();
    let mut client = Client::admin(&server);
    let (address, received) = receiver();
    let hook = json!({ "url": format!("http://{address}/hook"), "events": ["publish", "unpublish"] });
    let id = client.post("/api/v1/webhooks", &hook).is(201).text("id").to_owned();
    let secret = client.get(&format!("/api/v1/webhooks/{id}/secret")).is(200).text("secret").to_owned();
    let sign = make(&mut client, "cam");
    let push = Publisher::start(server.rtmp, "stream", &format!("cam?sign={sign}")).expect("let in");
    push.finish().expect("an end");
    let mut kinds = Vec::new();
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        let (head, body) = received.recv_timeout(seconds(20)).expect("a delivery");
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("no {name} in {head}")).trim().to_owned()
        };
        let signature = header("millstream-signature");
        let (time, mac) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("t=...,v1=...");
        let message = [time.as_bytes(), b".", &body].concat();
        assert_eq!(mac, hmac_sha256(secret.as_bytes(), &message), "{signature}");
        let told: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(told["stream"], "cam");
        kinds.push(header("millstream-event"));
        deliveries.push(header("millstream-delivery"));
    }
    assert_eq!(kinds, ["publish", "publish", "unpublish"], "the first one was refused, and nothing overtakes it");
    assert_eq!(deliveries[0], deliveries[1]);
    let log = eventually("every try is in the log", seconds(10), || {
        let log = client.get(&format!("/api/v1/webhooks/{id}/deliveries")).is(200).json;
        (log["items"].as_array()?.len() == 3).then_some(log)
    });
    let outcomes: Vec<_> =
        log["items"].as_array().expect("a list").iter().map(|item| item["outcome"].clone()).collect();
    assert_eq!(outcomes, ["delivered", "delivered", "retry"], "the newest first");
    assert!(!server.log.has(&secret), "the secret is in the log");
}

/// Every write that was answered before a kill is there after it, and keys and tokens are good.
#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_owned();
    let server = Killable::start(&path);
    let mut client = server.client();
    let token = client.post("/api/v1/tokens", &json!({ "name": "ci", "role": "operator" })).is(201);
    let killer = std::thread::spawn({
        let pid = server.pid();
        move || {
            std::thread::sleep(Duration::from_millis(700));
            Command::new("kill").args(["-KILL", &pid]).status().expect("kill runs")
        }
    });
    let mut acknowledged = Vec::new();
    for n in 0.. {
        let id = format!("cam-{n}");
        match client.try_request("POST", "/api/v1/streams", "", Some(&json!({ "id": id }))) {
            Ok(answer) => acknowledged.push(answer.is(201)),
            Err(_) => break,
        }
    }
    assert!(killer.join().expect("killed").success());
    drop(server);
    println!("{} streams were acknowledged before the kill", acknowledged.len());
    assert!(acknowledged.len() > 3, "the test made too few to tell");
    let server = Killable::start(&path);
    let mut client = server.client();
    for made in &acknowledged {
        let kept = client.get(&format!("/api/v1/streams/{}", made.text("id"))).is(200);
        assert_eq!((&kept.json, &kept.etag), (&made.json, &made.etag));
    }
    let mut theirs = Client::with(server.control, token.text("token"));
    theirs.get("/api/v1/streams/cam-0/key").is(200);
    let audit = client.get("/api/v1/audit?limit=500").is(200).json;
    let logged = audit["items"].as_array().expect("a list").iter().filter(|e| e["action"] == "stream.create").count();
    assert!(logged >= acknowledged.len().min(499), "{logged} of {} are in the audit log", acknowledged.len());
}

#[test]
fn a_data_directory_has_one_server_at_a_time() {
    let server = Options::signed().start();
    let dir = server.data_dir().to_str().expect("ASCII");
    let ports = ["--rtmp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--control", "127.0.0.1:0"];
    let second = millstream(&[&["serve", "--data-dir", dir], &ports[..]].concat());
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another millstream") && said.contains(&server.pid().to_string()), "{said}");
}

#[test]
fn a_backup_of_a_running_server_is_a_store_for_another_one() {
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    client.post("/api/v1/streams", &json!({ "id": "kept" })).is(201);
    let other = tempfile::tempdir().expect("a directory");
    let copy = other.path().join("store.sqlite");
    let (dir, copy) = (server.data_dir().to_str().expect("ASCII"), copy.to_str().expect("ASCII"));
    let done = millstream(&["backup", copy, "--data-dir", dir]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("master-key"), "{said}");
    client.post("/api/v1/streams", &json!({ "id": "later" })).is(201);
    // What the backup told of: without it no key that was handed out would admit.
    std::fs::copy(server.data_dir().join("master-key"), other.path().join("master-key")).expect("copied");
    let restored = Options::signed().start_in(other);
    let mut client = Client::admin(&restored);
    client.get("/api/v1/streams/kept").is(200);
    client.get("/api/v1/streams/later").is(404);
}

/// The OpenAPI document against a program that tries what it allows and what it does not.
#[test]
fn schemathesis_finds_no_server_error_and_nothing_undocumented() {
    schemathesis(25);
}

#[test]
#[ignore = "takes ten minutes: tests/run --long"]
fn schemathesis_finds_nothing_in_ten_minutes_either() {
    schemathesis(600);
}

/// Linters find no error in it, and clients that others' generators make of it compile: TypeScript and Python.
#[test]
fn the_document_passes_linters_and_makes_clients() {
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("api-tools/check");
    let (node, python) =
        (check.with_file_name("node_modules/.package-lock.json"), cache().join("api-clients-0.29.1/complete"));
    assert!(node.exists() && python.exists(), "tests/run installs what this needs");
    let server = Options::signed().start();
    let document = http::get(server.control, "/api/v1/openapi.json");
    let work = tempfile::tempdir().expect("a directory");
    let file = work.path().join("openapi.json");
    std::fs::write(&file, &document.body).expect("written");
    let done = Tool::spawn(Command::new(&check).arg(&file)).wait(seconds(120));
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

fn schemathesis(time_s: u32) {
    let program = cache().join("schemathesis-4.32.5/bin/schemathesis");
    assert!(program.exists(), "{} is missing; tests/run installs it", program.display());
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    make(&mut client, "cam");
    let header = format!("Authorization: Bearer {}", client.token());
    let work = tempfile::tempdir().expect("a directory");
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis_modules.py");
    let mut command = Command::new(&program);
    command.current_dir(work.path()).env("NO_COLOR", "1").env("SCHEMATHESIS_HOOKS", hooks);
    let tool = Tool::spawn(command.args([
        "run",
        &format!("http://{}/api/v1/openapi.json", server.control),
        "--header",
        &header,
        "--checks",
        checks,
        // Without an end, and with a test of its own; and what would lock the run out of the server.
        "--exclude-path",
        "/api/v1/events",
        "--exclude-path",
        "/api/v1/login",
        "--phases",
        "examples,coverage,fuzzing",
        "--continue-on-failure",
        "--max-time",
        &time_s.to_string(),
        "--request-timeout",
        "10",
        "--workers",
        "2",
    ]));
    let done = tool.wait(seconds(u64::from(time_s) * 2 + 60));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
    // Another connection: the server closes what has been idle for so long. What there was may have been removed: the program has the
    // admin's rights, and uses ids that it has read.
    let mut client = Client::admin(&server);
    make(&mut client, "made-afterwards");
    assert_eq!(client.get("/api/v1/streams/made-afterwards").status, 200, "the server goes on");
}

fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache")
}

/// A server that a test may kill.
struct Killable {
    child: std::process::Child,
    control: std::net::SocketAddr,
    dir: PathBuf,
}

impl Killable {
    fn start(dir: &Path) -> Self {
        let ports = ["--rtmp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--control", "127.0.0.1:0"];
        let mut child = Command::new(binary())
            .args(["serve", "--data-dir"])
            .arg(dir)
            .args(ports)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the server starts");
        let log = Log::default();
        log.follow(child.stderr.take().expect("piped"));
        let control = eventually("it listens for control", seconds(20), || {
            let text = log.text();
            let line = text.lines().find(|line| line.contains("listening for control"))?;
            line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
        });
        Self { child, control, dir: dir.to_owned() }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    fn client(&self) -> Client {
        let token = std::fs::read_to_string(self.dir.join("admin-token")).expect("made at the first start");
        Client::with(self.control, token.trim())
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// 200 requests a second with 10,000 streams stored, beside viewers: what the API takes, and what viewers notice.
#[test]
#[ignore = "a measurement of a minute: tests/run --long"]
fn the_api_is_quick_beside_viewers_and_they_do_not_notice() {
    let server = Options::signed().shards(1).start();
    let mut client = Client::admin(&server);
    let begun = Instant::now();
    fill(&server, 10_000);
    println!("10,000 streams made in {:?}", begun.elapsed());
    let sign = make(&mut client, "cam");
    let push = Publisher::start(server.rtmp, "stream", &format!("cam?sign={sign}")).expect("let in");
    let _pushing = push.repeat(Clip::small());
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    let mut crowd = millstream_tests::crowd::Crowd::open(server.http, "/cam/live.flv", 1_000).expect("1,000 viewers");
    crowd.run_until("a frame", seconds(20), millstream_tests::crowd::Member::started).expect("all start");
    let quiet = added_delay(&server, &mut crowd, None);
    let mut times = Vec::new();
    let loud = std::thread::scope(|scope| {
        let (server, times) = (&server, &mut times);
        let asking = scope.spawn(move || *times = load(server, seconds(15)));
        let delay = added_delay(server, &mut crowd, Some(seconds(15)));
        asking.join().expect("the load ran");
        delay
    });
    let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    println!("API: {} requests at 200/s with 10,000 streams: p50 {p50:?}, p99 {p99:?}", times.len());
    println!("viewers' added delay p99 (bucket's upper bound): {quiet} s without API load, {loud} s with it");
    assert!(p99 <= Duration::from_millis(20), "API p99 {p99:?}");
    assert!(loud <= quiet + 0.010 || loud <= quiet * 2.0, "viewers' delay went from {quiet} to {loud}");
}

fn fill(server: &Server, streams: usize) {
    std::thread::scope(|scope| {
        for part in 0..16 {
            scope.spawn(move || {
                let mut client = Client::admin(server);
                for n in (part..streams).step_by(16) {
                    client.post("/api/v1/streams", &json!({ "id": format!("s-{n:06}") })).is(201);
                }
            });
        }
    });
}

/// Requests by a plan of 200 a second, reads and changes mixed; each is timed from when it was to be sent.
fn load(server: &Server, time: Duration) -> Vec<Duration> {
    const CLIENTS: u32 = 8;
    let begun = Instant::now();
    let every = Duration::from_millis(5);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|first| {
                scope.spawn(move || {
                    let mut client = Client::admin(server);
                    let mut times = Vec::new();
                    for n in (first..).step_by(CLIENTS as usize) {
                        let planned = every * n;
                        if planned > time {
                            return times;
                        }
                        std::thread::sleep(planned.saturating_sub(begun.elapsed()));
                        let id = format!("s-{:06}", n * 37 % 10_000);
                        match n % 10 {
                            0 => {
                                let change = json!({ "settings": { "videoname": format!("n {n}") } });
                                let path = format!("/api/v1/streams/{id}");
                                client.request("PATCH", &path, "If-Match: *\r\n", Some(&change)).is(200);
                            }
                            1 => drop(client.get("/api/v1/streams?limit=50").is(200)),
                            2 => drop(client.get(&format!("/api/v1/streams/{id}/key")).is(200)),
                            3 => drop(client.get("/api/v1/streams/cam/session").is(200)),
                            _ => drop(client.get(&format!("/api/v1/streams/{id}")).is(200)),
                        }
                        times.push(begun.elapsed().saturating_sub(planned));
                    }
                    times
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect()
    })
}

/// The upper bound of the bucket in which the 99th percentile of the server's own measurement lies, over some seconds.
fn added_delay(server: &Server, crowd: &mut millstream_tests::crowd::Crowd, time: Option<Duration>) -> f64 {
    let buckets = || -> Vec<(f64, f64)> {
        let text = server.metrics();
        let lines = text.lines().filter(|line| line.starts_with("millstream_added_delay_seconds_bucket"));
        lines
            .filter_map(|line| {
                let bound = line.split("le=\"").nth(1)?.split('"').next()?;
                Some((bound.parse().unwrap_or(f64::INFINITY), line.rsplit(' ').next()?.parse().ok()?))
            })
            .collect()
    };
    let before = buckets();
    crowd.run(time.unwrap_or(seconds(10))).expect("they go on");
    let after = buckets();
    let counts: Vec<_> =
        after.iter().zip(&before).map(|((bound, after), (_, before))| (*bound, after - before)).collect();
    let all = counts.last().expect("buckets").1;
    assert!(all > 1_000.0, "only {all} sends");
    counts.iter().find(|(_, count)| *count >= all * 0.99).expect("the last bucket has all").0
}

/// A hundred thousand streams: made, listed, restarted with.
#[test]
#[ignore = "takes some minutes: tests/run --long"]
fn a_hundred_thousand_streams() {
    let server = Options::signed().start();
    let begun = Instant::now();
    fill(&server, 100_000);
    println!("100,000 streams made in {:?}", begun.elapsed());
    let mut client = Client::admin(&server);
    let (mut seen, mut cursor) = (0, String::new());
    let begun = Instant::now();
    loop {
        let page = client.get(&format!("/api/v1/streams?limit=500{cursor}")).is(200).json;
        seen += page["items"].as_array().expect("a list").len();
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    println!("listed in {:?}", begun.elapsed());
    assert_eq!(seen, 100_000);
    let sign = make(&mut client, "zz");
    let push = Publisher::start(server.rtmp, "stream", &format!("zz?sign={sign}")).expect("let in");
    let _pushing = push.repeat(Clip::small());
    Viewer::watch(server.http, "zz").find("keyframe", seconds(10), Tag::is_keyframe);
}

/// Who watches HLS has no session: it is counted for asking, as an estimate, in API and metrics.
#[test]
fn viewers_of_hls_are_counted_in_api_metrics_and_events() {
    let server = Options::open().start();
    let mut client = Client::admin(&server);
    let mut events = client.listen().expect("events");
    let push = ffmpeg_push(&server.push_url("cam"), 60);
    eventually("a playlist", seconds(15), || (http::get(server.http, "/cam/video.m3u8").status == 200).then_some(()));
    let ask = |agent: &str, name: &str| {
        let host = server.http;
        let head =
            format!("GET /cam/{name} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n");
        assert_eq!(http::raw(server.http, head.as_bytes()).expect("an answer").status, 200);
    };
    let all_ask = || {
        for agent in ["one/1.0", "two/1.0"] {
            ask(agent, "video.m3u8");
            ask(agent, "audio.m3u8");
        }
        ask("one/1.0", "video.m3u8?CMCD=sid%3D%22a-session%22");
        ask("one/1.0", "manifest.mpd");
    };
    let counted = eventually("three viewers of HLS and one of DASH", seconds(20), || {
        all_ask();
        let session = client.get("/api/v1/streams/cam/session").is(200).json;
        let of = |protocol: &str| {
            let viewers = session["viewers"].as_array().into_iter().flatten();
            viewers.clone().find(|viewers| viewers["protocol"] == protocol).cloned()
        };
        // What the test itself asked at first, without a name, is forgotten after three target durations.
        let (hls, dash) = (of("hls")?, of("dash")?);
        (hls["count"] == 3 && dash["count"] == 1).then_some((hls, dash))
    });
    assert_eq!((&counted.0["estimated"], &counted.1["estimated"]), (&json!(true), &json!(true)));
    eventually("the metrics say so", seconds(10), || {
        all_ask();
        let metrics = server.metrics();
        let line = metrics.lines().find(|line| line.starts_with("millstream_viewers{shard=\"0\",protocol=\"hls\"}"))?;
        line.ends_with(" 3").then_some(())
    });
    drop(push);
    let mut told = String::new();
    let unpublish = eventually("the end is told, with who watched", seconds(15), || {
        let mut bytes = [0_u8; 4096];
        let read = std::io::Read::read(&mut events.stream, &mut bytes).expect("more events");
        told.push_str(&String::from_utf8_lossy(&bytes[..read]));
        let data = told.lines().find(|line| line.contains("\"unpublish\"") && line.contains('}'))?;
        serde_json::from_str::<serde_json::Value>(data.strip_prefix("data: ")?).ok()
    });
    let viewers = &unpublish["what"]["viewers"];
    assert_eq!((&viewers[0]["protocol"], &viewers[0]["estimated"]), (&json!("hls"), &json!(true)), "{unpublish}");
}
