//! `millstream hook replay`: asks a module what a hook has decided before. Before it: [`crate::cli`]; after it: the API, whose nodes have what they
//! recorded, or [`local`], for a file of events.
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api_client::{Api, percent};
use crate::failure::Failure;
use crate::flags::ApiFlags;
use crate::hook_flags::pair;
use crate::hook_record::say_unanswered;

mod local;

/// Bytes of a module.
const MODULE_BYTES_MAX: u64 = 20 << 20;

#[derive(Debug, Args)]
pub(crate) struct ReplayFlags {
    /// The module: a WebAssembly component
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The hook of the running server whose decisions are replayed
    #[arg(long, value_name = "NAME", required_unless_present = "events")]
    hook: Option<String>,
    /// What this binding has decided [default: what all bindings of the hook have that decide now]
    #[arg(long, value_name = "ID")]
    binding: Option<String>,
    /// A file of `millstream hook record` in the place of a running server
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hook", "binding"])]
    events: Option<PathBuf>,
    /// With --events: a value of the binding's configuration; may be given again
    #[arg(long, value_name = "NAME=VALUE", requires = "events", value_parser = pair)]
    config: Vec<(String, String)>,
    /// With --events: a secret, or @FILE with one; may be given again
    #[arg(long, value_name = "NAME=VALUE", requires = "events", value_parser = pair)]
    secret: Vec<(String, String)>,
    /// With --events: a public key, a file in PEM; may be given again
    #[arg(long, value_name = "NAME=FILE", requires = "events", value_parser = pair)]
    key: Vec<(String, String)>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiFlags,
}

/// Replays, and prints what came of it.
pub(crate) fn run(flags: &ReplayFlags) -> Result<(), Failure> {
    let module = read(&flags.file).map_err(Failure::Configuration)?;
    let replay = match (&flags.events, &flags.hook) {
        (Some(events), _) => {
            local::replay(&module, events, &flags.config, &flags.secret, &flags.key).map_err(Failure::Running)?
        }
        (None, Some(hook)) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let asked = of_server(hook, flags, module);
            runtime.map_err(Failure::running)?.block_on(asked).map_err(Failure::Running)?
        }
        (None, None) => {
            return Err(Failure::Configuration(anyhow!("say which hook's decisions are meant: --hook NAME")));
        }
    };
    let text = if flags.json { format!("{replay:#}\n") } else { told(&replay) };
    std::io::stdout().write_all(text.as_bytes()).context("cannot print").map_err(Failure::Running)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let advice = || format!("cannot read the module {}", file.display());
    let bytes = std::fs::metadata(file).with_context(advice)?.len();
    if bytes > MODULE_BYTES_MAX {
        bail!("{}: {bytes} bytes; a module has at most {MODULE_BYTES_MAX}", file.display());
    }
    std::fs::read(file).with_context(advice)
}

async fn of_server(hook: &str, flags: &ReplayFlags, module: Vec<u8>) -> anyhow::Result<Value> {
    let mut api = Api::open(&flags.api).await?;
    let binding = flags.binding.as_ref().map(|id| format!("?binding={}", percent(id))).unwrap_or_default();
    let replay = api.post_module(&format!("/api/v1/hooks/{}/replay{binding}", percent(hook)), module).await?;
    say_unanswered(&replay);
    Ok(replay)
}

/// For people.
fn told(replay: &Value) -> String {
    let count = |field: &str| replay[field].as_u64().unwrap_or(0);
    let mut text = format!(
        "{} decisions replayed, {} a second of a core: {} the same, {} different",
        count("decisions"),
        count("per_second"),
        count("same"),
        count("differing"),
    );
    for (field, words) in [
        ("failed", "the module failed"),
        ("not_comparable", "cannot be compared"),
        ("left_out", "were left out for want of time"),
    ] {
        if count(field) > 0 {
            // Writing to a String does not fail.
            let _ = write!(text, ", {} {words}", count(field));
        }
    }
    text.push('\n');
    let differences = replay["differences"].as_array().map(Vec::as_slice).unwrap_or_default();
    for difference in differences {
        let of = |field: &str| difference[field].as_str().unwrap_or_default();
        let at = difference["unix_ms"].as_i64().and_then(|ms| OffsetDateTime::from_unix_timestamp(ms / 1000).ok());
        let at = at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
        let (action, stream, ip, protocol) = (of("action"), of("stream"), of("ip"), of("protocol"));
        let _ = writeln!(text, "{at} {action} of {stream} by {ip} ({protocol})");
        let _ = writeln!(text, "  recorded: {}\n  now:      {}", of("recorded"), of("candidate"));
    }
    let more = count("differing").saturating_sub(differences.len() as u64);
    if more > 0 {
        let _ = writeln!(text, "... and {more} more");
    }
    text
}
