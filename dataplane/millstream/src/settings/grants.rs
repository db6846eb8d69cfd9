//! What `[auth]` says of play grants and of the edges that check them.
use std::time::Duration;

use millstream_proto::secret::Secret;
use toml::de::DeValue;

use super::document::{Findings, Table, list, string};
use super::readers::{duration, number};

/// Shorter than this, a secret can be guessed.
const EDGE_SECRET_CHARS_MIN: usize = 16;
/// One in use, one that is to replace it, and some for edges of other houses.
const EDGE_SECRETS_MAX: usize = 4;
/// Each renewal is a request, and a question to the policy.
const LIFE_MIN_MS: u64 = 5_000;
const LIFE_MAX_MS: u64 = 86_400_000;
/// More than anybody rotates; it fits the digits that a grant has for it.
const GENERATION_MAX: u64 = 999_999_999;

/// As far as the file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct GrantSettings {
    pub(crate) life: Option<Duration>,
    pub(crate) generation: Option<u32>,
    pub(crate) edge_secrets: Vec<Secret>,
}

/// Reads the keys of `[auth]` that are about grants.
pub(crate) fn walk(auth: &mut Table<'_>, f: &mut Findings<'_>) -> GrantSettings {
    GrantSettings {
        life: auth.take(f, "grant_life", duration(LIFE_MIN_MS, LIFE_MAX_MS)),
        generation: auth.take(f, "grant_generation", number(1..=GENERATION_MAX)),
        edge_secrets: auth
            .take(f, "edge_secret", |value| match string(value) {
                Ok("") => Ok(Vec::new()),
                Ok(text) => Ok(vec![edge_secret(text)?]),
                Err(error) if !matches!(value, DeValue::Array(_)) => Err(error),
                Err(_) => {
                    let secrets = list(value, |item| edge_secret(string(item)?))?;
                    if secrets.len() > EDGE_SECRETS_MAX {
                        return Err(format!("there are {} secrets; give at most {EDGE_SECRETS_MAX}", secrets.len()));
                    }
                    Ok(secrets)
                }
            })
            .unwrap_or_default(),
    }
}

/// Never quotes a secret, whatever is wrong with it.
fn edge_secret(text: &str) -> Result<Secret, String> {
    if text.len() < EDGE_SECRET_CHARS_MIN {
        return Err(format!("a secret needs at least {EDGE_SECRET_CHARS_MIN} characters; try openssl rand -hex 24"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a secret is the value of a header: letters, digits and signs, without spaces".to_owned());
    }
    Ok(Secret::new(text))
}
