//! The end of a target on the stream's shard: a cursor over the log while the target is on air. Before it: the engine's stream handle; after it:
//! [`super::push`], through a queue with few places.
use std::sync::Arc;

use millstream_hub::subscriber::{BlockCursor, Follows, NextBlock, Progress, Subscriber, View};
use millstream_proto::rtmp::relay_path::RelayPath;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::link::{Link, Piece};

pub(super) struct Follower {
    link: Arc<Link>,
    to: Sender<Piece>,
    /// Where it is, and for which connection.
    place: Option<(u64, BlockCursor)>,
    after_loss: bool,
    /// What the publisher called itself when it was last looked at.
    encoder: Option<String>,
}

impl Follower {
    pub(super) const fn new(link: Arc<Link>, to: Sender<Piece>) -> Self {
        Self { link, to, place: None, after_loss: false, encoder: None }
    }
}

impl Subscriber for Follower {
    fn follows(&self) -> Follows {
        Follows::Blocks
    }

    fn advance(&mut self, stream: View<'_>) -> Progress {
        if let Some(encoder) = stream.encoder.filter(|encoder| self.encoder.as_deref() != Some(encoder)) {
            self.link.set_path(RelayPath::read(encoder));
            self.encoder = Some(encoder.to_owned());
        }
        let Some(connection) = self.link.wanted() else {
            self.place = None;
            return if self.to.is_closed() { Progress::Done } else { Progress::CaughtUp };
        };
        let newest = || (connection, BlockCursor::newest(stream.log));
        // Of another connection: this one begins anew.
        let (_, mut cursor) = self.place.take().filter(|(of, _)| *of == connection).unwrap_or_else(newest);
        let progress = loop {
            let place = match self.to.try_reserve() {
                Ok(place) => place,
                Err(TrySendError::Full(())) => break Progress::Behind,
                Err(TrySendError::Closed(())) => break Progress::Done,
            };
            match cursor.next(stream.log) {
                NextBlock::Block(entry) => {
                    let after_loss = std::mem::take(&mut self.after_loss);
                    place.send(Piece { connection, block: Arc::clone(&entry.block), after_loss });
                }
                NextBlock::Lost(_) => {
                    self.after_loss = true;
                    self.link.skipped();
                }
                NextBlock::Wait => break Progress::CaughtUp,
                NextBlock::Ended(_) => break Progress::Done,
            }
        };
        self.place = Some((connection, cursor));
        progress
    }
}

#[cfg(test)]
mod tests;
