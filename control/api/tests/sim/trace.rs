//! What happens in a world, line by line: two walks of a seed are held against each other by it, and one that failed shows its end.
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// Lines, with the world's time. Clones write into the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    begun: Option<Instant>,
    lines: Vec<String>,
}

impl Trace {
    /// `drawn`: the state of the world's numbers, in which any difference before this line shows.
    pub(crate) fn say(&self, drawn: u64, what: impl Display) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = inner.begun.get_or_insert_with(Instant::now).elapsed();
        inner.lines.push(format!("{:>10.6} {drawn:016x} {what}", passed.as_secs_f64()));
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }
}
