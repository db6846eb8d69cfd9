//! The step that goes by a JSON Web Token (RFC 7519): signed with one of the configured keys, in its time, and naming stream and action.
//! The token is in the URL as `token` or `jwt`, or, of HTTP players, in `Authorization: Bearer`. [`key`] has the keys, [`token`] reads.
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use self::key::Key;
use self::token::{Claims, TokenError, names};
use crate::scope::{Missing, Pass};
use crate::{DecisionContext, Denial, Grant, Policy, PolicyMaker, Request, Step, Why};

pub mod key;
mod token;

#[cfg(test)]
mod tests;

/// Parameters of a URL that a token may be in.
const PARAMS: [&str; 2] = ["token", "jwt"];
/// Tokens whose signature a shard has found right and remembers: players of HLS show theirs with each playlist, and RS256 costs 30 us.
const VERIFIED_LEN_MAX: usize = 4096;

/// What tokens are checked by.
#[derive(Clone, Debug)]
pub struct Jwt {
    /// Whose signatures are good.
    pub keys: Vec<Key>,
    /// By how much the clocks of server and issuer may differ.
    pub leeway: Duration,
    /// Whether a token must say when it ends (`exp`).
    pub require_exp: bool,
    /// What `iss` must say; empty: anything.
    pub issuer: String,
    /// What `aud` must name; empty: anything.
    pub audience: String,
    /// The claim that names the stream; empty: a token is good for all streams.
    pub stream_claim: String,
    /// The claim that names the action; empty: a token is good for both.
    pub action_claim: String,
    /// Whether the session ends with the token.
    pub until_exp: bool,
    /// What who brings none gets.
    pub missing: Missing,
    /// What who brings a right one gets.
    pub pass: Pass,
}

impl Jwt {
    /// The step of each shard.
    pub fn maker(self) -> PolicyMaker {
        let rules = Arc::new(self);
        Arc::new(move |_shard| Rc::new(JwtStep { rules: Arc::clone(&rules), verified: RefCell::default() }))
    }

    /// Whether claims whose signature is right admit this request now; how long they do.
    fn check(&self, claims: &Claims, request: &Request, unix_s: u64) -> Result<Option<Duration>, TokenError> {
        let leeway_s = self.leeway.as_secs();
        match claims.exp {
            // A session that runs goes on, unless it is to end with its token.
            Some(exp) if (self.until_exp || !request.recheck) && unix_s >= exp.saturating_add(leeway_s) => {
                return Err(TokenError::Expired { since_s: unix_s.saturating_sub(exp) });
            }
            None if self.require_exp => return Err(TokenError::NoExpiry),
            _ => {}
        }
        if let Some(in_s) = claims.nbf.and_then(|nbf| nbf.checked_sub(unix_s.saturating_add(leeway_s)))
            && in_s > 0
        {
            return Err(TokenError::NotYet { in_s });
        }
        if !self.issuer.is_empty() && claims.iss.as_deref() != Some(&self.issuer) {
            return Err(TokenError::Issuer);
        }
        if !self.audience.is_empty() && !names(&claims.aud, |audience| audience == self.audience) {
            return Err(TokenError::Audience);
        }
        let (name, app) = (request.name.as_str(), request.app.as_str());
        let is_stream = |named: &str| {
            named == name || named == "*" || named.split_once('/').is_some_and(|(a, n)| (a, n) == (app, name))
        };
        if !self.stream_claim.is_empty() && !names(&claims.streams, is_stream) {
            return Err(TokenError::Stream(self.stream_claim.clone()));
        }
        let is_action = |named: &str| named == request.action.as_str() || named == "*";
        if !self.action_claim.is_empty() && !names(&claims.actions, is_action) {
            return Err(TokenError::Action(self.action_claim.clone()));
        }
        let end_s = claims.exp.map(|exp| exp.saturating_add(leeway_s).saturating_sub(unix_s));
        Ok(end_s.filter(|_| self.until_exp).map(Duration::from_secs))
    }
}

/// The step of one shard.
struct JwtStep {
    rules: Arc<Jwt>,
    /// By the digest of the token.
    verified: RefCell<HashMap<[u8; 32], Claims>>,
}

impl JwtStep {
    fn judge(&self, token: &str, request: &Request, unix_s: u64) -> Result<Option<Duration>, TokenError> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(claims) = self.verified.borrow().get(&digest) {
            return self.rules.check(claims, request, unix_s);
        }
        let claims = token::read(token, &self.rules)?;
        let checked = self.rules.check(&claims, request, unix_s)?;
        let verified = &mut *self.verified.borrow_mut();
        if verified.len() >= VERIFIED_LEN_MAX {
            verified.clear();
        }
        verified.insert(digest, claims);
        Ok(checked)
    }
}

/// The token of a request; `None`: it has none.
fn token_of(request: &Request) -> Result<Option<&str>, TokenError> {
    let mut tokens = PARAMS.into_iter().flat_map(|name| request.params.all(name)).filter(|token| !token.is_empty());
    let first = tokens.next();
    // Encoders that split server URL and stream key may say the same one twice.
    if tokens.any(|token| Some(token) != first) {
        return Err(TokenError::Several);
    }
    Ok(first.or(request.client.bearer.as_ref().map(millstream_proto::secret::Secret::expose)))
}

impl Policy for JwtStep {
    fn name(&self) -> &'static str {
        "jwt"
    }

    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step {
        let judged = match token_of(request) {
            Ok(Some(token)) => self.judge(token, request, context.unix_s),
            Ok(None) if self.rules.missing == Missing::Next => return Step::Abstain,
            Ok(None) => Err(TokenError::Missing),
            Err(error) => Err(error),
        };
        match judged {
            Ok(valid_for) => {
                let grant = valid_for.map_or_else(Grant::default, Grant::valid_for);
                self.rules.pass.step(grant)
            }
            Err(error) => {
                let why = match error {
                    TokenError::Expired { .. } => Why::Expired,
                    TokenError::Stream(_) | TokenError::Action(_) => Why::Forbidden,
                    _ => Why::Unauthenticated,
                };
                Denial::step(why, format!("{error} (stream {})", request.name))
            }
        }
    }

    fn abstains_because(&self, request: &Request) -> String {
        match token_of(request) {
            Ok(None) => "there is no token, and missing = \"next\"".to_owned(),
            _ => "the token is right, and pass = \"next\"".to_owned(),
        }
    }

    fn reads_params(&self, _request: &Request) -> bool {
        true
    }
}
