//! `/api/v1/streams/{id}/addresses`: where a stream is pushed to and played, by node: as operators say that their nodes are reached, never by
//! the name that the caller of the API happened to use.
use axum::extract::State;
use axum::response::Response;
use millstream_fleet::NodeView;
use millstream_proto::id::Id;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Viewer;
use crate::http::extract::InPath;
use crate::http::fresh::fresh;
use crate::http::page::Page;
use crate::http::problem::{Answer, Problem};
use crate::{Api, Here};

/// A stream's addresses at a node. An output that the stream does not have is null.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Addresses {
    /// The node; empty: the fleet as a whole, as control's configuration says that it is reached.
    node: String,
    /// Where encoders push, without a signature (see the stream's key), and RTMP players play.
    rtmp: Option<String>,
    /// The page that plays it.
    page: Option<String>,
    /// HTTP-FLV.
    flv: Option<String>,
    /// HLS.
    hls: Option<String>,
    /// DASH.
    dash: Option<String>,
}

impl Api {
    /// Where streams are carried: as this process says (itself, where it carries any, or the fleet as a whole), then the nodes that are heard:
    /// those that are about to end last, and before them those that have come last, so that nobody who has the nodes' token comes first by a
    /// name that is made up.
    pub(crate) fn places(&self) -> Vec<Here> {
        let here = self.here().cloned();
        let name = here.as_ref().map(|here| here.node.clone());
        let is_other = |view: &NodeView| !view.away && Some(&view.id.name) != name.as_ref();
        let mut nodes: Vec<NodeView> = self.fleet().nodes().into_iter().filter(is_other).collect();
        // Stable: by name where those are the same.
        nodes.sort_by_key(|view| (view.status.draining, view.seniority));
        let nodes = nodes.into_iter().map(|view| Here {
            node: view.id.name,
            rtmp_url: view.status.rtmp_url,
            http_url: view.status.http_url,
            rtmps_url: view.status.rtmps_url,
        });
        here.into_iter().chain(nodes).collect()
    }
}

/// Where a node, or the fleet as a whole, is reached.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Place {
    /// The node; empty: the fleet as a whole, as control's configuration says that it is reached.
    node: String,
    /// What push URLs begin with; null where nothing says it.
    rtmp_url: Option<String>,
    /// What those with TLS begin with.
    rtmps_url: Option<String>,
    /// What play URLs begin with.
    http_url: Option<String>,
}

/// List where streams are pushed and played
///
/// What all addresses of streams begin with, in the order in which they are given: control's own `public_url`s where its configuration has them, which
/// stand for the fleet as a whole, then nodes by theirs, or else by where they listen. They are changed in the configuration.
#[utoipa::path(get, path = "/api/v1/addresses", tag = "live", responses(
    (status = 200, description = "All of them", body = Page<Place>),
))]
pub async fn places(State(api): State<Api>, Viewer(_): Viewer) -> Response {
    let said = |url: String| Some(url).filter(|url| !url.is_empty());
    let items = api.places().into_iter().map(|Here { node, rtmp_url, http_url, rtmps_url }| Place {
        node,
        rtmp_url: said(rtmp_url),
        rtmps_url: said(rtmps_url),
        http_url: said(http_url),
    });
    fresh(&Page { items: items.collect(), next: None })
}

/// Show a stream's addresses
///
/// At each node, in the order of `push_urls` of the stream's key. Nodes say where they are reached: as `rtmp.public_url` and `http.public_url` of
/// their configuration say, or else where they listen. Where control's own configuration has them, it is one address for all, and comes first.
#[utoipa::path(get, path = "/api/v1/streams/{id}/addresses", tag = "streams", params(
    ("id" = String, Path, description = "The stream's id"),
), responses(
    (status = 200, description = "All of them", body = Page<Addresses>),
    (status = 404, description = "There is no such stream", body = Problem),
))]
pub async fn addresses(State(api): State<Api>, Viewer(_): Viewer, InPath(id): InPath<String>) -> Answer<Response> {
    let found = api.stream(&id).await?;
    let app = api.push_app().map_or("", Id::as_str);
    let settings = &found.record.settings;
    let items = api.places().into_iter().map(|place| {
        let server = place.push_server(settings);
        let rtmp = (!server.is_empty()).then(|| format!("{server}/{app}/{id}"));
        let Here { node, http_url, .. } = place;
        let http = |there: bool, file: &str| (there && !http_url.is_empty()).then(|| format!("{http_url}/{id}/{file}"));
        let (flv, hls, dash) = (settings.on("isFlv"), settings.on("isHls"), settings.on("isCMAF"));
        Addresses {
            node,
            rtmp,
            page: http(flv || hls || dash, "index.html"),
            flv: http(flv, "live.flv"),
            hls: http(hls, "live.m3u8"),
            dash: http(dash, "manifest.mpd"),
        }
    });
    Ok(fresh(&Page { items: items.collect(), next: None }))
}
