//! The server, and a client.
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use millstream_api::clock::Clock;
use millstream_api::events::{Keep, follow};
use millstream_api::hooks::HookRules;
use millstream_api::hooks::inspect::Inspector;
use millstream_api::http::serve::{Limits, serve};
use millstream_api::ids::Ids;
use millstream_api::outbox::StoredOutbox;
use millstream_api::tls::ShowTls;
use millstream_api::{Api, Here, Parts, routes};
use millstream_control_protocol::exchange::{Answer, Command, NodeId, Order, Outcome, Poll, Report, Status};
use millstream_control_protocol::state::Stream;
use millstream_fleet::Fleet;
use millstream_fleet::http::guard::Guard;
use millstream_fleet::numbers::Numbers;
use millstream_policy::signed::Apps;
use millstream_proto::network::Network;
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;
use millstream_proto::sign::grant::GrantKeys;
use millstream_proto::sign::preview::PreviewKey;
use millstream_store::Store;
use millstream_store::memory::MemoryStore;
use serde_json::Value;
use tokio::runtime::Runtime;

/// The content of the `admin-token` file.
pub(crate) const ADMIN: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
/// 2026-11-24 00:00 UTC.
pub(crate) const NOW_MS: u64 = 1_795_478_400_000;

pub(crate) fn master() -> MasterKey {
    MasterKey::new([7; 32])
}

/// The node of the same process.
pub(crate) fn here() -> Here {
    let (rtmp_url, http_url) = ("rtmp://push.example.org".to_owned(), "https://play.example.org".to_owned());
    Here { node: "here".to_owned(), rtmp_url, http_url, rtmps_url: String::new() }
}

/// How a server is to be.
pub(crate) struct Options {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) fixed: Vec<Stream>,
    pub(crate) names: Vec<String>,
    /// Time passes only as [`Server::pass`] says, whatever the clock is set to.
    pub(crate) steady: bool,
    pub(crate) metrics_open: bool,
    pub(crate) tls: Option<ShowTls>,
    pub(crate) here: Option<Here>,
    pub(crate) public_url: Option<String>,
    pub(crate) webhooks: Vec<Network>,
    pub(crate) limits: Limits,
    pub(crate) inspector: Option<Arc<dyn Inspector>>,
    pub(crate) hooks: HookRules,
    /// Routes besides the API's.
    pub(crate) more: axum::Router,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            fixed: Vec::new(),
            names: vec!["stream.example.org".to_owned()],
            steady: false,
            metrics_open: true,
            tls: None,
            here: Some(here()),
            public_url: None,
            webhooks: Vec::new(),
            limits: Limits { head_timeout: Duration::from_secs(1), ..Limits::default() },
            inspector: None,
            hooks: HookRules::default(),
            more: axum::Router::new(),
        }
    }
}

