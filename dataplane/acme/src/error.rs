//! Why an order has brought no certificate. What an authority says is shortened, and is printed as one line.
use instant_acme::Problem;
use millstream_tls::{CertificateError, ChallengeError};

/// Characters of what an authority says.
const WORDS_MAX: usize = 400;
/// What the types of problems begin with.
const PROBLEM: &str = "urn:ietf:params:acme:error:";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// The authority cannot be reached, or does not speak as one.
    #[error("the authority cannot be asked: {0}")]
    Unreachable(String),
    /// It does not come to an end.
    #[error("the authority did not come to an end within {0} s")]
    Late(u64),
    /// It wants to be left alone for a time.
    #[error("the authority has a limit that is reached: {0}")]
    RateLimited(String),
    /// It says no.
    #[error("the authority refuses: {words} ({kind})")]
    Refused {
        /// The problem's type.
        kind: String,
        /// What it says.
        words: String,
    },
    /// It has not found the challenge's answer at a name.
    #[error("the authority does not find this server at {name} ({by}): {words}; {advice}")]
    Challenge {
        /// The name.
        name: String,
        /// The kind of challenge.
        by: &'static str,
        /// What it says.
        words: String,
        /// What has to be so.
        advice: &'static str,
    },
    /// It has no challenge that this server answers.
    #[error("the authority has no challenge for {name} that this server may answer: it has {offered}")]
    NoChallenge {
        /// The name.
        name: String,
        /// What there is.
        offered: String,
    },
    /// A challenge cannot be shown.
    #[error("a challenge cannot be answered: {0}")]
    Shown(String),
    /// What it has issued is not what was ordered.
    #[error("the authority's certificate cannot be used: {0}")]
    Certificate(String),
    /// The files cannot be written.
    #[error("{0}: cannot be written: {1}")]
    Files(&'static str, std::io::Error),
}

impl OrderError {
    /// A word for counters.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Late(_) => "late",
            Self::RateLimited(_) => "rate_limited",
            Self::Refused { .. } => "refused",
            Self::Challenge { .. } | Self::NoChallenge { .. } => "challenge",
            Self::Shown(_) | Self::Certificate(_) | Self::Files(..) => "failed",
        }
    }

    /// What tells one reason from another, without what changes with each try.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Refused { kind, .. } => format!("{} {kind}", self.label()),
            Self::Challenge { name, by, .. } => format!("{} {name} {by}", self.label()),
            _ => self.label().to_owned(),
        }
    }

    /// Whether the authority does not know the account (any more).
    pub(crate) fn is_of_account(&self) -> bool {
        matches!(self, Self::Refused { kind, .. } if kind == "accountDoesNotExist")
    }

    /// Whether the authority does not take the number of a request.
    pub(crate) fn is_of_nonce(&self) -> bool {
        matches!(self, Self::Refused { kind, .. } if kind == "badNonce")
    }
}

impl From<Problem> for OrderError {
    fn from(problem: Problem) -> Self {
        let kind = problem.r#type.as_deref().unwrap_or("about:blank");
        let kind = tidy(kind.strip_prefix(PROBLEM).unwrap_or(kind));
        let words = words_of(&problem);
        if kind == "rateLimited" { Self::RateLimited(words) } else { Self::Refused { kind, words } }
    }
}

impl From<instant_acme::Error> for OrderError {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) => problem.into(),
            // What the client itself says.
            instant_acme::Error::Other(error) => match error.downcast::<Self>() {
                Ok(error) => *error,
                Err(error) => Self::Unreachable(tidy(&error.to_string())),
            },
            instant_acme::Error::Timeout(_) => Self::Late(crate::order::POLL_WAIT.as_secs()),
            other => Self::Unreachable(tidy(&other.to_string())),
        }
    }
}

impl From<ChallengeError> for OrderError {
    fn from(error: ChallengeError) -> Self {
        Self::Shown(error.to_string())
    }
}

impl From<CertificateError> for OrderError {
    fn from(error: CertificateError) -> Self {
        Self::Certificate(error.to_string())
    }
}

/// What a problem says, and what its parts say of single names.
pub(crate) fn words_of(problem: &Problem) -> String {
    let mut words = problem.detail.clone().unwrap_or_else(|| "it does not say why".to_owned());
    for part in &problem.subproblems {
        words = format!("{words}; {part}");
    }
    tidy(&words)
}

/// One line, and not a long one.
pub(crate) fn tidy(words: &str) -> String {
    words.chars().take(WORDS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> OrderError {
        serde_json::from_str::<Problem>(json).unwrap().into()
    }

    #[test]
    fn problems_are_told_apart_and_shortened() {
        let limited = problem(r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many\ncertificates"}"#);
        assert_eq!((limited.label(), limited.kind()), ("rate_limited", "rate_limited".to_owned()));
        assert!(limited.to_string().ends_with("too many certificates"), "{limited}");
        let refused = problem(r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"not this one"}"#);
        assert_eq!(refused.kind(), "refused rejectedIdentifier");
        assert!(problem(r#"{"type":"urn:ietf:params:acme:error:accountDoesNotExist"}"#).is_of_account());
        let long = problem(&format!(r#"{{"detail":"{}"}}"#, "x".repeat(5_000)));
        assert!(long.to_string().len() < 500, "{long}");
    }
}
