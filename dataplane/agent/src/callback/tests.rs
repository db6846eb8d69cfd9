//! What back ends are sent, how their answers are read, and what becomes of those that wait when one is slow, away or talks nonsense.
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use millstream_fleet::http::client::Reply;
use millstream_policy::{Action, Client, Why};
use millstream_proto::id::Id;
use millstream_proto::query::Params;
use millstream_proto::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::forms::Verdict;
use super::*;

fn request(action: Action, protocol: &'static str, session: u64, query: &str) -> Request {
    let client = Client {
        user_agent: "FMLE/3.0 (x)".to_owned(),
        referer: "https://example.com/page".to_owned(),
        tc_url: Secret::new("rtmp://host/live"),
        ..Client::new(session, "192.0.2.7:5000".parse().unwrap(), protocol)
    };
    let id = |text| Id::new(text).unwrap();
    Request::new(action, (id("live"), id("lobby")), Params::parse(query).unwrap(), client)
}

#[test]
fn forms_are_those_of_the_servers() {
    let text = |form: Form, request: &Request| String::from_utf8(form.body(request).to_vec()).unwrap();
    let publish = request(Action::Publish, "rtmp", 9, "user=me&pass=a%26b&name=other&addr=1.2.3.4");
    assert_eq!(
        text(Form::NginxRtmp, &publish),
        "app=live&flashver=FMLE%2F3.0%20%28x%29&swfurl=&tcurl=rtmp%3A%2F%2Fhost%2Flive&pageurl=https%3A%2F%2Fexample.com%2Fpage\
         &addr=192.0.2.7&clientid=9&call=publish&name=lobby&type=live&user=me&pass=a%26b",
        "a client says nothing in the server's place"
    );
    let play = request(Action::Play, "hls", 9, "token=x&_HLS_msn=3&CMCD=sid&vhost=one.example");
    assert!(text(Form::NginxRtmp, &play).ends_with("&call=play&name=lobby&token=x&vhost=one.example"));
    let srs: serde_json::Value = serde_json::from_str(&text(Form::Srs, &play)).unwrap();
    let expected = serde_json::json!({
        "action": "on_play", "client_id": "9", "ip": "192.0.2.7", "vhost": "one.example", "app": "live",
        "tcUrl": "rtmp://host/live", "stream": "lobby", "param": "?token=x&vhost=one.example",
        "stream_url": "/live/lobby", "pageUrl": "https://example.com/page",
    });
    assert_eq!(srs, expected);
    let srs: serde_json::Value =
        serde_json::from_str(&text(Form::Srs, &request(Action::Publish, "rtmp", 9, ""))).unwrap();
    assert_eq!(
        (&srs["action"], &srs["param"], &srs["vhost"]),
        (&"on_publish".into(), &"".into(), &"__defaultVhost__".into())
    );
}

#[test]
fn answers_are_read_as_the_servers_do() {
    let read = |form: Form, status: u16, body: Option<&str>| {
        let body = body.map(|body| Bytes::copy_from_slice(body.as_bytes()));
        match form.read(&Reply { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::default(), body }) {
            Verdict::Allow => "allow",
            Verdict::Deny(_) => "deny",
            Verdict::None(_) => "none",
        }
    };
    for (status, expected) in
        [(200, "allow"), (204, "allow"), (302, "deny"), (403, "deny"), (404, "deny"), (500, "deny")]
    {
        assert_eq!(read(Form::NginxRtmp, status, Some("")), expected, "{status}");
    }
    assert_eq!(read(Form::NginxRtmp, 200, None), "allow", "the body does not count, however long it is");
    for (body, expected) in [
        ("0", "allow"),
        (" 0\r\n", "allow"),
        ("{\"code\": 0}", "allow"),
        ("{\"code\": 0, \"data\": null}", "allow"),
        ("1", "deny"),
        ("{\"code\": 403, \"msg\": \"no\"}", "deny"),
        ("", "none"),
        ("ok", "none"),
        ("{}", "none"),
        ("{\"code\": \"0\"}", "none"),
        ("[0]", "none"),
        ("<html>", "none"),
    ] {
        assert_eq!(read(Form::Srs, 200, Some(body)), expected, "{body}");
    }
    assert_eq!((read(Form::Srs, 200, None), read(Form::Srs, 403, Some("0"))), ("none", "deny"));
    assert_eq!((read(Form::Srs, 500, Some("0")), read(Form::Srs, 302, Some("0"))), ("none", "deny"));
}

