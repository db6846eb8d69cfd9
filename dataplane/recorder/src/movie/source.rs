//! Bytes of a recording's objects, in order and read ahead: a request to a store or a read of a disk for each megabyte, not for each frame. Before it: a
//! spool, or a store; after it: [`super::make`] and [`super::copy`].
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use millstream_proto::media::Track;

use crate::limits::MOVIE_READ_BYTES;
use crate::name::place;
use crate::store::{Answer, StoreError};

/// Media objects of one recording.
pub trait Source: Send + Sync {
    /// So many bytes of an object from that one on. [`StoreError::Source`]: they are not there, and will not be.
    fn read(&self, track: Track, object: u32, at: u64, bytes: usize) -> Answer<'_, Bytes>;

    /// How many bytes a read is to have, for the cost of one not to matter.
    fn read_bytes(&self) -> usize {
        MOVIE_READ_BYTES
    }
}

/// The newest read of each track.
#[derive(Debug, Default)]
pub(super) struct Ahead([Option<(u32, u64, Bytes)>; 2]);

impl Ahead {
    /// At least `least` bytes from `at` on, of what is in the object before `end`.
    pub(super) async fn get(
        &mut self,
        source: &dyn Source,
        (track, object): (Track, u32),
        at: u64,
        least: usize,
        end: u64,
    ) -> Result<Bytes, StoreError> {
        let Some(slot) = self.0.get_mut(place(track)) else { return Ok(Bytes::new()) };
        if let Some((of, from, bytes)) = slot
            && *of == object
            && let Some(skip) = at.checked_sub(*from).and_then(|skip| usize::try_from(skip).ok())
            && skip.checked_add(least).is_some_and(|wanted| wanted <= bytes.len())
        {
            return Ok(bytes.slice(skip..));
        }
        // What is there is given back before more is taken.
        *slot = None;
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        if left < least {
            return Err(StoreError::Source(format!("{} {object} ends before its segments do", track.name())));
        }
        let bytes = source.read(track, object, at, least.max(source.read_bytes()).min(left)).await?;
        if bytes.len() < least {
            return Err(StoreError::Source(format!("{} {object} is shorter than it was", track.name())));
        }
        *slot = Some((object, at, bytes.clone()));
        Ok(bytes)
    }
}

/// Runs what never has to wait, as where all bytes come from a disk; `None` where it would have to.
pub fn at_once<T>(work: impl Future<Output = T>) -> Option<T> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}
