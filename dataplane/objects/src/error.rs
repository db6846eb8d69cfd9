//! What can go wrong with a store, whether another try may help, and what an operator reads. Before it: codes of the system and answers of
//! S3; after it: the uploader's loop, events, the message of a start.
use std::{fmt, io};

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store does not answer, answers with an error of its own, or asks to be spared.
    Unavailable,
    /// What is stored is not what was sent.
    Damaged,
    /// The store does not let this process do that.
    Denied,
    /// The store does not know these credentials, or there are none.
    Credentials,
    /// The clocks of this machine and the store are too far apart for signatures.
    Clock,
    /// The bucket or the directory is not there.
    Missing,
    /// The bucket is in another region.
    Region,
    /// The disk or the quota is full.
    Full,
    /// The file system may only be read.
    ReadOnly,
    /// The store refuses it for a reason of its own, or does not speak as such a store does.
    Refused,
    /// There is no such object.
    NotFound,
    /// The object has no byte of the range that was asked for.
    Range,
    /// The request cannot be right: a key, a header, a body that is shorter than it says, a location.
    Invalid,
}

/// Whether the same call may succeed later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Retry {
    /// By itself: try again, with a pause that grows.
    Soon,
    /// Once somebody has repaired something: try again each minute or so, and tell it.
    AfterRepair,
    /// Never: the call itself is at fault.
    Never,
}

impl ErrorKind {
    /// Whether the same call may succeed later.
    pub fn retry(self) -> Retry {
        match self {
            Self::Unavailable | Self::Damaged => Retry::Soon,
            Self::Denied
            | Self::Credentials
            | Self::Clock
            | Self::Missing
            | Self::Region
            | Self::Full
            | Self::ReadOnly
            | Self::Refused => Retry::AfterRepair,
            Self::NotFound | Self::Range | Self::Invalid => Retry::Never,
        }
    }

    /// The word for it in logs, metrics and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Damaged => "damaged",
            Self::Denied => "denied",
            Self::Credentials => "credentials",
            Self::Clock => "clock",
            Self::Missing => "missing",
            Self::Region => "region",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Refused => "refused",
            Self::NotFound => "not_found",
            Self::Range => "range",
            Self::Invalid => "invalid",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a store did not do what it was asked. The message says what, where, and what to do; it holds no secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ObjectError {
    kind: ErrorKind,
    message: String,
}

impl ObjectError {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later.
    pub fn retry(&self) -> Retry {
        self.kind.retry()
    }

    /// The kind that the system's code stands for, for files of a store.
    pub(crate) fn of_io(error: &io::Error) -> ErrorKind {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => ErrorKind::Full,
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::CrossesDevices => ErrorKind::Invalid,
            // A symbolic link, the kind of which the standard library does not name yet.
            _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => ErrorKind::Invalid,
            // Descriptors run out, disks have errors, network mounts go stale.
            _ => ErrorKind::Unavailable,
        }
    }
}
