//! Records as bytes: which of those that came are whole, and a buffer for those that go, which is used again and again: what it grows by is set to zero
//! once, not each time.

/// A record's header, and what may follow it encrypted in TLS 1.2 (RFC 5246, 6.2.3), which allows more than TLS 1.3.
pub(crate) const HEADER_BYTES: usize = 5;
pub(crate) const PAYLOAD_BYTES_MAX: usize = (16 << 10) + (2 << 10);

/// Bytes for the peer, in order.
#[derive(Default, Debug)]
pub struct Records {
    /// All of it is initialised; what counts are the first `len`.
    bytes: Vec<u8>,
    len: usize,
}

impl Records {
    /// Without room.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), len: 0 }
    }

    /// What there is to send.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// How much that is.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that it holds.
    pub fn room(&self) -> usize {
        self.bytes.capacity()
    }

    /// Keeps the memory, forgets what was in it.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds these.
    pub fn push(&mut self, bytes: &[u8]) {
        let free = self.free(bytes.len());
        free[..bytes.len()].copy_from_slice(bytes);
        self.advance(bytes.len());
    }

    /// Forgets the first ones.
    pub fn discard(&mut self, count: usize) {
        let count = count.min(self.len);
        self.bytes.copy_within(count..self.len, 0);
        self.len -= count;
    }

    /// Room for at least so many more.
    pub(crate) fn free(&mut self, bytes: usize) -> &mut [u8] {
        let wanted = self.len.saturating_add(bytes);
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        self.bytes.get_mut(self.len..).unwrap_or_default()
    }

    /// So many were written into [`Self::free`].
    pub(crate) fn advance(&mut self, count: usize) {
        self.len = (self.len + count).min(self.bytes.len());
    }

    /// The bytes alone, to be owned by a send.
    pub fn into_vec(mut self) -> Vec<u8> {
        self.bytes.truncate(self.len);
        self.bytes
    }
}

impl From<Vec<u8>> for Records {
    /// An empty one with that memory.
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, len: 0 }
    }
}

/// How many of these are worth a look, as bytes of a handshake: the whole records that they begin with, or all of them where something is no record,
/// or one that is longer than any. Of a record that is not whole there is nothing to do but to wait for the rest, so that who sends its bytes one by
/// one does not have the work of a handshake done for each.
pub fn whole(bytes: &[u8]) -> usize {
    let mut whole = 0;
    loop {
        let rest = bytes.get(whole..).unwrap_or_default();
        match rest.first() {
            None => return whole,
            Some(20..=23) => {}
            Some(_) => return bytes.len(),
        }
        let &[_, _, _, high, low, ..] = rest else { return whole };
        let payload_bytes = usize::from(u16::from_be_bytes([high, low]));
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return bytes.len();
        }
        let record_bytes = HEADER_BYTES + payload_bytes;
        if rest.len() < record_bytes {
            return whole;
        }
        whole += record_bytes;
    }
}
