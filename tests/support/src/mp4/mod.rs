//! Progressive MP4 files as a player finds them: boxes, tables and edits (ISO/IEC 14496-12), read without a line of the server's. What is not right in
//! a file is an error that says what. [`made`] has tracks to make files of.
pub mod made;

use anyhow::{Context as _, Result, ensure};

/// A file.
#[derive(Clone, Debug)]
pub struct Movie {
    /// Units per second of its own times.
    pub timescale: u32,
    /// How long it is, its units.
    pub duration: u64,
    /// Seconds since 1904 that it says it was made at.
    pub creation_time: u64,
    /// Its tracks.
    pub tracks: Vec<Track>,
}

/// A track of it.
#[derive(Clone, Debug)]
pub struct Track {
    /// `vide` or `soun`.
    pub handler: String,
    /// The name of its sample entry.
    pub entry: String,
    /// The content of `stsd`.
    pub descriptions: Vec<u8>,
    /// Units per second of its times.
    pub timescale: u32,
    /// How much later than the file it begins, units of the file.
    pub delay: u64,
    /// How long it is shown, units of the file.
    pub length: u64,
    /// Composition time that is shown first.
    pub media_time: i64,
    /// Its samples in the order of decoding.
    pub samples: Vec<Sample>,
}

/// A sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Its first byte in the file.
    pub at: u64,
    /// How many bytes it has.
    pub bytes: u32,
    /// Decode time, units of the track.
    pub dts: i64,
    /// Composition time.
    pub pts: i64,
    /// How long it lasts.
    pub duration: u32,
    /// A decoder can start with it.
    pub sync: bool,
}

impl Track {
    /// When a composition time is shown, microseconds since the file's beginning; negative for what is before the edit.
    pub fn shown_us(&self, movie: &Movie, pts: i64) -> i64 {
        let delay_us = i128::from(self.delay) * 1_000_000 / i128::from(movie.timescale);
        let us = i128::from(pts - self.media_time) * 1_000_000 / i128::from(self.timescale) + delay_us;
        i64::try_from(us).unwrap_or(i64::MAX)
    }

    /// When it is over, microseconds.
    pub fn end_us(&self, movie: &Movie) -> i64 {
        let us = i128::from(self.delay + self.length) * 1_000_000 / i128::from(movie.timescale);
        i64::try_from(us).unwrap_or(i64::MAX)
    }
}

impl Movie {
    /// Reads a whole file. Its index comes first, and each byte behind it is one sample's.
    pub fn read(file: &[u8]) -> Result<Self> {
        let names: Vec<String> = boxes(file)?.into_iter().map(|(name, _)| name).collect();
        ensure!(
            names == ["ftyp", "moov", "mdat"],
            "a file whose index is first has ftyp, moov, mdat; this has {names:?}"
        );
        let moov = child(file, "moov")?;
        let mvhd = Full::of(child(moov, "mvhd")?)?;
        let (creation_time, timescale, duration) = mvhd.times()?;
        ensure!(timescale > 0 && duration > 0, "no length: {duration}/{timescale}");
        let mut tracks = Vec::new();
        for (name, trak) in boxes(moov)? {
            if name == "trak" {
                tracks.push(track(trak).with_context(|| format!("track {}", tracks.len()))?);
            }
        }
        let mut places: Vec<(u64, u64)> = Vec::new();
        for track in &tracks {
            places.extend(track.samples.iter().filter(|s| s.bytes > 0).map(|s| (s.at, u64::from(s.bytes))));
            ensure!(track.delay + track.length <= duration, "a track is longer than its file");
        }
        places.sort_unstable();
        let payload: u64 = places.iter().map(|(_, bytes)| bytes).sum();
        let mut at = file.len() as u64 - payload.min(file.len() as u64);
        for (place, bytes) in places {
            ensure!(place == at, "a sample is at {place}, and the one before it ends at {at}");
            at += bytes;
        }
        ensure!(child(file, "mdat")?.len() as u64 == payload, "mdat has bytes that are no sample's");
        Ok(Self { timescale, duration, creation_time, tracks })
    }

