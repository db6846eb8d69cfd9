//! The header of a CMAF file: what a decoder needs before the first fragment. Before it: a codec configuration; after it: players,
//! by way of the hub's window.
use bytes::Bytes;
use mp4_atom::{
    Atom, Audio, Av01, Av1c, Avc1, Avcc, Codec as Entry, Dinf, Dops, Dref, DrefEntry, Encode, Esds, FixedPoint, FourCC,
    Ftyp, Hdlr, Hvc1, Hvcc, Mdhd, Mdia, Minf, Moov, Mp4a, Mvex, Mvhd, Opus, OpusChannelMapping, Smhd, Stbl, Stco, Stsd,
    Tkhd, Trak, Trex, Url, Visual, Vmhd,
};

use super::TRACK_ID;
use crate::codec::{Shape, Summary, aac::AacConfig, opus};
use crate::media::{Codec, CodecConfig, Track};

/// Units per second of video tracks: what MPEG has always counted in, and a multiple of a millisecond.
pub const VIDEO_TIMESCALE: u32 = 90_000;

/// Main, LC, LTP, and LC with SBR and PS (ISO/IEC 14496-3, table 1.17).
const AAC_OBJECT_TYPES: [u32; 5] = [1, 2, 4, 5, 29];

/// A track's header, and what is needed to cut its frames into fragments.
#[derive(Clone, Debug)]
pub struct Init {
    /// `ftyp` and `moov`.
    pub bytes: Bytes,
    /// Units per second of the track's times.
    pub timescale: u32,
    /// What the record says, for playlists.
    pub summary: Summary,
    /// How long the track's frames last.
    pub frame: FrameLength,
}

/// How long a frame lasts, in units of its track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameLength {
    /// Until the next one: frames.
    Stamped,
    /// Always this long: AAC.
    Fixed(u32),
    /// As its first bytes say: Opus.
    OpusPacket,
}

impl FrameLength {
    /// The length that the codec itself gives this frame; `None` where only stamps tell.
    pub fn of(self, data: &[u8]) -> Option<u32> {
        match self {
            Self::Stamped => None,
            Self::Fixed(units) => Some(units),
            Self::OpusPacket => opus::packet_samples(data),
        }
    }
}

/// A configuration that no CMAF track can be made of.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// A codec that HLS and DASH players do not take from us.
    #[error("{0:?} is not offered over HLS and DASH; H.264, H.265, AV1, AAC and Opus are")]
    Codec(Codec),
    /// A record that cannot be written into an MP4 file.
    #[error("the configuration of {0:?} cannot be written into an MP4 file: {1}")]
    Record(Codec, String),
}

/// Whether tracks of this codec are offered over HLS and DASH, given a record that can be used.
pub const fn is_offered(codec: Codec) -> bool {
    matches!(codec, Codec::Avc | Codec::Hevc | Codec::Av1 | Codec::Aac | Codec::Opus)
}

/// Makes the header of a track. Fails for codecs that are not offered, and for records that are malformed.
pub fn init(config: &CodecConfig) -> Result<Init, InitError> {
    let malformed = |what: &str| InitError::Record(config.codec, what.to_owned());
    let summary = config.summary();
    let shape = summary.as_ref().and_then(|summary| summary.shape);
    let (entry, timescale, frame) = entry(config, shape)?;
    let summary = summary.ok_or_else(|| malformed("it is not understood"))?;
    let mut out = Vec::with_capacity(1024);
    let written =
        file_type().encode(&mut out).and_then(|()| movie(entry, timescale, shape, config.track).encode(&mut out));
    written.map_err(|error| malformed(&error.to_string()))?;
    Ok(Init { bytes: out.into(), timescale, summary, frame })
}

fn file_type() -> Ftyp {
    let brands: [&[u8; 4]; 4] = [b"iso6", b"mp41", b"cmfc", b"dash"];
    Ftyp { major_brand: FourCC::new(b"iso6"), minor_version: 0, compatible_brands: brands.map(Into::into).to_vec() }
}

/// The sample entry of a track, its timescale, and how long its frames last.
fn entry(config: &CodecConfig, shape: Option<Shape>) -> Result<(Entry, u32, FrameLength), InitError> {
    let malformed = |error: mp4_atom::Error| InitError::Record(config.codec, error.to_string());
    let mut record = config.record();
    let visual = visual(shape);
    let video = |entry| (entry, VIDEO_TIMESCALE, FrameLength::Stamped);
    Ok(match config.codec {
        Codec::Avc => {
            let avcc = Avcc::decode_body(&mut record).map_err(malformed)?;
            video(Entry::Avc1(Avc1 { visual, avcc, ..Avc1::default() }))
        }
        Codec::Hevc => {
            let hvcc = Hvcc::decode_body(&mut record).map_err(malformed)?;
            video(Entry::Hvc1(Hvc1 { visual, hvcc, ..Hvc1::default() }))
        }
        Codec::Av1 => {
            let av1c = Av1c::decode_body(&mut record).map_err(malformed)?;
            video(Entry::Av01(Av01 { visual, av1c, ..Av01::default() }))
        }
        Codec::Aac => {
            let aac = AacConfig::parse(record).map_err(|error| InitError::Record(config.codec, error.to_string()))?;
            // Low-delay and unified profiles have frames of other lengths, and no browser takes them.
            if !AAC_OBJECT_TYPES.contains(&aac.object_type) {
                return Err(InitError::Record(
                    config.codec,
                    format!("AAC object type {} is not offered", aac.object_type),
                ));
            }
            let audio = audio(aac.channels.unwrap_or(2), aac.core_rate_hz);
            (Entry::Mp4a(aac_entry(audio, record)), aac.core_rate_hz, FrameLength::Fixed(aac.frame_samples))
        }
        Codec::Opus => {
            let dops = opus_entry(record).map_err(|error| InitError::Record(config.codec, error))?;
            let audio = audio(dops.output_channel_count, opus::RATE_HZ);
            (Entry::Opus(Opus { audio, dops, btrt: None }), opus::RATE_HZ, FrameLength::OpusPacket)
        }
        codec => return Err(InitError::Codec(codec)),
    })
}

