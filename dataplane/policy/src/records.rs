//! Which streams exist: an immutable map that the steps of [`crate::signed`] are shown with each question. A change of records is a new
//! map, made beside the shards (see [`crate::table`]).
//!
//! A record holds what a decision needs and no more; how a stream behaves (its flush policy) goes to the engine by its own way.
use std::sync::Arc;

use crate::table::Table;

/// Generations of one stream that may admit at the same time, with the one in force: each costs every wrong signature a MAC, and who
/// rotates more often than graces end wants the older ones gone.
pub const GENERATIONS_MAX: usize = 4;

/// The generation that a stream begins with: the one that signatures of an older system stand beside.
pub const FIRST_GENERATION: u64 = 1;

/// A stream that may be published and played.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The generation of its secret; starts at 1, and raising it makes every older signature wrong, but for those of `previous`.
    pub generation: u64,
    /// Generations before it that still admit, each up to, and not including, a second of Unix time.
    pub previous: Vec<(u64, u64)>,
    /// The operator's own words about it, which hooks may read; `None`: there are none.
    pub labels: Option<Labels>,
    /// The settings that it has of its own, named as in the API, for hooks; `None`: it has the server's.
    pub settings: Option<Labels>,
}

/// Names and values.
pub type Labels = Arc<[(String, String)]>;

impl Record {
    /// A stream whose secret has this generation, and no other that admits.
    pub const fn of(generation: u64) -> Self {
        Self { generation, previous: Vec::new(), labels: None, settings: None }
    }

    /// The generations that admit now, the one in force first.
    pub fn in_force(&self, unix_s: u64) -> impl Iterator<Item = u64> {
        let grace = self.previous.iter().filter(move |(_, until)| unix_s < *until).map(|(generation, _)| *generation);
        std::iter::once(self.generation).chain(grace).take(GENERATIONS_MAX)
    }
}

impl Default for Record {
    fn default() -> Self {
        Self::of(FIRST_GENERATION)
    }
}

/// All streams that exist, by id.
pub type Records = Table<Record>;
