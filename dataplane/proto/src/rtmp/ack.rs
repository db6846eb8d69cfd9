//! When to acknowledge received bytes, and with which number (RTMP 1.0, section 5.4.3).
use crate::limits::{RTMP_WINDOW_BYTES, RTMP_WINDOW_BYTES_MIN};

/// Counts a connection's received bytes.
#[derive(Debug)]
pub(super) struct Acknowledger {
    received: u64,
    acknowledged: u64,
    window: u32,
}

impl Acknowledger {
    pub(super) fn new(window: u32) -> Self {
        let mut new = Self { received: 0, acknowledged: 0, window: 0 };
        new.set_window(window);
        new
    }

    /// Adopts the peer's window. Acknowledging too often harms nobody, so it is clamped and not refused.
    pub(super) fn set_window(&mut self, bytes: u32) {
        self.window = bytes.clamp(RTMP_WINDOW_BYTES_MIN, RTMP_WINDOW_BYTES);
    }

    /// Counts; gives the sequence number to send when it is time. The number is the total since the start modulo 2^32:
    /// encoders stop sending when it is anything else. Sent at half the window, since a peer that waits for the whole of
    /// it would stall for a round trip.
    pub(super) fn receive(&mut self, bytes: usize) -> Option<u32> {
        self.received = self.received.wrapping_add(bytes as u64);
        let due = self.received.wrapping_sub(self.acknowledged) >= u64::from(self.window / 2);
        due.then(|| {
            self.acknowledged = self.received;
            self.received as u32
        })
    }

    /// Pretends that this many bytes were received and acknowledged already.
    #[cfg(test)]
    pub(super) fn start_at(&mut self, bytes: u64) {
        (self.received, self.acknowledged) = (bytes, bytes);
    }
}
