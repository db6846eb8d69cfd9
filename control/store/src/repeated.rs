//! Something that may happen again and again, such as a refusal by a full disk: told at once, and then once a minute with how often.
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A line in the log tells of it this often.
const SAY_EVERY: Duration = Duration::from_mins(1);

/// How often it has happened since it was told.
#[derive(Debug, Default)]
pub struct Repeated(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    more: u64,
}

impl Repeated {
    /// None yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Told { at: None, more: 0 }))
    }

    /// It happened once more; how many that are since it was told last, where it is to be told now.
    pub fn again(&self) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.more += 1;
        if told.at.is_some_and(|at| at.elapsed() < SAY_EVERY) {
            return None;
        }
        told.at = Some(Instant::now());
        Some(std::mem::take(&mut told.more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_and_then_with_how_often() {
        let repeated = Repeated::new();
        assert_eq!(repeated.again(), Some(1));
        assert_eq!((repeated.again(), repeated.again()), (None, None));
        repeated.0.lock().unwrap().at = Instant::now().checked_sub(SAY_EVERY);
        assert_eq!(repeated.again(), Some(3));
    }
}
