//! The header of a fragment, read back: decode times, durations, sizes, flags, and where the coded bytes are. Before it: the first bytes of a
//! fragment as an object of a store holds it; after it: [`super::build`].
//!
//! It takes what CMAF (ISO/IEC 23000-19, 7.5.16 to 7.5.18) allows: one track, offsets from the first byte of `moof`, any number of runs,
//! other boxes (`styp`, `prft`, `emsg`, `sidx`) before it.
use mp4_atom::{Decode, Moof, Traf};

use super::header::{Defaults, TrackHeader};
use crate::limits::{MP4_FRAGMENT_HEADER_BYTES_MAX, MP4_FRAGMENT_SAMPLES_MAX};

/// The samples of a fragment, without their bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Decode time of the first sample, in units of the track.
    pub decode_time: u64,
    /// The samples in decode order.
    pub samples: Vec<Sample>,
    /// Where their bytes are: runs of samples that stand one behind the other.
    pub runs: Vec<Run>,
}

/// One sample of a fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// How long it lasts, in units of the track.
    pub duration: u32,
    /// Bytes of it.
    pub size: u32,
    /// Presentation time minus decode time, in units of the track.
    pub composition: i32,
    /// A decoder can start here.
    pub sync: bool,
}

/// Samples whose bytes stand one behind the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Where the first of them begins, bytes from the first that was read.
    pub at: u64,
    /// How many there are.
    pub samples: usize,
}

/// What [`read`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// A fragment, and how many bytes it has with all that stands before it: the next one begins there.
    Fragment {
        /// What it holds.
        fragment: Fragment,
        /// Bytes up to its end, coded bytes included.
        bytes: u64,
    },
    /// It takes at least this many bytes, from the same first one, to tell. At most [`MP4_FRAGMENT_HEADER_BYTES_MAX`].
    More(usize),
}

/// A fragment that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FragmentError {
    /// A box that says a size less than its own header's.
    #[error("the box at byte {at} has a size of {size}")]
    Box {
        /// Where it begins.
        at: usize,
        /// What it says.
        size: u64,
    },
    /// More before the coded bytes than is read.
    #[error(
        "the coded bytes begin at byte {0} or later; {MP4_FRAGMENT_HEADER_BYTES_MAX} bytes before them are read at most"
    )]
    Long(u64),
    /// Coded bytes without a header.
    #[error("mdat stands at byte {0} with no moof before it")]
    NoHeader(usize),
    /// `moof` cannot be parsed.
    #[error("moof cannot be read: {0}")]
    Header(String),
    /// Something that a CMAF fragment does not have, or that is missing in it.
    #[error("the fragment is none of CMAF: {0}")]
    NotCmaf(&'static str),
    /// More than [`MP4_FRAGMENT_SAMPLES_MAX`].
    #[error("the fragment has more than {MP4_FRAGMENT_SAMPLES_MAX} samples")]
    Samples,
    /// Bytes of samples that are not in the `mdat` behind the header.
    #[error("sample {0} of the fragment is not in its mdat")]
    Outside(usize),
}

/// Reads the fragment at the beginning of `bytes`, which need not hold more than its header. Allocates no more than a small multiple of what it
/// is given and [`MP4_FRAGMENT_SAMPLES_MAX`] samples.
pub fn read(bytes: &[u8], header: &TrackHeader) -> Result<Read, FragmentError> {
    let mut at = 0;
    let mut found: Option<(Fragment, usize)> = None;
    loop {
        let BoxHeader { name, header_bytes, end } = match box_header(bytes, at)? {
            Ok(header) => header,
            Err(needed) => return more(needed as u64),
        };
        if name == *b"mdat" {
            let Some((fragment, _)) = found else { return Err(FragmentError::NoHeader(at)) };
            check_place(&fragment, (at + header_bytes) as u64, end)?;
            return Ok(Read::Fragment { fragment, bytes: end });
        }
        let Some(mut atom) = usize::try_from(end).ok().and_then(|end| bytes.get(at..end)) else { return more(end) };
        if name == *b"moof" {
            if found.is_some() {
                return Err(FragmentError::NotCmaf("two moof before its mdat"));
            }
            let moof = Moof::decode(&mut atom).map_err(|error| FragmentError::Header(error.to_string()))?;
            found = Some((fragment(&moof, at, header)?, at));
        }
        // Within `bytes`, as has been seen.
        at = end as usize;
    }
}

fn more(needed: u64) -> Result<Read, FragmentError> {
    match usize::try_from(needed).ok().filter(|needed| *needed <= MP4_FRAGMENT_HEADER_BYTES_MAX) {
        Some(needed) => Ok(Read::More(needed)),
        None => Err(FragmentError::Long(needed)),
    }
}

