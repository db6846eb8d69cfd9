//! Each stream's share of what nodes tell: one that publishes and leaves again and again takes no room from the events, the history and the
//! webhooks of others. A node's engine keeps to less than this by itself; this holds for nodes of any release, and for all of them together.
//! Before it: a report's events; after it: [`super::EventSink`], and those who listen.
//!
//! What is left out is counted and told, by [`What::LeftOut`]. A session whose beginning was let through has its end let through, too, so
//! that no history says that it still runs.
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::NodeId;
use tokio::time::Instant;

/// How often one kind of event may be told: so many at once, and one in this time.
#[derive(Clone, Copy)]
struct Rate {
    burst: u32,
    every: Duration,
}

/// Of a stream. The engine admits 20 publishes at once and one a second; each is two events, and two of a slate.
const OF_STREAM: Rate = Rate { burst: 200, every: Duration::from_millis(125) };
/// Of refusals that name one stream.
const OF_STREAMS_REFUSALS: Rate = Rate { burst: 50, every: Duration::from_millis(500) };
/// Of all refusals: their names may be made up.
const OF_REFUSALS: Rate = Rate { burst: 1_000, every: Duration::from_millis(20) };
/// Streams that are told apart; what comes on top shares one.
const STREAMS_MAX: usize = 16_384;
/// Sessions of a stream that are remembered as begun: one that replaces another begins before that has ended.
const BEGUN_MAX: usize = 8;
/// Nodes whose last report could not be kept: what was let through of it is remembered.
const UNKEPT_MAX: usize = 1_024;
/// What was left out is told this often of a stream.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Whose share.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Whose {
    Stream(String),
    Refused(String),
    Others,
}

#[derive(Debug)]
struct Share {
    /// When it is whole again.
    whole: Instant,
    begun: VecDeque<(u64, u64)>,
    left_out: u64,
    told: Option<Instant>,
    /// The last one that was left out, and where.
    last: Option<(NodeId, Event)>,
}

impl Share {
    fn new(now: Instant) -> Self {
        Self { whole: now, begun: VecDeque::new(), left_out: 0, told: None, last: None }
    }

    fn is_over(&self, now: Instant, rate: Rate) -> bool {
        self.whole.max(now) + rate.every > now + rate.every * rate.burst
    }

    fn take(&mut self, now: Instant, rate: Rate) {
        self.whole = self.whole.max(now) + rate.every;
    }

    fn leave_out(&mut self, node: &NodeId, event: Event) {
        self.left_out += 1;
        self.last = Some((node.clone(), event));
    }

    /// Whether nothing is lost when it is forgotten: an end gets through by itself then.
    fn is_idle(&self, now: Instant) -> bool {
        self.whole <= now && self.left_out == 0
    }
}

/// All shares.
#[derive(Debug)]
pub(super) struct Shares {
    streams: HashMap<Whose, Share>,
    refusals: Share,
    /// By node name: reports that were judged and not kept yet.
    unkept: HashMap<String, Unkept>,
}

/// A report that comes again, because it could not be kept: its events are charged once.
#[derive(Debug)]
struct Unkept {
    run: u64,
    judged_through: u64,
    let_through: HashSet<u64>,
}

impl Shares {
    pub(super) fn new(now: Instant) -> Self {
        Self { streams: HashMap::new(), refusals: Share::new(now), unkept: HashMap::new() }
    }

    /// Of a report's events, those within their streams' shares, in order, and what is to be told of others; and how many were left out.
    pub(super) fn let_through(&mut self, now: Instant, node: &NodeId, events: Vec<Event>) -> (Vec<Event>, u64) {
        let before = self.unkept.remove(&node.name).filter(|unkept| unkept.run == node.run);
        let mut unkept = before.unwrap_or(Unkept { run: node.run, judged_through: 0, let_through: HashSet::new() });
        let (mut through, mut left_out) = (Vec::with_capacity(events.len()), 0);
        for event in events {
            let is_new = event.seq > unkept.judged_through;
            if is_new && self.takes(now, node, &event) {
                unkept.let_through.insert(event.seq);
            } else if is_new {
                left_out += 1;
            }
            unkept.judged_through = unkept.judged_through.max(event.seq);
            if unkept.let_through.contains(&event.seq) {
                through.push(event);
            }
        }
        if self.unkept.len() < UNKEPT_MAX {
            self.unkept.insert(node.name.clone(), unkept);
        }
        (through, left_out)
    }

