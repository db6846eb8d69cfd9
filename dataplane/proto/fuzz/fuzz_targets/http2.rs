//! libFuzzer's entry to [`millstream_proto_fuzz::http2::http2`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_proto_fuzz::http2::http2(data));
