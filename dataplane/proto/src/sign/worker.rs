//! How a worker of another machine and a node prove themselves to each other. Both begin with a ticket that control has made: the worker is sent it, the
//! node makes it again from the token that all nodes share. Neither sends it to the other: each shows that it has it. Before it: control, which says which
//! worker is whose; after it: the connection that orders and reports go over.
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::hmac_sha256;
use crate::secret::Secret;

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;

/// Makes tickets: of a fleet.
#[derive(Clone)]
pub struct WorkerKey([u8; 32]);

/// Who proves that it has a ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The node that is connected to.
    Node,
    /// The worker that connects.
    Worker,
}

/// What both have said once: of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nonces<'a> {
    /// The worker's.
    pub worker: &'a str,
    /// The node's.
    pub node: &'a str,
}

impl WorkerKey {
    /// Of the token that the nodes of a fleet share with its control.
    pub fn new(node_token: &Secret) -> Self {
        Self(hmac_sha256(node_token.expose().as_bytes(), b"millstream workers"))
    }

    /// What a worker of this name may connect to that node with, until then. Names have no control characters.
    pub fn ticket(&self, node: &str, worker: &str, expires_unix_s: u64) -> Secret {
        let of = format!("millstream ticket\n{node}\n{worker}\n{expires_unix_s}");
        Secret::new(URL_SAFE_NO_PAD.encode(hmac_sha256(&self.0, of.as_bytes())))
    }
}

impl fmt::Debug for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What shows that this side has the ticket, to who has it too. To be compared with [`Secret::matches`].
pub fn proof(ticket: &Secret, side: Side, nonces: Nonces<'_>) -> Secret {
    let side = match side {
        Side::Node => "node",
        Side::Worker => "worker",
    };
    let of = format!("millstream proof\n{side}\n{}\n{}", nonces.worker, nonces.node);
    Secret::new(URL_SAFE_NO_PAD.encode(hmac_sha256(ticket.expose().as_bytes(), of.as_bytes())))
}

/// The text of random bytes, said once.
pub fn nonce(random: [u8; NONCE_BYTES]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_one_worker_at_one_node_and_a_proof_for_one_side_of_one_connection() {
        let (key, other) = (WorkerKey::new(&Secret::new("token")), WorkerKey::new(&Secret::new("other")));
        let ticket = key.ticket("edge-1", "gpu", 1_000);
        for wrong in [
            other.ticket("edge-1", "gpu", 1_000),
            key.ticket("edge-2", "gpu", 1_000),
            key.ticket("edge-1", "gpu2", 1_000),
            key.ticket("edge-1", "gpu", 1_001),
        ] {
            assert!(!ticket.matches(wrong.expose()));
        }
        let nonces = Nonces { worker: &nonce([1; NONCE_BYTES]), node: &nonce([2; NONCE_BYTES]) };
        let shown = proof(&ticket, Side::Node, nonces);
        assert!(shown.matches(proof(&ticket, Side::Node, nonces).expose()));
        // What one side has shown is of no use to the other, nor for another connection.
        let turned = Nonces { worker: nonces.node, node: nonces.worker };
        for wrong in [proof(&ticket, Side::Worker, nonces), proof(&ticket, Side::Node, turned)] {
            assert!(!shown.matches(wrong.expose()));
        }
        assert_eq!(format!("{key:?} {ticket:?}"), "[redacted] [redacted]");
    }
}
