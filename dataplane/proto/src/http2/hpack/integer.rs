//! Integers and string literals of HPACK (RFC 7541, 5).
use super::error::HpackError;
use super::huffman;
use crate::cursor::Cursor;

/// The flag in the first byte of a string that has the Huffman code.
const HUFFMAN: u8 = 0x80;
/// Bytes that may continue an integer: five reach past 32 bits, and no length or index is larger.
const CONTINUATIONS_MAX: u32 = 5;

/// Reads an integer whose first byte, already taken, has `prefix_bits` bits of it (section 5.1).
pub(super) fn read(cursor: &mut Cursor<'_>, first: u8, prefix_bits: u8) -> Result<usize, HpackError> {
    let most = (1_u64 << prefix_bits) - 1;
    let mut value = u64::from(first) & most;
    if value < most {
        return Ok(value as usize);
    }
    for step in 0..CONTINUATIONS_MAX {
        let byte = cursor.u8()?;
        value += u64::from(byte & 0x7F) << (7 * step);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| HpackError::Integer)?;
            return Ok(value as usize);
        }
    }
    Err(HpackError::Integer)
}

/// Adds an integer to `out`; `first` has the bits before the prefix.
pub(super) fn write(out: &mut Vec<u8>, first: u8, prefix_bits: u8, value: usize) {
    let most = (1_usize << prefix_bits) - 1;
    if value < most {
        out.push(first | value as u8);
        return;
    }
    out.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(0x80 | (rest & 0x7F) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Reads a string and adds it to `out` (section 5.2): at most 8/5 of the bytes that are left.
pub(super) fn read_string(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), HpackError> {
    let first = cursor.u8()?;
    let bytes = read(cursor, first, 7)?;
    let text = cursor.take(bytes)?;
    if first & HUFFMAN != 0 {
        return huffman::decode(text, out);
    }
    out.extend_from_slice(text);
    Ok(())
}

/// Adds a string to `out`, in the shorter of its two forms.
pub(super) fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    let encoded_bytes = huffman::encoded_bytes(text);
    if encoded_bytes < text.len() {
        write(out, HUFFMAN, 7, encoded_bytes);
        huffman::encode(text, out);
    } else {
        write(out, 0, 7, text.len());
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(bytes: &[u8], prefix_bits: u8) -> Result<usize, HpackError> {
        let mut cursor = Cursor::new(bytes);
        let first = cursor.u8()?;
        let value = read(&mut cursor, first, prefix_bits)?;
        assert!(cursor.is_empty());
        Ok(value)
    }

    /// RFC 7541, C.1.
    #[test]
    fn examples_of_the_rfc() {
        let check = |value: usize, prefix_bits: u8, bytes: &[u8]| {
            assert_eq!(integer(bytes, prefix_bits), Ok(value));
            let mut out = Vec::new();
            write(&mut out, 0, prefix_bits, value);
            assert_eq!(out, bytes);
        };
        check(10, 5, b"\x0a");
        check(1337, 5, b"\x1f\x9a\x0a");
        check(42, 8, b"\x2a");
        check(31, 5, b"\x1f\x00");
        check(u32::MAX as usize, 7, b"\x7f\x80\xff\xff\xff\x0f");
    }

    #[test]
    fn integers_have_an_end() {
        assert_eq!(integer(b"\x1f\x80\x80\x80\x80\x00", 5), Ok(31), "zeros at the top are allowed");
        assert_eq!(integer(b"\x1f\x80\x80\x80\x80\x80\x00", 5), Err(HpackError::Integer));
        assert_eq!(integer(b"\x7f\x81\xff\xff\xff\x0f", 7), Err(HpackError::Integer), "one more than 32 bits hold");
        assert_eq!(integer(b"\x1f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 5), Err(HpackError::Integer));
        assert_eq!(integer(b"\x1f\x80", 5), Err(HpackError::Truncated));
    }

    #[test]
    fn strings_take_their_shorter_form() {
        for text in [&b""[..], b"a", b"www.example.com", b"\0\x01\x02", b"{{}}"] {
            let mut out = Vec::new();
            write_string(&mut out, text);
            assert!(out.len() <= text.len() + 1);
            let (mut again, mut cursor) = (Vec::new(), Cursor::new(&out));
            assert_eq!(read_string(&mut cursor, &mut again), Ok(()));
            assert_eq!((&again[..], cursor.is_empty()), (text, true));
        }
        let mut out = Vec::new();
        assert_eq!(read_string(&mut Cursor::new(b"\x05abcd"), &mut out), Err(HpackError::Truncated));
        assert_eq!(read_string(&mut Cursor::new(b"\x7f\xff\xff\xff\xff\x07x"), &mut out), Err(HpackError::Truncated));
        assert_eq!(out, b"");
    }
}
