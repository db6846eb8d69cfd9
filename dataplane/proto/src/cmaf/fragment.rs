//! A fragment: `moof` and `mdat` around a run of samples. Before it: the hub's packager, which decides where one ends; after it: a part
//! of a playlist, and with its neighbours a segment.
use mp4_atom::{Encode, Error, Mfhd, Moof, Tfdt, Tfhd, Traf, Trun, TrunEntry};

use super::TRACK_ID;

/// One frame of a fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample<'a> {
    /// How long it lasts, in units of the track.
    pub duration: u32,
    /// Presentation time minus decode time, in units of the track; may be negative.
    pub composition: i32,
    /// A decoder can start here.
    pub sync: bool,
    /// Its coded data.
    pub data: &'a [u8],
}

/// A fragment that cannot be written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FragmentError {
    /// No samples, or more bytes than its fields can say.
    #[error("a fragment of {samples} samples and {bytes} bytes cannot be written")]
    Size {
        /// How many samples there were.
        samples: usize,
        /// How many bytes they have.
        bytes: usize,
    },
    /// The box writer refused it.
    #[error("the fragment's header cannot be written: {0}")]
    Header(String),
}

impl From<Error> for FragmentError {
    fn from(error: Error) -> Self {
        Self::Header(error.to_string())
    }
}

/// `sample_flags` (ISO/IEC 14496-12, 8.8.3.1) of a frame that depends on no other, and of one that does and is no place to start.
const SYNC: u32 = 0x0200_0000;
const NOT_SYNC: u32 = 0x0101_0000;
/// Bytes of a box's size and name.
const BOX_HEADER_BYTES: usize = 8;
/// Bytes of a `moof` besides its samples' entries, about.
const MOOF_BYTES: usize = 128;
/// Bytes of a sample's entry at most.
const ENTRY_BYTES_MAX: usize = 16;

/// Writes a fragment: its number in the file (from 1), the decode time of its first sample in units of the track, and the samples. One
/// allocation holds all of it.
pub fn fragment(sequence: u32, decode_time: u64, samples: &[Sample<'_>]) -> Result<Vec<u8>, FragmentError> {
    let payload_bytes: usize = samples.iter().map(|sample| sample.data.len()).sum();
    let mdat_bytes = u32::try_from(payload_bytes + BOX_HEADER_BYTES).ok().filter(|_| !samples.is_empty());
    let Some(mdat_bytes) = mdat_bytes else {
        return Err(FragmentError::Size { samples: samples.len(), bytes: payload_bytes });
    };
    let mut out = Vec::with_capacity(MOOF_BYTES + samples.len() * ENTRY_BYTES_MAX + BOX_HEADER_BYTES + payload_bytes);
    let (traf, bytes_behind_offset) = traf(decode_time, samples);
    Moof { mfhd: Mfhd { sequence_number: sequence }, traf: vec![traf] }.encode(&mut out)?;
    // The offset of the data counts from the first byte of `moof`, whose size is known only now.
    let data_at = ((out.len() + BOX_HEADER_BYTES) as u32).to_be_bytes();
    let field = out.len().checked_sub(bytes_behind_offset + data_at.len());
    if let Some(field) = field.and_then(|at| out.get_mut(at..at + data_at.len())) {
        field.copy_from_slice(&data_at);
    }
    out.extend_from_slice(&mdat_bytes.to_be_bytes());
    out.extend_from_slice(b"mdat");
    for sample in samples {
        out.extend_from_slice(sample.data);
    }
    Ok(out)
}

/// The track's box, and how many of its bytes stand behind the offset of the data.
fn traf(decode_time: u64, samples: &[Sample<'_>]) -> (Traf, usize) {
    let first_duration = samples.first().map_or(0, |sample| sample.duration);
    let even = samples.iter().all(|sample| sample.duration == first_duration);
    let composed = samples.iter().any(|sample| sample.composition != 0);
    // The usual fragment says its flags once: all alike, or all but the first alike.
    let default_flags = if samples.last().is_some_and(|sample| sample.sync) { SYNC } else { NOT_SYNC };
    let flags = |sample: &Sample<'_>| if sample.sync { SYNC } else { NOT_SYNC };
    let differs = samples.iter().rposition(|sample| flags(sample) != default_flags);
    let entries = samples.iter().enumerate().map(|(index, sample)| TrunEntry {
        duration: (!even).then_some(sample.duration),
        size: Some(sample.data.len() as u32),
        flags: match differs {
            None => None,
            Some(0) => (index == 0).then(|| flags(sample)),
            Some(_) => Some(flags(sample)),
        },
        cts: composed.then_some(i64::from(sample.composition)),
    });
    let entry_fields =
        1 + usize::from(!even) + usize::from(composed) + usize::from(differs.is_some_and(|index| index > 0));
    // The first sample's own flags, where only they differ, stand before the entries.
    let fields_behind_offset = entry_fields * samples.len() + usize::from(differs == Some(0));
    let trun = Trun { data_offset: Some(0), samples: entries.collect::<Vec<_>>().into() };
    let tfhd = Tfhd {
        track_id: TRACK_ID,
        default_base_is_moof: true,
        default_sample_duration: even.then_some(first_duration),
        default_sample_flags: Some(default_flags),
        ..Tfhd::default()
    };
    let tfdt = Some(Tfdt { base_media_decode_time: decode_time });
    let traf = Traf { tfhd, tfdt, trun: vec![trun], ..Traf::default() };
    (traf, fields_behind_offset * 4)
}
