//! A point on the process's own monotonic clock, passed in by whoever owns a clock: the engine's shards or a test. And dates as text, for
//! what is told to people and players.
use std::ops::{Add, Sub};
use std::time::Duration;

/// Microseconds since an epoch that the owner of the clock chose (the engine: process start). Never wall-clock time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(u64);

impl Time {
    /// The epoch itself.
    pub const ZERO: Self = Self(0);

    /// A point this many microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// A point this many milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero where it is not after.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is a
/// year's last; an era has 400 years).
pub(crate) const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 2 } else { march_month - 10 };
    (era * 400 + year_of_era + if month < 2 { 1 } else { 0 }, month + 1, day)
}

/// The last second of the year 9999.
pub(crate) const UNIX_S_MAX: u64 = 253_402_300_799;

/// A date as RFC 3339 and ISO 8601 write it: `2026-11-24T14:41:05.250Z`. Stops at the end of the year 9999.
pub fn rfc3339(unix_ms: u64) -> String {
    let (whole_s, ms) = ((unix_ms / 1_000).min(UNIX_S_MAX), unix_ms % 1_000);
    let (year, month, day) = civil(whole_s / 86_400);
    let second = whole_s % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// Days since 1970 of a date: the other way round.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month + 2) / 5 + day - 1;
    era * 146_097 + day_of_era - 719_468
}

/// Reads what [`rfc3339`] writes: Unix milliseconds. `None` for anything else.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let digits = |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<u64>().ok());
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second, ms) = (digits(11..13)?, digits(14..16)?, digits(17..19)?, digits(20..23)?);
    if year < 1_970 || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let second = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let unix_ms = second * 1_000 + ms;
    // Whatever else is not as it is written is another text.
    (rfc3339(unix_ms) == text).then_some(unix_ms)
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        assert_eq!(super::rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(super::rfc3339(951_782_400_007), "2000-02-29T00:00:00.007Z");
        assert_eq!(super::rfc3339(1_795_531_265_250), "2026-11-24T14:41:05.250Z");
        assert_eq!(super::rfc3339(u64::MAX), "9999-12-31T23:59:59.615Z");
        for unix_ms in
            [0, 1, 951_782_399_999, 951_782_400_007, 1_795_531_265_250, 4_102_444_800_000, 253_402_300_799_999]
        {
            assert_eq!(super::parse_rfc3339(&super::rfc3339(unix_ms)), Some(unix_ms));
        }
        for text in
            ["", "1970-01-01", "1969-12-31T00:00:00.000Z", "2026-02-30T00:00:00.000Z", "2026-11-24T14:41:05.250+", "é"]
        {
            assert_eq!(super::parse_rfc3339(text), None, "{text}");
        }
    }
}