    /// What was let through of a node's report is kept: it does not come again.
    pub(super) fn kept(&mut self, node: &NodeId) {
        self.unkept.remove(&node.name);
    }

    fn takes(&mut self, now: Instant, node: &NodeId, event: &Event) -> bool {
        let is_refusal = matches!(event.what, What::Refused { .. });
        let (whose, rate) = if is_refusal {
            (Whose::Refused(event.stream.clone()), OF_STREAMS_REFUSALS)
        } else {
            (Whose::Stream(event.stream.clone()), OF_STREAM)
        };
        if self.streams.len() >= STREAMS_MAX && !self.streams.contains_key(&whose) {
            self.streams.retain(|_, share| !share.is_idle(now));
        }
        let crowded = self.streams.len() >= STREAMS_MAX && !self.streams.contains_key(&whose);
        let whose = if crowded { Whose::Others } else { whose };
        let share = self.streams.entry(whose).or_insert_with(|| Share::new(now));
        let session = (node.run, event.session);
        let ends = matches!(event.what, What::Unpublish { .. })
            && share
                .begun
                .iter()
                .position(|begun| *begun == session)
                .is_some_and(|at| share.begun.remove(at).is_some());
        if is_refusal && self.refusals.is_over(now, OF_REFUSALS) {
            // Names may be made up: told of all together.
            self.refusals.leave_out(node, Event { stream: String::new(), ..event.clone() });
            return false;
        }
        if share.is_over(now, rate) && !ends {
            share.leave_out(node, event.clone());
            return false;
        }
        share.take(now, rate);
        if is_refusal {
            self.refusals.take(now, OF_REFUSALS);
        }
        if matches!(event.what, What::Publish { .. }) {
            if share.begun.len() == BEGUN_MAX {
                share.begun.pop_front();
            }
            share.begun.push_back(session);
        }
        true
    }

    /// What is to be told of those that were left out, by node, as far as that is not too often.
    pub(super) fn untold(&mut self, now: Instant) -> Vec<(NodeId, Event)> {
        let mut untold = Vec::new();
        for share in self.streams.values_mut().chain([&mut self.refusals]) {
            let due = share.told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY);
            if let Some((node, event)) = share.last.take_if(|_| due) {
                let count = std::mem::take(&mut share.left_out);
                share.told = Some(now);
                untold.push((node, Event { session: 0, what: What::LeftOut { count }, ..event }));
            }
        }
        untold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeId {
        NodeId { name: "n".into(), run: 1 }
    }

    /// A report with these events, numbered on, that is kept.
    fn tell(shares: &mut Shares, now: Instant, events: Vec<Event>) -> (Vec<Event>, u64) {
        let events = events.into_iter().zip(1..).map(|(event, seq)| Event { seq, ..event }).collect();
        let told = shares.let_through(now, &node(), events);
        shares.kept(&node());
        told
    }

    /// The store is away, and a node tells the same again and again.
    #[test]
    fn a_report_that_cannot_be_kept_is_charged_once() {
        let now = Instant::now();
        let mut shares = Shares::new(now);
        let report: Vec<Event> = (1..=150_u64)
            .flat_map(|n| [publish("cam", n), unpublish("cam", n)])
            .zip(1..)
            .map(|(event, seq)| Event { seq, ..event })
            .collect();
        let seqs = |events: &[Event]| events.iter().map(|event| event.seq).collect::<Vec<_>>();
        let (first, left_out) = shares.let_through(now, &node(), report.clone());
        assert!(left_out > 0 && first.len() as u64 + left_out == 300, "{left_out}");
        for _ in 0..20 {
            let (again, left_out) = shares.let_through(now, &node(), report.clone());
            assert_eq!((seqs(&again), left_out), (seqs(&first), 0));
        }
        // What has come meanwhile is judged once, too, and what is kept is forgotten.
        let more = Event { seq: 301, ..publish("other", 1) };
        let (with_more, _) = shares.let_through(now, &node(), [report, vec![more]].concat());
        assert_eq!(with_more.len(), first.len() + 1);
        shares.kept(&node());
        assert!(shares.unkept.is_empty());
    }

