//! Flags that several commands share: of the engine, of the log, of the API. Before it: the command line; after it: layers of settings, and clients of the API.
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use millstream_engine::config::IoChoice;
use millstream_fleet::http::url::Url;

use crate::logging;
use crate::settings::values::{self, Format, Shards};

/// What the engine is told by `serve` and `demo` alike.
#[derive(Debug, Default, Args)]
pub(crate) struct EngineFlags {
    /// Where encoders push and RTMP viewers play [default: 0.0.0.0:1935]
    #[arg(long, env = "MILLSTREAM_RTMP", value_name = "ADDR", value_parser = values::address)]
    pub(crate) rtmp: Option<SocketAddr>,
    /// Where HTTP viewers play [default: 0.0.0.0:8080]
    #[arg(long, env = "MILLSTREAM_HTTP", value_name = "ADDR", value_parser = values::address)]
    pub(crate) http: Option<SocketAddr>,
    /// Where the API and /metrics are [default: 127.0.0.1:8081]
    #[arg(long, env = "MILLSTREAM_CONTROL", value_name = "ADDR", value_parser = values::address)]
    pub(crate) control: Option<SocketAddr>,
    /// Threads that own sockets and streams [default: auto]
    #[arg(long, env = "MILLSTREAM_SHARDS", value_name = "N|auto", value_parser = values::shards)]
    pub(crate) shards: Option<Shards>,
    /// Kernel interface: auto, uring or epoll [default: auto]
    #[arg(long, env = "MILLSTREAM_IO", value_name = "auto|uring|epoll", value_parser = values::io)]
    pub(crate) io: Option<IoChoice>,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// What is logged, and how.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LogFlags {
    /// Lines to log: a level (error, warn, info, debug, trace), or target=level pairs with commas between [default: info]
    #[arg(long, env = "MILLSTREAM_LOG", value_name = "FILTER", value_parser = logging::filter)]
    pub(crate) log: Option<String>,
    /// How they are written: text, or json for collectors of logs [default: text]
    #[arg(long, env = "MILLSTREAM_LOG_FORMAT", value_name = "text|json", value_parser = values::log_format)]
    pub(crate) log_format: Option<Format>,
}

/// Where the API is, and who asks it.
#[derive(Debug, Args)]
pub(crate) struct ApiFlags {
    /// The API's address [default: http:// and the control address, on this machine]
    #[arg(long, env = "MILLSTREAM_API", value_name = "URL", value_parser = values::control_url)]
    pub(crate) api: Option<Url>,
    /// The control address that the server was started with [default: the configuration's, or 127.0.0.1:8081]
    #[arg(long, env = "MILLSTREAM_CONTROL", value_name = "ADDR", value_parser = values::address)]
    pub(crate) control: Option<SocketAddr>,
    /// The server's configuration file, for its control address and data directory
    #[arg(short, long, env = "MILLSTREAM_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A file with a token [default: admin-token in the data directory]
    #[arg(long, env = "MILLSTREAM_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Data directory of the server [default: the configuration's, or ./millstream-data, else /var/lib/millstream]
    #[arg(long, env = "MILLSTREAM_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}
