//! What a child reads: one track of Matroska, written as it goes. Before it: pictures or frames with stamps; after it: the child's standard input.
//!
//! Each frame is a cluster of its own, so that the child has all of it at once. Sizes are known, but for the segment's.

/// An element with its size in eight bytes: no element here is longer.
fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    let mut all = header(id, body.len());
    all.extend_from_slice(body);
    all
}

fn header(id: &[u8], length: usize) -> Vec<u8> {
    let mut all = id.to_vec();
    all.extend_from_slice(&(length as u64 | 1 << 56).to_be_bytes());
    all
}

fn number(id: &[u8], value: u64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

/// What a file begins with.
pub(super) struct Head<'a> {
    /// `V_...`.
    pub(super) codec: &'a str,
    /// The codec's record, where it has one.
    pub(super) record: &'a [u8],
    /// Pixels.
    pub(super) size: (u32, u32),
    /// Ticks of a second.
    pub(super) ticks: u32,
    /// Frames of a second, where that is known.
    pub(super) fps: Option<f32>,
}

const NS: u64 = 1_000_000_000;

impl Head<'_> {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let doc = [element(&[0x42, 0x82], b"matroska"), number(&[0x42, 0x87], 4), number(&[0x42, 0x85], 2)].concat();
        let info = number(&[0x2A, 0xD7, 0xB1], NS / u64::from(self.ticks.max(1)));
        let (width, height) = self.size;
        let mut video = [number(&[0xB0], width.into()), number(&[0xBA], height.into())].concat();
        if self.record.is_empty() {
            // Of pictures that are not compressed.
            video.extend(element(&[0x2E, 0xB5, 0x24], b"I420"));
        } else {
            // The shape of its samples is for the codec to say: a display unit that is unknown.
            video.extend(number(&[0x54, 0xB2], 4));
        }
        let mut track = [number(&[0xD7], 1), number(&[0x73, 0xC5], 1), number(&[0x83], 1)].concat();
        track.extend(element(&[0x86], self.codec.as_bytes()));
        if let Some(fps) = self.fps.filter(|fps| *fps > 0.0) {
            track.extend(number(&[0x23, 0xE3, 0x83], (NS as f64 / f64::from(fps)) as u64));
        }
        if !self.record.is_empty() {
            track.extend(element(&[0x63, 0xA2], self.record));
        }
        track.extend(element(&[0xE0], &video));
        let mut all = element(&[0x1A, 0x45, 0xDF, 0xA3], &doc);
        // The segment ends with the file.
        all.extend([0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        all.extend(element(&[0x15, 0x49, 0xA9, 0x66], &info));
        all.extend(element(&[0x16, 0x54, 0xAE, 0x6B], &element(&[0xAE], &track)));
        all
    }
}

/// What stands before a frame of so many bytes.
pub(super) fn before_frame(stamp: u64, keyframe: bool, bytes: usize) -> Vec<u8> {
    // Track 1, at the cluster's time.
    let block = [0x81, 0, 0, if keyframe { 0x80 } else { 0 }];
    let inner = [number(&[0xE7], stamp), header(&[0xA3], block.len() + bytes), block.to_vec()].concat();
    let mut all = header(&[0x1F, 0x43, 0xB6, 0x75], inner.len() + bytes);
    all.extend(inner);
    all
}
