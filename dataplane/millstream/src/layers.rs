//! Flags over environment over file over defaults, made into what the engine and the policy chain take. Before it: [`crate::cli`]
//! (where clap has put the environment below the flags) and [`crate::settings`]; after it: [`crate::serve`] and [`crate::demo`].
pub(crate) mod acme;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{anyhow, bail};
use millstream_acme::Domain;
use millstream_api::model::stream::StreamRecord;
use millstream_control_protocol::state::Stream;
use millstream_engine::config::{Config, GrantConfig, Limits};
use millstream_engine::directory::Directory;
use millstream_engine::slates::Slates;
use millstream_fleet::http::url::Url;
use millstream_hub::config::{HlsConfig, StreamConfig};
use millstream_policy::signed::Apps;
use millstream_proto::network::Network;
use millstream_proto::secret::Secret;
use millstream_transcoder::Where;

use self::acme::Acme;
use crate::flags::EngineFlags;
use crate::hook_settings::HookSettings;
use crate::keys::NODE_TOKEN;
use crate::logging;
use crate::settings::record::RecordSettings;
use crate::settings::steps::StepEntry;
use crate::settings::tls::{Listen, TlsSettings};
use crate::settings::transcode::TranscodeSettings;
use crate::settings::values::{self, AuthPreset, Role, Shards};
use crate::settings::{HlsDefaults, Public, Settings, StreamDefaults, StreamEntry};

/// Where the data directory is unless something says otherwise.
pub(crate) const DATA_DIR: &str = "millstream-data";

/// The flags of `serve` that take part.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    pub(crate) engine: EngineFlags,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) auth: Option<AuthPreset>,
    pub(crate) domains: Vec<Domain>,
    pub(crate) acme_email: Option<String>,
    pub(crate) control_plain: bool,
    pub(crate) control_url: Option<String>,
    pub(crate) control_token_file: Option<PathBuf>,
    pub(crate) role: Option<Role>,
    pub(crate) node_name: Option<String>,
    /// The content of `--key-file`.
    pub(crate) key_file: Option<Secret>,
}

/// All layers in one.
#[derive(Debug)]
pub(crate) struct Layers {
    pub(crate) data_dir: PathBuf,
    pub(crate) auth: AuthPreset,
    pub(crate) legacy_keys: Vec<Secret>,
    /// Which key play grants are made with.
    pub(crate) grant_generation: u32,
    /// What hooks may use.
    pub(crate) hooks: HookSettings,
    /// Where recordings are kept.
    pub(crate) record: RecordSettings,
    /// Steps of the chain that come before the preset's.
    pub(crate) steps: Vec<StepEntry>,
    pub(crate) config: Config,
    /// Where the API is.
    pub(crate) control: SocketAddr,
    /// Names that it goes by.
    pub(crate) control_names: Vec<String>,
    /// Proxies before the control port that are believed.
    pub(crate) control_trusted_proxies: Vec<Network>,
    /// Where the ports are reached from outside, as far as that is said.
    pub(crate) public: Public,
    /// Ports with TLS, and the files for them.
    pub(crate) tls: Tls,
    /// A certificate that is ordered; `None`: none is.
    pub(crate) acme: Option<Acme>,
    /// Networks that webhooks may go to although they are not public.
    pub(crate) webhooks_allow: Vec<Network>,
    /// The `[transcode]` table.
    pub(crate) transcode: TranscodeSettings,
    /// Networks that relays may go to although they are not public.
    pub(crate) relay_allow: Vec<Network>,
    /// Motion is looked for in keyframes alone.
    pub(crate) motion_keyframes_only: bool,
    /// Streams of the configuration file.
    pub(crate) streams: Vec<Stream>,
    /// What this process is of its fleet.
    pub(crate) role: Role,
    /// What it is called there, if that is set.
    pub(crate) node_name: Option<String>,
    /// Where a node's control is: there where the role is `node`.
    pub(crate) control_url: Option<Url>,
    /// The file with a node's token.
    pub(crate) control_token_file: PathBuf,
    /// That file, where it was given.
    pub(crate) control_token_file_set: Option<PathBuf>,
    /// Whether the control port may be reached without TLS.
    pub(crate) control_plain: bool,
    /// How many shards were asked for; `None`: one per core.
    pub(crate) shards: Option<usize>,
    /// The file of the clip that streams show.
    pub(crate) slate: Option<PathBuf>,
    pub(crate) log: logging::Wanted,
    /// What is set and not in force, as lines to print.
    pub(crate) warnings: Vec<String>,
}

