//! What is in an initialisation and in fragments (ISO/IEC 14496-12), as far as a playlist promises something about it. Before it: bytes
//! that were served; after it: [`super::follow`] compares them with what was listed.
use anyhow::{Context as _, Result, bail, ensure};

/// An initialisation of one track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// `vide` or `soun`.
    pub handler: [u8; 4],
    /// Units per second.
    pub timescale: u32,
    /// FourCC of the sample entry: `avc1`, `hvc1`, `mp4a`...
    pub codec: [u8; 4],
}

/// One `moof` and its `mdat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Of `mfhd`.
    pub sequence: u32,
    /// Decode time of the first sample, units of the track.
    pub decode_time: u64,
    /// How long all samples last, units of the track.
    pub duration: u64,
    /// Bytes of each sample.
    pub sizes: Vec<usize>,
    /// Presentation minus decode time of each sample, units of the track.
    pub offsets: Vec<i32>,
    /// A sample needs no other.
    pub has_sync: bool,
    /// Bytes of the samples.
    pub payload: Vec<u8>,
}

impl Fragment {
    /// The bytes of its last sample.
    pub fn last_sample(&self) -> &[u8] {
        let size = self.sizes.last().copied().unwrap_or(0);
        &self.payload[self.payload.len().saturating_sub(size)..]
    }
}

type Name = [u8; 4];

/// The boxes in `bytes`: name and content.
fn boxes(mut bytes: &[u8]) -> Result<Vec<(Name, &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (size, rest) = bytes.split_first_chunk::<4>().context("half a box")?;
        let (name, rest) = rest.split_first_chunk::<4>().context("half a box")?;
        let size = u32::from_be_bytes(*size) as usize;
        ensure!(size >= 8 && size - 8 <= rest.len(), "a box of {size} bytes where {} are left", rest.len() + 8);
        let (content, behind) = rest.split_at(size - 8);
        found.push((*name, content));
        bytes = behind;
    }
    Ok(found)
}

fn child<'a>(bytes: &'a [u8], path: &[&Name]) -> Result<&'a [u8]> {
    let mut at = bytes;
    for name in path {
        let all = boxes(at)?;
        let named = || String::from_utf8_lossy(*name).into_owned();
        at = all.iter().find(|(n, _)| n == *name).with_context(|| format!("no box {}", named()))?.1;
    }
    Ok(at)
}

/// Reads numbers off the front.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn u32(&mut self) -> Result<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>().context("a box is too short")?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    fn full(&mut self) -> Result<(u8, u32)> {
        let head = self.u32()?;
        Ok(((head >> 24) as u8, head & 0x00FF_FFFF))
    }
}

impl Init {
    /// Reads `ftyp` and `moov` with exactly one track.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let top = boxes(bytes)?;
        ensure!(top.first().is_some_and(|(name, _)| name == b"ftyp"), "an initialisation begins with ftyp");
        let moov = child(bytes, &[b"moov"])?;
        let tracks = boxes(moov)?.iter().filter(|(name, _)| name == b"trak").count();
        ensure!(tracks == 1, "{tracks} tracks in one file");
        child(moov, &[b"mvex", b"trex"])?;
        let mdia = child(moov, &[b"trak", b"mdia"])?;
        let mut mdhd = Bytes(child(mdia, &[b"mdhd"])?);
        let (version, _) = mdhd.full()?;
        mdhd.0 = mdhd.0.get(if version == 1 { 16 } else { 8 }..).context("mdhd")?;
        let timescale = mdhd.u32()?;
        ensure!(timescale > 0, "a timescale of 0");
        let handler = child(mdia, &[b"hdlr"])?.get(8..12).and_then(|h| h.try_into().ok()).context("hdlr")?;
        let entries = boxes(child(mdia, &[b"minf", b"stbl", b"stsd"])?.get(8..).context("stsd")?)?;
        ensure!(entries.len() == 1, "{} sample entries", entries.len());
        Ok(Self { handler, timescale, codec: entries[0].0 })
    }
}

/// Reads a part or a whole segment: `moof` and `mdat` in turn.
pub fn fragments(bytes: &[u8]) -> Result<Vec<Fragment>> {
    let mut found: Vec<Fragment> = Vec::new();
    let (mut open, mut at) = (None, 0);
    for (name, content) in boxes(bytes)? {
        match &name {
            b"moof" => {
                ensure!(open.is_none(), "two moof without mdat between");
                open = Some((at, moof(content)?));
            }
            b"mdat" => {
                let (moof_at, (mut fragment, data_offset, data_bytes)) = open.take().context("mdat without moof")?;
                let start = moof_at + data_offset;
                ensure!(start == at + 8, "samples are said to begin at {start}, the data begins at {}", at + 8);
                ensure!(data_bytes == content.len(), "samples of {data_bytes} bytes, data of {}", content.len());
                fragment.payload = content.to_vec();
                found.push(fragment);
            }
            b"styp" | b"prft" | b"emsg" | b"sidx" => {}
            _ => bail!("a box {} in a segment", String::from_utf8_lossy(&name)),
        }
        at += 8 + content.len();
    }
    ensure!(open.is_none(), "moof without mdat");
    ensure!(!found.is_empty(), "no fragment");
    Ok(found)
}

