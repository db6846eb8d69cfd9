//! What the worker that there is can, and how much it does: for the API and the numbers. Before it: [`crate::states`] and [`crate::loads`]; after it: the node's
//! reports to control, and `/metrics`.
use std::sync::atomic::Ordering;
use std::time::Instant;

use millstream_control_protocol::exchange::WorkerLoad;
use millstream_hub::decodable::Beside;
use millstream_hub::encodable::{Encodable, PictureCodec};
use millstream_proto::id::Id;
use millstream_worker::protocol::Capacity;

use super::{Shared, Workers, held};
use crate::ffmpeg::{Installed, NoFfmpeg, decodes, encodes};
use crate::remote::Arrived;
use crate::states::Counts;

/// What is known of a worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Maker {
    pub(super) capacity: Capacity,
    pub(super) encoder: String,
    pub(super) no_ffmpeg: String,
}

impl Workers {
    /// Renditions of a stream that somebody asks for, and that this machine is too slow to make.
    pub fn shed(&self, stream: &str) -> Vec<String> {
        let shed = held(&self.0.shed);
        // Few have any: then no id is read.
        if shed.is_empty() {
            return Vec::new();
        }
        Id::new(stream).ok().and_then(|id| shed.get(&id).cloned()).unwrap_or_default()
    }

    /// What the worker does.
    pub fn load(&self) -> WorkerLoad {
        let wanted: usize = self.0.wanted().values().map(Vec::len).sum();
        let (_, watched) = self.0.watches().counts();
        let (decoded_fps, behind_ms) = self.0.loads().sum(Instant::now());
        let Maker { capacity, encoder, no_ffmpeg } = self.0.maker().clone();
        WorkerLoad {
            renditions: self.0.started.load(Ordering::Relaxed) as u64,
            renditions_wanted: wanted as u64,
            watched: watched as u64,
            decoded_fps,
            behind_ms,
            shed: self.0.states().counts().shed,
            restarts: self.0.restarts.load(Ordering::Relaxed),
            decodes: decodes(Beside::get()),
            encodes: encodes(Encodable::get()),
            encoder,
            no_ffmpeg,
            remote: self.0.remote.serving().unwrap_or_default(),
            cores: u64::from(capacity.cores),
            decode_mb_s: capacity.decode_mb_s as u64,
            encode_mb_s: capacity.encode_mb_s as u64,
        }
    }

    /// OpenMetrics text, without its end.
    pub fn numbers(&self) -> String {
        let WorkerLoad { renditions, renditions_wanted, watched, restarts, .. } = self.load();
        let (watches_wanted, _) = self.0.watches().counts();
        let Counts { started: begun, failed, shed } = self.0.states().counts();
        format!(
            "# HELP millstream_renditions Renditions that viewers ask for, and those that are made now.\n\
             # TYPE millstream_renditions gauge\n\
             millstream_renditions{{state=\"wanted\"}} {renditions_wanted}\n\
             millstream_renditions{{state=\"made\"}} {renditions}\n\
             # HELP millstream_renditions_begun Renditions that were begun because somebody asked for them.\n\
             # TYPE millstream_renditions_begun counter\n\
             millstream_renditions_begun_total {begun}\n\
             # HELP millstream_renditions_failed Renditions that somebody asked for and that could not be made, or broke off.\n\
             # TYPE millstream_renditions_failed counter\n\
             millstream_renditions_failed_total {failed}\n\
             # HELP millstream_renditions_shed Those of them that this machine was too slow for.\n\
             # TYPE millstream_renditions_shed counter\n\
             millstream_renditions_shed_total {shed}\n\
             # HELP millstream_worker_restarts Workers that ended and were started again.\n\
             # TYPE millstream_worker_restarts counter\n\
             millstream_worker_restarts_total {restarts}\n\
             # HELP millstream_motion_streams Streams in which motion is looked for, and those whose pictures are looked at now.\n\
             # TYPE millstream_motion_streams gauge\n\
             millstream_motion_streams{{state=\"wanted\"}} {watches_wanted}\n\
             millstream_motion_streams{{state=\"watched\"}} {watched}\n"
        )
    }
}

impl Shared {
    /// What is decoded and encoded is what this machine can.
    pub(crate) fn is_of_here(&self) {
        let found = self.ffmpeg.get().map(Result::as_ref);
        let installed = found.and_then(Result::ok);
        installed.map(Installed::beside).unwrap_or_default().set();
        Encodable::set_hevc(installed.is_some_and(|installed| installed.x265));
        let no_ffmpeg = found.and_then(Result::err).map(NoFfmpeg::to_string).unwrap_or_default();
        *self.maker() = Maker { encoder: self.encoder.to_string(), no_ffmpeg, ..Maker::default() };
    }

    /// It is what that worker can.
    pub(crate) fn is_of(&self, arrived: &Arrived) {
        let skills = &arrived.skills;
        Beside { h264: skills.h264_any, hevc: skills.hevc, av1: skills.av1 }.set();
        Encodable::set_hevc(skills.x265);
        // What of H.264 is encoded with is the worker's; that it is to be AV1 is the node's.
        let is_h264 = self.encoder.codec() == PictureCodec::H264;
        let encoder = if is_h264 { skills.encoder.clone() } else { self.encoder.to_string() };
        let no_ffmpeg = skills.no_ffmpeg.clone();
        *self.maker() = Maker { encoder, no_ffmpeg, ..Maker::default() };
    }
}
