//! What each fuzz target does with its bytes. The entries in `fuzz_targets/` call these functions, and so does `tests/seeds.rs`, which
//! runs on stable Rust and without libFuzzer: each committed seed and damaged copies of it, and the committed corpus.
//!
//! ```sh
//! cargo install cargo-fuzz
//! cd dataplane/proto
//! mkdir /tmp/found && python3 fuzz/corpus.py unpack http_request /tmp/found
//! cargo +nightly fuzz run http_request /tmp/found fuzz/seeds/http_request -- -max_total_time=60 -rss_limit_mb=512
//! cargo test --manifest-path fuzz/Cargo.toml                                   # seeds and corpus, on stable
//! cargo test --manifest-path fuzz/Cargo.toml -- --ignored write_seeds          # make the seeds anew
//! ```
pub mod http2;
pub mod media;
pub mod rtmp;
pub mod sign;
pub mod text;
pub mod tls;

/// A target's function.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("flv_read", media::flv_read),
    ("clip", media::clip),
    ("unpack", media::unpack),
    ("codec", media::codec),
    ("http_request", text::http_request),
    ("query", text::query),
    ("cmcd", text::cmcd),
    ("hls_request", text::hls_request),
    ("recorded", text::recorded),
    ("cmaf", media::cmaf),
    ("mp4", media::mp4),
    ("proxy", text::proxy),
    ("websocket", text::websocket),
    ("http2", http2::http2),
    ("hpack", http2::hpack),
    ("amf0", rtmp::amf0),
    ("rtmp_chunk", rtmp::rtmp_chunk),
    ("rtmp_server", rtmp::rtmp_server),
    ("rtmp_client", rtmp::rtmp_client),
    ("sign", sign::sign),
    ("tls", tls::tls),
];

/// Cuts `data` into pieces whose lengths its first byte decides, so that the fuzzer finds what hangs on where a read ends.
pub fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let lengths = [usize::MAX, 1, 2, 3, 7, 11, 128, 1536];
    rest.chunks(lengths[usize::from(first % 8)])
}
