//! `millstream stream ...`: streams of a running server, by its API, for people. Before it: [`crate::cli`]; after it: the control port.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use millstream_proto::id::Id;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::api_client::{Api, percent};
use crate::cli::{Failure, StreamCommand};

/// Streams that are asked for at once.
const PAGE: usize = 500;

/// Does it, and prints what a person wants to know of it.
pub(crate) fn run(command: StreamCommand) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::running)?;
    let text = runtime.block_on(ask(command)).map_err(Failure::Running)?;
    std::io::stdout().write_all(text.as_bytes()).context("cannot print").map_err(Failure::Running)
}

async fn ask(command: StreamCommand) -> anyhow::Result<String> {
    match command {
        StreamCommand::Add { id, api } => {
            let mut api = Api::open(&api).await?;
            let body = id.map_or_else(|| json!({}), |id| json!({ "id": id.as_str() }));
            let made = api.post("/api/v1/streams", &body).await?;
            let id = made["id"].as_str().context("the server did not say what the stream is called")?;
            let key = api.get(&format!("/api/v1/streams/{id}/key")).await?;
            let addresses = api.get(&format!("/api/v1/streams/{id}/addresses")).await?;
            Ok(what_to_give(id, &key, &addresses["items"][0]))
        }
        StreamCommand::Ls { api } => list(&mut Api::open(&api).await?).await,
        StreamCommand::Show { id, api } => {
            let mut api = Api::open(&api).await?;
            let mut record = api.get(&format!("/api/v1/streams/{id}")).await?;
            if let Some(session) = api.get_if_there(&format!("/api/v1/streams/{id}/session")).await? {
                record["session"] = session;
            }
            Ok(serde_json::to_string_pretty(&record)? + "\n")
        }
        StreamCommand::Rm { id, kick, api } => {
            let mut api = Api::open(&api).await?;
            remove(&mut api, &id, kick).await
        }
        StreamCommand::Key { id, expires, rotate, grace, api } => {
            let mut api = Api::open(&api).await?;
            if rotate {
                let body = grace.map_or_else(|| json!({}), |grace| json!({ "grace_s": grace.as_secs() }));
                let rotated = api.post(&format!("/api/v1/streams/{id}/key"), &body).await?;
                // Beside the URL, which scripts read.
                eprintln!("{}", of_old_keys(&rotated));
            }
            let query = expires.map_or_else(String::new, |expires| format!("?expires={}", percent(&expires)));
            let key = api.get(&format!("/api/v1/streams/{id}/key{query}")).await?;
            if key["expires_unix_s"].as_u64().is_some_and(|until| until <= now_s()) {
                eprintln!("warning: this expiry is in the past: servers will refuse this signature");
            }
            Ok(format!("{}\n", push_url(&key)))
        }
    }
}

/// Where to push; without a node that says where it is reached, what there is of it.
fn push_url(key: &Value) -> String {
    let sign = key["sign"].as_str().map(|sign| format!("?sign={sign}")).unwrap_or_default();
    let unknown =
        || format!("rtmp://HOST-OF-A-NODE/... {sign} (no node has been heard yet that says where it is reached)");
    key["push_url"].as_str().map_or_else(unknown, str::to_owned)
}

