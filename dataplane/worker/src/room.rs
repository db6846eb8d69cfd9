//! How many renditions this machine has room for: what cannot keep up is refused before it begins, and not when viewers see it stand still. Before it: a
//! rendition that is about to begin; after it: its encoder, or why there is none. Sans-IO, but for what is measured the first time.
//!
//! Of H.264 only what clearly does not fit is refused: what falls behind all the same is shed later, by [`crate::job`]. An encoder of AV1 works in one thread, so that a rendition that needs more than a core cannot be made, however many there are. One that does at half or a
//! third of its source's frame rate is made at that.
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::protocol::Capacity;

/// Frames of a second that are made at most: levels are chosen for as many.
const FPS_MAX: f32 = 30.5;
/// And at least, unless the source has fewer: what has less is no moving picture. A third of 29.97 is enough.
const FPS_MIN: f32 = 9.9;
/// So much of a core an encoder may need in the mean: key frames take more.
const CORE_SHARE: f32 = 0.75;
/// And of all cores, all of them together: the node and decoders have the rest.
const CORES_SHARE: f32 = 0.8;
/// What was measured of H.264 is the encoder alone. With scaling, its threads and real pictures a rendition takes about twice as much here: no less than this.
const AVC_FACTOR: f32 = 1.5;
const MILLI: f32 = 1_000.0;

/// Why a rendition does not fit.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
pub(crate) enum NoRoom {
    /// One core is not enough for it.
    #[error(
        "AV1 of {width}x{height} at {fps:.0} frames a second takes {cores:.1} of a core here, and an encoder has one; let it be smaller, or H.264"
    )]
    Slow { width: u32, height: u32, fps: f32, cores: f32 },
    /// Others take what there is, or it takes more than that by itself.
    #[error(
        "H.264 of {width}x{height} at {fps:.0} frames a second takes {cores:.1} of a core here, and the renditions that are being made leave {left:.1}"
    )]
    Avc { width: u32, height: u32, fps: f32, cores: f32, left: f32 },
    /// Others take what there is.
    #[error(
        "AV1 of {width}x{height} takes {cores:.1} of a core here, and renditions in AV1 that are being made leave {left:.1}"
    )]
    Taken { width: u32, height: u32, cores: f32, left: f32 },
}

/// How a rendition is made.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Pace {
    /// One of so many pictures.
    pub(crate) every: u32,
    /// Cores that it takes.
    pub(crate) cores: f32,
}

/// What there is for all renditions of a worker; of what was not measured, without an end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Without AV1.
    capacity: Capacity,
    /// AV1 alone.
    av1: OnceLock<Capacity>,
    /// Thousandths of a core, by encoders of H.264, and of AV1.
    avc_taken: AtomicU32,
    av1_taken: AtomicU32,
}

/// What one rendition takes. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: Room,
    milli: u32,
    is_av1: bool,
}

