//! `millstream recordings ...`: recordings of a running server, by its API, for people. Before it: [`crate::cli`]; after it: the control port.
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use millstream_proto::id::Id;
use millstream_proto::time::rfc3339;
use serde_json::{Value, json};

use crate::api_client::{Api, percent};
use crate::failure::Failure;
use crate::flags::ApiFlags;
use crate::recordings_export::{self, ExportFlags};

/// Recordings that are asked for at once.
const PAGE: usize = 500;

/// What `millstream recordings` does.
#[derive(Debug, Subcommand)]
pub(crate) enum RecordingsCommand {
    /// List recordings, those of a stream newest first
    #[command(visible_alias = "list")]
    Ls {
        /// Only those of this stream
        #[arg(long, value_name = "ID", value_parser = Id::new)]
        stream: Option<Id>,
        /// Only those that are so far: recording, paused, stored, failed or deleting
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        #[command(flatten)]
        api: ApiFlags,
    },
    /// Show a recording as JSON
    Show {
        /// The recording's name, as in the list
        #[arg(value_name = "RECORDING")]
        recording: String,
        #[command(flatten)]
        api: ApiFlags,
    },
    /// Record a stream that is on air, whatever its settings say, until its session is over
    Start {
        /// The stream
        #[arg(value_name = "ID", value_parser = Id::new)]
        id: Id,
        #[command(flatten)]
        api: ApiFlags,
    },
    /// End the recording of a stream that is on air, for the rest of its session
    Stop {
        /// The stream
        #[arg(value_name = "ID", value_parser = Id::new)]
        id: Id,
        #[command(flatten)]
        api: ApiFlags,
    },
    /// Remove recordings with all that belongs to them
    Rm {
        /// Their names, as in the list
        #[arg(value_name = "RECORDING", required = true)]
        recordings: Vec<String>,
        #[command(flatten)]
        api: ApiFlags,
    },
    /// Write a recording, or a part of it, as an MP4 file, from the store that the configuration names
    Export(Box<ExportFlags>),
}

/// Does it, and prints what a person wants to know of it.
pub(crate) fn run(command: RecordingsCommand) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::running)?;
    let text = runtime.block_on(ask(command)).map_err(Failure::Running)?;
    std::io::stdout().write_all(text.as_bytes()).context("cannot print").map_err(Failure::Running)
}

async fn ask(command: RecordingsCommand) -> anyhow::Result<String> {
    match command {
        RecordingsCommand::Ls { stream, state, api } => {
            let mut query = String::new();
            let given = [("stream", stream.as_ref().map(Id::as_str)), ("state", state.as_deref())];
            for (name, value) in given {
                // Writing to a String does not fail.
                let _ = value.map(|value| write!(query, "&{name}={}", percent(value)));
            }
            list(&mut Api::open(&api).await?, &query).await
        }
        RecordingsCommand::Show { recording, api } => {
            let shown = Api::open(&api).await?.get(&path_of(&recording)).await?;
            Ok(serde_json::to_string_pretty(&shown)? + "\n")
        }
        RecordingsCommand::Start { id, api } => {
            let begun = Api::open(&api).await?.post(&format!("/api/v1/streams/{id}/recording"), &json!({})).await?;
            let node = begun["node"].as_str().unwrap_or_default();
            Ok(format!("{id}: is recorded on node {node}, until its session is over\n"))
        }
        RecordingsCommand::Stop { id, api } => {
            Api::open(&api).await?.delete(&format!("/api/v1/streams/{id}/recording")).await?;
            Ok(format!("{id}: is not recorded any more; its next session goes by its settings again\n"))
        }
        RecordingsCommand::Rm { recordings, api } => {
            let mut api = Api::open(&api).await?;
            for recording in recordings {
                api.delete(&path_of(&recording)).await.with_context(|| recording.clone())?;
                // At once: of several, the last one may be refused.
                let told = format!("{recording}: is being removed\n");
                std::io::stdout().write_all(told.as_bytes()).context("cannot print")?;
            }
            Ok(String::new())
        }
        RecordingsCommand::Export(flags) => recordings_export::run(*flags).await,
    }
}

fn path_of(recording: &str) -> String {
    format!("/api/v1/recordings/{}", percent(recording))
}

async fn list(api: &mut Api, query: &str) -> anyhow::Result<String> {
    let mut rows = vec![["RECORDING", "STREAM", "STATE", "STARTED", "LENGTH", "SIZE", "NODE"].map(str::to_owned)];
    let mut next = Some(String::new());
    while let Some(cursor) = next {
        let page = api.get(&format!("/api/v1/recordings?limit={PAGE}{query}{cursor}")).await?;
        rows.extend(page["items"].as_array().into_iter().flatten().map(row));
        next = page["next"].as_str().map(|next| format!("&cursor={}", percent(next)));
    }
    let widths: [usize; 7] = std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    Ok(rows.iter().fold(String::new(), |mut out, row| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
        out
    }))
}

fn row(item: &Value) -> [String; 7] {
    let text = |field: &str| item[field].as_str().unwrap_or_default().to_owned();
    let number = |field: &str| item[field].as_u64();
    let started = number("started_unix_ms").map(|ms| format!("{}Z", &rfc3339(ms)[..19]));
    let length =
        number("duration_ms").map(|ms| humantime::format_duration(Duration::from_secs(ms / 1_000)).to_string());
    let dash = || "-".to_owned();
    [
        text("recording"),
        text("stream"),
        text("state"),
        started.unwrap_or_else(dash),
        length.unwrap_or_else(dash),
        number("bytes").map_or_else(dash, size),
        text("node"),
    ]
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let (mut whole, mut rest, mut unit) = (bytes, 0, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if whole < 1_000 {
            break;
        }
        (rest, whole, unit) = (whole % 1_000 / 100, whole / 1_000, next);
    }
    if unit == "B" { format!("{whole} B") } else { format!("{whole}.{rest} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_a_row_for_people() {
        let running = json!({ "recording": "17-a", "stream": "cam", "state": "recording", "node": "one",
            "started_unix_ms": 1_795_531_265_250_u64, "duration_ms": null, "bytes": null });
        assert_eq!(row(&running), ["17-a", "cam", "recording", "2026-11-24T14:41:05Z", "-", "-", "one"]);
        let stored = json!({ "state": "stored", "duration_ms": 3_725_400, "bytes": 1_234_567_890 });
        assert_eq!(row(&stored)[4..6], ["1h 2m 5s".to_owned(), "1.2 GB".to_owned()]);
        assert_eq!([0, 999, 1_000, 15_960].map(size), ["0 B", "999 B", "1.0 kB", "15.9 kB"]);
    }
}
