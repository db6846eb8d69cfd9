//! The configuration file: its shape, which of its keys are in force, and what is wrong with it. Before it: `--config FILE`; after
//! it: [`crate::layers`] puts flags and environment above it and defaults below.
use std::collections::HashSet;
use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream_api::model::settings::{FIELDS, Field, Settings as StreamSettings};
use millstream_api::model::stream::OF_DATA_PLANE;
use millstream_engine::config::IoChoice;
use millstream_fleet::http::url::Url;
use millstream_hub::config::{FlushPolicy, OnUnpublish, Takeover};
use millstream_proto::id::Id;
use millstream_proto::limits::PATHS_MAX;
use millstream_proto::network::Network;
use millstream_proto::paths::{self, PathError, Pattern};
use millstream_proto::secret::Secret;
use serde_json::Value;
use toml::de::DeValue;

use self::document::{Findings, Remark, Table, boolean, json, list, position, string, whole};
use self::grants::GrantSettings;
use self::readers::{duration, networks, number};
use self::slate::SlateFile;
use self::steps::StepEntry;
use self::transcode::TranscodeSettings;
use self::values::{AuthPreset, Format, Role, SHARDS, Shards};
use crate::hook_settings::HookSettings;
use crate::logging;

pub(crate) mod acme;
pub(crate) mod document;
pub(crate) mod grants;
pub(crate) mod hooks;
pub(crate) mod readers;
pub(crate) mod record;
pub(crate) mod reference;
pub(crate) mod slate;
pub(crate) mod steps;
pub(crate) mod tls;
pub(crate) mod transcode;
pub(crate) mod values;

#[cfg(test)]
mod tests;

/// Largest file that is read, bytes: some thousand `[[stream]]` entries.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most `legacy_keys`: each costs every wrong signature a digest.
const LEGACY_KEYS_MAX: usize = 16;
/// Most `names` of the control port: every request is looked up in all of them.
const HOST_NAMES_MAX: usize = 64;
/// Most `apps` of the RTMP port: every request is looked up in all of them.
const APPS_MAX: usize = 32;

/// What a file sets; `None` where it says nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) shards: Option<Shards>,
    pub(crate) io: Option<IoChoice>,
    pub(crate) drain: Option<Duration>,
    pub(crate) rtmp: Option<SocketAddr>,
    pub(crate) handshake_timeout: Option<Duration>,
    pub(crate) chunk_size: Option<usize>,
    pub(crate) proxy_protocol_from: Vec<Network>,
    pub(crate) apps: Vec<Id>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) header_timeout: Option<Duration>,
    pub(crate) http_proxy_protocol_from: Vec<Network>,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) play_paths: Vec<Pattern>,
    pub(crate) control: Option<SocketAddr>,
    pub(crate) control_names: Vec<String>,
    pub(crate) control_trusted_proxies: Vec<Network>,
    pub(crate) public: Public,
    pub(crate) tls: tls::TlsSettings,
    pub(crate) acme: acme::AcmeSettings,
    pub(crate) control_url: Option<Url>,
    pub(crate) control_token_file: Option<PathBuf>,
    pub(crate) role: Option<Role>,
    pub(crate) node_name: Option<String>,
    pub(crate) control_plain: Option<bool>,
    pub(crate) webhooks_allow: Vec<Network>,
    /// The `[transcode]` table.
    pub(crate) transcode: TranscodeSettings,
    /// Networks that relays may go to although they are not public.
    pub(crate) relay_allow: Vec<Network>,
    /// Motion is looked for in keyframes alone.
    pub(crate) motion_keyframes_only: Option<bool>,
    pub(crate) auth: Option<AuthPreset>,
    pub(crate) legacy_keys: Vec<Secret>,
    pub(crate) grants: GrantSettings,
    pub(crate) hooks: HookSettings,
    pub(crate) record: record::RecordSettings,
    pub(crate) steps: Vec<StepEntry>,
    pub(crate) stream: StreamDefaults,
    pub(crate) hls: HlsDefaults,
    pub(crate) memory: Option<u64>,
    pub(crate) connections: Option<usize>,
    pub(crate) per_address: Option<usize>,
    pub(crate) handshakes: Option<usize>,
    pub(crate) streams_max: Option<usize>,
    pub(crate) blocked: Option<usize>,
    pub(crate) log: LogSettings,
    pub(crate) streams: Vec<StreamEntry>,
    /// Keys that are set and not in force, as lines to print.
    pub(crate) warnings: Vec<String>,
}

