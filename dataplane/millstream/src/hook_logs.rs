//! Pages of a hook's log, for the API. Before it: the lines that a hook wrote on this node; after it: the agent's answer.
use millstream_agent::runner::{LogPage, LogsOf};
use millstream_control_protocol::exchange::HookLine;
use millstream_hooks::{Level, Line, Logs};

/// What of a log is wanted.
pub(crate) fn page(logs: &Logs, which: &LogsOf<'_>) -> LogPage {
    let all = logs.since(which.from.unwrap_or(0));
    let end = all.last().map_or(which.from.unwrap_or(0), |last| last.number + 1);
    let least = Level::of_word(which.level);
    let wanted = all
        .into_iter()
        .filter(|line| line.level >= least && which.version.is_none_or(|version| line.version == version.to_string()));
    let mut lines: Vec<Line> = wanted.collect();
    let next = if which.from.is_some() {
        let is_cut = lines.len() > which.limit;
        lines.truncate(which.limit);
        lines.last().filter(|_| is_cut).map_or(end, |last| last.number + 1)
    } else {
        // The newest ones.
        lines.drain(..lines.len().saturating_sub(which.limit));
        end
    };
    let told = |line: Line| HookLine {
        number: line.number,
        unix_ms: line.unix_ms,
        version: line.version.parse().unwrap_or(0),
        shadow: line.shadow,
        level: line.level.word().to_owned(),
        text: line.text,
    };
    LogPage { lines: lines.into_iter().map(told).collect(), next, dropped: logs.dropped() }
}
