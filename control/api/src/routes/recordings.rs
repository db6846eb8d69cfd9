//! What was recorded, and how far it is. Before it: [`crate::events`], which keeps what nodes tell; the recordings themselves are at the nodes' HTTP
//! port, or where their store is.
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use millstream_proto::id::Id;
use millstream_store::item::{Order, Query};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::auth::{Operator, Viewer};
use crate::http::extract::{InPath, InQuery};
use crate::http::fresh::fresh;
use crate::http::page::{Filled, Page, Paging};
use crate::http::problem::{Answer, Problem};
use crate::model::RECORDING;
use crate::model::recording::{Recording, RecordingState};
use crate::routes::preview;
use crate::{Api, Here};

/// A node that is away is asked for again after this.
const AWAY_RETRY_S: u32 = 10;

/// Which recordings.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Those of this stream; left out: all, in the order of the streams' ids.
    #[param(max_length = 64)]
    stream: Option<String>,
    /// Those that began at this moment or later, Unix milliseconds.
    from: Option<u64>,
    /// Those that began before this moment, Unix milliseconds.
    to: Option<u64>,
    /// Those that are so far.
    #[param(inline)]
    state: Option<RecordingState>,
}

impl Wanted {
    fn wants(&self, recording: &Recording) -> bool {
        self.from.is_none_or(|from| recording.started_unix_ms >= from)
            && self.to.is_none_or(|to| recording.started_unix_ms < to)
            && self.state.is_none_or(|state| recording.state == state)
    }
}

/// Recordings
///
/// The newest of a stream first. A page may have fewer items than asked for where others are left out by `from`, `to` or `state`: its `next` goes on.
#[utoipa::path(get, path = "/api/v1/recordings", tag = "recordings", params(Wanted, Paging), responses(
    (status = 200, description = "Some recordings", body = Page<Recording>),
))]
pub async fn list(
    State(api): State<Api>,
    Viewer(_): Viewer,
    InQuery(wanted): InQuery<Wanted>,
    InQuery(paging): InQuery<Paging>,
) -> Answer<Response> {
    let prefix = match &wanted.stream {
        Some(stream) => {
            crate::streams::valid_id(stream)?;
            format!("{stream}/")
        }
        None => String::new(),
    };
    let (after, limit) = (paging.after()?, paging.limit()?);
    let query = Query { kind: RECORDING, prefix, after, order: Order::Descending, limit };
    let (page, _turn) = api.page(query).await?;
    let items = api.unreadable().read_all::<Recording>(RECORDING, &page.items);
    let items = items.filter(|(_, kept)| wanted.wants(&kept.value));
    // A recording by itself says its files.
    let items = items.map(|(key, kept)| (key.to_owned(), Recording { files: Vec::new(), ..kept.value }));
    Ok(fresh(&Filled::fill(items, page.next.as_deref())))
}

/// A recording
#[utoipa::path(get, path = "/api/v1/recordings/{recording}", tag = "recordings", params(
    ("recording" = String, Path, description = "The recording's name"),
), responses(
    (status = 200, description = "The recording", body = Recording),
    (status = 404, description = "No node has told of a recording of this name"),
))]
pub async fn read(State(api): State<Api>, Viewer(_): Viewer, InPath(name): InPath<String>) -> Answer<Response> {
    Ok(fresh(&api.recording(&name).await?.value))
}

/// Show a recording's small pictures
///
/// Leads to the node that has them: WebVTT whose cues name parts of JPEG files beside it. With a play grant, where there is something to make it with: it is good for
/// an hour. A worker makes them once all of the recording is stored.
#[utoipa::path(get, path = "/api/v1/recordings/{recording}/thumbnails.vtt", tag = "recordings", params(
    ("recording" = String, Path, description = "The recording's name"),
), responses(
    (status = 307, description = "They are there. The address holds a secret"),
    (status = 404, description = "There is no such recording, or it has none, or not yet", body = Problem),
    (status = 503, description = "The node that has them is not heard, or nothing says where it is reached", body = Problem),
))]
pub async fn thumbnails(State(api): State<Api>, Viewer(_): Viewer, InPath(name): InPath<String>) -> Answer<Response> {
    let recording = api.recording(&name).await?.value;
    if recording.thumbnails.is_empty() {
        return Err(Problem::not_found(
            "the recording has no small pictures, or not yet: a worker of the node makes them once all of it is stored, of what it decodes",
        ));
    }
    let id = Id::new(&recording.stream).map_err(|_| Problem::not_found("no stream can have this id"))?;
    let Some(Here { http_url, .. }) = api.place_of(&recording) else {
        let why = format!("the node {} has them: it is not heard, or does not say where it is reached", recording.node);
        return Err(Problem::unavailable("node-away", why, AWAY_RETRY_S));
    };
    let grant = preview::grant(&api, &id)?;
    let to = format!("{}rec/{name}/thumbnails.vtt", preview::below(&http_url, &id, grant.as_ref()));
    let to = HeaderValue::try_from(to)
        .map_err(|_| Problem::unavailable("node-away", "the node's address is none".to_owned(), AWAY_RETRY_S))?;
    let headers = [(header::LOCATION, to), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response())
}

impl Api {
    /// Where a recording can be had: at the node that recorded it, at one that keeps recordings in the same bucket, or at the address of the fleet as a whole,
    /// where one of those is behind it.
    fn place_of(&self, recording: &Recording) -> Option<Here> {
        let mut places = self.places();
        places.retain(|place| !place.http_url.is_empty());
        if let Some(own) = places.iter().find(|place| place.node == recording.node) {
            return Some(own.clone());
        }
        let is_in_bucket = recording.store.starts_with("s3:");
        let mut nodes = self.fleet().nodes();
        nodes.retain(|view| {
            let has_it = is_in_bucket && view.status.record_store == recording.store;
            !view.away && (view.id.name == recording.node || has_it)
        });
        let has_it = |place: &&Here| nodes.iter().any(|view| view.id.name == place.node);
        let fleet = || places.iter().find(|place| place.node.is_empty() && !nodes.is_empty());
        places.iter().find(has_it).or_else(fleet).cloned()
    }
}

/// Remove a recording
///
/// With all that belongs to it. It is marked, and listed as `deleting` until its node has removed it from spool and store, whatever restarts meanwhile;
/// then the event `recording_deleted` is told, and it is in no list any more. Asking again changes nothing.
#[utoipa::path(delete, path = "/api/v1/recordings/{recording}", tag = "recordings", params(
    ("recording" = String, Path, description = "The recording's name"),
), responses(
    (status = 202, description = "It is being removed", body = Recording),
    (status = 404, description = "No node has told of a recording of this name"),
    (status = 409, description = "It runs"),
))]
pub async fn remove(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath(name): InPath<String>,
) -> Answer<(StatusCode, Response)> {
    let marked = api.delete_recording(&caller, &name).await?;
    Ok((StatusCode::ACCEPTED, fresh(&marked)))
}
