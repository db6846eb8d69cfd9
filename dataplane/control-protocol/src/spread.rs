//! A bounded histogram: how often which values were. Of several nodes they add up, and what people read is worked out of it. Used by [`crate::quality`] and
//! [`crate::hook_numbers`].
use serde::{Deserialize, Serialize};

/// How often which values were.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Spread {
    /// The largest value of each bucket, ascending.
    pub up_to: Vec<u64>,
    /// How many are in each bucket, and in the one beyond the last.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl Spread {
    /// Whether it can be what it is to be, with at most so many bounds: a node says what it likes.
    pub fn is_whole(&self, bounds_max: usize) -> bool {
        self.counts.len() == self.up_to.len() + 1 && self.up_to.len() <= bounds_max && self.up_to.is_sorted()
    }

    /// Adds another one of the same buckets; of one with others, which another release has, nothing is added.
    pub fn add(&mut self, other: Self) {
        if self.counts.is_empty() {
            *self = other;
        } else if self.up_to == other.up_to {
            self.counts.iter_mut().zip(other.counts).for_each(|(sum, more)| *sum = sum.saturating_add(more));
            self.sum = self.sum.saturating_add(other.sum);
        }
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Their mean; `None` where there is none.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }

    /// The bucket of the value that this part of all values are not more than, and how many are in those below it.
    fn bucket_of(&self, part: f64) -> Option<(usize, f64)> {
        let wanted = self.count() as f64 * part;
        let mut below = 0.0;
        for (at, in_it) in self.counts.iter().map(|count| *count as f64).enumerate() {
            if in_it > 0.0 && below + in_it >= wanted {
                return Some((at, below));
            }
            below += in_it;
        }
        None
    }

    /// The value that this part of all values are not more than: within its bucket in proportion. In the last one, its lower end.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let (at, below) = self.bucket_of(part)?;
        let from = at.checked_sub(1).and_then(|before| self.up_to.get(before)).map_or(0.0, |bound| *bound as f64);
        let (Some(to), Some(in_it)) = (self.up_to.get(at), self.counts.get(at)) else { return Some(from) };
        let wanted = self.count() as f64 * part;
        Some((from + (*to as f64 - from) * ((wanted - below) / *in_it as f64)).round())
    }

    /// The largest value of the bucket that the quantile is in; `None` also where that is the one beyond the last bound.
    pub fn bound_of(&self, part: f64) -> Option<u64> {
        self.up_to.get(self.bucket_of(part)?.0).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(counts: &[u64]) -> Spread {
        Spread { up_to: vec![100, 200, 400], counts: counts.to_vec(), sum: 0 }
    }

    #[test]
    fn quantiles_are_within_their_bucket() {
        let check = |counts: &[u64], part: f64, expected: Option<f64>, bound: Option<u64>| {
            let spread = spread(counts);
            assert_eq!((spread.quantile(part), spread.bound_of(part)), (expected, bound), "{counts:?} {part}");
        };
        check(&[0, 0, 0, 0], 0.5, None, None);
        check(&[2, 0, 0, 0], 0.5, Some(50.0), Some(100));
        check(&[1, 0, 1, 0], 0.5, Some(100.0), Some(100));
        check(&[1, 0, 1, 0], 0.95, Some(380.0), Some(400));
        check(&[0, 4, 0, 0], 1.0, Some(200.0), Some(200));
        check(&[0, 0, 0, 3], 0.5, Some(400.0), None);
        assert_eq!((Spread::default().quantile(0.5), Spread::default().bound_of(0.5)), (None, None));
    }

    #[test]
    fn sums_are_of_the_same_buckets_and_end_at_what_a_number_holds() {
        let mut sum = Spread::default();
        assert_eq!(sum.mean(), None);
        sum.add(Spread { sum: 700, ..spread(&[1, 0, 1, 0]) });
        sum.add(Spread { sum: u64::MAX, ..spread(&[u64::MAX, 0, 1, 0]) });
        sum.add(Spread { up_to: vec![1], counts: vec![5, 5], sum: 5 });
        assert_eq!((sum.counts.clone(), sum.sum, sum.count()), (vec![u64::MAX, 0, 2, 0], u64::MAX, u64::MAX));
        assert!(sum.is_whole(3) && !sum.is_whole(2) && !Spread { counts: vec![1], ..sum }.is_whole(3));
    }
}