/// Ports with TLS: where they listen, if they do, and the files for them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tls {
    pub(crate) certificates: Vec<PathBuf>,
    pub(crate) keys: Vec<PathBuf>,
    pub(crate) rtmp: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) control: Option<SocketAddr>,
    /// A node shows the certificate that its control has for all nodes.
    pub(crate) from_control: bool,
    /// Viewers are offered HTTP/2.
    pub(crate) http2: bool,
    /// Whether the kernel may make TLS records.
    pub(crate) kernel: values::KernelChoice,
}

/// What listens without being asked to: RTMPS where there are certificates, HTTPS where one is ordered, which public clients come for.
fn tls(set: &TlsSettings, role: Role, is_ordered: bool) -> Tls {
    let from_control = role == Role::Node && set.from_control.unwrap_or(false);
    let is_ordered = is_ordered || from_control;
    // Control has no ports for encoders and viewers.
    let has_ports = role != Role::Control;
    let usual = |port, is_on: bool| (is_on && has_ports).then_some(SocketAddr::from(([0, 0, 0, 0], port)));
    Tls {
        certificates: set.certificates.clone(),
        keys: set.keys.clone(),
        rtmp: set.rtmp.map_or(usual(1938, is_ordered || !set.certificates.is_empty()), Listen::at),
        http: set.http.map_or(usual(443, is_ordered), Listen::at),
        from_control,
        control: set.control.and_then(Listen::at),
        http2: set.http2.unwrap_or(true),
        kernel: set.kernel.unwrap_or_default(),
    }
}

