//! Who calls, and the login that they called by. Found by [`super::caller`]; in the audit log and in what handlers are given.
use serde::{Deserialize, Serialize};

use crate::model::token::{Digest, Role};

/// Somebody whose credentials were right.
#[derive(Clone, Debug)]
pub struct Caller {
    /// For the audit log: a token's name and id.
    pub who: String,
    /// The token's id.
    pub token_id: String,
    /// What they may do.
    pub role: Role,
    /// Where the request came from.
    pub address: String,
    /// The login, where it was by cookie.
    pub login: Option<Login>,
    /// It asks for an assistant ([`crate::mcp`]).
    pub is_assistant: bool,
}

impl Caller {
    /// Whether it may read secrets among settings. They do not belong into a conversation, whoever has it.
    pub fn reads_secrets(&self) -> bool {
        self.role >= Role::Operator && !self.is_assistant
    }
}

/// In the extensions of a request that is made for an assistant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForAssistant;

/// A console login as kept, under its token's id and the digest of its cookie ([`login_key`]).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Login {
    /// The token that it was made with: when that is removed, the login is over.
    pub token_id: String,
    /// [`Digest::text`] of the token that it was made with, so that a changed `admin-token` file ends its logins too.
    pub token_digest: String,
    /// What requests that change something must carry.
    pub csrf: String,
    /// Until when it is good, Unix milliseconds.
    pub expires_ms: u64,
    /// Its key in the store.
    #[serde(skip)]
    pub key: String,
}

/// The key of the login that this cookie stands for, `TOKEN_ID.RANDOM`; `None`: no cookie of ours.
pub(crate) fn login_key(cookie: &str) -> Option<String> {
    let (token_id, _) = cookie.split_once('.')?;
    Some(format!("{token_id}/{}", Digest::of(cookie).text()))
}
