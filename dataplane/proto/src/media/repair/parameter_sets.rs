//! SPS, PPS and VPS where they do not belong: in frames, or in a record between start codes. Makes the record that they should be in.
use super::annex_b;
use crate::codec::avc::{self, AvcConfig};
use crate::codec::hevc::{self, HevcConfig};
use crate::limits::{CODEC_CONFIG_BYTES_MAX, NAL_UNITS_LOOKED_AT_MAX, PARAMETER_SETS_MAX};
use crate::media::kinds::Codec;

/// Kinds of parameter sets, in the order in which a record has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Vps,
    Sps,
    Pps,
}

/// What a NAL unit is.
enum Unit {
    Set(Kind),
    Picture,
    Other,
}

fn unit(codec: Codec, nal: &[u8]) -> Unit {
    let Some(&first) = nal.first() else { return Unit::Other };
    match codec {
        Codec::Hevc => match first >> 1 & 63 {
            0..=31 => Unit::Picture,
            hevc::NAL_VPS => Unit::Set(Kind::Vps),
            hevc::NAL_SPS => Unit::Set(Kind::Sps),
            hevc::NAL_PPS => Unit::Set(Kind::Pps),
            _ => Unit::Other,
        },
        _ => match first & 31 {
            1..=5 => Unit::Picture,
            avc::NAL_SPS => Unit::Set(Kind::Sps),
            avc::NAL_PPS => Unit::Set(Kind::Pps),
            _ => Unit::Other,
        },
    }
}

/// What a frame begins with.
#[derive(Default)]
pub(crate) struct InBand<'a> {
    /// The parameter sets before its first slice.
    pub(crate) sets: Vec<&'a [u8]>,
    /// It has a slice.
    pub(crate) picture: bool,
}

/// Looks at what stands before the first slice of a frame.
pub(crate) fn in_band(codec: Codec, data: &[u8], length_bytes: usize) -> InBand<'_> {
    let mut found = InBand::default();
    for nal in annex_b::lengths(data, length_bytes).take(NAL_UNITS_LOOKED_AT_MAX) {
        match unit(codec, nal) {
            Unit::Picture => {
                found.picture = true;
                break;
            }
            // A record has 16 bits for the length of one.
            Unit::Set(_) if u16::try_from(nal.len()).is_ok() => found.sets.push(annex_b::trim(nal)),
            Unit::Set(_) | Unit::Other => {}
        }
    }
    found
}

/// What becomes of a record.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Mended {
    /// It is right, or is judged elsewhere.
    AsItIs,
    /// Another one, made of what it has.
    Record(Vec<u8>),
    /// No decoder can start with it: it lacks a kind of parameter set.
    Useless,
}

/// Looks at a publisher's record.
pub(crate) fn mend(codec: Codec, record: &[u8]) -> Mended {
    if record.len() > CODEC_CONFIG_BYTES_MAX {
        return Mended::AsItIs;
    }
    if annex_b::begins(record) {
        let sets: Vec<_> = annex_b::units(record).take(PARAMETER_SETS_MAX).collect();
        return make(codec, &sets).map_or(Mended::Useless, Mended::Record);
    }
    let Some((sets, _)) = read(codec, record) else { return Mended::AsItIs };
    if sets.iter().any(|set| annex_b::begins(set)) {
        let sets: Vec<_> = sets.iter().flat_map(|set| split(set)).take(PARAMETER_SETS_MAX).collect();
        return make(codec, &sets).map_or(Mended::Useless, Mended::Record);
    }
    if is_whole(codec, &sets) { Mended::AsItIs } else { Mended::Useless }
}

/// The units of a set that may have start codes.
fn split(set: &[u8]) -> Vec<&[u8]> {
    if annex_b::begins(set) { annex_b::units(set).collect() } else { vec![set] }
}

