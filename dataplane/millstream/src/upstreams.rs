//! Upstreams that hooks may ask: the servers that `[hooks] upstreams` names. Before it: a hook's answer `ask`; after it: the hook is asked again with
//! what the upstream said.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use millstream_fleet::http::client::{AskError, Connection};
use millstream_fleet::http::guard::Guard;
use millstream_fleet::http::url::Url;
use millstream_hook_steps::step::{Fetcher, Replied};
use millstream_hooks::wit::{auth, types};
use millstream_proto::network::Network;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Requests to one upstream at the same time; more wait for a place as long as they would for an answer.
const AT_ONCE_MAX: usize = 64;
/// Of those that wait.
const WAITING_MAX: usize = 1_024;
/// The longest wait for an answer; less than sessions wait for a decision.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// Bytes of an answer.
const REPLY_BYTES_MAX: usize = 64 << 10;
/// Headers of an answer that a hook gets.
const HEADERS_MAX: usize = 32;
/// What a hook may not say: it is the connection's business, or names another server.
const OWN_HEADERS: [&str; 8] =
    ["host", "content-length", "connection", "transfer-encoding", "te", "upgrade", "expect", "proxy-authorization"];

struct Upstream {
    url: Url,
    /// Where its name may lead. It is looked at for each connection, so that a name that leads elsewhere later (to a cloud's metadata, to this machine)
    /// gives a hook nothing that the operator has not meant.
    guard: Guard,
    places: Semaphore,
    /// Places among those that are asked or wait.
    waiting: Semaphore,
}

impl Upstream {
    /// An address that the URL itself has is one that the operator has named; what a name leads to has to be public or in these networks.
    fn new(url: Url, allow: &[Network]) -> Self {
        let named: &[&str] = if url.host == "localhost" { &["127.0.0.1", "::1"] } else { &[&url.host] };
        let own = named.iter().filter_map(|address| address.parse().ok());
        let guard = Guard::PublicAnd(allow.iter().copied().chain(own).collect());
        Self { url, guard, places: Semaphore::new(AT_ONCE_MAX), waiting: Semaphore::new(AT_ONCE_MAX + WAITING_MAX) }
    }
}

/// Those of the configuration.
pub(crate) struct Upstreams {
    all: Arc<BTreeMap<String, Upstream>>,
    runtime: Handle,
}

impl Upstreams {
    /// They are asked on this runtime, at public addresses and in these networks.
    pub(crate) fn new(urls: &BTreeMap<String, Url>, allow: &[Network], runtime: Handle) -> Self {
        let all = urls.iter().map(|(name, url)| (name.clone(), Upstream::new(url.clone(), allow)));
        Self { all: Arc::new(all.collect()), runtime }
    }
}

impl Fetcher for Upstreams {
    fn fetch(&self, fetch: auth::Fetch, replied: Replied) {
        let all = Arc::clone(&self.all);
        self.runtime.spawn(async move { replied(ask(&all, fetch).await) });
    }
}

/// Whether a path names something that is not below where it begins, to a server that takes it apart: what a hook passes on may be a client's word.
fn leaves(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".");
    let path = path.replace("%2f", "/").replace("%5c", "/").replace('\\', "/").replace("%3b", ";");
    // Some servers leave out what is behind a semicolon, and some take escapes apart twice.
    let is_up = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    path.contains("%25") || path.split('/').any(is_up)
}

