//! Upstreams that hooks may ask: the servers that `[hooks] upstreams` names. Before it: a hook's answer `ask`; after it: the hook is asked again with
//! what the upstream said.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use millstream_fleet::http::client::Connection;
use millstream_fleet::http::guard::Guard;
use millstream_fleet::http::url::Url;
use millstream_hook_steps::step::{Fetcher, Replied};
use millstream_hooks::wit::{auth, types};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Requests to one upstream at the same time.
const AT_ONCE_MAX: usize = 64;
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
    places: Semaphore,
}

/// Those of the configuration.
pub(crate) struct Upstreams {
    all: Arc<BTreeMap<String, Upstream>>,
    runtime: Handle,
}

impl Upstreams {
    /// They are asked on this runtime.
    pub(crate) fn new(urls: BTreeMap<String, Url>, runtime: Handle) -> Self {
        let upstream = |url| Upstream { url, places: Semaphore::new(AT_ONCE_MAX) };
        Self { all: Arc::new(urls.into_iter().map(|(name, url)| (name, upstream(url))).collect()), runtime }
    }
}

impl Fetcher for Upstreams {
    fn fetch(&self, fetch: auth::Fetch, replied: Replied) {
        let all = Arc::clone(&self.all);
        self.runtime.spawn(async move { replied(ask(&all, fetch).await) });
    }
}

async fn ask(all: &BTreeMap<String, Upstream>, fetch: auth::Fetch) -> Result<auth::Reply, String> {
    let auth::Fetch { upstream: name, method, path, headers, body, timeout_ms, .. } = fetch;
    let upstream = all.get(&name).ok_or_else(|| {
        "there is no upstream of this name; the operator adds it to [hooks] upstreams in the configuration".to_owned()
    })?;
    let _place = upstream.places.try_acquire().map_err(|_| "the upstream has as many requests as it may".to_owned())?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| "this is no method".to_owned())?;
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the path has to begin with / and to be printable ASCII".to_owned());
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
    // The operator has named the server: it may be a private one.
    let asked = async {
        let mut connection = Connection::open(&url, &Guard::Open).await.map_err(|error| error.to_string())?;
        let reply = connection.ask(method, &url, sent, Bytes::from(body), wait, REPLY_BYTES_MAX).await;
        reply.map_err(|error| error.to_string())
    };
    let reply = timeout(wait, asked).await.map_err(|_| "the upstream did not answer in time".to_owned())??;
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
