//! How renditions do, by what their worker says: the events that control is told, and why one would not be made now. Sans-IO. Beside
//! [`super::table`]; before it: [`super::process`]; after it: [`super::workers`], which tells.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream_control_protocol::event::What;
use millstream_engine::renditions::Trouble;
use millstream_proto::id::Id;
use millstream_worker::protocol::{Report, Why};

use super::crashes::CRASHED;
use super::table::{Wanted, wait_after};

/// Workers that end one after the other before they take orders, until none is waited for.
const WORKERS_MAX: u32 = 3;
/// What failed for less long than this is not told to those who ask: it may be there in a moment.
const TROUBLE_LEAST: Duration = Duration::from_secs(10);
/// What is wrong with this many renditions is remembered.
const KNOWN_MAX: usize = 4_096;

/// How renditions do.
#[derive(Debug, Default)]
pub(crate) struct States {
    known: BTreeMap<Id, State>,
    /// So many workers ended, one after the other, without having taken orders.
    workers_lost: u32,
    /// There is none, and none can be started here: one of another machine is waited for.
    is_awaited: bool,
    counts: Counts,
}

/// How often something happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    /// Renditions that were begun.
    pub(crate) started: u64,
    /// And that were not, or that broke off.
    pub(crate) failed: u64,
    /// Those of them that the machine was too slow for.
    pub(crate) shed: u64,
}