impl Room {
    /// Of a machine that does as much, of which AV1 is measured later.
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self(Arc::new(Inner { capacity, ..Inner::default() }))
    }

    /// Has `measure` find out what this machine does of AV1, unless that is known.
    pub(crate) fn measured_av1(&self, measure: impl FnOnce() -> Capacity) {
        self.0.av1.get_or_init(measure);
    }

    /// Takes the room for a rendition in H.264 of this size and frame rate. One is always tried.
    pub(crate) fn take_avc(&self, (width, height): (u32, u32), fps: f32) -> Result<Share, NoRoom> {
        let capacity = self.0.capacity;
        let cores = capacity.encode_cores((width, height), fps) * AVC_FACTOR;
        let all = capacity.cores as f32;
        self.take(false, cores, all).map_err(|left| NoRoom::Avc { width, height, fps, cores, left })
    }

    /// How a rendition in AV1 of this size is made of a source with so many frames a second.
    pub(crate) fn av1_pace(&self, (width, height): (u32, u32), source_fps: f32) -> Result<Pace, NoRoom> {
        let capacity = self.0.av1.get().copied().unwrap_or_default();
        let mut slowest = None;
        for every in 1.. {
            let fps = source_fps / every as f32;
            if every > 1 && fps < FPS_MIN {
                break;
            }
            if fps > FPS_MAX {
                continue;
            }
            let cores = capacity.av1_cores((width, height), fps);
            if cores <= CORE_SHARE {
                return Ok(Pace { every, cores });
            }
            slowest = Some((fps, cores));
        }
        let (fps, cores) = slowest.unwrap_or((source_fps, 0.0));
        Err(NoRoom::Slow { width, height, fps, cores })
    }

    /// Takes the room for a rendition in AV1 of this size.
    pub(crate) fn take_av1(&self, (width, height): (u32, u32), cores: f32) -> Result<Share, NoRoom> {
        let all = self.0.av1.get().map_or(0.0, |capacity| capacity.cores as f32 * CORES_SHARE);
        self.take(true, cores, all).map_err(|left| NoRoom::Taken { width, height, cores, left })
    }

    /// Takes so many cores of all that there are; how many are left, where those are fewer.
    fn take(&self, is_av1: bool, cores: f32, all: f32) -> Result<Share, f32> {
        let (milli, most) = ((cores * MILLI) as u32, (all * MILLI) as u32);
        // A single core is shared as well as it goes: one rendition is always tried.
        let fits = |taken: u32| (taken == 0 || taken.saturating_add(milli) <= most).then(|| taken + milli);
        match self.taken(is_av1).fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(Share { of: self.clone(), milli, is_av1 }),
            Err(taken) => Err(most.saturating_sub(taken) as f32 / MILLI),
        }
    }

    fn taken(&self, is_av1: bool) -> &AtomicU32 {
        if is_av1 { &self.0.av1_taken } else { &self.0.avc_taken }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.taken(self.is_av1).fetch_sub(self.milli, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that makes so many pictures of 640x360 a second.
    fn room(cores: u32, fps: f32) -> Room {
        let room = Room::default();
        room.measured_av1(|| Capacity { cores, av1_mb_s: fps * 920.0, ..Capacity::default() });
        room
    }

    #[test]
    fn what_does_not_keep_up_is_made_at_a_part_of_the_rate_or_not_at_all() {
        let every = |room: &Room, size, fps| room.av1_pace(size, fps).map(|pace| pace.every);
        let usual = room(2, 30.0);
        assert_eq!(every(&usual, (320, 180), 30.0), Ok(1));
        assert_eq!(every(&usual, (640, 360), 30.0), Ok(2));
        assert_eq!(every(&usual, (640, 360), 60.0), Ok(3));
        assert_eq!(every(&usual, (320, 180), 60.0), Ok(2), "levels are those of 30 a second");
        assert_eq!(every(&usual, (640, 360), 10.0), Ok(1));
        let slow = usual.av1_pace((1_280, 720), 30.0).unwrap_err().to_string();
        assert!(slow.starts_with("AV1 of 1280x720 at 10 frames a second takes 1.3 of a core here"), "{slow}");
        assert_eq!(every(&room(2, 200.0), (1_280, 720), 30.0), Ok(1));
        // Nothing was measured.
        assert_eq!(every(&Room::default(), (1_920, 1_080), 30.0), Ok(1));
    }

    #[test]
    fn h264_that_clearly_does_not_fit_is_refused_and_one_is_always_tried() {
        // 720p at 30 frames a second takes half a core by what was measured.
        let room = Room::new(Capacity { cores: 2, encode_mb_s: 216_000.0, ..Capacity::default() });
        let take = |size| room.take_avc(size, 30.0);
        let large = take((3_840, 2_160)).unwrap();
        let refused = take((640, 360)).unwrap_err().to_string();
        assert!(
            refused.starts_with("H.264 of 640x360 at 30 frames a second takes 0.2 of a core here, and"),
            "{refused}"
        );
        drop(large);
        let shares = [take((1_280, 720)).unwrap(), take((1_280, 720)).unwrap()];
        let refused = take((1_280, 720)).unwrap_err().to_string();
        assert!(
            refused.ends_with("takes 0.8 of a core here, and the renditions that are being made leave 0.5"),
            "{refused}"
        );
        // AV1 has its own share.
        assert!(room.take_av1((640, 360), 0.5).is_ok());
        drop(shares);
        assert!(take((1_280, 720)).is_ok());
        let unmeasured = Room::default();
        let _shares: Vec<_> = (0..9).map(|_| unmeasured.take_avc((3_840, 2_160), 60.0).unwrap()).collect();
    }

    #[test]
    fn all_of_them_together_have_the_cores_that_there_are() {
        let room = room(2, 30.0);
        let size = (640, 360);
        let take = || room.take_av1(size, room.av1_pace(size, 30.0).unwrap().cores);
        let shares = [take().unwrap(), take().unwrap(), take().unwrap()];
        let full = take().unwrap_err().to_string();
        assert!(
            full.ends_with("takes 0.5 of a core here, and renditions in AV1 that are being made leave 0.1"),
            "{full}"
        );
        drop(shares);
        assert!(take().is_ok());
    }
}
