//! API tokens: who may do what. A token is 256 random bits, so a plain SHA-256 of it is enough to keep (nobody can try them all), and
//! the token itself is shown once, in the answer that makes it.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millstream_proto::secret::Secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use crate::http::problem::{Answer, Problem};

/// What every token begins with, so that scanners of repositories can find lost ones.
const PREFIX: &str = "mst_";
/// Hexadecimal digits of a token's id.
const ID_CHARS: usize = 16;

/// What a caller may do; each may do what those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See streams and what is live. No keys: who has one can publish.
    #[default]
    Viewer,
    /// Make, change and remove streams, see and rotate their keys, end sessions.
    Operator,
    /// Tokens, webhooks, the audit log, the configuration.
    Admin,
}

impl Role {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// The SHA-256 of a token or a cookie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of this text.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// As stored.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Whether this is the digest that `stored` writes; takes as long whichever byte differs.
    pub fn is(&self, stored: &str) -> bool {
        URL_SAFE_NO_PAD.decode(stored).is_ok_and(|stored| stored.as_slice().ct_eq(&self.0).into())
    }

    /// Whether both are the same; takes as long whichever byte differs.
    pub fn same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest")
    }
}

/// A token as kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenRecord {
    /// What it is for, in its maker's words.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// [`Digest::text`] of it.
    pub digest: String,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// Who made it.
    pub created_by: String,
    /// Until when it is good, Unix milliseconds; `None`: until it is removed.
    pub expires_ms: Option<u64>,
}

impl TokenRecord {
    /// Whether it is of the token with this digest.
    pub fn digest_is(&self, digest: &Digest) -> bool {
        digest.is(&self.digest)
    }
}

/// Makes a token: its id, and the text that its holder sends.
pub fn make() -> Answer<(String, Secret)> {
    let id: String = random::<{ ID_CHARS / 2 }>()?.iter().fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
    let secret = URL_SAFE_NO_PAD.encode(random::<32>()?);
    let token = Secret::new(format!("{PREFIX}{id}_{secret}"));
    Ok((id, token))
}

/// The id within a token, where it has the form of one.
pub fn id_of(token: &str) -> Option<&str> {
    let (id, _) = token.strip_prefix(PREFIX)?.split_at_checked(ID_CHARS)?;
    id.bytes().all(|b| b.is_ascii_hexdigit()).then_some(id)
}

/// Random bytes of the system.
pub(crate) fn random<const BYTES: usize>() -> Answer<[u8; BYTES]> {
    let mut bytes = [0_u8; BYTES];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => {
            tracing::error!(%error, "the system gives no random bytes");
            Err(Problem::unavailable("no-randomness", "the system gives no random bytes; nothing was made", 10))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_their_id_and_are_told_by_their_digest() {
        let (id, token) = make().unwrap();
        let (other_id, other) = make().unwrap();
        assert_eq!(id_of(token.expose()), Some(id.as_str()));
        assert_eq!(token.expose().len(), 4 + 16 + 1 + 43);
        assert!(id != other_id && token != other);
        let stored = Digest::of(token.expose()).text();
        assert!(Digest::of(token.expose()).is(&stored) && !Digest::of(other.expose()).is(&stored));
        assert!(!Digest::of(token.expose()).is("rubbish"));
        for bad in ["", "mst_", "mst_12", "mst_zzzzzzzzzzzzzzzz_x", "mst_0123456789abcdé"] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn roles_are_ordered() {
        assert!(Role::Admin > Role::Operator && Role::Operator > Role::Viewer);
    }
}
