//! The `Range` header (RFC 9110, 14): one run of bytes of a file. Before it: a request; after it: the engine cuts the file's pieces.
use std::fmt;

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

/// A run of bytes that a header asks for, before the file's length is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// From this byte to the end.
    From(u64),
    /// From this byte up to, and with, that one.
    Run(u64, u64),
    /// So many bytes at the end.
    Last(u64),
}

impl Asked {
    /// Reads the header; `None` for several runs, and for what is in a unit or form that is not known.
    pub fn parse(range: &str) -> Option<Self> {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.len() < 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| plain)
        };
        Some(match (first, last) {
            ("", last) => Self::Last(number(last)?),
            (first, "") => Self::From(number(first)?),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if last < first {
                    return None;
                }
                Self::Run(first, last)
            }
        })
    }

    /// What it is of a file of `bytes` bytes.
    pub fn of(self, bytes: u64) -> Wanted {
        let (from, to) = match self {
            Self::From(from) => (from, bytes),
            Self::Run(first, last) => (first, last.saturating_add(1).min(bytes)),
            Self::Last(count) => (bytes.saturating_sub(count), bytes),
        };
        if from < to { Wanted::Part(from, to) } else { Wanted::Nothing }
    }
}

/// As the header's value, for who asks another server on.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(from) => write!(f, "bytes={from}-"),
            Self::Run(first, last) => write!(f, "bytes={first}-{last}"),
            Self::Last(count) => write!(f, "bytes=-{count}"),
        }
    }
}

/// Reads the header for a file of `bytes` bytes.
pub fn wanted(range: &str, bytes: u64) -> Wanted {
    Asked::parse(range).map_or(Wanted::Whole, |asked| asked.of(bytes))
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
        for range in ["bytes=7-", "bytes=7-7", "bytes=-7"] {
            assert_eq!(Asked::parse(range).unwrap().to_string(), range);
        }
    }
}
