//! The MP4 file of a recording that is being made. Before it: what is due; after it: [`super::entry`], which holds it, and [`super::movies`].
use std::sync::Arc;

use millstream_proto::time::Time;

use crate::movie::make::Movie;
use crate::name::RecordingName;
use crate::recording::movies::DueMovie;
use crate::store::Sums;

/// A file to be made: answered by [`super::Recorder::movie_built`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MovieJob {
    /// Of this recording.
    pub recording: RecordingName,
    /// Which, and of what.
    pub due: DueMovie,
}

/// The file of a recording that is under way.
#[derive(Clone, Debug)]
pub(super) struct UnderWay {
    pub(super) number: u32,
    pub(super) from_unix_ms: u64,
    /// `None` while it is being made.
    pub(super) built: Option<(Arc<Movie>, Sums)>,
}

/// What is known of a recording's files.
#[derive(Clone, Debug)]
pub(super) struct Making {
    pub(super) under_way: Option<UnderWay>,
    /// None is made before.
    pub(super) retry_at: Time,
    /// What says where files up to this one end is on the disk.
    pub(super) durable: u32,
    /// Objects from these on are needed.
    pub(super) objects_from: [u32; 2],
}

impl Making {
    /// Of a recording with files, everything is needed until the first sync; of others nothing.
    pub(super) const fn new(has_movies: bool) -> Self {
        let objects_from = if has_movies { [0; 2] } else { [u32::MAX; 2] };
        Self { under_way: None, retry_at: Time::ZERO, durable: 0, objects_from }
    }

    /// The file of that number, where it is made.
    pub(super) fn built(&self, number: u32) -> Option<Arc<Movie>> {
        let under_way = self.under_way.as_ref().filter(|movie| movie.number == number)?;
        under_way.built.as_ref().map(|(movie, _)| Arc::clone(movie))
    }
}
