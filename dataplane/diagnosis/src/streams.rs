//! All streams of a node. Before it: the agent, once a second and with each event; after it: the node's reports.
use std::collections::HashMap;

use millstream_control_protocol::diagnosis::Diagnosis;
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::live::{Live, Watching};

use crate::hooks::HookTrouble;
use crate::judge::{Judge, Sample};

/// Streams that are remembered without being held: events name them, and whoever makes events up shall not fill the memory.
const NOT_HELD_MAX: usize = 1_024;
/// Streams that something is told of.
const TOLD_MAX: usize = 4_096;

/// The judgements of a node's streams.
#[derive(Debug, Default)]
pub struct Streams {
    judges: HashMap<String, Judge>,
    not_held: usize,
    told: Vec<Diagnosis>,
    has_changed: bool,
}

impl Streams {
    /// Something has happened on the node.
    pub fn event(&mut self, event: &Event) {
        let says_something = matches!(
            event.what,
            What::Publish { .. }
                | What::Unpublish { .. }
                | What::RecordingStarted { .. }
                | What::RecordingPaused { .. }
                | What::RecordingResumed { .. }
                | What::RecordingStored { .. }
                | What::RecordingFailed { .. }
        );
        if says_something && let Some(judge) = self.judge(&event.stream) {
            judge.event(event);
        }
    }

    /// A hook of the node has turned people away from a stream, or failed.
    pub fn trouble(&mut self, trouble: &HookTrouble, now_ms: u64) {
        if let Some(judge) = self.judge(&trouble.stream) {
            judge.trouble(trouble, now_ms);
        }
    }

    /// `None`: it names none, or there are too many.
    fn judge(&mut self, stream: &str) -> Option<&mut Judge> {
        if !self.judges.contains_key(stream) {
            if stream.is_empty() || self.not_held >= NOT_HELD_MAX {
                return None;
            }
            self.not_held += 1;
            self.judges.insert(stream.to_owned(), Judge::default());
        }
        self.judges.get_mut(stream)
    }

    /// Looks at all streams that are held, about once a second; Unix milliseconds. `shed` says which renditions of a stream are not made.
    pub fn look(&mut self, held: &[(Live, Vec<Watching>)], shed: impl Fn(&str) -> Vec<String>, now_ms: u64) {
        let by_id: HashMap<&str, &(Live, Vec<Watching>)> = held.iter().map(|one| (one.0.id.as_str(), one)).collect();
        for (live, _) in held {
            if !self.judges.contains_key(&live.id) {
                self.judges.insert(live.id.clone(), Judge::default());
            }
        }
        self.judges.retain(|id, judge| {
            let shed = shed(id);
            let sample = match by_id.get(id.as_str()) {
                Some((live, watching)) => Sample { live: Some(live), watching, shed: &shed },
                None => Sample::default(),
            };
            judge.look(&sample, now_ms);
            !judge.is_over(now_ms)
        });
        self.not_held = self.judges.values().filter(|judge| !judge.is_held()).count();
        let all = self.judges.iter().map(|(id, judge)| (id, judge.conditions()));
        let wrong = all.filter(|(_, conditions)| !conditions.is_empty());
        let mut told: Vec<_> = wrong.map(|(id, conditions)| Diagnosis { stream: id.clone(), conditions }).collect();
        told.sort_by(|a, b| a.stream.cmp(&b.stream));
        told.truncate(TOLD_MAX);
        self.has_changed |= !is_same(&self.told, &told);
        self.told = told;
    }

    /// What is wrong with which streams, by id.
    pub fn diagnoses(&self) -> &[Diagnosis] {
        &self.told
    }

    /// Whether a condition has come or gone since this was asked; figures alone are no such change.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }
}

fn is_same(before: &[Diagnosis], now: &[Diagnosis]) -> bool {
    let words = |all: &[Diagnosis]| -> Vec<(String, String, String)> {
        let each = all.iter().flat_map(|one| one.conditions.iter().map(move |of| (one, of)));
        each.map(|(one, of)| (one.stream.clone(), of.kind.clone(), of.form.clone())).collect()
    };
    words(before) == words(now)
}
