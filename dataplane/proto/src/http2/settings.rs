//! Settings (RFC 9113, 6.5): what is announced, and what of the peer's matters to a server that pushes nothing and has no encoder's table.
use super::error::ConnectionError;
use super::frame::MAX_31;
use super::limits::Limits;
use crate::limits::{HPACK_TABLE_BYTES_MAX, HTTP2_SETTINGS_MAX};

/// The window that streams and connections begin with.
pub(super) const WINDOW_BYTES: u32 = 65_535;
/// The least and the most that `SETTINGS_MAX_FRAME_SIZE` may say.
const FRAME_BYTES_MIN: u32 = 1 << 14;
const FRAME_BYTES_MAX: u32 = (1 << 24) - 1;

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
/// RFC 9218, 2.1: the old scheme of priorities is not used here.
const NO_RFC7540_PRIORITIES: u16 = 0x9;

/// The payload of the SETTINGS frame that this side begins with. `ENABLE_CONNECT_PROTOCOL` (RFC 8441) is not in it.
pub(super) fn announced(limits: &Limits) -> [u8; 18] {
    let mut payload = [0; 18];
    let settings = [
        (MAX_CONCURRENT_STREAMS, u32::try_from(limits.streams).unwrap_or(u32::MAX)),
        (MAX_HEADER_LIST_SIZE, u32::try_from(limits.header_list_bytes).unwrap_or(u32::MAX)),
        (NO_RFC7540_PRIORITIES, 1),
    ];
    for (place, (id, value)) in payload.as_chunks_mut::<6>().0.iter_mut().zip(settings) {
        let [_, _, bytes @ ..] = (u64::from(id) << 32 | u64::from(value)).to_be_bytes();
        *place = bytes;
    }
    payload
}

/// What the peer asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PeerSettings {
    /// The window that its streams begin with.
    pub(super) initial_window: u32,
    /// The largest payload that it takes.
    pub(super) frame_bytes_max: u32,
    /// The size of table that it allows our encoder.
    table_bytes: u32,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            initial_window: WINDOW_BYTES,
            frame_bytes_max: FRAME_BYTES_MIN,
            table_bytes: HPACK_TABLE_BYTES_MAX as u32,
        }
    }
}

impl PeerSettings {
    /// These with what a SETTINGS frame changes, the last value of each.
    pub(super) fn with(mut self, payload: &[u8]) -> Result<Self, ConnectionError> {
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(ConnectionError::FrameLength("SETTINGS"));
        }
        if settings.len() > HTTP2_SETTINGS_MAX {
            return Err(ConnectionError::SettingsLong);
        }
        for [high, low, value @ ..] in settings {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*high, *low]) {
                HEADER_TABLE_SIZE => self.table_bytes = value,
                ENABLE_PUSH if value > 1 => return Err(ConnectionError::Setting("ENABLE_PUSH")),
                INITIAL_WINDOW_SIZE if value > MAX_31 => return Err(ConnectionError::WindowSetting),
                INITIAL_WINDOW_SIZE => self.initial_window = value,
                MAX_FRAME_SIZE if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&value) => {
                    return Err(ConnectionError::Setting("MAX_FRAME_SIZE"));
                }
                MAX_FRAME_SIZE => self.frame_bytes_max = value,
                NO_RFC7540_PRIORITIES if value > 1 => return Err(ConnectionError::Setting("NO_RFC7540_PRIORITIES")),
                _ => {}
            }
        }
        Ok(self)
    }

    /// It allows a smaller table than connections begin with: its decoder waits for word of that (RFC 7541, 4.2).
    pub(super) fn lowers_table(&self) -> bool {
        self.table_bytes < HPACK_TABLE_BYTES_MAX as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(id: u16, value: u32) -> Result<PeerSettings, ConnectionError> {
        PeerSettings::default().with(&[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
    }

    #[test]
    fn values_have_ranges() {
        assert_eq!(with(ENABLE_PUSH, 0), Ok(PeerSettings::default()));
        assert_eq!(with(ENABLE_PUSH, 2), Err(ConnectionError::Setting("ENABLE_PUSH")));
        assert_eq!(with(INITIAL_WINDOW_SIZE, MAX_31).unwrap().initial_window, MAX_31);
        assert_eq!(with(INITIAL_WINDOW_SIZE, MAX_31 + 1), Err(ConnectionError::WindowSetting));
        for value in [FRAME_BYTES_MIN - 1, FRAME_BYTES_MAX + 1, 0, u32::MAX] {
            assert_eq!(with(MAX_FRAME_SIZE, value), Err(ConnectionError::Setting("MAX_FRAME_SIZE")));
        }
        assert_eq!(with(MAX_FRAME_SIZE, FRAME_BYTES_MAX).unwrap().frame_bytes_max, FRAME_BYTES_MAX);
        assert_eq!(with(0xFFFF, 7), Ok(PeerSettings::default()), "unknown ones are ignored");
        assert_eq!(with(NO_RFC7540_PRIORITIES, 2), Err(ConnectionError::Setting("NO_RFC7540_PRIORITIES")));
        assert!(with(HEADER_TABLE_SIZE, 4095).unwrap().lowers_table());
        assert!(!with(HEADER_TABLE_SIZE, 65_536).unwrap().lowers_table());
        assert_eq!(PeerSettings::default().with(&[0; 6 * 32]), Ok(PeerSettings::default()));
        assert_eq!(PeerSettings::default().with(&[0; 6 * 33]), Err(ConnectionError::SettingsLong));
        assert_eq!(PeerSettings::default().with(&[0; 7]), Err(ConnectionError::FrameLength("SETTINGS")));
    }

    #[test]
    fn what_is_announced_can_be_read() {
        let payload = announced(&Limits::default());
        assert!(PeerSettings::default().with(&payload).is_ok());
        assert_eq!(payload, *b"\0\x03\0\0\0\x64\0\x06\0\0\x40\0\0\x09\0\0\0\x01");
    }
}
