//! The certificate that control has for all its nodes, and what an authority may ask any of them while one is ordered. Before it: control, which orders it;
//! after it: [`crate::exchange::Push`] carries it. The key is not here: a node fetches the file by its SHA-256, `GET /link/v1/certificates/{sha256}`, which
//! control answers over TLS alone.
use std::fmt;

use serde::{Deserialize, Serialize};

/// Challenges that are pending at a time: a certificate has a hundred names at most.
pub const CHALLENGES_TOLD_MAX: usize = 128;

/// What a node is to show to clients and to an authority.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetTls {
    /// Another one with each change, also over restarts of control. A node says in its next poll that it shows this.
    pub number: u64,
    /// SHA-256 of the file with certificate, chain and key, 64 hexadecimal digits; empty: there is none, and a node keeps what it has.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// What an authority may ask, and nothing else; at most [`CHALLENGES_TOLD_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub challenges: Vec<PendingChallenge>,
}

/// One challenge of an ACME authority (RFC 8555, 8).
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PendingChallenge {
    /// The name that the authority looks at.
    pub name: String,
    /// `http-01` or `tls-alpn-01`; an open set.
    pub kind: String,
    /// What the authority asks for.
    pub token: String,
    /// The key authorization (RFC 8555, 8.1): the answer of http-01, and what the certificate of tls-alpn-01 has a digest of.
    pub answer: String,
}

// By hand: who has an answer can pass for the fleet before an authority.
impl fmt::Debug for PendingChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, .. } = self;
        f.debug_struct("PendingChallenge").field("name", name).field("kind", kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_does_not_print() {
        let challenge = PendingChallenge {
            name: "a.org".to_owned(),
            token: "hush".to_owned(),
            answer: "hush.hush".to_owned(),
            ..PendingChallenge::default()
        };
        let tls = FleetTls { challenges: vec![challenge], ..FleetTls::default() };
        let said = format!("{tls:?}");
        assert!(said.contains("a.org") && !said.contains("hush"), "{said}");
    }
}
