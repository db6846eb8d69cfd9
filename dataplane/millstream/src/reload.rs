//! SIGHUP: the configuration file is read anew. What can be changed while the server runs is changed, and what cannot is named: nothing that
//! is set is ignored without a word. A file that is wrong changes nothing. Before it: the signals of [`crate::serve`].
use std::path::PathBuf;

use millstream_acme::Domain;
use serde_json::Value;
use tracing::{error, info, warn};

use crate::certificates::InUse;
use crate::chain::ChainChange;
use crate::cli::ServeFlags;
use crate::control::FileStreams;
use crate::flags::LogFlags;
use crate::layers::Layers;
use crate::settings::steps::StepEntry;
use crate::settings::{self, Settings, StreamEntry, reference};
use crate::{layers, logging};

/// What is in force by the file, and how to read it again.
#[derive(Debug)]
pub(crate) struct Reload {
    file: Option<PathBuf>,
    log: LogFlags,
    /// Flags that the file is only right together with.
    domains: Vec<Domain>,
    acme_email: Option<String>,
    level: String,
    settings: Settings,
    shown: Value,
    /// Of the file, as they are in force.
    streams: Vec<StreamEntry>,
    /// The way to change them, once everything runs.
    change: Option<FileStreams>,
    /// Of the file, as they are in force.
    steps: Vec<StepEntry>,
    change_steps: Option<ChainChange>,
    /// Certificates, where there are any.
    certificates: Option<InUse>,
}

impl Reload {
    /// Of a server that was started so.
    pub(crate) fn of(flags: &ServeFlags) -> Self {
        let (file, log) = (flags.config.clone(), flags.engine.log.clone());
        Self {
            file,
            log,
            domains: flags.domain.clone(),
            acme_email: flags.acme_email.clone(),
            level: String::new(),
            settings: Settings::default(),
            shown: Value::Null,
            streams: Vec::new(),
            change: None,
            steps: Vec::new(),
            change_steps: None,
            certificates: None,
        }
    }

    /// What is in force at first.
    pub(crate) fn beginning_with(mut self, layers: &Layers) -> Self {
        self.level.clone_from(&layers.log.level);
        // Read once more rather than kept: what flags have put over it is not to count as changed.
        if let Some(Ok(settings)) = self.file.as_deref().map(settings::read) {
            self.shown = shown(self.flags(), &settings);
            self.streams.clone_from(&settings.streams);
            self.steps.clone_from(&settings.steps);
            self.settings = settings;
        }
        self
    }

    /// Streams of the file can be changed.
    pub(crate) fn changing(mut self, streams: FileStreams) -> Self {
        self.change = Some(streams);
        self
    }

    /// Steps of the chain can be changed.
    pub(crate) fn changing_steps(mut self, chain: ChainChange) -> Self {
        self.change_steps = Some(chain);
        self
    }

    /// These certificates are read anew, too.
    pub(crate) fn reading(mut self, certificates: Option<InUse>) -> Self {
        self.certificates = certificates;
        self
    }

    fn flags(&self) -> layers::Flags {
        let (domains, acme_email) = (self.domains.clone(), self.acme_email.clone());
        layers::Flags { domains, acme_email, ..layers::Flags::default() }
    }

