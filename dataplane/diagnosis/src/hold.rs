//! Hysteresis: a condition is told once it has lasted for a while, and is over once it has not been there for a while. Between what finds it in
//! a sample and what is told.
use crate::kind::Times;

/// What was found, for sentences.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Finding {
    /// Which form of the condition; empty where it has one only.
    pub form: &'static str,
    /// A name.
    pub about: String,
    /// A reason that was given.
    pub why: String,
    /// What it was judged by.
    pub figures: Vec<(&'static str, f64)>,
}

/// One condition of one stream.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Hold {
    found_since_ms: Option<u64>,
    gone_since_ms: Option<u64>,
    raised: Option<(u64, Finding)>,
}

impl Hold {
    /// Takes what a look has found now.
    pub fn look(&mut self, found: Option<Finding>, times: Times, now_ms: u64) {
        let Some(finding) = found else {
            self.found_since_ms = None;
            let gone_since_ms = *self.gone_since_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(gone_since_ms) >= times.clear_ms {
                self.raised = None;
            }
            return;
        };
        self.gone_since_ms = None;
        let since_ms = *self.found_since_ms.get_or_insert(now_ms);
        match &mut self.raised {
            Some((_, known)) => *known = finding,
            None if now_ms.saturating_sub(since_ms) >= times.raise_ms => self.raised = Some((since_ms, finding)),
            None => {}
        }
    }

    /// Since when, Unix milliseconds, and what was found last; `None`: it is not told.
    pub fn raised(&self) -> Option<(u64, &Finding)> {
        self.raised.as_ref().map(|(since_ms, finding)| (*since_ms, finding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { raise_ms: 2_000, clear_ms: 3_000 };

    /// When it is told, of a condition that is there in these seconds.
    fn told(there: &[u64]) -> Vec<u64> {
        let mut hold = Hold::default();
        let look = |second: &u64| {
            let found = there.contains(second).then(Finding::default);
            hold.look(found, TIMES, second * 1_000);
            hold.raised().is_some()
        };
        (0..20).filter(look).collect()
    }

    #[test]
    fn it_comes_late_goes_late_and_does_not_flicker() {
        assert_eq!(told(&[1, 2, 3, 4]), [3, 4, 5, 6, 7], "after two seconds, and for three more");
        assert_eq!(told(&[1, 2]), [0; 0], "too short");
        assert_eq!(told(&[1, 3, 5, 7, 9]), [0; 0], "never two seconds long");
        assert_eq!(told(&[1, 2, 3, 5, 7, 9]), [3, 4, 5, 6, 7, 8, 9, 10, 11, 12], "one that is told stays");
    }

    #[test]
    fn it_says_since_when_and_the_newest_figures() {
        let mut hold = Hold::default();
        for second in 0..5_u64 {
            let figures = vec![("n", second as f64)];
            hold.look(Some(Finding { figures, ..Finding::default() }), TIMES, 10_000 + second * 1_000);
        }
        let (since_ms, finding) = hold.raised().unwrap();
        assert_eq!((since_ms, finding.figures.as_slice()), (10_000, &[("n", 4.0)][..]));
    }
}
