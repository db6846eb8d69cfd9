//! An encoder that is a child: a picture in, and at the same time or a little later its NAL units out. Before it: scaled pictures; after it:
//! [`crate::transcode`] makes tags of them.
//!
//! Pictures come out in the order in which they went in. Which is which is looked at: a child that leaves one out, or puts a keyframe elsewhere than it was
//! told, is of no use. H.265 comes without times, and with the next picture: where the keyframes are tells one that was left out.
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use millstream_proto::codec::avc::AvcConfig;
use millstream_proto::flv::{Item, Reader};
use millstream_proto::media::TagKind;

use super::child::{Output, Running};
use super::error::FfmpegError;
use super::hevc::Pictures;
use super::matroska::{Head, before_frame};
use super::spec::TICKS;
use crate::codec::encode::Encoded;
use crate::h264::nal;
use crate::picture::Picture;
use crate::protocol::EncoderName;

const READ_BYTES: usize = 64 << 10;
/// How long the rest is waited for, of an encoder that another one takes the place of.
const REST_WAIT: Duration = Duration::from_millis(500);
/// How far the time of a picture may be from what was said, milliseconds: it is rounded on its way.
const ROUNDED_MS: i64 = 1;
/// Bytes of the length before each NAL unit of what it gives.
const LENGTH_BYTES: usize = 4;

/// A picture as a child gives it.
struct Made {
    /// `None`: it comes without a time, in its turn.
    shown_ms: Option<i64>,
    encoded: Encoded,
}

/// A picture that a child has.
#[derive(Clone, Copy, Debug)]
struct Given {
    shown_ms: i64,
    idr: bool,
}

/// An encoder of one size.
pub(crate) struct LateEncoder {
    child: Running,
    output: Output<Made>,
    given: VecDeque<Given>,
    first_ms: Option<i64>,
    size: (u32, u32),
    /// Its input was closed: what it writes last is whole.
    is_closed: Arc<AtomicBool>,
}

impl LateEncoder {
    pub(super) fn start(
        mut child: Running,
        encoder: EncoderName,
        size: (u32, u32),
        fps: f32,
    ) -> Result<Self, FfmpegError> {
        let stdout = child.output().map_err(|error| FfmpegError::Start(error.to_string()))?;
        let is_closed = Arc::new(AtomicBool::new(false));
        let knows = Arc::clone(&is_closed);
        let output = Output::start(move |give| match encoder {
            EncoderName::Libx265 => read_hevc(stdout, give, &knows),
            _ => read_flv(stdout, give),
        })?;
        let head = Head { codec: "V_UNCOMPRESSED", record: &[], size, ticks: TICKS, fps: Some(fps) };
        child.write(&head.bytes())?;
        Ok(Self { child, output, given: VecDeque::new(), first_ms: None, size, is_closed })
    }

    /// Gives it a picture, and gives those that are encoded: this one, or earlier ones, in order.
    pub(crate) fn encode(&mut self, picture: &Picture, pts_ms: i64, idr: bool) -> Result<Vec<Encoded>, FfmpegError> {
        if (picture.width(), picture.height()) != self.size {
            return Err(FfmpegError::Garbage("a picture of another size"));
        }
        // The first one is a keyframe, and even: what ffmpeg makes of a first stamp has no say.
        let idr = idr || self.first_ms.is_none();
        let first_ms = *self.first_ms.get_or_insert(pts_ms);
        let shown_ms = pts_ms.saturating_sub(first_ms);
        if self.given.back().is_some_and(|last| shown_ms <= last.shown_ms) || shown_ms < 0 {
            return Err(FfmpegError::Garbage("pictures that do not follow each other"));
        }
        let odd = u64::from(idr && shown_ms > 0);
        let stamp = shown_ms.unsigned_abs() * 2 + odd;
        let samples = picture.samples();
        self.output.gets(self.given.len());
        self.child.write(&before_frame(stamp, true, samples.len()))?;
        self.child.write(samples)?;
        self.given.push_back(Given { shown_ms, idr });
        let mut left = self.given.len();
        let one_less = |_: &Made| {
            left = left.checked_sub(1)?;
            Some(left)
        };
        let made = self.output.take(&self.child, self.given.len(), one_less)?;
        made.into_iter().map(|made| self.check(made)).collect()
    }

    /// Nothing more comes: the rest.
    pub(crate) fn finish(mut self) -> Vec<Encoded> {
        if self.given.is_empty() {
            return Vec::new();
        }
        self.is_closed.store(true, Ordering::Release);
        self.child.close();
        let rest = self.output.rest(REST_WAIT);
        rest.into_iter().map_while(|made| self.check(made).ok()).collect()
    }

