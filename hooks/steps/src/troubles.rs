//! Whom hooks turned away, and how often they failed, by stream: for who judges streams. Before it: [`super::step`], which counts denials and failures
//! and nothing else; after it: the node's agent, which takes what has gathered, about once a second.
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use millstream_policy::{Action, Step};
use millstream_proto::id::Id;

/// Streams and hooks that are told apart between two looks; more are in the metrics alone.
const KEPT_MAX: usize = 1_024;
/// Bytes of a hook's own words.
const WHY_BYTES_MAX: usize = 256;

/// How often something came of a hook, and what was said of it last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// What the hook said last, or how it failed.
    pub why: String,
}

/// What a hook came to, of one stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trouble {
    /// Attempts to publish that were refused.
    pub denied_publish: Tally,
    /// Attempts to play that were refused.
    pub denied_play: Tally,
    /// Calls that failed; the reason is the word of the metrics.
    pub failed: Tally,
}

/// What has gathered since it was taken last.
#[derive(Debug, Default)]
pub struct Troubles(Mutex<BTreeMap<(Id, String), Trouble>>);

impl Troubles {
    /// The hook answered this: a denial is noted.
    pub(crate) fn answered(&self, hook: &str, action: Action, stream: &Id, step: &Step) {
        let Step::Deny(denial) = step else { return };
        // Who is sent elsewhere plays there.
        if denial.location.is_some() {
            return;
        }
        self.note(hook, stream, &denial.reason, |trouble| match action {
            Action::Publish => &mut trouble.denied_publish,
            Action::Play => &mut trouble.denied_play,
        });
    }

    /// A call of the hook failed; `label` is the word of the metrics.
    pub(crate) fn failed(&self, hook: &str, stream: &Id, label: &str) {
        self.note(hook, stream, label, |trouble| &mut trouble.failed);
    }

    fn note(&self, hook: &str, stream: &Id, why: &str, which: impl FnOnce(&mut Trouble) -> &mut Tally) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (stream.clone(), hook.to_owned());
        if all.len() >= KEPT_MAX && !all.contains_key(&key) {
            return;
        }
        let tally = which(all.entry(key).or_default());
        tally.count += 1;
        let end = (0..=WHY_BYTES_MAX.min(why.len())).rev().find(|at| why.is_char_boundary(*at)).unwrap_or(0);
        why.get(..end).unwrap_or_default().clone_into(&mut tally.why);
    }

    /// What has gathered: stream, hook, and what the hook came to.
    pub fn take(&self) -> Vec<(Id, String, Trouble)> {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        all.into_iter().map(|((stream, hook), trouble)| (stream, hook, trouble)).collect()
    }
}

#[cfg(test)]
mod tests {
    use millstream_policy::{Denial, Grant, Why};

    use super::*;

    #[test]
    fn denials_and_failures_gather_by_stream_until_they_are_taken() {
        let (troubles, cam) = (Troubles::default(), Id::new("cam").unwrap());
        let deny = |reason: &str| Denial::step(Why::Forbidden, reason);
        troubles.answered("geo", Action::Play, &cam, &deny("first"));
        troubles.answered("geo", Action::Play, &cam, &deny("not from there"));
        troubles.answered("geo", Action::Publish, &cam, &Step::Allow(Grant::default()));
        troubles.answered("geo", Action::Publish, &cam, &deny("no key"));
        troubles.failed("geo", &cam, "late");
        troubles.failed("other", &cam, "trap");
        let taken = troubles.take();
        let tally = |count: u64, why: &str| Tally { count, why: why.to_owned() };
        // Each has its own reason, whatever came last.
        let geo = Trouble {
            denied_publish: tally(1, "no key"),
            denied_play: tally(2, "not from there"),
            failed: tally(1, "late"),
        };
        let other = Trouble { failed: tally(1, "trap"), ..Trouble::default() };
        assert_eq!(taken, [(cam.clone(), "geo".to_owned(), geo), (cam, "other".to_owned(), other)]);
        assert!(troubles.take().is_empty());
    }

    #[test]
    fn a_flood_of_names_is_bounded() {
        let troubles = Troubles::default();
        for n in 0..5_000 {
            let id = Id::new(&format!("made-up-{n}")).unwrap();
            troubles.answered("geo", Action::Play, &id, &Denial::step(Why::Forbidden, "\u{e9}".repeat(1_000)));
        }
        let taken = troubles.take();
        assert_eq!(taken.len(), KEPT_MAX);
        assert!(taken.iter().all(|(.., trouble)| trouble.denied_play.why.len() <= WHY_BYTES_MAX));
    }
}
