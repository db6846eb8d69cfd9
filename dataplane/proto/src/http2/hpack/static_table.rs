//! The static table of HPACK (RFC 7541, appendix A).

/// Entries of the table; their indices begin at 1, and those of the dynamic table follow.
pub(super) const ENTRIES: usize = TABLE.len();

static TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The entry at an index.
pub(super) fn get(index: usize) -> Option<(&'static [u8], &'static [u8])> {
    let (name, value) = TABLE.get(index.checked_sub(1)?)?;
    Some((name.as_bytes(), value.as_bytes()))
}

/// Where a field stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// Name and value, at this index.
    Field(usize),
    /// The name alone, first at this index.
    Name(usize),
    /// Nowhere.
    Nowhere,
}

/// Looks for a field. For heads that are made once and sent often: it compares with each entry.
pub(super) fn find(name: &[u8], value: &[u8]) -> Found {
    let mut found = Found::Nowhere;
    for (at, (known_name, known_value)) in TABLE.iter().enumerate() {
        if known_name.as_bytes() != name {
            continue;
        }
        if known_value.as_bytes() == value {
            return Found::Field(at + 1);
        }
        if found == Found::Nowhere {
            found = Found::Name(at + 1);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_of_the_rfc() {
        let field = |index: usize| get(index).unwrap();
        assert_eq!(field(1), (&b":authority"[..], &b""[..]));
        assert_eq!(field(8), (&b":status"[..], &b"200"[..]));
        assert_eq!(field(16), (&b"accept-encoding"[..], &b"gzip, deflate"[..]));
        assert_eq!(field(61), (&b"www-authenticate"[..], &b""[..]));
        assert_eq!((get(0), get(62), get(usize::MAX)), (None, None, None));
    }

    #[test]
    fn fields_are_found() {
        assert_eq!(find(b":status", b"404"), Found::Field(13));
        assert_eq!(find(b":status", b"302"), Found::Name(8));
        assert_eq!(find(b"content-type", b"video/x-flv"), Found::Name(31));
        assert_eq!(find(b"x-content-type-options", b"nosniff"), Found::Nowhere);
    }
}
