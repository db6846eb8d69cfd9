//! An FLV reader of our own: it shares no code with the server's writer, checks every length it is told, and can sum instead of keep.
use anyhow::{Result, bail, ensure};

/// Kind of tag: audio.
pub const AUDIO: u8 = 8;
/// Kind of tag: video.
pub const VIDEO: u8 = 9;
/// Kind of tag: script data.
pub const SCRIPT: u8 = 18;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// [`AUDIO`], [`VIDEO`] or [`SCRIPT`].
    pub kind: u8,
    /// Milliseconds.
    pub timestamp: u32,
    pub data: Vec<u8>,
}

impl Tag {
    /// The packet type: of H.264, H.265 (id 12) and AAC in their classic form, or of any codec that is named by FourCC.
    fn packet_type(&self) -> Option<u8> {
        let [first, second, ..] = self.data[..] else { return None };
        match self.kind {
            VIDEO if first & 0x80 != 0 => Some(first & 15),
            VIDEO if matches!(first & 15, 7 | 12) => Some(second),
            AUDIO if first >> 4 == 9 => Some(first & 15),
            AUDIO if first >> 4 == 10 => Some(second),
            _ => None,
        }
    }

    /// A codec configuration, not a frame.
    pub fn is_configuration(&self) -> bool {
        self.packet_type() == Some(0)
    }

    /// An audio or video frame.
    pub fn is_frame(&self) -> bool {
        self.kind != SCRIPT && matches!(self.packet_type(), None | Some(1 | 3))
    }

    /// A video frame that decoding can start at.
    pub fn is_keyframe(&self) -> bool {
        // The highest bit says that a FourCC follows.
        self.kind == VIDEO && self.is_frame() && self.data.first().is_some_and(|b| (b >> 4) & 7 == 1)
    }

    pub fn sum(&self) -> Sum {
        Sum {
            kind: self.kind,
            timestamp: self.timestamp,
            len: self.data.len() as u32,
            crc: crc32fast::hash(&self.data),
            key: self.is_keyframe(),
            frame: self.is_frame(),
        }
    }
}

/// What identifies a tag, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sum {
    /// [`AUDIO`], [`VIDEO`] or [`SCRIPT`].
    pub kind: u8,
    /// Milliseconds.
    pub timestamp: u32,
    /// Bytes of payload.
    pub len: u32,
    /// CRC-32 of the payload.
    pub crc: u32,
    /// See [`Tag::is_keyframe`].
    pub key: bool,
    /// See [`Tag::is_frame`].
    pub frame: bool,
}

/// What takes a tag apart from the scanner, piece by piece.
trait Sink {
    fn payload(&mut self, bytes: &[u8]);
    fn end(&mut self, kind: u8, timestamp: u32);
}

/// Finds tags in bytes that come in pieces of any size.
#[derive(Debug, Default)]
struct Scanner {
    /// Bytes of the part that is being read, which is short: file header, tag header or back pointer.
    small: Vec<u8>,
    at: At,
    kind: u8,
    timestamp: u32,
    left: usize,
    len: usize,
    flags: Option<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
enum At {
    #[default]
    FileHeader,
    TagHeader,
    Payload,
    BackPointer,
}

impl Scanner {
    fn feed(&mut self, mut bytes: &[u8], sink: &mut impl Sink) -> Result<()> {
        while !bytes.is_empty() {
            if let At::Payload = self.at {
                let n = self.left.min(bytes.len());
                sink.payload(&bytes[..n]);
                bytes = &bytes[n..];
                self.left -= n;
                if self.left == 0 {
                    sink.end(self.kind, self.timestamp);
                    self.at = At::BackPointer;
                }
                continue;
            }
            let need = match self.at {
                At::FileHeader => 13,
                At::TagHeader => 11,
                At::BackPointer | At::Payload => 4,
            };
            let n = (need - self.small.len()).min(bytes.len());
            self.small.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.small.len() == need {
                self.small_part(sink)?;
                self.small.clear();
            }
        }
        Ok(())
    }

