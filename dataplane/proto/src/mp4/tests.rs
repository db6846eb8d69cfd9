//! Files made of made-up tracks, read back by `mp4-atom`: every time, size, flag and byte is held against what went in. How real programs read such
//! files is tested in `tests/mp4`.
mod fixture;

use mp4_atom::{Decode as _, Moov};

use self::fixture::{Store, Stored, found, header, made, random_audio, random_video, same, video_sample};
use super::build::{BuildError, Cut, FileBuilder, Settings};
use super::fragment::{FragmentError, Read, read};
use super::header::{HeaderError, TrackHeader};
use crate::cmaf::fragment;
use crate::limits::{MP4_FRAGMENT_HEADER_BYTES_MAX, MP4_HEADER_BYTES_MAX};
use crate::media::Codec;
use crate::testkit::{Random, survives_damage};

#[test]
fn random_tracks_come_back_as_they_went_in() {
    let mut random = Random::new(0x6D70_3401);
    for round in 0..400 {
        // Both count from one zero: audio begins up to 200 ms before or after the picture.
        let base = random.below(1 << 20) as i64 * 90;
        let video = random_video(&mut random, base);
        let near = (base / 90 * 48) - 9600 + random.below(19_200) as i64;
        let audio = random_audio(&mut random, near.max(0));
        let (file, bytes) = match round % 4 {
            0 => made(Settings::default(), &[&video], 1 + random.below(5)),
            1 => made(Settings::default(), &[&audio], 1 + random.below(5)),
            _ => made(Settings::default(), &[&video, &audio], 1 + random.below(5)),
        };
        let (moov, tracks) = found(&bytes);
        let sources: Vec<_> = match round % 4 {
            0 => vec![&video],
            1 => vec![&audio],
            _ => vec![&video, &audio],
        };
        let mut zeros = vec![];
        let mut ends = vec![];
        let mut starts = vec![];
        for (stored, found) in sources.iter().zip(&tracks) {
            let source = stored.fragments.concat();
            zeros.push(same(&source, found, moov.mvhd.timescale));
            let scale = i64::from(moov.mvhd.timescale / found.timescale);
            ends.push(scale * source.iter().map(|sample| sample.pts() + i64::from(sample.duration)).max().unwrap());
            starts.push(scale * source[0].pts());
            assert_eq!(
                zeros[0] + found.delay as i64 + found.length as i64,
                *ends.last().unwrap(),
                "nothing is cut off"
            );
        }
        // To the sample: 90 kHz is no multiple of 48 kHz.
        assert!(zeros.iter().all(|zero| (zero - zeros[0]).abs() <= i64::from(moov.mvhd.timescale / 48_000 / 2)));
        let earliest = *starts.iter().min().unwrap();
        let hidden = (starts[0] - earliest) * 1_000 <= 100 * i64::from(moov.mvhd.timescale);
        assert_eq!(zeros[0], if hidden { starts[0] } else { earliest }, "the file begins with the picture");
        let length = ends.iter().max().unwrap() - zeros[0];
        assert_eq!(moov.mvhd.duration, length as u64);
        assert_eq!(file.length_us(), length as u64 * 1_000_000 / u64::from(moov.mvhd.timescale));
    }
}

#[test]
fn tracks_alternate_every_half_second() {
    let mut random = Random::new(1);
    let frames = |random: &mut Random| {
        (0..300).map(|n| vec![video_sample(n * 3000, 3000, 0, n % 60 == 0, random)]).collect::<Vec<_>>()
    };
    let video = Stored { header: header(Codec::Avc), fragments: frames(&mut random) };
    let audio = (0..470).map(|n| vec![video_sample(n * 1024, 1024, 0, true, &mut random)]).collect();
    let audio = Stored { header: header(Codec::Aac), fragments: audio };
    let (_, bytes) = made(Settings::default(), &[&video, &audio], 10);
    let (_, tracks) = found(&bytes);
    let mut all = vec![];
    for (track, found) in tracks.iter().enumerate() {
        for (sample, offset) in found.samples.iter().zip(&found.offsets) {
            all.push((*offset, track, sample.dts * 1_000 / i64::from(found.timescale)));
        }
    }
    all.sort_unstable();
    let mut newest_ms = [0, 0];
    let mut switches = 0;
    for pair in all.windows(2) {
        newest_ms[pair[0].1] = pair[0].2;
        switches += usize::from(pair[0].1 != pair[1].1);
        assert!((newest_ms[0] - newest_ms[1]).abs() <= 550, "{newest_ms:?}");
    }
    assert!((38..=40).contains(&switches), "{switches} in 10 s");
}

