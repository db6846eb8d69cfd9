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

/// What a hook came to, of one stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trouble {
    /// Publishers that were turned away.
    pub denied_publish: u64,
    /// Viewers that were turned away.
    pub denied_play: u64,
    /// Calls that failed.
    pub failed: u64,
    /// What the hook said last, or how it failed.
    pub why: String,
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
            Action::Publish => trouble.denied_publish += 1,
            Action::Play => trouble.denied_play += 1,
        });
    }

    /// A call of the hook failed; `label` is the word of the metrics.
    pub(crate) fn failed(&self, hook: &str, stream: &Id, label: &str) {
        self.note(hook, stream, label, |trouble| trouble.failed += 1);
    }

    fn note(&self, hook: &str, stream: &Id, why: &str, count: impl FnOnce(&mut Trouble)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (stream.clone(), hook.to_owned());
        if all.len() >= KEPT_MAX && !all.contains_key(&key) {
            return;
        }
        let trouble = all.entry(key).or_default();
        count(trouble);
        let end = (0..=WHY_BYTES_MAX.min(why.len())).rev().find(|at| why.is_char_boundary(*at)).unwrap_or(0);
        why.get(..end).unwrap_or_default().clone_into(&mut trouble.why);
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
        troubles.failed("other", &cam, "trap");
        let taken = troubles.take();
        let geo = Trouble { denied_play: 2, why: "not from there".to_owned(), ..Trouble::default() };
        let other = Trouble { failed: 1, why: "trap".to_owned(), ..Trouble::default() };
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
        assert!(taken.iter().all(|(.., trouble)| trouble.why.len() <= WHY_BYTES_MAX));
    }
}