struct BoxHeader {
    name: [u8; 4],
    header_bytes: usize,
    /// Where the box ends.
    end: u64,
}

/// The header of the box there, or how many bytes it takes to have it.
fn box_header(bytes: &[u8], at: usize) -> Result<Result<BoxHeader, usize>, FragmentError> {
    let Some([a, b, c, d, name @ ..]) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) else {
        return Ok(Err(at + 8));
    };
    let (header_bytes, size) = match u32::from_be_bytes([*a, *b, *c, *d]) {
        1 => match bytes.get(at + 8..).and_then(<[u8]>::first_chunk::<8>) {
            Some(size) => (16, u64::from_be_bytes(*size)),
            None => return Ok(Err(at + 16)),
        },
        size => (8, u64::from(size)),
    };
    let end = (at as u64).checked_add(size).filter(|_| size >= header_bytes as u64);
    let end = end.ok_or(FragmentError::Box { at, size })?;
    Ok(Ok(BoxHeader { name: *name, header_bytes, end }))
}

/// What a `moof` at that byte says.
fn fragment(moof: &Moof, moof_at: usize, header: &TrackHeader) -> Result<Fragment, FragmentError> {
    let [traf] = moof.traf.as_slice() else { return Err(FragmentError::NotCmaf("not one traf")) };
    let Traf { tfhd, tfdt, trun, .. } = traf;
    let decode_time = tfdt.as_ref().ok_or(FragmentError::NotCmaf("no tfdt"))?.base_media_decode_time;
    if tfhd.base_data_offset.is_some() {
        return Err(FragmentError::NotCmaf("offsets from the beginning of a file"));
    }
    if tfhd.sample_description_index.is_some_and(|index| index != 1) {
        return Err(FragmentError::NotCmaf("a sample entry that the track's header does not have"));
    }
    let count = trun.iter().fold(0, |sum: usize, run| sum.saturating_add(run.samples.len()));
    if count > MP4_FRAGMENT_SAMPLES_MAX {
        return Err(FragmentError::Samples);
    }
    let defaults = Defaults {
        duration: tfhd.default_sample_duration.unwrap_or(header.defaults.duration),
        size: tfhd.default_sample_size.unwrap_or(header.defaults.size),
        flags: tfhd.default_sample_flags.unwrap_or(header.defaults.flags),
    };
    let (mut samples, mut runs) = (Vec::with_capacity(count), Vec::with_capacity(trun.len()));
    let mut end = None;
    for run in trun {
        let offset = run.data_offset.map(|offset| moof_at as i64 + i64::from(offset));
        // Without an offset a run begins where the one before it ends.
        let at = offset.or(end).ok_or(FragmentError::NotCmaf("a run of samples without an offset"))?;
        let at = u64::try_from(at).map_err(|_| FragmentError::Outside(samples.len()))?;
        let first = samples.len();
        samples.extend(run.samples.iter().map(|entry| Sample {
            duration: entry.duration.unwrap_or(defaults.duration),
            size: entry.size.unwrap_or(defaults.size),
            // 32 bits with a sign, whatever the version of the box: writers of version 0 that need one write it so.
            composition: entry.cts.unwrap_or(0) as i32,
            sync: is_sync(entry.flags.unwrap_or(defaults.flags)),
        }));
        let bytes: u64 = samples.iter().skip(first).map(|sample| u64::from(sample.size)).sum();
        end = i64::try_from(at + bytes).ok();
        runs.push(Run { at, samples: samples.len() - first });
    }
    Ok(Fragment { decode_time, samples, runs })
}

/// `sample_flags` (ISO/IEC 14496-12, 8.8.3.1): it neither is a non-sync sample nor depends on others.
const fn is_sync(flags: u32) -> bool {
    const NON_SYNC: u32 = 1 << 16;
    const DEPENDS: u32 = 1 << 24;
    flags & (NON_SYNC | DEPENDS) == 0
}

/// Every sample is between these bytes.
fn check_place(fragment: &Fragment, start: u64, end: u64) -> Result<(), FragmentError> {
    let mut first = 0;
    for run in &fragment.runs {
        let samples = fragment.samples.iter().skip(first).take(run.samples);
        let bytes: u64 = samples.map(|sample| u64::from(sample.size)).sum();
        let inside = bytes == 0 || run.at >= start && run.at.checked_add(bytes).is_some_and(|run_end| run_end <= end);
        if !inside {
            return Err(FragmentError::Outside(first));
        }
        first += run.samples;
    }
    Ok(())
}
