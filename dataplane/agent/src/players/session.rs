//! One playback session as its player tells of it. Players say the same things in two ways (CMCD 1 and 2), several times or not at all; here each start and
//! each stall becomes one. Sans-IO. Before it: reports in the order in which they came; after it: [`super::window`].
use millstream_proto::cmcd::{Figures, Object, State};

use super::window::Told;

/// A flag that says of a stall comes with the next segment's request: within this time it is the stall that a state has told of.
const SAME_STALL_MS: u64 = 15_000;
/// Standing still for longer than this between two reports is a player that was asleep.
const STALLED_MS_MAX: u32 = 600_000;
/// Stalls between two reports.
const STALLS_MAX: u32 = 100;
/// What a player says beyond these is no figure of a player.
const LATENCY_MS_MAX: u32 = 3_600_000;
const BITRATE_KBIT_S_MAX: u32 = 1_000_000;
const BUFFER_MS_MAX: u32 = 3_600_000;
/// A start that took longer is none that anybody waited for: a page that was opened and left.
const START_MS_MAX: u64 = 120_000;

/// A session that was heard.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) protocol: &'static str,
    pub(super) heard_ms: u64,
    first_ms: u64,
    is_heard: bool,
    /// It was heard while it started, and its start is not told yet.
    starts: bool,
    is_told: bool,
    state: Option<State>,
    /// When a state has told of a stall.
    stalled_by_state_ms: Option<u64>,
    stalls_total: Option<u32>,
    stalled_ms_total: Option<u32>,
    latency_ms: Option<u32>,
    bitrate_kbit_s: Option<u32>,
    buffer_ms: Option<u32>,
}

impl Session {
    pub(super) fn new(protocol: &'static str, now_ms: u64) -> Self {
        Self {
            protocol,
            heard_ms: now_ms,
            first_ms: now_ms,
            is_heard: false,
            starts: false,
            is_told: false,
            state: None,
            stalled_by_state_ms: None,
            stalls_total: None,
            stalled_ms_total: None,
            latency_ms: None,
            bitrate_kbit_s: None,
            buffer_ms: None,
        }
    }

    /// Takes a report; gives what it has to tell at once: its start, and stalls.
    pub(super) fn hear(&mut self, said: &Figures, now_ms: u64) -> Told {
        let is_first = !std::mem::replace(&mut self.is_heard, true);
        self.heard_ms = now_ms;
        let told = Told {
            start_ms: self.start(said, is_first, now_ms),
            stalls: self.stalls(said, now_ms),
            stalled_ms: self.stalled_ms(said),
            ..Told::default()
        };
        self.state = said.state.or(self.state);
        self.latency_ms = said.latency_ms.filter(|ms| *ms <= LATENCY_MS_MAX).or(self.latency_ms);
        // Sound has a request of its own, and says nothing of how the picture is.
        if said.object != Some(Object::Audio) || self.bitrate_kbit_s.is_none() {
            self.bitrate_kbit_s =
                said.bitrate_kbit_s.filter(|kbit_s| (1..=BITRATE_KBIT_S_MAX).contains(kbit_s)).or(self.bitrate_kbit_s);
        }
        self.buffer_ms = said.buffer_ms.filter(|ms| *ms <= BUFFER_MS_MAX).or(self.buffer_ms);
        told
    }

    /// What holds for these milliseconds up to now.
    pub(super) fn holds(&self, for_ms: u32) -> Told {
        let plays = matches!(self.state, None | Some(State::Playing | State::Rebuffering));
        Told {
            latency_ms: self.latency_ms,
            bitrate_kbit_s: self.bitrate_kbit_s,
            buffer_ms: self.buffer_ms,
            played_ms: if plays && !self.starts { for_ms } else { 0 },
            ..Told::default()
        }
    }

    /// A player of version 2 says how long it took. Of others it is the time from the first request, which wanted something at once, to the first one
    /// that did not: less by what came before the first request, and more by up to a segment.
    fn start(&mut self, said: &Figures, is_first: bool, now_ms: u64) -> Option<u32> {
        let begins = said.startup || said.state == Some(State::Starting);
        if is_first && begins && !self.is_told {
            self.starts = true;
        }
        if let Some(start_ms) = said.start_delay_ms {
            self.starts = false;
            let is_new = !std::mem::replace(&mut self.is_told, true);
            return (is_new && u64::from(start_ms) <= START_MS_MAX).then_some(start_ms);
        }
        if !self.starts || begins {
            return None;
        }
        self.starts = false;
        let took_ms = now_ms.saturating_sub(self.first_ms);
        (!std::mem::replace(&mut self.is_told, true) && took_ms <= START_MS_MAX).then_some(took_ms as u32)
    }