    fn publish(stream: &str, session: u64) -> Event {
        Event {
            stream: stream.into(),
            session,
            what: What::Publish { encoder: String::new(), replaced_heard_ago_ms: None },
            ..Event::default()
        }
    }

    fn unpublish(stream: &str, session: u64) -> Event {
        let what = What::Unpublish { why: String::new(), lasted_ms: 0, received_bytes: 0, viewers: Vec::new() };
        Event { what, ..publish(stream, session) }
    }

    fn refused(stream: &str) -> Event {
        let what = What::Refused { action: String::new(), why: String::new(), reason: String::new(), count: 1 };
        Event { what, ..publish(stream, 0) }
    }

    #[test]
    fn case_38_a_flood_of_one_stream_costs_no_other_an_event_and_is_told() {
        let start = Instant::now();
        let mut shares = Shares::new(start);
        let (mut of_flood, mut of_other, mut told) = (0, 0, 0);
        for ms in 0..10_000 {
            let now = start + Duration::from_millis(ms);
            let mut events: Vec<Event> =
                (0..10).flat_map(|n| [publish("flood", ms * 10 + n), unpublish("flood", ms * 10 + n)]).collect();
            if ms % 500 == 0 {
                events.extend([publish("other", ms), unpublish("other", ms)]);
            }
            let (through, left_out) = tell(&mut shares, now, events);
            of_flood += through.iter().filter(|event| event.stream == "flood").count() as u64;
            of_other += through.iter().filter(|event| event.stream == "other").count();
            told += shares
                .untold(now)
                .iter()
                .map(|(_, event)| match event.what {
                    What::LeftOut { count } => count,
                    _ => panic!("{event:?}"),
                })
                .sum::<u64>();
            assert!(left_out <= 20);
        }
        told += shares
            .untold(start + Duration::from_secs(20))
            .iter()
            .map(|(_, event)| match event.what {
                What::LeftOut { count } => count,
                _ => 0,
            })
            .sum::<u64>();
        assert_eq!(of_other, 40, "all of the other stream's");
        assert!((200..400).contains(&of_flood), "{of_flood}");
        assert_eq!(of_flood + told, 200_000, "none is left out untold");
    }

    #[test]
    fn who_was_said_to_begin_is_said_to_end() {
        let now = Instant::now();
        let mut shares = Shares::new(now);
        let all: Vec<Event> = (0..1_000).map(|n| publish("a", n)).collect();
        let begun: Vec<u64> = tell(&mut shares, now, all).0.iter().map(|event| event.session).collect();
        let last = *begun.last().unwrap();
        let (through, _) = tell(&mut shares, now, vec![unpublish("a", last), unpublish("a", 999)]);
        assert_eq!(through, [Event { seq: 1, ..unpublish("a", last) }]);
    }

    #[test]
    fn refusals_have_a_share_of_their_own_and_names_without_number_are_bounded() {
        let now = Instant::now();
        let mut shares = Shares::new(now);
        let many = (0..50_000).map(|n| refused(&format!("s{n}"))).collect();
        let (through, left_out) = tell(&mut shares, now, many);
        assert_eq!((through.len(), left_out), (1_000, 49_000));
        assert!(shares.streams.len() <= STREAMS_MAX + 1);
        let later = now + Duration::from_mins(1);
        let untold = shares.untold(later);
        assert_eq!(untold.len(), 1, "made-up names are told of together");
        assert_eq!((&*untold[0].1.stream, &untold[0].1.what), ("", &What::LeftOut { count: 49_000 }));
        assert_eq!(tell(&mut shares, later, vec![publish("s1", 1)]).0.len(), 1);
    }
}
