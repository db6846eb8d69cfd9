//! Renditions by policy hooks: each stream on air is asked about when its publisher has said what it sends, and again when something of that, of its record, of
//! the bindings or of the machine's load has changed. Before it: [`crate::hooks`], which has the bindings; after it: the engine, which offers what was chosen.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millstream_agent::beside::AddToLive;
use millstream_control_protocol::live::{Ladder, Live};
use millstream_control_protocol::state::Rendition;
use millstream_engine::Remote;
use millstream_engine::admin::remote::OfRecord;
use millstream_engine::directory::rendition_of;
use millstream_hook_steps::ladder::{Choosing, Chosen, choose, is_asked, source};
use millstream_hooks::wit::policy;
use millstream_proto::id::Id;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::clock::unix_ms;

/// Bit and frame rates are believed when a publisher has been there so long.
const MEASURED_AFTER_MS: u64 = 4_000;
/// Streams that have just begun are looked at one by one, so many at once, and at most so often.
const FRESH_MAX: usize = 64;
const FRESH_LOOKS: u32 = 20;
/// A machine that is busier or less busy by so much, percent, is another case; but not before the answer is that old: the load is that of a minute.
const LOAD_STEP: u32 = 25;
const LOAD_COUNTS_AFTER: Duration = Duration::from_mins(1);
/// Shards answer within this time, or are asked again with the next look.
const WAIT: Duration = Duration::from_secs(2);

/// What an answer was given to: another one is asked for when it changes.
#[derive(Clone, PartialEq, Debug)]
struct Case {
    /// Rises with each change of the bindings.
    bound: u64,
    session: u64,
    codecs: (String, String),
    size: (Option<u32>, Option<u32>),
    is_measured: bool,
    of_record: OfRecord,
}

/// Who is asked, and what was chosen.
#[derive(Default)]
pub(crate) struct Ladders {
    asked: Mutex<Asked>,
    begun: Notify,
}

#[derive(Default)]
struct Asked {
    /// In their order.
    choosings: Vec<Arc<Choosing>>,
    bound: u64,
    of_streams: BTreeMap<Id, Answer>,
    /// Streams that have just begun, and how often they were looked at.
    fresh: HashMap<Id, u32>,
}

/// What was chosen for a stream.
struct Answer {
    case: Case,
    load_percent: u32,
    at: Instant,
    chosen: Option<Chosen>,
}

impl Answer {
    /// Whether it still holds.
    fn holds(&self, case: &Case, load_percent: u32, now: Instant) -> bool {
        let is_load_other = self.load_percent.abs_diff(load_percent) >= LOAD_STEP;
        self.case == *case && !(is_load_other && now.duration_since(self.at) >= LOAD_COUNTS_AFTER)
    }
}

impl Ladders {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        // Every change under this lock is one step.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are asked from here on, and no others.
    pub(crate) fn bind(&self, mut choosings: Vec<Arc<Choosing>>) {
        choosings.sort_by(|a, b| (a.order, &a.id).cmp(&(b.order, &b.id)));
        let mut asked = self.asked();
        let is_same = asked.choosings.len() == choosings.len()
            && asked.choosings.iter().zip(&choosings).all(|(before, after)| Arc::ptr_eq(before, after));
        if !is_same {
            asked.choosings = choosings;
            asked.bound += 1;
        }
    }

    /// Somebody publishes a stream.
    pub(crate) fn begins(&self, stream: &str) {
        let mut asked = self.asked();
        if asked.choosings.is_empty() || asked.fresh.len() >= FRESH_MAX {
            return;
        }
        if let Ok(stream) = Id::new(stream) {
            asked.fresh.insert(stream, 0);
            self.begun.notify_one();
        }
    }

    /// Returns so long after a stream has begun, or now, while there are some that have.
    pub(crate) async fn has_fresh(&self, wait: Duration) {
        while self.asked().fresh.is_empty() {
            self.begun.notified().await;
        }
        sleep(wait).await;
    }

    /// Whether there is anything to look at.
    pub(crate) fn is_on(&self) -> bool {
        let asked = self.asked();
        !asked.choosings.is_empty() || !asked.of_streams.is_empty()
    }

