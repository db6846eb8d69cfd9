//! What all baselines share: tags from the publisher become blocks under a flush policy, and blocks wait in a short log.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use millstream_hub::config::FlushPolicy;
use millstream_hub::flush::Flusher;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

/// Bytes that a baseline reads from its publisher at once, as the product.
pub(super) const READ_BYTES: usize = 64 << 10;

/// Blocks that are kept: 3 s of the policy that makes the most.
const BLOCKS_MAX: usize = 256;
const TAG_HEADER_BYTES: usize = 11;

/// The publisher's side, and the log.
#[derive(Debug)]
pub(super) struct Feed {
    epoch: Instant,
    flusher: Flusher,
    unread: Vec<u8>,
    /// Tags that wait for their flush.
    tags: Vec<u8>,
    blocks: VecDeque<Bytes>,
    first: u64,
}

impl Feed {
    pub(super) fn new(policy: FlushPolicy) -> Self {
        Self {
            epoch: Instant::now(),
            flusher: Flusher::new(policy),
            unread: Vec::new(),
            tags: Vec::new(),
            blocks: VecDeque::new(),
            first: 0,
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.epoch.elapsed()
    }

    /// Takes what one read brought. True: there is a new block.
    pub(super) fn read(&mut self, bytes: &[u8]) -> bool {
        let now = self.now();
        self.unread.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(&[kind, l0, l1, l2, t0, t1, t2, ..]) = self.unread[done..].first_chunk::<TAG_HEADER_BYTES>() {
            let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
            let Some(tag) = self.unread.get(done..done + TAG_HEADER_BYTES + length + 4) else { break };
            let track = if kind == 9 { Track::Video } else { Track::Audio };
            self.flusher.add(track, i64::from(u32::from_be_bytes([0, t0, t1, t2])), now);
            self.tags.extend_from_slice(tag);
            done += tag.len();
        }
        self.unread.drain(..done);
        self.flusher.after_read(now) && self.flush(now)
    }

    /// Flushes if it is time. True: there is a new block.
    pub(super) fn tick(&mut self) -> bool {
        let now = self.now();
        self.flusher.due().is_some_and(|due| due <= now) && self.flush(now)
    }

    /// How long until [`Feed::tick`] has something to do.
    pub(super) fn wait(&self) -> Option<Duration> {
        Some(self.flusher.due()?.since(self.now()))
    }

    /// Number and bytes of the newest block.
    pub(super) fn newest(&self) -> Option<(u64, &[u8])> {
        Some((self.first + self.blocks.len() as u64 - 1, self.blocks.back()?))
    }

    fn flush(&mut self, now: Time) -> bool {
        self.flusher.flushed(now);
        if self.tags.is_empty() {
            return false;
        }
        let mut block = format!("{:x}\r\n", self.tags.len()).into_bytes();
        block.reserve_exact(self.tags.len() + 2);
        block.append(&mut self.tags);
        block.extend_from_slice(b"\r\n");
        self.blocks.push_back(block.into());
        if self.blocks.len() > BLOCKS_MAX {
            self.blocks.pop_front();
            self.first += 1;
        }
        true
    }
}

/// A viewer's place in the log.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    pub(super) next: u64,
    pub(super) offset: usize,
}

impl Cursor {
    /// What to send next. A viewer that has fallen off the log goes on at its start: the drain notices the torn stream.
    pub(super) fn fill(&mut self, feed: &Feed) -> Option<Bytes> {
        if self.next < feed.first {
            *self = Self { next: feed.first, offset: 0 };
        }
        let mut block = feed.blocks.get((self.next - feed.first) as usize)?.clone();
        block.advance(self.offset);
        Some(block)
    }

    /// `count` bytes of `length` were taken.
    pub(super) fn sent(&mut self, count: usize, length: usize) {
        if count == length {
            *self = Self { next: self.next + 1, offset: 0 };
        } else {
            self.offset += count;
        }
    }
}
