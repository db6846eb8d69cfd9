//! Flow-control windows (RFC 9113, 5.2 and 6.9).
use super::frame::MAX_31;
use super::settings::WINDOW_BYTES;

/// How much may be sent. A setting of the peer can make it negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SendWindow(i32);

/// A window that would pass 2^31-1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooLong;

impl SendWindow {
    /// A window of this many bytes, of which the peer's setting allows no more than 2^31-1.
    pub(super) const fn new(bytes: u32) -> Self {
        Self(if bytes > MAX_31 { i32::MAX } else { bytes as i32 })
    }

    /// Bytes that may be sent now.
    pub(super) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Takes bytes that are sent: no more than are available.
    pub(super) fn take(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(i32::try_from(bytes).unwrap_or(i32::MAX));
    }

    /// Adds to it, or takes from it.
    pub(super) fn change(&mut self, bytes: i64) -> Result<(), TooLong> {
        self.0 = i32::try_from(i64::from(self.0) + bytes).map_err(|_| TooLong)?;
        Ok(())
    }
}

/// How much may be received, and what of it is to be given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ReceiveWindow {
    left: u32,
    /// Bytes that were taken and used, and that the peer has not been told of.
    used: u32,
}

/// More bytes than the window has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Passed;

impl ReceiveWindow {
    /// Told to the peer when so much is used: half a window, so that a body does not stop and small frames cost no update each.
    const UPDATE_BYTES: u32 = WINDOW_BYTES / 2;

    pub(super) const fn new() -> Self {
        Self { left: WINDOW_BYTES, used: 0 }
    }

    /// Takes bytes that came.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Passed> {
        let bytes = u32::try_from(bytes).map_err(|_| Passed)?;
        self.left = self.left.checked_sub(bytes).ok_or(Passed)?;
        Ok(())
    }

    /// Whether so many bytes may come without another word.
    pub(super) fn has(self, bytes: u64) -> bool {
        bytes <= u64::from(self.left)
    }

    /// Gives back bytes that were taken; the increment that the peer is to be told of now.
    pub(super) fn give_back(&mut self, bytes: usize) -> Option<u32> {
        self.used = self.used.saturating_add(bytes as u32).min(WINDOW_BYTES.saturating_sub(self.left));
        if self.used < Self::UPDATE_BYTES {
            return None;
        }
        let increment = std::mem::take(&mut self.used);
        self.left += increment;
        Some(increment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending() {
        let mut window = SendWindow::new(10);
        window.take(4);
        assert_eq!(window.available(), 6);
        assert_eq!(window.change(-10), Ok(()));
        assert_eq!((window, window.available()), (SendWindow(-4), 0));
        assert_eq!(window.change(i64::from(MAX_31) + 4), Ok(()));
        assert_eq!(window.available(), MAX_31 as usize);
        assert_eq!(window.change(1), Err(TooLong));
        assert_eq!(window.available(), MAX_31 as usize, "a refused change changes nothing");
        let mut low = SendWindow::new(0);
        for _ in 0..3 {
            let _ = low.change(-i64::from(MAX_31));
        }
        assert_eq!(low.available(), 0);
        assert_eq!(SendWindow::new(u32::MAX).available(), MAX_31 as usize);
    }

    #[test]
    fn receiving() {
        let mut window = ReceiveWindow::new();
        assert_eq!(window.take(65_536), Err(Passed));
        assert_eq!(window.take(65_535), Ok(()));
        assert_eq!((window.take(1), window.has(0), window.has(1)), (Err(Passed), true, false));
        assert_eq!(window.give_back(32_766), None);
        assert_eq!(window.give_back(1), Some(32_767));
        assert_eq!(window.take(32_768), Err(Passed));
        assert_eq!(window.take(32_767), Ok(()));
        assert_eq!(window.give_back(usize::MAX), Some(65_535), "never more than was taken");
        assert_eq!(window, ReceiveWindow::new());
        assert_eq!(window.give_back(40_000), None);
    }
}