    /// Looks at streams that have just begun; called a few times a second.
    pub(crate) async fn look_at_fresh(&self, engine: &Remote, app: &str) {
        let fresh: Vec<Id> = self.asked().fresh.keys().cloned().collect();
        if fresh.is_empty() {
            return;
        }
        let mut lives = Vec::new();
        for stream in &fresh {
            if let Ok(Ok(Some(live))) = timeout(WAIT, engine.look(stream)).await {
                lives.push(live);
            }
        }
        self.look(&lives, engine, app).await;
        let mut asked = self.asked();
        let Asked { fresh, of_streams, .. } = &mut *asked;
        fresh.retain(|stream, looks| {
            *looks += 1;
            *looks < FRESH_LOOKS && !of_streams.contains_key(stream)
        });
    }

    /// Looks at all streams on air.
    pub(crate) async fn look_at_all(&self, lives: &[Live], engine: &Remote, app: &str) {
        self.look(lives, engine, app).await;
        // Who comes back to a stream that is still there finds it as it was.
        let there: HashSet<&str> = lives.iter().map(|live| live.id.as_str()).collect();
        let over: Vec<Id> = {
            let asked = self.asked();
            let is_over = |id: &&Id| !there.contains(id.as_str()) || !is_asked(&asked.choosings, id);
            asked.of_streams.keys().filter(is_over).cloned().collect()
        };
        for id in over {
            self.take_back(&id, engine).await;
        }
    }

    async fn take_back(&self, id: &Id, engine: &Remote) {
        if matches!(timeout(WAIT, engine.set_ladder(id, None)).await, Ok(Ok(()))) {
            self.asked().of_streams.remove(id);
        }
    }

    /// Asks about those of these streams that have changed.
    async fn look(&self, lives: &[Live], engine: &Remote, app: &str) {
        let (choosings, bound) = {
            let asked = self.asked();
            (asked.choosings.clone(), asked.bound)
        };
        let of_publishers = lives.iter().filter(|live| live.publisher.as_ref().is_some_and(|one| one.video.is_some()));
        let all: Vec<(Id, &Live)> = of_publishers.filter_map(|live| Some((Id::new(&live.id).ok()?, live))).collect();
        let (wanted, unasked): (Vec<_>, Vec<_>) = all.into_iter().partition(|(id, _)| is_asked(&choosings, id));
        for (id, _) in unasked {
            let is_held = self.asked().of_streams.contains_key(&id);
            if is_held {
                self.take_back(&id, engine).await;
            }
        }
        let ids: Vec<Id> = wanted.iter().map(|(id, _)| id.clone()).collect();
        let Ok(Ok(of_records)) = timeout(WAIT, engine.of_records(&ids)).await else { return };
        let load = load_percent();
        for ((id, live), of_record) in wanted.into_iter().zip(of_records) {
            let Some(case) = case(live, bound, of_record) else { continue };
            let holds = self.asked().of_streams.get(&id).is_some_and(|known| known.holds(&case, load, Instant::now()));
            if holds {
                continue;
            }
            let about = (app, load, case.is_measured);
            let Some(source) = source(live, case.of_record.record.as_ref(), about) else { continue };
            let own = spoken(case.of_record.renditions.as_deref().unwrap_or_default());
            let chosen = ask(choosings.clone(), id.clone(), source, own).await;
            self.put(&id, (case, load), chosen, engine).await;
        }
    }

    /// Has the engine offer what was chosen.
    async fn put(&self, id: &Id, (case, load_percent): (Case, u32), chosen: Option<Chosen>, engine: &Remote) {
        let made = chosen.as_ref().and_then(|chosen| chosen.rungs.as_ref().ok());
        let ladder = made.map(|rungs| rungs.made.iter().filter_map(rendition_of).collect());
        let Ok(Ok(())) = timeout(WAIT, engine.set_ladder(id, ladder)).await else { return };
        if let Some(Chosen { hook, version, rungs, .. }) = &chosen {
            match rungs {
                Ok(rungs) => {
                    let names: Vec<&str> = rungs.made.iter().map(|rung| rung.name.as_str()).collect();
                    tracing::info!(stream = %id, hook, version, renditions = ?names, left_out = ?rungs.left_out, "renditions chosen by a hook");
                }
                Err(why) => {
                    tracing::warn!(stream = %id, hook, version, why, "a hook has chosen no renditions: the stream has those of its record");
                }
            }
        }
        self.asked().of_streams.insert(id.clone(), Answer { case, load_percent, at: Instant::now(), chosen });
    }

