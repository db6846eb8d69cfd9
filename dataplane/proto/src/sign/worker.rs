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

/// Which of the proofs of a connection it is: none passes for another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// The node shows that it has the ticket.
    Welcome,
    /// The worker does.
    Worker,
    /// The node shows that it has said how it accepts the worker.
    Accepted,
}

impl WorkerKey {
    /// Of the token that the nodes of a fleet share with its control.
    pub fn new(node_token: &Secret) -> Self {
        Self(hmac_sha256(node_token.expose().as_bytes(), b"millstream workers"))
    }

    /// What this run of a worker of this name may connect to that node with, until then. Names have no control characters.
    pub fn ticket(&self, node: &str, (worker, run): (&str, u64), expires_unix_s: u64) -> Secret {
        let of = format!("millstream ticket\n{node}\n{worker}\n{run}\n{expires_unix_s}");
        Secret::new(URL_SAFE_NO_PAD.encode(hmac_sha256(&self.0, of.as_bytes())))
    }
}

impl fmt::Debug for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What shows that this side has the ticket and has heard and said just that on this connection, to who has the ticket too. `said` has a nonce of each side. To be
/// compared with [`Secret::matches`].
pub fn proof(ticket: &Secret, turn: Turn, said: &[u8]) -> Secret {
    let turn = match turn {
        Turn::Welcome => "welcome",
        Turn::Worker => "worker",
        Turn::Accepted => "accepted",
    };
    let of = [format!("millstream proof\n{turn}\n").as_bytes(), said].concat();
    Secret::new(URL_SAFE_NO_PAD.encode(hmac_sha256(ticket.expose().as_bytes(), &of)))
}

/// The text of random bytes, said once.
pub fn nonce(random: [u8; NONCE_BYTES]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_one_run_of_a_worker_at_one_node_and_a_proof_for_one_turn_of_one_connection() {
        let (key, other) = (WorkerKey::new(&Secret::new("token")), WorkerKey::new(&Secret::new("other")));
        let ticket = key.ticket("edge-1", ("gpu", 7), 1_000);
        for wrong in [
            other.ticket("edge-1", ("gpu", 7), 1_000),
            key.ticket("edge-2", ("gpu", 7), 1_000),
            key.ticket("edge-1", ("gpu2", 7), 1_000),
            key.ticket("edge-1", ("gpu", 8), 1_000),
            key.ticket("edge-1", ("gpu", 7), 1_001),
        ] {
            assert!(!ticket.matches(wrong.expose()));
        }
        let said = [nonce([1; NONCE_BYTES]), nonce([2; NONCE_BYTES])].concat().into_bytes();
        let shown = proof(&ticket, Turn::Welcome, &said);
        assert!(shown.matches(proof(&ticket, Turn::Welcome, &said).expose()));
        // What was shown once is of no use in another turn, nor for another connection.
        let other = [nonce([2; NONCE_BYTES]), nonce([1; NONCE_BYTES])].concat().into_bytes();
        for wrong in [
            proof(&ticket, Turn::Worker, &said),
            proof(&ticket, Turn::Accepted, &said),
            proof(&ticket, Turn::Welcome, &other),
        ] {
            assert!(!shown.matches(wrong.expose()));
        }
        assert_eq!(format!("{key:?} {ticket:?}"), "[redacted] [redacted]");
    }
}
