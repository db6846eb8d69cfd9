//! How an authority is asked: by the HTTP client that webhooks and nodes have, with limits of time and size, and with what a refusal says of when to
//! come again. Before it: [`crate::order`], by way of instant-acme; after it: the network.
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use millstream_fleet::http::client::Connection;
use millstream_fleet::http::guard::Guard;
use millstream_fleet::http::tls::Authorities;
use millstream_fleet::http::url::Url;

use crate::error::OrderError;

/// Time for one request, beside that for its connection.
const REQUEST_WAIT: Duration = Duration::from_secs(30);
/// Bytes of an answer: a chain for a hundred names has some ten thousand.
const ANSWER_BYTES_MAX: usize = 512 << 10;

/// Asks authorities. A connection for each request: there are a dozen of them every two months.
#[derive(Clone, Debug)]
pub(crate) struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    authorities: Option<Authorities>,
    /// The wait that the last refusal has asked for.
    asked: Mutex<Option<Duration>>,
}

impl Client {
    /// `authorities`: who is trusted, if that is not the machine's to say.
    pub(crate) fn new(authorities: Option<Authorities>) -> Self {
        Self(Arc::new(Inner { authorities, asked: Mutex::default() }))
    }

    /// The wait that was asked for since this was asked last.
    pub(crate) fn take_asked(&self) -> Option<Duration> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn ask(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Full<Bytes>>, OrderError> {
        let unreachable = |error: String| OrderError::Unreachable(error);
        let (head, body) = request.into_parts();
        let url: Url =
            head.uri.to_string().parse().map_err(|_| unreachable("it names a URL that is none".to_owned()))?;
        if !url.secure && !url.is_loopback() {
            return Err(unreachable(format!("it names {url}, which is not TLS")));
        }
        let body = body.collect().await.map_or_else(|never| match never {}, http_body_util::Collected::to_bytes);
        let connection = match &self.0.authorities {
            Some(authorities) => Connection::open_trusting(&url, &Guard::Open, authorities).await,
            None => Connection::open(&url, &Guard::Open).await,
        };
        let mut connection = connection.map_err(|error| unreachable(error.to_string()))?;
        let is_get = head.method == Method::GET;
        let reply = connection.ask(head.method, &url, head.headers, body, REQUEST_WAIT, ANSWER_BYTES_MAX).await;
        let reply = reply.map_err(|error| unreachable(error.to_string()))?;
        if matches!(reply.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let asked = retry_after(&reply.headers, SystemTime::now());
            *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        }
        let Some(body) = reply.body else {
            return Err(unreachable(format!("{url} answers with more than {} KiB", ANSWER_BYTES_MAX >> 10)));
        };
        // A proxy's error page is no problem document, and the directory is to be one in any case.
        if !reply.status.is_success() && (is_get || serde_json::from_slice::<serde_json::Map<_, _>>(&body).is_err()) {
            let status = reply.status.as_u16();
            return Err(match reply.status {
                StatusCode::TOO_MANY_REQUESTS => OrderError::RateLimited(format!("{url} answers {status}")),
                _ => unreachable(format!("{url} answers {status}")),
            });
        }
        let mut response = Response::new(Full::new(body));
        (*response.status_mut(), *response.headers_mut()) = (reply.status, reply.headers);
        Ok(response)
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let answer = client.ask(request).await;
            answer.map(BytesResponse::from).map_err(|error| Error::Other(Box::new(error)))
        })
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let asked = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]), now);
        assert_eq!(asked("125"), Some(Duration::from_secs(125)));
        let later = now + Duration::from_secs(90);
        assert_eq!(asked(&httpdate::fmt_http_date(later)), Some(Duration::from_secs(90)));
        for none in ["", "soon", "-1", "1.5", "Fri, 31 Dec 1999 23:59:59 GMT"] {
            assert_eq!(asked(none), None, "{none}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