/// What a back end of a test does with each connection's requests.
#[derive(Clone, Copy)]
enum Act {
    Answer(&'static str),
    Hang,
    Close,
    /// 50 MB.
    Flood,
}

struct BackEnd {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    act: Arc<Mutex<Act>>,
}

async fn back_end(act: Act) -> BackEnd {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, act) = (Arc::<AtomicUsize>::default(), Arc::new(Mutex::new(act)));
    let (count, acts) = (Arc::clone(&asked), Arc::clone(&act));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (count, acts) = (Arc::clone(&count), Arc::clone(&acts));
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 << 10];
                while socket.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {
                    count.fetch_add(1, Relaxed);
                    let act = *acts.lock().unwrap();
                    match act {
                        Act::Answer(body) => {
                            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                            socket.write_all(head.as_bytes()).await.unwrap();
                        }
                        Act::Hang => tokio::time::sleep(Duration::from_mins(1)).await,
                        Act::Close => return,
                        Act::Flood => {
                            let head = "HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n";
                            let _ = socket.write_all(head.as_bytes()).await;
                            let _ = socket.write_all(&vec![b'0'; 50_000_000]).await;
                        }
                    }
                }
            });
        }
    });
    BackEnd { address, asked, act }
}

/// An asker, and the answers that it gives.
struct Bench {
    questions: mpsc::Sender<Question>,
    answers: mpsc::UnboundedReceiver<(u64, Step)>,
    ticket: u64,
}

impl Bench {
    fn of(back_end: &BackEnd, change: impl FnOnce(Callback) -> Callback) -> Self {
        let callback = change(Callback {
            name: "test".to_owned(),
            url: format!("http://{}/auth", back_end.address).parse().unwrap(),
            guard: Guard::PublicAnd(vec!["127.0.0.1".parse().unwrap()]),
            form: Form::Srs,
            timeout: Duration::from_millis(300),
            cache: Duration::from_secs(10),
            at_once: 2,
            fail: Fail::Closed,
            pass: Pass::Allow,
        });
        let (questions, received) = mpsc::channel(10_000);
        let (tell, answers) = mpsc::unbounded_channel();
        let answer = move |ticket, step| drop(tell.send((ticket, step)));
        tokio::spawn(asker::run(Arc::new(callback), received, Arc::new(Semaphore::new(AT_ONCE_TOTAL)), answer));
        Self { questions, answers, ticket: 0 }
    }

    fn ask(&mut self, request: Request) -> u64 {
        self.ticket += 1;
        let question = Question::Session { ticket: self.ticket, request: Box::new(request) };
        assert!(self.questions.try_send(question).is_ok());
        self.ticket
    }

    async fn answer(&mut self) -> (u64, Step) {
        tokio::time::timeout(Duration::from_secs(20), self.answers.recv()).await.expect("in time").unwrap()
    }

    async fn asked(&mut self, request: Request) -> Step {
        let ticket = self.ask(request);
        let (of, step) = self.answer().await;
        assert_eq!(of, ticket);
        step
    }
}

fn is_busy(step: &Step) -> bool {
    matches!(step, Step::Deny(denial) if denial.why == Why::Busy)
}

