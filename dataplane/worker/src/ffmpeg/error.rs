//! Why a child of `ffmpeg` is of no use. Before it: whoever watches over one ([`super::child`]); after it: its rendition, or its stream, which tries again or
//! ends.

/// Why a child is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FfmpegError {
    /// There is none.
    #[error("ffmpeg cannot be started: {0}")]
    Start(String),
    /// It has ended, and what it said last.
    #[error("ffmpeg ended: {0}")]
    Ended(String),
    /// It takes or gives nothing.
    #[error("ffmpeg has given nothing for {0} s, and was ended")]
    Hangs(u64),
    /// What it gives is not what was asked for.
    #[error("ffmpeg gives what was not asked for ({0}), and was ended")]
    Garbage(&'static str),
}
