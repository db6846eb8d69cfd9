//! libFuzzer's entry to [`millstream_proto_fuzz::text::cmcd`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_proto_fuzz::text::cmcd(data));
