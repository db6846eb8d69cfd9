//! `/api/v1/streams/{id}/diagnosis`: what is wrong with a stream, in sentences with what to do; and the marks of it that lists have. Nodes judge, here it
//! is put into words.
use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use millstream_control_protocol::diagnosis::Condition;
use millstream_diagnosis::{Kind, Said, Severity, said};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::auth::Viewer;
use crate::http::extract::InPath;
use crate::http::fresh::fresh;
use crate::http::problem::{Answer, Problem};

/// What is wrong with a stream.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct StreamDiagnosis {
    /// The stream's id.
    id: String,
    /// Somebody publishes it.
    on_air: bool,
    /// Conditions that nodes have recognised, the gravest first; none where nothing is wrong.
    conditions: Vec<Recognised>,
}

/// A condition that a node has recognised.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct Recognised {
    /// Which: `gop_too_long`, `timestamps_jump`, `uplink_starves`, `b_frames`, `audio`, `bitrate_above_viewers`, `encoder_reconnects`,
    /// `publisher_replaced`, `hook`, `recording_paused`, `worker_sheds` or `viewers_lag`: an open set.
    id: String,
    /// Which form of it, where there are several: of `audio` `missing`, `stopped`, `ahead` or `behind`; of `hook` `fails`, `not_ready`,
    /// `late`, `overloaded`, `denies_publish` or `denies_play`; of `viewers_lag` `skips`, or none. Else empty. An open set.
    form: String,
    /// `notice`, `warning` or `error`.
    severity: String,
    /// The node.
    node: String,
    /// Since when, Unix milliseconds by the node's clock.
    since_unix_ms: u64,
    /// What is so, in English.
    sentence: String,
    /// What to do, in English.
    advice: String,
    /// What it is about, where that has a name: a hook, an address, a recording, renditions. Else empty.
    about: String,
    /// The reason that was given; of `publisher_replaced` the address of the one before. Else empty.
    why: String,
    /// What it was judged by, by name; each name ends with its unit.
    figures: BTreeMap<String, f64>,
}

/// A condition in a list: `/api/v1/streams/{id}/diagnosis` says more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Mark {
    /// Which.
    id: String,
    /// Which form of it, where there are several.
    form: String,
    /// `notice`, `warning` or `error`.
    severity: String,
    /// Since when, Unix milliseconds by the node's clock.
    since_unix_ms: u64,
}

fn severity(condition: &Condition) -> Severity {
    Kind::of(&condition.kind).map_or(Severity::Warning, |kind| kind.severity(&condition.form))
}

/// The marks of conditions, the gravest first.
pub(crate) fn marks(mut conditions: Vec<Condition>) -> Vec<Mark> {
    // Stable: within a severity in the node's order.
    conditions.sort_by_key(|condition| std::cmp::Reverse(severity(condition)));
    let mark = |condition: Condition| Mark {
        severity: severity(&condition).word().to_owned(),
        id: condition.kind,
        form: condition.form,
        since_unix_ms: condition.since_unix_ms,
    };
    conditions.into_iter().map(mark).collect()
}

fn recognised(node: &str, condition: Condition) -> Recognised {
    let Said { severity, sentence, advice } = said(&condition);
    let Condition { kind, form, since_unix_ms, about, why, figures } = condition;
    let (node, severity) = (node.to_owned(), severity.word().to_owned());
    Recognised { id: kind, form, severity, node, since_unix_ms, sentence, advice, about, why, figures }
}

/// Say what is wrong with a stream
///
/// Twelve conditions are recognised by its nodes within some seconds of their cause, and told with what to do: long GOPs, stamps that jump, an uplink that
/// starves, B-frames with low-latency play, audio that is missing or apart, a bitrate above what viewers receive, an encoder that reconnects, a publisher that
/// was replaced, a hook that turns people away or fails, a recording that is paused, a worker that is too slow for renditions, viewers that lag. Also of a
/// stream that nobody publishes, where a hook turns its publisher away.
#[utoipa::path(get, path = "/api/v1/streams/{id}/diagnosis", tag = "live", params(
    ("id" = String, Path, description = "The stream's id"),
), responses(
    (status = 200, description = "What is wrong with it, or nothing", body = StreamDiagnosis),
    (status = 404, description = "There is no such stream, and none of that name is on air", body = Problem),
))]
pub async fn diagnosis(State(api): State<Api>, Viewer(_): Viewer, InPath(id): InPath<String>) -> Answer<Response> {
    crate::streams::valid_id(&id)?;
    let told = api.fleet().conditions(&id);
    if told.is_empty() {
        api.must_know(&id).await?;
    }
    let on_air = api.fleet().last_told(&id).iter().any(|(_, live)| live.publisher.is_some());
    let mut all: Vec<(&str, Condition)> = told
        .iter()
        .flat_map(|(node, conditions)| conditions.iter().map(move |condition| (node.as_str(), condition.clone())))
        .collect();
    all.sort_by_key(|(_, condition)| std::cmp::Reverse(severity(condition)));
    let conditions = all.into_iter().map(|(node, condition)| recognised(node, condition)).collect();
    Ok(fresh(&StreamDiagnosis { id, on_air, conditions }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// English sentences are this API's; the console has them in Chinese, each condition in each of its forms, with the figures that ours has.
    #[test]
    fn the_console_says_every_condition_in_chinese() {
        const SENTENCES: &str = include_str!("../../../console/web/text/zh_sentences.js");
        let forms = |kind: Kind| match kind {
            Kind::Audio => vec!["missing", "stopped", "ahead", "behind"],
            Kind::Hook => vec!["fails", "not_ready", "late", "overloaded", "denies_publish", "denies_play"],
            Kind::ViewersLag => vec!["", "skips"],
            _ => vec![""],
        };
        for kind in Kind::ALL {
            for form in forms(kind) {
                let key = if form.is_empty() { kind.word().to_owned() } else { format!("{}_{form}", kind.word()) };
                for part in ["diagnosis", "advice"] {
                    assert!(SENTENCES.contains(&format!("\n  {part}_{key}: '")), "{part}_{key}");
                }
                // A figure that the sentence names is one that the node tells: our own sentence shows it, too.
                let line = SENTENCES.lines().find(|line| line.starts_with(&format!("  diagnosis_{key}: "))).unwrap();
                let named = line.split('{').skip(1).filter_map(|rest| rest.split('}').next());
                let figures = named.filter(|name| !["about", "why", "before"].contains(name));
                let all: Vec<(String, f64)> =
                    figures.zip(1_234..).map(|(name, n)| (name.to_owned(), f64::from(n))).collect();
                let condition = Condition {
                    kind: kind.word().to_owned(),
                    form: form.to_owned(),
                    figures: all.iter().cloned().collect(),
                    ..Condition::default()
                };
                let sentence = said(&condition).sentence;
                for (name, figure) in all {
                    assert!(sentence.contains(&figure.to_string()), "{name} of {key} is not in: {sentence}");
                }
            }
        }
    }
}