#[derive(Debug, Default)]
struct State {
    started: Option<Instant>,
    /// Why it was not made last, and until when that holds. Kept while it is not made, so that nothing is told twice.
    failed: Option<(&'static str, String, Instant)>,
}

impl States {
    /// Takes a report about a stream or one of its renditions; gives what is to be told, and of which stream.
    pub(crate) fn heard(&mut self, of: &Id, report: &Report, wanted: &Wanted, now: Instant) -> Vec<(Id, What)> {
        match report {
            Report::Started { width, height, .. } => {
                let Some((stream, name)) = of.rendition() else { return Vec::new() };
                if !wanted.get(&stream).is_some_and(|all| all.iter().any(|one| one.name == name)) {
                    // Its last viewer left while it began.
                    return Vec::new();
                }
                let state = self.known.entry(of.clone()).or_default();
                state.failed = None;
                if state.started.is_some() {
                    // It was reconnected.
                    return Vec::new();
                }
                state.started = Some(now);
                self.counts.started += 1;
                let (width, height) = (*width, *height);
                vec![(stream, What::RenditionStarted { rendition: name.to_string(), width, height })]
            }
            // What is no longer wanted is told when that is said.
            Report::Ended { why: Why::Stopped | Why::Gone, .. } => Vec::new(),
            Report::Ended { why, error, .. } => {
                let words = error.as_deref().unwrap_or_default();
                let words = in_words(*why, words);
                let until = now + wait_after(*why);
                if of.is_rendition() {
                    return self.fail(of, reason(*why), &words, until).into_iter().collect();
                }
                let names = wanted.get(of).into_iter().flatten().map(|rendition| of.of_rendition(&rendition.name));
                names.filter_map(|id| self.fail(&id, reason(*why), &words, until)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A worker has ended with a picture of this stream, and no rendition of it is made until then; gives what is to be told.
    pub(crate) fn crashed(&mut self, stream: &Id, why: &str, wanted: &Wanted, until: Instant) -> Vec<(Id, What)> {
        let names = wanted.get(stream).into_iter().flatten().map(|rendition| stream.of_rendition(&rendition.name));
        names.filter_map(|id| self.fail(&id, CRASHED, why, until)).collect()
    }

    /// A worker takes orders.
    pub(crate) fn worker_ready(&mut self) {
        self.workers_lost = 0;
        self.is_awaited = false;
    }

    /// One of another machine is waited for.
    pub(crate) fn worker_awaited(&mut self) {
        self.is_awaited = true;
    }

    /// Nobody asks for a rendition any more.
    pub(crate) fn unwanted(&mut self, rendition: &Id, now: Instant) -> Option<(Id, What)> {
        let began = self.known.get_mut(rendition)?.started.take();
        self.forget(now);
        let (stream, name) = rendition.rendition()?;
        let lasted_ms = u64::try_from(now.duration_since(began?).as_millis()).unwrap_or(u64::MAX);
        Some((stream, What::RenditionStopped { rendition: name.to_string(), lasted_ms }))
    }

    /// A worker has ended, with all that it made.
    pub(crate) fn worker_gone(&mut self, now: Instant) -> Vec<(Id, What)> {
        self.workers_lost = self.workers_lost.saturating_add(1);
        let made: Vec<Id> =
            self.known.iter().filter(|(_, state)| state.started.is_some()).map(|(id, _)| id.clone()).collect();
        let words = "the worker that made it has gone; it goes on with the next one";
        made.iter().filter_map(|id| self.fail(id, "worker_away", words, now)).collect()
    }

    /// It is not made. `None`: that is known.
    fn fail(&mut self, rendition: &Id, reason: &'static str, words: &str, until: Instant) -> Option<(Id, What)> {
        let (stream, name) = rendition.rendition()?;
        if !self.known.contains_key(rendition) && self.known.len() >= KNOWN_MAX {
            return None;
        }
        let state = self.known.entry(rendition.clone()).or_default();
        let is_known = state.started.take().is_none() && state.failed.as_ref().is_some_and(|failed| failed.0 == reason);
        state.failed = Some((reason, words.to_owned(), until));
        if is_known {
            return None;
        }
        self.counts.failed += 1;
        self.counts.shed += u64::from(reason == reason_of_shed());
        let (rendition, reason, why) = (name.to_string(), reason.to_owned(), words.to_owned());
        Some((stream, What::RenditionFailed { rendition, reason, why }))
    }

    /// Forgets what is neither made nor in trouble.
    fn forget(&mut self, now: Instant) {
        self.known.retain(|_, state| {
            state.started.is_some() || state.failed.as_ref().is_some_and(|(.., until)| now < *until + TROUBLE_LEAST)
        });
    }

    /// Why a rendition would not be made now if anybody asked for it.
    pub(crate) fn trouble(&self, rendition: &Id, now: Instant) -> Option<Trouble> {
        if self.is_awaited {
            let text = "renditions of this server are made on another machine, and no worker of there is connected; `GET /api/v1/workers` and the \
                        server's log say more";
            return Some(Trouble { reason: "worker_away", text: text.to_owned() });
        }
        if self.workers_lost >= WORKERS_MAX {
            let text =
                "the worker that makes renditions ends as soon as it is started; the server's log says why".to_owned();
            return Some(Trouble { reason: "worker_away", text });
        }
        let (reason, text, until) = self.known.get(rendition)?.failed.as_ref()?;
        is_trouble(reason, *until, now).then(|| Trouble { reason, text: text.clone() })
    }

    /// Whether there is a [`Self::trouble`] with any of them.
    pub(crate) fn has_trouble(&self, now: Instant) -> bool {
        let is_in_trouble =
            |state: &State| state.failed.as_ref().is_some_and(|(reason, _, until)| is_trouble(reason, *until, now));
        self.is_awaited || self.workers_lost >= WORKERS_MAX || self.known.values().any(is_in_trouble)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}

/// What is tried again within a moment is no trouble.
fn is_trouble(reason: &str, until: Instant, now: Instant) -> bool {
    matches!(reason, "too_slow" | "full" | "codec" | "not_smaller" | "crashed") && now < until
}

const fn reason_of_shed() -> &'static str {
    reason(Why::TooSlow)
}

/// A worker's reason in the API's words.
const fn reason(why: Why) -> &'static str {
    match why {
        Why::TooSlow => "too_slow",
        Why::Full => "full",
        Why::Unsupported | Why::TooLarge => "codec",
        Why::NotSmaller => "not_smaller",
        _ => "failed",
    }
}

/// The same for people.
fn in_words(why: Why, said: &str) -> String {
    let words = match why {
        Why::TooSlow => {
            "this machine is too slow for it beside all that it makes; smaller renditions go on, and it is tried again"
        }
        Why::Full => "this machine makes renditions of as many streams as it takes; it is tried again",
        Why::Unsupported => "it cannot be decoded or encoded here",
        Why::TooLarge => "the stream has more pixels than are decoded",
        Why::NotSmaller => "it would be larger than the stream",
        _ => "it could not be made, and is tried again",
    };
    match (why, said) {
        (Why::Full, _) | (_, "") => words.to_owned(),
        (_, said) => format!("{words}: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use millstream_proto::id::RenditionName;

    use super::*;

    fn id(name: &str) -> Id {
        let stream = Id::new("cam").unwrap();
        if name.is_empty() { stream } else { stream.of_rendition(&RenditionName::new(name).unwrap()) }
    }

    fn started() -> Report {
        Report::Started { job: 1, rendition: String::new(), width: 640, height: 360 }
    }

    fn ended(why: Why) -> Report {
        Report::Ended { job: 1, rendition: None, why, error: Some("words".to_owned()) }
    }

    fn kinds(told: Vec<(Id, What)>) -> Vec<String> {
        let of = |(stream, what): (Id, What)| {
            let reason = if let What::RenditionFailed { reason, .. } = &what { reason.as_str() } else { "" };
            format!("{stream} {} {reason}", what.kind())
        };
        told.into_iter().map(of).collect()
    }

    /// Two renditions of the stream.
    fn wanted() -> Wanted {
        let rendition = |name: &str| millstream_hub::config::Rendition {
            name: RenditionName::new(name).unwrap(),
            width_max: 640,
            height_max: 360,
            video_kbit_s: 400,
            codec: None,
            marked: false,
            always: false,
        };
        Wanted::from([(id(""), vec![rendition("360p"), rendition("480p")])])
    }

    #[test]
    fn each_change_is_told_once() {
        let (mut states, now, wanted) = (States::default(), Instant::now(), wanted());
        let s = Duration::from_secs;
        assert_eq!(kinds(states.heard(&id("360p"), &started(), &wanted, now)), ["cam rendition_started "]);
        assert!(states.heard(&id("360p"), &started(), &wanted, now).is_empty(), "reconnected");
        assert!(!states.has_trouble(now) && states.trouble(&id("360p"), now).is_none());
        let slow = ended(Why::TooSlow);
        assert_eq!(kinds(states.heard(&id("360p"), &slow, &wanted, now + s(1))), ["cam rendition_failed too_slow"]);
        assert!(states.heard(&id("360p"), &slow, &wanted, now + s(22)).is_empty(), "as before");
        let trouble = states.trouble(&id("360p"), now + s(23)).unwrap();
        assert_eq!(trouble.reason, "too_slow");
        assert_eq!(states.trouble(&id("360p"), now + s(43)), None, "it may be tried again");
        assert!(states.has_trouble(now + s(23)) && !states.has_trouble(now + s(43)));
        assert_eq!(states.trouble(&id("480p"), now + s(23)), None);
        assert_eq!(kinds(states.heard(&id("360p"), &started(), &wanted, now + s(44))), ["cam rendition_started "]);
        let stopped = states.unwanted(&id("360p"), now + s(50)).unwrap();
        assert_eq!(stopped.1, What::RenditionStopped { rendition: "360p".to_owned(), lasted_ms: 6_000 });
        assert_eq!(states.unwanted(&id("360p"), now + s(51)), None);
        assert_eq!(states.counts(), Counts { started: 2, failed: 1, shed: 1 });
        assert!(states.known.is_empty());
    }

    #[test]
    fn what_ends_with_its_worker_is_told_and_comes_back() {
        let (mut states, now, wanted) = (States::default(), Instant::now(), wanted());
        states.heard(&id("360p"), &started(), &wanted, now);
        states.heard(&id("480p"), &started(), &wanted, now);
        let failed = ["cam rendition_failed worker_away"; 2];
        assert_eq!(kinds(states.worker_gone(now)), failed);
        assert_eq!(states.trouble(&id("360p"), now), None, "another one is there in a moment");
        assert!(states.worker_gone(now).is_empty(), "it is known");
        assert!(states.worker_gone(now).is_empty());
        assert_eq!(states.trouble(&id("360p"), now).unwrap().reason, "worker_away");
        states.worker_ready();
        assert_eq!(states.trouble(&id("480p"), now), None);
        assert_eq!(kinds(states.heard(&id("360p"), &started(), &wanted, now)), ["cam rendition_started "]);
    }

    #[test]
    fn a_stream_that_ended_its_worker_is_told_as_such_and_the_others_as_interrupted() {
        let (mut states, now, mut wanted) = (States::default(), Instant::now(), wanted());
        let other = Id::new("other").unwrap();
        let of_other = other.of_rendition(&RenditionName::new("360p").unwrap());
        wanted.insert(other, wanted[&id("")][..1].to_vec());
        states.heard(&id("360p"), &started(), &wanted, now);
        states.heard(&of_other, &started(), &wanted, now);
        let until = now + Duration::from_secs(20);
        let told = states.crashed(&id(""), "it ended the worker", &wanted, until);
        assert_eq!(kinds(told), ["cam rendition_failed crashed"; 2]);
        assert_eq!(kinds(states.worker_gone(now)), ["other rendition_failed worker_away"]);
        states.worker_ready();
        let trouble = states.trouble(&id("480p"), now).unwrap();
        assert_eq!((trouble.reason, trouble.text.as_str()), ("crashed", "it ended the worker"));
        assert_eq!((states.trouble(&of_other, now), states.trouble(&id("480p"), until)), (None, None));
    }

    #[test]
    fn while_a_worker_of_another_machine_is_waited_for_every_rendition_is_in_trouble() {
        let (mut states, now) = (States::default(), Instant::now());
        states.worker_gone(now);
        assert_eq!(
            (states.trouble(&id("360p"), now), states.has_trouble(now)),
            (None, false),
            "it may be back at once"
        );
        states.worker_awaited();
        assert_eq!(states.trouble(&id("360p"), now).unwrap().reason, "worker_away");
        assert!(states.has_trouble(now));
        states.worker_ready();
        assert_eq!((states.trouble(&id("360p"), now), states.has_trouble(now)), (None, false));
    }

    #[test]
    fn a_stream_that_cannot_be_decoded_is_told_of_each_rendition_that_is_wanted() {
        let (mut states, now) = (States::default(), Instant::now());
        let wanted = wanted();
        let told = states.heard(&id(""), &ended(Why::Unsupported), &wanted, now);
        assert_eq!(kinds(told), ["cam rendition_failed codec"; 2]);
        assert_eq!(states.trouble(&id("480p"), now).unwrap().text, "it cannot be decoded or encoded here: words");
    }
}