/// The fragment without its data; where that begins behind the start of `moof`, and how long it is.
fn moof(bytes: &[u8]) -> Result<(Fragment, usize, usize)> {
    let mut mfhd = Bytes(child(bytes, &[b"mfhd"])?);
    mfhd.full()?;
    let sequence = mfhd.u32()?;
    let trafs: Vec<_> = boxes(bytes)?.into_iter().filter(|(name, _)| name == b"traf").collect();
    ensure!(trafs.len() == 1, "{} tracks in one fragment", trafs.len());
    let traf = trafs[0].1;
    let mut tfhd = Bytes(child(traf, &[b"tfhd"])?);
    let (_, flags) = tfhd.full()?;
    ensure!(flags & 0x02_0000 != 0 && flags & 1 == 0, "offsets do not count from the moof");
    tfhd.u32()?;
    if flags & 2 != 0 {
        tfhd.u32()?;
    }
    let default_duration = if flags & 8 != 0 { Some(tfhd.u32()?) } else { None };
    let default_size = if flags & 0x10 != 0 { Some(tfhd.u32()?) } else { None };
    let default_flags = if flags & 0x20 != 0 { Some(tfhd.u32()?) } else { None };
    let mut tfdt = Bytes(child(traf, &[b"tfdt"])?);
    let decode_time = if tfdt.full()?.0 == 1 { tfdt.u64()? } else { u64::from(tfdt.u32()?) };
    let mut trun = Bytes(child(traf, &[b"trun"])?);
    let (version, flags) = trun.full()?;
    let samples = trun.u32()? as usize;
    ensure!(samples > 0, "no samples");
    ensure!(flags & 1 != 0, "no data offset");
    let data_offset = trun.u32()? as usize;
    let first_flags = if flags & 4 != 0 { Some(trun.u32()?) } else { None };
    let (mut duration, mut sizes, mut offsets, mut has_sync) = (0, Vec::new(), Vec::new(), false);
    for n in 0..samples {
        duration +=
            u64::from(if flags & 0x100 != 0 { trun.u32()? } else { default_duration.context("no duration")? });
        sizes.push((if flags & 0x200 != 0 { trun.u32()? } else { default_size.context("no size")? }) as usize);
        let own = if flags & 0x400 != 0 { Some(trun.u32()?) } else { None };
        let offset = if flags & 0x800 != 0 { trun.u32()? } else { 0 };
        // Only the newer version of the box knows negative ones (8.8.8).
        ensure!(version > 0 || offset < 1 << 31, "a composition offset of {offset} in a box of version 0");
        offsets.push(offset as i32);
        let first = if n == 0 { first_flags } else { None };
        // Bit 16 says that it is no sync sample (8.8.3.1).
        has_sync |= own.or(first).or(default_flags).unwrap_or(0) & 0x1_0000 == 0;
    }
    ensure!(trun.0.is_empty(), "{} bytes behind the samples", trun.0.len());
    let data_bytes = sizes.iter().sum();
    Ok((
        Fragment { sequence, decode_time, duration, sizes, offsets, has_sync, payload: Vec::new() },
        data_offset,
        data_bytes,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(name: Name, content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes()[..], &name, content].concat()
    }

    fn words(all: &[u32]) -> Vec<u8> {
        all.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn part(decode_time: u32, offset: u32, sizes: [u32; 2]) -> Vec<u8> {
        let trun = [0x301 | 4, 2, offset, 0x200_0000, 40, sizes[0], 50, sizes[1]];
        let traf = [
            make(*b"tfhd", &words(&[0x02_0020, 1, 0x101_0000])),
            make(*b"tfdt", &words(&[0x100_0000, 0, decode_time])),
            make(*b"trun", &words(&trun)),
        ]
        .concat();
        let moof = make(*b"moof", &[make(*b"mfhd", &words(&[0, 7])), make(*b"traf", &traf)].concat());
        [moof, make(*b"mdat", b"abcde")].concat()
    }

    #[test]
    fn a_fragment_is_read_and_offsets_that_lie_are_caught() {
        let probe = part(900, 0, [2, 3]);
        let offset = probe.len() as u32 - 5;
        let good = [make(*b"styp", b"msdh"), part(900, offset, [2, 3]), part(990, offset, [2, 3])].concat();
        let found = fragments(&good).unwrap();
        assert_eq!(found.len(), 2);
        let first = &found[0];
        assert_eq!((first.sequence, first.decode_time, first.duration, &first.sizes[..]), (7, 900, 90, &[2, 3][..]));
        assert!(first.has_sync && first.payload == b"abcde" && first.last_sample() == b"cde");
        assert!(fragments(&part(900, offset + 1, [2, 3])).is_err(), "samples begin elsewhere");
        assert!(fragments(&part(900, offset, [2, 4])).is_err(), "more bytes than there are");
        assert!(fragments(&good[..good.len() - 1]).is_err(), "cut off");
        assert!(fragments(b"").is_err() && fragments(&make(*b"free", b"")).is_err());
    }

    #[test]
    fn an_initialisation_is_read_and_two_tracks_are_caught() {
        let mdhd = make(*b"mdhd", &words(&[0, 0, 0, 90_000, 0, 0]));
        let hdlr = make(*b"hdlr", &[&words(&[0, 0])[..], b"vide", &[0; 13]].concat());
        let stsd = make(*b"stsd", &[words(&[0, 1]), make(*b"avc1", &[0; 20])].concat());
        let minf = make(*b"minf", &make(*b"stbl", &stsd));
        let trak = make(*b"trak", &make(*b"mdia", &[mdhd, hdlr, minf].concat()));
        let mvex = make(*b"mvex", &make(*b"trex", &[0; 24]));
        let init = |tracks: usize| {
            let moov = make(*b"moov", &[trak.repeat(tracks), mvex.clone()].concat());
            [make(*b"ftyp", b"iso6\0\0\0\0"), moov].concat()
        };
        let found = Init::parse(&init(1)).unwrap();
        assert_eq!(found, Init { handler: *b"vide", timescale: 90_000, codec: *b"avc1" });
        assert!(Init::parse(&init(2)).is_err());
        assert!(Init::parse(&init(1)[16..]).is_err(), "no ftyp");
    }
}
