//! Where a connection's writer is while nobody sends.
use std::cell::Cell;

use super::socket::Writer;

/// Where a task leaves its writer while it waits, for those who send to many.
#[derive(Default)]
pub(crate) struct WriterSlot(Cell<Option<Writer>>);

impl WriterSlot {
    pub(crate) fn put(&self, writer: Writer) {
        self.0.set(Some(writer));
    }

    /// Takes it, where it is here.
    pub(crate) fn take(&self) -> Option<Writer> {
        self.0.take()
    }

    /// Whether it is somewhere else.
    pub(crate) fn is_empty(&self) -> bool {
        let writer = self.0.take();
        let is_empty = writer.is_none();
        self.0.set(writer);
        is_empty
    }
}
