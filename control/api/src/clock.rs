//! What time it is, as the API is told; and stamps that never repeat or fall back, whatever the clock does.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Gives Unix milliseconds.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// The system's.
    pub fn system() -> Self {
        Self::of(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
    }

    /// Another one: tests set it.
    pub fn of(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }

    /// Unix seconds.
    pub fn now_s(&self) -> u64 {
        self.now_ms() / 1_000
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now_ms())
    }
}

/// Keys in the order of time: 13 digits of Unix milliseconds, and 6 that count within one. They rise even when the clock is set back.
#[derive(Debug)]
pub struct Stamps(Mutex<(u64, u32)>);

/// What a stamp counts to within one millisecond.
const COUNT_MAX: u32 = 999_999;

impl Stamps {
    /// Stamps behind this one, the last that was used; `None`: none was.
    pub fn after(last: Option<&str>) -> Self {
        let parse = |text: &str| {
            let (ms, count) = text.split_once('-')?;
            Some((ms.parse().ok()?, count.parse().ok()?))
        };
        Self(Mutex::new(last.and_then(parse).unwrap_or_default()))
    }

    /// The next one.
    pub fn next(&self, now_ms: u64) -> String {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = match *last {
            (ms, _) if now_ms > ms => (now_ms, 0),
            (ms, count) if count < COUNT_MAX => (ms, count + 1),
            (ms, _) => (ms + 1, 0),
        };
        format!("{:013}-{:06}", last.0, last.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_whatever_the_clock_does() {
        let stamps = Stamps::after(None);
        let mut made = vec![stamps.next(1_000), stamps.next(1_000), stamps.next(900), stamps.next(1_001)];
        let again = Stamps::after(made.last().map(String::as_str));
        made.extend([again.next(5), again.next(2_000)]);
        assert_eq!(made[0], "0000000001000-000000");
        assert!(made.is_sorted_by(|a, b| a < b), "{made:?}");
        let full = Stamps::after(Some("0000000000007-999999"));
        assert_eq!(full.next(3), "0000000000008-000000");
    }
}
