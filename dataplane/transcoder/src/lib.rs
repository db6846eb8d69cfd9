//! Has renditions and pictures made, and streams watched for motion: keeps a worker process, and tells it what viewers ask for. Before it: the engine's shards, which say what is wanted;
//! after it: `millstream worker`, which reads streams and publishes renditions at this node's own ports.
//!
//! Reading order: [`workers`] (what shards talk to), [`table`] (what is wanted, and what a worker has to be told of it), [`states`] (how that goes, and the events of it), [`loads`] (how much it is), [`snapshots`]
//! (pictures), [`sprites`] (small ones of recordings), [`watches`] (motion) with [`hooks`], [`crashes`] (streams that end workers), [`marks`] and [`fetch`] (what is drawn over renditions, and its images), [`addresses`] (where a worker finds its node), [`encoder`] (what encodes), [`ffmpeg`] (which one there is), [`program`] (what is run), [`process`]
//! (a worker, from its start to its end).
//!
//! Workers of other machines: [`remote`] (the port that they come to) with [`greeting`]; on the other machine [`far`] (a small supervisor, which holds the connection and keeps the process that
//! decodes) with [`link`] (its questions to control).
mod addresses;
mod crashes;
mod encoder;
mod far;
mod fetch;
mod ffmpeg;
mod greeting;
mod hooks;
mod link;
mod loads;
mod marks;
mod process;
mod program;
mod remote;
mod snapshots;
mod sprites;
mod states;
mod table;
mod watches;
mod workers;

pub use addresses::{Addresses, Introduced};
pub use encoder::{EncoderChoice, NoEncoder};
pub use far::{FarWorker, is_worker_url, serve_far};
pub use ffmpeg::{FfmpegChoice, Installed, NoFfmpeg, look};
pub use hooks::{MotionHook, MotionHooks, Sealer, TallyTaker};
pub use link::LinkTo;
pub use millstream_worker::protocol::{
    Change, EncoderName, HookKey, HookSpec, HookTally, MotionSettings, Region, WhyEnded,
};
pub use program::Program;
pub use remote::RemotePort;
pub use sprites::{Keyframe, NoSprite, Sprite};
pub use watches::Seen;
pub use workers::{Watching, Where, Workers};