/// Where this server's ports are reached from outside, as far as the file says: `scheme://host[:port]`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Public {
    pub(crate) rtmp: Option<String>,
    pub(crate) http: Option<String>,
    pub(crate) control: Option<String>,
}

/// The `[log]` table.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogSettings {
    pub(crate) level: Option<String>,
    pub(crate) format: Option<Format>,
}

/// The `[stream_defaults]` table, which was `[stream]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamDefaults {
    pub(crate) flush: Option<FlushPolicy>,
    pub(crate) log_max: Option<usize>,
    pub(crate) log_time: Option<Duration>,
    pub(crate) publisher_wait: Option<Duration>,
    pub(crate) on_unpublish: Option<OnUnpublish>,
    pub(crate) slate: Option<SlateFile>,
    pub(crate) slate_max: Option<Duration>,
    pub(crate) takeover: Option<Takeover>,
    pub(crate) joiner_wait: Option<Duration>,
    pub(crate) lag_skips: Option<u32>,
    pub(crate) lag_window: Option<Duration>,
    pub(crate) stall_close: Option<Duration>,
}

/// The `[hls]` table.
#[derive(Clone, Debug, Default)]
pub(crate) struct HlsDefaults {
    pub(crate) segment: Option<Duration>,
    pub(crate) part: Option<Duration>,
    pub(crate) window: Option<usize>,
}

/// One `[[stream]]` entry.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct StreamEntry {
    pub(crate) id: Id,
    pub(crate) generation: Option<u64>,
    pub(crate) slate: Option<SlateFile>,
    /// What the API calls by the same names.
    pub(crate) settings: StreamSettings,
}

/// A file that cannot be used. Prints one line per error, each with file, line and column as compilers write them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// Not even text.
    #[error("{}: cannot be read: {error}; give the path of a TOML file that this user may read", file.display())]
    Unreadable {
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Too large to be meant.
    #[error("{}: is larger than {FILE_BYTES_MAX} bytes; this is not a configuration file", file.display())]
    Large { file: PathBuf },
    /// Text with errors.
    #[error("{}", Lines { file, remarks })]
    Wrong {
        file: PathBuf,
        /// All that is wrong, in the order of the text.
        remarks: Vec<Remark>,
    },
}

struct Lines<'a> {
    file: &'a Path,
    remarks: &'a [Remark],
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, remark) in self.remarks.iter().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{remark}", self.file.display())?;
        }
        Ok(())
    }
}

/// Reads and checks a file.
pub(crate) fn read(file: &Path) -> Result<Settings, SettingsError> {
    let unreadable = |error| SettingsError::Unreadable { file: file.to_owned(), error };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(SettingsError::Large { file: file.to_owned() });
    }
    parse(file, &bytes)
}

/// An error across settings with the file, and the place there of the first setting that it names.
pub(crate) fn in_file(file: &Path, error: anyhow::Error) -> anyhow::Error {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let sentence = format!("{error:#}");
    let words = sentence.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'));
    let keys = words.map(|word| word.trim_matches('.')).filter(|word| !word.is_empty());
    // A listener is called as its table.
    let place = keys
        .map(|word| word.split_once('.').unwrap_or((word, "listen")))
        .find_map(|(table, key)| document::line_of(&text, table, key));
    match place {
        Some((line, column)) => error.context(format!("{}:{line}:{column}", file.display())),
        None => error.context(file.display().to_string()),
    }
}

