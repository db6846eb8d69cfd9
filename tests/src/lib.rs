//! Harness of the end-to-end tests: the real binary, real clients, and readers of our own that share no code with the server.
//!
//! Reading order: [`server`] (starts and watches the binary), [`tools`] (ffmpeg and other programs as children), [`clip`] (media to
//! push), [`odd`] (the same as some encoders make it), [`rtmp`] (a publisher and a player), [`encoder`] (a publisher whose every word the test chooses), [`raw`] (RTMP that no
//! library would say), [`relay`] (a network with a delay), [`throttle`] (one that is slow), [`http`] and [`flv`] (a viewer), [`crowd`] (many viewers), [`control`] (the API), [`receiver`] (of webhooks), [`hls`] (a validator of playlists), [`dash`] (the same for manifests),
//! [`cdn`] (caches in front of the server), [`documents`] (commands that readers are told to run), [`proc`] (what the kernel says about the server), [`machine`] (whether there was time for what a test measures).
//!
//! Invariants: nothing here sleeps where it can poll with a deadline; no test needs a fixed port; a server never outlives its test.
#![forbid(unsafe_code)]
// Nobody reads this as a reference: a comment that only repeats a name is none.
#![allow(missing_docs)]

pub mod cdn;
#[cfg(test)]
mod circles;
pub mod clip;
pub mod control;
pub mod crowd;
pub mod dash;
pub mod documents;
pub mod encoder;
pub mod flv;
pub mod hls;
pub mod http;
pub mod machine;
pub mod odd;
pub mod proc;
pub mod raw;
pub mod receiver;
pub mod relay;
pub mod rtmp;
pub mod server;
pub mod throttle;
#[cfg(test)]
mod tidy;
pub mod tools;

use std::time::{Duration, Instant};

/// Tries until `attempt` gives something, or panics with `what` when the time is over.
pub fn eventually<T>(what: &str, within: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A duration in seconds: tests read better with it.
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A duration in milliseconds.
pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The value that `fraction` of the samples do not exceed.
pub fn percentile(samples: &mut [Duration], fraction: f64) -> Duration {
    assert!(!samples.is_empty(), "no samples");
    samples.sort_unstable();
    samples[((samples.len() - 1) as f64 * fraction).round() as usize]
}
