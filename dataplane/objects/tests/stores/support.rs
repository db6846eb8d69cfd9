//! What the tests of S3 share: a server, a proxy in front of it, stores at both, and an uploader's loop.
#![allow(dead_code)]
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use millstream_objects::{
    Body, ErrorKind, Key, Location, Meta, ObjectError, ObjectStore, Retry, S3Options, S3Store, Span, StaticCredentials,
    Sums, Timeouts, confirm,
};
use millstream_test_support::s3::proxy::{Fault, FaultProxy, Request};
use millstream_test_support::s3::{ACCESS_KEY_ID, S3Server, SECRET_ACCESS_KEY};

pub(crate) const BUCKET: &str = "recordings";
/// Tries of the uploader's loop: the faults of these tests pass sooner.
const TRIES_MAX: usize = 12;

/// A server with a bucket, and a proxy.
pub(crate) struct Bench {
    pub(crate) server: S3Server,
    pub(crate) proxy: FaultProxy,
    pub(crate) dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = S3Server::start(dir.path()).expect("an S3 server");
        server.make_bucket(BUCKET).expect("a bucket");
        let proxy = FaultProxy::start(server.address()).expect("a proxy");
        Self { server, proxy, dir }
    }

    /// Through the proxy.
    pub(crate) async fn store(&self) -> S3Store {
        store_at(&self.proxy.endpoint(), BUCKET, SECRET_ACCESS_KEY).await
    }

    /// Straight to the server.
    pub(crate) async fn direct(&self) -> S3Store {
        store_at(&self.server.endpoint(), BUCKET, SECRET_ACCESS_KEY).await
    }
}

pub(crate) async fn store_at(endpoint: &str, bucket: &str, secret: &str) -> S3Store {
    store_of(&format!("s3://{bucket}/a/prefix?endpoint={endpoint}&region=us-east-1"), secret).await
}

pub(crate) async fn store_of(location: &str, secret: &str) -> S3Store {
    let Ok(Location::S3(location)) = location.parse() else { panic!("{location}") };
    let credentials =
        StaticCredentials { access_key_id: ACCESS_KEY_ID.to_owned(), secret_access_key: secret.to_owned() };
    let timeouts =
        Timeouts { connect: Duration::from_secs(2), stall: Duration::from_secs(2), answer: Duration::from_secs(6) };
    S3Store::open(location, S3Options { credentials: Some(credentials), timeouts }).await.expect("a store")
}

pub(crate) fn key(text: &str) -> Key {
    Key::parse(text).expect("a key")
}

/// Bytes that are the same in each run and nowhere alike.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    millstream_test_support::random::Random::new(bytes as u64).bytes(bytes)
}

pub(crate) async fn put_once(store: &dyn ObjectStore, key: &Key, body: &Body) -> Result<Sums, ObjectError> {
    let sums = store.put(key, body.clone(), Meta::of(key, "public, max-age=60")).await?;
    confirm(store, key, sums).await.map(|()| sums)
}

/// What an uploader does: again and again until the store has it. Gives what went wrong on the way.
pub(crate) async fn put_until_stored(store: &dyn ObjectStore, key: &Key, body: &Body) -> Vec<ErrorKind> {
    let mut kinds = Vec::new();
    for _ in 0..TRIES_MAX {
        match put_once(store, key, body).await {
            Ok(_) => return kinds,
            Err(error) => {
                assert_eq!(error.retry(), Retry::Soon, "{error}");
                assert!(!error.to_string().contains(SECRET_ACCESS_KEY), "{error}");
                println!("{error}");
                kinds.push(error.kind());
            }
        }
    }
    panic!("not stored after {kinds:?}")
}

pub(crate) async fn read(store: &dyn ObjectStore, key: &Key, span: Span) -> Result<Vec<u8>, ObjectError> {
    let reading = store.get(key, span).await?;
    let all = reading.chunks.try_fold(Vec::new(), |mut all: Vec<u8>, chunk| async move {
        all.extend_from_slice(&chunk);
        Ok(all)
    });
    all.await
}

/// A plain GET, as a player or a CDN makes it: status, head and body.
pub(crate) fn http_get(url: &str, range: Option<&str>) -> (u16, String, Vec<u8>) {
    let rest = url.strip_prefix("http://").expect("http");
    let (host, path) = rest.split_once('/').expect("a path");
    let mut stream = TcpStream::connect(host).expect("connected");
    let range = range.map(|range| format!("Range: bytes={range}\r\n")).unwrap_or_default();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{range}\r\n").expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head, answer[end..].to_vec())
}

/// Does this to the first requests that are meant.
pub(crate) fn first(
    count: usize,
    meant: fn(&Request) -> bool,
    fault: &Fault,
) -> impl FnMut(&Request) -> Option<Fault> + use<> {
    let (mut left, fault) = (count, fault.clone());
    move |request| {
        let hit = left > 0 && meant(request);
        left -= usize::from(hit);
        hit.then(|| fault.clone())
    }
}

pub(crate) fn any_put(request: &Request) -> bool {
    request.method == "PUT"
}