/// Puts the layers over each other and checks what no layer can check alone.
pub(crate) fn merge(flags: Flags, settings: Settings) -> anyhow::Result<Layers> {
    let auth = flags.auth.or(settings.auth).unwrap_or(AuthPreset::Signed);
    let mut warnings = settings.warnings.clone();
    warn_of_what_auth_ignores(auth, &flags, &settings, &mut warnings);
    let data_dir = flags.data_dir.or_else(|| settings.data_dir.clone()).unwrap_or_else(|| DATA_DIR.into());
    let streams: Vec<Stream> = settings.streams.iter().map(stream_of).collect();
    let config = config(&flags.engine, &settings, &streams);
    let control = flags.engine.control.or(settings.control).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8081)));
    let role = flags.role.or(settings.role).unwrap_or_default();
    let is_ordered = !(flags.domains.is_empty() && settings.acme.domains.is_empty());
    let tls = tls(&settings.tls, role, is_ordered);
    let of_workers = (settings.transcode.worker != Where::Local && role != Role::Control)
        .then(|| settings.transcode.workers_come_to());
    check_addresses(&config, (control, of_workers), &tls)?;
    let idle = settings.transcode.idle();
    warnings.extend(idle.iter().map(|(key, why)| format!("transcode.{key}: set, but not in force: {why}")));
    check_parts(&config.hls)?;
    let wanted = acme::over(flags.domains, flags.acme_email, settings.acme.clone());
    let acme = acme::of(wanted, role, config.http, &tls, &mut warnings)?;
    warn_of_what_role_ignores(role, &flags.engine, &settings, &mut warnings);
    let plain = flags.control_plain || settings.control_plain.unwrap_or(false);
    let url = flags.control_url.as_deref().map(values::control_url).transpose();
    let control_url = url.map_err(|error| anyhow!("--control-url: {error}"))?.or(settings.control_url);
    check_control(control, plain && role != Role::Node, &mut warnings)?;
    check_fleet(role, control_url.as_ref(), plain, &mut warnings)?;
    let is_set = settings.tls.from_control == Some(true);
    acme::check_from_control(is_set, role, control_url.as_ref(), acme.is_some(), &mut warnings)?;
    let shards = match flags.engine.shards.or(settings.shards) {
        Some(Shards::Count(count)) => Some(count),
        Some(Shards::Auto) | None => None,
    };
    let log = logging::Wanted::merge(&flags.engine.log, &settings.log);
    let slate = settings.stream.slate.as_ref().map(|slate| slate.path.clone());
    let token_file = flags.control_token_file.or(settings.control_token_file);
    let control_token_file_set = token_file.clone();
    let control_token_file = token_file.unwrap_or_else(|| data_dir.join(NODE_TOKEN));
    let node_name = flags.node_name.or(settings.node_name);
    let steps = settings.steps;
    let legacy_keys = settings.legacy_keys.into_iter().chain(flags.key_file).collect();
    let control_trusted_proxies = settings.control_trusted_proxies;
    let (control_names, webhooks_allow) = (settings.control_names, settings.webhooks_allow);
    // At control the names lead to nodes, which say of themselves where they are.
    let own = acme.as_ref().filter(|_| role != Role::Control);
    let public = acme::public(settings.public, own, config.rtmp, &tls);
    Ok(Layers {
        data_dir,
        auth,
        legacy_keys,
        grant_generation: settings.grants.generation.unwrap_or(1),
        hooks: settings.hooks,
        record: settings.record,
        steps,
        config,
        control,
        control_names,
        control_trusted_proxies,
        public,
        tls,
        acme,
        webhooks_allow,
        transcode: settings.transcode,
        relay_allow: settings.relay_allow,
        motion_keyframes_only: settings.motion_keyframes_only.unwrap_or_default(),
        streams,
        role,
        node_name,
        control_url,
        control_token_file,
        control_token_file_set,
        control_plain: plain,
        shards,
        slate,
        log,
        warnings,
    })
}

/// The host of `scheme://host[:port]`.
pub(crate) fn host_of(url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1;
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split_once(']')?.0,
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    Some(host.to_owned())
}

/// A `[[stream]]` entry as nodes are told it: a record of the API would be told in the same way.
fn stream_of(entry: &StreamEntry) -> Stream {
    let record = StreamRecord {
        generation: entry.generation.unwrap_or(1),
        settings: entry.settings.clone(),
        ..StreamRecord::default()
    };
    let slate = entry.slate.as_ref().map(|slate| slate.key.to_string());
    Stream { slate, ..record.to_link(entry.id.as_str()) }
}

/// The clips of the file, each once.
fn slates(settings: &Settings) -> Slates {
    let usual = settings.stream.slate.as_ref();
    let mut slates = Slates::new(usual.map(|slate| slate.key));
    for slate in usual.into_iter().chain(settings.streams.iter().filter_map(|entry| entry.slate.as_ref())) {
        slates.insert(slate.key, std::sync::Arc::clone(&slate.clip));
    }
    slates
}

fn warn_of_what_auth_ignores(auth: AuthPreset, flags: &Flags, settings: &Settings, warnings: &mut Vec<String>) {
    match auth {
        AuthPreset::Signed => {}
        AuthPreset::Open => {
            let generation = settings.streams.iter().any(|entry| entry.generation.is_some());
            let unused = [
                (!settings.legacy_keys.is_empty(), "auth.legacy_keys"),
                (flags.key_file.is_some(), "--key-file"),
                (generation, "stream.generation"),
            ];
            for (_, key) in unused.iter().filter(|(set, _)| *set) {
                warnings.push(format!("{key}: set, but not in force: auth is \"open\", which checks no signature"));
            }
        }
    }
}

