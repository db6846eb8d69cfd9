//! What a worker of another machine and a node say to each other before the first order: who they are, and that both have the same ticket of control. Before
//! it: the worker has connected; after it: [`super::Order`]s and [`super::Report`]s, on the same connection and in the same frames.
use serde::{Deserialize, Serialize};

/// Bytes of a greeting: nobody has proved anything yet.
pub const GREETING_BYTES_MAX: usize = 4 << 10;
/// Characters of a reason that is passed on.
pub const WHY_CHARS_MAX: usize = 300;

/// In this order: [`Greeting::Hello`], [`Greeting::Welcome`], [`Greeting::Proof`], [`Greeting::Accepted`], and the node's [`Greeting::Proof`]; the node may say
/// [`Greeting::Refused`] in place of what it would say. Each proof covers all that was said before it, as it came: what was changed on the way proves nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "greeting", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Greeting {
    /// The worker: who it is, and what it can.
    Hello(Hello),
    /// The node, which shows first that it is the one.
    Welcome {
        /// [`super::PROTOCOL`] of the node.
        protocol: u32,
        /// Its release.
        release: String,
        /// Said once.
        nonce: String,
        /// That it has the ticket.
        proof: String,
    },
    /// The worker, and at the end the node.
    Proof {
        /// That it has the ticket, and has heard what the other has said.
        proof: String,
    },
    /// The node: its proof follows, and then orders.
    Accepted {
        /// It is to be a worker that may run motion hooks.
        #[serde(default)]
        hooks: bool,
        /// The ports that streams are read from and published to: no other is reached.
        ports: Vec<u16>,
    },
    /// The node: nothing follows.
    Refused {
        /// What is wrong, and what to do.
        why: String,
    },
    /// A newer greeting than this version knows.
    #[serde(other)]
    Unknown,
}

/// What a worker says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// [`super::PROTOCOL`] of the worker.
    pub protocol: u32,
    /// Its release.
    pub release: String,
    /// Its name.
    pub worker: String,
    /// Its run: another one of this name is another process.
    pub run: u64,
    /// The node that it wants.
    pub node: String,
    /// How long its ticket is good.
    pub expires_unix_s: u64,
    /// Said once.
    pub nonce: String,
    /// The address that it has reached the node at: streams are read there as well.
    pub reached: String,
    /// What it can.
    pub skills: Skills,
}

/// What a worker decodes and encodes with.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Skills {
    /// H.264 of all kinds.
    pub h264_any: bool,
    /// H.265.
    pub hevc: bool,
    /// AV1.
    pub av1: bool,
    /// It encodes H.265.
    pub x265: bool,
    /// `openh264`, or `ffmpeg:` and the name of an encoder.
    pub encoder: String,
    /// Why no `ffmpeg` is used; empty: one is.
    pub no_ffmpeg: String,
}
