//! What a node counts of a version of a hook, since it bound it. Before it: the node's counters, which `/metrics` shows, too; after it: the answer
//! [`crate::exchange::Answer::HookNumbers`], and the API, which adds up what several nodes say.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spread::Spread;

/// Upper bounds of the classes of CPU time, microseconds; what is more is in a last one.
pub const CPU_UP_TO_US: [u64; 10] = [10, 25, 50, 100, 200, 500, 1_000, 2_000, 5_000, 20_000];
/// Classes of CPU time.
pub const CPU_CLASSES: usize = CPU_UP_TO_US.len() + 1;
/// Words of each kind that a sum has.
const WORDS_MAX: usize = 32;
/// Bytes of a word that is taken of a node.
const WORD_BYTES_MAX: usize = 32;

/// Counts of one version.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HookNumbers {
    /// Which version.
    pub version: u64,
    /// Decisions by answer: `allow`, `deny`, `next`, `redirect`, `ask`; an open set. What never happened is not here, as below.
    pub answers: BTreeMap<String, u64>,
    /// Calls that came to no answer, by cause.
    pub failures: BTreeMap<String, u64>,
    /// Comparisons of a shadow with what was decided that came out the same.
    pub agreed: u64,
    /// Those that came out differently.
    pub disagreed: u64,
    /// Those that were not made.
    pub not_compared: u64,
    /// Events that event hooks were told of, or that were lost, by what became of them.
    pub notices: BTreeMap<String, u64>,
    /// What event hooks ordered, by what became of it.
    pub orders: BTreeMap<String, u64>,
    /// CPU time of all calls, microseconds.
    pub cpu_us: u64,
    /// Calls by their CPU time: as many as [`CPU_CLASSES`].
    pub cpu_calls: Vec<u64>,
}

impl HookNumbers {
    /// CPU time of calls, microseconds. A node says what it likes: it has the classes that there are.
    pub fn cpu(&self) -> Spread {
        let mut counts = self.cpu_calls.clone();
        counts.resize(CPU_CLASSES, 0);
        Spread { up_to: CPU_UP_TO_US.to_vec(), counts, sum: self.cpu_us }
    }

    /// Adds those of another node. A node says what it likes.
    pub fn add(&mut self, other: Self) {
        let theirs_cpu = other.cpu();
        for (mine, theirs) in [
            (&mut self.answers, other.answers),
            (&mut self.failures, other.failures),
            (&mut self.notices, other.notices),
            (&mut self.orders, other.orders),
        ] {
            for (word, count) in theirs {
                let is_word =
                    word.len() <= WORD_BYTES_MAX && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                if is_word && (mine.len() < WORDS_MAX || mine.contains_key(&word)) {
                    let sum = mine.entry(word).or_default();
                    *sum = sum.saturating_add(count);
                }
            }
        }
        for (mine, theirs) in [
            (&mut self.agreed, other.agreed),
            (&mut self.disagreed, other.disagreed),
            (&mut self.not_compared, other.not_compared),
        ] {
            *mine = mine.saturating_add(theirs);
        }
        let mut cpu = self.cpu();
        cpu.add(theirs_cpu);
        (self.cpu_calls, self.cpu_us) = (cpu.counts, cpu.sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_add_up_and_none_makes_words_of_its_own_without_end() {
        let of = |word: &str, count| HookNumbers {
            version: 2,
            answers: BTreeMap::from([(word.to_owned(), count)]),
            disagreed: count,
            cpu_calls: vec![count; 40],
            ..HookNumbers::default()
        };
        let mut sum = HookNumbers { version: 2, ..HookNumbers::default() };
        sum.add(of("allow", 3));
        sum.add(of("allow", u64::MAX));
        assert_eq!((sum.answers["allow"], sum.disagreed), (u64::MAX, u64::MAX));
        assert_eq!((sum.cpu_calls.len(), sum.cpu_calls[0]), (CPU_CLASSES, u64::MAX));
        sum.add(of("<b>", 1));
        (0..100).for_each(|n| sum.add(of(&"a".repeat(n + 1), 1)));
        assert!(sum.answers.len() <= WORDS_MAX && !sum.answers.contains_key("<b>"), "{:?}", sum.answers);
    }
}
