//! What all threads of a job share. Before it: [`super::Job`]; after it: each of the threads.
use std::sync::atomic::{AtomicBool, Ordering};

use super::meeting::Meeting;
use crate::protocol::{Report, SecretUrl, Why};
use crate::reporter::Reporter;

/// What a job's threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: u64,
    pub(super) source: SecretUrl,
    pub(super) reporter: Reporter,
    /// The job is over.
    over: AtomicBool,
    pub(super) meeting: Meeting,
}

impl Shared {
    pub(super) fn new(id: u64, source: SecretUrl, reporter: Reporter) -> Self {
        Self { id, source, reporter, over: AtomicBool::new(false), meeting: Meeting::default() }
    }

    /// Whether the job is over.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Ends the job, and tells why, once.
    pub(super) fn end(&self, why: Why, error: Option<String>) {
        if !self.over.swap(true, Ordering::Relaxed) {
            tracing::info!(job = self.id, ?why, error, "job over");
            self.reporter.tell(Report::Ended { job: self.id, rendition: None, why, error });
        }
    }

    /// Ends the job without a word.
    pub(super) fn leave(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
