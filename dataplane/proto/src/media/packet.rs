//! Reads the first bytes of a tag body: which codec, which kind of packet, where the coded data starts. Before it: the body as the
//! publisher sent it; after it: [`super::Unpacker`], which knows what came before.
//!
//! Legacy layouts: *Video File Format Specification* 10.1, E.4.2 and E.4.3. FourCC layouts: Veovera's *Enhanced RTMP* v2,
//! "Enhanced Audio" and "Enhanced Video".
use bytes::Bytes;

use super::kinds::{Codec, Track, four_ccs};
use super::unpack::Skipped;
use crate::cursor::Cursor;
use crate::limits::{MODEX_MAX, MULTITRACK_TRACKS_MAX};

/// What a body holds. Offsets are into the body that comes with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packet {
    /// A decoder configuration record.
    Config { codec: Codec, record_at: usize },
    /// Coded data.
    Frame { codec: Codec, cts_ms: i32, keyframe: bool, data_at: usize },
}

/// Frame types (E.4.3.1): only 1 is where a decoder can start; 4 is for servers' own use and seen nowhere.
const FRAME_KEY: u8 = 1;
/// Not a picture but a command to a player that seeks.
const FRAME_COMMAND: u8 = 5;
/// The audio format that says that a FourCC follows; its low bits are a packet type.
pub(super) const SOUND_ENHANCED: u8 = 9;

/// The packet type that says that more of the header follows.
const MOD_EX: u8 = 7;

/// Reads a video body. Gives it back, as it was or, where it held several tracks, with the first one alone.
pub(super) fn video(body: Bytes) -> Result<(Packet, Bytes), Skipped> {
    let mut cursor = Cursor::new(&body);
    let first = cursor.u8()?;
    let keyframe = first >> 4 & 7 == FRAME_KEY;
    let command = first >> 4 & 7 == FRAME_COMMAND;
    if first & 0x80 != 0 {
        return enhanced_video(body, keyframe, command);
    }
    let codec = match first & 15 {
        _ if command => return Err(Skipped::Command),
        7 => Codec::Avc,
        12 => Codec::Hevc,
        id => return Err(Skipped::UnsupportedVideo(id)),
    };
    let packet_type = cursor.u8()?;
    let cts_ms = cursor.i24()?;
    let at = cursor.position();
    match packet_type {
        0 => Ok((Packet::Config { codec, record_at: at }, body)),
        1 => Ok((Packet::Frame { codec, cts_ms, keyframe, data_at: at }, body)),
        2 => Err(Skipped::EndOfSequence(Track::Video)),
        other => Err(Skipped::PacketType(Track::Video, other)),
    }
}

fn enhanced_video(body: Bytes, keyframe: bool, command: bool) -> Result<(Packet, Bytes), Skipped> {
    let (packet_type, body, at) = unwrap(body, 6)?;
    if command && packet_type != 4 {
        return Err(Skipped::Command);
    }
    let mut cursor = Cursor::new(&body);
    cursor.skip(at)?;
    let four_cc = cursor.array::<4>()?;
    let codec = named(Track::Video, four_cc)?;
    let mut cts_ms = 0;
    match packet_type {
        0 => {
            let record_at = cursor.position();
            return Ok((Packet::Config { codec, record_at }, body));
        }
        // Only these two have a composition time: the others' order of decoding is that of showing.
        1 if matches!(codec, Codec::Avc | Codec::Hevc) => cts_ms = cursor.i24()?,
        1 | 3 => {}
        2 => return Err(Skipped::EndOfSequence(Track::Video)),
        4 => return Err(Skipped::VideoMetadata),
        5 => return Err(Skipped::TransportStreamConfig),
        other => return Err(Skipped::PacketType(Track::Video, other)),
    }
    let data_at = cursor.position();
    Ok((Packet::Frame { codec, cts_ms, keyframe, data_at }, body))
}

