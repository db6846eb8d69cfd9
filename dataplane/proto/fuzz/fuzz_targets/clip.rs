//! libFuzzer's entry to [`millstream_proto_fuzz::media::clip`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_proto_fuzz::media::clip(data));
