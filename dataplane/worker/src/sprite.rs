//! Small pictures of keyframes in one JPEG: for the storyboard of a recording. Before it: [`crate::run`] has an order with the coded keyframes; after it:
//! the answer.
//!
//! Each keyframe is a stream of its own, so that one that cannot be decoded leaves its tile grey and harms no other.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::{BufMut as _, Bytes, BytesMut};
use millstream_proto::media::TagKind;

use crate::codec::jpeg::jpeg;
use crate::codec::scale::Scaler;
use crate::picture::{Colour, Picture, fit};
use crate::protocol::{PAYLOAD_BYTES_MAX, Report, TILES_MAX, Tile};
use crate::reporter::Reporter;
use crate::transcode::{Piece, Source};

/// Tiles are looked at for a moment: their text need not be read.
const QUALITY: u8 = 70;
/// Pixels of a tile's side.
const SIDE: std::ops::RangeInclusive<u32> = 16..=512;

/// What is to be made.
#[derive(Debug)]
pub(crate) struct Sprite {
    pub(crate) request: u64,
    pub(crate) columns: u32,
    pub(crate) within: (u32, u32),
    pub(crate) tiles: Vec<Tile>,
    pub(crate) payload: Bytes,
}

/// Why there is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum SpriteError {
    #[error("one is being made")]
    Busy,
    #[error("the order is not as it should be")]
    Order,
    #[error("none of the keyframes can be decoded")]
    NoPicture,
    #[error("the sprite cannot be encoded")]
    Encode,
}

/// A sprite that was made.
#[derive(Debug)]
struct Made {
    tile: (u32, u32),
    drawn: u32,
    jpeg: Vec<u8>,
}

/// Makes sprites, one at a time.
#[derive(Debug)]
pub(crate) struct Sprites {
    reporter: Reporter,
    is_making: Arc<AtomicBool>,
}

impl Sprites {
    pub(crate) fn new(reporter: Reporter) -> Self {
        Self { reporter, is_making: Arc::default() }
    }

    /// Has one made on a thread of its own.
    pub(crate) fn ask(&self, sprite: Sprite) {
        let request = sprite.request;
        if self.is_making.swap(true, Ordering::AcqRel) {
            return tell(&self.reporter, request, Err(SpriteError::Busy));
        }
        let (reporter, is_making) = (self.reporter.clone(), Arc::clone(&self.is_making));
        let make = move || {
            // A defect in what a stranger's file brings about costs this sprite, and not all that come after it.
            let made = catch_unwind(AssertUnwindSafe(|| make(&sprite))).unwrap_or(Err(SpriteError::NoPicture));
            // What is told may be answered with the next order.
            is_making.store(false, Ordering::Release);
            tell(&reporter, request, made);
        };
        if thread::Builder::new().name("sprite".to_owned()).spawn(make).is_err() {
            self.is_making.store(false, Ordering::Release);
            tell(&self.reporter, request, Err(SpriteError::Busy));
        }
    }
}

fn tell(reporter: &Reporter, request: u64, made: Result<Made, SpriteError>) {
    let (made, error) = match made {
        Ok(made) => (made, None),
        Err(error) => (Made { tile: (0, 0), drawn: 0, jpeg: Vec::new() }, Some(error.to_string())),
    };
    let (tile_width, tile_height) = made.tile;
    let report = Report::Sprite { request, tile_width, tile_height, drawn: made.drawn, error };
    reporter.tell_with(report, made.jpeg.into());
}

fn make(sprite: &Sprite) -> Result<Made, SpriteError> {
    let Sprite { columns, within, tiles, payload, .. } = sprite;
    let is_possible = (1..=TILES_MAX).contains(&tiles.len())
        && (1..=TILES_MAX as u32).contains(columns)
        && SIDE.contains(&within.0)
        && SIDE.contains(&within.1);
    if !is_possible {
        return Err(SpriteError::Order);
    }
    let mut rest = payload.clone();
    let mut shown: Option<(Picture, Scaler, (u32, u32), Colour)> = None;
    let mut drawn = 0;
    for (number, tile) in (0_u32..).zip(tiles) {
        let (record_bytes, frame_bytes) = (tile.record_bytes as usize, tile.frame_bytes as usize);
        if record_bytes.saturating_add(frame_bytes) > rest.len() {
            return Err(SpriteError::Order);
        }
        let (record, frame) = (rest.split_to(record_bytes), rest.split_to(frame_bytes));
        let Some((picture, aspect, colour)) = decode(&record, &frame) else { continue };
        if shown.is_none() {
            let source = (picture.width(), picture.height());
            let size =
                fit(source, aspect, *within).unwrap_or((source.0.min(within.0) & !1, source.1.min(within.1) & !1));
            let rows = (tiles.len() as u32).div_ceil(*columns);
            let whole = Picture::grey(size.0 * columns.min(&(tiles.len() as u32)), size.1 * rows);
            shown = Some((whole.ok_or(SpriteError::Order)?, Scaler::new(size.0, size.1), size, colour));
        }
        let Some((whole, scaler, size, _)) = &mut shown else { continue };
        let Some(small) = scaler.scale(&picture) else { continue };
        let place = (number % columns * size.0, number / columns * size.1);
        drawn += u32::from(whole.put(place, &small));
    }
    let (whole, _, tile, colour) = shown.ok_or(SpriteError::NoPicture)?;
    let jpeg = jpeg(&whole, colour, QUALITY).filter(|jpeg| jpeg.len() <= PAYLOAD_BYTES_MAX);
    Ok(Made { tile, drawn, jpeg: jpeg.ok_or(SpriteError::Encode)? })
}