/// Reads an audio body; as [`video`].
pub(super) fn audio(body: Bytes) -> Result<(Packet, Bytes), Skipped> {
    let mut cursor = Cursor::new(&body);
    let first = cursor.u8()?;
    let frame = |codec, data_at| Packet::Frame { codec, cts_ms: 0, keyframe: true, data_at };
    match first >> 4 {
        SOUND_ENHANCED => enhanced_audio(body),
        2 => Ok((frame(Codec::Mp3, 1), body)),
        10 => match cursor.u8()? {
            0 => Ok((Packet::Config { codec: Codec::Aac, record_at: 2 }, body)),
            1 => Ok((frame(Codec::Aac, 2), body)),
            other => Err(Skipped::PacketType(Track::Audio, other)),
        },
        id => Err(Skipped::UnsupportedAudio(id)),
    }
}

fn enhanced_audio(body: Bytes) -> Result<(Packet, Bytes), Skipped> {
    let (packet_type, body, at) = unwrap(body, 5)?;
    let mut cursor = Cursor::new(&body);
    cursor.skip(at)?;
    let four_cc = cursor.array::<4>()?;
    let codec = named(Track::Audio, four_cc)?;
    let at = cursor.position();
    match packet_type {
        0 => Ok((Packet::Config { codec, record_at: at }, body)),
        1 => Ok((Packet::Frame { codec, cts_ms: 0, keyframe: true, data_at: at }, body)),
        2 => Err(Skipped::EndOfSequence(Track::Audio)),
        4 => Err(Skipped::Multichannel),
        other => Err(Skipped::PacketType(Track::Audio, other)),
    }
}

fn named(track: Track, four_cc: [u8; 4]) -> Result<Codec, Skipped> {
    let known = four_ccs(track).iter().find(|(name, _)| name.as_bytes() == four_cc);
    known.map(|(_, codec)| *codec).ok_or(Skipped::UnsupportedFourCc(track, four_cc))
}

/// What all FourCC packets begin with: the packet type in the low bits of the first byte, or behind the ModEx records (nanosecond
/// offsets and what may come) that stand before it. Gives the packet type, the body (the first track alone where the type was
/// `multitrack`), and where the FourCC stands.
fn unwrap(body: Bytes, multitrack: u8) -> Result<(u8, Bytes, usize), Skipped> {
    let mut cursor = Cursor::new(&body);
    let first = cursor.u8()?;
    let mut packet_type = first & 15;
    for _ in 0..MODEX_MAX {
        if packet_type != MOD_EX {
            break;
        }
        let size = match cursor.u8()? {
            255 => usize::from(cursor.u16()?) + 1,
            short => usize::from(short) + 1,
        };
        cursor.skip(size)?;
        packet_type = cursor.u8()? & 15;
    }
    if packet_type == MOD_EX {
        return Err(Skipped::ModEx);
    }
    if packet_type == multitrack {
        let (packet_type, body) = first_track(first, cursor)?;
        return Ok((packet_type, body, 1));
    }
    let at = cursor.position();
    Ok((packet_type, body, at))
}

/// The first track of a body that can hold several, as a body of its own, and its packet type. A player that knows one track gets
/// that one (field case 12); encoders send the first track plainly more often than not.
fn first_track(first: u8, mut cursor: Cursor<'_>) -> Result<(u8, Bytes), Skipped> {
    let types = cursor.u8()?;
    let (layout, packet_type) = (types >> 4, types & 15);
    let mut four_cc = if layout == 2 { [0; 4] } else { cursor.array()? };
    let mut seen = 0;
    for _ in 0..MULTITRACK_TRACKS_MAX {
        if cursor.is_empty() {
            break;
        }
        if layout == 2 {
            four_cc = cursor.array()?;
        }
        let id = cursor.u8()?;
        let data = match layout {
            0 => cursor.take(cursor.remaining())?,
            1 | 2 => {
                let size = cursor.u24()? as usize;
                cursor.take(size)?
            }
            _ => return Err(Skipped::Multitrack(layout)),
        };
        if id == 0 {
            return Ok((packet_type, [&[first & 0xF0 | packet_type], &four_cc[..], data].concat().into()));
        }
        seen = id;
    }
    Err(Skipped::ExtraTrack(seen))
}
