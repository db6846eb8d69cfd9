//! Enters a stream at a keyframe that is no IDR picture. Before it: the keyframe of an open GOP, the first frame that a decoder gets; after it:
//! the decoder, which starts at IDR pictures only.
//!
//! The first picture is rewritten as an IDR picture: the type of its NAL units, `frame_num` 0, an `idr_pic_id`, and the marking of references
//! that belongs to it (H.264 7.3.3). In all later pictures `frame_num` is shifted by as much, so that what refers to pictures by it still finds
//! them. The leading pictures are missing, and with them some numbers, so gaps are allowed in the parameter sets. All this ends with the
//! stream's first IDR picture.
use h264_reader::nal::sps::{PicOrderCntType, SeqParameterSet};
use millstream_proto::codec::bits::{Bits, unescape};

use super::bits::Writer;
use super::{nal, params, sps};

/// Memory management operations of a slice header that are read over: 66 are all that a standard stream can have (7.4.3.3).
const OPERATIONS_MAX: usize = 66;

/// What of a PPS decides where things are in a slice header.
#[derive(Clone, Copy, Debug)]
struct Pps {
    id: u32,
    sps_id: u32,
    cabac: bool,
    bottom_field_order: bool,
    deblocking_control: bool,
    redundant_pictures: bool,
}

/// A stream that was entered so.
#[derive(Debug)]
pub(crate) struct Entry {
    sets: Vec<Vec<u8>>,
    sequences: Vec<SeqParameterSet>,
    pictures: Vec<Pps>,
    /// `frame_num` of the picture that was made an IDR picture.
    first_number: u32,
}

impl Entry {
    /// For the parameter sets of a record; `None` where they cannot be changed for it.
    pub(crate) fn new(sets: &[Vec<u8>]) -> Option<Self> {
        let mut entry = Self { sets: Vec::new(), sequences: Vec::new(), pictures: Vec::new(), first_number: 0 };
        for set in sets {
            if nal::kind(set) == nal::SPS {
                entry.sequences.push(params::parse(set)?);
                entry.sets.push(sps::for_decoder(set, true)?);
            } else {
                entry.pictures.push(read_pps(set)?);
                entry.sets.push(set.clone());
            }
        }
        Some(entry)
    }

    /// The parameter sets to decode with.
    pub(crate) fn sets(&self) -> &Vec<Vec<u8>> {
        &self.sets
    }

    /// A slice as the decoder is to see it; `first`: of the picture that the stream is entered with. `None` where its header cannot be read.
    pub(crate) fn rewrite(&mut self, slice: &[u8], first: bool) -> Option<Vec<u8>> {
        let plain = unescape(slice);
        let (header, body) = plain.split_first()?;
        let mut reader = Bits::new(body);
        let _first_macroblock = reader.exp_golomb()?;
        let slice_type = reader.exp_golomb()? % 5;
        let pps_id = reader.exp_golomb()?;
        let pps = *self.pictures.iter().find(|pps| pps.id == pps_id)?;
        let sps = self.sequences.iter().find(|sps| u32::from(sps.id().id()) == pps.sps_id)?;
        let number_bits = u32::from(sps.log2_max_frame_num());
        let number_at = reader.position();
        let number = reader.number(number_bits)?;
        let mut writer = Writer::default();
        if !first {
            let shifted = number.wrapping_sub(self.first_number) & ((1 << number_bits.min(31)) - 1);
            writer.number((*header).into(), 8);
            writer.copy(body, 0, number_at)?;
            writer.number(shifted, number_bits);
            writer.copy(body, reader.position(), body.len() * 8)?;
            return Some(nal::escape(&writer.into_bytes()));
        }
        // I: anything else has more in its header, and refers to what was never here.
        if slice_type != 2 {
            return None;
        }
        self.first_number = number;
        writer.number(u32::from(header & 0xE0 | nal::SLICE_IDR), 8);
        writer.copy(body, 0, number_at)?;
        writer.number(0, number_bits);
        // idr_pic_id 0.
        writer.bit(true);
        let order_at = reader.position();
        skip_order(&mut reader, sps, pps)?;
        writer.copy(body, order_at, reader.position())?;
        if header & 0x60 != 0 {
            skip_marking(&mut reader)?;
            // no_output_of_prior_pics_flag and long_term_reference_flag.
            writer.number(0, 2);
        }
        let rest_at = reader.position();
        if !pps.cabac {
            writer.copy(body, rest_at, body.len() * 8)?;
            return Some(nal::escape(&writer.into_bytes()));
        }
        // Coded data begins at a byte, here and there.
        let _slice_qp_delta = reader.exp_golomb()?;
        if pps.deblocking_control && reader.exp_golomb()? != 1 {
            let _offsets = (reader.exp_golomb()?, reader.exp_golomb()?);
        }
        let data_at = reader.position().next_multiple_of(8);
        writer.copy(body, rest_at, reader.position())?;
        writer.align_with_ones();
        writer.copy(body, data_at, body.len() * 8)?;
        Some(nal::escape(&writer.into_bytes()))
    }
}

/// Picture order count and redundancy in a slice header.
fn skip_order(reader: &mut Bits<'_>, sps: &SeqParameterSet, pps: Pps) -> Option<()> {
    match sps.pic_order_cnt {
        PicOrderCntType::TypeZero { log2_max_pic_order_cnt_lsb_minus4 } => {
            reader.number(u32::from(log2_max_pic_order_cnt_lsb_minus4) + 4)?;
            if pps.bottom_field_order {
                reader.exp_golomb()?;
            }
        }
        PicOrderCntType::TypeOne { delta_pic_order_always_zero_flag: false, .. } => {
            reader.exp_golomb()?;
            if pps.bottom_field_order {
                reader.exp_golomb()?;
            }
        }
        PicOrderCntType::TypeOne { .. } | PicOrderCntType::TypeTwo => {}
    }
    if pps.redundant_pictures {
        reader.exp_golomb()?;
    }
    Some(())
}

/// `dec_ref_pic_marking` of a picture that is not IDR (7.3.3.3).
fn skip_marking(reader: &mut Bits<'_>) -> Option<()> {
    if !reader.flag()? {
        return Some(());
    }
    for _ in 0..OPERATIONS_MAX {
        match reader.exp_golomb()? {
            0 => return Some(()),
            5 => {}
            3 => drop((reader.exp_golomb()?, reader.exp_golomb()?)),
            _ => drop(reader.exp_golomb()?),
        }
    }
    None
}

fn read_pps(set: &[u8]) -> Option<Pps> {
    let plain = unescape(set);
    let mut reader = Bits::new(plain.get(1..)?);
    let (id, sps_id) = (reader.exp_golomb()?, reader.exp_golomb()?);
    let (cabac, bottom_field_order) = (reader.flag()?, reader.flag()?);
    // Slice groups: Baseline alone has them, and no encoder uses them.
    if reader.exp_golomb()? != 0 {
        return None;
    }
    let _references = (reader.exp_golomb()?, reader.exp_golomb()?);
    let _weighted = reader.number(3)?;
    let _quantisers = (reader.exp_golomb()?, reader.exp_golomb()?, reader.exp_golomb()?);
    let (deblocking_control, _constrained_intra) = (reader.flag()?, reader.flag()?);
    Some(Pps { id, sps_id, cabac, bottom_field_order, deblocking_control, redundant_pictures: reader.flag()? })
}