async fn ask(all: &BTreeMap<String, Upstream>, fetch: auth::Fetch) -> Result<auth::Reply, String> {
    let auth::Fetch { upstream: name, method, path, headers, body, timeout_ms, .. } = fetch;
    let upstream = all.get(&name).ok_or_else(|| {
        "there is no upstream of this name; the operator adds it to [hooks] upstreams in the configuration".to_owned()
    })?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| "this is no method".to_owned())?;
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the path has to begin with / and to be printable ASCII".to_owned());
    }
    if leaves(&path) {
        return Err("the path leaves the upstream's own: it has a segment of dots".to_owned());
    }
    let mut sent = HeaderMap::new();
    for types::Pair { name, value } in headers {
        let name = HeaderName::try_from(name).map_err(|_| "a header's name is not one".to_owned())?;
        let value = HeaderValue::try_from(value).map_err(|_| "a header's value is not one".to_owned())?;
        if !OWN_HEADERS.contains(&name.as_str()) {
            sent.append(name, value);
        }
    }
    let own = Duration::from_millis(timeout_ms.into());
    let wait = if own.is_zero() { WAIT_MAX } else { own.min(WAIT_MAX) };
    let url = upstream.url.below(&path);
    let busy = || format!("the upstream has as many requests as it may, {AT_ONCE_MAX}, and takes no other in time");
    let _waits = upstream.waiting.try_acquire().map_err(|_| busy())?;
    let is_asked = AtomicBool::new(false);
    let asked = async {
        let _place = upstream.places.acquire().await.map_err(|error| error.to_string())?;
        is_asked.store(true, Relaxed);
        let mut connection = Connection::open(&url, &upstream.guard).await.map_err(|error| match error {
            AskError::Private(_) => format!("{error}; the operator names its network in [hooks] upstreams_allow"),
            error => error.to_string(),
        })?;
        let reply = connection.ask(method, &url, sent, Bytes::from(body), wait, REPLY_BYTES_MAX).await;
        reply.map_err(|error| error.to_string())
    };
    let late = |_| if is_asked.load(Relaxed) { "the upstream did not answer in time".to_owned() } else { busy() };
    let reply = timeout(wait, asked).await.map_err(late)??;
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        Some(types::Pair { name: name.as_str().to_owned(), value: value.to_str().ok()?.to_owned() })
    };
    let body = reply.body.ok_or_else(|| format!("the upstream's answer is longer than {REPLY_BYTES_MAX} bytes"))?;
    Ok(auth::Reply {
        status: reply.status.as_u16(),
        headers: reply.headers.iter().filter_map(header).take(HEADERS_MAX).collect(),
        body: body.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;

    /// An upstream that answers each request with this, and what it was sent; an empty answer never comes.
    async fn upstream(answer: &'static [u8]) -> (BTreeMap<String, Upstream>, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}/v1/", listener.local_addr().unwrap()).parse().unwrap();
        let (heard, requests) = channel(100);
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let heard = heard.clone();
                tokio::spawn(async move {
                    let (mut request, mut buf) = (Vec::new(), [0; 4096]);
                    // The body is known to the test, and ends with a dot.
                    while !(request.ends_with(b".") || request.starts_with(b"GET") && request.ends_with(b"\r\n\r\n")) {
                        match socket.read(&mut buf).await {
                            Ok(count) if count > 0 => request.extend_from_slice(&buf[..count]),
                            _ => return,
                        }
                    }
                    heard.send(String::from_utf8(request).unwrap()).await.unwrap();
                    if answer.is_empty() {
                        std::future::pending::<()>().await;
                    }
                    let _ = socket.write_all(answer).await;
                });
            }
        });
        let upstream = Upstream { places: Semaphore::new(2), ..Upstream::new(url, &[]) };
        let all = BTreeMap::from([("accounts".to_owned(), upstream)]);
        (all, requests)
    }

    fn fetch(method: &str, path: &str) -> auth::Fetch {
        let pair = |name: &str, value: &str| types::Pair { name: name.to_owned(), value: value.to_owned() };
        auth::Fetch {
            upstream: "accounts".to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers: vec![pair("X-User", "anna"), pair("Host", "other.example"), pair("Transfer-Encoding", "chunked")],
            body: if method == "GET" { Vec::new() } else { b"user=anna.".to_vec() },
            timeout_ms: 0,
            state: Vec::new(),
        }
    }

    const YES: &[u8] = b"HTTP/1.1 200 OK\r\nX-Plan: gold\r\nContent-Length: 3\r\n\r\nyes";

    #[tokio::test]
    async fn a_hook_names_an_upstream_and_what_is_asked_of_it_and_nothing_else() {
        let (all, mut requests) = upstream(YES).await;
        let reply = ask(&all, fetch("POST", "/check?a=1")).await.unwrap();
        let plan = reply.headers.iter().find(|pair| pair.name == "x-plan").map(|pair| pair.value.as_str());
        assert_eq!((reply.status, reply.body, plan), (200, b"yes".to_vec(), Some("gold")));
        let request = requests.recv().await.unwrap();
        assert!(
            request.starts_with("POST /v1/check?a=1 HTTP/1.1\r\n") && request.ends_with("\r\n\r\nuser=anna."),
            "{request}"
        );
        let request = request.to_ascii_lowercase();
        assert!(
            request.contains("\r\nx-user: anna\r\n") && request.contains("\r\ncontent-length: 10\r\n"),
            "{request}"
        );
        assert!(request.contains("\r\nhost: 127.0.0.1:") && !request.contains("other.example"), "{request}");
        assert!(!request.contains("transfer-encoding"), "{request}");
        assert_eq!(ask(&all, fetch("GET", "/check")).await.unwrap().status, 200);
        assert!(requests.recv().await.unwrap().starts_with("GET /v1/check HTTP/1.1\r\n"));
        // What cannot be asked goes nowhere.
        for (path, words) in [
            ("/../admin", "leaves"),
            ("/a/%2E%2e/b", "leaves"),
            ("/a/..%2Fb", "leaves"),
            ("/a/.\\b", "leaves"),
            ("no/slash", "begin with /"),
            ("/a b", "printable"),
            ("/a\r\nX: y", "printable"),
        ] {
            let error = ask(&all, fetch("GET", path)).await.unwrap_err();
            assert!(error.contains(words), "{path}: {error}");
        }
        for path in ["/...", "/a..b/.hidden", "/x?up=../.."] {
            assert!(ask(&all, fetch("GET", path)).await.is_ok(), "{path}");
            requests.recv().await.unwrap();
        }
        let other = auth::Fetch { upstream: "others".to_owned(), ..fetch("GET", "/") };
        assert!(ask(&all, other).await.unwrap_err().contains("[hooks] upstreams"));
        assert!(requests.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_name_leads_to_public_addresses_and_to_what_the_operator_allows() {
        let (all, mut requests) = upstream(YES).await;
        let port = all["accounts"].url.port;
        // Names of this machine that every resolver knows.
        for (host, allow, goes) in [
            ("localhost", "", true),
            ("LOCALHOST", "", false),
            ("LOCALHOST", "10.0.0.0/8", false),
            ("LOCALHOST", "127.0.0.0/8", true),
        ] {
            let url = format!("http://{host}:{port}/v1/").parse().unwrap();
            let allow: Vec<Network> = allow.parse().into_iter().collect();
            let all = BTreeMap::from([("accounts".to_owned(), Upstream::new(url, &allow))]);
            let replied = ask(&all, fetch("GET", "/check")).await;
            match replied {
                Ok(reply) => assert!(goes && reply.status == 200, "{host}"),
                Err(error) => {
                    assert!(!goes && error.contains("private") && error.contains("upstreams_allow"), "{error}");
                }
            }
            assert_eq!(requests.try_recv().is_ok(), goes, "{host}");
        }
    }

    #[tokio::test]
    async fn an_upstream_that_hangs_or_answers_without_end_costs_no_more_than_its_time() {
        let (all, mut requests) = upstream(b"").await;
        let all = Arc::new(all);
        let quick = || auth::Fetch { timeout_ms: 200, ..fetch("GET", "/") };
        assert!(ask(&all, quick()).await.unwrap_err().contains("in time"));
        requests.recv().await.unwrap();
        // While two are asked, a third waits.
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let all = Arc::clone(&all);
                tokio::spawn(async move { ask(&all, auth::Fetch { timeout_ms: 2_000, ..fetch("GET", "/") }).await })
            })
            .collect();
        for _ in 0..2 {
            requests.recv().await.unwrap();
        }
        assert!(ask(&all, quick()).await.unwrap_err().contains("as many requests as it may"));
        assert!(requests.try_recv().is_err());
        for asked in waiting {
            assert!(asked.await.unwrap().is_err());
        }
        assert!(ask(&all, quick()).await.unwrap_err().contains("in time"), "there are places again");
        let long = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
            REPLY_BYTES_MAX + 1,
            "x".repeat(REPLY_BYTES_MAX + 1)
        );
        let (all, _requests) = upstream(long.leak().as_bytes()).await;
        let error = ask(&all, fetch("GET", "/")).await.unwrap_err();
        assert!(error.contains("longer than") || error.contains("65536"), "{error}");
    }
}
