//! What happened, in order: a hash that two runs of a seed share, and lines for people when asked for.
use std::fmt::Debug;

use millstream_proto::time::Time;

/// The trace of one walk.
pub(crate) struct Trace {
    /// FNV-1a over everything noted.
    pub(crate) hash: u64,
    print: bool,
}

impl Trace {
    pub(crate) fn new(print: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, print }
    }

    pub(crate) fn mix(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3);
            self.hash ^= self.hash >> 29;
        }
    }

    pub(crate) fn mix_bytes(&mut self, bytes: &[u8]) {
        let number = |part: &[u8]| part.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
        for part in bytes.chunks(8) {
            self.mix(&[number(part)]);
        }
    }

    /// Notes that something happened to that link (or shard), with a number that says more.
    pub(crate) fn note(&mut self, now: Time, what: &'static str, whom: usize, number: u64) {
        self.mix(&[now.as_micros(), what.len() as u64, whom as u64, number]);
        self.mix_bytes(what.as_bytes());
        if self.print {
            let at = now.as_micros();
            println!("{:6}.{:06}  {what} {whom} {number}", at / 1_000_000, at % 1_000_000);
        }
    }

    /// A line for people only.
    pub(crate) fn say(&self, now: Time, what: &str, whom: usize, more: impl Debug) {
        if self.print {
            let at = now.as_micros();
            println!("{:6}.{:06}  {what} {whom} {more:?}", at / 1_000_000, at % 1_000_000);
        }
    }
}
