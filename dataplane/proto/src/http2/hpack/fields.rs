//! The fields of one header block, in two allocations.

/// What each field counts beside its name and value (RFC 7541, 4.1; RFC 9113, 6.5.2).
pub(super) const FIELD_OVERHEAD_BYTES: usize = 32;

/// Where a field ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    name_end: u32,
    value_end: u32,
}

/// Names and values in the order in which they came. It stops to grow at the maximum that it was made with, and remembers that.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Fields {
    text: Vec<u8>,
    spans: Vec<Span>,
    list_bytes: usize,
    list_bytes_max: usize,
}

impl Fields {
    /// An empty list of at most this size, counted as `SETTINGS_MAX_HEADER_LIST_SIZE` does.
    pub fn new(list_bytes_max: usize) -> Self {
        // Places in the text are 32 bits.
        Self { list_bytes_max: list_bytes_max.min(u32::MAX as usize), ..Self::default() }
    }

    /// Counts a field; whether it has room. Asked before anything is copied, because a byte of a block can stand for kilobytes of the table.
    pub(super) fn admits(&mut self, name_bytes: usize, value_bytes: usize) -> bool {
        let bytes = name_bytes.saturating_add(value_bytes).saturating_add(FIELD_OVERHEAD_BYTES);
        self.list_bytes = self.list_bytes.saturating_add(bytes);
        !self.is_too_long()
    }

    /// Adds a field that was admitted.
    pub(super) fn add(&mut self, field: impl IntoIterator<Item = u8>, name_bytes: usize) {
        let name_end = (self.text.len() + name_bytes) as u32;
        self.text.extend(field);
        self.spans.push(Span { name_end, value_end: self.text.len() as u32 });
    }

    /// Adds a field that was admitted.
    pub(super) fn add_slices(&mut self, name: &[u8], value: &[u8]) {
        let name_end = (self.text.len() + name.len()) as u32;
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(value);
        self.spans.push(Span { name_end, value_end: self.text.len() as u32 });
    }

    /// The list passes its maximum. Fields from there on are not here.
    pub fn is_too_long(&self) -> bool {
        self.list_bytes > self.list_bytes_max
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes of memory that this holds.
    pub fn held_bytes(&self) -> usize {
        self.text.capacity() + self.spans.capacity() * size_of::<Span>()
    }

    /// The fields: name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut from = 0;
        self.spans.iter().map(move |span| {
            let (name_end, value_end) = (span.name_end as usize, span.value_end as usize);
            let name = self.text.get(from..name_end).unwrap_or_default();
            let value = self.text.get(name_end..value_end).unwrap_or_default();
            from = value_end;
            (name, value)
        })
    }
}

/// Values may be secret.
impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fields").field("len", &self.len()).field("list_bytes", &self.list_bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_as_settings_do_and_stops() {
        let mut fields = Fields::new(100);
        assert!(fields.admits(3, 5));
        fields.add_slices(b"abc", b"defgh");
        assert!(fields.admits(4, 24), "exactly 100");
        fields.add([b"name".as_slice(), &[b'v'; 24]].concat(), 4);
        assert!(!fields.admits(0, 0) && fields.is_too_long());
        let all: Vec<_> = fields.iter().collect();
        assert_eq!(all, [(&b"abc"[..], &b"defgh"[..]), (b"name", &[b'v'; 24])]);
        assert!(!Fields::new(usize::MAX).admits(usize::MAX, usize::MAX));
        assert!(!format!("{fields:?}").contains("def"));
    }
}