    fn check(&mut self, Made { shown_ms, encoded }: Made) -> Result<Encoded, FfmpegError> {
        let given = self.given.pop_front().ok_or(FfmpegError::Garbage("more than it was given"))?;
        if shown_ms.is_some_and(|shown_ms| given.shown_ms.abs_diff(shown_ms) > ROUNDED_MS.unsigned_abs()) {
            return Err(FfmpegError::Garbage("another picture"));
        }
        if given.idr != encoded.idr {
            return Err(FfmpegError::Garbage("a keyframe elsewhere"));
        }
        let has_sets = !encoded.record.is_empty() || !encoded.sps.is_empty() && !encoded.pps.is_empty();
        if encoded.frame.is_empty() || encoded.idr && !has_sets {
            return Err(FfmpegError::Garbage("a picture without data"));
        }
        Ok(encoded)
    }
}

/// Reads the H.265 that a child writes.
fn read_hevc(mut stdout: File, give: &SyncSender<Result<Made, FfmpegError>>, is_closed: &AtomicBool) {
    let (mut pictures, mut made, mut buffer) = (Pictures::default(), Vec::new(), vec![0; READ_BYTES]);
    loop {
        let length = stdout.read(&mut buffer).unwrap_or_default();
        let pushed = match length {
            0 => {
                // Of a child that died in between, the last picture is a piece of one.
                made.extend(pictures.finish().filter(|_| is_closed.load(Ordering::Acquire)));
                Ok(())
            }
            length => pictures.push(buffer.get(..length).unwrap_or_default(), &mut made),
        };
        let mut all = made.drain(..).map(|encoded| Ok(Made { shown_ms: None, encoded }));
        if all.any(|one| give.send(one).is_err()) || length == 0 {
            return;
        }
        if let Err(why) = pushed {
            let _ = give.send(Err(FfmpegError::Garbage(why)));
            return;
        }
    }
}

/// Reads the FLV that a child writes.
fn read_flv(mut stdout: File, give: &SyncSender<Result<Made, FfmpegError>>) {
    let (mut reader, mut buffer) = (Reader::new(), vec![0; READ_BYTES]);
    let mut sets = (Vec::new(), Vec::new());
    loop {
        let Ok(length @ 1..) = stdout.read(&mut buffer) else { return };
        let garbage = || Err(FfmpegError::Garbage("no FLV"));
        if reader.push(buffer.get(..length).unwrap_or_default()).is_err() {
            let _ = give.send(garbage());
            return;
        }
        loop {
            let given = match reader.poll() {
                Ok(None) => break,
                Ok(Some(Item::Tag { kind: TagKind::Video, timestamp_ms, body })) => {
                    match picture(timestamp_ms, &body, &mut sets) {
                        Ok(Some(made)) => give.send(Ok(made)),
                        Ok(None) => Ok(()),
                        Err(why) => give.send(Err(FfmpegError::Garbage(why))),
                    }
                }
                Ok(Some(_)) => Ok(()),
                Err(_) => give.send(garbage()),
            };
            if given.is_err() {
                return;
            }
        }
    }
}

type Sets = (Vec<u8>, Vec<u8>);

/// A picture in a tag of FLV; parameter sets go into `sets`. `None`: there is none in it.
fn picture(timestamp_ms: u32, body: &[u8], sets: &mut Sets) -> Result<Option<Made>, &'static str> {
    let (&[first, kind, high, middle, low], data) = body.split_first_chunk().ok_or("a tag that is too short")?;
    match (first, kind) {
        (0x17, 0) => {
            let config = AvcConfig::parse(data).map_err(|_| "a record that cannot be read")?;
            let (Some(sps), Some(pps)) = (config.sps.first(), config.pps.first()) else {
                return Err("a record without parameter sets");
            };
            *sets = (sps.to_vec(), pps.to_vec());
            Ok(None)
        }
        (0x17 | 0x27, 1) => {
            let cts_ms = i32::from_be_bytes([high, middle, low, 0]) >> 8;
            let mut encoded = Encoded { idr: first == 0x17, ..Encoded::default() };
            for unit in nal::units(data, LENGTH_BYTES) {
                match nal::kind(unit) {
                    nal::SLICE | nal::SLICE_IDR => nal::put_length(&mut encoded.frame, unit),
                    nal::SPS => sets.0 = unit.to_vec(),
                    nal::PPS => sets.1 = unit.to_vec(),
                    _ => {}
                }
            }
            if encoded.idr {
                (encoded.sps, encoded.pps) = sets.clone();
            }
            Ok(Some(Made { shown_ms: Some(i64::from(timestamp_ms) + i64::from(cts_ms)), encoded }))
        }
        (_, 2) => Ok(None),
        _ => Err("a tag of another codec"),
    }
}
