//! The steps of the `signed` preset: publish with a signature of a stream that has a record, play of any stream that has one.
//! Before them: the engine's door has put server URL and stream key together into [`Request::params`].
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use millstream_proto::sign::{Claim, Keys, MasterKey, SignError, verify};

use crate::records::{Record, Records};
use crate::{Action, Denial, Grant, Moment, Policy, Request, Step, Why};

/// The one application that signed chains know.
pub const APP: &str = "stream";

/// Admits a publisher whose URL is signed; has no opinion on play.
#[derive(Clone, Debug)]
pub struct SignedPublish {
    master: MasterKey,
    legacy: Vec<Secret>,
}

impl SignedPublish {
    /// Signatures are checked under secrets made from `master`, and in their legacy form under the `legacy` keys too.
    pub fn new(master: MasterKey, legacy: Vec<Secret>) -> Self {
        Self { master, legacy }
    }
}

impl Policy for SignedPublish {
    fn name(&self) -> &'static str {
        "signed-publish"
    }

    fn decide(&self, request: &Request, moment: Moment<'_>) -> Step {
        if request.action != Action::Publish {
            return Step::Next;
        }
        let record = match find(moment.records, request) {
            Ok(record) => record,
            Err(denial) => return Step::Deny(denial),
        };
        let secret = |generation| self.master.stream_secret(&request.name, generation);
        let secrets: Vec<_> = record.in_force(moment.unix_s).map(secret).collect();
        let claim = Claim { action: Action::Publish, app: &request.app, id: &request.name };
        let keys = Keys { stream: &secrets, legacy: &self.legacy };
        match verify(request.params.all("sign"), claim, keys, moment.unix_s) {
            Ok(()) => Step::Allow(Grant::default()),
            Err(error) => Step::Deny(refusal(error, &request.name)),
        }
    }
}

/// Admits whoever wants to play a stream that has a record; has no opinion on publish.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordedPlay;

impl Policy for RecordedPlay {
    fn name(&self) -> &'static str {
        "recorded-play"
    }

    fn decide(&self, request: &Request, moment: Moment<'_>) -> Step {
        if request.action != Action::Play {
            return Step::Next;
        }
        match find(moment.records, request) {
            Ok(_) => Step::Allow(Grant::default()),
            Err(denial) => Step::Deny(denial),
        }
    }
}

fn find<'a>(records: &'a Records, request: &Request) -> Result<&'a Record, Denial> {
    if request.app.as_str() != APP {
        let reason = format!("there is no application {}; use rtmp://HOST/{APP}/{}", request.app, request.name);
        return Err(Denial { why: Why::NotFound, reason });
    }
    records.get(&request.name).ok_or_else(|| Denial {
        why: Why::NotFound,
        reason: format!("there is no stream {}; check the id, or have the operator add a record of it", request.name),
    })
}

/// What the peer is told: what was wrong and what to do. Neither [`SignError`] nor this holds the signature.
fn refusal(error: SignError, id: &Id) -> Denial {
    let (why, advice) = match error {
        SignError::Missing => (Why::Unauthenticated, "append ?sign=... to the stream key"),
        SignError::Duplicate => (Why::Unauthenticated, "give it once, in the stream key or in the server URL"),
        SignError::Malformed => (Why::Unauthenticated, "copy it whole, as it was issued"),
        SignError::Expired { .. } => (Why::Expired, "ask for a new one"),
        // Wrong, and whatever a later version adds.
        _ => (Why::Unauthenticated, "ask for one that is made for publishing this stream"),
    };
    Denial { why, reason: format!("{error} (stream {id}): {advice}") }
}