fn warn_of_what_role_ignores(role: Role, flags: &EngineFlags, settings: &Settings, warnings: &mut Vec<String>) {
    let at = |listen: Option<Listen>| listen.and_then(Listen::at).is_some();
    let engine = [
        (flags.rtmp.or(settings.rtmp).is_some(), "rtmp"),
        (at(settings.tls.rtmp), "rtmp.tls_listen"),
        (flags.http.or(settings.http).is_some(), "http"),
        (at(settings.tls.http), "http.tls_listen"),
        (flags.shards.or(settings.shards).is_some(), "shards"),
        (flags.io.or(settings.io).is_some(), "io"),
    ];
    let control = [
        (!settings.control_names.is_empty(), "control.names"),
        // Its /metrics is on the plain port.
        (at(settings.tls.control), "control.tls_listen"),
    ];
    let of_others: &[(bool, &str)] = match role {
        Role::All => &[],
        Role::Control => &engine,
        Role::Node => &control,
    };
    for (_, key) in of_others.iter().filter(|(set, _)| *set) {
        let what = if role == Role::Control { "control" } else { "node" };
        warnings.push(format!("{key}: set, but not in force: the role is \"{what}\", which has no use for it"));
    }
}

fn config(flags: &EngineFlags, settings: &Settings, streams: &[Stream]) -> Config {
    let at = |set: Option<SocketAddr>, port| set.unwrap_or(SocketAddr::from(([0, 0, 0, 0], port)));
    let defaults = Config::at(at(flags.rtmp.or(settings.rtmp), 1935), at(flags.http.or(settings.http), 8080));
    let limits = defaults.limits;
    let shards = match flags.shards.or(settings.shards).unwrap_or(Shards::Auto) {
        Shards::Auto => std::thread::available_parallelism().map_or(1, usize::from),
        Shards::Count(count) => count,
    };
    Config {
        shards,
        io: flags.io.or(settings.io).unwrap_or_default(),
        drain: settings.drain.unwrap_or(defaults.drain),
        proxy_protocol_from: settings.proxy_protocol_from.clone(),
        http_proxy_protocol_from: settings.http_proxy_protocol_from.clone(),
        trusted_proxies: settings.trusted_proxies.clone(),
        play_paths: settings.play_paths.clone(),
        // Keys are read later: they are of the data directory.
        grants: GrantConfig {
            life: settings.grants.life.unwrap_or(defaults.grants.life),
            edge_secrets: settings.grants.edge_secrets.clone(),
            ..GrantConfig::default()
        },
        apps: Apps::new(settings.apps.iter().cloned()),
        handshake_timeout: settings.handshake_timeout.unwrap_or(defaults.handshake_timeout),
        header_timeout: settings.header_timeout.unwrap_or(defaults.header_timeout),
        chunk_size: settings.chunk_size.unwrap_or(defaults.chunk_size),
        stream: stream(&settings.stream),
        slates: slates(settings),
        hls: hls(&settings.hls),
        directory: Directory::new(streams),
        limits: Limits {
            memory: settings.memory.or(limits.memory),
            connections: settings.connections.unwrap_or(limits.connections),
            connections_asked_for: settings.connections.is_some(),
            per_address: settings.per_address.unwrap_or(limits.per_address),
            handshakes: settings.handshakes.unwrap_or(limits.handshakes),
            streams: settings.streams_max.unwrap_or(limits.streams),
            blocked: settings.blocked.unwrap_or(limits.blocked),
        },
        ..defaults
    }
}

fn stream(set: &StreamDefaults) -> StreamConfig {
    let defaults = StreamConfig::default();
    StreamConfig {
        flush: set.flush.unwrap_or(defaults.flush),
        log_bytes_max: set.log_max.unwrap_or(defaults.log_bytes_max),
        log_time_max: set.log_time.unwrap_or(defaults.log_time_max),
        publisher_wait: set.publisher_wait.unwrap_or(defaults.publisher_wait),
        on_unpublish: set.on_unpublish.unwrap_or(defaults.on_unpublish),
        slate_max: set.slate_max.unwrap_or(defaults.slate_max),
        takeover: set.takeover.unwrap_or(defaults.takeover),
        joiner_wait: set.joiner_wait.unwrap_or(defaults.joiner_wait),
        lag_skips: set.lag_skips.unwrap_or(defaults.lag_skips),
        lag_window: set.lag_window.unwrap_or(defaults.lag_window),
        stall_close: set.stall_close.unwrap_or(defaults.stall_close),
    }
}