    /// Brings the file's steps into force; what of them needs a restart.
    fn take_steps(&mut self, settings: &Settings) -> Option<&'static str> {
        if self.steps == settings.steps {
            return None;
        }
        let Some(change) = &self.change_steps else { return Some("[[auth.steps]]") };
        if let Err(error) = change.change(&settings.steps) {
            error!("SIGHUP: the steps of the file are not in force: {error}");
            return Some("[[auth.steps]]");
        }
        info!(steps = settings.steps.len(), "SIGHUP: the steps of the file decide from now on");
        self.steps.clone_from(&settings.steps);
        None
    }

    /// Brings the file's streams into force; what of them needs a restart.
    fn change_streams(&mut self, settings: &Settings) -> Option<&'static str> {
        if self.streams == settings.streams {
            return None;
        }
        let Some(change) = &self.change else { return Some("[[stream]]") };
        let made = layers::merge(self.flags(), settings.clone()).map_err(|error| format!("{error:#}"));
        if let Err(error) = made.and_then(|layers| change.change(layers.streams)) {
            error!("SIGHUP: the streams of the file are not all in force: {error}");
            return Some("[[stream]]");
        }
        let has = |entries: &[StreamEntry], entry: &StreamEntry| entries.iter().any(|other| other.id == entry.id);
        let added = settings.streams.iter().filter(|entry| !has(&self.streams, entry)).count();
        let removed = self.streams.iter().filter(|entry| !has(&settings.streams, entry)).count();
        info!(added, removed, streams = settings.streams.len(), "SIGHUP: the streams of the file are in force");
        self.streams.clone_from(&settings.streams);
        // Clips are read at the start.
        let known = |entry: &StreamEntry| {
            let clips = self.settings.streams.iter().map(|entry| &entry.slate).chain([&self.settings.stream.slate]);
            entry.slate.is_none() || clips.into_iter().any(|clip| *clip == entry.slate)
        };
        (!settings.streams.iter().all(known)).then_some("[[stream]] slate")
    }

    /// Reads the file, and takes over what can be.
    pub(crate) fn run(&mut self) {
        if let Some(certificates) = &self.certificates {
            // What is wrong with them has been said.
            drop(certificates.read_anew("SIGHUP"));
            certificates.hurry();
        }
        let Some(file) = &self.file else {
            return info!("SIGHUP: there is nothing to reload: the server was started without --config FILE");
        };
        let settings = match settings::read(file) {
            Ok(settings) => settings,
            Err(error) => return error!("SIGHUP: nothing was changed, because the configuration is wrong: {error}"),
        };
        for warning in &settings.warnings {
            warn!("{warning}");
        }
        let wanted = logging::Wanted::merge(&self.log, &settings.log);
        if wanted.level != self.level {
            match logging::change_level(&wanted) {
                Ok(()) => {
                    info!(before = self.level, after = wanted.level, "SIGHUP: the log level is another one");
                    self.level = wanted.level;
                }
                Err(error) => return error!("SIGHUP: nothing was changed: the log level cannot be: {error:#}"),
            }
        }
        // Compared with what the server began with: that is what is in force.
        let after = shown(self.flags(), &settings);
        let mut keys = changed(&self.shown, &after, &self.settings, &settings);
        keys.extend(self.change_streams(&settings).map(str::to_owned));
        keys.extend(self.take_steps(&settings).map(str::to_owned));
        if keys.is_empty() {
            info!("SIGHUP: the configuration was read; all of it is in force");
        } else {
            let keys = keys.join(", ");
            warn!(keys, "SIGHUP: these settings have changed, and need a restart to come into force");
        }
    }
}

/// The settings as the reference shows them; nothing where they contradict each other, which a start would refuse.
fn shown(flags: layers::Flags, settings: &Settings) -> Value {
    let merged = layers::merge(flags, settings.clone());
    merged.map_or(Value::Null, |layers| reference::shown(&layers))
}

/// Keys that differ and that only a restart brings into force.
fn changed(before: &Value, after: &Value, old: &Settings, new: &Settings) -> Vec<String> {
    let rows = reference::ROWS.iter().filter(|row| (row.table, row.key) != ("log", "level"));
    let mut keys: Vec<String> = rows
        .filter(|row| before[row.table][row.key] != after[row.table][row.key])
        .map(|row| format!("{}.{}", row.table, row.key))
        .collect();
    // Shown as a number only.
    let legacy_keys =
        |settings: &Settings| settings.legacy_keys.iter().map(|key| key.expose().to_owned()).collect::<Vec<_>>();
    let name = "auth.legacy_keys".to_owned();
    if legacy_keys(old) != legacy_keys(new) && !keys.contains(&name) {
        keys.push(name);
    }
    let name = "auth.edge_secret".to_owned();
    if old.grants.edge_secrets != new.grants.edge_secrets && !keys.contains(&name) {
        keys.push(name);
    }
    if old.stream.slate != new.stream.slate && !keys.iter().any(|key| key == "stream_defaults.slate") {
        keys.push("stream_defaults.slate".to_owned());
    }
    keys
}

#[cfg(test)]
mod tests {
    use millstream_proto::secret::Secret;

    use super::*;

    fn shown(settings: &Settings) -> Value {
        super::shown(layers::Flags::default(), settings)
    }

    #[test]
    fn what_has_changed_is_named_and_the_level_is_not() {
        let old = Settings::default();
        let mut new =
            Settings { chunk_size: Some(4096), legacy_keys: vec![Secret::new("hush")], ..Settings::default() };
        new.log.level = Some("debug".to_owned());
        let keys = changed(&shown(&old), &shown(&new), &old, &new);
        assert_eq!(keys, ["rtmp.chunk_size", "auth.legacy_keys"]);
        let newer = Settings { legacy_keys: vec![Secret::new("hush2")], ..new.clone() };
        assert_eq!(changed(&shown(&new), &shown(&newer), &new, &newer), ["auth.legacy_keys"]);
        assert!(changed(&shown(&new), &shown(&new), &new, &new).is_empty());
    }
}
