//! Who may publish and play by steps of the configuration: back ends of nginx-rtmp and SRS, tokens, addresses; and what the API says of them.
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::encoder::Encoder;
use millstream_tests::flv::Tag;
use millstream_tests::http::{self, Viewer};
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::ffmpeg_push;
use millstream_tests::{millis, seconds};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Answers a request's body with a status and a body; `None`: never.
type Decide = fn(&str) -> Option<(u16, String)>;

/// A back end as operators have them; it keeps what it is asked.
struct BackEnd {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl BackEnd {
    fn start(decide: Decide) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(socket, decide, &kept));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test has failed").clone()
    }

    /// A step that asks it.
    fn step(&self, form: &str, more: &str) -> String {
        format!(
            "[[auth.steps]]\nname = \"back-end\"\nkind = \"callback\"\npoint = [\"publish\", \"play\"]\n\
             allow_private = [\"127.0.0.1\"]\nurl = \"http://{}/auth\"\nform = \"{form}\"\n{more}\n",
            self.address
        )
    }
}

/// Requests of one connection, as far as this server's client makes them: a head, and a body with its length.
fn serve(mut socket: TcpStream, decide: Decide, asked: &Mutex<Vec<String>>) {
    let mut unread = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&unread).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let length: usize = length.expect("a length");
            if body.len() >= length {
                unread.drain(..head.len() + 4 + length);
                asked.lock().expect("no test has failed").push(body[..length].to_owned());
                let Some((status, answer)) = decide(&body[..length]) else {
                    std::thread::sleep(seconds(60));
                    return;
                };
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", answer.len());
                if socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(answer.as_bytes())).is_err() {
                    return;
                }
                continue;
            }
        }
        match socket.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => unread.extend_from_slice(&buffer[..count]),
        }
    }
}

/// As a script for nginx-rtmp decides: by status.
#[expect(clippy::unnecessary_wraps, reason = "other back ends never answer")]
fn by_status(body: &str) -> Option<(u16, String)> {
    let has = |field: &str| body.split('&').any(|pair| pair == field);
    Some((if has("call=play") || has("key=good") { 200 } else { 403 }, String::new()))
}

/// As one for SRS: by the body.
#[expect(clippy::unnecessary_wraps, reason = "other back ends never answer")]
fn by_code(body: &str) -> Option<(u16, String)> {
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let good = body["param"].as_str().is_some_and(|param| param.contains("key=good"));
    Some((200, if good { "0".to_owned() } else { json!({ "code": 1, "data": null }).to_string() }))
}

fn is_up(server: &Server, id: &str) {
    Viewer::watch(server.http, id).find("keyframe", seconds(10), Tag::is_keyframe);
}

#[test]
fn a_back_end_of_nginx_rtmp_decides_as_it_is() {
    let back_end = BackEnd::start(by_status);
    let server = Options::signed().config(&back_end.step("nginx-rtmp", "")).start();
    let refused = ffmpeg_push(&server.push_url("cam?key=bad"), 5).wait(seconds(20));
    assert!(
        !refused.status.success() && refused.stderr.to_ascii_lowercase().contains("server error"),
        "{}",
        refused.stderr
    );
    assert_eq!(http::get(server.http, "/cam/live.flv").status, 404);
    let push = ffmpeg_push(&server.push_url("cam?key=good"), 30);
    is_up(&server, "cam");
    drop(push);
    let asked = back_end.asked();
    let publish = asked.iter().find(|body| body.contains("key=good")).expect("asked");
    for field in ["call=publish", "name=cam", "app=stream", "addr=127.0.0.1", "type=live", "tcurl=rtmp%3A%2F%2F"] {
        assert!(publish.contains(field), "{publish} has no {field}");
    }
    assert!(asked.iter().any(|body| body.contains("call=play&name=cam")), "{asked:?}");
    assert!(!server.log.has("key=good") && !server.log.has("key=bad"));
}

