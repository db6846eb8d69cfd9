//! Reads what a client says over its WebSocket. A viewer has nothing to say but pings and its goodbye: data is checked and thrown away
//! as it comes, so nothing is allocated here.
use crate::limits::{WEBSOCKET_CONTROL_BYTES_MAX, WEBSOCKET_MESSAGE_BYTES_MAX};

use super::{Opcode, code};

/// The longest head: two bytes, a length of eight, a mask of four.
const HEAD_BYTES_MAX: usize = 14;

/// What a client said that wants an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said<'a> {
    /// A ping, with what the pong is to repeat.
    Ping(&'a [u8]),
    /// Its goodbye, with its code. What it says afterwards is not read.
    Close(Option<u16>),
}

/// What a client did that ends the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A reserved bit: of an extension that was not agreed on.
    #[error("a frame has a reserved bit set")]
    Reserved,
    /// An opcode that does not exist.
    #[error("a frame has an unknown opcode")]
    Opcode,
    /// Clients must mask.
    #[error("a frame is not masked")]
    Unmasked,
    /// A control frame in pieces, or too long.
    #[error("a control frame is fragmented or longer than {WEBSOCKET_CONTROL_BYTES_MAX} bytes")]
    Control,
    /// A length that is written longer than it must be, or has its highest bit set.
    #[error("the length of a frame is not written in its shortest form")]
    Length,
    /// A continuation of nothing, or a message within another.
    #[error("the frames of a message are out of order")]
    Order,
    /// A close frame of one byte, or with a code that may not be sent.
    #[error("a close frame has no valid code")]
    Close,
    /// The reason of a close frame is not UTF-8.
    #[error("the reason of a close frame is not UTF-8")]
    NotText,
    /// A message that passes [`WEBSOCKET_MESSAGE_BYTES_MAX`].
    #[error("a message has more than {WEBSOCKET_MESSAGE_BYTES_MAX} bytes; a viewer has nothing to send")]
    TooBig,
}

impl Violation {
    /// The code to close with.
    pub const fn code(self) -> u16 {
        match self {
            Self::NotText => code::NOT_TEXT,
            Self::TooBig => code::TOO_BIG,
            _ => code::PROTOCOL_ERROR,
        }
    }
}

/// A frame whose payload is being read.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    left: u64,
    mask: [u8; 4],
}

/// Reads a client's frames, in whatever pieces they come.
#[derive(Debug)]
pub struct Reader {
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    frame: Option<Frame>,
    control: [u8; WEBSOCKET_CONTROL_BYTES_MAX],
    control_bytes: usize,
    /// Bytes so far of a data message whose last frame has not come.
    message: Option<u64>,
    over: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            head: [0; HEAD_BYTES_MAX],
            head_bytes: 0,
            frame: None,
            control: [0; WEBSOCKET_CONTROL_BYTES_MAX],
            control_bytes: 0,
            message: None,
            over: false,
        }
    }
}