#[tokio::test]
async fn a_viewer_of_hls_is_asked_about_once() {
    let server = back_end(Act::Answer("0")).await;
    let mut bench = Bench::of(&server, |callback| callback);
    let playlist = |n: u64| request(Action::Play, "hls", n, &format!("token=x&_HLS_msn={n}"));
    // At once, as players load video and audio, and one after the other; each by a connection of its own.
    for n in 0..10 {
        bench.ask(playlist(n));
    }
    for _ in 0..10 {
        assert_eq!(bench.answer().await.1, Step::Allow(Grant::default()));
    }
    for n in 10..20 {
        assert_eq!(bench.asked(playlist(n)).await, Step::Allow(Grant::default()));
    }
    assert_eq!(server.asked.load(Relaxed), 1);
    // Another token is another viewer; a session of RTMP is asked about each time.
    bench.asked(request(Action::Play, "hls", 30, "token=y")).await;
    bench.asked(request(Action::Play, "rtmp", 31, "token=x")).await;
    bench.asked(request(Action::Play, "rtmp", 32, "token=x")).await;
    assert_eq!(server.asked.load(Relaxed), 4);
    // The back end goes away: who watches goes on, who comes is refused.
    *server.act.lock().unwrap() = Act::Close;
    assert_eq!(bench.asked(playlist(40)).await, Step::Allow(Grant::default()));
    assert!(is_busy(&bench.asked(request(Action::Play, "hls", 41, "token=z")).await));
}

#[tokio::test]
async fn case_16_one_that_hangs_is_given_up_and_then_left_alone() {
    let server = back_end(Act::Hang).await;
    let mut bench = Bench::of(&server, |callback| callback);
    let begun = Instant::now();
    for session in 0..100 {
        bench.ask(request(Action::Publish, "rtmp", session, ""));
    }
    for _ in 0..100 {
        assert!(is_busy(&bench.answer().await.1));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // Away by now: nobody waits.
    for session in 100..110 {
        bench.ask(request(Action::Publish, "rtmp", session, ""));
    }
    for _ in 0..10 {
        bench.answer().await;
    }
    let begun = Instant::now();
    assert!(is_busy(&bench.asked(request(Action::Publish, "rtmp", 200, "")).await));
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
    // And back.
    *server.act.lock().unwrap() = Act::Answer("0");
    let back_by = Instant::now() + Duration::from_secs(10);
    let mut session = 300;
    while is_busy(&bench.asked(request(Action::Publish, "rtmp", session, "")).await) {
        assert!(Instant::now() < back_by, "it is back, and nobody has found out");
        tokio::time::sleep(Duration::from_millis(100)).await;
        session += 1;
    }
}

#[tokio::test]
async fn nonsense_floods_and_closed_connections_are_no_verdict() {
    for act in [Act::Answer("what?"), Act::Flood, Act::Close] {
        let server = back_end(act).await;
        let mut closed = Bench::of(&server, |callback| callback);
        assert!(is_busy(&closed.asked(request(Action::Publish, "rtmp", 1, "")).await));
        let mut open = Bench::of(&server, |callback| Callback { fail: Fail::Open, ..callback });
        assert_eq!(open.asked(request(Action::Publish, "rtmp", 1, "")).await, Step::Allow(Grant::default()));
        // Not kept: once it answers, its answer counts.
        let mut hls = Bench::of(&server, |callback| callback);
        assert!(is_busy(&hls.asked(request(Action::Play, "hls", 1, "")).await));
        *server.act.lock().unwrap() = Act::Answer("0");
        assert_eq!(hls.asked(request(Action::Play, "hls", 2, "")).await, Step::Allow(Grant::default()));
    }
}

#[tokio::test]
async fn private_addresses_are_not_asked_unless_they_are_allowed() {
    let server = back_end(Act::Answer("0")).await;
    let mut bench = Bench::of(&server, |callback| Callback { guard: Guard::PublicAnd(Vec::new()), ..callback });
    assert!(is_busy(&bench.asked(request(Action::Publish, "rtmp", 1, "")).await));
    assert_eq!(server.asked.load(Relaxed), 0);
}

#[tokio::test]
async fn one_address_does_not_take_all_places() {
    let server = back_end(Act::Hang).await;
    let mut bench = Bench::of(&server, |callback| callback);
    for session in 0..300 {
        bench.ask(request(Action::Publish, "rtmp", session, ""));
    }
    let (ticket, step) = bench.answer().await;
    assert!(ticket > 256 && is_busy(&step), "{ticket} {step:?}");
}