#[test]
fn a_hole_in_one_track_moves_nothing() {
    let mut random = Random::new(2);
    let mut video: Vec<_> = (0..100).map(|n| video_sample(n * 3000, 3000, 3000, n % 25 == 0, &mut random)).collect();
    video.drain(30..50);
    let audio: Vec<_> = (0..156).map(|n| video_sample(n * 1024, 1024, 0, true, &mut random)).collect();
    let video = Stored { header: header(Codec::Avc), fragments: vec![video[..30].to_vec(), video[30..].to_vec()] };
    let audio = Stored { header: header(Codec::Aac), fragments: vec![audio] };
    let (_, bytes) = made(Settings::default(), &[&video, &audio], 1);
    let (_, tracks) = found(&bytes);
    assert_eq!(tracks[0].samples[29].duration, 3000 * 21);
    assert_eq!(tracks[0].samples[30].dts, 3000 * 50);
    assert!(tracks[1].samples.iter().all(|sample| sample.duration == 1024));
}

#[test]
fn a_file_begins_with_a_keyframe_and_without_its_leading_pictures() {
    let mut random = Random::new(3);
    let mut sample = |n: i64, composition, sync| video_sample(n * 3000, 3000, composition, sync, &mut random);
    let fragments = vec![
        vec![sample(0, 3000, false), sample(1, 3000, false)],
        // Shown as 2, 3, 4, 5: the two behind the keyframe need what is before it.
        vec![sample(2, 9000, true), sample(3, 0, false), sample(4, 0, false), sample(5, 6000, false)],
        vec![sample(6, 9000, true), sample(7, 0, false), sample(8, 0, false)],
    ];
    let video = Stored { header: header(Codec::Hevc), fragments };
    let (_, bytes) = made(Settings::default(), &[&video], 2);
    let (moov, tracks) = found(&bytes);
    let all = video.fragments.concat();
    let expected = [&all[2..3], &all[5..]].concat();
    assert_eq!(same(&expected, &tracks[0], moov.mvhd.timescale), 5 * 3000, "the keyframe is shown first");
}

#[test]
fn case_03_negative_composition_offsets_are_exact() {
    let mut random = Random::new(4);
    let samples =
        (0..10).map(|n| video_sample(90_000 + n * 3600, 3600, if n == 0 { -3060 } else { -3000 }, n == 0, &mut random));
    let video = Stored { header: header(Codec::Avc), fragments: vec![samples.collect()] };
    let (_, bytes) = made(Settings::default(), &[&video], 1);
    let (moov, tracks) = found(&bytes);
    assert_eq!(same(&video.fragments[0], &tracks[0], moov.mvhd.timescale), 90_000 - 3060);
    assert!(tracks[0].samples.iter().all(|sample| sample.composition >= 0), "players of old read no signs");
}

