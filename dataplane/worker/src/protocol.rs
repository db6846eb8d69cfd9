//! What a node and its worker say to each other over the worker's standard input and output. Before it: the node's supervisor, which writes
//! [`Order`]s; after it: the worker's jobs, whose [`Report`]s go the other way. A worker of another machine has a connection in between, which begins with
//! [`Greeting`]s.
//!
//! A message is a JSON header and a payload, each behind its length ([`frame`]). Fields are only added, each with a default; a message or a
//! word that is not known becomes `Unknown` and costs no more than itself. Addresses hold tokens, so they are [`SecretUrl`]s.
mod capacity;
mod encoder;
mod frame;
mod greeting;
mod hook;
mod marks;
mod motion;
mod secret_url;
#[cfg(test)]
mod tests;

pub use capacity::{Capacity, macroblocks};
pub use encoder::{EncoderName, NoEncoder, PictureCodec};
pub use frame::{FrameError, HEADER_BYTES_MAX, Message, PAYLOAD_BYTES_MAX, Reader, encode};
pub use greeting::{GREETING_BYTES_MAX, Greeting, Hello, Skills, WHY_CHARS_MAX};
pub use hook::{HookKey, HookSpec, HookTally, HookUse};
pub use marks::{Image, JPEG_BEGINS, Marks, PNG_BEGINS, Text};
pub use motion::{Change, MotionSettings, Region, WhyEnded};
pub use secret_url::SecretUrl;

use serde::{Deserialize, Serialize};

/// The version of these shapes, in [`Report::Ready`]. The worker is the same binary as the node, or one of another release on another machine.
pub const PROTOCOL: u32 = 1;

/// Renditions of one job.
pub const RENDITIONS_MAX: usize = 8;
/// Characters of a rendition's name.
pub const NAME_CHARS_MAX: usize = 32;
/// Tiles of one sprite.
pub const TILES_MAX: usize = 64;
/// JPEG quality where a [`Order::Snapshot`] says none.
pub const QUALITY: u8 = 80;
/// Largest picture that is decoded, pixels across and down.
pub const SOURCE_WIDTH_MAX: u32 = 4096;
/// See [`SOURCE_WIDTH_MAX`].
pub const SOURCE_HEIGHT_MAX: u32 = 2304;

