//! A publisher's messages, repaired where encoders make them differently from what players take. Before it in the pipeline:
//! [`crate::rtmp`]; after it: the hub. What comes out is as if the encoder had done it right, so nothing behind it knows of repairs.
//!
//! A well-formed stream pays for a look at the first bytes of each frame, and at the first NAL units of each key frame.
use std::collections::VecDeque;

use bytes::Bytes;

use super::event::{CodecConfig, MediaEvent};
use super::finding::{LeftOut, Repair, Unwanted};
use super::kinds::{Codec, TagKind, Track};
use super::packet::{self, Packet};
use super::repair::{adts, annex_b, parameter_sets};
use super::unpack::{Skipped, Unpacker, metadata};
use crate::codec::{self, RecordError, avc::AvcConfig, hevc::HevcConfig};
use crate::limits::{ADTS_FRAMES_MAX, CODEC_CONFIG_BYTES_MAX, LEFT_OUT_MAX, PARAMETER_SETS_WAITING_MAX};

/// So many messages of a track, one after the other, of which nothing can be used, are told of: some two seconds.
const USELESS_TOLD: u32 = 50;

/// Where a frame stands, and what it is of.
#[derive(Clone, Copy)]
struct Coded {
    codec: Codec,
    cts_ms: i32,
    keyframe: bool,
    data_at: usize,
}

impl From<Coded> for Packet {
    fn from(Coded { codec, cts_ms, keyframe, data_at }: Coded) -> Self {
        Self::Frame { codec, cts_ms, keyframe, data_at }
    }
}

/// How NAL units are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Framing {
    /// No frame has told yet.
    #[default]
    Unknown,
    /// As they should be: what looks like a start code is a length.
    Lengths,
    /// By start codes.
    AnnexB,
}

/// An [`Unpacker`] that repairs, and that says what it found. One per publisher. Bounded: the configurations in force, those last sent,
/// and what one message makes.
#[derive(Debug)]
pub struct Intake {
    unpacker: Unpacker,
    /// What one message made beside its first event.
    queue: VecDeque<MediaEvent>,
    /// The last video and audio configuration, as the publisher sent it.
    sent: [Option<Bytes>; 2],
    /// Bytes of the lengths of NAL units.
    nal_length_bytes: usize,
    framing: Framing,
    /// Parameter sets of earlier frames, too few for a record.
    waiting: Vec<Vec<u8>>,
    left_out: Vec<LeftOut>,
    /// Of which tracks it has been said that they have no configuration, and none has come since.
    unconfigured: [bool; 2],
    /// How many messages with frames of each track came one after the other of which nothing can be used.
    useless: [u32; 2],
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            unpacker: Unpacker::default(),
            queue: VecDeque::new(),
            sent: [None, None],
            nal_length_bytes: 4,
            framing: Framing::default(),
            waiting: Vec::new(),
            left_out: Vec::new(),
            unconfigured: [false; 2],
            useless: [0; 2],
        }
    }
}

impl Intake {
    /// At the start of a publisher's session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next message: its stamp in milliseconds modulo 2^32, and its body. What else it made, [`Intake::poll`] gives: to be
    /// asked for until there is no more, also where the message itself was skipped.
    pub fn push(&mut self, kind: TagKind, timestamp: u32, body: Bytes) -> Result<MediaEvent, Skipped> {
        let result = self.take(kind, timestamp, body);
        match &result {
            Ok(MediaEvent::Config(config)) => self.configured(&config.clone()),
            Ok(MediaEvent::Frame(frame)) => {
                let track = frame.track;
                if let Some(useless) = self.useless.get_mut(track.index())
                    && std::mem::take(useless) >= USELESS_TOLD
                {
                    // Should it begin anew, that is told again.
                    self.left_out.retain(|found| *found != LeftOut { track, what: Unwanted::Framing });
                }
            }
            Ok(_) => {}
            Err(skipped) => self.note(kind, skipped),
        }
        if self.queue.is_empty() {
            return result;
        }
        // What was made before it comes before it.
        self.queue.push_back(result?);
        self.queue.pop_front().ok_or(Skipped::Data)
    }

