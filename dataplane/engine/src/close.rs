//! Why sessions end. The words for it are a contract with operators: `millstream_closed_total`, `millstream_refused_total`, the events and
//! the log use them.
use std::io;

use millstream_hub::log::EndReason;
use millstream_hub::viewer;
use millstream_policy::Action;
use millstream_proto::http2::ConnectionError;
use millstream_proto::proxy::ProxyError;
use millstream_proto::rtmp::SessionError;

use crate::io::is_fault;

/// What a drain is called.
pub(crate) const GOING_DOWN: &str = "the server is going down; connect again";

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident = $label:literal,)+) => {
        /// Why a session ends.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum CloseReason {
            $($(#[$doc])+ $name,)+
            /// What came breaks the rules of RTMP.
            Rtmp(SessionError),
            /// What came is no PROXY header.
            Proxy(ProxyError),
            /// A client and TLS: its word.
            Tls(&'static str),
            /// What came breaks the rules of HTTP/2, or asks for too much.
            Http2(ConnectionError),
            /// The rules for viewers, but for those ends that others share.
            Viewer(viewer::CloseReason),
        }

        impl CloseReason {
            /// The word for it.
            pub(crate) const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                    Self::Rtmp(error) => error.label(),
                    Self::Proxy(error) => error.label(),
                    Self::Tls(word) => word,
                    Self::Http2(error) => error.label(),
                    Self::Viewer(reason) => reason.label(),
                }
            }
        }
    };
}

reasons! {
    /// The peer ended the connection.
    PeerClosed = "peer_closed",
    /// The connection broke.
    PeerGone = "peer_gone",
    /// It was to see that the server is there: it came and went without a byte.
    HealthCheck = "health_check",
    /// The client ended its RTMP session.
    Closed = "closed",
    /// The client ended its play.
    Stopped = "stopped",
    /// The client ended its publish.
    Unpublished = "unpublished",
    /// The last request was answered.
    Answered = "answered",
    /// An authority has seen the certificate of a challenge.
    Challenge = "acme_challenge",
    /// What came is no HTTP request.
    BadRequest = "bad_request",
    /// RTMP came on the HTTP port.
    RtmpOnHttp = "rtmp_handshake",
    /// TLS came on the HTTP port.
    TlsOnHttp = "tls_hello",
    /// The peer left within its TLS handshake.
    TlsUnfinished = "tls_unfinished",
    /// What came on a TLS connection cannot be decrypted, or breaks TLS's rules.
    TlsBroken = "tls_record",
    /// The policy said no.
    Refused = "refused",
    /// The stream is pushed over TLS, and this was not.
    NeedsTls = "needs_tls",
    /// No stream can have that name.
    BadName = "bad_name",
    /// Nobody publishes the stream.
    NotOnAir = "not_on_air",
    /// Another shard had no room or did not answer.
    Busy = "busy",
    /// Connections or memory run out.
    Overload = "overload",
    /// There are as many connections as there may be.
    Connections = "connections",
    /// There are as many of its address.
    PerAddress = "per_address",
    /// There are as many streams as there may be.
    Streams = "streams_max",
    /// The stream has a publisher.
    Taken = "taken",
    /// The stream, or the address, publishes too often.
    PublishRate = "publish_rate",
    /// It had asked for nothing, and others had to have its place.
    Handshakes = "handshakes",
    /// It had nothing to do, and others had to have its place.
    GaveWay = "gave_way",
    /// It did not do in time what it had to.
    Timeout = "timeout",
    /// Another publisher has its place.
    Replaced = "replaced",
    /// The shard that owns its stream could not take it.
    HandoverFailed = "handover_failed",
    /// The operator ended it.
    Kicked = "kicked",
    /// The policy was asked about it again, and said no.
    Revoked = "revoked",
    /// The time that it was admitted for is over.
    Expired = "expired",
    /// Its grant plays in other connections already.
    GrantShared = "grant_shared",
    /// The server ends.
    Shutdown = "shutdown",
    /// A recorded file came to an end before its length, or did not come any more.
    RecordedCut = "recorded_cut",
    /// A defect ended it.
    Defect = "defect",
}

impl CloseReason {
    /// The word for a refusal for this reason: operators tell apart what an overloaded server refuses.
    pub(crate) const fn refusal_label(self, action: Action) -> &'static str {
        match (self, action) {
            (Self::Overload, Action::Publish) => "overload_publish",
            (Self::Overload, Action::Play) => "overload_play",
            _ => self.label(),
        }
    }

    /// Why a connection ends whose socket says this.
    pub(crate) fn of(error: &io::Error) -> Self {
        if is_fault(error) { Self::TlsBroken } else { Self::PeerGone }
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