    /// The track of that kind.
    pub fn of(&self, handler: &str) -> Option<&Track> {
        self.tracks.iter().find(|track| track.handler == handler)
    }

    /// How long it is, microseconds.
    pub fn duration_us(&self) -> i64 {
        (i128::from(self.duration) * 1_000_000 / i128::from(self.timescale)) as i64
    }
}

/// A box of its own version, as numbers.
struct Full<'a> {
    version: u8,
    content: &'a [u8],
}

impl<'a> Full<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self> {
        ensure!(bytes.len() >= 4, "a box is cut off");
        Ok(Self { version: bytes[0], content: &bytes[4..] })
    }

    fn u32(&self, at: usize) -> Result<u32> {
        let bytes = self.content.get(at..at + 4).context("a box is cut off")?;
        Ok(u32::from_be_bytes(bytes.try_into()?))
    }

    fn u64(&self, at: usize) -> Result<u64> {
        Ok(u64::from(self.u32(at)?) << 32 | u64::from(self.u32(at + 4)?))
    }

    /// Creation time, timescale and duration of `mvhd` and `mdhd`.
    fn times(&self) -> Result<(u64, u32, u64)> {
        if self.version == 1 {
            Ok((self.u64(0)?, self.u32(16)?, self.u64(20)?))
        } else {
            Ok((self.u32(0)?.into(), self.u32(8)?, self.u32(12)?.into()))
        }
    }

    /// Rows of so many numbers behind a count.
    fn rows(&self, columns: usize) -> Result<Vec<Vec<u32>>> {
        let count = self.u32(0)? as usize;
        ensure!(self.content.len() == 4 + count * columns * 4, "a table of {count} rows has other bytes");
        (0..count).map(|row| (0..columns).map(|column| self.u32(4 + (row * columns + column) * 4)).collect()).collect()
    }
}

fn boxes(bytes: &[u8]) -> Result<Vec<(String, &[u8])>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let head = bytes.get(at..at + 8).context("a box is cut off")?;
        let name = String::from_utf8_lossy(&head[4..]).into_owned();
        let (size, header) = match u32::from_be_bytes(head[..4].try_into()?) {
            1 => (u64::from_be_bytes(bytes.get(at + 8..at + 16).context("a box is cut off")?.try_into()?), 16),
            size => (u64::from(size), 8),
        };
        let end = at + usize::try_from(size)?;
        found.push((name.clone(), bytes.get(at + header..end).with_context(|| format!("{name} is cut off"))?));
        at = end;
    }
    Ok(found)
}

fn child<'a>(bytes: &'a [u8], name: &str) -> Result<&'a [u8]> {
    maybe(bytes, name)?.with_context(|| format!("there is no {name}"))
}

fn maybe<'a>(bytes: &'a [u8], name: &str) -> Result<Option<&'a [u8]>> {
    Ok(boxes(bytes)?.into_iter().find(|(found, _)| found == name).map(|(_, content)| content))
}