/// Checks the content of a file; its path is for the messages only.
fn parse(file: &Path, bytes: &[u8]) -> Result<Settings, SettingsError> {
    let wrong = |remarks| SettingsError::Wrong { file: file.to_owned(), remarks };
    let text = as_text(bytes).map_err(|remark| wrong(vec![remark]))?;
    let mut findings = Findings::new(text);
    let settings = Table::parse(text, &mut findings).map(|file| walk(file, &mut findings));
    let Findings { mut errors, warnings, .. } = findings;
    match settings {
        Some(settings) if errors.is_empty() => {
            let warnings = warnings.iter().map(|remark| format!("{}:{remark}", file.display())).collect();
            Ok(Settings { warnings, ..settings })
        }
        _ => {
            errors.sort_by_key(|remark| (remark.line, remark.column));
            Err(wrong(errors))
        }
    }
}

/// Every key that a file may have, with its table; tables are keys of "".
#[cfg(test)]
pub(crate) fn known_keys() -> Vec<(&'static str, &'static str)> {
    let mut text = "[[stream]]\nid = \"a\"\n".to_owned();
    for (kind, _) in reference::steps::KINDS {
        let entry = ["[[auth.steps]]\nkind = \"", kind, "\"\npoint = \"play\"\n[[auth.steps.keys]]\n"];
        text.extend(entry);
    }
    let mut findings = Findings::new(&text);
    let Some(file) = Table::parse(&text, &mut findings) else { return Vec::new() };
    walk(file, &mut findings);
    findings.known
}

