//! How a stream's blocks reach shards that have viewers of it but do not own it. The owner keeps a cursor per shard ([`Feed`]); the
//! other side applies [`FeedMessage`]s to its own log. A shard whose mailbox is full is a slow viewer: its cursor waits, and
//! jumps to the newest start when it has fallen off the owner's log.
use std::sync::Arc;

use crate::address::Address;
use crate::log::{EndReason, Log};
use crate::package::block::Block;
use crate::subscriber::BlockCursor;

/// What the owner tells a mirror, in order.
#[derive(Clone, Debug)]
pub enum FeedMessage {
    /// The stream is on air: what follows is it. The number is that of the next block it makes.
    Joined(u64),
    /// The next blocks.
    Blocks(Vec<Arc<Block>>),
    /// Viewers may start.
    Open,
    /// Nothing more comes.
    Ended(EndReason),
}

/// Blocks in one message at most.
const BLOCKS_PER_MESSAGE_MAX: usize = 64;
/// A message that has this many bytes takes no further block: it may have to go to another node.
const BYTES_PER_MESSAGE: usize = 4 << 20;

/// The owner's cursor for one other shard.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The shard that mirrors.
    pub to: Address,
    /// The mirror's own number for this subscription: a later one of the same shard has another.
    pub subscription: u64,
    cursor: BlockCursor,
    told_joined: bool,
    told_open: bool,
    told_end: bool,
    jumps: u64,
}

impl Feed {
    /// A cursor at the oldest start: of shards of one node each has about what the owner has, for the worker that makes a rendition from further back. To
    /// another node only the newest GOP goes, so that the mirror's first viewers have a backlog.
    pub fn new(to: Address, subscription: u64, log: &Log) -> Self {
        let cursor = if to.is_here() { BlockCursor::oldest(log) } else { BlockCursor::newest(log) };
        Self { to, subscription, cursor, told_joined: false, told_open: false, told_end: false, jumps: 0 }
    }

    /// What to tell the mirror next; call [`Feed::told`] once it has been put in the mailbox.
    pub fn next_message(&mut self, log: &Log) -> Option<FeedMessage> {
        if !self.told_joined {
            return Some(FeedMessage::Joined(log.head()));
        }
        if !self.told_open && self.to.is_here() && self.cursor.position() < log.first() {
            // It has not begun: what has left the log since is nothing that anybody waits for.
            self.cursor = BlockCursor::oldest(log);
        }
        self.jumps += u64::from(self.cursor.catch_up(log).is_some());
        let mut bytes = 0;
        let blocks: Vec<_> = (self.cursor.position()..log.head())
            .take(BLOCKS_PER_MESSAGE_MAX)
            .filter_map(|seq| log.get(seq).map(|entry| Arc::clone(&entry.block)))
            .take_while(|block| {
                let has_room = bytes < BYTES_PER_MESSAGE;
                bytes += block.bytes();
                has_room
            })
            .collect();
        if !blocks.is_empty() {
            return Some(FeedMessage::Blocks(blocks));
        }
        if log.is_open() && !self.told_open {
            return Some(FeedMessage::Open);
        }
        log.ended().filter(|_| !self.told_end).map(FeedMessage::Ended)
    }

    /// That message is in the mirror's mailbox.
    pub fn told(&mut self, message: &FeedMessage) {
        match message {
            FeedMessage::Blocks(blocks) => {
                if let Some(last) = blocks.last() {
                    self.cursor = BlockCursor::at(last.seq + 1);
                }
            }
            FeedMessage::Joined(_) => self.told_joined = true,
            FeedMessage::Open => self.told_open = true,
            FeedMessage::Ended(_) => self.told_end = true,
        }
    }

    /// Whether the mirror knows that the stream is over.
    pub fn is_over(&self) -> bool {
        self.told_end
    }

    /// How often the mirror fell off the log.
    pub fn jumps(&self) -> u64 {
        self.jumps
    }
}

/// Applies what the owner told to the mirror's log.
pub fn apply(log: &mut Log, message: FeedMessage) {
    match message {
        FeedMessage::Joined(head) => log.join(head),
        FeedMessage::Blocks(blocks) => blocks.into_iter().for_each(|block| log.append(block)),
        FeedMessage::Open => log.open(),
        FeedMessage::Ended(reason) => log.end(reason),
    }
}

#[cfg(test)]
mod tests;
