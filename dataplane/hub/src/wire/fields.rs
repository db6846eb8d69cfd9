//! The fields of a message between nodes: integers, bytes, texts. Used by [`super`], [`super::blocks`] and [`super::changes`].
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use millstream_proto::media::Track;

use super::WireError;

/// Seven bits a byte, the lowest first; all but the last have the highest bit set.
pub(super) fn put_int(out: &mut BytesMut, mut value: u64) {
    while value > 0x7F {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Zigzag: 0, -1, 1, -2, ...
pub(super) fn put_signed(out: &mut BytesMut, value: i64) {
    put_int(out, (value << 1 ^ value >> 63) as u64);
}

pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_int(out, bytes.len() as u64);
    out.put_slice(bytes);
}

pub(super) fn put_bool(out: &mut BytesMut, value: bool) {
    out.put_u8(u8::from(value));
}

pub(super) fn put_track(out: &mut BytesMut, track: Track) {
    put_bool(out, track == Track::Audio);
}

/// What is left of a message. Each read names what it wants, for the error.
pub(super) struct Fields(Bytes);

impl Fields {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, WireError> {
        self.0.try_get_u8().map_err(|_| WireError::Truncated(what))
    }

    pub(super) fn int(&mut self, what: &'static str) -> Result<u64, WireError> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                return Err(WireError::Invalid(what));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Invalid(what))
    }

    pub(super) fn signed(&mut self, what: &'static str) -> Result<i64, WireError> {
        let value = self.int(what)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(super) fn small<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, WireError> {
        T::try_from(self.int(what)?).map_err(|_| WireError::Invalid(what))
    }

    pub(super) fn bool(&mut self, what: &'static str) -> Result<bool, WireError> {
        match self.byte(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Invalid(what)),
        }
    }

    pub(super) fn track(&mut self) -> Result<Track, WireError> {
        Ok(if self.bool("a track")? { Track::Audio } else { Track::Video })
    }

    /// A part of the message, not a copy.
    pub(super) fn bytes(&mut self, what: &'static str) -> Result<Bytes, WireError> {
        let length: usize = self.small(what)?;
        if length > self.left() {
            return Err(WireError::Truncated(what));
        }
        Ok(self.0.split_to(length))
    }

    pub(super) fn text(&mut self, what: &'static str) -> Result<String, WireError> {
        String::from_utf8(self.bytes(what)?.into()).map_err(|_| WireError::Invalid(what))
    }
}
