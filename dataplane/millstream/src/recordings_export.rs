//! `millstream recordings export`: a recording as an MP4 file on this machine, made from the store that the configuration names. Before it:
//! [`crate::recordings_command`]; after it: `recorder::movie`.
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use millstream_proto::id::Id;
use millstream_recorder::movie::export::{Span, export};
use millstream_recorder::name::RecordingName;

use crate::api_client::{self, Api, percent};
use crate::flags::ApiFlags;
use crate::recordings::{self, Storing};

/// What is exported, and where to.
#[derive(Debug, Args)]
pub(crate) struct ExportFlags {
    /// The recording's name, as in the list
    #[arg(value_name = "RECORDING")]
    recording: String,
    /// The file to write; it must not be there
    #[arg(long, value_name = "FILE.mp4")]
    out: PathBuf,
    /// From here on, from the recording's beginning: SECONDS, MM:SS or HH:MM:SS, with a fraction if wanted [default: its beginning]
    #[arg(long, value_name = "TIME", value_parser = moment_ms)]
    from: Option<u64>,
    /// Up to here [default: its end]
    #[arg(long, value_name = "TIME", value_parser = moment_ms)]
    to: Option<u64>,
    /// The stream that it is of, where no server is asked
    #[arg(long, value_name = "ID", value_parser = Id::new)]
    stream: Option<Id>,
    #[command(flatten)]
    api: ApiFlags,
}

/// Makes the file; gives what there is to say of it.
pub(crate) async fn run(flags: ExportFlags) -> anyhow::Result<String> {
    let ExportFlags { recording, out, from, to, stream, api } = flags;
    let name = RecordingName::parse(&recording).with_context(|| {
        format!("{recording:?} is no name of a recording: START-SESSION, as `millstream recordings ls` shows it")
    })?;
    let (data_dir, settings) = api_client::server_of(&api)?;
    let place = recordings::place(&data_dir, &settings.record.store);
    let stream = if let Some(stream) = stream {
        stream
    } else {
        let item = Api::open(&api).await.context("of which stream is it? Ask a server, or give --stream")?;
        kept_here(item, &recording, &place).await?
    };
    if out.try_exists().with_context(|| format!("cannot look for {}", out.display()))? {
        bail!("{} is there already; give another name", out.display());
    }
    let store = recordings::open(&data_dir, &settings.record.store).await?;
    let span = Span { from_ms: from.unwrap_or(0), to_ms: to, is_growing: false };
    let made = export(&Storing(Arc::clone(&store)), &stream, &name, span, &out, &|_| Ok(()))
        .await
        .with_context(|| format!("{recording} in {place}"))?;
    let length = humantime::format_duration(Duration::from_millis(made.duration_ms));
    let mut told = format!("{}: {length}, {} bytes\n", out.display(), made.bytes);
    if made.left_out > 0 {
        let left_out = made.left_out;
        // Writing to a string cannot fail.
        let _ = writeln!(told, "warning: {left_out} segments are missing from the store or damaged, and were left out");
    }
    if made.ends_early {
        told += "warning: it ends where the codec or the resolution changes; export the rest with --from\n";
    }
    Ok(told)
}

/// The recording's stream, where the store that is read is the one that has it.
async fn kept_here(mut api: Api, recording: &str, place: &str) -> anyhow::Result<Id> {
    let item = api.get(&format!("/api/v1/recordings/{}", percent(recording))).await?;
    let (kept, node) = (item["store"].as_str().unwrap_or_default(), item["node"].as_str().unwrap_or_default());
    if !kept.is_empty() && kept != place {
        bail!(
            "node {node} keeps it at {kept}, and this configuration says {place}: run this there, or with that node's --config and --data-dir"
        );
    }
    let stream = item["stream"].as_str().unwrap_or_default();
    Id::new(stream).with_context(|| format!("the server says that it is of stream {stream:?}"))
}

/// `90`, `1:30`, `0:01:30.5`: milliseconds.
fn moment_ms(text: &str) -> Result<u64, String> {
    let advice = || format!("{text:?} is no time: give SECONDS, MM:SS or HH:MM:SS, as 90, 1:30 or 1:02:03.5");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.len() > 3 || !is_plain(fraction) || text.ends_with('.') {
        return Err(advice());
    }
    let parts: Vec<&str> = whole.split(':').collect();
    let is_time = (1..=3).contains(&parts.len())
        && parts.iter().all(|part| (1..=6).contains(&part.len()) && is_plain(part))
        // Of several, minutes and seconds are within their hour and minute.
        && parts.iter().skip(1).all(|part| part.parse::<u64>().is_ok_and(|number| number < 60));
    if !is_time {
        return Err(advice());
    }
    let seconds = parts.iter().filter_map(|part| part.parse::<u64>().ok()).fold(0, |sum, part| sum * 60 + part);
    let ms: u64 = format!("{fraction:0<3}").parse().map_err(|_| advice())?;
    Ok(seconds * 1_000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_minutes_and_hours() {
        for (text, ms) in [("0", 0), ("90", 90_000), ("1:30", 90_000), ("1:02:03.5", 3_723_500), ("0.25", 250)] {
            assert_eq!(moment_ms(text), Ok(ms), "{text}");
        }
        for text in ["", ":", "1:", "1:60", "1:2:3:4", "-1", "1.", "1.2345", "a", "1:a", "1 0", "9999999"] {
            assert!(moment_ms(text).is_err(), "{text}");
        }
    }
}
