//! What the engine is told at start: already checked, in units. The binary makes it from flags, environment and file.
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millstream_hub::config::{HlsConfig, StreamConfig};
use millstream_policy::signed::Apps;
use millstream_proto::limits::RTMP_CHUNK_SIZE_OUT;
use millstream_proto::network::Network;
use millstream_proto::paths::Pattern;
use millstream_proto::secret::Secret;
use millstream_proto::sign::grant::GrantKeys;
use millstream_proto::sign::preview::PreviewKey;
use millstream_tls::ServerTls;

use crate::directory::Directory;
use crate::nodes::NodeConfig;
use crate::output::Formats;
use crate::recorded::RecordedConfig;
use crate::renditions::RenditionConfig;
use crate::slates::Slates;
use crate::subscribers::Subscribers;

/// Which kernel interface the shards use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IoChoice {
    /// io_uring where the kernel permits it, else epoll.
    #[default]
    Auto,
    /// io_uring, or refuse to start.
    Uring,
    /// epoll.
    Epoll,
}

/// Maxima of what peers may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of memory that the process may hold; `None`: nine tenths of what the machine or its control group has.
    pub memory: Option<u64>,
    /// Connections of the whole process; cut to what the descriptors allow.
    pub connections: usize,
    /// Whether somebody has asked for that number: only then it is worth a warning that it is cut.
    pub connections_asked_for: bool,
    /// Connections of one address.
    pub per_address: usize,
    /// Connections that have not yet asked for anything (RTMP handshake, HTTP head), of the whole process.
    pub handshakes: usize,
    /// Streams that one shard holds: its own, and those of other shards that have viewers on it.
    pub streams: usize,
    /// Requests for playlists and parts that wait for something to come, of the whole process.
    pub blocked: usize,
}

/// Numbers of whoever runs beside the engine: OpenMetrics text without its end.
#[derive(Clone)]
pub struct MoreMetrics(Arc<dyn Fn() -> String + Send + Sync>);

impl MoreMetrics {
    /// Told by this whenever they are asked for.
    pub fn new(text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(text))
    }

    pub(crate) fn text(&self) -> String {
        (self.0)()
    }
}

impl fmt::Debug for MoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MoreMetrics")
    }
}

/// Ports with TLS.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Certificates at start; see [`crate::Remote::set_tls`].
    pub server: ServerTls,
    /// Where encoders push and viewers play over RTMPS.
    pub rtmp: Option<SocketAddr>,
    /// Where viewers play over HTTPS.
    pub http: Option<SocketAddr>,
}

/// Play grants, and the edges that check them.
#[derive(Clone, Debug)]
pub struct GrantConfig {
    /// What grants are made and checked with; `None`: there are none.
    pub keys: Option<GrantKeys>,
    /// What tokens of previews are checked with; `None`: there are none.
    pub previews: Option<PreviewKey>,
    /// How long a grant admits.
    pub life: Duration,
    /// Each of them proves that a request comes from an edge, which has checked its viewers' grants.
    pub edge_secrets: Vec<Secret>,
}

impl Default for GrantConfig {
    fn default() -> Self {
        Self { keys: None, previews: None, life: Duration::from_mins(2), edge_secrets: Vec::new() }
    }
}

/// The engine's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Number of shards: threads that own sockets and streams.
    pub shards: usize,
    /// io_uring or epoll.
    pub io: IoChoice,
    /// Where encoders push and RTMP viewers play.
    pub rtmp: SocketAddr,
    /// Where HTTP viewers play.
    pub http: SocketAddr,
    /// The same with TLS.
    pub tls: Option<TlsConfig>,
    /// Where `/metrics` is; `None`: somebody else serves it.
    pub control: Option<SocketAddr>,
    /// What `/metrics` shows besides the engine's own numbers.
    pub more_metrics: Option<MoreMetrics>,
    /// How long running sessions may take to end after SIGTERM.
    pub drain: Duration,
    /// Proxies in front of the RTMP port: their connections begin with a PROXY protocol header.
    pub proxy_protocol_from: Vec<Network>,
    /// The same in front of the HTTP port.
    pub http_proxy_protocol_from: Vec<Network>,
    /// Proxies in front of the HTTP port whose `Forwarded` and `X-Forwarded-For` are believed.
    pub trusted_proxies: Vec<Network>,
    /// HTTP paths of other servers that lead to streams' outputs.
    pub play_paths: Vec<Pattern>,
    /// What streams are given out as.
    pub formats: Formats,
    /// Who follows streams beside their viewers.
    pub subscribers: Subscribers,
    /// Tells this server's streams from others' where they are pushed on: [`millstream_proto::rtmp::relay_path`].
    pub relay_seed: u64,
    /// Who makes renditions of streams.
    pub renditions: RenditionConfig,
    /// Where streams come from that this node does not own.
    pub nodes: NodeConfig,
    /// What was recorded.
    pub recorded: RecordedConfig,
    /// Applications of push URLs; play over HTTP stands for the first.
    pub apps: Apps,
    /// Play grants.
    pub grants: GrantConfig,
    /// Time for the RTMP handshake and for the commands up to publish or play.
    pub handshake_timeout: Duration,
    /// Time for an HTTP request head.
    pub header_timeout: Duration,
    /// Chunk size that RTMP is sent with, bytes.
    pub chunk_size: usize,
    /// Defaults of every stream.
    pub stream: StreamConfig,
    /// Clips for streams whose publisher is away.
    pub slates: Slates,
    /// How streams are cut for HLS and DASH.
    pub hls: HlsConfig,
    /// The streams that there are at start; see [`crate::Remote::apply`].
    pub directory: Directory,
    /// Maxima.
    pub limits: Limits,
}

impl Config {
    /// What an engine does that is told where to listen, and nothing else.
    pub fn at(rtmp: SocketAddr, http: SocketAddr) -> Self {
        Self {
            shards: 1,
            io: IoChoice::default(),
            rtmp,
            http,
            tls: None,
            control: None,
            more_metrics: None,
            drain: Duration::from_secs(10),
            proxy_protocol_from: Vec::new(),
            http_proxy_protocol_from: Vec::new(),
            trusted_proxies: Vec::new(),
            play_paths: Vec::new(),
            formats: Formats::default(),
            subscribers: Subscribers::default(),
            relay_seed: 0,
            renditions: RenditionConfig::none(),
            nodes: NodeConfig::default(),
            recorded: RecordedConfig::default(),
            apps: Apps::default(),
            grants: GrantConfig::default(),
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(5),
            chunk_size: RTMP_CHUNK_SIZE_OUT,
            stream: StreamConfig::default(),
            slates: Slates::default(),
            hls: HlsConfig::default(),
            directory: Directory::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            connections: 20_000,
            connections_asked_for: false,
            per_address: 2_000,
            handshakes: 512,
            streams: 4_096,
            blocked: 10_000,
        }
    }
}
