//! The steps of the `signed` preset: publish with a signature of a stream that has a record, play of any stream that has one.
//! Before them: the engine's admission has put server URL and stream key together into [`Request::params`].
use std::sync::Arc;
use std::time::Duration;

use millstream_proto::id::Id;
use millstream_proto::redact;
use millstream_proto::secret::Secret;
use millstream_proto::sign::{Claim, Keys, MasterKey, SignError, legacy, parse_expiry, verify};

use crate::records::{FIRST_GENERATION, Record, Records};
use crate::scope::{Missing, Pass};
use crate::{Action, DecisionContext, Denial, Grant, Policy, Request, Stance, Step, Why};

/// The application of push URLs unless the configuration lists others.
pub const APP: &str = "stream";

/// Admits a publisher whose URL is signed; has no opinion on play.
#[derive(Clone, Debug)]
pub struct SignedPublish {
    master: MasterKey,
    legacy: Vec<Secret>,
    apps: Apps,
}

/// The applications that there are. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Apps(Arc<[Id]>);

impl Apps {
    /// These; [`APP`] where there is none.
    pub fn new(apps: impl IntoIterator<Item = Id>) -> Self {
        let mut apps: Vec<Id> = apps.into_iter().collect();
        if apps.is_empty() {
            apps.extend(Id::new(APP).ok());
        }
        Self(apps.into())
    }

    /// The one that addresses are shown with, and that play over HTTP stands for.
    pub fn first(&self) -> Option<&Id> {
        self.0.first()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Id> {
        self.0.iter()
    }
}

impl Default for Apps {
    fn default() -> Self {
        Self::new([])
    }
}

impl SignedPublish {
    /// Signatures are checked under secrets made from `master`, and in their legacy form under the `legacy` keys too, for as long as the
    /// stream's first generation is in force or in its grace.
    pub fn new(master: MasterKey, legacy: Vec<Secret>, apps: Apps) -> Self {
        Self { master, legacy, apps }
    }
}

impl Policy for SignedPublish {
    fn name(&self) -> &'static str {
        "signed-publish"
    }

    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step {
        if request.action != Action::Publish {
            return Step::Abstain;
        }
        match self.judge(request, context) {
            Ok(()) => Step::Allow(Grant::default()),
            Err(Unsigned::NoStream(denial)) => Step::Deny(denial),
            Err(Unsigned::By(error)) => Step::Deny(refusal(error, request)),
        }
    }

    fn stance(&self, _name: &Id) -> Stance {
        Stance::Passes
    }
}

/// Why a request counts as not signed.
enum Unsigned {
    NoStream(Denial),
    By(SignError),
}

impl SignedPublish {
    fn judge(&self, request: &Request, context: DecisionContext<'_>) -> Result<(), Unsigned> {
        let record = find(&self.apps, context.records, request).map_err(Unsigned::NoStream)?;
        let secret = |generation| self.master.stream_secret(&request.name, generation);
        let secrets: Vec<_> = record.in_force(context.unix_s).map(secret).collect();
        let claim = Claim { action: request.action, app: &request.app, id: &request.name };
        // A rotation, and removal (a stream that is made again goes on counting), end legacy keys with the first generation.
        let legacy = if record.in_force(context.unix_s).any(|generation| generation == FIRST_GENERATION) {
            self.legacy.as_slice()
        } else {
            &[]
        };
        let keys = Keys { stream: &secrets, legacy };
        let signs = || request.params.all("sign");
        let verdict = verify(signs(), claim, keys, context.unix_s);
        // Signatures of another server cover the path that it had.
        let verdict = match (verdict, &request.path) {
            (Err(SignError::Wrong), Some(path)) if request.action == Action::Publish => {
                legacy::verify_path(signs(), path, keys, context.unix_s)
                    .map_err(|error| if error == SignError::Malformed { SignError::Wrong } else { error })
            }
            (verdict, _) => verdict,
        };
        match verdict {
            // Expiry bars new sessions, and does not end those that run.
            Err(SignError::Expired { .. }) if request.recheck => Ok(()),
            verdict => verdict.map_err(Unsigned::By),
        }
    }
}

/// Admits whoever has a signed URL, to publish or to play: what the `signed` preset does for publishers, for either.
#[derive(Clone, Debug)]
pub struct Signed {
    /// What signatures are checked with. Legacy ones admit publishers only.
    pub keys: SignedPublish,
    /// What who brings none gets.
    pub missing: Missing,
    /// What who brings a right one gets.
    pub pass: Pass,
    /// Whether the session ends with the signature.
    pub until_exp: bool,
}

