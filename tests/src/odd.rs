//! Clips as some encoders make them: parameter sets in the key frames only, start codes, ADTS. Made of right ones, so that both can be
//! compared.
use crate::clip::Clip;
use crate::flv::{AUDIO, Tag, VIDEO};

/// Where the coded data of a frame of H.264 starts, or its record.
const AVC_AT: usize = 5;
/// The same of AAC.
const AAC_AT: usize = 2;
const START_CODE: &[u8] = b"\0\0\0\x01";

/// The parameter sets of a record of H.264 with one of each.
fn sets(record: &[u8]) -> [Vec<u8>; 2] {
    let unit = |at: usize| {
        let size = usize::from(u16::from_be_bytes([record[at], record[at + 1]]));
        record[at + 2..at + 2 + size].to_vec()
    };
    let sps = unit(6);
    let pps = unit(6 + 2 + sps.len() + 1);
    [sps, pps]
}

fn units(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut units = Vec::new();
    while let Some((size, rest)) = data.split_first_chunk::<4>() {
        let (unit, rest) = rest.split_at(u32::from_be_bytes(*size) as usize);
        units.push(unit.to_vec());
        data = rest;
    }
    units
}

impl Clip {
    fn record(&self, kind: u8) -> Vec<u8> {
        let at = if kind == VIDEO { AVC_AT } else { AAC_AT };
        let tag = self.configuration.iter().find(|tag| tag.kind == kind).expect("a configuration");
        tag.data[at..].to_vec()
    }

    fn with_record(mut self, record: &[u8]) -> Self {
        for tag in self.configuration.iter_mut().filter(|tag| tag.kind == VIDEO) {
            tag.data.truncate(AVC_AT);
            tag.data.extend_from_slice(record);
        }
        self
    }

    fn video(&mut self) -> impl Iterator<Item = &mut Tag> {
        self.frames.iter_mut().filter(|tag| tag.kind == VIDEO)
    }

    /// An empty sequence header of H.264, and nothing in its place.
    #[must_use]
    pub fn without_parameter_sets(self) -> Self {
        self.with_record(&[])
    }

    /// An empty sequence header of H.264; SPS and PPS are in each key frame.
    #[must_use]
    pub fn with_parameter_sets_in_band(self) -> Self {
        let sets = sets(&self.record(VIDEO));
        let mut clip = self.without_parameter_sets();
        for tag in clip.video().filter(|tag| tag.is_keyframe()) {
            let mut data = tag.data[..AVC_AT].to_vec();
            for set in &sets {
                data.extend_from_slice(&(set.len() as u32).to_be_bytes());
                data.extend_from_slice(set);
            }
            data.extend_from_slice(&tag.data[AVC_AT..]);
            tag.data = data;
        }
        clip
    }

    /// Start codes in the record and in the frames of H.264.
    #[must_use]
    pub fn in_annex_b(self) -> Self {
        let [sps, pps] = sets(&self.record(VIDEO));
        let mut clip = self.with_record(&[START_CODE, &sps, START_CODE, &pps].concat());
        for tag in clip.video() {
            let mut data = tag.data[..AVC_AT].to_vec();
            for (n, unit) in units(&tag.data[AVC_AT..]).iter().enumerate() {
                data.extend_from_slice(if n == 0 { START_CODE } else { &START_CODE[1..] });
                data.extend_from_slice(unit);
            }
            tag.data = data;
        }
        clip
    }

    /// AAC with ADTS headers and without its configuration.
    #[must_use]
    pub fn in_adts(mut self) -> Self {
        let config = self.record(AUDIO);
        let (rate_index, channels) = ((config[0] & 7) << 1 | config[1] >> 7, config[1] >> 3 & 15);
        self.configuration.retain(|tag| tag.kind != AUDIO);
        for tag in self.frames.iter_mut().filter(|tag| tag.kind == AUDIO) {
            let size = tag.data.len() - AAC_AT + 7;
            let header = [
                0xFF,
                0xF1,
                1 << 6 | rate_index << 2 | channels >> 2,
                channels << 6 | (size >> 11) as u8,
                (size >> 3) as u8,
                (size << 5) as u8 | 0x1F,
                0xFC,
            ];
            tag.data.splice(AAC_AT..AAC_AT, header);
        }
        self
    }

    /// Two ADTS frames in each message.
    #[must_use]
    pub fn with_pairs_of_adts(self) -> Self {
        let mut clip = self.in_adts();
        let mut first: Option<usize> = None;
        let mut frames: Vec<Tag> = Vec::new();
        for tag in clip.frames {
            if let Some(at) = first.take_if(|_| tag.kind == AUDIO) {
                frames[at].data.extend_from_slice(&tag.data[AAC_AT..]);
                continue;
            }
            if tag.kind == AUDIO {
                first = Some(frames.len());
            }
            frames.push(tag);
        }
        clip.frames = frames;
        clip
    }

    /// Its frames begin that much later than its audio; its last repetition of `times` is followed by the first again.
    #[must_use]
    pub fn with_late_pictures(self, late_ms: u32, times: u32) -> Self {
        let all = (0..times).flat_map(|round| {
            let later = move |tag: &Tag| Tag { timestamp: tag.timestamp + round * self.period, ..tag.clone() };
            self.frames.iter().map(later).collect::<Vec<_>>()
        });
        let frames: Vec<Tag> = all.collect();
        let first =
            frames.iter().position(|tag| tag.is_keyframe() && tag.timestamp >= late_ms).expect("a later picture");
        let (pictures, sound): (Vec<_>, Vec<_>) = self.configuration.into_iter().partition(|tag| tag.kind == VIDEO);
        let at = frames[first].timestamp;
        let mut late = Vec::new();
        for (n, tag) in frames.into_iter().enumerate() {
            if n == first {
                late.extend(pictures.iter().map(|tag| Tag { timestamp: at, ..tag.clone() }));
            }
            if n >= first || tag.kind != VIDEO {
                late.push(tag);
            }
        }
        Self { configuration: sound, frames: late, period: self.period * times, file: self.file }
    }

    /// Its audio begins that much later than its frames; its last repetition of `times` is followed by the first again.
    #[must_use]
    pub fn with_late_sound(self, late_ms: u32, times: u32) -> Self {
        let (sound, pictures): (Vec<_>, Vec<_>) = self.configuration.into_iter().partition(|tag| tag.kind == AUDIO);
        let mut late = Vec::new();
        for round in 0..times {
            for tag in &self.frames {
                let tag = Tag { timestamp: tag.timestamp + round * self.period, ..tag.clone() };
                let begins = tag.kind == AUDIO && tag.timestamp >= late_ms;
                if begins && late.iter().all(|before: &Tag| before.kind != AUDIO) {
                    late.extend(sound.iter().map(|own| Tag { timestamp: tag.timestamp, ..own.clone() }));
                }
                if begins || tag.kind != AUDIO {
                    late.push(tag);
                }
            }
        }
        Self { configuration: pictures, frames: late, period: self.period * times, file: self.file }
    }

    /// Audio of that many bytes in another codec, which the first byte names.
    #[must_use]
    pub fn with_sound_of(mut self, first: u8, bytes: usize) -> Self {
        self.configuration.retain(|tag| tag.kind != AUDIO);
        for tag in self.frames.iter_mut().filter(|tag| tag.kind == AUDIO) {
            tag.data = [vec![first], vec![0x55; bytes]].concat();
        }
        self
    }
}
