//! The `Range` header (RFC 9110, 14): one run of bytes of a file. Before it: a request; after it: the engine cuts the file's pieces.

/// What of a file is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// All of it: no range, several, or one in a unit or form that is not known (RFC 9110, 14.2: a server may ignore those).
    Whole,
    /// From this byte up to, and not including, that one.
    Part(u64, u64),
    /// Nothing that the file has: 416.
    Nothing,
}

/// Reads the header for a file of `bytes` bytes.
pub fn wanted(range: &str, bytes: u64) -> Wanted {
    parse(range, bytes).unwrap_or(Wanted::Whole)
}

fn parse(range: &str, bytes: u64) -> Option<Wanted> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.len() < 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|_| plain)
    };
    let (from, to) = if first.is_empty() {
        (bytes.saturating_sub(number(last)?), bytes)
    } else {
        let from = number(first)?;
        let to = if last.is_empty() { bytes } else { number(last)?.saturating_add(1) };
        if to <= from && !last.is_empty() {
            return None;
        }
        (from, to.min(bytes))
    };
    Some(if from < to { Wanted::Part(from, to) } else { Wanted::Nothing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let check = |range: &str, expected: Wanted| assert_eq!(wanted(range, 100), expected, "{range:?}");
        check("bytes=0-", Wanted::Part(0, 100));
        check("bytes=0-0", Wanted::Part(0, 1));
        check("bytes=10-19", Wanted::Part(10, 20));
        check("bytes=90-1000", Wanted::Part(90, 100));
        check("bytes=-5", Wanted::Part(95, 100));
        check("bytes=-500", Wanted::Part(0, 100));
        check("bytes=100-", Wanted::Nothing);
        check("bytes=-0", Wanted::Nothing);
        check("bytes=9999999999999999999-", Wanted::Nothing);
        for other in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-4", "bytes=0-1,5-6", "bytes=a-b", "items=0-1", "bytes=+1-2"]
        {
            check(other, Wanted::Whole);
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Nothing);
    }
}