/// The parameter sets of a record, and the bytes of its lengths.
fn read(codec: Codec, record: &[u8]) -> Option<(Vec<&[u8]>, u8)> {
    if codec == Codec::Hevc {
        let config = HevcConfig::parse(record).ok()?;
        return Some((config.parameter_sets.into_iter().map(|(_, set)| set).collect(), config.nal_length_bytes));
    }
    let config = AvcConfig::parse(record).ok()?;
    Some(([config.sps, config.pps].concat(), config.nal_length_bytes))
}

fn of_kind<'a>(codec: Codec, sets: &[&'a [u8]], kind: Kind) -> Vec<&'a [u8]> {
    sets.iter().copied().filter(|set| matches!(unit(codec, set), Unit::Set(found) if found == kind)).collect()
}

/// Whether a decoder can start with these. One of H.265 without VPS is let pass: some decoders take it.
fn is_whole(codec: Codec, sets: &[&[u8]]) -> bool {
    [Kind::Sps, Kind::Pps].into_iter().all(|kind| !of_kind(codec, sets, kind).is_empty())
}

/// The record of these sets, with lengths of four bytes.
fn make(codec: Codec, sets: &[&[u8]]) -> Option<Vec<u8>> {
    let [vps, sps, pps] = [Kind::Vps, Kind::Sps, Kind::Pps].map(|kind| of_kind(codec, sets, kind));
    let record = if codec == Codec::Hevc { hevc::record(&vps, &sps, &pps) } else { avc::record(&sps, &pps) };
    record.filter(|record| record.len() <= CODEC_CONFIG_BYTES_MAX)
}

/// The record that has these sets beside those of the record in force. `None` where that one has them all, or there are too few for a
/// decoder.
pub(crate) fn record(codec: Codec, found: &[&[u8]], in_force: Option<&[u8]>) -> Option<Vec<u8>> {
    let (old, length_bytes) = in_force.and_then(|record| read(codec, record)).unwrap_or((Vec::new(), 4));
    if found.iter().all(|set| old.iter().any(|old| annex_b::trim(old) == *set)) {
        return None;
    }
    // Those found come first: what a record says of itself is taken from its first SPS.
    let mut sets: Vec<&[u8]> = Vec::new();
    let both = found.iter().map(|set| (*set, true)).chain(old.iter().map(|set| (*set, false)));
    for (set, is_new) in both.take(2 * PARAMETER_SETS_MAX) {
        let Unit::Set(kind) = unit(codec, set) else { continue };
        let number = id(codec, set);
        let is_same =
            |known: &&[u8]| matches!(unit(codec, known), Unit::Set(same) if same == kind) && id(codec, known) == number;
        let known = sets.iter().position(is_same);
        match known.and_then(|at| sets.get_mut(at)) {
            Some(known) if is_new => *known = set,
            Some(_) => {}
            None => sets.push(set),
        }
    }
    let mut record = make(codec, &sets)?;
    set_length_bytes(codec, &mut record, length_bytes);
    Some(record)
}

/// The same record with lengths of four bytes.
pub(crate) fn with_long_lengths(codec: Codec, record: &[u8]) -> Option<Vec<u8>> {
    read(codec, record)?;
    let mut record = record.to_vec();
    set_length_bytes(codec, &mut record, 4);
    Some(record)
}

fn set_length_bytes(codec: Codec, record: &mut [u8], length_bytes: u8) {
    let at = if codec == Codec::Hevc { hevc::LENGTHS_AT } else { avc::LENGTHS_AT };
    if let Some(byte) = record.get_mut(at) {
        *byte = *byte & !3 | (length_bytes - 1) & 3;
    }
}

/// The number by which others refer to a set; `None` where it cannot be read.
fn id(codec: Codec, set: &[u8]) -> Option<u32> {
    let Unit::Set(kind) = unit(codec, set) else { return None };
    match (codec, kind) {
        (Codec::Hevc, Kind::Vps) => hevc::vps_id(set),
        (Codec::Hevc, Kind::Sps) => hevc::sps_id(set),
        (Codec::Hevc, Kind::Pps) => hevc::pps_id(set),
        (_, Kind::Sps) => avc::sps_id(set),
        (_, _) => avc::pps_id(set),
    }
}