fn track(trak: &[u8]) -> Result<Track> {
    let mdia = child(trak, "mdia")?;
    let (_, timescale, media_duration) = Full::of(child(mdia, "mdhd")?)?.times()?;
    let handler = String::from_utf8_lossy(child(mdia, "hdlr")?.get(8..12).context("hdlr is cut off")?).into_owned();
    let stbl = child(child(mdia, "minf")?, "stbl")?;
    let descriptions = child(stbl, "stsd")?.to_vec();
    let entry = String::from_utf8_lossy(descriptions.get(12..16).context("stsd is cut off")?).into_owned();
    let samples = samples(stbl)?;
    let length: i64 = samples.iter().map(|sample| i64::from(sample.duration)).sum();
    ensure!(media_duration == length as u64, "mdhd says {media_duration}, and the samples last {length}");
    let elst = Full::of(child(child(trak, "edts")?, "elst")?)?;
    let mut edits = Vec::new();
    for edit in 0..elst.u32(0)? as usize {
        edits.push(if elst.version == 1 {
            (elst.u64(4 + edit * 20)?, elst.u64(12 + edit * 20)?.cast_signed())
        } else {
            (elst.u32(4 + edit * 12)?.into(), i64::from(elst.u32(8 + edit * 12)?.cast_signed()))
        });
    }
    let (delay, (length, media_time)) = match edits.as_slice() {
        [shown] => (0, *shown),
        [(delay, -1), shown] => (*delay, *shown),
        other => anyhow::bail!("edits {other:?}"),
    };
    ensure!(media_time >= 0 && length > 0, "nothing of it is shown");
    Ok(Track { handler, entry, descriptions, timescale, delay, length, media_time, samples })
}

fn samples(stbl: &[u8]) -> Result<Vec<Sample>> {
    let lengths = Full::of(child(stbl, "stsz")?)?;
    let (size, count) = (lengths.u32(0)?, lengths.u32(4)? as usize);
    let sizes =
        (0..count).map(|n| if size > 0 { Ok(size) } else { lengths.u32(8 + n * 4) }).collect::<Result<Vec<_>>>()?;
    let runs = |rows: Vec<Vec<u32>>| -> Vec<u32> {
        rows.iter().flat_map(|row| std::iter::repeat_n(row[1], row[0] as usize)).collect()
    };
    let durations = runs(Full::of(child(stbl, "stts")?)?.rows(2)?);
    let compositions = match maybe(stbl, "ctts")? {
        Some(ctts) => runs(Full::of(ctts)?.rows(2)?),
        None => vec![0; count],
    };
    ensure!((durations.len(), compositions.len()) == (count, count), "the tables have other lengths than {count}");
    let syncs = match maybe(stbl, "stss")? {
        Some(table) => Some(Full::of(table)?.rows(1)?.concat()),
        None => None,
    };
    ensure!(syncs.as_ref().is_none_or(|syncs| syncs.first() == Some(&1)), "it does not begin with a keyframe");
    let chunks: Vec<u64> = match (maybe(stbl, "stco")?, maybe(stbl, "co64")?) {
        (Some(stco), None) => Full::of(stco)?.rows(1)?.concat().into_iter().map(u64::from).collect(),
        (None, Some(co64)) => {
            let rows = Full::of(co64)?;
            (0..rows.u32(0)? as usize).map(|n| rows.u64(4 + n * 8)).collect::<Result<_>>()?
        }
        _ => anyhow::bail!("not one table of chunks"),
    };
    let chunk_runs = Full::of(child(stbl, "stsc")?)?.rows(3)?;
    let (mut list, mut dts, mut run) = (Vec::with_capacity(count), 0, 0);
    let mut next_sync = 0;
    for (chunk, at) in chunks.iter().enumerate() {
        while chunk_runs.get(run + 1).is_some_and(|next| next[0] as usize <= chunk + 1) {
            run += 1;
        }
        let mut at = *at;
        for _ in 0..chunk_runs.get(run).context("no chunks")?[1] {
            let n = list.len();
            let bytes = *sizes.get(n).context("chunks have more samples than there are")?;
            let sync = match &syncs {
                None => true,
                Some(syncs) => syncs.get(next_sync) == Some(&(n as u32 + 1)),
            };
            next_sync += usize::from(sync);
            list.push(Sample { at, bytes, dts, pts: dts + i64::from(compositions[n]), duration: durations[n], sync });
            (at, dts) = (at + u64::from(bytes), dts + i64::from(durations[n]));
        }
    }
    ensure!(list.len() == count, "chunks have {} samples of {count}", list.len());
    Ok(list)
}