/// A file that is not text at all is most often the wrong file: that is said first, and not in the words of a TOML parser.
fn as_text(bytes: &[u8]) -> Result<&str, Remark> {
    let remark = |good: &[u8], message: &str| {
        let (line, column) = position(&String::from_utf8_lossy(good), usize::MAX);
        Remark { line, column, key: String::new(), message: message.to_owned() }
    };
    let binary = |b: u8| b.is_ascii_control() && !matches!(b, b'\t' | b'\r' | b'\n');
    let text = std::str::from_utf8(bytes);
    let text_bytes = text.as_ref().map_or_else(std::str::Utf8Error::valid_up_to, |text| text.len());
    if let Some(at) = bytes[..text_bytes].iter().position(|b| binary(*b)) {
        return Err(remark(&bytes[..at], "this is a binary file (it holds a control character); give a TOML file"));
    }
    let advice = "this is not UTF-8 text; save the file as UTF-8, or give another file";
    let text = text.map_err(|_| remark(&bytes[..text_bytes], advice))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Takes every key that the contract has out of the file.
fn walk(mut file: Table<'_>, f: &mut Findings<'_>) -> Settings {
    let mut set = Settings::default();

    let mut node = file.table(f, "node");
    set.data_dir = node.take(f, "data_dir", path);
    set.shards = node.take(f, "shards", shards);
    set.io = node.take(f, "io", |v| values::io(string(v)?));
    set.drain = node.take(f, "drain", duration(0, MINUTES_10));
    set.role = node.take(f, "role", |v| values::role(string(v)?));
    set.node_name = node.take(f, "name", |v| values::node_name(string(v)?));
    node.close(f);

    set.tls = tls::walk(file.table(f, "tls"), f);
    set.acme = acme::walk(file.table(f, "acme"), f);
    let mut rtmp = file.table(f, "rtmp");
    set.rtmp = rtmp.take(f, "listen", |v| values::address(string(v)?));
    set.tls.rtmp = rtmp.take(f, "tls_listen", tls::listen);
    set.handshake_timeout = rtmp.take(f, "handshake_timeout", duration(100, MINUTES_10));
    set.chunk_size = rtmp.take(f, "chunk_size", number(128..=65_536));
    set.proxy_protocol_from = rtmp.take(f, "proxy_protocol_from", networks).unwrap_or_default();
    set.apps = rtmp.take(f, "apps", apps).unwrap_or_default();
    set.public.rtmp = rtmp.take(f, "public_url", |v| values::public_url(string(v)?, &["rtmp", "rtmps"])).flatten();
    rtmp.close(f);

    let mut http = file.table(f, "http");
    set.http = http.take(f, "listen", |v| values::address(string(v)?));
    set.tls.http = http.take(f, "tls_listen", tls::listen);
    set.tls.http2 = http.take(f, "http2", boolean);
    set.header_timeout = http.take(f, "header_timeout", duration(100, MINUTES_10));
    set.http_proxy_protocol_from = http.take(f, "proxy_protocol_from", networks).unwrap_or_default();
    set.play_paths = http.take(f, "play_paths", patterns).unwrap_or_default();
    set.public.http = http.take(f, "public_url", |v| values::public_url(string(v)?, &["https", "http"])).flatten();
    set.trusted_proxies = http.take(f, "trusted_proxies", networks).unwrap_or_default();
    http.close(f);

    let mut control = file.table(f, "control");
    set.control = control.take(f, "listen", |v| values::address(string(v)?));
    set.tls.control = control.take(f, "tls_listen", tls::listen);
    set.control_names = control.take(f, "names", host_names).unwrap_or_default();
    set.public.control =
        control.take(f, "public_url", |v| values::public_url(string(v)?, &["https", "http"])).flatten();
    set.control_plain = control.take(f, "plain", boolean);
    set.control_trusted_proxies = control.take(f, "trusted_proxies", networks).unwrap_or_default();
    set.control_url = control.take(f, "url", |v| values::control_url(string(v)?));
    set.control_token_file = control.take(f, "token_file", path);
    control.close(f);

    let mut webhooks = file.table(f, "webhooks");
    set.webhooks_allow = webhooks.take(f, "allow", networks).unwrap_or_default();
    webhooks.close(f);

    let mut relay = file.table(f, "relay");
    set.relay_allow = relay.take(f, "allow", networks).unwrap_or_default();
    relay.close(f);

    let mut transcode = file.table(f, "transcode");
    set.transcode.font = transcode.take(f, "font", path);
    set.transcode.allow = transcode.take(f, "allow", networks).unwrap_or_default();
    set.transcode.ffmpeg = transcode.take(f, "ffmpeg", |v| self::transcode::ffmpeg(string(v)?)).unwrap_or_default();
    set.transcode.encoder = transcode.take(f, "encoder", |v| self::transcode::encoder(string(v)?)).unwrap_or_default();
    set.transcode.worker = transcode.take(f, "worker", |v| self::transcode::place(string(v)?)).unwrap_or_default();
    set.transcode.worker_listen = transcode.take(f, "worker_listen", |v| values::address(string(v)?));
    set.transcode.worker_url = transcode.take(f, "worker_url", |v| self::transcode::worker_url(string(v)?));
    transcode.close(f);

    let mut motion = file.table(f, "motion");
    set.motion_keyframes_only = motion.take(f, "keyframes_only", boolean);
    motion.close(f);

    let mut auth = file.table(f, "auth");
    set.auth = auth.take(f, "preset", |v| values::auth(string(v)?));
    set.legacy_keys = auth.take(f, "legacy_keys", legacy_keys).unwrap_or_default();
    set.grants = grants::walk(&mut auth, f);
    set.steps = steps::walk(&mut auth, f);
    auth.close(f);

    set.hooks = hooks::walk(file.table(f, "hooks"), f);
    set.record = record::walk(file.table(f, "record"), f);

    // `[[stream]]` is a list, and `[stream]` what older files call [stream_defaults].
    let older = file.is_table("stream");
    if older && file.has("stream_defaults") {
        let message = "this is the older name of [stream_defaults], which is here too; put all of its keys there";
        file.error(f, "stream", message);
    } else if older {
        file.warning(
            f,
            "stream",
            "this is the older name of [stream_defaults]; rename it: a later release will not know it",
        );
    }
    let defaults = file.table(f, if older { "stream" } else { "stream_defaults" });
    set.stream = walk_stream(defaults, f);
    file.knows("stream_defaults");

    let mut log = file.table(f, "log");
    set.log.level = log.take(f, "level", |v| logging::filter(string(v)?));
    set.log.format = log.take(f, "format", |v| values::log_format(string(v)?));
    log.close(f);

    let mut hls = file.table(f, "hls");
    set.hls.segment = hls.take(f, "segment", duration(500, MINUTES_10));
    set.hls.part = hls.take(f, "part", duration(50, MINUTES_10));
    set.hls.window = hls.take(f, "window", number(3..=1_000));
    hls.close(f);

    let mut limits = file.table(f, "limits");
    set.memory = limits.take(f, "memory", |v| values::size(string(v)?, &(64 << 20..=1 << 50)));
    set.connections = limits.take(f, "connections", number(1..=10_000_000));
    set.per_address = limits.take(f, "per_address", number(1..=10_000_000));
    set.handshakes = limits.take(f, "handshakes", number(1..=1_000_000));
    set.streams_max = limits.take(f, "streams", number(1..=1_000_000));
    set.blocked = limits.take(f, "blocked", number(1..=10_000_000));
    limits.close(f);

    set.streams = walk_entries(&mut file, f);
    file.close(f);
    set
}

fn walk_stream(mut stream: Table<'_>, f: &mut Findings<'_>) -> StreamDefaults {
    let set = StreamDefaults {
        flush: stream.take(f, "flush", |v| values::flush(string(v)?)),
        log_max: stream.take(f, "log_max", |v| values::size(string(v)?, &(1 << 20..=1 << 30)).map(|b| b as usize)),
        log_time: stream.take(f, "log_time", duration(1_000, MINUTES_10)),
        publisher_wait: stream.take(f, "publisher_wait", duration(0, MINUTES_10)),
        on_unpublish: stream.take(f, "on_unpublish", |v| values::on_unpublish(string(v)?)),
        slate: stream.take(f, "slate", |v| slate::read(string(v)?)),
        slate_max: stream.take(f, "slate_max", duration(1_000, DAYS_30)),
        takeover: stream.take(f, "takeover", |v| values::takeover(string(v)?)),
        joiner_wait: stream.take(f, "joiner_wait", duration(100, MINUTES_10)),
        lag_skips: stream.take(f, "lag_skips", number(1..=1_000)),
        lag_window: stream.take(f, "lag_window", duration(1_000, 6 * MINUTES_10)),
        stall_close: stream.take(f, "stall_close", duration(1_000, MINUTES_10)),
    };
    stream.close(f);
    set
}

fn walk_entries(file: &mut Table<'_>, f: &mut Findings<'_>) -> Vec<StreamEntry> {
    let mut entries: Vec<StreamEntry> = Vec::new();
    let (mut taken_push, mut taken_play) = (HashSet::new(), HashSet::new());
    for mut table in file.tables(f, "stream") {
        let errors_before = f.errors.len();
        let id =
            table.take_located(f, "id", |v| Id::new(string(v)?).map_err(|e| format!("{e}; give 1 to 64 of these")));
        let generation = table.take(f, "generation", |v| whole(v, &(1..=u64::from(u32::MAX))));
        let slate = table.take(f, "slate", |v| slate::read(string(v)?));
        let mut settings = StreamSettings::default();
        for field in stream_fields() {
            let value = match field.name {
                "push_paths" => stream_paths(&mut table, f, ("push_paths", &mut taken_push), paths::push),
                "play_paths" => {
                    let key = |path: &str| paths::play(path).map(|(key, _)| key);
                    stream_paths(&mut table, f, ("play_paths", &mut taken_play), key)
                }
                _ => stream_setting(&mut table, f, field),
            };
            if let Some(value) = value {
                settings.set(field, value);
            }
        }
        match id {
            Some(id) if entries.iter().any(|entry| entry.id == id.value) => {
                f.error(id.at, "stream.id", format!("{} is there twice; keep one of the two entries", id.value));
            }
            Some(id) => entries.push(StreamEntry { id: id.value, generation, slate, settings }),
            // An id that was there and wrong has been reported.
            None if f.errors.len() == errors_before => table.error(f, "id", "missing; give every [[stream]] an id"),
            None => {}
        }
        table.close(f);
    }
    entries
}

/// What an entry may say as the API does.
pub(crate) fn stream_fields() -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().filter(|field| OF_DATA_PLANE.contains(&field.name))
}

