//! `millstream hook record`: decisions of a running server as events, one a line, to test hooks with. Before it: [`crate::cli`]; after it: the API.
use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::api_client::{Api, percent};
use crate::failure::Failure;
use crate::flags::ApiFlags;

#[derive(Debug, Args)]
pub(crate) struct RecordFlags {
    /// Where to write them, one a line [default: standard output]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The hook whose decisions are wanted
    #[arg(long, value_name = "NAME")]
    hook: String,
    /// Of this binding only
    #[arg(long, value_name = "ID")]
    binding: Option<String>,
    /// At most so many, the newest ones
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=2000))]
    limit: u32,
    #[command(flatten)]
    api: ApiFlags,
}

/// Takes them, and says how many there are.
pub(crate) fn run(flags: &RecordFlags) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::running)?;
    let (lines, count) = runtime.block_on(lines(flags)).map_err(Failure::Running)?;
    write(flags, &lines).map_err(Failure::Running)?;
    eprintln!(
        "{count} decisions; {}",
        if count == 0 { "nothing was decided, or nothing is recorded" } else { "secrets are redacted" }
    );
    Ok(())
}

async fn lines(flags: &RecordFlags) -> anyhow::Result<(String, usize)> {
    let mut api = Api::open(&flags.api).await?;
    let binding = flags.binding.as_ref().map(|id| format!("&binding={}", percent(id))).unwrap_or_default();
    let path = format!("/api/v1/hooks/{}/decisions?limit={}{binding}", percent(&flags.hook), flags.limit);
    let found = api.get(&path).await?;
    say_unanswered(&found);
    if let Some(left_out) = found["left_out"].as_u64().filter(|count| *count > 0) {
        eprintln!("warning: {left_out} older decisions have no room in one answer; ask for one binding");
    }
    let items = found["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lines = items.iter().fold(String::new(), |lines, item| lines + &item.to_string() + "\n");
    Ok((lines, items.len()))
}

/// Nodes that are not in it.
pub(crate) fn say_unanswered(found: &serde_json::Value) {
    for node in found["unanswered"].as_array().into_iter().flatten() {
        let of = |field: &str| node[field].as_str().unwrap_or("?").to_owned();
        eprintln!("warning: the node {} is not in it: {}", of("node"), of("reason"));
    }
}

fn write(flags: &RecordFlags, lines: &str) -> anyhow::Result<()> {
    let Some(file) = &flags.file else {
        return std::io::stdout().write_all(lines.as_bytes()).context("cannot print");
    };
    // Who watched what, from where, is not everybody's business.
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    let written = opened.and_then(|mut opened| {
        // It may have been there before.
        opened.set_permissions(Permissions::from_mode(0o600))?;
        opened.write_all(lines.as_bytes())
    });
    written.with_context(|| format!("cannot write {}", file.display()))
}
