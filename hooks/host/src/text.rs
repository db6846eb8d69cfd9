//! Text: of guests, made safe to show; of bytes, in hexadecimal digits.

/// Text of a guest for a message: at most 256 bytes, without control characters.
pub(crate) fn bounded(text: &str) -> String {
    clean(text, 256)
}

/// At most `max` bytes of a guest's text, each control character a space.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let end = text.floor_char_boundary(max);
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Bytes in lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