/// What the node wants of its worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Order {
    /// The node's ports take connections from this machine behind a PROXY header alone: each connection from now on begins with one that names nobody.
    Introduce {
        /// The port for viewers.
        http: bool,
        /// The port for publishers.
        rtmp: bool,
    },
    /// Begin to make renditions of a stream. The number is new with each start; the job stands until [`Order::Stop`], or until
    /// [`Report::Ended`] without a rendition.
    Start {
        /// The number of the job, which reports repeat.
        job: u64,
        /// The stream as HTTP-FLV: `http://HOST:PORT/<id>/live.flv?job=<token>`. The host is a number: the worker's sandbox looks up no names.
        source: SecretUrl,
        /// What to make.
        renditions: Vec<Rendition>,
        /// What is drawn over them from the first picture on. The payload is the image's file, where there is an image.
        #[serde(default)]
        marks: Marks,
    },
    /// The new whole set of a job's renditions: those of the same name, size, rate and address go on untouched.
    Renditions {
        /// The job.
        job: u64,
        /// What to make from now on.
        renditions: Vec<Rendition>,
    },
    /// What is drawn over a job's renditions from now on, instead of what was before: [`Report::Marked`] answers. The payload is as at [`Order::Start`].
    Marks {
        /// The job.
        job: u64,
        /// What to draw.
        marks: Marks,
    },
    /// End a job at once. [`Report::Ended`] of the job follows.
    Stop {
        /// The job.
        job: u64,
    },
    /// Take a picture of a stream: [`Report::Picture`] or [`Report::Failed`] answers.
    Snapshot {
        /// The number of the request, which the answer repeats.
        request: u64,
        /// The stream as HTTP-FLV.
        source: SecretUrl,
        /// Pixels across at most; the picture is never enlarged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        width_max: Option<u32>,
        /// JPEG quality, 1 to 100.
        #[serde(default = "quality")]
        quality: u8,
    },
    /// Make one picture of keyframes of H.264, in rows, each as small as its tile. The payload is what [`Tile`]s say, one behind the other.
    /// [`Report::Sprite`] answers; one is made at a time.
    Sprite {
        /// The number of the request, which the answer repeats.
        request: u64,
        /// Tiles of a row.
        columns: u32,
        /// The box that each tile is fitted into, pixels.
        tile_width_max: u32,
        /// See `tile_width_max`.
        tile_height_max: u32,
        /// The keyframes, in order.
        tiles: Vec<Tile>,
    },
    /// Look for motion in a stream. The number is new with each; the watch stands until [`Order::Unwatch`], or until [`Report::WatchEnded`].
    Watch {
        /// The number of the watch, which reports repeat.
        watch: u64,
        /// The stream as HTTP-FLV.
        source: SecretUrl,
        /// What is looked for.
        motion: MotionSettings,
        /// The hook that looks in place of the built-in detector.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hook: Option<HookUse>,
        /// One that looks beside it, and is compared with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shadow: Option<HookUse>,
    },
    /// End a watch at once, without a word.
    Unwatch {
        /// The watch.
        watch: u64,
    },
    /// What the modules of hooks are authenticated with: before the first of them.
    HookKey {
        /// Of this worker alone.
        key: HookKey,
    },
    /// Make a motion hook ready: the payload is its compiled module. The number is new with each.
    Hook {
        /// The number of the hook, which watches name.
        hook: u64,
        /// What it is.
        spec: HookSpec,
    },
    /// No watch that comes names this hook.
    Unhook {
        /// The hook.
        hook: u64,
    },
    /// Say that you are there: [`Report::Pong`] answers. Told to workers of other machines, every few seconds.
    Ping,
    /// A newer order than this version knows.
    #[serde(other)]
    Unknown,
}

const fn quality() -> u8 {
    QUALITY
}

/// One rendition of a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rendition {
    /// Its name below the stream: `360p`.
    pub name: String,
    /// Where it is published: `rtmp://HOST:PORT/stream/<id>/<name>?job=<token>`.
    pub push: SecretUrl,
    /// The box that the picture is fitted into, pixels; the source's aspect ratio is kept.
    pub width_max: u32,
    /// See [`Rendition::width_max`].
    pub height_max: u32,
    /// Bit rate of the video.
    pub video_kbit_s: u32,
    /// What the picture is encoded as.
    #[serde(default)]
    pub codec: PictureCodec,
}

/// One keyframe of an [`Order::Sprite`]: how many bytes of the payload its record (`avcC`) has, and its frame behind that, NAL units with lengths.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tile {
    /// Of the record.
    pub record_bytes: u32,
    /// Of the frame.
    pub frame_bytes: u32,
}

