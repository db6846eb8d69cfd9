//! `millstream sign ID --expires ...`: the value of `sign=` in a stream's push or play URL, and nothing else, on standard output.
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use millstream_api::model::STREAM;
use millstream_api::model::stream::StreamRecord;
use millstream_policy::signed::APP;
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use millstream_proto::sign::{Action, Claim, legacy, parse_expiry, v2};
use millstream_store::sqlite::peek;
use time::Date;
use time::macros::format_description;

use crate::cli::{Failure, SignFlags};
use crate::layers::DATA_DIR;
use crate::settings::Settings;
use crate::{keys, settings};

/// When a signature stops admitting, Unix seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Expiry(u64);

impl Expiry {
    /// A date, which means UTC midnight at its start, or Unix seconds.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(seconds) = parse_expiry(text) {
            return Ok(Self(seconds));
        }
        Date::parse(text, format_description!("[year]-[month]-[day]"))
            .ok()
            .and_then(|date| u64::try_from(date.midnight().assume_utc().unix_timestamp()).ok())
            .map(Self)
            .ok_or_else(|| "give a date such as 2030-12-31, or Unix seconds of at most 12 digits".to_owned())
    }
}

pub(crate) fn run(flags: &SignFlags) -> Result<(), Failure> {
    let Expiry(expiry) = flags.expires;
    let settings = match &flags.config {
        Some(file) => settings::read(file).map_err(anyhow::Error::from).map_err(Failure::Configuration)?,
        None => Settings::default(),
    };
    let app = match flags.app.as_ref().or(settings.apps.first()) {
        Some(app) => app.clone(),
        None => Id::new(APP).map_err(Failure::running)?,
    };
    let secret = match &flags.key_file {
        Some(path) => keys::read_key_file(path),
        None => stream_secret(flags, &settings),
    };
    let secret = secret.map_err(Failure::Configuration)?;
    // A secret of an older system verifies the legacy form only.
    let sign = if flags.legacy || flags.key_file.is_some() {
        legacy::sign(&app, &flags.id, expiry, &secret)
    } else {
        let action = if flags.play { Action::Play } else { Action::Publish };
        v2::sign(Claim { action, app: &app, id: &flags.id }, expiry, &secret)
    };
    if SystemTime::now().duration_since(UNIX_EPOCH).is_ok_and(|now| now.as_secs() >= expiry) {
        eprintln!("warning: --expires is in the past: servers will refuse this signature");
    }
    if flags.app.is_none() && flags.config.is_none() {
        let id = &flags.id;
        eprintln!(
            "signed for /{app}/{id}; give --config FILE or --app APP where the server has another application in rtmp.apps"
        );
    }
    writeln!(std::io::stdout(), "{}", sign.expose()).context("cannot print the signature").map_err(Failure::Running)
}

/// The secret that a server with this configuration and data directory gives the stream.
fn stream_secret(flags: &SignFlags, settings: &Settings) -> anyhow::Result<Secret> {
    let entry = settings.streams.iter().find(|entry| entry.id == flags.id).map(|entry| entry.generation);
    let data_dir = flags.data_dir.clone().or_else(|| settings.data_dir.clone()).unwrap_or_else(|| DATA_DIR.into());
    let generation = match entry {
        Some(configured) => configured.unwrap_or(1),
        None => stored_generation(&data_dir, &flags.id)?.unwrap_or_else(|| {
            if let Some(file) = &flags.config {
                let (file, id) = (file.display(), &flags.id);
                eprintln!("warning: neither {file} nor the store has a stream with the id {id}: generation 1 is taken");
            }
            1
        }),
    };
    let master = keys::read_master_key(&data_dir)
        .context("a signature needs the server's master key (or --key-file with a secret of an older system)")?;
    Ok(master.stream_secret(&flags.id, generation))
}

/// The generation of a stream that was made by the API; the server may be running beside this.
fn stored_generation(data_dir: &Path, id: &Id) -> anyhow::Result<Option<u64>> {
    let Some(item) = peek(data_dir, STREAM, id.as_str())? else { return Ok(None) };
    let record: StreamRecord = serde_json::from_slice(&item.value)
        .with_context(|| format!("the record of stream {id} in the store cannot be read; use the server's version"))?;
    Ok(Some(record.generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiries() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(Expiry::parse(text).ok(), expected.map(Expiry), "{text}");
        };
        check("2022-12-09", Some(1_670_544_000));
        check("1970-01-01", Some(0));
        check("2024-02-29", Some(1_709_164_800));
        check("1670544000", Some(1_670_544_000));
        check("2023-02-29", None);
        check("1969-12-31", None);
        check("2022-12-9", None);
        check("2022-12-09T00:00:00Z", None);
        check("tomorrow", None);
        check("-5", None);
        check("1670544000000", None);
        check("", None);
    }
}
