//! What hooks came to, of one stream: attempts that they refused, and calls that failed. Before it: the node's hooks, about once a second; after it:
//! [`super::told`], which has one condition of it.
use crate::hold::Finding;
use crate::kind::{Kind, Severity};
use crate::told::cut;

/// Told for so long after the last time, milliseconds.
const TOLD_MS: u64 = 30_000;
/// Hooks of one stream that are told apart.
const HOOKS_MAX: usize = 4;
/// Calls that failed, attempts to publish and attempts to play that were refused.
const WAYS: usize = 3;

/// How often something came of a hook, and what was said of it last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// What the hook said last, or how it failed.
    pub why: String,
}

/// What a hook came to, of one stream, since the last time that this was told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HookTrouble {
    /// The stream's id.
    pub stream: String,
    /// The hook's name.
    pub hook: String,
    /// Calls that failed; the reason is the word of the metrics.
    pub failed: Tally,
    /// Attempts to publish that it refused.
    pub denied_publish: Tally,
    /// Attempts to play that it refused.
    pub denied_play: Tally,
}

/// Those of one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hooks(Vec<Known>);

#[derive(Clone, Debug)]
struct Known {
    hook: String,
    newest_ms: u64,
    /// When something came of it in each of the ways last, and what.
    ways: [Option<(u64, Tally)>; WAYS],
}

fn is_told(at_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(at_ms) <= TOLD_MS
}

impl Hooks {
    pub(crate) fn take(&mut self, trouble: &HookTrouble, now_ms: u64) {
        let hook = cut(&trouble.hook);
        let known = match self.0.iter().position(|known| known.hook == hook) {
            Some(at) => self.0.remove(at),
            None => Known { hook, newest_ms: now_ms, ways: Default::default() },
        };
        self.0.push(known);
        if self.0.len() > HOOKS_MAX {
            // The one of which nothing has come for longest.
            self.0.remove(0);
        }
        let Some(known) = self.0.last_mut() else { return };
        known.newest_ms = now_ms;
        let HookTrouble { failed, denied_publish, denied_play, .. } = trouble;
        for (way, times) in known.ways.iter_mut().zip([failed, denied_publish, denied_play]) {
            if times.count == 0 {
                continue;
            }
            let before =
                way.as_ref().filter(|(at_ms, _)| is_told(*at_ms, now_ms)).map_or(0, |(_, before)| before.count);
            *way = Some((now_ms, Tally { count: before.saturating_add(times.count), why: cut(&times.why) }));
        }
    }

    /// The gravest of what came of them lately, and of equals the newest.
    pub(crate) fn look(&self, now_ms: u64) -> Option<Finding> {
        let all = self.0.iter().flat_map(|known| {
            let lately = known.ways.iter().enumerate().filter_map(|(way, times)| Some((way, times.as_ref()?)));
            lately.filter(|(_, (at_ms, _))| is_told(*at_ms, now_ms)).map(|(way, (at_ms, times))| {
                let form = form(way, &times.why);
                let rank: (Severity, _, _) = (Kind::Hook.severity(form), std::cmp::Reverse(way), *at_ms);
                (rank, known.hook.as_str(), form, times)
            })
        });
        let (_, hook, form, times) = all.max_by_key(|(rank, ..)| *rank)?;
        let (about, why) = (hook.to_owned(), times.why.clone());
        Some(Finding { form, about, why, figures: vec![("count", times.count as f64)] })
    }

    /// Nothing of it is told any more.
    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        self.0.iter().all(|known| !is_told(known.newest_ms, now_ms))
    }
}

/// Some calls fail where nothing is wrong with the hook: then something else is to be done.
fn form(way: usize, why: &str) -> &'static str {
    match (way, why) {
        (0, "not_ready") => "not_ready",
        (0, "late") => "late",
        (0, "queue" | "pending") => "overloaded",
        (0, _) => "fails",
        (1, _) => "denies_publish",
        _ => "denies_play",
    }
}