impl Reader {
    /// Reads on. Nothing more is read after an error or a close frame.
    pub fn read(&mut self, mut bytes: &[u8], handle: &mut dyn FnMut(Said<'_>)) -> Result<(), Violation> {
        while !self.over {
            let step = match self.frame {
                None => self.read_head(&mut bytes),
                Some(frame) if frame.left > 0 => Ok(self.read_payload(frame, &mut bytes)),
                Some(frame) => self.finish(frame, handle).map(|()| true),
            };
            match step {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(violation) => {
                    self.over = true;
                    return Err(violation);
                }
            }
        }
        Ok(())
    }

    /// Takes bytes of a frame's head; false: it is not complete.
    fn read_head(&mut self, bytes: &mut &[u8]) -> Result<bool, Violation> {
        loop {
            let needed = self.check_head()?;
            if self.head_bytes == needed {
                self.frame = Some(self.parse_head()?);
                self.head_bytes = 0;
                self.control_bytes = 0;
                return Ok(true);
            }
            let (Some((&byte, rest)), Some(place)) = (bytes.split_first(), self.head.get_mut(self.head_bytes)) else {
                return Ok(false);
            };
            *place = byte;
            self.head_bytes += 1;
            *bytes = rest;
        }
    }

    /// Bytes of the head, as far as is known; refuses as soon as it can be told.
    fn check_head(&self) -> Result<usize, Violation> {
        let [first, second, ..] = self.head;
        if self.head_bytes == 0 {
            return Ok(2);
        }
        if first & 0x70 != 0 {
            return Err(Violation::Reserved);
        }
        let (fin, opcode) = (first & 0x80 != 0, Opcode::from_bits(first & 0x0F).ok_or(Violation::Opcode)?);
        let continues = opcode == Opcode::Continuation;
        if !opcode.is_control() && continues != self.message.is_some() {
            return Err(Violation::Order);
        }
        if self.head_bytes < 2 {
            return Ok(2);
        }
        if second & 0x80 == 0 {
            return Err(Violation::Unmasked);
        }
        let length = second & 0x7F;
        if opcode.is_control() && (!fin || usize::from(length) > WEBSOCKET_CONTROL_BYTES_MAX) {
            return Err(Violation::Control);
        }
        Ok(match length {
            126 => 8,
            127 => HEAD_BYTES_MAX,
            _ => 6,
        })
    }

    fn parse_head(&mut self) -> Result<Frame, Violation> {
        let [first, second, rest @ ..] = self.head;
        let (extended_bytes, shortest) = match second & 0x7F {
            126 => (2, 126),
            127 => (8, 0x1_0000),
            _ => (0, 0),
        };
        let (extended, rest) = rest.split_at_checked(extended_bytes).unwrap_or_default();
        let left = match extended {
            [] => u64::from(second & 0x7F),
            bytes => bytes.iter().fold(0, |left, byte| left << 8 | u64::from(*byte)),
        };
        let mask = rest.first_chunk().copied().unwrap_or_default();
        if left < shortest || left > u64::MAX >> 1 {
            return Err(Violation::Length);
        }
        let opcode = Opcode::from_bits(first & 0x0F).ok_or(Violation::Opcode)?;
        if !opcode.is_control() {
            let bytes = self.message.unwrap_or(0).saturating_add(left);
            if bytes > WEBSOCKET_MESSAGE_BYTES_MAX {
                return Err(Violation::TooBig);
            }
            self.message = Some(bytes);
        }
        Ok(Frame { opcode, fin: first & 0x80 != 0, left, mask })
    }

    /// Takes bytes of a frame's payload; false: there are none.
    fn read_payload(&mut self, mut frame: Frame, bytes: &mut &[u8]) -> bool {
        let count = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
        let Some((taken, rest)) = bytes.split_at_checked(count).filter(|_| count > 0) else { return false };
        if frame.opcode.is_control() {
            for byte in taken {
                let mask = frame.mask.get(self.control_bytes % 4).copied().unwrap_or_default();
                if let Some(place) = self.control.get_mut(self.control_bytes) {
                    *place = byte ^ mask;
                }
                self.control_bytes += 1;
            }
        }
        frame.left -= count as u64;
        self.frame = Some(frame);
        *bytes = rest;
        true
    }

    /// The frame is whole.
    fn finish(&mut self, frame: Frame, handle: &mut dyn FnMut(Said<'_>)) -> Result<(), Violation> {
        self.frame = None;
        let control = self.control.get(..self.control_bytes).unwrap_or_default();
        match frame.opcode {
            Opcode::Ping => handle(Said::Ping(control)),
            Opcode::Close => {
                let code = close_code(control)?;
                self.over = true;
                handle(Said::Close(code));
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary if frame.fin => self.message = None,
            Opcode::Pong | Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
        }
        Ok(())
    }
}

/// RFC 6455, 7.4.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    if payload.is_empty() {
        return Ok(None);
    }
    let (code, reason) = payload.split_first_chunk::<2>().ok_or(Violation::Close)?;
    let code = u16::from_be_bytes(*code);
    // Between them are those that only the program itself may see, and those that nobody has defined.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Close);
    }
    std::str::from_utf8(reason).map_err(|_| Violation::NotText)?;
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            short @ 0..126 => out.push(0x80 | short as u8),
            middle @ 126..0x1_0000 => {
                out.push(0x80 | 0x7E);
                out.extend((middle as u16).to_be_bytes());
            }
            long => {
                out.push(0x80 | 0x7F);
                out.extend((long as u64).to_be_bytes());
            }
        }
        out.extend(MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    fn read(bytes: &[u8], step: usize) -> (Vec<String>, Result<(), Violation>) {
        let (mut reader, mut said) = (Reader::default(), Vec::new());
        for piece in bytes.chunks(step) {
            if let Err(violation) = reader.read(piece, &mut |heard| said.push(format!("{heard:?}"))) {
                return (said, Err(violation));
            }
        }
        (said, Ok(()))
    }

    #[test]
    fn what_wants_an_answer_is_told_in_whatever_pieces_it_comes() {
        // A ping within a message in pieces, text and data, a pong that nobody asked for, the goodbye, and more behind it.
        let all = [
            frame(0x01, b"he"),
            frame(0x89, b"are you there?"),
            frame(0x80, b"llo"),
            frame(0x82, &[7; 300]),
            frame(0x82, &vec![7; 0x1_0000]),
            frame(0x8A, b"x"),
            frame(0x89, b""),
            frame(0x88, b"\x03\xe8bye"),
            frame(0x89, b"late"),
            b"\xFF\xFF\xFF".to_vec(),
        ]
        .concat();
        let expected: Vec<String> = [Said::Ping(b"are you there?"), Said::Ping(b""), Said::Close(Some(1000))]
            .iter()
            .map(|said| format!("{said:?}"))
            .collect();
        for step in [1, 2, 3, 7, 1000, all.len()] {
            assert_eq!(read(&all, step), (expected.clone(), Ok(())), "pieces of {step}");
        }
    }

    #[test]
    fn what_breaks_the_rules_ends_it() {
        let check = |bytes: &[u8], violation: Violation, code: u16| {
            for step in [1, bytes.len()] {
                assert_eq!(read(bytes, step), (Vec::new(), Err(violation)), "{bytes:x?}");
            }
            assert_eq!(violation.code(), code);
        };
        check(&frame(0xC2, b""), Violation::Reserved, 1002);
        check(&frame(0x83, b""), Violation::Opcode, 1002);
        check(&frame(0x8B, b""), Violation::Opcode, 1002);
        check(b"\x82\x05hello", Violation::Unmasked, 1002);
        check(&frame(0x89, &[0; 126]), Violation::Control, 1002);
        check(&frame(0x09, b"x"), Violation::Control, 1002);
        check(&frame(0x80, b"x"), Violation::Order, 1002);
        check(&[frame(0x01, b"x"), frame(0x81, b"y")].concat(), Violation::Order, 1002);
        check(b"\x82\xfe\x00\x7d\0\0\0\0", Violation::Length, 1002);
        check(b"\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0", Violation::Length, 1002);
        check(b"\x82\xff\x80\0\0\0\0\x01\0\0\0\0\0\0", Violation::Length, 1002);
        check(b"\x82\xff\0\0\0\0\0\x01\0\x01\0\0\0\0", Violation::TooBig, 1009);
        check(&[frame(0x02, &vec![0; 0x1_0000]), frame(0x80, b"x")].concat(), Violation::TooBig, 1009);
        check(&frame(0x88, b"\x03"), Violation::Close, 1002);
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            check(&frame(0x88, &code.to_be_bytes()), Violation::Close, 1002);
        }
        check(&frame(0x88, b"\x03\xe8\xff"), Violation::NotText, 1007);
    }

    #[test]
    fn a_goodbye_may_say_nothing() {
        assert_eq!(read(&frame(0x88, b""), 1).0, [format!("{:?}", Said::Close(None))]);
    }
}
