//! libFuzzer's entry to [`millstream_proto_fuzz::tls::tls`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_proto_fuzz::tls::tls(data));
