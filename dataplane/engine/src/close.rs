//! Why sessions end. The words for it are a contract with operators: `millstream_closed_total`, `millstream_refused_total`, the events and
//! the log use them.
use millstream_hub::log::EndReason;
use millstream_hub::viewer;
use millstream_policy::Action;
use millstream_proto::proxy::ProxyError;
use millstream_proto::rtmp::SessionError;

/// Why a session ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CloseReason {
    /// The peer ended the connection.
    PeerClosed,
    /// The connection broke.
    PeerGone,
    /// It was to see that the server is there: it came and went without a byte.
    HealthCheck,
    /// The client ended its RTMP session.
    Closed,
    /// The client ended its play.
    Stopped,
    /// The client ended its publish.
    Unpublished,
    /// The last request was answered.
    Answered,
    /// What came is no HTTP request.
    BadRequest,
    /// RTMP came on the HTTP port.
    RtmpOnHttp,
    /// TLS came on the HTTP port.
    TlsOnHttp,
    /// What came breaks the rules of RTMP.
    Rtmp(SessionError),
    /// What came is no PROXY header.
    Proxy(ProxyError),
    /// The rules for viewers, but for those ends that others share.
    Viewer(viewer::CloseReason),
    /// The policy said no.
    Refused,
    /// No stream can have that name.
    BadName,
    /// Nobody publishes the stream.
    NotOnAir,
    /// Another shard had no room or did not answer.
    Busy,
    /// Connections or memory run out.
    Overload,
    /// There are as many connections as there may be.
    Connections,
    /// There are as many of its address.
    PerAddress,
    /// There are as many streams as there may be.
    Streams,
    /// The stream has a publisher.
    Taken,
    /// The stream, or the address, publishes too often.
    PublishRate,
    /// It had asked for nothing, and others had to have its place.
    Handshakes,
    /// It had nothing to do, and others had to have its place.
    GaveWay,
    /// It did not do in time what it had to.
    Timeout,
    /// Another publisher has its place.
    Replaced,
    /// The shard that owns its stream could not take it.
    HandoverFailed,
    /// The operator ended it.
    Kicked,
    /// The server ends.
    Shutdown,
    /// A defect ended it.
    Defect,
}

impl CloseReason {
    /// The word for it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::PeerGone => "peer_gone",
            Self::HealthCheck => "health_check",
            Self::Closed => "closed",
            Self::Stopped => "stopped",
            Self::Unpublished => "unpublished",
            Self::Answered => "answered",
            Self::BadRequest => "bad_request",
            Self::RtmpOnHttp => "rtmp_handshake",
            Self::TlsOnHttp => "tls_hello",
            Self::Rtmp(error) => error.label(),
            Self::Proxy(error) => error.label(),
            Self::Viewer(reason) => reason.label(),
            Self::Refused => "refused",
            Self::BadName => "bad_name",
            Self::NotOnAir => "not_on_air",
            Self::Busy => "busy",
            Self::Overload => "overload",
            Self::Connections => "connections",
            Self::PerAddress => "per_address",
            Self::Streams => "streams_max",
            Self::Taken => "taken",
            Self::PublishRate => "publish_rate",
            Self::Handshakes => "handshakes",
            Self::GaveWay => "gave_way",
            Self::Timeout => "timeout",
            Self::Replaced => "replaced",
            Self::HandoverFailed => "handover_failed",
            Self::Kicked => "kicked",
            Self::Shutdown => "shutdown",
            Self::Defect => "defect",
        }
    }

    /// The word for a refusal for this reason: operators tell apart what an overloaded server refuses.
    pub(crate) const fn refusal_label(self, action: Action) -> &'static str {
        match (self, action) {
            (Self::Overload, Action::Publish) => "overload_publish",
            (Self::Overload, Action::Play) => "overload_play",
            _ => self.label(),
        }
    }

    /// Whether the peer left by itself. Load balancers connect every few seconds, and leave without a byte.
    pub(crate) fn is_peers(self) -> bool {
        matches!(self, Self::PeerClosed | Self::PeerGone)
    }
}

impl From<viewer::CloseReason> for CloseReason {
    fn from(reason: viewer::CloseReason) -> Self {
        match reason {
            viewer::CloseReason::PeerClosed => Self::PeerClosed,
            viewer::CloseReason::Ended(EndReason::Shutdown) => Self::Shutdown,
            other => Self::Viewer(other),
        }
    }
}

impl From<SessionError> for CloseReason {
    fn from(error: SessionError) -> Self {
        Self::Rtmp(error)
    }
}

impl From<ProxyError> for CloseReason {
    fn from(error: ProxyError) -> Self {
        Self::Proxy(error)
    }
}
