//! Every setting of the configuration file, once: what it is, what it may be, and how to read its value in force. Beside it: [`super`] parses
//! the same keys, and a test holds both lists together; after it: [`written`] makes text of it.
pub(crate) mod steps;
mod written;

use std::time::Duration;

use millstream_acme::LETS_ENCRYPT;
use millstream_hub::config::{FlushPolicy, OnUnpublish, Takeover};
use serde_json::{Value, json};

use super::record::Deliver;
use super::values::{self, AuthPreset, Format, Role};
use super::{SHORT_NAMES, stream_fields};
use crate::layers::Layers;
use crate::settings::transcode::{ffmpeg_text, place_text};
pub(crate) use written::{file, markdown, shown};

/// What a setting may be. The words are those of the error that a wrong value gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A number and its unit in quotes, of this range.
    Duration(&'static str),
    /// The same.
    Size(&'static str),
    /// A whole number of this range.
    Number(&'static str),
    /// One of these words.
    Choice(&'static str),
    /// `true` or `false`.
    Bool,
    /// Text of this kind.
    Text(&'static str),
    /// A list of texts of this kind.
    List(&'static str),
}

impl Kind {
    fn words(self) -> String {
        match self {
            Self::Duration(range) => format!("duration, {range}"),
            Self::Size(range) => format!("size, {range}"),
            Self::Number(range) => format!("number, {range}"),
            Self::Choice(words) => words.to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Text(what) => what.to_owned(),
            Self::List(what) => format!("list of {what}"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) table: &'static str,
    pub(crate) key: &'static str,
    pub(crate) kind: Kind,
    /// What it does, in a sentence or two.
    pub(crate) doc: &'static str,
    /// The flag that wins over it; the environment variable between them has its name.
    pub(crate) flag: Option<&'static str>,
    /// What it may look like, where there is no default.
    pub(crate) example: &'static str,
    /// Its value in force; `Null`: unset. Never a secret.
    pub(crate) value: fn(&Layers) -> Value,
}

impl Row {
    const fn new(
        (table, key): (&'static str, &'static str),
        kind: Kind,
        doc: &'static str,
        value: fn(&Layers) -> Value,
    ) -> Self {
        Self { table, key, kind, doc, flag: None, example: "", value }
    }

    const fn flag(self, flag: &'static str) -> Self {
        Self { flag: Some(flag), ..self }
    }

    const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    /// The environment variable of its flag.
    pub(crate) fn env(&self) -> Option<String> {
        let flag = self.flag?.strip_prefix("--")?;
        Some(if flag == "log" {
            "MILLSTREAM_LOG".to_owned()
        } else {
            format!("MILLSTREAM_{}", flag.replace('-', "_").to_uppercase())
        })
    }
}

/// What each table is about.
pub(crate) const TABLES: [(&str, &str); 17] = [
    ("node", "The process and its place in a fleet"),
    ("rtmp", "The port that encoders push to, and that RTMP viewers play from"),
    ("http", "The port that viewers play from"),
    ("control", "The port of the API and of /metrics"),
    ("tls", "Certificates for the ports with TLS. The files are read anew when they change, and on SIGHUP"),
    ("acme", "A certificate that is ordered of an authority, such as Let's Encrypt, and renewed by itself"),
    ("hooks", "What WebAssembly hooks may use of this server, by name"),
    ("record", "Where recordings are kept, of streams whose `isOnDemand`, `isVideo` or `isImage` is set"),
    ("auth", "Who may publish and play: the steps of [[auth.steps]] in their order, then those of the preset"),
    ("stream_defaults", "How streams behave that say nothing else. In older files this table is [stream]"),
    ("hls", "How streams are cut for HLS and DASH"),
    ("webhooks", "Where control sends events"),
    ("relay", "Where streams are pushed on to (isRelay, relayURL)"),
    ("transcode", "How renditions are made, of streams whose `isCodec`, `isWaterMark` or `isImageWaterMark` is set"),
    ("motion", "How motion is looked for, in streams whose `isMotion` is set"),
    ("limits", "Maxima of what peers may take"),
    ("log", "Log lines, to standard error"),
];

fn time(time: Duration) -> Value {
    humantime::format_duration(time).to_string().into()
}

fn size(bytes: u64) -> Value {
    match bytes {
        b if b % (1 << 30) == 0 => format!("{}GiB", b >> 30),
        b if b % (1 << 20) == 0 => format!("{}MiB", b >> 20),
        b => format!("{b}B"),
    }
    .into()
}

fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Value {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().into()
}

fn hidden(count: usize) -> Value {
    if count == 0 { json!([]) } else { json!(format!("{count} hidden")) }
}

use Kind::{Bool, Choice, List, Number, Text};

/// All of them, but those of `[[stream]]`.
pub(crate) const ROWS: &[Row] = &[
    Row::new(("node", "data_dir"), Text("path"), "Where the store, the keys and the tokens are.", |l| {
        l.data_dir.display().to_string().into()
    })
    .flag("--data-dir"),
    Row::new(("node", "shards"), Number("1 to 256"), "Threads that own sockets and streams; \"auto\" is one per core.", |l| {
        l.shards.map_or(json!("auto"), Value::from)
    })
    .flag("--shards"),
    Row::new(
        ("node", "io"),
        Choice("auto, uring, epoll"),
        "The kernel's interface; \"auto\" takes io_uring where it is permitted, else epoll.",
        |l| format!("{:?}", l.config.io).to_ascii_lowercase().into(),
    )
    .flag("--io"),
    Row::new(
        ("node", "drain"),
        Kind::Duration("0s to 10m"),
        "How long sessions may go on after SIGTERM. A second signal ends the process at once.",
        |l| time(l.config.drain),
    ),
    Row::new(
        ("node", "role"),
        Choice("all, node, control"),
        "What this process does for its fleet: everything, media only, or the API only.",
        |l| {
            json!(match l.role {
                Role::All => "all",
                Role::Node => "node",
                Role::Control => "control",
            })
        },
    )
    .flag("--role"),
    Row::new(("node", "name"), Text("name"), "What this node is called in its fleet; unset: the machine's name.", |l| {
        l.node_name.clone().map_or(Value::Null, Value::from)
    })
    .flag("--node-name")
    .example("edge-1"),
    Row::new(("rtmp", "listen"), Text("address and port"), "Where it listens. \":1935\" is all IPv4 addresses.", |l| {
        l.config.rtmp.to_string().into()
    })
    .flag("--rtmp"),
    Row::new(
        ("rtmp", "tls_listen"),
        Text("address and port"),
        "Where RTMPS listens; \"\" is nowhere. Unset: 0.0.0.0:1938 where there are certificates.",
        |l| l.tls.rtmp.map_or(Value::Null, |at| at.to_string().into()),
    )
    .example("0.0.0.0:1938"),
    Row::new(
        ("rtmp", "handshake_timeout"),
        Kind::Duration("100ms to 10m"),
        "Time for the handshake and the commands up to publish or play.",
        |l| time(l.config.handshake_timeout),
    ),
    Row::new(("rtmp", "chunk_size"), Number("128 to 65536"), "Chunk size that RTMP is sent with, bytes.", |l| {
        l.config.chunk_size.into()
    }),
    Row::new(
        ("rtmp", "proxy_protocol_from"),
        List("addresses or networks"),
        "Proxies whose connections begin with a PROXY protocol header.",
        |l| texts(&l.config.proxy_protocol_from),
    ),
    Row::new(
        ("rtmp", "apps"),
        List("applications"),
        "The first part of a push URL's path. The first of these is shown in addresses and signatures.",
        |l| texts(l.config.apps.iter()),
    ),
    Row::new(
        ("rtmp", "public_url"),
        Text("URL"),
        "Where encoders reach it, for the addresses that are shown: rtmp:// or rtmps://, a host, perhaps a port; unset: where it listens. At a control alone: where they reach the fleet.",
        |l| l.public.rtmp.clone().map_or(Value::Null, Value::from),
    )
    .example("rtmp://push.example.org"),
    Row::new(("http", "listen"), Text("address and port"), "Where it listens.", |l| l.config.http.to_string().into())
        .flag("--http"),
    Row::new(
        ("http", "tls_listen"),
        Text("address and port"),
        "Where HTTPS listens, beside HTTP; unset: nowhere.",
        |l| l.tls.http.map_or(Value::Null, |at| at.to_string().into()),
    )
    .example("0.0.0.0:8443"),
    Row::new(
        ("http", "http2"),
        Bool,
        "Whether viewers are offered HTTP/2 over HTTPS; without it browsers open six connections, and play as many streams of FLV at most.",
        |l| l.tls.http2.into(),
    ),
    Row::new(("http", "header_timeout"), Kind::Duration("100ms to 10m"), "Time for a request's head.", |l| {
        time(l.config.header_timeout)
    }),
    Row::new(
        ("http", "proxy_protocol_from"),
        List("addresses or networks"),
        "Proxies whose connections begin with a PROXY protocol header.",
        |l| texts(&l.config.http_proxy_protocol_from),
    ),
    Row::new(
        ("http", "trusted_proxies"),
        List("addresses or networks"),
        "Proxies whose Forwarded and X-Forwarded-For are believed.",
        |l| texts(&l.config.trusted_proxies),
    ),
    Row::new(
        ("http", "play_paths"),
        List("path patterns"),
        "Paths of another server at which streams are found too, such as \"/live/{id}.flv\".",
        |l| texts(&l.config.play_paths),
    ),
    Row::new(
        ("http", "public_url"),
        Text("URL"),
        "Where players reach it, for the addresses that are shown: https:// or http://, a host, perhaps a port; unset: where it listens. At a control alone: where they reach the fleet.",
        |l| l.public.http.clone().map_or(Value::Null, Value::from),
    )
    .example("https://play.example.org"),
    Row::new(
        ("control", "listen"),
        Text("address and port"),
        "Where it listens. It has no TLS: off loopback only with plain = true.",
        |l| l.control.to_string().into(),
    )
    .flag("--control"),
    Row::new(
        ("control", "tls_listen"),
        Text("address and port"),
        "Where it listens with TLS, which may be off loopback; unset: nowhere. Its name is one of the names, or that of public_url.",
        |l| l.tls.control.map_or(Value::Null, |at| at.to_string().into()),
    )
    .example("0.0.0.0:8444"),
    Row::new(
        ("control", "names"),
        List("host names"),
        "Names that the port goes by, beside loopback names and its address; requests for others are refused.",
        |l| texts(&l.control_names),
    ),
    Row::new(
        ("control", "trusted_proxies"),
        List("addresses or networks"),
        "Proxies whose Forwarded and X-Forwarded-For are believed: logins and limits then count whom they name.",
        |l| texts(&l.control_trusted_proxies),
    ),
    Row::new(
        ("control", "public_url"),
        Text("URL"),
        "Where browsers reach it: its host is one of the names, and with https:// the cookie of a login is marked Secure.",
        |l| l.public.control.clone().map_or(Value::Null, Value::from),
    )
    .example("https://console.example.org"),
    Row::new(
        ("control", "plain"),
        Bool,
        "Lets other machines reach the port without TLS, as for a proxy that has it: tokens can be read on the way.",
        |l| l.control_plain.into(),
    )
    .flag("--control-plain"),
    Row::new(
        ("control", "url"),
        Text("URL"),
        "Of a node: where its control is. https://, or http:// on this machine.",
        |l| l.control_url.as_ref().map_or(Value::Null, |url| url.to_string().into()),
    )
    .flag("--control-url")
    .example("https://control.example.com"),
    Row::new(
        ("control", "token_file"),
        Text("path"),
        "Of a node: the file with the token of control's nodes; unset: node-token in the data directory.",
        |l| l.control_token_file_set.as_ref().map_or(Value::Null, |path| path.display().to_string().into()),
    )
    .flag("--control-token-file")
    .example("/etc/millstream/node-token"),
    Row::new(
        ("auth", "preset"),
        Choice("open, signed"),
        "\"signed\": pushing needs a signature, playing does not. \"open\": anyone pushes anything. It decides what no step of \
         [[auth.steps]] has decided.",
        |l| {
            json!(match l.auth {
                AuthPreset::Open => "open",
                AuthPreset::Signed => "signed",
            })
        },
    )
    .flag("--auth"),
    Row::new(
        ("auth", "legacy_keys"),
        List("secrets"),
        "Keys of an older system whose signatures (SECONDS-MD5) go on admitting. --key-file adds one from a file.",
        |l| hidden(l.legacy_keys.len()),
    ),
    Row::new(
        ("auth", "edge_secret"),
        Text("secret, or a list of at most 4"),
        "What CDNs' edges prove themselves with, in the header X-Millstream-Edge: they check their viewers' grants, and get playlists and files of \
         protected streams without one. Once it is set, others get files of these only with a grant or after a playlist.",
        |l| if l.config.grants.edge_secrets.is_empty() { Value::Null } else { hidden(l.config.grants.edge_secrets.len()) },
    )
    .example("..."),
    Row::new(
        ("auth", "grant_life"),
        Kind::Duration("5s to 1day"),
        "How long a play grant admits. Players renew it after half of that; so much later, at most, a viewer notices that it may not watch any more.",
        |l| time(l.config.grants.life),
    ),
    Row::new(
        ("auth", "grant_generation"),
        Number("1 to 999999999"),
        "Which key play grants are made with: `millstream grant-key` prints it. Grants of the key before it are still taken: raised by one, nobody \
         notices; raised by two, every grant ends.",
        |l| json!(l.grant_generation),
    ),
    Row::new(
        ("tls", "certificates"),
        List("paths"),
        "Files in PEM, each with a chain, the server's own certificate first. A client gets the one for the host that it names, or the first.",
        |l| texts(l.tls.certificates.iter().map(|file| file.display())),
    ),
    Row::new(
        ("tls", "keys"),
        List("paths"),
        "Files in PEM with the keys of these certificates, in any order; a file may hold both.",
        |l| texts(l.tls.keys.iter().map(|file| file.display())),
    ),
    Row::new(
        ("tls", "from_control"),
        Bool,
        "A node shows the certificate that its control has ordered for all nodes (acme.domains there), and keeps it in its data directory. control.url has to be \
         https://. RTMPS is on 1938 then and HTTPS on 443, unless tls_listen says otherwise.",
        |l| json!(l.tls.from_control),
    ),
    Row::new(
        ("tls", "kernel"),
        Choice("auto, off"),
        "Who makes TLS records: with \"auto\" the kernel does (kTLS) on connections that much is sent to, where a try at the start shows that it can. With \
         \"off\" the server does.",
        |l| format!("{:?}", l.tls.kernel).to_ascii_lowercase().into(),
    ),
    Row::new(
        ("acme", "domains"),
        List("domain names"),
        "Names that lead to this server, or to the nodes of this control, all in one certificate. With it RTMPS is on 1938 and HTTPS on 443, unless tls_listen says \
         otherwise.",
        |l| texts(l.acme.iter().flat_map(|acme| &acme.domains)),
    )
    .flag("--domain"),
    Row::new(
        ("acme", "email"),
        Text("address"),
        "Whom the authority writes to. Who sets it agrees to the authority's terms of service.",
        |l| l.acme.as_ref().map_or(Value::Null, |acme| acme.email.clone().into()),
    )
    .example("you@example.org")
    .flag("--acme-email"),
    Row::new(
        ("acme", "directory"),
        Text("https:// URL"),
        "The authority's directory. Let's Encrypt has one for tries, whose certificates no client trusts: \
         https://acme-staging-v02.api.letsencrypt.org/directory.",
        |l| l.acme.as_ref().map_or(LETS_ENCRYPT, |acme| &acme.directory).into(),
    ),
    Row::new(
        ("acme", "ca"),
        Text("path"),
        "A file in PEM with who signs the certificate of the authority's own server, where this machine does not trust it already.",
        |l| l.acme.as_ref().and_then(|acme| acme.ca.as_ref()).map_or(Value::Null, |path| path.display().to_string().into()),
    )
    .example("/etc/millstream/ca.pem"),
    Row::new(
        ("acme", "challenges"),
        List("http-01 and tls-alpn-01"),
        "How it is shown that the names lead here, the first one first: the authority comes to port 80 of each name by http-01, and to port \
         443 by tls-alpn-01. Unset: whichever of these ports the server has, then the other one.",
        |l| l.acme.as_ref().map_or_else(|| json!([]), |acme| texts(&acme.challenges)),
    ),
    Row::new(
        ("hooks", "fail"),
        Choice("closed, open"),
        "What happens where a hook fails or takes too long. \"closed\": nobody is let in, and who is in stays; \"open\": it is as if the \
         hook were not bound.",
        |l| values::fail_word(l.hooks.fail).into(),
    ),
    Row::new(
        ("hooks", "secrets"),
        List("NAME=SECRET or NAME=@FILE"),
        "Secrets that bindings may name. Hooks compute with them and never see them.",
        |l| hidden(l.hooks.secrets.len()),
    ),
    Row::new(
        ("hooks", "keys"),
        List("NAME=FILE of a public key in PEM"),
        "Public keys (RSA, P-256, Ed25519) that hooks verify signatures with.",
        |l| texts(l.hooks.keys.keys()),
    ),
    Row::new(
        ("hooks", "upstreams"),
        List("NAME=URL"),
        "HTTP servers that hooks may ask before they decide: at an address that is in the URL, or under a name that leads to public addresses or to \
         upstreams_allow.",
        |l| texts(l.hooks.upstreams.iter().map(|(name, url)| format!("{name}={url}"))),
    ),
    Row::new(
        ("hooks", "upstreams_allow"),
        List("addresses or networks"),
        "Networks that names of upstreams may lead to although they are not public, such as 10.0.0.0/8.",
        |l| texts(&l.hooks.upstreams_allow),
    ),
    Row::new(
        ("hooks", "trusted_keys"),
        List("FILE of an Ed25519 public key in PEM, or the key in base64url"),
        "Only modules that one of these has signed are taken by control and run by a node. Set it on both.",
        |l| texts(l.hooks.trusted_keys.0.iter().map(millstream_policy::signatures::TrustedKey::text)),
    ),
    Row::new(
        ("hooks", "rollback_percent"),
        Number("0 to 100"),
        "A binding goes back to the version before when so many of a hundred calls within a minute failed by the hook's fault; 0: never. \
         Control decides.",
        |l| l.hooks.rollback.percent.into(),
    ),
    Row::new(
        ("hooks", "rollback_failures"),
        Number("1 to 1000000"),
        "And when so many calls failed, at least.",
        |l| l.hooks.rollback.failures.into(),
    ),
    Row::new(
        ("hooks", "record"),
        Kind::Size("1MiB to 1GiB; or 0 for none"),
        "Memory for the decisions of the last 24 hours, which other versions of a hook are held against. A restart loses them.",
        |l| if l.hooks.record_bytes == 0 { "0".into() } else { size(l.hooks.record_bytes) },
    ),
    Row::new(
        ("record", "store"),
        Kind::Text("file:DIRECTORY or s3://BUCKET/PREFIX?endpoint=URL&region=NAME&path_style=true"),
        "Where recordings are kept: a directory, below the data directory unless it is absolute, or a bucket. Credentials for a bucket are \
         taken from the environment, as by the AWS tools.",
        |l| l.record.store.to_string().into(),
    ),
    Row::new(
        ("record", "spool_max"),
        Kind::Size("64MiB to 1048576GiB"),
        "Most room below the data directory for what is recorded and not yet stored. Beyond it no recording begins, and those that run have a \
         gap until there is room; unset: a tenth of the disk, 20GiB at most.",
        |l| l.record.spool_max_bytes.map_or(Value::Null, size),
    )
    .example("20GiB"),
    Row::new(
        ("record", "deliver"),
        Choice("redirect, stream"),
        "How viewers get media that is in a bucket. \"redirect\": they are sent there, by an address that is signed and good for an hour. \"stream\": \
         the node reads it and sends it on, as where viewers cannot reach the bucket; all of it then goes over the node's network twice.",
        |l| {
            json!(match l.record.deliver {
                Deliver::Redirect => "redirect",
                Deliver::Stream => "stream",
            })
        },
    ),
    Row::new(
        ("stream_defaults", "flush"),
        Choice("low, balanced, dense"),
        "When frames go out. \"low\": least delay, most CPU; \"dense\": up to 100 ms more delay, least CPU.",
        |l| {
            json!(match l.config.stream.flush {
                FlushPolicy::Low => "low",
                FlushPolicy::Balanced => "balanced",
                FlushPolicy::Dense => "dense",
            })
        },
    ),
    Row::new(
        ("stream_defaults", "log_max"),
        Kind::Size("1MiB to 1GiB"),
        "Most memory for what a stream holds for its viewers.",
        |l| size(l.config.stream.log_bytes_max as u64),
    ),
    Row::new(
        ("stream_defaults", "log_time"),
        Kind::Duration("1s to 10m"),
        "How far back that reaches, if it holds more than the newest group of pictures.",
        |l| time(l.config.stream.log_time_max),
    ),
    Row::new(
        ("stream_defaults", "publisher_wait"),
        Kind::Duration("0s to 10m"),
        "How long viewers wait for a publisher that has gone.",
        |l| time(l.config.stream.publisher_wait),
    ),
    Row::new(
        ("stream_defaults", "on_unpublish"),
        Choice("wait, end, slate"),
        "What viewers get then: nothing until it is back, the end at once, or a clip until it is back.",
        |l| {
            json!(match l.config.stream.on_unpublish {
                OnUnpublish::Wait => "wait",
                OnUnpublish::End => "end",
                OnUnpublish::Slate => "slate",
            })
        },
    ),
    Row::new(
        ("stream_defaults", "slate"),
        Text("path"),
        "That clip: MP4 or FLV with H.264, with or without AAC, at most 8 MiB and 60 s; unset: a built-in one.",
        |l| l.slate.as_ref().map_or(Value::Null, |path| path.display().to_string().into()),
    )
    .example("back-soon.flv"),
    Row::new(
        ("stream_defaults", "slate_max"),
        Kind::Duration("1s to 30days"),
        "How long it plays before the stream ends.",
        |l| time(l.config.stream.slate_max),
    ),
    Row::new(
        ("stream_defaults", "takeover"),
        Choice("refuse, replace"),
        "What a second encoder of a stream that is on air gets; \"replace\" puts the newer one first.",
        |l| {
            json!(match l.config.stream.takeover {
                Takeover::Refuse => "refuse",
                Takeover::Replace => "replace",
            })
        },
    ),
    Row::new(
        ("stream_defaults", "joiner_wait"),
        Kind::Duration("100ms to 10m"),
        "How long a viewer waits for a keyframe to start at.",
        |l| time(l.config.stream.joiner_wait),
    ),
    Row::new(
        ("stream_defaults", "lag_skips"),
        Number("1 to 1000"),
        "A viewer that falls behind so often within lag_window is closed.",
        |l| l.config.stream.lag_skips.into(),
    ),
    Row::new(("stream_defaults", "lag_window"), Kind::Duration("1s to 1h"), "See lag_skips.", |l| {
        time(l.config.stream.lag_window)
    }),
    Row::new(
        ("stream_defaults", "stall_close"),
        Kind::Duration("1s to 10m"),
        "A viewer that takes nothing for this long is closed.",
        |l| time(l.config.stream.stall_close),
    ),
    Row::new(
        ("hls", "segment"),
        Kind::Duration("500ms to 10m"),
        "A segment ends at the first keyframe from here on.",
        |l| time(l.config.hls.segment),
    ),
    Row::new(
        ("hls", "part"),
        Kind::Duration("50ms to 10m"),
        "Low-latency parts; at most half of a segment.",
        |l| time(l.config.hls.part),
    ),
    Row::new(
        ("hls", "window"),
        Number("3 to 1000"),
        "Segments in a playlist; about twice as many are held in memory.",
        |l| l.config.hls.window.into(),
    ),
    Row::new(
        ("webhooks", "allow"),
        List("addresses or networks"),
        "Networks that webhooks may go to although they are not public.",
        |l| texts(&l.webhooks_allow),
    ),
    Row::new(
        ("relay", "allow"),
        List("addresses or networks"),
        "Networks that streams may be pushed on to although they are not public.",
        |l| texts(&l.relay_allow),
    ),
    Row::new(
        ("transcode", "font"),
        Text("path"),
        "The font of text over pictures, TrueType or OpenType. Characters that it lacks, and all where it is unset, are drawn with the built-in one \
         (Latin, Greek, Cyrillic), and then with one of this machine for Chinese, Japanese and Korean.",
        |l| l.transcode.font.as_ref().map_or(Value::Null, |font| font.display().to_string().into()),
    )
    .example("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc"),
    Row::new(
        ("transcode", "allow"),
        List("addresses or networks"),
        "Networks that images of watermarks (ImageURL) may be fetched from although they are not public.",
        |l| texts(&l.transcode.allow),
    ),
    Row::new(
        ("transcode", "ffmpeg"),
        Text("auto, off, or path"),
        "Which ffmpeg (5.1 or newer) decodes streams that the built-in decoder does not: HEVC, AV1, and H.264 that is interlaced, has more than 8 bits or another sampling than 4:2:0. \
         auto: the one that is found in PATH, if there is one. It runs below the worker, without network and data files.",
        |l| ffmpeg_text(&l.transcode.ffmpeg).into(),
    ),
    Row::new(
        ("transcode", "encoder"),
        Choice("openh264, rav1e, ffmpeg:libx264, ffmpeg:libopenh264, ffmpeg:h264_nvenc"),
        "What renditions are encoded with: H.264 by the built-in encoder; AV1 by the other one that is built in, of small pictures; or H.264 by one of \
         ffmpeg, which the server then does not start without.",
        |l| l.transcode.encoder.to_string().into(),
    ),
    Row::new(
        ("transcode", "worker"),
        Choice("local, remote, any"),
        "Where renditions, snapshots and motion are made. local: by a process of this machine. remote: by `millstream worker` on another machine, and by nobody \
         while none is connected. any: by one of another machine while there is one, else by a process of this one.",
        |l| place_text(l.transcode.worker).into(),
    ),
    Row::new(
        ("transcode", "worker_listen"),
        Text("address"),
        "Where workers of other machines connect to, unless worker is local. They connect to the ports of [http] and [rtmp] as well.",
        |l| l.transcode.workers_come_to().to_string().into(),
    ),
    Row::new(
        ("transcode", "worker_url"),
        Text("tcp://HOST:PORT or tls://HOST:PORT"),
        "Where workers of other machines are told to connect to; unset: tcp:// and the address of the interface that leads out. With tls:// that port has TLS, by \
         the certificates of [tls], one of which is for HOST; without it workers are given no motion hooks.",
        |l| l.transcode.worker_url.clone().map_or(Value::Null, Value::from),
    )
    .example("tls://node1.example.org:8082"),
    Row::new(
        ("motion", "keyframes_only"),
        Bool,
        "Only keyframes are decoded for it: a fraction of the work, and what comes and goes between two of them is not seen.",
        |l| l.motion_keyframes_only.into(),
    ),
    Row::new(
        ("limits", "memory"),
        Kind::Size("64MiB to 1048576GiB"),
        "Memory from whose last tenth on no new streams, and from whose last twentieth on no new viewers are let in; unset: nine \
         tenths of what the machine or its control group has.",
        |l| l.config.limits.memory.map_or(Value::Null, size),
    )
    .example("4GiB"),
    Row::new(
        ("limits", "connections"),
        Number("1 to 10000000"),
        "Connections of publishers and viewers; cut to what the limit of open descriptors allows.",
        |l| l.config.limits.connections.into(),
    ),
    Row::new(("limits", "per_address"), Number("1 to 10000000"), "Connections of one address (an IPv6 /64).", |l| {
        l.config.limits.per_address.into()
    }),
    Row::new(
        ("limits", "handshakes"),
        Number("1 to 1000000"),
        "Connections that have not asked for anything yet; with more, one of the address that has most goes.",
        |l| l.config.limits.handshakes.into(),
    ),
    Row::new(
        ("limits", "streams"),
        Number("1 to 1000000"),
        "Streams that one shard holds: its own, and those of other shards that have viewers on it.",
        |l| l.config.limits.streams.into(),
    ),
    Row::new(
        ("limits", "blocked"),
        Number("1 to 10000000"),
        "Requests that may wait for the next playlist or part.",
        |l| l.config.limits.blocked.into(),
    ),
    Row::new(
        ("log", "level"),
        Text("level, or filter"),
        "error, warn, info, debug or trace, or a filter of target=level pairs. Without MILLSTREAM_LOG, RUST_LOG wins over it too. \
         SIGHUP reads it anew.",
        |l| l.log.level.clone().into(),
    )
    .flag("--log"),
    Row::new(
        ("log", "format"),
        Choice("text, json"),
        "Lines for people, or a JSON object a line for collectors of logs.",
        |l| {
            json!(match l.log.format {
                Format::Text => "text",
                Format::Json => "json",
            })
        },
    )
    .flag("--log-format"),
];

/// A setting of a `[[stream]]` entry.
pub(crate) struct StreamRow {
    /// What it is called; the first of its names is the one to use.
    pub(crate) keys: Vec<&'static str>,
    /// What it may be.
    pub(crate) words: String,
    pub(crate) doc: &'static str,
    /// As TOML.
    pub(crate) example: &'static str,
}

/// All of them: three that the API has no name for, and the API's own.
pub(crate) fn stream_rows() -> Vec<StreamRow> {
    let own = [
        (
            "id",
            Text("id"),
            "What the stream is called: 1 to 64 letters, digits, _ and -. The one key that must be there.",
            "\"lobby\"",
        ),
        (
            "generation",
            Number("1 to 4294967295"),
            "Of its key: a higher one makes a new key, and the old one is refused.",
            "1",
        ),
        ("slate", Text("path"), "The clip, as in [stream_defaults].", "\"back-soon.mp4\""),
    ];
    let own = own.map(|(key, kind, doc, example)| StreamRow { keys: vec![key], words: kind.words(), doc, example });
    let fields = stream_fields().map(|field| {
        let short = SHORT_NAMES.iter().find(|(name, _)| *name == field.name).map(|(_, short)| *short);
        StreamRow {
            keys: short.into_iter().chain([field.name]).collect(),
            words: field.shape.to_string(),
            // What the API says of the value that stands for none: in a file the key is left out.
            doc: field.about.split("; null: ").flat_map(|doc| doc.split("; empty: ")).next().unwrap_or_default(),
            example: match field.name {
                "hls_time" => "4",
                "ondemand_time" | "video_time" | "motion_timeout" => "60",
                "retention_days" | "image_time" => "30",
                "motion_percent" => "2",
                "motion_diff" => "10",
                "motion_duration" => "5",
                "motion_zones" => "\"0,50,100,50; 10,10,20,20\"",
                "dvr_window_s" => "14400",
                "hls_list_size" => "6",
                "codec" => "\"libx265\"",
                "relayURL" => "\"rtmp://live.example.com/app/KEY\"",
                "WaterMarkText" => "\"LIVE\"",
                "WaterMarkFontSize" => "32",
                "WaterMarkFontColor" => "\"white@0.5\"",
                "WaterMarkTop" | "WaterMarkLeft" | "ImageTop" | "ImageLeft" => "16",
                "ImageURL" => "\"https://example.com/logo.png\"",
                "ImageWidth" | "ImageHeight" => "128",
                "ImageOpacity" => "80",
                "flush" => "\"balanced\"",
                "on_unpublish" => "\"wait\"",
                "push_paths" => "[\"live/lobby\"]",
                "play_paths" => "[\"/live/lobby.flv\"]",
                "labels" => "{ site = \"lobby\" }",
                _ => "true",
            },
        }
    });
    own.into_iter().chain(fields).collect()
}

#[cfg(test)]
mod tests;
