//! Which streams exist: an immutable map that whoever reads the configuration (later: the store) makes, and that the steps of
//! [`crate::signed`] share. A change of records is a new map.
//!
//! A record holds what a decision needs and no more; how a stream behaves (its flush policy) goes to the engine by its own way.
use std::collections::HashMap;

use millstream_proto::id::Id;

/// A stream that may be published and played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// The generation of its secret; starts at 1, and raising it makes every older signature wrong.
    pub generation: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self { generation: 1 }
    }
}

/// All streams that exist, by id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Records(HashMap<Id, Record>);

impl Records {
    /// The record of a stream.
    pub fn get(&self, id: &Id) -> Option<&Record> {
        self.0.get(id)
    }

    /// How many streams exist.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no stream.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Id, Record)> for Records {
    fn from_iter<T: IntoIterator<Item = (Id, Record)>>(records: T) -> Self {
        Self(records.into_iter().collect())
    }
}
