//! What this process shows of its TLS: the certificates in use, and why newer files were not taken. Before it: the binary, which reads the files; after
//! it: [`crate::routes::tls`].
use serde::Serialize;
use utoipa::ToSchema;

/// A certificate in use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct CertificateInUse {
    /// The file that it came from.
    pub file: String,
    /// Host names that it is for; `*.example.org` stands for one more label.
    pub names: Vec<String>,
    /// When it begins to be valid, seconds since 1970.
    pub valid_from_unix_s: u64,
    /// When it ends, seconds since 1970.
    pub valid_until_unix_s: u64,
}

/// The TLS of this process' ports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct TlsInForce {
    /// Those in use; none while one is yet to be ordered.
    pub certificates: Vec<CertificateInUse>,
    /// What clients do not accept of them now, in words.
    pub problems: Vec<String>,
    /// Why the files were not taken when they were read last: those before them stay in use. Null where they were.
    pub refused: Option<String>,
    /// How often files were refused since the start.
    pub refused_total: u64,
    /// Whether viewers are offered HTTP/2.
    pub http2: bool,
    /// Who makes TLS records, the kernel or this process, and why, in words.
    pub kernel: String,
    /// Connections whose TLS records the kernel makes.
    pub kernel_sessions: u64,
}

/// Who looks after it.
pub type ShowTls = std::sync::Arc<dyn Fn() -> TlsInForce + Send + Sync>;