#[test]
fn a_cut_presents_exactly_what_was_asked_for() {
    let mut random = Random::new(5);
    // Keyframes every second; each group of three is decoded as 1, 3, 2.
    let frames: Vec<_> = (0..300)
        .map(|n: i64| video_sample(n * 3000, 3000, [3000, 6000, 0][n as usize % 3], n % 30 == 0, &mut random))
        .collect();
    let sounds: Vec<_> = (0..468).map(|n| video_sample(n * 1024, 1024, 0, true, &mut random)).collect();
    let video = Stored { header: header(Codec::Avc), fragments: frames.chunks(10).map(<[_]>::to_vec).collect() };
    let audio = Stored { header: header(Codec::Aac), fragments: sounds.chunks(16).map(<[_]>::to_vec).collect() };
    for (from_ms, to_ms) in [(2_500, 4_700), (3_033, 3_034), (0, 40), (1, 10_000), (4_000, 5_000), (9_999, 99_999)] {
        let cut = Cut { from_us: Some(from_ms * 1_000), to_us: Some(to_ms * 1_000) };
        let settings = Settings { cut, zero_unix_ms: Some(1_795_531_265_250) };
        let (file, bytes) = made(settings, &[&video, &audio], 7);
        let (moov, tracks) = found(&bytes);
        // The first picture of the recording is shown at 33 ms.
        let (start, end) = (from_ms.clamp(33, 10_000), to_ms.min(10_033));
        assert!(
            (file.length_us() as i64 - (end - start) * 1_000).abs() < 1_100,
            "{from_ms} {to_ms}: {}",
            file.length_us()
        );
        let source = frames.clone();
        let found_video = &tracks[0];
        let key = source.iter().rposition(|s| s.sync && s.pts() <= (from_ms * 90).max(3000)).unwrap();
        let last = source.iter().rposition(|s| s.pts() < to_ms * 90).unwrap_or(key);
        let zero = same(&source[key..=last], found_video, moov.mvhd.timescale);
        assert_eq!(zero, (from_ms * 720).max(3000 * 8), "{from_ms}: it begins at the very moment");
        assert_eq!(u64::from(found_video.timescale), 90_000);
        if let Some(found_audio) = tracks.get(1) {
            let first = sounds.iter().position(|s| s.data == found_audio.samples[0].data).unwrap();
            let zero_audio = same(&sounds[first..][..found_audio.samples.len()], found_audio, moov.mvhd.timescale);
            assert!((zero_audio - zero).abs() <= 15 / 2, "{zero_audio} {zero}");
            assert!(sounds[first].dts <= from_ms.max(100) * 48 - 4800 + 1024, "a decoder is fed some before");
            assert!(sounds[first].dts + 4800 + 2 * 1024 > from_ms * 48, "and not more");
        }
        // The second of the first moment.
        let seconds = (1_795_531_265_250 + from_ms.max(33)) / 1_000 + 2_082_844_800;
        assert_eq!(moov.mvhd.creation_time, seconds as u64);
    }
    let mut builder =
        FileBuilder::new(Settings { cut: Cut { from_us: Some(11_000_000), to_us: None }, ..Settings::default() });
    Store::default().push(&mut builder, &video, 9).unwrap();
    assert_eq!(builder.finish().unwrap_err(), BuildError::Empty);
}

#[test]
fn sample_entries_are_taken_over() {
    let mut random = Random::new(6);
    for codec in [Codec::Avc, Codec::Hevc, Codec::Av1, Codec::Aac, Codec::Opus] {
        let header = header(codec);
        let mut rest = &header[..];
        mp4_atom::Ftyp::decode(&mut rest).unwrap();
        let source = Moov::decode(&mut rest).unwrap();
        let stored = Stored { header, fragments: vec![vec![video_sample(0, 960, 0, true, &mut random)]] };
        let (_, bytes) = made(Settings::default(), &[&stored], 1);
        let (moov, _) = found(&bytes);
        assert_eq!(moov.trak[0].mdia.minf.stbl.stsd, source.trak[0].mdia.minf.stbl.stsd);
        assert_eq!(
            (&moov.trak[0].tkhd.width, &moov.trak[0].tkhd.height),
            (&source.trak[0].tkhd.width, &source.trak[0].tkhd.height)
        );
        assert!(moov.mvex.is_none());
        assert_eq!(moov.mvhd.creation_time, 0);
    }
}

#[test]
fn files_of_more_than_4_gib_say_so() {
    let header = TrackHeader::read(&header(Codec::Avc)).unwrap();
    let mut builder = FileBuilder::new(Settings::default());
    let track = builder.add_track(&header).unwrap();
    let sample = super::fragment::Sample { duration: 90_000, size: 200_000_000, composition: 0, sync: true };
    let run = super::fragment::Run { at: 100, samples: 1 };
    for n in 0..30_u64 {
        let fragment = super::fragment::Fragment { decode_time: n * 90_000, samples: vec![sample], runs: vec![run] };
        builder.push(track, &fragment, n as u32, 0).unwrap();
    }
    let file = builder.finish().unwrap();
    assert_eq!(file.payload_bytes(), 6_000_000_000);
    let (head, mdat) = file.head().split_at(file.head().len() - 16);
    assert_eq!(mdat, [&[0, 0, 0, 1][..], b"mdat", &6_000_000_016_u64.to_be_bytes()].concat());
    let mut rest = head;
    mp4_atom::Ftyp::decode(&mut rest).unwrap();
    let moov = Moov::decode(&mut rest).unwrap();
    let co64 = moov.trak[0].mdia.minf.stbl.co64.clone().unwrap();
    let start = file.head().len() as u64;
    assert_eq!(co64.entries, (0..30).map(|n| start + n * 200_000_000).collect::<Vec<_>>());
}

