//! Writes fields of header blocks without a state: static table, and literals without indexing (RFC 7541, 6).
use super::integer;
use super::static_table::{Found, find};

/// The update that says that this side's encoder has no dynamic table (section 6.3). It is due before the next block when the peer has
/// lowered the size that it allows.
pub const TABLE_SIZE_ZERO: u8 = 0x20;

/// A literal that is not added to a table, and one that nobody on the way may add to one either.
const WITHOUT_INDEXING: u8 = 0x00;
const NEVER_INDEXED: u8 = 0x10;
const INDEXED: u8 = 0x80;

/// Adds a field. The name has to be lower case.
pub fn encode_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    // Section 7.1.3: what could be guessed byte by byte in a compressed stream.
    let form = if name == b"set-cookie" { NEVER_INDEXED } else { WITHOUT_INDEXING };
    match find(name, value) {
        Found::Field(index) => return integer::write(out, INDEXED, 7, index),
        Found::Name(index) => integer::write(out, form, 4, index),
        Found::Nowhere => {
            out.push(form);
            integer::write_string(out, name);
        }
    }
    integer::write_string(out, value);
}
