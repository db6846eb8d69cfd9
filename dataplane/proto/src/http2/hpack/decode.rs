//! Reads header blocks (RFC 7541, 3 and 6).
use super::dynamic_table::DynamicTable;
use super::error::HpackError;
use super::fields::Fields;
use super::{integer, static_table};
use crate::cursor::Cursor;
use crate::limits::HPACK_TABLE_BYTES_MAX;

/// The forms of a field by the bits that its first byte begins with (section 6).
const INDEXED: u8 = 0x80;
const LITERAL_INDEXED: u8 = 0x40;
const TABLE_SIZE: u8 = 0x20;

/// One peer's table, and what reads its blocks.
#[derive(Debug)]
pub struct Decoder {
    table: DynamicTable,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: DynamicTable::new(HPACK_TABLE_BYTES_MAX) }
    }
}

impl Decoder {
    /// Reads one whole block. Every block has to be read, in order, also those of requests that are refused. A list that passes
    /// `list_bytes_max` is no error here: the table goes on, the fields are not kept ([`Fields::is_too_long`]).
    ///
    /// While it runs it holds at most 8/5 of the block beside the list; strings are not copied more than once.
    pub fn decode(&mut self, block: &[u8], list_bytes_max: usize) -> Result<Fields, HpackError> {
        let mut fields = Fields::new(list_bytes_max);
        let mut cursor = Cursor::new(block);
        let (mut name, mut value) = (Vec::new(), Vec::new());
        let mut may_resize = true;
        while !cursor.is_empty() {
            let first = cursor.u8()?;
            if first & (INDEXED | LITERAL_INDEXED | TABLE_SIZE) == TABLE_SIZE {
                let bytes = integer::read(&mut cursor, first, 5)?;
                if !may_resize {
                    return Err(HpackError::TableSizeLate);
                }
                if bytes > HPACK_TABLE_BYTES_MAX {
                    return Err(HpackError::TableSize(bytes));
                }
                self.table.set_bytes_max(bytes);
                continue;
            }
            may_resize = false;
            if first & INDEXED != 0 {
                let index = integer::read(&mut cursor, first, 7)?;
                self.add_entry(index, &mut fields)?;
                continue;
            }
            let keeps = first & LITERAL_INDEXED != 0;
            let index = integer::read(&mut cursor, first, if keeps { 6 } else { 4 })?;
            name.clear();
            value.clear();
            if index == 0 {
                integer::read_string(&mut cursor, &mut name)?;
            } else {
                self.name(index, &mut name)?;
            }
            integer::read_string(&mut cursor, &mut value)?;
            if keeps {
                self.table.insert(&name, &value);
            }
            if fields.admits(name.len(), value.len()) {
                fields.add_slices(&name, &value);
            }
        }
        Ok(fields)
    }

    /// Adds the field at an index of both tables.
    fn add_entry(&self, index: usize, fields: &mut Fields) -> Result<(), HpackError> {
        if let Some((name, value)) = static_table::get(index) {
            if fields.admits(name.len(), value.len()) {
                fields.add_slices(name, value);
            }
            return Ok(());
        }
        let (name_bytes, value_bytes, text) = self.entry(index)?;
        if fields.admits(name_bytes, value_bytes) {
            fields.add(text, name_bytes);
        }
        Ok(())
    }

    /// Adds the name at an index of both tables to `out`.
    fn name(&self, index: usize, out: &mut Vec<u8>) -> Result<(), HpackError> {
        if let Some((name, _)) = static_table::get(index) {
            out.extend_from_slice(name);
            return Ok(());
        }
        let (name_bytes, _, text) = self.entry(index)?;
        out.extend(text.take(name_bytes));
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<(usize, usize, impl Iterator<Item = u8>), HpackError> {
        let place = index.checked_sub(static_table::ENTRIES + 1);
        place.and_then(|place| self.table.get(place)).ok_or(HpackError::Index(index))
    }

    /// Bytes of memory that this holds.
    pub fn held_bytes(&self) -> usize {
        self.table.held_bytes()
    }
}
