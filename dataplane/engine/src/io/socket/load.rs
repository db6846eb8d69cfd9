//! What one send carries, and the vectors that it takes. Before it: a viewer's cursor; after it: [`super::writer`].
use std::cell::RefCell;

use millstream_hub::viewer::Piece;

use crate::io::buf::BatchBuf;

/// What one send carries.
pub(crate) enum Load {
    /// The usual case: one block.
    One(Piece),
    Many(BatchBuf),
}

impl Load {
    /// The pieces, in order.
    pub(crate) fn pieces(&self) -> &[Piece] {
        match self {
            Self::One(piece) => std::slice::from_ref(piece),
            Self::Many(batch) => &batch.pieces,
        }
    }
}

/// Vectors for sends of several pieces, reused within a shard.
#[derive(Default)]
pub(crate) struct LoadPool {
    free: RefCell<Vec<BatchBuf>>,
}

/// Vectors kept for reuse: they are in use only while viewers catch up.
const BATCHES_KEPT_MAX: usize = 256;

impl LoadPool {
    /// Takes all pieces out of `pieces`, of which there is at least one.
    pub(crate) fn load(&self, pieces: &mut Vec<Piece>) -> Load {
        if pieces.len() == 1
            && let Some(piece) = pieces.pop()
        {
            return Load::One(piece);
        }
        let mut batch = self.free.borrow_mut().pop().unwrap_or_else(BatchBuf::new);
        batch.pieces.append(pieces);
        batch.aim();
        Load::Many(batch)
    }

    /// Takes a load back, once it was sent: what it referred to is let go.
    pub(crate) fn unload(&self, load: Load) {
        if let Load::Many(mut batch) = load {
            batch.clear();
            let mut free = self.free.borrow_mut();
            if free.len() < BATCHES_KEPT_MAX {
                free.push(batch);
            }
        }
    }
}