    /// What the last message made beside its first event, in order.
    pub fn poll(&mut self) -> Option<MediaEvent> {
        self.queue.pop_front()
    }

    fn take(&mut self, kind: TagKind, timestamp: u32, body: Bytes) -> Result<MediaEvent, Skipped> {
        let (track, (packet, body)) = match kind {
            TagKind::Script => return metadata(&body).map(MediaEvent::Metadata),
            TagKind::Video => (Track::Video, packet::video(body)?),
            TagKind::Audio => (Track::Audio, packet::audio(body)?),
        };
        match packet {
            Packet::Config { codec, record_at } => self.config(track, codec, record_at, body),
            Packet::Frame { codec: codec @ (Codec::Avc | Codec::Hevc), cts_ms, keyframe, data_at } => {
                self.video(timestamp, body, Coded { codec, cts_ms, keyframe, data_at })
            }
            Packet::Frame { codec: codec @ Codec::Aac, cts_ms, keyframe, data_at } => {
                self.aac(timestamp, body, Coded { codec, cts_ms, keyframe, data_at })
            }
            Packet::Frame { .. } => self.unpacker.take(track, packet, timestamp, body),
        }
    }

    fn config(&mut self, track: Track, codec: Codec, record_at: usize, body: Bytes) -> Result<MediaEvent, Skipped> {
        let sent = self.sent.get_mut(track.index());
        if body.len() <= record_at + CODEC_CONFIG_BYTES_MAX
            && let Some(sent) = sent
        {
            // What is in force may be a repaired form of it, or what the key frames said since.
            if sent.as_ref() == Some(&body) && self.unpacker.config_of(track, codec).is_some() {
                return Err(Skipped::Repeated(track));
            }
            *sent = Some(Bytes::copy_from_slice(&body));
        }
        let record = body.get(record_at..).unwrap_or_default();
        let mended = match codec {
            Codec::Avc | Codec::Hevc => match parameter_sets::mend(codec, record) {
                parameter_sets::Mended::AsItIs => None,
                parameter_sets::Mended::Record(record) => Some((Repair::AnnexB, record)),
                parameter_sets::Mended::Useless => {
                    return Err(Skipped::BadConfig(track, RecordError::NoParameterSets));
                }
            },
            Codec::Aac => adts::Header::read(record)
                .and_then(|header| header.config())
                .map(|record| (Repair::Adts, record.to_vec())),
            _ => None,
        };
        let body = match mended {
            None => body,
            Some((repair, record)) => {
                self.queue.push_back(MediaEvent::Repaired(track, repair));
                let head = body.get(..record_at).unwrap_or_default();
                [head, &record].concat().into()
            }
        };
        self.unpacker.take(track, Packet::Config { codec, record_at }, 0, body)
    }

    /// A configuration is in force from here on.
    fn configured(&mut self, config: &CodecConfig) {
        if let Some(said) = self.unconfigured.get_mut(config.track.index()) {
            *said = false;
        }
        self.nal_length_bytes = match config.codec {
            Codec::Avc => AvcConfig::parse(config.record()).map_or(4, |record| record.nal_length_bytes.into()),
            Codec::Hevc => HevcConfig::parse(config.record()).map_or(4, |record| record.nal_length_bytes.into()),
            _ => return,
        };
        if self.framing == Framing::Lengths {
            // Another encoder may have taken over the connection's stream.
            self.framing = Framing::Unknown;
        }
    }

