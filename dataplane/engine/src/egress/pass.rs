//! What a request to play brings besides its URL's parameters: a play grant in its path, or an edge's secret. Looked at before it is routed, so that
//! the router sees the path of the stream alone. Before it: [`super::http`], which reads requests; after it: [`super::reply`], which asks
//! nobody about who has one.
use millstream_proto::http::request::Request;
use millstream_proto::id::Id;
use millstream_proto::sign::grant::{GrantError, PlayGrant, is_meant};

use super::refusal::TurnedAway;
use crate::clock::unix_s;
use crate::config::GrantConfig;

/// The segment that a grant stands behind. A stream may have that id: a grant has a dot, and nothing else that follows a stream's id does
/// where more follows.
const MARK: &str = "g";

/// What a request brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pass {
    /// Nothing: the policy is asked.
    #[default]
    None,
    /// A right grant for the stream that the path names.
    Grant(PlayGrant),
    /// The secret of an edge, which has checked its viewers' grants.
    Edge,
    /// A grant that is not right.
    WrongGrant(GrantError),
    /// No edge's secret.
    WrongEdge,
    /// A grant, where none are made.
    NoGrants,
}

impl Pass {
    /// Finds it, and takes a grant out of the path.
    pub(super) fn take(request: &mut Request, config: &GrantConfig) -> Self {
        if request.path.first().is_some_and(|first| first == MARK)
            && let [_, text, rest @ ..] = request.path.as_slice()
            && !rest.is_empty()
            && is_meant(text)
        {
            let pass = Self::of_grant(text, rest, config);
            request.path.drain(..2);
            return pass;
        }
        match &request.edge {
            Some(given) if !config.edge_secrets.is_empty() => {
                // All of them are compared, whichever it is.
                let right = config.edge_secrets.iter().filter(|secret| secret.matches(given.expose())).count();
                if right > 0 { Self::Edge } else { Self::WrongEdge }
            }
            _ => Self::None,
        }
    }

    fn of_grant(text: &str, rest: &[String], config: &GrantConfig) -> Self {
        let Some(keys) = &config.keys else { return Self::NoGrants };
        let id = match rest {
            // What pages ask for beside their stream, which is the same for everyone.
            [one] if one == "time" => return Self::None,
            [id, ..] => Id::new(id).ok(),
            [] => None,
        };
        match id.map(|id| keys.check(text, &id, unix_s())) {
            Some(Ok(grant)) => Self::Grant(grant),
            Some(Err(error)) => Self::WrongGrant(error),
            None => Self::WrongGrant(GrantError::Wrong),
        }
    }

    /// Whether the answer is for whoever asks for its URL, not for one viewer.
    pub(super) fn is_grant(self) -> bool {
        matches!(self, Self::Grant(_))
    }

    /// Why a request with this is refused, whatever it asks for; the text of an error may be needed for it.
    pub(super) fn refusal(self, text: &mut String) -> Option<TurnedAway<'_>> {
        let (why, reason) = match self {
            Self::None | Self::Grant(_) | Self::Edge => return None,
            Self::WrongGrant(error) => {
                *text = format!("{error}; ask for a new one: POST /NAME/grant");
                ("grant", text.as_str())
            }
            Self::WrongEdge => ("edge_secret", "X-Millstream-Edge is not what auth.edge_secret of this server says"),
            Self::NoGrants => ("grant", "this server makes no play grants, because it has no master key"),
        };
        Some(TurnedAway { status: 403, why, reason })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millstream_proto::http::request::{Parsed, parse};
    use millstream_proto::secret::Secret;
    use millstream_proto::sign::MasterKey;
    use millstream_proto::sign::grant::{GrantKeys, GrantSession};

    use super::*;

    fn config() -> GrantConfig {
        GrantConfig {
            keys: Some(GrantKeys::new(&MasterKey::new([1; 32]), 1)),
            previews: None,
            life: Duration::from_mins(2),
            edge_secrets: vec![Secret::new("the first of two"), Secret::new("the second of two")],
        }
    }

    fn take(target: &str, headers: &str) -> (Pass, String) {
        let Ok(Parsed::Complete { mut request, .. }) =
            parse(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n").as_bytes())
        else {
            panic!("{target} is no request");
        };
        (Pass::take(&mut request, &config()), request.path.join("/"))
    }

    #[test]
    fn a_grant_is_taken_out_of_the_path_once() {
        let grant = PlayGrant { expiry_unix_s: 999_999_999_999, session: GrantSession::new([3; 12]) };
        let keys = config().keys.unwrap();
        let of = |name: &str| keys.make(&Id::new(name).unwrap(), grant).expose().to_owned();
        let (cam, g) = (of("cam"), of("g"));
        let right = |target: &str, path: &str| {
            assert_eq!(take(target, ""), (Pass::Grant(grant), path.to_owned()), "{target}");
        };
        right(&format!("/g/{cam}/cam/live.m3u8"), "cam/live.m3u8");
        right(&format!("/g/{cam}/cam/s/1/video/2.m4s?x"), "cam/s/1/video/2.m4s");
        // Escapes are undone once, before anything is compared.
        right(&format!("/%67/{}/%63am/live.m3u8", cam.replace('.', "%2E")), "cam/live.m3u8");
        right(&format!("//g//{cam}/./cam/live.m3u8"), "cam/live.m3u8");
        // What is behind it is a path of that stream, and no second grant.
        right(&format!("/g/{g}/g/{cam}/cam/live.m3u8"), &format!("g/{cam}/cam/live.m3u8"));
        let wrong = |target: &str| {
            assert!(matches!(take(target, "").0, Pass::WrongGrant(_)), "{target}");
        };
        wrong(&format!("/g/{cam}/other/live.m3u8"));
        wrong(&format!("/g/{cam}/g/{cam}/cam/live.m3u8"));
        wrong(&format!("/g/{cam}/"));
        wrong(&format!("/g/{cam}/not%20an%20id/live.m3u8"));
        wrong(&format!("/g/{}/cam/live.m3u8", cam.replace("v1.", "v1%252e")));
        wrong(&format!("/g/{}/cam/live.m3u8", ".".to_owned() + &"A".repeat(3_000)));
        // A stream that is called g.
        for target in ["/g/live.m3u8", "/g/s/1/video/2.m4s", "/g/360p/live.m3u8", "/g/index.html", "/g"] {
            assert_eq!(take(target, ""), (Pass::None, target[1..].to_owned()));
        }
        assert_eq!(take("/g/v1.x/time", ""), (Pass::None, "time".to_owned()));
    }

    #[test]
    fn edges_prove_themselves_with_either_secret() {
        let edge = |secret: &str| take("/cam/live.m3u8", &format!("X-Millstream-Edge: {secret}\r\n")).0;
        assert_eq!((edge("the first of two"), edge("the second of two")), (Pass::Edge, Pass::Edge));
        for wrong in ["", "the first of tw", "the first of two2"] {
            assert_eq!(edge(wrong), Pass::WrongEdge, "{wrong}");
        }
        assert_eq!(take("/cam/live.m3u8", "").0, Pass::None);
    }
}
