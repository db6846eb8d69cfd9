//! The dynamic table of a decoder (RFC 7541, 2.3.2 and 4): a ring of bytes and a ring of lengths, so that memory stays near the size that is
//! agreed on whatever the entries are.
use std::collections::VecDeque;

use super::fields::FIELD_OVERHEAD_BYTES;

/// Lengths of an entry; they fit, since no entry is larger than the table.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    name: u16,
    value: u16,
}

impl Lengths {
    fn bytes(self) -> usize {
        usize::from(self.name) + usize::from(self.value)
    }
}

/// Entries, the oldest first.
#[derive(Debug)]
pub(super) struct DynamicTable {
    text: VecDeque<u8>,
    entries: VecDeque<Lengths>,
    bytes_max: usize,
}

impl DynamicTable {
    /// The largest table: lengths are 16 bits.
    pub(super) const BYTES_MAX: usize = u16::MAX as usize;

    /// An empty table; it holds no memory.
    pub(super) const fn new(bytes_max: usize) -> Self {
        assert!(bytes_max <= Self::BYTES_MAX);
        Self { text: VecDeque::new(), entries: VecDeque::new(), bytes_max }
    }

    /// Its size (section 4.1).
    fn bytes(&self) -> usize {
        self.text.len() + self.entries.len() * FIELD_OVERHEAD_BYTES
    }

    /// Bytes of memory that this holds.
    pub(super) fn held_bytes(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Lengths>()
    }

    /// Changes its maximum (section 4.3). Entries that do not fit go.
    pub(super) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max.min(Self::BYTES_MAX);
        self.evict(self.bytes_max);
        if self.entries.is_empty() {
            self.text = VecDeque::new();
            self.entries = VecDeque::new();
        }
    }

    /// Removes the oldest entries until no more than this is left.
    fn evict(&mut self, bytes: usize) {
        while self.bytes() > bytes {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.text.drain(..oldest.bytes().min(self.text.len()));
        }
    }

    /// Adds an entry; one that is larger than the table empties it (section 4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let bytes = name.len().saturating_add(value.len()).saturating_add(FIELD_OVERHEAD_BYTES);
        if bytes > self.bytes_max {
            self.evict(0);
            return;
        }
        self.evict(self.bytes_max - bytes);
        let needed = self.text.len() + name.len() + value.len();
        if needed > self.text.capacity() {
            // Otherwise it would grow to twice of what is needed, which may be nearly twice the table.
            self.text.reserve_exact(needed.next_power_of_two().min(self.bytes_max) - self.text.len());
        }
        self.text.extend(name);
        self.text.extend(value);
        self.entries.push_back(Lengths { name: name.len() as u16, value: value.len() as u16 });
    }

    /// The entry at this place, the newest at 0: its lengths, and its name and value one behind the other.
    pub(super) fn get(&self, place: usize) -> Option<(usize, usize, impl Iterator<Item = u8>)> {
        let at = self.entries.len().checked_sub(place)?.checked_sub(1)?;
        let entry = *self.entries.get(at)?;
        let behind: usize = self.entries.range(at + 1..).map(|entry| entry.bytes()).sum();
        let to = self.text.len().checked_sub(behind)?;
        let from = to.checked_sub(entry.bytes())?;
        Some((usize::from(entry.name), usize::from(entry.value), self.text.range(from..to).copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Random;

    fn entry(table: &DynamicTable, place: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        let (name_bytes, value_bytes, text) = table.get(place)?;
        let text: Vec<u8> = text.collect();
        assert_eq!(text.len(), name_bytes + value_bytes);
        Some((text[..name_bytes].to_vec(), text[name_bytes..].to_vec()))
    }

    #[test]
    fn it_does_what_a_list_does() {
        let mut random = Random::new(3);
        let mut table = DynamicTable::new(4096);
        let (mut list, mut most) = (Vec::<(Vec<u8>, Vec<u8>)>::new(), 4096);
        let size = |list: &[(Vec<u8>, Vec<u8>)]| list.iter().map(|(n, v)| n.len() + v.len() + 32).sum::<usize>();
        for round in 0..20_000 {
            if random.below(200) == 0 {
                most = random.below(4097);
                table.set_bytes_max(most);
            } else {
                let long = if random.below(20) == 0 { 5000 } else { 60 };
                let name = vec![round as u8; random.below(20)];
                let value = vec![!(round as u8); random.below(long)];
                table.insert(&name, &value);
                let fits = name.len() + value.len() + 32 <= most;
                list.insert(0, (name, value));
                if !fits {
                    list.clear();
                }
            }
            while size(&list) > most {
                list.pop();
            }
            assert_eq!(table.bytes(), size(&list));
            let place = random.below(list.len() + 1);
            assert_eq!(entry(&table, place), list.get(place).cloned());
            assert!(table.held_bytes() <= 4096 + 512 + 64, "{}", table.held_bytes());
        }
    }

    #[test]
    fn an_empty_table_holds_nothing() {
        let mut table = DynamicTable::new(4096);
        assert_eq!(table.held_bytes(), 0);
        table.insert(b"a", b"b");
        table.set_bytes_max(0);
        assert_eq!((table.held_bytes(), entry(&table, 0)), (0, None));
        table.insert(b"", b"");
        assert_eq!((entry(&table, 0), entry(&table, usize::MAX)), (None, None));
    }
}
