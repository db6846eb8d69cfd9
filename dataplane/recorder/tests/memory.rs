//! What an MP4 file of an hour costs: memory of the process while it is made and read, from objects in a real directory.
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use millstream_proto::media::Track;
use millstream_recorder::movie::copy::build;
use millstream_recorder::movie::source::at_once;
use millstream_recorder::movie::spooled::{SpoolFiles, Spooled};
use millstream_recorder::movie::{Kept, Place, Recipe};
use millstream_recorder::name::object_file;
use millstream_test_support::mp4::made::{self, Sample};
use millstream_test_support::random::Random;

const HOUR_S: u64 = 3_600;
/// Of the process, above what it had before.
const MOST_BYTES: u64 = 32 << 20;

/// Bytes of memory that the process has, and had at most since that was last reset.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// An hour of 30 pictures a second, of which some are shown in another order, with stamps of whole milliseconds; or of 48 kHz sound.
fn record(dir: &Path, track: Track, start_ms: u64, random: &mut Random) -> Vec<Kept> {
    let mut segments = Vec::new();
    let mut decode_time = 0;
    for minute in 0..HOUR_S / 60 {
        let object = u32::try_from(minute).expect("small") + 1;
        let mut file = std::fs::File::create(dir.join(object_file(track, object))).expect("a file");
        let mut at = 0;
        for second in (0..60).step_by(2) {
            let first = at;
            for part in 0..6 {
                let samples: Vec<Sample> = match track {
                    Track::Video => (0..10)
                        .map(|n| Sample {
                            duration: if n % 3 == 0 { 34 * 90 } else { 33 * 90 },
                            composition: [6_030, 2_970, 0][n % 3] + random.below(2) as i32 * 90,
                            sync: part == 0 && n == 0,
                            data: vec![7; 500 + random.below(1_000) as usize],
                        })
                        .collect(),
                    Track::Audio => (0..16)
                        .map(|_| Sample {
                            duration: 1_024,
                            composition: 0,
                            sync: true,
                            data: vec![9; 300 + random.below(100) as usize],
                        })
                        .collect(),
                };
                let bytes = made::fragment(decode_time, &samples);
                decode_time += samples.iter().map(|sample| u64::from(sample.duration)).sum::<u64>();
                at += bytes.len() as u64;
                file.write_all(&bytes).expect("written");
            }
            segments.push(Kept {
                run: 0,
                date_unix_ms: start_ms + (minute * 60 + second) * 1_000,
                duration_ms: 2_000,
                place: Some(Place { init: 1, object, at: first, bytes: at - first }),
            });
        }
    }
    segments
}

#[test]
fn an_hour_is_made_and_read_within_32_mib() {
    let (dir, mut random) = (tempfile::tempdir().expect("a directory"), Random::new(1));
    let start_ms = 1_795_531_265_000;
    let mut recipe = Recipe::default();
    for (at, track, timescale) in [(0, Track::Video, 90_000), (1, Track::Audio, 48_000)] {
        recipe.segments[at] = record(dir.path(), track, start_ms, &mut random);
        recipe.inits[at].insert(1, made::header(at == 0, timescale, "a").into());
    }
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak can be reset");
    let (before, _) = memory();
    let since = Instant::now();
    let built = at_once(build(&recipe, &SpoolFiles::new(dir.path().to_owned()))).expect("a disk").expect("a file");
    let took = since.elapsed();
    let (sums, index) = (built.sums, built.movie.memory_bytes());
    let spooled = Spooled::new(dir.path(), Arc::new(built.movie));
    let (mut bytes, pieces) = (0, spooled.pieces().count());
    let read = spooled.read(|chunk| {
        bytes += chunk.len() as u64;
        Ok(())
    });
    read.expect("its objects");
    let (_, peak) = memory();
    let grown = peak.saturating_sub(before);
    println!(
        "an hour, {} MB in {pieces} pieces: made and summed in {took:?}; at most {} KiB of memory more than before, of which its index is {} KiB",
        bytes / 1_000_000,
        grown / 1_024,
        index / 1_024
    );
    assert_eq!(bytes, sums.bytes);
    assert!(bytes > 150_000_000 && grown <= MOST_BYTES, "{grown} bytes");
}