/// A running API.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) fleet: Fleet,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) numbers: Arc<Numbers>,
    api: Api,
    now_ms: Arc<AtomicU64>,
    passed_ms: Arc<AtomicU64>,
    runtime: Option<Runtime>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let now_ms = Arc::new(AtomicU64::new(NOW_MS));
        let draining = Arc::new(AtomicBool::new(false));
        let passed_ms = Arc::<AtomicU64>::default();
        let passed = Arc::clone(&passed_ms);
        let time = Arc::clone(&now_ms);
        let clock = if options.steady {
            Clock::of_both(move || time.load(Ordering::Relaxed), move || passed.load(Ordering::Relaxed))
        } else {
            Clock::of(move || time.load(Ordering::Relaxed))
        };
        let outbox = StoredOutbox::new(Arc::clone(&options.store), master(), runtime.handle().clone(), clock.clone());
        let keep = Keep::new(Arc::clone(&options.store), Some(outbox), Arc::default(), clock.clone());
        let fleet = Fleet::new([], String::new(), keep);
        let numbers = Arc::new(Numbers::default());
        let told_numbers = Arc::clone(&numbers);
        let (told, of) = (Arc::clone(&draining), fleet.clone());
        let (address, api) = runtime.block_on(async move {
            let parts = Parts {
                store: options.store,
                fleet: of.clone(),
                clock,
                ids: Ids::random(),
                admin_token: Some(Secret::new(ADMIN)),
                master: Some(master()),
                previews: Some(PreviewKey::new(&master())),
                grants: Some(GrantKeys::new(&master(), 1)),
                fixed: options.fixed,
                names: options.names,
                here: options.here,
                public_url: options.public_url,
                webhooks: Guard::PublicAnd(options.webhooks),
                apps: Apps::default(),
                metrics_open: options.metrics_open,
                config: serde_json::json!({ "auth": { "preset": "signed", "legacy_keys": 1 } }),
                chain: None,
                tls: options.tls,
                metrics: Some(Arc::new(|| "# EOF\n".to_owned())),
                inspector: options.inspector,
                hooks: options.hooks,
                draining: Arc::new(move || told.load(Ordering::Relaxed)),
            };
            let api = Api::start(parts).await.unwrap();
            tokio::spawn(follow(api.clone(), of));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = routes::router(api.clone()).merge(options.more);
            tokio::spawn(serve(listener, None, router, options.limits, told_numbers, std::future::pending()));
            (address, api)
        });
        Self { address, fleet, draining, numbers, api, now_ms, passed_ms, runtime: Some(runtime) }
    }

    /// A stream of the configuration file.
    pub(crate) fn fixed(id: &str) -> Stream {
        Stream { id: id.to_owned(), ..Stream::default() }
    }

    pub(crate) fn set_clock(&self, ms: u64) {
        self.now_ms.store(ms, Ordering::Relaxed);
    }

    /// Time passes, and the clock with it.
    pub(crate) fn pass(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
        self.passed_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// What is done every few minutes.
    pub(crate) fn purge(&self) {
        self.run(self.api.purge());
    }

    /// What is done every ten seconds.
    pub(crate) fn take_series(&self) {
        self.api.take_series();
    }

    /// What is done every second.
    pub(crate) fn look_for_failing_hooks(&self) {
        self.run(self.api.look_for_failing_hooks());
    }

    /// What is done every second, and when a node tells of its tasks.
    pub(crate) fn look_after_recordings(&self) {
        self.run(self.api.look_after_recordings());
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.runtime.as_ref().unwrap().spawn(future);
    }

    /// Ends it with all that it holds.
    pub(crate) fn end(mut self) {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(10));
    }

    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(future)
    }

    /// A node that has whatever state it is told, and answers orders so.
    pub(crate) fn node(&self, name: &str, reply: impl Fn(&Order) -> Answer + Send + 'static) {
        self.node_that_may_hang(name, move |order| Some(reply(order)));
    }

    /// The same, with orders that are never answered.
    pub(crate) fn node_that_may_hang(&self, name: &str, reply: impl Fn(&Order) -> Option<Answer> + Send + 'static) {
        let (fleet, id) = (self.fleet.clone(), NodeId { name: name.to_owned(), run: 5 });
        let joined = Arc::new(tokio::sync::Notify::new());
        let told = Arc::clone(&joined);
        self.runtime.as_ref().unwrap().spawn(async move {
            let mut have = None;
            loop {
                let poll = Poll { node: id.clone(), have, wait_ms: 5_000, ..Poll::default() };
                let push = fleet.poll(&poll).await.unwrap();
                have = push.update.map_or(have, |update| Some(update.version));
                let outcome = |c: &Command| Some(Outcome { number: c.number, answer: reply(&c.what)? });
                let outcomes = push.commands.iter().filter_map(outcome);
                let status = Status { release: "1".to_owned(), ..Status::default() };
                let report = Report { node: id.clone(), status, outcomes: outcomes.collect(), ..Report::default() };
                fleet.report(report).await.unwrap();
                told.notify_one();
            }
        });
        self.run(joined.notified());
    }

    /// A request with the admin's token.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request<'_> {
        self.plain(method, path).header("Authorization", &format!("Bearer {ADMIN}"))
    }

    /// A request without credentials.
    pub(crate) fn plain(&self, method: &str, path: &str) -> Request<'_> {
        let mut request = Request { server: self, head: format!("{method} {path} HTTP/1.1\r\n"), body: Vec::new() };
        request.head.push_str("Connection: close\r\n");
        request
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.request("GET", path).send()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.request("POST", path).json(body).send()
    }

    /// A new token of this role.
    pub(crate) fn token(&self, role: &str) -> String {
        let made = self.post("/api/v1/tokens", &serde_json::json!({ "name": format!("a {role}"), "role": role }));
        made.is(201).text("token").to_owned()
    }

    /// The newest entries of the audit log: who and what.
    pub(crate) fn audit(&self) -> Vec<(String, String, String)> {
        let entries = self.get("/api/v1/audit");
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
        let items = entries.is(200).json()["items"].as_array().unwrap().clone();
        items.iter().map(|entry| (text(entry, "who"), text(entry, "action"), text(entry, "target"))).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A request that is being put together.
pub(crate) struct Request<'a> {
    server: &'a Server,
    head: String,
    body: Vec<u8>,
}

impl Request<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head = format!("{}{name}: {value}\r\n", self.head);
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("Content-Length", &length)
    }

    /// Sends it, with a Host unless it has one.
    pub(crate) fn send(mut self) -> Response {
        if !self.head.contains("\r\nHost:") {
            let host = self.server.address.to_string();
            self = self.header("Host", &host);
        }
        let mut bytes = self.head.into_bytes();
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        Response::parse(&exchange(self.server.address, &bytes))
    }
}

/// Sends bytes and reads until the other side closes.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // A server that refuses may close before it has read all of it.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: String,
    body: Vec<u8>,
    json: Value,
}

impl Response {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let (line, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = bytes.get(end + 4..).unwrap_or_default().to_vec();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let status = status.unwrap_or_else(|| panic!("no status in {line:?}"));
        Self { status, headers: headers.to_owned(), body, json }
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}\n{}", self.headers, String::from_utf8_lossy(&self.body));
        self
    }

    /// Is a problem of this status, whose detail or errors say that.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, part: &str) -> &Self {
        self.is(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.json["status"], status);
        assert!(self.json["type"].as_str().unwrap().starts_with("urn:millstream:problem:"), "{self:?}");
        assert!(self.json.to_string().contains(part), "{part:?} is not in {}", self.json);
        self
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn etag(&self) -> &str {
        self.header("etag").unwrap_or_else(|| panic!("no ETag: {self:?}"))
    }

    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    pub(crate) fn raw(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn body(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn text(&self, field: &str) -> &str {
        self.json[field].as_str().unwrap_or_else(|| panic!("no text {field} in {}", self.json))
    }
}
