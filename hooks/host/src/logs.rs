//! What hooks write: untrusted text, attributed, bounded and slowed down.
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::text::clean;

/// Lines that one call may write.
pub(crate) const MAX_LINES_PER_CALL: u32 = 16;
/// The longest line, in bytes.
const MAX_LINE_BYTES: usize = 1024;
/// Lines that are kept per hook.
const MAX_LINES: usize = 1000;
/// Lines that a hook may write at once, and per second in the long run.
const BURST: u32 = 200;
const PER_SECOND: u32 = 20;

/// How important a line is, in the hook's own eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For its author.
    Debug,
    /// What happens.
    Info,
    /// What should not happen.
    Warn,
    /// What somebody must mend.
    Error,
}

impl Level {
    /// As it stands in the API and in messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The level of that word; of any other one, that of what only its author wants to know.
    pub fn of_word(word: &str) -> Self {
        [Self::Info, Self::Warn, Self::Error].into_iter().find(|level| level.word() == word).unwrap_or(Self::Debug)
    }
}

/// A line of a hook's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Counts the hook's lines on this node since its start; a gap is a line that was dropped from the front.
    pub number: u64,
    /// When it was written.
    pub unix_ms: u64,
    /// The version that wrote it.
    pub version: String,
    /// Whether that version runs as a shadow.
    pub shadow: bool,
    /// See [`Level`].
    pub level: Level,
    /// Without control characters.
    pub text: String,
}

/// Who writes a line.
#[derive(Clone, Copy)]
pub(crate) struct Author<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) shadow: bool,
}

/// The last lines of one hook, over its versions.
pub struct Logs(Mutex<Inner>);

struct Inner {
    lines: VecDeque<Line>,
    next: u64,
    dropped: u64,
    allowance: u32,
    filled: Instant,
}

impl Default for Logs {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            lines: VecDeque::new(),
            next: 0,
            dropped: 0,
            allowance: BURST,
            filled: Instant::now(),
        }))
    }
}

impl Logs {
    /// The lines from that number on, oldest first.
    pub fn since(&self, number: u64) -> Vec<Line> {
        self.locked(|inner| inner.lines.iter().filter(|line| line.number >= number).cloned().collect())
    }

    /// The number that the next line gets.
    pub fn next_number(&self) -> u64 {
        self.locked(|inner| inner.next)
    }

    /// Lines that were not kept, because the hook wrote too many at once.
    pub fn dropped(&self) -> u64 {
        self.locked(|inner| inner.dropped)
    }

    pub(crate) fn drop_line(&self) {
        self.locked(|inner| inner.dropped += 1);
    }

    /// Takes a line that a version of the hook wrote in another process of this node.
    pub fn relay(&self, name: &str, version: &str, level: Level, text: &str) {
        self.write(Author { name, version, shadow: false }, level, text);
    }

    pub(crate) fn write(&self, author: Author<'_>, level: Level, text: &str) {
        let written = self.locked(|inner| {
            if !inner.allow(Instant::now()) {
                inner.dropped += 1;
                return None;
            }
            let line = Line {
                number: inner.next,
                unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
                version: author.version.to_owned(),
                shadow: author.shadow,
                level,
                text: clean(text, MAX_LINE_BYTES),
            };
            inner.next += 1;
            if inner.lines.len() == MAX_LINES {
                inner.lines.pop_front();
            }
            inner.lines.push_back(line.clone());
            Some(line)
        });
        // Another's text never decides how loud the server's own log is: at most "debug".
        if let Some(line) = written {
            tracing::debug!(hook = author.name, version = line.version, level = ?line.level, text = line.text, "hook says");
        }
    }

    fn locked<T>(&self, with: impl FnOnce(&mut Inner) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn allow(&mut self, now: Instant) -> bool {
        let each = Duration::from_secs(1) / PER_SECOND;
        let earned = (now.saturating_duration_since(self.filled).as_micros() / each.as_micros()).min(u128::from(BURST));
        if earned > 0 {
            self.filled = now;
            self.allowance = (self.allowance + earned as u32).min(BURST);
        }
        let allowed = self.allowance > 0;
        self.allowance -= u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_clean_bounded_and_slowed_down() {
        let (logs, author) = (Logs::default(), Author { name: "gate", version: "3", shadow: false });
        logs.write(author, Level::Error, &format!("a\u{1b}[31mred\nnext{}", "é".repeat(1024)));
        let lines = logs.since(0);
        assert!(lines[0].text.starts_with("a [31mred next"), "{}", lines[0].text);
        assert!(lines[0].text.len() <= MAX_LINE_BYTES);
        assert_eq!((lines[0].version.as_str(), lines[0].level), ("3", Level::Error));
        for n in 0..500 {
            logs.write(author, Level::Info, &n.to_string());
        }
        let kept = logs.since(0).len() as u64;
        assert!((200..260).contains(&kept), "{kept}");
        assert_eq!(kept + logs.dropped(), 501);
        assert_eq!(logs.since(kept - 1).len(), 1);
    }

    #[test]
    fn the_allowance_comes_back_with_time() {
        let now = Instant::now();
        let mut inner = Inner { lines: VecDeque::new(), next: 0, dropped: 0, allowance: 0, filled: now };
        assert!(!inner.allow(now));
        assert!(inner.allow(now + Duration::from_millis(51)));
        assert!(!inner.allow(now + Duration::from_millis(52)));
        let later = now + Duration::from_hours(1);
        assert_eq!((0..=BURST).filter(|_| inner.allow(later)).count() as u32, BURST);
    }
}
