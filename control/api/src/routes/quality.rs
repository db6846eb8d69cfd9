//! `/api/v1/streams/{id}/qoe`: how a stream plays, as players say it of themselves (CMCD), by protocol. Nodes add it up; here it becomes figures that people
//! read.
use axum::extract::State;
use axum::response::Response;
use millstream_control_protocol::quality::{MINUTES, Quality, Spread};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::auth::Viewer;
use crate::http::extract::InPath;
use crate::http::fresh::fresh;
use crate::http::problem::{Answer, Problem};
use crate::routes::live::{Missing, missing};

/// How a stream plays.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct StreamQuality {
    /// The stream's id.
    id: String,
    /// What is told is of the last so many minutes.
    minutes: u32,
    /// By protocol. A protocol whose players say nothing is not here.
    items: Vec<ProtocolQuality>,
    /// Nodes whose players are not in it, and why.
    missing: Vec<Missing>,
}

/// How a stream plays by one protocol.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct ProtocolQuality {
    /// `http-flv`, `hls`, `dash`: an open set.
    #[schema(example = "hls")]
    protocol: String,
    /// Sessions that were heard within the last half minute.
    sessions: u64,
    /// From the wish to play to the first picture, milliseconds: once a session.
    start_ms: Summary,
    /// How far the picture is behind, milliseconds: of each session every ten seconds. Players of CMCD version 1 do not say it.
    latency_ms: Summary,
    /// How what is played is encoded, kbit/s: of each session every ten seconds.
    bitrate_kbit_s: Summary,
    /// What players hold, milliseconds: of each session every ten seconds.
    buffer_ms: Summary,
    /// How often players have run dry.
    stalls: u64,
    /// How often in an hour of playing; null where nobody has played.
    stalls_per_hour: Option<f64>,
    /// For how long they have stood still because of that, milliseconds, of players that say it.
    stalled_ms: u64,
    /// For how long they have played, with that, milliseconds.
    played_ms: u64,
}

/// A figure of many sessions.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct Summary {
    /// How many values there are.
    count: u64,
    /// Their mean; null where there is none, as in the two that follow.
    mean: Option<f64>,
    /// Half of them are not more, worked out of the buckets.
    median: Option<f64>,
    /// 95 of a hundred are not more.
    p95: Option<f64>,
    /// How many are in which bucket.
    buckets: Vec<Bucket>,
}

/// A bucket of a histogram.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Bucket {
    /// The largest value in it; null in the last one, which has all that is more.
    up_to: Option<u64>,
    /// How many are in it.
    count: u64,
}

fn summary(spread: &Spread) -> Summary {
    let ends = spread.up_to.iter().copied().map(Some).chain([None]);
    Summary {
        count: spread.count(),
        mean: spread.mean().map(f64::round),
        median: spread.quantile(0.5),
        p95: spread.quantile(0.95),
        buckets: ends.zip(&spread.counts).map(|(up_to, count)| Bucket { up_to, count: *count }).collect(),
    }
}

fn shown(quality: Quality) -> ProtocolQuality {
    const HOUR_MS: f64 = 3_600_000.0;
    let played_ms = quality.played_ms;
    ProtocolQuality {
        start_ms: summary(&quality.start_ms),
        latency_ms: summary(&quality.latency_ms),
        bitrate_kbit_s: summary(&quality.bitrate_kbit_s),
        buffer_ms: summary(&quality.buffer_ms),
        stalls: quality.stalls,
        stalls_per_hour: (played_ms > 0)
            .then(|| (quality.stalls as f64 / (played_ms as f64 / HOUR_MS) * 10.0).round() / 10.0),
        stalled_ms: quality.stalled_ms,
        played_ms,
        protocol: quality.protocol,
        sessions: quality.sessions,
    }
}

/// Show how a stream plays
///
/// As players say it of themselves (CMCD, CTA-5004) to the nodes: start, delay, bitrate and how often and how long they stood still, by protocol, of the last
/// five minutes. Our own pages say it; other players where it is switched on. Behind a CDN nodes hear what the CDN passes on. No viewer is told of by itself.
#[utoipa::path(get, path = "/api/v1/streams/{id}/qoe", tag = "live", params(
    ("id" = String, Path, description = "The stream's id"),
), responses(
    (status = 200, description = "How it plays; no items where no player has said anything", body = StreamQuality),
    (status = 404, description = "There is no such stream, and none of that name is on air", body = Problem),
))]
pub async fn quality(State(api): State<Api>, Viewer(_): Viewer, InPath(id): InPath<String>) -> Answer<Response> {
    crate::streams::valid_id(&id)?;
    let (told, failed) = api.fleet().quality(&id).await;
    if told.is_empty() {
        api.must_know(&id).await?;
    }
    let items = told.into_iter().map(shown).collect();
    Ok(fresh(&StreamQuality { id, minutes: MINUTES, items, missing: missing(failed) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_are_told_by_the_hour() {
        let of = |played_ms| shown(Quality { stalls: 3, played_ms, ..Quality::default() }).stalls_per_hour;
        assert_eq!((of(0), of(1_800_000)), (None, Some(6.0)));
    }
}