#[test]
fn a_back_end_of_srs_decides_as_it_is_and_is_asked_once_about_a_viewer_of_hls() {
    let back_end = BackEnd::start(by_code);
    let server = Options::signed().config(&back_end.step("srs", "")).start();
    let refused = ffmpeg_push(&server.push_url("cam?key=bad"), 5).wait(seconds(20));
    assert!(!refused.status.success(), "a push was let in that the back end refuses");
    let push = Publisher::start(server.rtmp, "stream", "cam?key=good").expect("let in").repeat(Clip::small());
    assert_eq!(http::get(server.http, "/cam/live.m3u8").status, 403);
    let plays = || back_end.asked().iter().filter(|body| body.contains("on_play")).count();
    let before = plays();
    // As hls.js: the first playlist, then those that it names, again and again.
    let first = playlist(&server, "/cam/live.m3u8?key=good");
    let named: Vec<String> = first
        .lines()
        .filter(|line| line.contains(".m3u8"))
        .map(|line| line.split('"').find(|part| part.contains(".m3u8")).unwrap_or(line).to_owned())
        .collect();
    assert!(named.len() >= 2 && named.iter().all(|uri| uri.ends_with("?key=good")), "{first}");
    for _ in 0..5 {
        for uri in &named {
            let media = playlist(&server, &format!("/cam/{uri}"));
            assert!(media.contains("#EXTINF") || media.contains("#EXT-X-PART"), "{media}");
        }
        std::thread::sleep(millis(100));
    }
    assert_eq!(plays(), before + 1, "{:?}", back_end.asked());
    let asked = back_end.asked();
    let play = asked.iter().rfind(|body| body.contains("on_play")).expect("asked");
    let play: serde_json::Value = serde_json::from_str(play).expect("JSON");
    assert_eq!(
        (&play["stream"], &play["param"], &play["ip"]),
        (&json!("cam"), &json!("?key=good"), &json!("127.0.0.1"))
    );
    drop(push);
}

/// A playlist that is there, waiting until it is.
fn playlist(server: &Server, path: &str) -> String {
    let until = Instant::now() + seconds(10);
    loop {
        let answer = http::get(server.http, path);
        if answer.status == 200 {
            return String::from_utf8(answer.body).expect("UTF-8");
        }
        let body = String::from_utf8_lossy(&answer.body);
        assert!(Instant::now() < until, "{path}: {} {body}; {}", answer.status, server.log.text());
        std::thread::sleep(millis(100));
    }
}

#[test]
fn case_16_a_back_end_that_hangs_lets_nobody_in_and_holds_up_nobody_else() {
    let back_end = BackEnd::start(|_| None);
    let config = back_end.step("nginx-rtmp", "timeout = \"1s\"\nstreams = [\"held\"]");
    let server = Options::open().config(&config).start();
    let mut held = Encoder::connect(server.rtmp, []).expect("connected");
    let asked_at = Instant::now();
    held.ask_on(1, "held").expect("asked");
    // Others do not notice.
    let push = Publisher::start(server.rtmp, "stream", "other").expect("let in").repeat(Clip::small());
    is_up(&server, "other");
    let status = held.hear("the answer to publish", seconds(5), |answer| answer.name == "onStatus").expect("an answer");
    let took = asked_at.elapsed();
    assert_ne!(status.code(), "NetStream.Publish.Start", "admitted without a verdict");
    assert!((millis(900)..millis(3_000)).contains(&took), "answered after {took:?}");
    // Others go on, and so does a crowd that waits for nothing but the dead back end.
    let waiting: Vec<Encoder> = (0..50)
        .map(|_| {
            let mut encoder = Encoder::connect(server.rtmp, []).expect("connected");
            encoder.ask_on(1, "held").expect("asked");
            encoder
        })
        .collect();
    let mut viewer = Viewer::watch(server.http, "other");
    viewer.find("keyframe", seconds(5), Tag::is_keyframe);
    assert!(push.alive());
    for mut encoder in waiting {
        let answer = encoder.hear("the answer to publish", seconds(10), |answer| answer.name == "onStatus");
        assert_ne!(answer.expect("an answer").code(), "NetStream.Publish.Start");
    }
    assert!(server.log.has("is away"), "{}", server.log.text());
    drop(push);
}

