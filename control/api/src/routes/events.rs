//! `/api/v1/events`: what happens, as it happens (server-sent events, WHATWG HTML, section 9.2).
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use crate::model::token::Role;

/// Listeners at the same time.
const LISTENERS_MAX: usize = 64;
/// Of these, for admins only.
const LISTENERS_OF_ADMINS: usize = 8;
/// Of one token: a console has one a tab.
const LISTENERS_PER_TOKEN_MAX: usize = 16;
/// After how long without an event a comment is sent, so that whatever is in between keeps the connection.
const QUIET: Duration = Duration::from_secs(15);
/// How often a listener's credentials are looked up again: those that are removed end its stream within this and [`QUIET`].
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// Where a browser that reconnects says what it has.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

static LISTENERS: Mutex<Listeners> = Mutex::new(Listeners { all: 0, of_token: BTreeMap::new() });

#[derive(Debug)]
struct Listeners {
    all: usize,
    /// Of each token that has some: no more than [`LISTENERS_MAX`].
    of_token: BTreeMap<String, usize>,
}

fn listeners() -> MutexGuard<'static, Listeners> {
    // Counts are whole between any two steps.
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A listener's place, free again when it is dropped.
struct Place {
    token_id: String,
}

impl Place {
    fn take(caller: &Caller) -> Answer<Self> {
        let mut listeners = listeners();
        let own = listeners.of_token.get(&caller.token_id).copied().unwrap_or(0);
        let most = if caller.role == Role::Admin { LISTENERS_MAX } else { LISTENERS_MAX - LISTENERS_OF_ADMINS };
        let full = if own >= LISTENERS_PER_TOKEN_MAX {
            Some(format!("this token has {own} listeners, which is the most of one token; close one"))
        } else if listeners.all >= most {
            Some(format!("there are {} listeners, which is the most; close one", listeners.all))
        } else {
            None
        };
        if let Some(detail) = full {
            return Err(Problem::unavailable("too-many-listeners", detail, 10));
        }
        listeners.all += 1;
        *listeners.of_token.entry(caller.token_id.clone()).or_default() += 1;
        Ok(Self { token_id: caller.token_id.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut listeners = listeners();
        listeners.all -= 1;
        if let Some(own) = listeners.of_token.get_mut(&self.token_id) {
            *own -= 1;
            if *own == 0 {
                listeners.of_token.remove(&self.token_id);
            }
        }
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
/// missed, as far as it is remembered; where it is not, an event `lost` comes first. A token has at most 16 listeners at the same time, and
/// some of all places are for admins only.
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
    let place = Place::take(&caller)?;
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
