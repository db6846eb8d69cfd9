//! Budgets for what costs a peer little and a server much: streams that are reset (CVE-2023-44487, CVE-2025-8671), and frames that bring
//! nothing (CVE-2019-9512 and those after it).
//!
//! There is no clock here: what is spent comes back with what the peer lets this side do, and by half with each tick of the caller.
use super::error::ConnectionError;
use super::limits::Limits;

/// Frames that so many sent bytes explain: who reads in small pieces sends two WINDOW_UPDATE frames for each.
const SENT_BYTES_PER_CONTROL_FRAME: usize = 256;
/// Frames that any sent DATA frame explains.
const CONTROL_FRAMES_PER_DATA: u32 = 4;

/// What is spent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flood {
    resets: u32,
    control_frames: u32,
}

impl Flood {
    /// A stream ended before its time, by the peer or by its fault.
    pub(super) fn reset(&mut self, limits: &Limits) -> Result<(), ConnectionError> {
        self.resets = self.resets.saturating_add(1);
        if self.resets > limits.resets { Err(ConnectionError::Resets) } else { Ok(()) }
    }

    /// A stream was answered in full.
    pub(super) fn completed(&mut self) {
        self.resets = self.resets.saturating_sub(1);
    }

    /// A frame came that brings neither a request nor a body.
    pub(super) fn control_frame(&mut self, limits: &Limits) -> Result<(), ConnectionError> {
        self.control_frames = self.control_frames.saturating_add(1);
        if self.control_frames > limits.control_frames { Err(ConnectionError::ControlFrames) } else { Ok(()) }
    }

    /// A DATA frame goes out.
    pub(super) fn sent(&mut self, bytes: usize) {
        let explained = u32::try_from(bytes / SENT_BYTES_PER_CONTROL_FRAME).unwrap_or(u32::MAX);
        self.control_frames = self.control_frames.saturating_sub(explained.saturating_add(CONTROL_FRAMES_PER_DATA));
    }

    /// Time has passed.
    pub(super) fn tick(&mut self) {
        self.resets /= 2;
        self.control_frames /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_run_out_and_come_back() {
        let limits = Limits { resets: 4, control_frames: 10, ..Limits::default() };
        let mut flood = Flood::default();
        for _ in 0..4 {
            assert_eq!(flood.reset(&limits), Ok(()));
        }
        assert_eq!(flood.reset(&limits), Err(ConnectionError::Resets));
        flood.completed();
        flood.completed();
        assert_eq!(flood.reset(&limits), Ok(()));
        flood.tick();
        assert_eq!((flood.reset(&limits), flood.reset(&limits)), (Ok(()), Ok(())));
        assert_eq!(flood.reset(&limits), Err(ConnectionError::Resets));
        for _ in 0..10 {
            assert_eq!(flood.control_frame(&limits), Ok(()));
        }
        assert_eq!(flood.control_frame(&limits), Err(ConnectionError::ControlFrames));
        flood.sent(512);
        for _ in 0..5 {
            assert_eq!(flood.control_frame(&limits), Ok(()));
        }
        assert_eq!(flood.control_frame(&limits), Err(ConnectionError::ControlFrames));
        flood.completed();
        flood.sent(usize::MAX);
        assert_eq!(flood.control_frame(&limits), Ok(()));
    }
}
