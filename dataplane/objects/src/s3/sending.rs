//! A body on its way to S3: read in chunks off the runtime while the connection takes them, and a watch for ones that stop. Before it:
//! [`Body`]; after it: the SDK's HTTP client.
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::Timeouts;
use crate::body::{Body, BodyReader};
use crate::error::{ErrorKind, ObjectError};
use crate::limits::CHUNK_BYTES;

/// How much of a body has been taken.
#[derive(Clone, Default, Debug)]
pub(super) struct Progress {
    taken: Arc<AtomicU64>,
    /// All of it; 0 for calls without a body.
    bytes: u64,
}

impl Progress {
    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Waits for the call as long as its body moves, and then for an answer: `None` when one of both takes too long.
    pub(super) async fn watch<T>(&self, timeouts: Timeouts, call: impl Future<Output = T>) -> Result<T, Duration> {
        let mut call = std::pin::pin!(call);
        loop {
            let before = self.taken();
            let wait = if before < self.bytes { timeouts.stall } else { timeouts.answer };
            match tokio::time::timeout(wait, &mut call).await {
                Ok(output) => return Ok(output),
                Err(_) if self.taken() == before => return Err(wait),
                Err(_) => {}
            }
        }
    }
}

/// A part of a body for one request, and how far it is.
pub(super) fn stream(body: &Body, offset: u64, bytes: u64) -> (ByteStream, Progress) {
    let progress = Progress { taken: Arc::default(), bytes };
    let sending =
        Sending { state: State::Idle(body.reader_at(offset)), left: bytes, taken: Arc::clone(&progress.taken) };
    (ByteStream::new(SdkBody::from_body_1_x(sending)), progress)
}

enum State {
    Idle(BodyReader),
    Reading(JoinHandle<(BodyReader, Result<Option<Bytes>, ObjectError>)>),
    Over,
}

struct Sending {
    state: State,
    left: u64,
    taken: Arc<AtomicU64>,
}

impl Sending {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ObjectError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let max = self.left.min(CHUNK_BYTES as u64) as usize;
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Idle(mut reader) => {
                    if let Some(chunk) = reader.next_in_memory(max) {
                        self.state = State::Idle(reader);
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                    self.state = State::Reading(tokio::task::spawn_blocking(move || {
                        let chunk = reader.next(max);
                        (reader, chunk)
                    }));
                }
                State::Reading(mut reading) => {
                    let Poll::Ready(read) = Pin::new(&mut reading).poll(cx) else {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    };
                    let Ok((reader, chunk)) = read else {
                        let message = "the server is stopping: the upload was given up";
                        return Poll::Ready(Some(Err(ObjectError::new(ErrorKind::Unavailable, message))));
                    };
                    self.state = State::Idle(reader);
                    return Poll::Ready(chunk.transpose());
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = ObjectError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ObjectError>>> {
        Poll::Ready(match ready!(self.poll_chunk(cx)) {
            Some(Ok(chunk)) => {
                self.left -= chunk.len() as u64;
                self.taken.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                Some(Ok(Frame::data(chunk)))
            }
            Some(Err(error)) => {
                self.state = State::Over;
                Some(Err(error))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