    /// Adds to what is told of a stream which renditions were chosen for it.
    pub(crate) fn beside(self: &Arc<Self>) -> AddToLive {
        let ladders = Arc::clone(self);
        Arc::new(move |live: &mut Live| {
            let asked = ladders.asked();
            // Few have any: then no id is read.
            if asked.of_streams.is_empty() {
                return;
            }
            let chosen = Id::new(&live.id).ok().and_then(|id| asked.of_streams.get(&id)?.chosen.clone());
            live.ladder = chosen.map(shown);
        })
    }
}

/// A hook takes milliseconds: not on a thread that others wait for.
async fn ask(choosings: Vec<Arc<Choosing>>, id: Id, source: policy::Source, own: Vec<Rendition>) -> Option<Chosen> {
    let can_be = |rung: &Rendition| rendition_of(rung).is_some();
    tokio::task::spawn_blocking(move || choose(&choosings, &id, &source, &own, can_be)).await.ok().flatten()
}

/// `None`: the size of the picture is not known yet.
fn case(live: &Live, bound: u64, of_record: OfRecord) -> Option<Case> {
    let publisher = live.publisher.as_ref()?;
    let video = publisher.video.as_ref()?;
    let audio = publisher.audio.as_ref();
    let since_ms = unix_ms().saturating_sub(publisher.since_unix_ms);
    video.width.zip(video.height)?;
    Some(Case {
        bound,
        session: publisher.session,
        codecs: (video.codec.clone(), audio.map(|audio| audio.codec.clone()).unwrap_or_default()),
        size: (video.width, video.height),
        is_measured: since_ms >= MEASURED_AFTER_MS && publisher.bitrate_bps > 0,
        of_record,
    })
}

fn spoken(renditions: &[millstream_hub::config::Rendition]) -> Vec<Rendition> {
    let one = |rendition: &millstream_hub::config::Rendition| Rendition {
        name: rendition.name.to_string(),
        width: rendition.width_max,
        height: rendition.height_max,
        video_kbit_s: rendition.video_kbit_s,
        codec: rendition.codec().word().to_owned(),
        always: rendition.always,
    };
    renditions.iter().map(one).collect()
}

fn shown(chosen: Chosen) -> Ladder {
    let Chosen { hook, version, binding, rungs } = chosen;
    let (rungs, failed) = match rungs {
        Ok(rungs) => (rungs, None),
        Err(why) => (millstream_hook_steps::ladder::Rungs::default(), Some(why)),
    };
    Ladder { hook, version, binding, failed, renditions: rungs.made, left_out: rungs.left_out }
}

/// How busy this machine was within the last minute, percent. 99: all of its cores were.
fn load_percent() -> u32 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (load / cores as f64 * 100.0).clamp(0.0, 99.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_until_what_it_was_given_to_changes_or_the_load_for_long() {
        let size = (Some(1_280), Some(720));
        let codecs = ("avc1.64001f".to_owned(), "mp4a.40.2".to_owned());
        let of_record = OfRecord::default();
        let case = Case { bound: 1, session: 7, codecs, size, is_measured: false, of_record };
        let at = Instant::now();
        let answer = Answer { case: case.clone(), load_percent: 20, at, chosen: None };
        let minute = at + LOAD_COUNTS_AFTER;
        assert!(answer.holds(&case, 20, minute) && answer.holds(&case, 44, minute), "a little busier");
        assert!(answer.holds(&case, 99, at + LOAD_COUNTS_AFTER / 2), "a peak");
        assert!(!answer.holds(&case, 45, minute));
        let busy = Answer { load_percent: 90, ..answer };
        assert!(!busy.holds(&case, 20, minute), "there is room again");
        assert!(!busy.holds(&Case { is_measured: true, ..case }, 90, at));
    }
}
