//! The steps of the `signed` preset: publish with a signature of a stream that has a record, play of any stream that has one.
//! Before them: the engine's admission has put server URL and stream key together into [`Request::params`].
use std::sync::Arc;

use millstream_proto::id::Id;
use millstream_proto::redact;
use millstream_proto::secret::Secret;
use millstream_proto::sign::{Claim, Keys, MasterKey, SignError, legacy, verify};

use crate::records::{FIRST_GENERATION, Record, Records};
use crate::{Action, DecisionContext, Denial, Grant, Policy, Request, Step, Why};

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
        let record = match find(&self.apps, context.records, request) {
            Ok(record) => record,
            Err(denial) => return Step::Deny(denial),
        };
        let secret = |generation| self.master.stream_secret(&request.name, generation);
        let secrets: Vec<_> = record.in_force(context.unix_s).map(secret).collect();
        let claim = Claim { action: Action::Publish, app: &request.app, id: &request.name };
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
            (Err(SignError::Wrong), Some(path)) => legacy::verify_path(signs(), path, keys, context.unix_s)
                .map_err(|error| if error == SignError::Malformed { SignError::Wrong } else { error }),
            (verdict, _) => verdict,
        };
        match verdict {
            Ok(()) => Step::Allow(Grant::default()),
            Err(error) => Step::Deny(refusal(error, request)),
        }
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
        SignError::Missing => (Why::Unauthenticated, "append ?sign=... to the stream key"),
        SignError::Duplicate => (Why::Unauthenticated, "give it once, in the stream key or in the server URL"),
        SignError::Malformed => (Why::Unauthenticated, "copy it whole, as it was issued"),
        SignError::Expired { .. } => (Why::Expired, "ask for a new one"),
        // Wrong, and whatever a later version adds.
        _ => {
            let reason = format!(
                "{error} (stream {id}): it was made for another path than /{app}/{id}, or with another key; ask for one that is made \
                 for publishing this stream"
            );
            return Denial::new(Why::Unauthenticated, reason);
        }
    };
    Denial::new(why, format!("{error} (stream {id}): {advice}"))
}