    fn small_part(&mut self, sink: &mut impl Sink) -> Result<()> {
        let b = &self.small;
        match self.at {
            At::FileHeader => {
                ensure!(b.starts_with(b"FLV\x01") && b[5..] == [0, 0, 0, 9, 0, 0, 0, 0], "no FLV header: {b:02x?}");
                ensure!(b[4] & !5 == 0 && b[4] != 0, "flags of the FLV header: {:#x}", b[4]);
                self.flags = Some(b[4]);
                self.at = At::TagHeader;
            }
            At::TagHeader => {
                ensure!([AUDIO, VIDEO, SCRIPT].contains(&b[0]), "kind of tag: {}", b[0]);
                ensure!(b[8..11] == [0, 0, 0], "the stream id of a tag is not 0");
                self.kind = b[0];
                self.len = usize::from(b[1]) << 16 | usize::from(b[2]) << 8 | usize::from(b[3]);
                self.timestamp = u32::from_be_bytes([b[7], b[4], b[5], b[6]]);
                self.left = self.len;
                self.at = At::Payload;
                if self.len == 0 {
                    sink.end(self.kind, self.timestamp);
                    self.at = At::BackPointer;
                }
            }
            At::BackPointer => {
                let said = u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize;
                if said != self.len + 11 {
                    bail!("a tag of {} bytes is followed by the back pointer {said}", self.len + 11);
                }
                self.at = At::TagHeader;
            }
            At::Payload => unreachable!("payload is not small"),
        }
        Ok(())
    }
}

/// Collects whole tags.
#[derive(Debug, Default)]
pub struct Reader {
    scanner: Scanner,
    tags: Tags,
}

#[derive(Debug, Default)]
struct Tags {
    data: Vec<u8>,
    done: std::collections::VecDeque<Tag>,
}

impl Sink for Tags {
    fn payload(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }
    fn end(&mut self, kind: u8, timestamp: u32) {
        self.done.push_back(Tag { kind, timestamp, data: std::mem::take(&mut self.data) });
    }
}

impl Reader {
    /// Takes bytes as they come.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.scanner.feed(bytes, &mut self.tags)
    }

    /// The next whole tag.
    pub fn next_tag(&mut self) -> Option<Tag> {
        self.tags.done.pop_front()
    }

    /// The flags of the file header: 4 = audio, 1 = video.
    pub fn flags(&self) -> Option<u8> {
        self.scanner.flags
    }

    /// Whether the bytes so far end between two tags.
    pub fn at_boundary(&self) -> bool {
        matches!(self.scanner.at, At::TagHeader) && self.scanner.small.is_empty()
    }
}

/// Sums tags without keeping their bytes: cheap enough for a thousand viewers in one thread.
#[derive(Debug, Default)]
pub struct Summer {
    scanner: Scanner,
    sums: Sums,
}

#[derive(Debug, Default)]
struct Sums {
    hasher: crc32fast::Hasher,
    /// The first two bytes of the payload tell a keyframe and a configuration.
    head: Vec<u8>,
    len: u32,
    done: Vec<Sum>,
}

impl Sink for Sums {
    fn payload(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        let missing = 2 - self.head.len();
        self.head.extend(bytes.iter().take(missing));
        self.len += bytes.len() as u32;
    }
    fn end(&mut self, kind: u8, timestamp: u32) {
        let head = Tag { kind, timestamp, data: std::mem::take(&mut self.head) };
        let crc = std::mem::take(&mut self.hasher).finalize();
        let len = std::mem::take(&mut self.len);
        self.done.push(Sum { kind, timestamp, len, crc, key: head.is_keyframe(), frame: head.is_frame() });
    }
}

impl Summer {
    /// Takes bytes as they come.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.scanner.feed(bytes, &mut self.sums)
    }

    /// The sums of all tags so far.
    pub fn sums(&self) -> &[Sum] {
        &self.sums.done
    }
}

/// Reads a whole FLV file.
pub fn parse(bytes: &[u8]) -> Result<Vec<Tag>> {
    let mut reader = Reader::default();
    reader.feed(bytes)?;
    ensure!(reader.at_boundary(), "the file ends inside a tag");
    Ok(reader.tags.done.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
        for (kind, timestamp, data) in [(9u8, 0x0102_0304u32, &[0x17u8, 1, 2, 3][..]), (8, 5, &[0xAF, 1, 9])] {
            let [t3, t2, t1, t0] = timestamp.to_be_bytes();
            file.extend([kind, 0, 0, data.len() as u8, t2, t1, t0, t3, 0, 0, 0]);
            file.extend(data);
            file.extend((data.len() as u32 + 11).to_be_bytes());
        }
        file
    }

    #[test]
    fn tags_and_sums_agree_whatever_the_pieces() {
        let tags = parse(&file()).unwrap();
        assert_eq!(tags[0], Tag { kind: VIDEO, timestamp: 0x0102_0304, data: vec![0x17, 1, 2, 3] });
        assert!(tags[0].is_keyframe() && tags[1].is_frame());
        for piece in 1..20 {
            let mut summer = Summer::default();
            file().chunks(piece).for_each(|bytes| summer.feed(bytes).unwrap());
            assert_eq!(summer.sums(), tags.iter().map(Tag::sum).collect::<Vec<_>>());
        }
    }

    #[test]
    fn wrong_back_pointers_are_noticed() {
        let mut bytes = file();
        *bytes.last_mut().unwrap() += 1;
        assert!(parse(&bytes).is_err());
    }
}