/// Shorter names of the API's settings.
pub(crate) const SHORT_NAMES: [(&str, &str); 3] = [("isFlv", "flv"), ("isHls", "hls"), ("isCMAF", "dash")];

/// A setting by the API's name, or by a shorter one.
fn stream_setting(table: &mut Table<'_>, f: &mut Findings<'_>, field: &'static Field) -> Option<Value> {
    let value = table.take(f, field.name, |v| field.check(&json(v)?));
    let Some((_, short)) = SHORT_NAMES.iter().find(|(name, _)| *name == field.name) else { return value };
    let other = table.take_located(f, short, |v| field.check(&json(v)?));
    if let (Some(_), Some(other)) = (&value, &other) {
        f.error(
            other.at,
            format!("stream.{short}"),
            format!("this is {}, which is here too; keep one of the two", field.name),
        );
    }
    value.or(other.map(|other| other.value))
}

/// Paths of other servers of one stream; `taken` has the keys of those before it.
fn stream_paths(
    table: &mut Table<'_>,
    f: &mut Findings<'_>,
    (name, taken): (&'static str, &mut HashSet<String>),
    key: impl Fn(&str) -> Result<String, PathError>,
) -> Option<Value> {
    let read = |value: &DeValue<'_>| {
        let paths = list(value, |item| {
            let path = string(item)?;
            let key = key(path).map_err(|error| error.to_string())?;
            if taken.insert(key) { Ok(path.to_owned()) } else { Err("another entry has this path already".to_owned()) }
        })?;
        if paths.len() > PATHS_MAX {
            return Err(format!("there are {} paths; give at most {PATHS_MAX}", paths.len()));
        }
        Ok(paths.into())
    };
    table.take(f, name, read)
}

