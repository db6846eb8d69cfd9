//! libFuzzer's entry to [`millstream_proto_fuzz::media::mp4`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_proto_fuzz::media::mp4(data));