    /// A record that was made here.
    fn configure(&mut self, track: Track, codec: Codec, frame_body: &[u8], record: &[u8]) -> Result<(), Skipped> {
        let (head, record_at) = config_head(codec, frame_body);
        let body: Bytes = [&head, record].concat().into();
        match self.unpacker.take(track, Packet::Config { codec, record_at }, 0, body) {
            Ok(event) => {
                if let MediaEvent::Config(config) = &event {
                    self.configured(config);
                }
                self.queue.push_back(event);
                Ok(())
            }
            Err(Skipped::Repeated(_)) => Ok(()),
            Err(skipped) => Err(skipped),
        }
    }

    fn video(&mut self, timestamp: u32, mut body: Bytes, coded: Coded) -> Result<MediaEvent, Skipped> {
        let Coded { codec, keyframe, data_at, .. } = coded;
        if self.framing != Framing::Lengths && self.has_start_codes(body.get(data_at..).unwrap_or_default()) {
            let (head, data) = body.split_at_checked(data_at).unwrap_or_default();
            let converted = annex_b::to_lengths(head, data).ok_or(Skipped::AnnexB)?;
            self.queue.push_back(MediaEvent::Repaired(Track::Video, Repair::AnnexB));
            body = converted;
            if self.nal_length_bytes != 4 {
                self.lengthen(codec, &body)?;
            }
        }
        if (keyframe || self.unpacker.config_of(Track::Video, codec).is_none())
            && !self.parameter_sets(codec, &body, data_at)?
        {
            // Nothing to show: a key frame without a picture would be where viewers start.
            return Err(Skipped::ParameterSets);
        }
        self.unpacker.take(Track::Video, coded.into(), timestamp, body)
    }

    /// Takes parameter sets from a frame. False: it has nothing else.
    fn parameter_sets(&mut self, codec: Codec, body: &[u8], data_at: usize) -> Result<bool, Skipped> {
        let data = body.get(data_at..).unwrap_or_default();
        let found = parameter_sets::in_band(codec, data, self.nal_length_bytes);
        if found.sets.is_empty() {
            return Ok(true);
        }
        let in_force = self.unpacker.config_of(Track::Video, codec).map(CodecConfig::record);
        let waiting = std::mem::take(&mut self.waiting);
        let sets: Vec<&[u8]> = waiting.iter().map(Vec::as_slice).chain(found.sets).collect();
        if let Some(record) = parameter_sets::record(codec, &sets, in_force) {
            self.queue.push_back(MediaEvent::Repaired(Track::Video, Repair::InBandParameterSets));
            self.configure(Track::Video, codec, body, &record)?;
        } else if in_force.is_none() {
            let newest = sets.len().saturating_sub(PARAMETER_SETS_WAITING_MAX);
            self.waiting = sets.into_iter().skip(newest).map(<[u8]>::to_vec).collect();
        }
        Ok(found.picture)
    }

    /// Whether a frame has start codes; the first frame that tells decides for those after it.
    fn has_start_codes(&mut self, data: &[u8]) -> bool {
        if annex_b::begins(data)
            && (self.framing == Framing::AnnexB || !annex_b::fits_lengths(data, self.nal_length_bytes))
        {
            self.framing = Framing::AnnexB;
            return true;
        }
        if self.framing == Framing::Unknown && !data.is_empty() && annex_b::fits_lengths(data, self.nal_length_bytes) {
            self.framing = Framing::Lengths;
        }
        false
    }

    /// Lengths have four bytes from here on: those of the record in force may be too short for frames that had start codes.
    fn lengthen(&mut self, codec: Codec, frame_body: &[u8]) -> Result<(), Skipped> {
        self.nal_length_bytes = 4;
        let Some(config) = self.unpacker.config_of(Track::Video, codec) else { return Ok(()) };
        let Some(record) = parameter_sets::with_long_lengths(codec, config.record()) else { return Ok(()) };
        self.configure(Track::Video, codec, frame_body, &record)
    }

