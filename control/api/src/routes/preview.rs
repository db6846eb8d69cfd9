//! `/api/v1/streams/{id}/preview`: where who looks at a stream sees its picture without being one of its viewers.
use axum::extract::State;
use axum::response::Response;
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use millstream_proto::sign::grant::{GrantSession, PlayGrant};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Viewer;
use crate::http::extract::InPath;
use crate::http::fresh::fresh;
use crate::http::problem::{Answer, Problem};
use crate::model::token::random;
use crate::{Api, Here};

/// A token is good for this long, and so is what is played by it.
const GOOD_FOR_S: u64 = 600;
/// A grant is good for this long: recordings are looked at for longer than a preview, and a page of theirs has nothing to renew it with. Who may no longer
/// look at streams sees no more of them then.
const GRANT_GOOD_FOR_S: u64 = 3_600;

/// Where the picture is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Preview {
    /// By node, in the order of the stream's addresses.
    items: Vec<PreviewAt>,
    /// The addresses are good for so long, and end what is played by them, milliseconds; null: they are those of any viewer, because there is nothing to sign them with.
    expires_in_ms: Option<u64>,
}

/// Where the picture is at a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct PreviewAt {
    /// The node; empty: the fleet as a whole.
    node: String,
    /// HTTP-FLV, also by WebSocket.
    flv: String,
    /// What the stream's pages, recordings, and pictures and films of motion are below. Where there is something to make it with, a play grant is in the path: it is
    /// good for an hour, and who plays by it is a viewer as all others are.
    below: String,
}

/// Show a preview's addresses
///
/// HTTP-FLV with a token: nobody is asked whether it may be played, it is in no count of viewers, and the stream needs no output that is on. It ends when the
/// token does; ask again then. And where the stream's recordings and other files are, with a grant. The addresses hold secrets.
#[utoipa::path(get, path = "/api/v1/streams/{id}/preview", tag = "live", params(
    ("id" = String, Path, description = "The stream's id"),
), responses(
    (status = 200, description = "Where it is", body = Preview),
    (status = 404, description = "No stream can have this id", body = Problem),
))]
pub async fn preview(State(api): State<Api>, Viewer(_): Viewer, InPath(id): InPath<String>) -> Answer<Response> {
    let id = Id::new(&id).map_err(|_| Problem::not_found("no stream can have this id"))?;
    let expiry_unix_s = api.clock().now_ms() / 1_000 + GOOD_FOR_S;
    let token = api.previews().map(|key| key.make(&id, expiry_unix_s));
    let flv = |http_url: String| match &token {
        Some(token) => format!("{http_url}/{id}/live.flv?preview={}", token.expose()),
        None => format!("{http_url}/{id}/live.flv"),
    };
    let grant = grant(&api, &id)?;
    let places = api.places().into_iter().filter(|place| !place.http_url.is_empty());
    let items = places
        .map(|Here { node, http_url, .. }| PreviewAt {
            node,
            below: below(&http_url, &id, grant.as_ref()),
            flv: flv(http_url),
        })
        .collect();
    Ok(fresh(&Preview { items, expires_in_ms: token.as_ref().map(|_| GOOD_FOR_S * 1_000) }))
}

/// A play grant for who may look at the stream; `None` where there is nothing to make it with.
pub(super) fn grant(api: &Api, id: &Id) -> Answer<Option<Secret>> {
    let Some(keys) = api.grants() else { return Ok(None) };
    let expiry_unix_s = api.clock().now_ms() / 1_000 + GRANT_GOOD_FOR_S;
    Ok(Some(keys.make(id, PlayGrant { expiry_unix_s, session: GrantSession::new(random()?) })))
}

/// What the stream's files are below, at the node that this is the address of.
pub(super) fn below(http_url: &str, id: &Id, grant: Option<&Secret>) -> String {
    match grant {
        Some(grant) => format!("{http_url}/g/{}/{id}/", grant.expose()),
        None => format!("{http_url}/{id}/"),
    }
}