#[test]
fn what_a_file_cannot_say_is_refused_and_the_rest_is_kept() {
    let header = TrackHeader::read(&header(Codec::Avc)).unwrap();
    let mut builder = FileBuilder::new(Settings::default());
    let track = builder.add_track(&header).unwrap();
    let sample = super::fragment::Sample { duration: 3000, size: 1, composition: 0, sync: true };
    let at = |decode_time| super::fragment::Fragment {
        decode_time,
        samples: vec![sample],
        runs: vec![super::fragment::Run { at: 0, samples: 1 }],
    };
    builder.push(track, &at(90_000), 0, 0).unwrap();
    let back = Err(BuildError::Backwards { begins: 90_000, newest: 90_000 });
    assert_eq!(builder.push(track, &at(90_000), 0, 0), back);
    assert_eq!(builder.push(track, &at(1 << 40), 0, 0), Err(BuildError::Far(1 << 40)));
    assert_eq!(builder.push(track, &at(u64::MAX), 0, 0), Err(BuildError::Far(u64::MAX)));
    builder.push(track, &at(91_000), 0, 1).unwrap();
    let file = builder.finish().unwrap();
    assert_eq!((file.payload_bytes(), file.length_us()), (2, 4_000 * 1_000 / 90));
    assert_eq!(FileBuilder::new(Settings::default()).finish().unwrap_err(), BuildError::Empty);
}

#[test]
fn fragments_are_read_with_no_more_than_their_headers() {
    let header = TrackHeader::read(&header(Codec::Avc)).unwrap();
    let sample = fragment::Sample { duration: 3000, composition: 0, sync: true, data: &[7; 1000] };
    let bytes = fragment::fragment(1, 5, &[sample; 3]).unwrap();
    let moof_bytes = bytes.len() - 3008;
    let mut needed = vec![];
    let mut have = 0;
    let fragment = loop {
        match read(&bytes[..have], &header).unwrap() {
            Read::More(more) => {
                assert!(more > have);
                needed.push(more);
                have = more;
            }
            Read::Fragment { fragment, bytes: whole } => {
                assert_eq!(whole, bytes.len() as u64);
                break fragment;
            }
        }
    };
    assert_eq!(needed, [8, moof_bytes, moof_bytes + 8]);
    assert_eq!((fragment.decode_time, fragment.samples.len()), (5, 3));
    assert_eq!(fragment.runs, [super::fragment::Run { at: moof_bytes as u64 + 8, samples: 3 }]);
    // Boxes that other packagers write before it.
    let styp = b"\0\0\0\x10stypmsdh\0\0\0\0";
    let Read::Fragment { fragment, bytes: whole } = read(&[styp, &bytes[..]].concat(), &header).unwrap() else {
        panic!()
    };
    assert_eq!((fragment.runs[0].at, whole), (moof_bytes as u64 + 8 + 16, bytes.len() as u64 + 16));
    let huge = [&(MP4_FRAGMENT_HEADER_BYTES_MAX as u32 + 1).to_be_bytes()[..], b"sidx"].concat();
    assert_eq!(read(&huge, &header), Err(FragmentError::Long(MP4_FRAGMENT_HEADER_BYTES_MAX as u64 + 1)));
    assert_eq!(read(b"\0\0\0\x08mdat", &header), Err(FragmentError::NoHeader(0)));
    let mut short = bytes.clone();
    short[moof_bytes + 2..moof_bytes + 4].copy_from_slice(&3007_u16.to_be_bytes());
    assert_eq!(read(&short, &header), Err(FragmentError::Outside(0)));
}

#[test]
fn headers_that_cannot_be_taken_over_are_refused() {
    let good = header(Codec::Avc);
    let with = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).unwrap();
        TrackHeader::read(&[&good[..at], to, &good[at + from.len()..]].concat())
    };
    assert_eq!(TrackHeader::read(&good).unwrap().timescale(), 90_000);
    assert_eq!(with(b"avc1", b"encv"), Err(HeaderError::Encrypted));
    assert_eq!(with(b"vide", b"text"), Err(HeaderError::Kind("text".into())));
    assert_eq!(with(b"moov", b"free"), Err(HeaderError::Box("moov")));
    assert_eq!(TrackHeader::read(&vec![0; MP4_HEADER_BYTES_MAX + 1]), Err(HeaderError::Long(MP4_HEADER_BYTES_MAX + 1)));
}