#[test]
fn a_back_end_that_is_away_admits_where_it_is_to_fail_open() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let step = |fail: &str| {
        format!(
            "[[auth.steps]]\nkind = \"callback\"\npoint = \"publish\"\nallow_private = [\"127.0.0.1\"]\n\
             url = \"http://{nobody}/\"\nform = \"srs\"\nfail = \"{fail}\"\n"
        )
    };
    let server = Options::open().config(&step("closed")).start();
    assert!(Publisher::start(server.rtmp, "stream", "cam").is_err(), "admitted without a verdict");
    let server = Options::open().config(&step("open")).start();
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("let in").repeat(Clip::small());
    is_up(&server, "cam");
    drop(push);
}

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |bits: u32| char::from(ALPHABET[(bits & 63) as usize]);
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, n| bits << 8 | u32::from(chunk.get(n).copied().unwrap_or(0)));
        (0..=chunk.len() as u32).for_each(|n| text.push(digit(bits >> (18 - 6 * n))));
    }
    text
}

/// HS256 by hand: a second hand than the server's.
pub(crate) fn token(stream: &str, action: &str, seconds: u64) -> String {
    let exp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs() + seconds;
    let claims = json!({ "exp": exp, "stream": stream, "action": action }).to_string();
    let signed = format!("{}.{}", base64url(br#"{"alg":"HS256","typ":"JWT"}"#), base64url(claims.as_bytes()));
    let pad = |with: u8| {
        let mut key = [with; 64];
        key.iter_mut().zip(SECRET.bytes()).for_each(|(byte, of_secret)| *byte ^= of_secret);
        key
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(&signed).finalize();
    let mac = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    format!("{signed}.{}", base64url(&mac))
}

#[test]
fn tokens_open_their_stream_for_their_action_and_the_api_says_why_others_do_not() {
    let config = format!(
        "[[stream]]\nid = \"cam\"\n\
         [[auth.steps]]\nname = \"banned\"\nkind = \"cidr\"\npoint = [\"publish\", \"play\"]\ndeny = [\"203.0.113.0/24\"]\n\
         [[auth.steps]]\nname = \"tokens\"\nkind = \"jwt\"\npoint = [\"publish\", \"play\"]\nleeway = \"0s\"\nuntil_exp = true\n\
         keys = [{{ kid = \"a\", secret = \"{SECRET}\" }}]\n"
    );
    let server = Options::signed().config(&config).start();
    let push = token("cam", "publish", 600);
    assert!(Publisher::start(server.rtmp, "stream", "cam").is_err(), "admitted without a token");
    let play = token("cam", "play", 600);
    assert!(
        Publisher::start(server.rtmp, "stream", &format!("cam?token={play}")).is_err(),
        "a play token admits no publisher"
    );
    let push =
        Publisher::start(server.rtmp, "stream", &format!("cam?token={push}")).expect("let in").repeat(Clip::small());
    let first = playlist(&server, &format!("/cam/live.m3u8?token={play}"));
    assert!(first.contains(&format!("video.m3u8?token={play}")), "{first}");
    playlist(&server, &format!("/cam/video.m3u8?token={play}"));
    assert_eq!(http::get(server.http, "/cam/video.m3u8").status, 403);
    assert_eq!(http::get(server.http, &format!("/cam/live.flv?token={}", token("other", "play", 600))).status, 403);
    let bearer =
        format!("GET /cam/video.m3u8 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {play}\r\nConnection: close\r\n\r\n");
    assert_eq!(http::raw(server.http, bearer.as_bytes()).expect("an answer").status, 200);
    // The session ends with its token.
    let short = Viewer::open(server.http, &format!("/cam/live.flv?token={}", token("cam", "play", 3)), "HTTP/1.1");
    let mut short = short.expect("an answer").expect("let in");
    short.find("keyframe", seconds(5), Tag::is_keyframe);
    let until = Instant::now() + Duration::from_secs(10);
    while short.next_tag(millis(500)).is_some() || short.end.is_none() {
        assert!(Instant::now() < until, "the session goes on behind the end of its token");
    }
    explained(&server, &play);
    drop(push);
}

/// What the API says of the chain of the test above.
fn explained(server: &Server, play: &str) {
    let mut api = Client::admin(server);
    let chain = api.get("/api/v1/chain?stream=cam&point=play");
    let names: Vec<_> =
        chain.json["steps"].as_array().expect("steps").iter().map(|step| step["name"].clone()).collect();
    assert_eq!(
        (chain.status, names),
        (200, vec![json!("banned"), json!("tokens"), json!("recorded-play")]),
        "{}",
        chain.json
    );
    assert!(!chain.json.to_string().contains(SECRET));
    let mut say = |body: serde_json::Value| {
        let answer = api.post("/api/v1/chain/explain", &body);
        assert_eq!(answer.status, 200, "{}", answer.json);
        assert!(!answer.json.to_string().contains(play), "{}", answer.json);
        answer.json
    };
    let good = say(json!({ "action": "play", "stream": "cam", "params": { "token": play } }));
    assert_eq!(
        (&good["verdict"], &good["steps"][0]["answer"], &good["steps"][1]["decides"]),
        (&json!("allow"), &json!("next"), &json!(true))
    );
    assert!(good["valid_ms"].as_u64().is_some_and(|ms| ms > 500_000), "{good}");
    let banned = say(json!({ "action": "play", "stream": "cam", "params": { "token": play }, "ip": "203.0.113.9" }));
    assert_eq!(
        (&banned["verdict"], &banned["why"], &banned["steps"][0]["decides"]),
        (&json!("deny"), &json!("forbidden"), &json!(true))
    );
    let missing = say(json!({ "action": "publish", "stream": "cam" }));
    assert!(missing["reason"].as_str().is_some_and(|reason| reason.contains("there is no token")), "{missing}");
    let wrong = api.post("/api/v1/chain/explain", &json!({ "action": "watch", "stream": "cam" }));
    assert_eq!((wrong.status, &wrong.json["errors"][0]["field"]), (400, &json!("action")), "{}", wrong.json);
}

#[test]
fn steps_come_into_force_with_sighup_and_back_ends_are_called_on_request() {
    let back_end = BackEnd::start(by_code);
    let server = Options::open().config("# No steps yet.\n").start();
    let file = server.data_dir().join("millstream.toml");
    let Ok(before) = std::fs::read_to_string(&file) else {
        panic!("the test kit keeps the file at {}", file.display())
    };
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("open").repeat(Clip::small());
    std::fs::write(&file, format!("{before}\n{}", back_end.step("srs", ""))).expect("written");
    server.hang_up();
    let until = Instant::now() + seconds(10);
    while !server.log.has("decide from now on") {
        assert!(Instant::now() < until, "{}", server.log.text());
        std::thread::sleep(millis(50));
    }
    assert!(Publisher::start(server.rtmp, "stream", "cam2").is_err(), "the new step does not decide");
    assert!(push.alive(), "who was admitted stays");
    let mut api = Client::admin(&server);
    let body = |key: &str, call: bool| json!({ "action": "publish", "stream": "cam2", "params": { "key": key }, "call": call });
    let asked = back_end.asked().len();
    let unknown = api.post("/api/v1/chain/explain", &body("good", false)).json;
    assert_eq!((&unknown["verdict"], back_end.asked().len()), (&json!("unknown"), asked), "{unknown}");
    assert_eq!(api.post("/api/v1/chain/explain", &body("good", true)).json["verdict"], "allow");
    assert_eq!(api.post("/api/v1/chain/explain", &body("bad", true)).json["verdict"], "deny");
    assert_eq!(back_end.asked().len(), asked + 2);
    drop(push);
}

#[test]
fn play_urls_that_are_signed_admit_and_others_do_not() {
    let config = "[[stream]]\nid = \"cam\"\n[[auth.steps]]\nkind = \"signed\"\npoint = \"play\"\n";
    let server = Options::signed().config(config).start();
    let publish = server.sign("cam", &["--expires", "2035-01-01"]);
    let play = server.sign("cam", &["--play", "--expires", "2035-01-01"]);
    assert!(Publisher::start(server.rtmp, "stream", &format!("cam?sign={play}")).is_err(), "it is for playing");
    let push =
        Publisher::start(server.rtmp, "stream", &format!("cam?sign={publish}")).expect("let in").repeat(Clip::small());
    for refused in ["/cam/live.flv".to_owned(), format!("/cam/live.flv?sign={publish}")] {
        assert_eq!(http::get(server.http, &refused).status, 403, "{refused}");
    }
    let viewer = Viewer::open(server.http, &format!("/cam/live.flv?sign={play}"), "HTTP/1.1");
    viewer.expect("an answer").expect("let in").find("keyframe", seconds(10), Tag::is_keyframe);
    assert!(playlist(&server, &format!("/cam/live.m3u8?sign={play}")).contains(&format!("video.m3u8?sign={play}")));
    drop(push);
}
