//! What a child is to do, and the arguments that this makes. Before it: a worker's wish, which a starter reads; after it: the command line of `ffmpeg`.
//!
//! A starter gets numbers and words, and no arguments: a worker that was taken over cannot have anything else started.
use serde::{Deserialize, Serialize};

use crate::picture::Colour;
use crate::protocol::{EncoderName, SOURCE_HEIGHT_MAX, SOURCE_WIDTH_MAX};

/// Ticks of a second in the stamps of pictures that are to be encoded: two a millisecond, of which the odd one says "a keyframe".
pub(super) const TICKS: u32 = 2_000;
const SIDE_MIN: u32 = 16;
/// Pixels of a picture, with what a codec rounds a side up to: frames may have headers of their own, which say more than the record did.
const PIXELS_MAX: u32 = (SOURCE_WIDTH_MAX + ROUNDED_UP) * (SOURCE_HEIGHT_MAX + ROUNDED_UP);
const ROUNDED_UP: u32 = 64;
const KBIT_S: std::ops::RangeInclusive<u32> = 16..=100_000;
/// Numbers of ISO/IEC 23091-2 that are passed on; what is above is said to be unknown.
const COLOUR_MAX: u8 = 22;
const UNSPECIFIED: u8 = 2;

/// A picture for each frame, made of its fields where it says that it has them, with its own stamp.
const DEINTERLACE: &str = "bwdif=mode=send_frame:deint=interlaced,settb=1/1000,";

/// What makes an encoder give each picture at once, with keyframes where they are asked for and nowhere else.
const fn options(encoder: EncoderName) -> &'static str {
    match encoder {
        EncoderName::Libx264 => {
            "-preset veryfast -tune zerolatency -profile:v high -forced-idr 1 -x264-params scenecut=0:keyint=infinite"
        }
        EncoderName::Libopenh264 => "-allow_skip_frames 0 -g 1000000",
        EncoderName::H264Nvenc => {
            "-preset p4 -tune ull -rc cbr -delay 0 -zerolatency 1 -forced-idr 1 -no-scenecut 1 -g 1000000"
        }
        EncoderName::Libx265 => {
            "-preset superfast -tune zerolatency -forced-idr 1 -x265-params scenecut=0:keyint=-1:open-gop=0:aud=1:repeat-headers=1:pools=1:log-level=warning"
        }
    }
}

/// What a child is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum What {
    Encode(Encode),
    Decode(Decode),
}

/// Pictures of this size become H.264, or H.265.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Encode {
    pub(super) encoder: EncoderName,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) kbit_s: u32,
    pub(super) colour: Colours,
}

/// Frames become pictures of this size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Decode {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Pictures of two fields may come, which become one of one moment. It takes the next picture to make one.
    pub(super) interlaced: bool,
}

/// [`Colour`], as it is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Colours {
    primaries: u8,
    transfer: u8,
    matrix: u8,
    full_range: bool,
}

impl From<Colour> for Colours {
    fn from(Colour { primaries, transfer, matrix, full_range }: Colour) -> Self {
        let known = |number: u8| if number > COLOUR_MAX { UNSPECIFIED } else { number };
        Self { primaries: known(primaries), transfer: known(transfer), matrix: known(matrix), full_range }
    }
}

impl What {
    /// The arguments of `ffmpeg`; `None` where a number is out of range, which no worker says.
    pub(super) fn arguments(&self) -> Option<Vec<String>> {
        // What it reads is Matroska on standard input. Nothing is looked for in it: the first packet goes through at once.
        let mut all = words(&format!(
            "-hide_banner -nostdin -nostats -loglevel level+info -threads 1 -copyts -protocol_whitelist pipe -probesize 32 -analyzeduration 0 \
             -max_pixels {PIXELS_MAX} -f matroska -i pipe:0 -map 0:v:0 -threads 1 -fps_mode passthrough",
        ));
        match self {
            Self::Encode(Encode { encoder, width, height, kbit_s, colour }) => {
                let fits = is_size(*width, *height) && KBIT_S.contains(kbit_s);
                if !fits || [colour.primaries, colour.transfer, colour.matrix].iter().any(|number| *number > COLOUR_MAX)
                {
                    return None;
                }
                let (primaries, transfer, matrix) = (colour.primaries, colour.transfer, colour.matrix);
                let range = if colour.full_range { 2 } else { 1 };
                all.extend(words(&format!(
                    "-vf setparams=range={range}:color_primaries={primaries}:color_trc={transfer}:colorspace={matrix} -color_range {range} \
                     -color_primaries {primaries} -color_trc {transfer} -colorspace {matrix} -pix_fmt yuv420p -enc_time_base 1:{TICKS} \
                     -force_key_frames expr:eq(mod(round(t*{TICKS}),2),1) -c:v {encoder} -bf 0 -b:v {kbit_s}k -maxrate {kbit_s}k -bufsize {kbit_s}k"
                )));
                all.extend(words(options(*encoder)));
                all.extend(words(match encoder {
                    EncoderName::Libx265 => "-flush_packets 1 -f hevc pipe:1",
                    _ => "-flush_packets 1 -flvflags no_duration_filesize -f flv pipe:1",
                }));
            }
            Self::Decode(Decode { width, height, interlaced }) => {
                if !is_size(*width, *height) {
                    return None;
                }
                // Behind it half a tick is a tick.
                let deinterlace = if *interlaced { DEINTERLACE } else { "" };
                // `showinfo` says the stamp of each picture, in order, before the picture is written.
                all.extend(words(&format!(
                    "-vf {deinterlace}scale={width}:{height},format=yuv420p,showinfo=checksum=0 -flush_packets 1 -f rawvideo pipe:1"
                )));
            }
        }
        Some(all)
    }
}

fn is_size(width: u32, height: u32) -> bool {
    let fits = |side: u32| (SIDE_MIN..=SOURCE_WIDTH_MAX).contains(&side) && side.is_multiple_of(2);
    fits(width)
        && fits(height)
        && u64::from(width) * u64::from(height) <= u64::from(SOURCE_WIDTH_MAX) * u64::from(SOURCE_HEIGHT_MAX)
}

/// No argument has a space in it.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_out_of_range_make_no_arguments() {
        let colour: Colours = Colour { primaries: 1, transfer: 200, matrix: 1, full_range: true }.into();
        assert_eq!((colour.transfer, colour.primaries), (UNSPECIFIED, 1));
        let encode = Encode { encoder: EncoderName::Libx264, width: 640, height: 360, kbit_s: 400, colour };
        let all = What::Encode(encode).arguments().expect("arguments");
        assert!(all.iter().all(|argument| !argument.contains(char::is_whitespace)), "{all:?}");
        assert!(all.windows(2).any(|pair| pair == ["-c:v", "libx264"]), "{all:?}");
        let wrong = [
            Encode { width: 641, ..encode },
            Encode { height: 0, ..encode },
            Encode { width: 4_096, height: 4_096, ..encode },
            Encode { kbit_s: 0, ..encode },
            Encode { colour: Colours { matrix: 23, ..colour }, ..encode },
        ];
        assert!(wrong.iter().all(|wrong| What::Encode(*wrong).arguments().is_none()));
        let decode = Decode { width: 4_096, height: 2_304, interlaced: true };
        assert!(What::Decode(Decode { width: 4_098, ..decode }).arguments().is_none());
        assert!(What::Decode(decode).arguments().is_some());
    }
}
