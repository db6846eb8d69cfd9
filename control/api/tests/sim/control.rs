//! Control as a process that starts, crashes and starts again, and requests to it without sockets.
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use millstream_api::clock::Clock;
use millstream_api::events::Keep;
use millstream_api::identity::{Beside, Key, judge, settle};
use millstream_api::{Api, routes};
use millstream_fleet::Fleet;
use millstream_store::Store;
use millstream_store::memory::MemoryStore;
use serde_json::Value;

use super::parts;
use super::random::Random;
use super::store::Run;

/// The content of the `admin-token` file.
pub(crate) const ADMIN: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
/// When a world begins, Unix milliseconds.
const BEGIN_MS: u64 = 1_795_478_400_000;

/// A running control.
#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) fleet: Fleet,
    router: Router,
    dead: Arc<AtomicBool>,
}

/// The process, or its absence, and its disk.
#[derive(Clone)]
pub(crate) struct Control {
    up: Rc<RefCell<Option<Up>>>,
    disk: Rc<RefCell<(Arc<MemoryStore>, Option<String>)>>,
    pub(crate) random: Random,
    pub(crate) faulty: Arc<AtomicBool>,
    /// Its runs so far, by which nodes tell states of two of them apart.
    runs: Rc<Cell<u64>>,
    /// Clients find nobody.
    closed: Rc<Cell<bool>>,
    begun: tokio::time::Instant,
}

/// What a request came to.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Outcome {
    /// This status and JSON.
    Answer(u16, Value),
    /// Nobody knows: the client hung up, or control is away or went away.
    Unknown,
}

impl Control {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            up: Rc::default(),
            disk: Rc::default(),
            random,
            faulty: Arc::new(AtomicBool::new(true)),
            runs: Rc::default(),
            closed: Rc::default(),
            begun: tokio::time::Instant::now(),
        }
    }

    pub(crate) fn up(&self) -> Option<Up> {
        self.up.borrow().clone()
    }

    pub(crate) fn now_s(&self) -> u64 {
        BEGIN_MS / 1_000 + self.begun.elapsed().as_secs()
    }

    /// Starts, where it is down; as often as it takes.
    pub(crate) async fn start(&self) {
        while self.up.borrow().is_none() {
            if let Some(up) = self.try_start().await {
                *self.up.borrow_mut() = Some(up);
            } else {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn try_start(&self) -> Option<Up> {
        let dead = Arc::new(AtomicBool::new(false));
        let (disk, marker) = self.disk.borrow().clone();
        let run = Run { disk, random: self.random.clone(), faulty: Arc::clone(&self.faulty), dead: Arc::clone(&dead) };
        let store: Arc<dyn Store> = Arc::new(run);
        let (master, begun) = (parts::master(), self.begun);
        let clock = Clock::of(move || BEGIN_MS + begun.elapsed().as_millis() as u64);
        let beside = Beside { marker: marker.as_deref(), key: Key::Is(&master), accept: false, now_ms: clock.now_ms() };
        let judged = judge(store.as_ref(), beside).await.ok()?;
        let identity = settle(store.as_ref(), judged, Some(&master)).await.ok()?;
        self.disk.borrow_mut().1 = Some(identity.id.clone());
        self.runs.set(self.runs.get() + 1);
        let keep = Keep::new(Arc::clone(&store), None, Arc::default(), clock.clone());
        let fleet = Fleet::of_run(self.runs.get(), [], master.check(), keep, Arc::default());
        fleet.is_of(identity.id, identity.stands_for);
        let api = Api::start(parts::parts(store, fleet.clone(), clock, &self.random)).await.ok()?;
        self.random.say(format_args!("control runs for the {}. time", self.runs.get()));
        Some(Up { fleet, router: routes::router(api), dead })
    }

    /// It is gone at once, with all that it was doing.
    pub(crate) fn crash(&self) {
        if let Some(up) = self.up.borrow_mut().take() {
            up.dead.store(true, Ordering::Relaxed);
            self.random.say("control crashes");
        }
    }

    /// Its disk is gone, and another one is set up, which clients do not find; gives the one of before.
    pub(crate) fn lose_disk(&self) -> (Arc<MemoryStore>, Option<String>) {
        self.crash();
        self.closed.set(true);
        self.random.say("control has an empty disk");
        std::mem::take(&mut *self.disk.borrow_mut())
    }

    /// The right disk is back.
    pub(crate) fn restore(&self, disk: (Arc<MemoryStore>, Option<String>)) {
        self.crash();
        self.closed.set(false);
        self.random.say("control has the right disk again");
        *self.disk.borrow_mut() = disk;
    }

    pub(crate) fn disk(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.disk.borrow().0)
    }

    /// A request; the client hangs up after `patience`.
    pub(crate) async fn ask(
        &self,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: Option<&Value>,
        patience: Duration,
    ) -> Outcome {
        let kind = body.is_some().then_some(("Content-Type", "application/json"));
        let headers: Vec<_> = headers.iter().copied().chain(kind).collect();
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send((method, path), &headers, body, patience).await
    }

    /// A module for a hook; the status, 0 where there is none.
    pub(crate) async fn upload(&self, path: &str, module: Vec<u8>) -> u16 {
        let kind = [("Content-Type", "application/wasm")];
        match self.send(("POST", path), &kind, module.into(), Duration::from_secs(30)).await {
            Outcome::Answer(status, _) => status,
            Outcome::Unknown => 0,
        }
    }

    async fn send(
        &self,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: Body,
        patience: Duration,
    ) -> Outcome {
        let Some(up) = self.up().filter(|_| !self.closed.get()) else { return Outcome::Unknown };
        let mut request = Request::builder().method(method).uri(path).header("Host", "localhost");
        request = request.header("Authorization", format!("Bearer {ADMIN}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).unwrap();
        let answered = async {
            let response = TowerToHyperService::new(up.router.clone()).call(request).await.unwrap();
            let status = response.status().as_u16();
            let body = to_bytes(Body::new(response.into_body()), 1 << 24).await.unwrap();
            (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
        };
        self.random.say(format_args!("{method} {path}"));
        let outcome = match tokio::time::timeout(patience, answered).await {
            // What a crashed control would still say reaches nobody.
            Ok(_) | Err(_) if up.dead.load(Ordering::Relaxed) => Outcome::Unknown,
            Ok((status, json)) => Outcome::Answer(status, json),
            Err(_) => Outcome::Unknown,
        };
        self.random.say(format_args!("{method} {path}: {outcome:?}"));
        outcome
    }
}
