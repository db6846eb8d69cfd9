//! The certificate that all nodes show, and the challenges that each of them answers while one is ordered, as values. Before it: [`super::certified`], by which
//! whoever orders certificates changes them; after it: nodes, which are told with their polls and fetch the file with the key by its SHA-256, over TLS alone
//! ([`super::router`]).
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use millstream_control_protocol::tls::FleetTls;
use millstream_proto::secret::Secret;
use sha2::{Digest as _, Sha256};

/// In the extensions of a request: nobody on the way can read the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encrypted;

/// What nodes are to show.
#[derive(Debug, Default)]
pub(super) struct DesiredTls {
    /// `number` is 0: nothing was said yet.
    pub(super) told: FleetTls,
    /// The file that `told` names.
    pub(super) file: Secret,
}

/// SHA-256 as nodes name the file.
pub fn sha256_of(file: &Secret) -> String {
    Sha256::digest(file.expose()).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What can be the SHA-256 of a file, and so a part of a path.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl DesiredTls {
    /// What a node is to be told that shows this; `None`: nothing.
    pub(super) fn news(&self, shown: Option<u64>) -> Option<FleetTls> {
        let shown = shown?;
        (self.told.number != 0 && self.told.number != shown).then(|| self.told.clone())
    }

    /// Makes a change, and gives the number by which nodes confirm it.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Self)) -> u64 {
        change(self);
        // By the clock, so that no run of control repeats a number of another one; 53 bits, which every reader of JSON takes as they are.
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        self.told.number = (self.told.number + 1).max(now_us & ((1 << 53) - 1));
        self.told.number
    }
}