const MINUTES_10: u64 = 600_000;
const DAYS_30: u64 = 30 * 24 * 6 * MINUTES_10;

fn shards(value: &DeValue<'_>) -> Result<Shards, String> {
    match value {
        DeValue::Integer(_) => whole(value, &SHARDS).map(|count| Shards::Count(count as usize)),
        _ => values::shards(string(value)?),
    }
}

fn host_names(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let names = list(value, |item| values::host_name(string(item)?))?;
    if names.len() > HOST_NAMES_MAX {
        return Err(format!("there are {} names; give at most {HOST_NAMES_MAX}", names.len()));
    }
    Ok(names)
}

fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    match string(value)? {
        "" => Err("the path is empty; give one".to_owned()),
        text => Ok(text.into()),
    }
}

fn apps(value: &DeValue<'_>) -> Result<Vec<Id>, String> {
    let apps = list(value, |item| {
        Id::new(string(item)?).map_err(|e| format!("{e}; one with other characters goes into a stream's push_paths"))
    })?;
    match apps.len() {
        0 => Err("the list is empty; give at least one application, such as \"stream\"".to_owned()),
        1..=APPS_MAX => Ok(apps),
        count => Err(format!("there are {count} applications; give at most {APPS_MAX}")),
    }
}

fn patterns(value: &DeValue<'_>) -> Result<Vec<Pattern>, String> {
    let patterns = list(value, |item| Pattern::new(string(item)?).map_err(|error| error.to_string()))?;
    if patterns.len() > PATHS_MAX {
        return Err(format!("there are {} patterns; give at most {PATHS_MAX}", patterns.len()));
    }
    Ok(patterns)
}

/// Never quotes a key, whatever is wrong with it.
fn legacy_keys(value: &DeValue<'_>) -> Result<Vec<Secret>, String> {
    let keys = list(value, |item| match string(item)? {
        "" => Err("the key is empty; anyone could sign with it".to_owned()),
        key => Ok(Secret::new(key)),
    })?;
    if keys.len() > LEGACY_KEYS_MAX {
        return Err(format!("there are {} keys; give at most {LEGACY_KEYS_MAX}", keys.len()));
    }
    Ok(keys)
}
