//! What a node does when it is ordered to, and what it answers.
use std::time::Duration;

use millstream_control_protocol::exchange::{Answer, Order};
use millstream_control_protocol::replay::Replay;
use millstream_engine::Remote;
use millstream_engine::admin::remote::Unanswered;
use millstream_proto::id::Id;
use tokio::time::timeout;

use super::beside::Beside;
use super::control::Control;
use super::modules;
use super::players::SharedPlayers;
use super::recordings::Records;
use super::runner::{LogPage, LogsOf, Runs};
use millstream_fleet::limits::HOOK_LINES_MAX;

/// Shards answer between two pieces of work. Shorter than the time that control waits.
const SHARDS_WAIT: Duration = Duration::from_millis(1500);

/// Does it, within a limit of time. What is asked of hooks' records is not the shards' business, and has limits of its own.
pub(super) async fn carry_out(
    engine: &Remote,
    (control, runs): (&Control, &Runs),
    (records, beside, players): (&Records, &Beside, &SharedPlayers),
    order: &Order,
) -> Answer {
    match order {
        Order::Replay { replay } => return replayed(control, runs, replay).await,
        Order::ShowRecorded { wanted } => return Answer::Recorded { decisions: runs.recorded(wanted).await },
        Order::LookAtRecording { recording } => return records.look(recording).await,
        Order::Quality { stream } => {
            let quality = Id::new(stream).map(|id| players.quality(&id)).unwrap_or_default();
            return Answer::Quality { quality };
        }
        _ => {}
    }
    match timeout(SHARDS_WAIT, answer(engine, runs, beside, order)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(unanswered)) => Answer::Failed { reason: unanswered.to_string() },
        Err(_) => Answer::Failed { reason: "the shards did not answer in time".to_owned() },
    }
}

async fn answer(engine: &Remote, runs: &Runs, beside: &Beside, order: &Order) -> Result<Answer, Unanswered> {
    Ok(match order {
        Order::KickSession { session } => Answer::Kicked { sessions: u64::from(engine.kick_session(*session).await?) },
        Order::KickStream { stream, whom } => match Id::new(stream) {
            Ok(id) => Answer::Kicked { sessions: engine.kick_stream(&id, *whom).await? },
            // What cannot be a stream is not on air.
            Err(_) => Answer::Kicked { sessions: 0 },
        },
        Order::Look { stream } => match Id::new(stream) {
            Ok(id) => {
                let mut live = engine.look(&id).await?.map(Box::new);
                if let Some(live) = &mut live {
                    beside.add_to(live);
                }
                Answer::Live { live }
            }
            Err(_) => Answer::Live { live: None },
        },
        Order::Viewers { stream, after, limit } => match Id::new(stream) {
            Ok(id) => Answer::Viewers { page: engine.viewers(&id, *after, *limit as usize).await? },
            Err(_) => Answer::Viewers { page: millstream_control_protocol::live::ViewerPage::default() },
        },
        Order::HookLogs { hook, from, version, level, limit } => {
            let limit = (*limit).min(HOOK_LINES_MAX) as usize;
            let LogPage { lines, next, dropped } =
                runs.logs(&LogsOf { hook, from: *from, version: *version, level, limit });
            Answer::HookLogs { lines, next, dropped }
        }
        Order::HookNumbers { hook } => Answer::HookNumbers { versions: runs.numbers(hook) },
        Order::Unknown
        | Order::Replay { .. }
        | Order::ShowRecorded { .. }
        | Order::LookAtRecording { .. }
        | Order::Quality { .. } => Answer::NotUnderstood,
    })
}

async fn replayed(control: &Control, runs: &Runs, replay: &Replay) -> Answer {
    let get = async {
        // It may never be bound: it is not kept in the directory.
        let got = modules::get(control, None, &replay.candidate.sha256, "").await;
        got.map_err(|error| format!("the candidate's module cannot be had: {error}"))
    };
    match runs.replay(replay, get).await {
        Ok(replayed) => Answer::Replayed { replayed: Box::new(replayed) },
        Err(reason) => Answer::Failed { reason },
    }
}
