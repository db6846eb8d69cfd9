//! A reader and validator of HLS playlists that shares no code with the server: every playlist that is served in a run goes through it.
//!
//! Reading order: [`playlist`] and [`multivariant`] (text to structure, strict), [`rules`] (what RFC 8216bis demands of one playlist),
//! [`history`] (what it demands across reloads).
mod attributes;
pub mod date;
pub mod history;
pub mod multivariant;
pub mod playlist;
pub mod rules;

use std::fmt;

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Short name of the rule.
    pub rule: &'static str,
    /// Where and how.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// Rules that do not hold, as they are found.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a fault unless `holds`.
    pub(crate) fn demand(&mut self, holds: bool, rule: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Fault { rule, what: what() });
        }
    }

    pub(crate) fn done(self) -> Vec<Fault> {
        self.0
    }
}

/// URIs of playlists are relative and hold nothing that is one viewer's own: the bytes are the same for all, behind any prefix.
pub(crate) fn relative(uri: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    !uri.is_empty() && !uri.starts_with('/') && uri.bytes().all(plain)
}
