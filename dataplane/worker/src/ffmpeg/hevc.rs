//! H.265 out of a child: NAL units behind start codes, in which each picture begins with an access unit delimiter. Before it: the output of `ffmpeg -f hevc`; after
//! it: [`super::encode`], which gives pictures their times.
//!
//! FLV as FFmpeg 5.1 writes it has no H.265, and of what it writes without a header of its own only the next picture says that one is whole. So each comes out with the
//! one behind it.
use millstream_proto::codec::hevc;

use crate::codec::encode::Encoded;
use crate::h264::nal;

/// Bytes of a picture, and what is read with it: more is none.
const PICTURE_BYTES_MAX: usize = 16 << 20;
/// Types of NAL units (H.265 table 7-1): those of slices end before the first, and those of pictures that a decoder can start with are between the next two.
const SLICES_END: u8 = 32;
const STARTS: std::ops::RangeInclusive<u8> = 16..=21;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
const DELIMITER: u8 = 35;

/// Pictures out of bytes that come in any pieces.
#[derive(Default)]
pub(super) struct Pictures {
    unread: Vec<u8>,
    /// So many bytes of that hold no start code.
    looked_at: usize,
    /// The first unit has begun.
    begun: bool,
    sets: [Vec<u8>; 3],
    picture: Encoded,
}

impl Pictures {
    /// Takes more bytes, and appends the pictures that are whole.
    pub(super) fn push(&mut self, bytes: &[u8], made: &mut Vec<Encoded>) -> Result<(), &'static str> {
        self.unread.extend_from_slice(bytes);
        while let Some((unit_end, next)) = self.start_code() {
            let rest = self.unread.split_off(next);
            let mut unit = std::mem::replace(&mut self.unread, rest);
            self.looked_at = 0;
            unit.truncate(unit_end);
            if std::mem::replace(&mut self.begun, true) {
                made.extend(self.unit(&unit)?);
            } else if !unit.is_empty() {
                return Err("bytes before the first start code");
            }
        }
        if self.unread.len() + self.picture.frame.len() > PICTURE_BYTES_MAX {
            return Err("a picture that does not end");
        }
        Ok(())
    }

    /// Nothing more comes: the last picture.
    pub(super) fn finish(&mut self) -> Option<Encoded> {
        let unit = std::mem::take(&mut self.unread);
        if self.begun {
            let _ = self.unit(&unit);
        }
        self.whole()
    }

    /// Where the unit before the next start code ends, and where the one behind it begins.
    fn start_code(&mut self) -> Option<(usize, usize)> {
        let from = self.looked_at.saturating_sub(2);
        let found = self.unread.get(from..)?.windows(3).position(|bytes| bytes == [0, 0, 1]);
        let Some(at) = found.map(|at| from + at) else {
            self.looked_at = self.unread.len();
            return None;
        };
        // No unit ends with a zero; what is there belongs to the start code.
        let end = self.unread.get(..at)?.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some((end, at + 3))
    }

    /// Takes a unit; gives the picture before it, where it is a delimiter.
    fn unit(&mut self, unit: &[u8]) -> Result<Option<Encoded>, &'static str> {
        let kind = unit.first().map(|first| first >> 1 & 63).ok_or("an empty unit")?;
        match kind {
            DELIMITER => return Ok(self.whole()),
            VPS | SPS | PPS => {
                if let Some(set) = self.sets.get_mut(usize::from(kind - VPS)) {
                    *set = unit.to_vec();
                }
            }
            ..SLICES_END => {
                self.picture.idr |= STARTS.contains(&kind);
                nal::put_length(&mut self.picture.frame, unit);
            }
            _ => {}
        }
        Ok(None)
    }

    fn whole(&mut self) -> Option<Encoded> {
        let mut picture = std::mem::take(&mut self.picture);
        if picture.frame.is_empty() {
            return None;
        }
        if picture.idr {
            let [vps, sps, pps] = &self.sets;
            picture.record = hevc::record(&[vps], &[sps], &[pps]).unwrap_or_default();
        }
        Some(picture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGINS: &[u8] = &[0, 0, 0, 1];

    /// A unit of a type, whose last byte is that.
    fn unit(kind: u8, last: u8) -> Vec<u8> {
        [BEGINS, &[kind << 1, 1, last]].concat()
    }

    #[test]
    fn each_picture_comes_with_the_one_behind_it_whatever_pieces_it_comes_in() {
        let suffix = [&[0, 0, 1][..], &[40 << 1, 1, 9]].concat();
        let stream =
            [unit(35, 80), unit(19, 7), unit(19, 8), suffix, unit(35, 80), unit(1, 9), unit(35, 80), unit(1, 5)]
                .concat();
        for piece in 1..stream.len() {
            let (mut pictures, mut made) = (Pictures::default(), Vec::new());
            for bytes in stream.chunks(piece) {
                pictures.push(bytes, &mut made).unwrap();
            }
            assert_eq!(made.len(), 2, "in pieces of {piece}");
            made.extend(pictures.finish());
            let seen: Vec<_> = made.iter().map(|picture| (picture.idr, &picture.frame[..])).collect();
            let slice = |kind: u8, last: u8| [0, 0, 0, 3, kind << 1, 1, last];
            let first = [slice(19, 7), slice(19, 8)].concat();
            assert_eq!(seen, [(true, &first[..]), (false, &slice(1, 9)), (false, &slice(1, 5))]);
            assert!(pictures.finish().is_none());
        }
    }

    #[test]
    fn what_is_no_stream_of_units_is_said() {
        let mut made = Vec::new();
        assert!(Pictures::default().push(b"FLV\x01\0\0\x01\x46", &mut made).is_err());
        assert!(Pictures::default().push(&[0, 0, 1, 0, 0, 1], &mut made).is_err(), "an empty unit");
        assert!(Pictures::default().push(&vec![7; PICTURE_BYTES_MAX + 1], &mut made).is_err());
        let mut pictures = Pictures::default();
        let slice = [unit(1, 1), vec![1; 1 << 20]].concat();
        assert!((0..20).any(|_| pictures.push(&slice, &mut made).is_err()), "a picture without end");
        assert!(made.is_empty());
    }
}