impl Policy for Signed {
    fn name(&self) -> &'static str {
        "signed"
    }

    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step {
        match self.keys.judge(request, context) {
            Ok(()) if self.until_exp => {
                let expiry = request.params.get("sign").and_then(expiry).unwrap_or(context.unix_s);
                self.pass.step(Grant::valid_for(Duration::from_secs(expiry.saturating_sub(context.unix_s))))
            }
            Ok(()) => self.pass.step(Grant::default()),
            Err(Unsigned::By(SignError::Missing)) if self.missing == Missing::Next => Step::Abstain,
            Err(Unsigned::By(error)) => Step::Deny(refusal(error, request)),
            Err(Unsigned::NoStream(denial)) => Step::Deny(denial),
        }
    }

    fn abstains_because(&self, request: &Request) -> String {
        match request.params.get("sign") {
            None => "the URL has no sign parameter, and missing = \"next\"".to_owned(),
            Some(_) => "the signature is right, and pass = \"next\"".to_owned(),
        }
    }

    fn reads_params(&self, _request: &Request) -> bool {
        true
    }
}

/// When a signature that has been found right ends.
fn expiry(sign: &str) -> Option<u64> {
    sign.strip_prefix("v2-").unwrap_or(sign).split('-').next().and_then(parse_expiry)
}

/// A condition for publishing or playing: the stream has a record.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The applications that there are.
    pub apps: Apps,
    /// What who names such a stream gets.
    pub pass: Pass,
}

impl Policy for Recorded {
    fn name(&self) -> &'static str {
        "recorded"
    }

    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step {
        match find(&self.apps, context.records, request) {
            Ok(_) => self.pass.step(Grant::default()),
            Err(denial) => Step::Deny(denial),
        }
    }

    fn abstains_because(&self, _request: &Request) -> String {
        "the stream has a record, and pass = \"next\"".to_owned()
    }

    fn stance(&self, _name: &Id) -> Stance {
        self.pass.stance()
    }
}

/// Admits whoever wants to play a stream that has a record; has no opinion on publish.
#[derive(Clone, Debug, Default)]
pub struct RecordedPlay(Apps);

impl RecordedPlay {
    /// Over these applications.
    pub const fn new(apps: Apps) -> Self {
        Self(apps)
    }
}

impl Policy for RecordedPlay {
    fn name(&self) -> &'static str {
        "recorded-play"
    }

    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step {
        if request.action != Action::Play {
            return Step::Abstain;
        }
        match find(&self.0, context.records, request) {
            Ok(_) => Step::Allow(Grant::default()),
            Err(denial) => Step::Deny(denial),
        }
    }

    fn stance(&self, _name: &Id) -> Stance {
        Stance::Admits
    }
}

fn find<'a>(apps: &Apps, records: &'a Records, request: &Request) -> Result<&'a Record, Denial> {
    // What names no stream may be a key in the wrong field.
    let (app, name) = (redact::name(request.app.as_str()), redact::name(request.name.as_str()));
    if !apps.iter().any(|app| *app == request.app) {
        let known = apps.iter().map(|known| format!("rtmp://HOST/{known}/{name}")).collect::<Vec<_>>().join(" or ");
        let reason = format!("there is no application {app}; use {known}");
        return Err(Denial::new(Why::NotFound, reason));
    }
    records.get(&request.name).ok_or_else(|| {
        let advice = format!("check the id, or have the operator add it: millstream stream add {name}");
        Denial::new(Why::NotFound, format!("there is no stream {name}; {advice}"))
    })
}

/// What the peer is told: what was wrong and what to do. Neither [`SignError`] nor this holds the signature.
fn refusal(error: SignError, request: &Request) -> Denial {
    let (app, id) = (&request.app, &request.name);
    let (why, advice) = match error {
        SignError::Missing if request.action == Action::Play => (Why::Unauthenticated, "append ?sign=... to the URL"),
        SignError::Missing => (Why::Unauthenticated, "append ?sign=... to the stream key"),
        SignError::Duplicate => (Why::Unauthenticated, "give it once, in the stream key or in the server URL"),
        SignError::Malformed => (Why::Unauthenticated, "copy it whole, as it was issued"),
        SignError::Expired { .. } => (Why::Expired, "ask for a new one"),
        // Wrong, and whatever a later version adds.
        _ => {
            let reason = format!(
                "{error} (stream {id}): it was made for another path than /{app}/{id}, or with another key; ask for one that is made \
                 for {} this stream",
                if request.action == Action::Publish { "publishing" } else { "playing" }
            );
            return Denial::new(Why::Unauthenticated, reason);
        }
    };
    Denial::new(why, format!("{error} (stream {id}): {advice}"))
}
