//! Made-up tracks as a packager cuts them: a header, and fragments whose samples are what a test says. No decoder plays them; every table is right.

/// A sample of a fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// How long it lasts, units.
    pub duration: u32,
    /// Presentation minus decode time.
    pub composition: i32,
    /// A decoder can start with it.
    pub sync: bool,
    /// Its bytes.
    pub data: Vec<u8>,
}

fn boxed(name: &str, parts: &[&[u8]]) -> Vec<u8> {
    let size: usize = 8 + parts.iter().map(|part| part.len()).sum::<usize>();
    [&(size as u32).to_be_bytes()[..], name.as_bytes(), &parts.concat()].concat()
}

fn numbers(list: &[u32]) -> Vec<u8> {
    list.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// The header of a track of pictures or sound, in units of that many a second. `coding` is in its sample entry: another one is another header.
pub fn header(is_video: bool, timescale: u32, coding: &str) -> Vec<u8> {
    let matrix = numbers(&[0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000]);
    let mvhd = boxed(
        "mvhd",
        &[&numbers(&[0, 0, 0, 1_000, 0, 0x1_0000, 0x100_0000, 0, 0]), &matrix, &numbers(&[0; 6]), &numbers(&[2])],
    );
    let tkhd = boxed("tkhd", &[&numbers(&[7, 0, 0, 1, 0, 0, 0, 0, 0, 0]), &matrix, &numbers(&[640 << 16, 360 << 16])]);
    let media = boxed("mdhd", &[&numbers(&[0, 0, 0, timescale, 0, 0x55C4_0000])]);
    let handler = if is_video { "vide" } else { "soun" };
    let hdlr = boxed("hdlr", &[&numbers(&[0, 0]), handler.as_bytes(), &[0; 12], b"test\0"]);
    let entry = boxed(if is_video { "avc1" } else { "mp4a" }, &[coding.as_bytes()]);
    let stsd = boxed("stsd", &[&numbers(&[0, 1]), &entry]);
    let minf = boxed("minf", &[&boxed("stbl", &[&stsd])]);
    let trak = boxed("trak", &[&tkhd, &boxed("mdia", &[&media, &hdlr, &minf])]);
    let mvex = boxed("mvex", &[&boxed("trex", &[&numbers(&[0, 1, 1, 0, 0, 0])])]);
    [boxed("ftyp", &[b"iso6\0\0\0\0cmfc"]), boxed("moov", &[&mvhd, &trak, &mvex])].concat()
}

/// A fragment that begins at this decode time.
pub fn fragment(decode_time: u64, samples: &[Sample]) -> Vec<u8> {
    let mut rows = Vec::new();
    for sample in samples {
        let flags = if sample.sync { 0x200_0000 } else { 0x101_0000 };
        rows.extend(numbers(&[sample.duration, sample.data.len() as u32, flags, sample.composition.cast_unsigned()]));
    }
    let whole = |offset: u32| {
        // Offsets from the fragment's first byte; version 1 has signed compositions.
        let trun = boxed("trun", &[&numbers(&[0x100_0F01, samples.len() as u32, offset]), &rows]);
        let tfdt = boxed("tfdt", &[&numbers(&[0x100_0000]), &decode_time.to_be_bytes()]);
        let traf = boxed("traf", &[&boxed("tfhd", &[&numbers(&[0x2_0000, 1])]), &tfdt, &trun]);
        boxed("moof", &[&boxed("mfhd", &[&numbers(&[0, 1])]), &traf])
    };
    let offset = whole(0).len() as u32 + 8;
    let data: Vec<&[u8]> = samples.iter().map(|sample| sample.data.as_slice()).collect();
    [whole(offset), boxed("mdat", &data)].concat()
}