/// The size of a picture that the record does not tell is left to the decoder: 0.
fn visual(shape: Option<Shape>) -> Visual {
    let (width, height) = picture(shape);
    Visual { data_reference_index: 1, width, height, ..Visual::default() }
}

fn picture(shape: Option<Shape>) -> (u16, u16) {
    match shape {
        Some(Shape::Video { width, height }) => {
            (u16::try_from(width).unwrap_or(u16::MAX), u16::try_from(height).unwrap_or(u16::MAX))
        }
        _ => (0, 0),
    }
}

/// The rate stands in 16 bits: one that does not fit is left to the decoder's own record.
fn audio(channels: u8, rate_hz: u32) -> Audio {
    let rate = FixedPoint::from(u16::try_from(rate_hz).unwrap_or(0));
    Audio { data_reference_index: 1, channel_count: u16::from(channels), sample_size: 16, sample_rate: rate }
}

fn aac_entry(audio: Audio, record: &[u8]) -> Mp4a {
    let mut esds = Esds::default();
    let decoder = &mut esds.es_desc.dec_config;
    // ISO/IEC 14496-1, tables 5 and 6: MPEG-4 audio, an audio stream.
    (decoder.object_type_indication, decoder.stream_type) = (0x40, 5);
    decoder.dec_specific.get_or_insert_default().raw = record.to_vec();
    Mp4a { audio, esds, btrt: None, taic: None }
}

/// `dOps` (*Encapsulation of Opus in ISOBMFF* 4.3.2) from a record of either form.
fn opus_entry(record: &[u8]) -> Result<Dops, String> {
    let config = opus::OpusConfig::parse(record).map_err(|error| error.to_string())?;
    let (little_endian, tail) = match record.strip_prefix(b"OpusHead") {
        Some(head) => (true, head.get(8..)),
        None => (false, record.get(8..)),
    };
    let tail = tail.unwrap_or_default();
    let gain = tail.first_chunk::<2>().copied().unwrap_or_default();
    let output_gain = if little_endian { i16::from_le_bytes(gain) } else { i16::from_be_bytes(gain) };
    let family = tail.get(2).copied().unwrap_or(0);
    let channel_mapping = match (family, tail.get(3..)) {
        (0, _) => None,
        (_, Some([stream_count, coupled_count, table @ ..])) => {
            let table = table.get(..usize::from(config.channels)).ok_or("the channel mapping is cut off")?;
            Some(OpusChannelMapping {
                family,
                stream_count: *stream_count,
                coupled_count: *coupled_count,
                channel_mapping: table.to_vec(),
            })
        }
        _ => return Err("the channel mapping is cut off".to_owned()),
    };
    Ok(Dops {
        output_channel_count: config.channels,
        pre_skip: config.pre_skip,
        input_sample_rate: config.input_rate_hz,
        output_gain,
        channel_mapping,
    })
}

fn movie(entry: Entry, timescale: u32, shape: Option<Shape>, track: Track) -> Moov {
    let video = track == Track::Video;
    let (width, height) = picture(shape);
    let handler = if video {
        Hdlr { handler: FourCC::new(b"vide"), name: "video".into() }
    } else {
        Hdlr { handler: FourCC::new(b"soun"), name: "audio".into() }
    };
    let url = DrefEntry::Url(Url::default());
    let media = Trak {
        tkhd: Tkhd {
            track_id: TRACK_ID,
            enabled: true,
            in_movie: true,
            volume: FixedPoint::from(u8::from(!video)),
            width: width.into(),
            height: height.into(),
            ..Tkhd::default()
        },
        mdia: Mdia {
            mdhd: Mdhd { timescale, language: "und".into(), ..Mdhd::default() },
            hdlr: handler,
            minf: Minf {
                vmhd: video.then(Vmhd::default),
                smhd: (!video).then(Smhd::default),
                dinf: Dinf { dref: Dref { entries: vec![url] } },
                stbl: Stbl { stsd: Stsd { codecs: vec![entry] }, stco: Some(Stco::default()), ..Stbl::default() },
                ..Minf::default()
            },
        },
        ..Trak::default()
    };
    let trex = Trex { track_id: TRACK_ID, default_sample_description_index: 1, ..Trex::default() };
    Moov {
        mvhd: Mvhd { timescale: 1_000, next_track_id: TRACK_ID + 1, ..Mvhd::default() },
        mvex: Some(Mvex { mehd: None, trex: vec![trex] }),
        trak: vec![media],
        ..Moov::default()
    }
}