#[test]
fn damaged_tracks_do_not_panic() {
    let header = header(Codec::Avc);
    let good = TrackHeader::read(&header).unwrap();
    survives_damage(&[&header], |bytes| drop(TrackHeader::read(bytes)));
    let data = [1, 2, 3];
    let sample = |duration, composition, sync| fragment::Sample { duration, composition, sync, data: &data };
    let one = fragment::fragment(1, 0, &[sample(3000, 0, true), sample(3000, 0, false)]).unwrap();
    let two =
        fragment::fragment(2, 6000, &[sample(3000, -9, false), sample(3001, 8, true), sample(1, 0, false)]).unwrap();
    survives_damage(&[&one, &two], |bytes| {
        let mut builder = FileBuilder::new(Settings::default());
        let track = builder.add_track(&good).unwrap();
        let Ok(Read::Fragment { fragment, .. }) = read(bytes, &good) else { return };
        if builder.push(track, &fragment, 0, 0).is_ok()
            && let Ok(file) = builder.finish()
        {
            assert_eq!(file.copies().map(|copy| copy.bytes).sum::<u64>(), file.payload_bytes());
        }
    });
}

/// An hour of 1080p30 with B-frames and stamps of milliseconds, and of AAC, in parts of a third of a second.
#[test]
fn an_hour_takes_a_few_megabytes() {
    let video = TrackHeader::read(&header(Codec::Avc)).unwrap();
    let audio = TrackHeader::read(&header(Codec::Aac)).unwrap();
    let mut random = Random::new(7);
    let mut builder = FileBuilder::new(Settings::default());
    let (video, audio) = (builder.add_track(&video).unwrap(), builder.add_track(&audio).unwrap());
    let ms = |n: u64| n * 1_000 / 30;
    for part in 0..3600 * 3 {
        let samples: Vec<_> = (part * 10..part * 10 + 10)
            .map(|n| super::fragment::Sample {
                duration: (ms(n + 1) - ms(n)) as u32 * 90,
                size: 10_000 + random.below(30_000) as u32,
                composition: [6030, 2970, 0][n as usize % 3] + random.below(2) as i32 * 30,
                sync: n % 60 == 0,
            })
            .collect();
        let runs = vec![super::fragment::Run { at: 300, samples: 10 }];
        let decode_time = ms(part * 10) * 90;
        let fragment = super::fragment::Fragment { decode_time, samples, runs };
        builder.push(video, &fragment, (part / 180) as u32 * 2, part % 180 * 400_000).unwrap();
        let sample = |_| super::fragment::Sample {
            duration: 1024,
            size: 300 + random.below(200) as u32,
            composition: 0,
            sync: true,
        };
        let samples: Vec<_> = (0..16).map(sample).collect();
        let runs = vec![super::fragment::Run { at: 200, samples: 16 }];
        let fragment = super::fragment::Fragment { decode_time: part * 16 * 1024, samples, runs };
        builder.push(audio, &fragment, (part / 180) as u32 * 2 + 1, part % 180 * 10_000).unwrap();
    }
    let gathered_bytes = builder.memory_bytes();
    let file = builder.finish().unwrap();
    println!(
        "an hour of video and audio: {gathered_bytes} bytes gathered, a head of {} bytes, {} copies, {} bytes held at the end",
        file.head().len(),
        file.copies().count(),
        file.memory_bytes()
    );
    // While it is finished both are there; growing a table takes at most its size once more.
    assert!(2 * gathered_bytes + file.memory_bytes() < 16 << 20, "{gathered_bytes} + {}", file.memory_bytes());
    let mut rest = file.head();
    mp4_atom::Ftyp::decode(&mut rest).unwrap();
    let moov = Moov::decode(&mut rest).unwrap();
    // 16 frames of 1024 a third of a second are a little more than an hour.
    assert_eq!(moov.mvhd.duration, 3600 * 3 * 16 * 1024 * 15 - u64::from(moov.mvhd.timescale) * 67 / 1_000);
}
