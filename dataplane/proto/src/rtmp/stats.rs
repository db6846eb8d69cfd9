//! What a session counted: read by the engine for its metrics, never acted on here.

/// Counters of one session since its start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SessionStats {
    /// Bytes received, handshake included.
    pub bytes_in: u64,
    /// Whole messages received, but for SetChunkSize and Abort.
    pub messages_in: u64,
    /// The peer's echo of our handshake packet was wrong (0 or 1).
    pub c2_mismatches: u64,
    /// Commands that are not known; they are ignored.
    pub commands_unknown: u64,
    /// Commands that could not be decoded; they are ignored.
    pub commands_malformed: u64,
    /// Publish or play while the session already does something; answered with an error.
    pub commands_refused: u64,
    /// Messages of an unknown type.
    pub messages_unknown: u64,
    /// Messages that a new header cut short.
    pub messages_restarted: u64,
    /// Media messages that made no event, by reason. Reasons are fixed texts, so there are few.
    skipped: Vec<(&'static str, u64)>,
}

impl SessionStats {
    /// Media messages that made no event: reason and count.
    pub fn skipped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.skipped.iter().copied()
    }

    pub(super) fn skip(&mut self, label: &'static str) {
        match self.skipped.iter_mut().find(|(name, _)| *name == label) {
            Some((_, count)) => *count += 1,
            None => self.skipped.push((label, 1)),
        }
    }
}