    /// What its totals were before the first ones that it told: of a session that was not heard from its start, nobody knows.
    fn before(&self) -> Option<u32> {
        (self.starts || self.is_told).then_some(0)
    }

    fn stalls(&mut self, said: &Figures, now_ms: u64) -> u32 {
        if let Some(total) = said.starved_count_total {
            let before = self.stalls_total.replace(total).or(self.before());
            return before.map_or(0, |before| total.saturating_sub(before)).min(STALLS_MAX);
        }
        if self.stalls_total.is_some() {
            return 0;
        }
        if said.state == Some(State::Rebuffering) && self.state != Some(State::Rebuffering) {
            self.stalled_by_state_ms = Some(now_ms);
            return 1;
        }
        let is_known = self.stalled_by_state_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < SAME_STALL_MS);
        if said.starved {
            self.stalled_by_state_ms = None;
        }
        u32::from(said.starved && !is_known)
    }

    fn stalled_ms(&mut self, said: &Figures) -> u32 {
        let stalled_ms = match said.starved_ms_total {
            Some(total) => {
                let before = self.stalled_ms_total.replace(total).or(self.before());
                before.map_or(0, |before| total.saturating_sub(before))
            }
            None if self.stalled_ms_total.is_some() => 0,
            None => said.starved_ms.unwrap_or(0),
        };
        stalled_ms.min(STALLED_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use millstream_proto::cmcd::parse;

    use super::*;

    /// Hears reports, each with its time; gives all starts, the number of stalls and for how long it stood still.
    fn heard(reports: &[(u64, &str)]) -> (Vec<u32>, u32, u32) {
        let mut session = Session::new("hls", reports[0].0);
        let told: Vec<Told> =
            reports.iter().map(|(at_ms, text)| session.hear(&parse(text).unwrap().figures, *at_ms)).collect();
        let starts = told.iter().filter_map(|told| told.start_ms).collect();
        (starts, told.iter().map(|told| told.stalls).sum(), told.iter().map(|told| told.stalled_ms).sum())
    }

    #[test]
    fn a_start_is_told_once() {
        // Version 1: something is wanted at once, and then it is not. A stall wants something at once, too.
        let first = [(100, "ot=m,su"), (300, "ot=v,su"), (900, "ot=v"), (5_000, "ot=v,bs,su"), (6_000, "ot=v")];
        assert_eq!(heard(&first), (vec![800], 1, 0));
        // Version 2 says it.
        assert_eq!(heard(&[(0, "su,sta=s,v=2"), (400, "msd=370,sta=p"), (500, "msd=370,sta=p")]), (vec![370], 0, 0));
        // Who was heard when it had started tells no start; a page that was left for long has none.
        assert_eq!(heard(&[(0, "ot=v"), (1_000, "ot=v,su"), (2_000, "ot=v")]).0, Vec::<u32>::new());
        assert_eq!(heard(&[(0, "su"), (600_000, "ot=v")]).0, Vec::<u32>::new());
    }

    #[test]
    fn a_stall_is_one_however_it_is_told() {
        assert_eq!(
            heard(&[(0, "sta=p"), (100, "sta=r"), (200, "sta=r"), (900, "sta=p,bs,bsd=(800)")]),
            (vec![], 1, 800)
        );
        assert_eq!(heard(&[(0, "sta=p"), (100, "sta=r"), (900, "sta=p"), (60_000, "sta=p,bs")]).1, 2);
        // Totals: what was before is not of now, and other words for the same are not counted beside them.
        let totals =
            [(0, "bsa=(3),bsda=(900)"), (10, "sta=r,bs"), (20, "bsa=(4),bsda=(1000),bsd=(100)"), (30, "bsa=(2)")];
        assert_eq!(heard(&totals), (vec![], 1, 100));
        assert_eq!(heard(&[(0, "msd=90,bsa=1,bsda=200"), (10, "bsa=1,bsda=200")]), (vec![90], 1, 200));
        assert_eq!(heard(&[(0, "bsda=0"), (1, "bsda=4000000000")]).2, STALLED_MS_MAX);
    }

    #[test]
    fn what_holds_is_what_was_said_last() {
        let mut session = Session::new("dash", 0);
        for text in ["br=(3000),bl=900,ltc=1800,sta=p", "ot=a,br=128", "bl=(700)"] {
            session.hear(&parse(text).unwrap().figures, 1);
        }
        let told = session.holds(10_000);
        let expected = Told {
            latency_ms: Some(1_800),
            bitrate_kbit_s: Some(3_000),
            buffer_ms: Some(700),
            played_ms: 10_000,
            ..Told::default()
        };
        assert_eq!(told, expected);
        session.hear(&parse("sta=a").unwrap().figures, 2);
        assert_eq!(session.holds(10_000).played_ms, 0, "paused");
    }
}
