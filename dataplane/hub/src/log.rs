//! The log of a stream as one shard holds it: a bounded run of blocks that starts at a keyframe where it holds one. Filled by
//! [`crate::stream`] on the owner's shard and by the mirror's mailbox on others; read by [`crate::viewer`]'s cursors.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::package::block::{Block, Entry, EntryRef};
use crate::package::stream_headers::StreamHeaders;

/// Why a stream is over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum EndReason {
    /// The publisher left and did not come back in time.
    PublisherGone,
    /// The server is going down.
    Shutdown,
}

/// What a block costs besides its bytes, bytes: without it, a publisher of tiny messages would fill the memory long before the log.
const BLOCK_OVERHEAD_BYTES: usize = size_of::<Block>() + size_of::<Entry>() + size_of::<StreamHeaders>();

fn cost(block: &Block) -> usize {
    block.held_bytes() + BLOCK_OVERHEAD_BYTES
}

/// Bounds of a log.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// Most bytes.
    pub bytes_max: usize,
    /// Longest reach, if more than the newest GOP is held.
    pub time_max: Duration,
    /// Chunk size of the RTMP form, bytes.
    pub rtmp_chunk_bytes: usize,
}

/// Blocks `first..head` of one stream.
#[derive(Debug)]
pub struct Log {
    entries: VecDeque<EntryRef>,
    /// Numbers of the held blocks that a viewer can start at.
    starts: VecDeque<u64>,
    /// Number that the next block will have.
    head: u64,
    bytes: usize,
    stream_headers: Arc<StreamHeaders>,
    open: bool,
    ended: Option<EndReason>,
    /// Bounds.
    pub limits: LogLimits,
}

impl Log {
    /// An empty log.
    pub fn new(limits: LogLimits) -> Self {
        Self {
            entries: VecDeque::new(),
            starts: VecDeque::new(),
            head: 0,
            bytes: 0,
            stream_headers: Arc::default(),
            open: false,
            ended: None,
            limits,
        }
    }

    /// Appends a block, and drops the oldest ones where a bound is passed. A block that does not follow the last one (a mirror
    /// fell behind) starts the log anew: cursors before it have fallen off.
    pub fn append(&mut self, block: Arc<Block>) {
        if block.seq != self.head {
            self.entries.clear();
            self.starts.clear();
            self.bytes = 0;
        }
        self.head = block.seq + 1;
        self.bytes += cost(&block);
        if block.start {
            self.starts.push_back(block.seq);
        }
        self.stream_headers = Arc::clone(&block.stream_headers);
        self.entries.push_back(Entry::new(block));
        self.trim();
    }

    fn trim(&mut self) {
        loop {
            let over_bytes = self.bytes > self.limits.bytes_max;
            if !over_bytes && self.reach() <= self.limits.time_max {
                return;
            }
            let first = self.first();
            match self.starts.iter().find(|&&start| start > first) {
                Some(&next_gop) => {
                    while self.first() < next_gop {
                        self.drop_oldest();
                    }
                }
                // The newest GOP is all there is: it stays unless it alone is too large.
                None if over_bytes && self.entries.len() > 1 => self.drop_oldest(),
                None => return,
            }
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= cost(&entry.block);
            if self.starts.front() == Some(&entry.block.seq) {
                self.starts.pop_front();
            }
        }
    }

    fn reach(&self) -> Duration {
        match (self.entries.front(), self.entries.back()) {
            (Some(oldest), Some(newest)) => {
                Duration::from_millis(newest.block.last_ms.saturating_sub(oldest.block.first_ms).max(0).unsigned_abs())
            }
            _ => Duration::ZERO,
        }
    }

    /// Number of the oldest block held; `head` when there is none.
    pub fn first(&self) -> u64 {
        self.head - self.entries.len() as u64
    }

    /// Number that the next block will have.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The block of that number, if it is held.
    pub fn get(&self, seq: u64) -> Option<&EntryRef> {
        let at = seq.checked_sub(self.first())?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// The newest block that a viewer can start at.
    pub fn newest_start(&self) -> Option<u64> {
        self.starts.back().copied()
    }

    /// Numbers of the blocks that a viewer can start at, the oldest first.
    pub fn starts(&self) -> impl Iterator<Item = u64> {
        self.starts.iter().copied()
    }

    /// Bytes held, with what the blocks cost besides their content.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What comes next may begin anywhere, but `head` is where the owner is: a viewer that wants the next start waits from there.
    pub(crate) fn join(&mut self, head: u64) {
        self.head = head;
    }

    /// Headers and configurations in force at the newest block.
    pub fn stream_headers(&self) -> &Arc<StreamHeaders> {
        &self.stream_headers
    }

    /// Whether the tracks are known, so that viewers may start.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Lets viewers start.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// Why the stream is over, if it is: viewers that have sent all of it go.
    pub fn ended(&self) -> Option<EndReason> {
        self.ended
    }

    /// Says that nothing more will come.
    pub fn end(&mut self, reason: EndReason) {
        self.ended.get_or_insert(reason);
    }
}

#[cfg(test)]
mod tests;