fn hls(set: &HlsDefaults) -> HlsConfig {
    let defaults = HlsConfig::default();
    HlsConfig {
        segment: set.segment.unwrap_or(defaults.segment),
        part: set.part.unwrap_or(defaults.part),
        window: set.window.unwrap_or(defaults.window),
        ..defaults
    }
}

/// A segment of one part would be as late as one without parts.
fn check_parts(hls: &HlsConfig) -> anyhow::Result<()> {
    let HlsConfig { segment, part, .. } = hls;
    if *part > *segment / 2 {
        bail!(
            "hls.part ({} ms) is longer than half of hls.segment ({} ms); give shorter parts or longer segments",
            part.as_millis(),
            segment.as_millis()
        );
    }
    Ok(())
}

/// Two listeners on one address: with `SO_REUSEPORT` the kernel would let them, and give each a part of the other's clients.
fn check_addresses(
    config: &Config,
    (control, of_workers): (SocketAddr, Option<SocketAddr>),
    tls: &Tls,
) -> anyhow::Result<()> {
    let mut listeners = vec![("rtmp", config.rtmp), ("http", config.http), ("control", control)];
    let with_tls = [("rtmp.tls_listen", tls.rtmp), ("http.tls_listen", tls.http), ("control.tls_listen", tls.control)];
    listeners.extend(of_workers.map(|at| ("transcode.worker_listen", at)));
    listeners.extend(with_tls.into_iter().filter_map(|(key, at)| Some((key, at?))));
    for (n, (one, a)) in listeners.iter().enumerate() {
        for (other, b) in listeners.iter().skip(n + 1) {
            let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
            if a.port() == b.port() && a.port() != 0 && overlap {
                bail!("{one} ({a}) and {other} ({b}) would listen on the same port; give one of them another port");
            }
        }
    }
    Ok(())
}

/// The API takes tokens, which whoever is on the way could read.
fn check_control(control: SocketAddr, plain: bool, warnings: &mut Vec<String>) -> anyhow::Result<()> {
    match (control.ip().is_loopback(), plain) {
        (true, _) => {}
        (false, true) => warnings.push(format!(
            "control: {control} can be reached from other machines without TLS; whoever is on the way can read tokens, so let \
             nothing but a proxy that has TLS, or a private network, lead there"
        )),
        (false, false) => bail!(
            "control: {control} is not a loopback address, and this port has no TLS; give 127.0.0.1:PORT or [::1]:PORT and reach \
             it by control.tls_listen, a proxy or a tunnel, or say that it may be plain with --control-plain (control.plain = true)"
        ),
    }
    Ok(())
}

/// A node has a control, and tells it a token that whoever is on the way could read.
fn check_fleet(role: Role, url: Option<&Url>, plain: bool, warnings: &mut Vec<String>) -> anyhow::Result<()> {
    match (role, url) {
        (Role::Node, None) => bail!("a node follows a control; give its address with --control-url (control.url)"),
        (Role::Node, Some(url)) if !url.secure && !url.is_loopback() => {
            if !plain {
                bail!(
                    "control.url: {url} is not TLS: whoever is on the way could read this node's token; give an https:// URL, or \
                     say that it may be plain with --control-plain (control.plain = true)"
                );
            }
            warnings.push(format!("control.url: {url} is not TLS: whoever is on the way can read this node's token"));
        }
        (Role::Node, Some(_)) | (_, None) => {}
        (_, Some(_)) => warnings.push(
            "control.url (--control-url): set, but not in force: only a process with the role \"node\" follows a control \
             elsewhere"
                .to_owned(),
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
