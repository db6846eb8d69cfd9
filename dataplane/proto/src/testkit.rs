//! What tests of this crate share: random numbers that are the same in each run, damage to inputs, and real bytes.

/// A real file: `ffmpeg -f lavfi -i testsrc2=s=160x90:r=15 -f lavfi -i sine=f=440:r=44100 -t 2 -c:v libx264 -preset veryfast
/// -profile:v high -bf 2 -g 15 -b:v 60k -c:a aac -b:a 32k -ac 1 -f flv av.flv` (ffmpeg 5.1): 30 frames, 2 s of audio.
pub(crate) const AV_FLV: &[u8] = include_bytes!("../tests/data/av.flv");

/// Decoder configuration records; where they come from stands in `tests/data/README.md`.
pub(crate) const AVCC: &[u8] = include_bytes!("../tests/data/avcc.bin");
pub(crate) const HVCC: &[u8] = include_bytes!("../tests/data/hvcc.bin");
pub(crate) const AV1C: &[u8] = include_bytes!("../tests/data/av1c.bin");
pub(crate) const OPUS_HEAD: &[u8] = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";

/// The tag body in which an encoder says that record of H.264.
pub(crate) fn avc_config() -> Vec<u8> {
    [b"\x17\0\0\0\0", AVCC].concat()
}

/// The tag body in which an encoder says AAC-LC, 44.1 kHz, stereo.
pub(crate) const AAC_CONFIG: &[u8] = b"\xaf\0\x12\x10";

/// Marsaglia's xorshift64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Less than `end`; 0 where that is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    /// One to four changes of the kinds that parsers trip over: bits, values at the edges, cuts, insertions, repeated pieces.
    pub(crate) fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF][self.below(6)],
                2 => bytes.truncate(at),
                3 => bytes.insert(at, self.next() as u8),
                4 if !bytes.is_empty() => drop(bytes.remove(at)),
                5 => {
                    let end = (at + self.below(16)).min(bytes.len());
                    bytes.extend_from_within(at..end);
                }
                _ => bytes.push(self.next() as u8),
            }
        }
    }
}

/// Runs `parse` on 100,000 damaged copies of the samples: it must return each time.
pub(crate) fn survives_damage(samples: &[&[u8]], mut parse: impl FnMut(&[u8])) {
    let mut random = Random::new(0x4D69_6C6C);
    for round in 0..100_000 {
        let mut bytes = samples[round % samples.len()].to_vec();
        random.damage(&mut bytes);
        parse(&bytes);
    }
}
