//! The Huffman code of HPACK (RFC 7541, 5.2 and appendix B): its tables are made when the crate is built.
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, so that the lengths say everything.
use super::error::HpackError;

/// The symbols: every byte, and the end of a string.
const SYMBOLS: usize = 257;
/// The symbol that ends a string: its first bits pad the last byte, and as a whole it may not stand in one.
const EOS: usize = 256;
/// The longest code, bits.
const CODE_BITS_MAX: u8 = 30;
/// Inner nodes of the tree: one less than it has leaves.
const NODES: usize = SYMBOLS - 1;

/// Bits of each symbol's code.
const CODE_BITS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

/// Each symbol's code, in its low bits.
#[expect(clippy::indexing_slicing, reason = "evaluated when the crate is built")]
const fn codes() -> [u32; SYMBOLS] {
    let mut codes = [0; SYMBOLS];
    let (mut next, mut bits) = (0, 1);
    while bits <= CODE_BITS_MAX {
        next <<= 1;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if CODE_BITS[symbol] == bits {
                codes[symbol] = next;
                next += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    codes
}

/// What four bits lead to from a node.
#[derive(Clone, Copy)]
struct Step {
    /// The node behind them.
    next: u8,
    /// The symbol that ends within them. No two do: the shortest code has five bits.
    symbol: Option<u8>,
    /// They complete the end of a string.
    eos: bool,
}

const REFUSED: Step = Step { next: 0, symbol: None, eos: true };

struct Decoding {
    steps: [[Step; 16]; NODES],
    /// Nodes that a string may end at: fewer than eight bits behind the last symbol, all of them ones.
    ends: [bool; NODES],
}

#[expect(clippy::indexing_slicing, reason = "evaluated when the crate is built")]
const fn decoding() -> Decoding {
    /// A child that is no node but a symbol.
    const LEAF: u16 = 0x8000;
    let codes = codes();
    // The children of each node by bit; 0 where there is none yet, since the root is nobody's child.
    let mut tree = [[0_u16; 2]; NODES];
    let (mut nodes, mut symbol) = (1, 0);
    while symbol < SYMBOLS {
        let (mut node, mut left) = (0, CODE_BITS[symbol]);
        while left > 0 {
            left -= 1;
            let bit = (codes[symbol] >> left & 1) as usize;
            if left == 0 {
                tree[node][bit] = LEAF | symbol as u16;
            } else {
                if tree[node][bit] == 0 {
                    tree[node][bit] = nodes;
                    nodes += 1;
                }
                node = tree[node][bit] as usize;
            }
        }
        symbol += 1;
    }
    assert!(nodes as usize == NODES, "the tree is full");

    let mut decoding = Decoding { steps: [[REFUSED; 16]; NODES], ends: [false; NODES] };
    let mut from = 0;
    while from < NODES {
        let mut nibble = 0;
        while nibble < 16 {
            let (mut node, mut left) = (from, 4);
            let (mut found, mut eos) = (None, false);
            while left > 0 {
                left -= 1;
                let child = tree[node][nibble >> left & 1];
                if child & LEAF == 0 {
                    node = child as usize;
                    continue;
                }
                node = 0;
                if (child & !LEAF) as usize == EOS {
                    eos = true;
                } else {
                    found = Some(child as u8);
                }
            }
            decoding.steps[from][nibble] = Step { next: node as u8, symbol: found, eos };
            nibble += 1;
        }
        from += 1;
    }
    let (mut node, mut ones) = (0, 0);
    while ones < 8 {
        decoding.ends[node] = true;
        node = tree[node][1] as usize;
        ones += 1;
    }
    decoding
}

static CODES: [u32; SYMBOLS] = codes();
static DECODING: Decoding = decoding();

/// Adds the decoded string to `out`: at most 8/5 of its length.
pub(super) fn decode(encoded: &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    let mut node = 0_u8;
    for byte in encoded {
        for nibble in [byte >> 4, byte & 0x0F] {
            let steps = DECODING.steps.get(usize::from(node));
            let step = steps.and_then(|steps| steps.get(usize::from(nibble))).copied().unwrap_or(REFUSED);
            if step.eos {
                return Err(HpackError::Huffman);
            }
            out.extend(step.symbol);
            node = step.next;
        }
    }
    if DECODING.ends.get(usize::from(node)).copied().unwrap_or_default() { Ok(()) } else { Err(HpackError::Huffman) }
}

/// Bytes of a string once it is encoded.
pub(super) fn encoded_bytes(plain: &[u8]) -> usize {
    let bits = |byte: &u8| CODE_BITS.get(usize::from(*byte)).map_or(0, |bits| usize::from(*bits));
    plain.iter().map(bits).sum::<usize>().div_ceil(8)
}

/// Adds the encoded string to `out`.
pub(super) fn encode(plain: &[u8], out: &mut Vec<u8>) {
    let (mut waiting, mut waiting_bits) = (0_u64, 0_u8);
    for byte in plain {
        let symbol = usize::from(*byte);
        let (Some(code), Some(bits)) = (CODES.get(symbol), CODE_BITS.get(symbol)) else { continue };
        // At most 7 bits wait here, so there is room for the longest code.
        waiting = waiting << bits | u64::from(*code);
        waiting_bits += bits;
        while waiting_bits >= 8 {
            waiting_bits -= 8;
            out.push((waiting >> waiting_bits) as u8);
        }
    }
    if waiting_bits > 0 {
        let padding = 8 - waiting_bits;
        out.push((waiting << padding) as u8 | 0xFF >> waiting_bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Random;

    fn decoded(encoded: &[u8]) -> Result<Vec<u8>, HpackError> {
        let mut out = Vec::new();
        decode(encoded, &mut out).map(|()| out)
    }

    #[test]
    fn codes_of_the_rfc() {
        let check = |symbol: usize, code: u32, bits: u8| assert_eq!((CODES[symbol], CODE_BITS[symbol]), (code, bits));
        check(usize::from(b'0'), 0x0, 5);
        check(usize::from(b' '), 0x14, 6);
        check(usize::from(b'X'), 0xFC, 8);
        check(0, 0x1FF8, 13);
        check(usize::from(b'\\'), 0x7_FFF0, 19);
        check(10, 0x3FFF_FFFC, 30);
        check(255, 0x03FF_FFEE, 26);
        check(EOS, 0x3FFF_FFFF, 30);
    }

    /// RFC 7541, C.4 and C.6.
    #[test]
    fn examples_of_the_rfc() {
        let check = |plain: &[u8], encoded: &[u8]| {
            assert_eq!(decoded(encoded).as_deref(), Ok(plain));
            let mut out = Vec::new();
            encode(plain, &mut out);
            assert_eq!(out, encoded);
            assert_eq!(encoded_bytes(plain), encoded.len());
        };
        check(b"", b"");
        check(b"www.example.com", b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff");
        check(b"no-cache", b"\xa8\xeb\x10\x64\x9c\xbf");
        check(b"custom-value", b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf");
        check(
            b"Mon, 21 Oct 2013 20:13:21 GMT",
            b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff",
        );
        check(b"302", b"\x64\x02");
    }

    #[test]
    fn every_byte_survives() {
        let mut random = Random::new(7);
        let all: Vec<u8> = (0..=255).collect();
        for round in 0..2_000 {
            let from = random.below(256);
            let plain: Vec<u8> =
                if round == 0 { all.clone() } else { (0..random.below(40)).map(|_| random.next() as u8).collect() };
            let mut encoded = Vec::new();
            encode(&plain, &mut encoded);
            assert_eq!(decoded(&encoded), Ok(plain), "{from}");
            assert!(encoded.len() <= 40 * 4 || round == 0);
        }
    }

    /// Section 5.2: padding of eight bits or more, padding that is not ones, and the end of a string in full.
    #[test]
    fn wrong_endings_are_refused() {
        let check = |encoded: &[u8]| assert_eq!(decoded(encoded), Err(HpackError::Huffman), "{encoded:x?}");
        check(b"\xff");
        check(b"\x1f\xff");
        check(b"\x00");
        check(b"\x1e");
        check(b"\xff\xff\xff\xff");
        check(b"\xff\xff\xff\xfc");
        assert_eq!(decoded(b"\x1f").as_deref(), Ok(&b"a"[..]));
    }
}
