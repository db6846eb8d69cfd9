//! `/api/v1/streams/{id}/time-series`: how a stream was on air within the last hour, for charts.
use axum::extract::State;
use axum::response::Response;
use millstream_fleet::{Point, SERIES_EVERY};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::auth::Viewer;
use crate::http::extract::InPath;
use crate::http::fresh::fresh;
use crate::http::problem::{Answer, Problem};

/// How a stream was on air.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct StreamSeries {
    /// The stream's id.
    id: String,
    /// From one point to the next, milliseconds. A stream that was not on air has no point.
    every_ms: u64,
    /// The points of the last hour, the oldest first.
    items: Vec<SeriesPoint>,
}

/// A stream's figures at one moment, of all nodes.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, ToSchema)]
pub struct SeriesPoint {
    /// When, Unix milliseconds.
    at_unix_ms: u64,
    /// Media received per second, bits; 0 while nobody publishes.
    bitrate_bps: u64,
    /// Viewers of all protocols.
    viewers: u64,
    /// Frames per second that are received.
    fps: f32,
    /// How much the arrival of frames strays from their timestamps, milliseconds.
    jitter_ms: f32,
}

impl From<Point> for SeriesPoint {
    fn from(Point { at_unix_ms, bitrate_bps, viewers, fps, jitter_ms }: Point) -> Self {
        Self { at_unix_ms, bitrate_bps, viewers, fps, jitter_ms }
    }
}

impl Api {
    /// Takes in how all streams are now; to be called every [`SERIES_EVERY`].
    pub fn take_series(&self) {
        self.fleet().take_series(self.clock().now_ms());
    }
}

/// Show how a stream was on air
///
/// Bitrate, viewers, frames per second and jitter of the last hour, a point every ten seconds, of up to 2,000 streams. It is kept in memory and begins anew when the
/// control service does; for longer times let Prometheus read `/metrics`.
#[utoipa::path(get, path = "/api/v1/streams/{id}/time-series", tag = "live", params(
    ("id" = String, Path, description = "The stream's id"),
), responses(
    (status = 200, description = "Its points; none where it was not on air", body = StreamSeries),
    (status = 404, description = "There is no such stream, and none of that name was on air", body = Problem),
))]
pub async fn time_series(State(api): State<Api>, Viewer(_): Viewer, InPath(id): InPath<String>) -> Answer<Response> {
    crate::streams::valid_id(&id)?;
    let points = api.fleet().time_series(&id);
    if points.is_empty() {
        api.must_know(&id).await?;
    }
    let every_ms = SERIES_EVERY.as_millis() as u64;
    Ok(fresh(&StreamSeries { id, every_ms, items: points.into_iter().map(SeriesPoint::from).collect() }))
}
