//! Header blocks of the RFC, of the specification's test suite, and of attackers.
use super::{Decoder, Fields, HpackError, TABLE_SIZE_ZERO, encode_field};
use crate::limits::HPACK_TABLE_BYTES_MAX;
use crate::testkit::{Random, survives_damage};

const LIST_BYTES_MAX: usize = 16 << 10;

fn text(fields: &Fields) -> Vec<String> {
    let line = |(name, value): (&[u8], &[u8])| {
        format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    };
    fields.iter().map(line).collect()
}

/// RFC 7541, C.3 (plain) and C.4 (Huffman): three requests on one connection, with the table between them.
#[test]
fn requests_of_the_rfc() {
    let expected: [&[&str]; 3] = [
        &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
        &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"],
        &[
            ":method: GET",
            ":scheme: https",
            ":path: /index.html",
            ":authority: www.example.com",
            "custom-key: custom-value",
        ],
    ];
    let plain: [&[u8]; 3] = [
        b"\x82\x86\x84\x41\x0fwww.example.com",
        b"\x82\x86\x84\xbe\x58\x08no-cache",
        b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
    ];
    let huffman: [&[u8]; 3] = [
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
        b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::default();
        for (block, expected) in blocks.iter().zip(expected) {
            assert_eq!(text(&decoder.decode(block, LIST_BYTES_MAX).unwrap()), expected);
        }
    }
}

/// RFC 7541, C.6, whose table of 256 bytes evicts.
#[test]
fn answers_of_the_rfc_evict() {
    let blocks: [&[u8]; 3] = [
        b"\x3f\xe1\x01\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\
          \x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff\x6e\x91\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3",
        b"\x48\x83\x64\x0e\xff\xc1\xc0\xbf",
        b"\x88\xc1\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x84\xa6\x2d\x1b\xff\xc0\x5a\
          \x83\x9b\xd9\xab\x77\xad\x94\xe7\x82\x1d\xd7\xf2\xe6\xc7\xb3\x35\xdf\xdf\xcd\x5b\x39\x60\xd5\xaf\x27\x08\x7f\x36\
          \x72\xc1\xab\x27\x0f\xb5\x29\x1f\x95\x87\x31\x60\x65\xc0\x03\xed\x4e\xe5\xb1\x06\x3d\x50\x07",
    ];
    let expected: [&[&str]; 3] = [
        &[
            ":status: 302",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:21 GMT",
            "location: https://www.example.com",
        ],
        &[
            ":status: 307",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:21 GMT",
            "location: https://www.example.com",
        ],
        &[
            ":status: 200",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:22 GMT",
            "location: https://www.example.com",
            "content-encoding: gzip",
            "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ],
    ];
    let mut decoder = Decoder::default();
    for (block, expected) in blocks.iter().zip(expected) {
        assert_eq!(text(&decoder.decode(block, LIST_BYTES_MAX).unwrap()), expected);
    }
}

#[test]
fn blocks_that_are_refused() {
    let check = |block: &[u8], expected: HpackError| {
        assert_eq!(Decoder::default().decode(block, LIST_BYTES_MAX), Err(expected), "{block:x?}");
    };
    check(b"\x80", HpackError::Index(0));
    check(b"\xbe", HpackError::Index(62));
    check(b"\x7f\x00\x01a", HpackError::Index(63));
    check(b"\xff\xff\xff\xff\xff\x0f", HpackError::Integer);
    check(b"\x82\x20", HpackError::TableSizeLate);
    check(b"\x3f\xe2\x1f", HpackError::TableSize(4097));
    check(b"\x40\x05ab", HpackError::Truncated);
    check(b"\x40", HpackError::Truncated);
    check(b"\x00\x01a\x82\x1f\xff", HpackError::Huffman);
    check(b"\x00\x01a\x84\xff\xff\xff\xff", HpackError::Huffman);
    for block in [&b"\x20\x3f\xe1\x1f\x82"[..], b"", b"\x3f\xe1\x1f"] {
        assert!(Decoder::default().decode(block, LIST_BYTES_MAX).is_ok());
    }
}

/// A byte that stands for 4 KiB, 16,000 times: counted, not copied.
#[test]
fn a_bomb_is_counted_and_not_unpacked() {
    let mut decoder = Decoder::default();
    let mut block = b"\x40\x01a\x7f\xa1\x1e".to_vec();
    block.resize(block.len() + 4000, b'x');
    let fields = decoder.decode(&block, LIST_BYTES_MAX).unwrap();
    assert_eq!((fields.len(), fields.is_too_long()), (1, false));
    let fields = decoder.decode(&[0xBE; 16_000], LIST_BYTES_MAX).unwrap();
    assert_eq!((fields.len(), fields.is_too_long()), (4, true));
    assert!(fields.held_bytes() <= 2 * LIST_BYTES_MAX, "{}", fields.held_bytes());
    // The table goes on.
    assert_eq!(decoder.decode(b"\xbe", LIST_BYTES_MAX).unwrap().len(), 1);
}

#[test]
fn what_is_written_is_read() {
    let mut random = Random::new(11);
    let mut decoder = Decoder::default();
    for _ in 0..500 {
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = vec![
            (b":status".to_vec(), b"200".to_vec()),
            (b"content-type".to_vec(), b"video/x-flv".to_vec()),
            (b"set-cookie".to_vec(), b"a=b".to_vec()),
        ];
        for _ in 0..random.below(5) {
            let letter = |random: &mut Random| b'a' + random.below(26) as u8;
            let name = (0..=random.below(200)).map(|_| letter(&mut random)).collect();
            fields.push((name, (0..random.below(300)).map(|_| random.next() as u8).collect()));
        }
        let mut block = vec![TABLE_SIZE_ZERO];
        for (name, value) in &fields {
            encode_field(&mut block, name, value);
        }
        let read = decoder.decode(&block, usize::MAX).unwrap();
        assert!(read.iter().eq(fields.iter().map(|(name, value)| (&name[..], &value[..]))));
        assert_eq!(decoder.held_bytes(), 0, "nothing of ours asks for a table");
    }
}

#[test]
fn damage_is_survived_and_memory_has_a_bound() {
    let samples: [&[u8]; 3] = [
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\xbe",
        b"\x3f\xe1\x01\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf\xbe",
        b"\x20\x3f\xe1\x1f\x48\x83\x64\x0e\xff\x40\x01a\x01b\x10\x01c\x01d\x0f\x10\x03\x62\x72\x2c",
    ];
    let mut decoder = Decoder::default();
    survives_damage(&samples, |block| {
        if let Ok(fields) = decoder.decode(block, 256) {
            assert!(fields.held_bytes() <= 1024);
        }
        assert!(decoder.held_bytes() <= 2 * HPACK_TABLE_BYTES_MAX);
    });
}