/// Unix seconds.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// What a rotation leaves of the keys before it.
fn of_old_keys(rotated: &Value) -> String {
    let until =
        rotated["previous"].as_array().into_iter().flatten().filter_map(|old| old["until_unix_s"].as_u64()).max();
    let until = until.and_then(|until| OffsetDateTime::from_unix_timestamp(i64::try_from(until).ok()?).ok());
    let until =
        until.and_then(|until| until.format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC")).ok());
    match until {
        Some(until) => format!(
            "the old key works until {until}; --rotate --grace 0s ends all old keys now. An encoder that is on air stays"
        ),
        None => "old keys do not work any more. An encoder that is on air stays".to_owned(),
    }
}

/// Removes a stream, and says who still pushes it. With `kick`, of one that has no record the session alone is ended.
async fn remove(api: &mut Api, id: &Id, kick: bool) -> anyhow::Result<String> {
    let (record, session) = (format!("/api/v1/streams/{id}"), format!("/api/v1/streams/{id}/session"));
    if kick {
        if api.get_if_there(&record).await?.is_none() {
            api.delete(&session).await?;
            return Ok(format!("{id}: has no record; its encoder is disconnected\n"));
        }
        api.delete(&format!("{record}?kick=true")).await?;
        return Ok(format!("{id}: removed\n"));
    }
    api.delete(&record).await?;
    let live = api.get_if_there(&session).await?.unwrap_or_default();
    Ok(match live["publisher"]["peer"].as_str() {
        Some(peer) => format!(
            "{id}: removed; its encoder ({peer}) is still on air: `millstream stream rm {id} --kick` disconnects it\n"
        ),
        None => format!("{id}: removed\n"),
    })
}

/// For who sets up an encoder.
fn what_to_give(id: &str, key: &Value, at: &Value) -> String {
    let url = push_url(key);
    let (server, name) = url
        .rsplit_once(&format!("/{id}"))
        .map_or((url.as_str(), String::new()), |(server, sign)| (server, format!("{id}{sign}")));
    let mut text = format!("push URL    {url}\nin OBS      server {server}\n            stream key {name}\n");
    let mut label = "to watch";
    for (kind, name) in [("page", ""), ("flv", "HTTP-FLV "), ("hls", "HLS ")] {
        if let Some(address) = at[kind].as_str() {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{:12}{name}{address}", std::mem::take(&mut label));
        }
    }
    if !label.is_empty() {
        let _ = writeln!(text, "{label:12}/{id}/index.html on the HTTP port of a node");
    }
    text
}

/// What is on air of a stream, on all nodes.
#[derive(Default)]
struct OnAir {
    publisher: bool,
    slate: bool,
    viewers: u64,
    bitrate_bps: u64,
    since_unix_ms: Option<u64>,
}

impl OnAir {
    /// One stream may be on several nodes.
    fn add(&mut self, live: &Value) {
        let publisher = &live["publisher"];
        self.publisher |= !publisher.is_null();
        self.slate |= !live["slate_since_unix_ms"].is_null();
        self.viewers +=
            live["viewers"].as_array().into_iter().flatten().filter_map(|of| of["count"].as_u64()).sum::<u64>();
        self.bitrate_bps = self.bitrate_bps.max(publisher["bitrate_bps"].as_u64().unwrap_or(0));
        self.since_unix_ms = self.since_unix_ms.or(publisher["since_unix_ms"].as_u64());
    }

    fn row(&self, id: &str, source: &str) -> [String; 6] {
        let on_air = match (self.slate, self.publisher) {
            (true, _) => "slate",
            (false, true) => "yes",
            (false, false) => "no",
        };
        let (bitrate, uptime) = if self.publisher {
            let lasted_s = self.since_unix_ms.map_or(0, |since| now_s().saturating_sub(since / 1000));
            let bitrate = format!("{} kbit/s", self.bitrate_bps / 1000);
            (bitrate, humantime::format_duration(Duration::from_secs(lasted_s)).to_string())
        } else {
            ("-".to_owned(), "-".to_owned())
        };
        [id.to_owned(), on_air.to_owned(), self.viewers.to_string(), bitrate, uptime, source.to_owned()]
    }
}

async fn list(api: &mut Api) -> anyhow::Result<String> {
    let mut rows = vec![["ID", "ON AIR", "VIEWERS", "BITRATE", "UPTIME", "FROM"].map(str::to_owned)];
    let mut live = BTreeMap::<String, OnAir>::new();
    let mut next = Some(String::new());
    while let Some(cursor) = next {
        let page = api.get(&format!("/api/v1/live?limit={PAGE}{cursor}")).await?;
        for item in page["items"].as_array().into_iter().flatten() {
            live.entry(item["id"].as_str().unwrap_or_default().to_owned()).or_default().add(item);
        }
        next = cursor_of(&page);
    }
    let mut next = Some(String::new());
    while let Some(cursor) = next {
        let page = api.get(&format!("/api/v1/streams?limit={PAGE}{cursor}")).await?;
        for item in page["items"].as_array().into_iter().flatten() {
            let id = item["id"].as_str().unwrap_or_default();
            let on_air = live.remove(id).unwrap_or_default();
            rows.push(on_air.row(id, item["source"].as_str().unwrap_or_default()));
        }
        next = cursor_of(&page);
    }
    // Where anyone may push, or the record was removed under an encoder.
    rows.extend(live.iter().map(|(id, on_air)| on_air.row(id, "no record")));
    let widths: [usize; 6] = std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    Ok(rows.iter().fold(String::new(), |mut out, row| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
        out
    }))
}

fn cursor_of(page: &Value) -> Option<String> {
    page["next"].as_str().map(|next| format!("&cursor={}", percent(next)))
}
