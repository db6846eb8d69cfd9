//! The `[tls]` table, and the addresses with TLS of the other tables. Before it: [`super::document`]; after it: [`crate::certificates`], which reads the
//! files.
use std::net::SocketAddr;
use std::path::PathBuf;

use toml::de::DeValue;

use super::document::{Findings, Table, boolean, list, string};
use super::{path, values};

/// Files with certificates, or with keys, at most.
const FILES_MAX: usize = 64;

/// What the tables say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct TlsSettings {
    pub(crate) certificates: Vec<PathBuf>,
    pub(crate) keys: Vec<PathBuf>,
    pub(crate) from_control: Option<bool>,
    pub(crate) kernel: Option<values::KernelChoice>,
    pub(crate) rtmp: Option<Listen>,
    pub(crate) http: Option<Listen>,
    pub(crate) control: Option<Listen>,
    pub(crate) http2: Option<bool>,
}

/// An address that may be said not to be listened on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listen {
    Nowhere,
    At(SocketAddr),
}

impl Listen {
    pub(crate) fn at(self) -> Option<SocketAddr> {
        match self {
            Self::Nowhere => None,
            Self::At(address) => Some(address),
        }
    }
}

/// Takes the table out of the file.
pub(super) fn walk(mut tls: Table<'_>, f: &mut Findings<'_>) -> TlsSettings {
    let certificates = tls.take(f, "certificates", files).unwrap_or_default();
    let keys = tls.take(f, "keys", files).unwrap_or_default();
    let from_control = tls.take(f, "from_control", boolean);
    let kernel = tls.take(f, "kernel", |v| values::kernel(string(v)?));
    tls.close(f);
    TlsSettings { certificates, keys, from_control, kernel, ..TlsSettings::default() }
}

/// The address with TLS of a table.
pub(super) fn listen(value: &DeValue<'_>) -> Result<Listen, String> {
    match string(value)? {
        "" => Ok(Listen::Nowhere),
        text => values::address(text).map(Listen::At),
    }
}

fn files(value: &DeValue<'_>) -> Result<Vec<PathBuf>, String> {
    let files = list(value, path)?;
    if files.len() > FILES_MAX {
        return Err(format!("there are {} files; give at most {FILES_MAX}", files.len()));
    }
    Ok(files)
}
