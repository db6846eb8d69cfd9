//! Hexadecimal digits, as digests are written.

/// The bytes that exactly so many pairs of digits stand for.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_for_bytes_and_nothing_else_does() {
        assert_eq!(decode("00fFa5"), Some([0, 255, 0xa5]));
        for wrong in ["", "00fFa", "00fFa5a", "00fFa5a5", "00fFg5", "+0fFa5", "00 Fa5", "00é5"] {
            assert_eq!(decode::<3>(wrong), None, "{wrong}");
        }
    }
}