/// The picture of a keyframe, the shape of its samples, and its colours.
fn decode(record: &[u8], frame: &[u8]) -> Option<(Picture, (u32, u32), Colour)> {
    let mut source = Source::new();
    for (kind, body) in [(0, record), (1, frame)] {
        // A tag of FLV: a keyframe of H.264, shown when it is decoded.
        let mut tag = BytesMut::with_capacity(body.len() + 5);
        tag.put_slice(&[0x17, kind, 0, 0, 0]);
        tag.put_slice(body);
        source.push(TagKind::Video, 0, tag.freeze()).ok()?;
    }
    source.finish();
    let mut said = None;
    while let Some(piece) = source.poll() {
        match piece {
            Piece::Params(params) => said = Some((params.aspect, params.colour)),
            Piece::Picture(shown) => {
                let (aspect, colour) = said?;
                return Some((Arc::unwrap_or_clone(shown.picture), aspect, colour));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encode::{Encoder, Settings};

    /// A keyframe of one grey: its record and its frame.
    fn keyframe(width: u32, height: u32, level: u8) -> (Vec<u8>, Vec<u8>) {
        let colour = Colour::assumed(width, height);
        let mut encoder = Encoder::new(Settings { width, height, kbit_s: 2_000, fps: 25.0, colour }).unwrap();
        let mut samples = Picture::grey(width, height).unwrap().into_samples();
        samples[..(width * height) as usize].fill(level);
        let picture = Picture::from_samples(width, height, samples).unwrap();
        let made = encoder.encode(&picture, 0, true).unwrap();
        (millstream_proto::codec::avc::record(&[&made.sps], &[&made.pps]).unwrap(), made.frame)
    }

    fn sprite(keyframes: &[(Vec<u8>, Vec<u8>)], columns: u32) -> Sprite {
        let tile = |(record, frame): &(Vec<u8>, Vec<u8>)| Tile {
            record_bytes: record.len() as u32,
            frame_bytes: frame.len() as u32,
        };
        let payload: Vec<u8> =
            keyframes.iter().flat_map(|(record, frame)| [&record[..], frame]).flatten().copied().collect();
        Sprite {
            request: 1,
            columns,
            within: (160, 90),
            tiles: keyframes.iter().map(tile).collect(),
            payload: payload.into(),
        }
    }

    /// Brightness in the middle of each tile of a JPEG.
    fn levels(made: &Made, count: usize, columns: usize) -> (usize, usize, Vec<u8>) {
        let options = zune_jpeg::zune_core::options::DecoderOptions::default();
        let mut decoder = zune_jpeg::JpegDecoder::new_with_options(std::io::Cursor::new(&made.jpeg), options);
        let pixels = decoder.decode().unwrap();
        let (width, height) = decoder.dimensions().unwrap();
        let (across, down) = (made.tile.0 as usize, made.tile.1 as usize);
        let middle =
            |n: usize| pixels[((n / columns * down + down / 2) * width + n % columns * across + across / 2) * 3 + 1];
        (width, height, (0..count).map(middle).collect())
    }

    #[test]
    fn tiles_are_in_rows_and_one_that_is_damaged_is_grey() {
        let mut keyframes: Vec<_> = [16, 235, 60, 200].map(|level| keyframe(640, 360, level)).into();
        keyframes[2].1.truncate(3);
        keyframes.push(keyframe(320, 240, 16));
        let made = make(&sprite(&keyframes, 3)).unwrap();
        assert_eq!((made.tile, made.drawn), ((160, 90), 4));
        let (width, height, levels) = levels(&made, 5, 3);
        assert_eq!((width, height), (480, 180));
        for (found, expected) in levels.iter().zip([0_u8, 255, 130, 214, 0]) {
            assert!(found.abs_diff(expected) <= 6, "{levels:?}");
        }
    }

    #[test]
    fn a_tile_keeps_the_shape_of_its_source() {
        let size = |width, height| make(&sprite(&[keyframe(width, height, 128)], 5)).unwrap().tile;
        assert_eq!(
            (size(640, 360), size(360, 640), size(64, 64), size(1_280, 544)),
            ((160, 90), (90, 160), (64, 64), (160, 68))
        );
    }

    #[test]
    fn orders_that_cannot_be_are_refused() {
        let good = || sprite(&[keyframe(320, 180, 50)], 5);
        assert_eq!(make(&Sprite { columns: 0, ..good() }).unwrap_err(), SpriteError::Order);
        assert_eq!(make(&Sprite { within: (0, 90), ..good() }).unwrap_err(), SpriteError::Order);
        assert_eq!(make(&Sprite { tiles: Vec::new(), ..good() }).unwrap_err(), SpriteError::Order);
        assert_eq!(make(&Sprite { payload: Bytes::new(), ..good() }).unwrap_err(), SpriteError::Order);
        let long = Tile { record_bytes: u32::MAX, frame_bytes: u32::MAX };
        assert_eq!(make(&Sprite { tiles: vec![long], ..good() }).unwrap_err(), SpriteError::Order);
        let none = sprite(&[(b"no record".to_vec(), b"no frame".to_vec())], 5);
        assert_eq!(make(&none).unwrap_err(), SpriteError::NoPicture);
    }
}