    fn aac(&mut self, timestamp: u32, body: Bytes, coded: Coded) -> Result<MediaEvent, Skipped> {
        let data = body.get(coded.data_at..).unwrap_or_default();
        // No raw frame begins with this byte: it would be an end, and nothing before it.
        if data.first() != Some(&0xFF) {
            return self.unpacker.take(Track::Audio, coded.into(), timestamp, body);
        }
        let Some(header) = adts::Header::read(data) else {
            return self.unpacker.take(Track::Audio, coded.into(), timestamp, body);
        };
        let in_force = self.unpacker.config_of(Track::Audio, Codec::Aac);
        let rate_hz = in_force.and_then(|config| codec::aac::AacConfig::parse(config.record()).ok());
        if rate_hz.is_none_or(|config| config.core_rate_hz != header.rate_hz) {
            // Without channels in the header there is no record to be made of it.
            let none = || if in_force.is_none() { Skipped::NoConfig(Track::Audio, Codec::Aac) } else { Skipped::Adts };
            let record = header.config().ok_or_else(none)?;
            self.configure(Track::Audio, Codec::Aac, &body, &record)?;
        }
        let head = body.get(..coded.data_at).unwrap_or_default();
        let mut last = Err(Skipped::Adts);
        for (number, raw) in adts::frames(data).take(ADTS_FRAMES_MAX).enumerate() {
            if let Ok(event) = last {
                self.queue.push_back(event);
            }
            let stamp = timestamp.wrapping_add(header.offset_ms(number));
            last = self.unpacker.take(Track::Audio, coded.into(), stamp, [head, raw].concat().into());
            if number == 0 && last.is_ok() {
                // Before the first frame that comes out of it; of what none comes out, nothing is repaired.
                self.queue.push_back(MediaEvent::Repaired(Track::Audio, Repair::Adts));
            }
        }
        last
    }

    /// What was skipped, and should be known.
    fn note(&mut self, kind: TagKind, skipped: &Skipped) {
        let track = if kind == TagKind::Video { Track::Video } else { Track::Audio };
        let what = match *skipped {
            Skipped::UnsupportedVideo(number) | Skipped::UnsupportedAudio(number) => Unwanted::Number(number),
            Skipped::UnsupportedFourCc(_, four_cc) => Unwanted::FourCc(four_cc),
            Skipped::ExtraTrack(id) => Unwanted::Extra(id),
            Skipped::NoConfig(track, codec) => {
                if let Some(said) = self.unconfigured.get_mut(track.index())
                    && !std::mem::replace(said, true)
                {
                    self.queue.push_back(MediaEvent::Unconfigured(track, codec));
                }
                return;
            }
            // One that is cut short is a fault of the moment.
            Skipped::Adts | Skipped::AnnexB => match self.useless.get_mut(track.index()) {
                Some(useless) => {
                    *useless = useless.saturating_add(1);
                    if *useless < USELESS_TOLD {
                        return;
                    }
                    Unwanted::Framing
                }
                None => return,
            },
            _ => return,
        };
        let found = LeftOut { track, what };
        if self.left_out.len() < LEFT_OUT_MAX && !self.left_out.contains(&found) {
            self.left_out.push(found);
            self.queue.push_back(MediaEvent::LeftOut(found));
        }
    }
}

/// What stands before a record, in the form that the publisher uses for frames, and how long that is.
fn config_head(codec: Codec, frame_body: &[u8]) -> (Vec<u8>, usize) {
    let first = frame_body.first().copied().unwrap_or_default();
    let head = match codec {
        Codec::Aac if first >> 4 == packet::SOUND_ENHANCED => b"\x90mp4a".to_vec(),
        Codec::Aac => vec![first, 0],
        Codec::Hevc if first & 0x80 != 0 => b"\x90hvc1".to_vec(),
        Codec::Hevc => b"\x1c\0\0\0\0".to_vec(),
        _ if first & 0x80 != 0 => b"\x90avc1".to_vec(),
        _ => b"\x17\0\0\0\0".to_vec(),
    };
    let length = head.len();
    (head, length)
}
