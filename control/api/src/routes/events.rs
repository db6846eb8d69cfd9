//! `/api/v1/events`: what happens, as it happens (server-sent events, WHATWG HTML, section 9.2).
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout};
use utoipa::IntoParams;

use crate::Api;
use crate::auth::{Caller, Viewer, caller};
use crate::events::{Listening, Told};
use crate::http::extract::{InQuery, text_header};
use crate::http::problem::{Answer, Problem};

/// Listeners at the same time.
const LISTENERS_MAX: usize = 64;
/// After how long without an event a comment is sent, so that whatever is in between keeps the connection.
const QUIET: Duration = Duration::from_secs(15);
/// How often a listener's credentials are looked up again: those that are removed end its stream within this and [`QUIET`].
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// Where a browser that reconnects says what it has.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

static LISTENERS: AtomicUsize = AtomicUsize::new(0);

/// A listener's place, free again when it is dropped.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let taken =
            LISTENERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < LISTENERS_MAX).then_some(n + 1));
        // Lazily: a place that is made and dropped gives back what it did not take.
        taken.is_ok().then(|| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        LISTENERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Which events.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Of this stream only.
    #[param(max_length = 64)]
    stream: Option<String>,
}

/// Listen to events
///
/// `publish`, `unpublish`, `slate_started`, `slate_ended`, `refused` and `left_out` (so many events of a stream came too fast to be told), each with its data as JSON. A listener that reconnects with `Last-Event-ID` gets what it
/// missed, as far as it is remembered; where it is not, an event `lost` comes first.
#[utoipa::path(get, path = "/api/v1/events", tag = "live", params(
    Which,
    ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was received"),
), responses(
    (status = 200, description = "Events, without end", body = Told, content_type = "text/event-stream"),
))]
pub async fn events(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    InQuery(which): InQuery<Which>,
    headers: HeaderMap,
) -> Answer<Response> {
    let after = text_header(&headers, &LAST_EVENT_ID)?;
    let place = Place::take().ok_or_else(|| {
        let detail = format!("there are {LISTENERS_MAX} listeners, which is the most; close one");
        Problem::unavailable("too-many-listeners", detail, 10)
    })?;
    let listening = api.feed().listen(after.as_deref().filter(|after| !after.is_empty()), which.stream.as_deref());
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::new(StreamBody::new(stream((api, caller), which, listening, place)))).into_response())
}

struct Listener {
    api: Api,
    caller: Caller,
    /// When its credentials were found good last.
    checked: Instant,
    which: Which,
    listening: Listening,
    before: std::vec::IntoIter<Arc<Told>>,
    begun: bool,
    _place: Place,
}

fn stream(
    (api, caller): (Api, Caller),
    which: Which,
    mut listening: Listening,
    place: Place,
) -> impl futures_core::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let before = std::mem::take(&mut listening.before).into_iter();
    let checked = Instant::now();
    let listener = Listener { api, caller, checked, which, listening, before, begun: false, _place: place };
    futures_util::stream::unfold(listener, |mut listener| async move {
        let text = listener.next().await?;
        Some((Ok(Frame::data(Bytes::from(text))), listener))
    })
}

impl Listener {
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.begun, true) {
            // At once, so that whoever listens knows that it does.
            let missed = self.listening.missed.then(|| lost("they are no longer remembered"));
            return Some(missed.unwrap_or_else(|| ": listening\n\n".to_owned()));
        }
        loop {
            if let Some(told) = self.before.next() {
                if let Some(text) = self.show(&told) {
                    return Some(text);
                }
                continue;
            }
            if self.api.draining() || !self.may_go_on().await {
                return None;
            }
            match timeout(QUIET, self.listening.live.recv()).await {
                Ok(Ok(told)) => {
                    if let Some(text) = self.show(&told) {
                        return Some(text);
                    }
                }
                Ok(Err(RecvError::Lagged(events))) => return Some(lost(&format!("{events} came too fast"))),
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) => return Some(": still here\n\n".to_owned()),
            }
        }
    }

    /// Whether its token and login are still good; looked up now and then. A store that does not answer ends nobody's stream.
    async fn may_go_on(&mut self) -> bool {
        if self.checked.elapsed() < CHECK_EVERY {
            return true;
        }
        self.checked = Instant::now();
        caller::still_good(&self.api, &self.caller).await.unwrap_or(true)
    }

    fn show(&self, told: &Told) -> Option<String> {
        if self.which.stream.as_ref().is_some_and(|stream| *stream != told.event.stream) {
            return None;
        }
        // JSON has no line breaks of its own, so one data line holds it.
        let data = serde_json::to_string(told).ok()?;
        let id = self.api.feed().id(told.number);
        Some(format!("id: {id}\nevent: {}\ndata: {data}\n\n", told.event.what.kind()))
    }
}

fn lost(why: &str) -> String {
    format!("event: lost\ndata: {{\"reason\":\"events were missed: {why}\"}}\n\n")
}