/// What the worker tells the node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Report {
    /// The first message: orders are taken.
    Ready {
        /// [`PROTOCOL`] of the worker.
        protocol: u32,
        /// Version of the program.
        version: String,
        /// What it can hold.
        #[serde(default)]
        capacity: Capacity,
        /// What keeps it in.
        #[serde(default)]
        sandbox: Sandbox,
    },
    /// A rendition was accepted by the server that it is pushed to, and its first keyframe was sent. Said again after each reconnection.
    Started {
        /// The job.
        job: u64,
        /// Name of the rendition.
        rendition: String,
        /// Size of its picture, pixels.
        width: u32,
        /// See `width`.
        height: u32,
    },
    /// The marks of a job are drawn, as far as they can be. Said where a job begins with some, and after each [`Order::Marks`].
    Marked {
        /// The job.
        job: u64,
        /// Characters of the text that no font has, the first of them.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        lacking: String,
        /// Why there is no image, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A rendition is over, or the whole job where none is named.
    Ended {
        /// The job.
        job: u64,
        /// The rendition that ended; the others go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rendition: Option<String>,
        /// The reason in one word.
        why: Why,
        /// For people, without secrets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The picture of a [`Order::Snapshot`]; the payload is the JPEG.
    Picture {
        /// The request.
        request: u64,
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// When it is presented, milliseconds of the stream's timeline.
        pts_ms: u32,
    },
    /// There is no picture.
    Failed {
        /// The request.
        request: u64,
        /// The reason in one word.
        why: Why,
        /// For people, without secrets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// What a [`Order::Sprite`] came to; the payload is the JPEG. Empty: there is none.
    Sprite {
        /// The request.
        request: u64,
        /// Pixels of a tile.
        tile_width: u32,
        /// See `tile_width`.
        tile_height: u32,
        /// Tiles that show a picture; the others are grey.
        drawn: u32,
        /// Why there is none, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// How a job does, every few seconds.
    Load {
        /// The job.
        job: u64,
        /// Pictures decoded since the last report, a second.
        decoded_fps: f32,
        /// From the arrival of a frame to the push of the one with its decode time in any rendition: the worst since the last report,
        /// milliseconds.
        behind_ms: u32,
        /// Frames that could not be decoded, since the start.
        #[serde(default)]
        frames_lost: u64,
        /// Connections to the source, since the start.
        #[serde(default)]
        connections: u32,
        /// Renditions that this machine was too slow for, since the start.
        #[serde(default)]
        shed: Vec<String>,
    },
    /// What was seen of a stream. Of one that starts the payload is the picture of the moment, a JPEG.
    Motion {
        /// The watch.
        watch: u64,
        /// The stream's time now, milliseconds of its timeline: what its other times are held against.
        now_ms: i64,
        /// What has changed.
        motion: Change,
    },
    /// How a watch does: with its first picture, and every few seconds.
    Watched {
        /// The watch.
        watch: u64,
        /// Pictures that were looked at since the last report, a second.
        pictures_s: f32,
        /// They are those that are decoded for renditions of the stream.
        #[serde(default)]
        shared: bool,
        /// Frames that could not be decoded, since the start.
        #[serde(default)]
        frames_lost: u64,
    },
    /// What calls of a watch's hook came to since this was told last.
    Hooked {
        /// The watch.
        watch: u64,
        /// The calls.
        tally: HookTally,
        /// They are those of the hook that looks beside.
        #[serde(default)]
        shadow: bool,
    },
    /// A watch is over.
    WatchEnded {
        /// The watch.
        watch: u64,
        /// The reason in one word.
        why: Why,
        /// For people, without secrets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The last that a process says which a fault of its code ends: what the thread was for in which that happened. One of them is told.
    Crashed {
        /// The job.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<u64>,
        /// The watch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        watch: Option<u64>,
        /// The request for a picture.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<u64>,
    },
    /// The answer to [`Order::Ping`].
    Pong,
    /// A newer report than this version knows.
    #[serde(other)]
    Unknown,
}

/// Why something ended, or is not made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// [`Order::Stop`], or [`Order::Renditions`] without it.
    Stopped,
    /// The source is no more: its server says 404.
    Gone,
    /// A codec or a format that is not decoded here.
    Unsupported,
    /// The source's picture is larger than is decoded here.
    TooLarge,
    /// The rendition would be larger than its source.
    NotSmaller,
    /// This machine does not keep up.
    TooSlow,
    /// The worker has as many jobs as it takes.
    Full,
    /// The order is not as it should be.
    BadOrder,
    /// There is no picture that can be decoded.
    NoPicture,
    /// The source cannot be reached, or does not say what it should.
    Source,
    /// Something here failed.
    Failed,
    /// A newer reason than this version knows.
    #[serde(other)]
    Unknown,
}

/// What keeps the worker in, as far as this kernel can.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    /// It cannot gain privileges.
    pub no_new_privs: bool,
    /// Its system calls are filtered.
    pub seccomp: bool,
    /// It reaches no file.
    pub landlock: bool,
    /// Memory, files and dumps are limited.
    pub limits: bool,
}
