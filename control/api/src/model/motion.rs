//! Motion that was seen in a stream: what its operator looks up afterwards. Before it: [`crate::events`], which keeps what nodes tell; after it:
//! `routes::motion`.
use millstream_control_protocol::event::{Event, MotionRegion, What};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How long motion is remembered after it began, milliseconds. Its files are kept for as long as the stream's `retention_days` says.
pub const KEPT_MS: u64 = 30 * 24 * 3_600_000;

/// A node's clock may be so far ahead of control's, milliseconds.
pub const AHEAD_MS_MAX: u64 = 3_600_000;

/// Motion that was seen in a stream.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SeenMotion {
    /// The stream's id.
    pub stream: String,
    /// The node that saw it.
    pub node: String,
    /// When it began, Unix milliseconds: no other motion of the stream has the same.
    pub from_unix_ms: u64,
    /// How long it was, milliseconds; null while it goes on, or where its node was lost before it told.
    pub lasted_ms: Option<u64>,
    /// The largest part of the picture that moved, 0 to 1.
    pub score: f64,
    /// What a motion hook calls it; empty where none looks.
    pub label: String,
    /// Where something moved when it began, the largest first.
    pub regions: Vec<MotionRegion>,
    /// Its picture, below the stream's path; empty where there is none.
    pub picture: String,
    /// Why it is over: `still`, `timeout`, `interrupted`: an open set; empty while it goes on.
    pub why: String,
    /// Its film; null while it is not stored.
    pub film: Option<Film>,
    /// Why there is no film; else empty.
    pub film_why: String,
}

/// The film of a motion.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Film {
    /// Where it is, below the stream's path.
    pub path: String,
    /// When it begins, Unix milliseconds: some seconds before the motion.
    pub from_unix_ms: u64,
    /// How long it plays, milliseconds.
    pub duration_ms: u64,
    /// Its length.
    pub bytes: u64,
}

/// The key of a motion: those of a stream are in the order of time.
pub fn key(stream: &str, from_unix_ms: u64) -> String {
    format!("{stream}/{from_unix_ms:020}")
}

/// When the motion began that an event is about; `None`: it is about none.
pub const fn begun_unix_ms(what: &What) -> Option<u64> {
    match what {
        What::Motion { from_unix_ms, .. } | What::MotionClip { motion_from_unix_ms: from_unix_ms, .. } => {
            Some(*from_unix_ms)
        }
        _ => None,
    }
}

impl SeenMotion {
    /// What is known of it after an event about it.
    pub fn after(known: Option<Self>, node: &str, event: &Event) -> Self {
        let mut motion = known.unwrap_or_default();
        motion.stream.clone_from(&event.stream);
        node.clone_into(&mut motion.node);
        motion.from_unix_ms = begun_unix_ms(&event.what).unwrap_or_default();
        match &event.what {
            What::Motion { active: true, score, regions, picture, label, .. } => {
                motion.score = motion.score.max(*score);
                motion.regions.clone_from(regions);
                motion.picture.clone_from(picture);
                motion.label.clone_from(label);
            }
            What::Motion { lasted_ms, score, picture, why, .. } => {
                motion.lasted_ms = Some(*lasted_ms);
                motion.score = motion.score.max(*score);
                if motion.picture.is_empty() {
                    motion.picture.clone_from(picture);
                }
                motion.why.clone_from(why);
            }
            What::MotionClip { path, from_unix_ms, duration_ms, bytes, why, .. } => {
                motion.film = (!path.is_empty()).then(|| Film {
                    path: path.clone(),
                    from_unix_ms: *from_unix_ms,
                    duration_ms: *duration_ms,
                    bytes: *bytes,
                });
                motion.film_why.clone_from(why);
            }
            _ => {}
        }
        motion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 1_796_000_000_000;

    fn event(what: What) -> Event {
        Event { stream: "gate".to_owned(), what, ..Event::default() }
    }

    fn motion(active: bool) -> Event {
        let (lasted_ms, score, why) = if active { (0, 0.2, "") } else { (7_000, 0.4, "still") };
        let (picture, label) = if active { ("motion/images/1.jpg", "person") } else { ("", "") };
        event(What::Motion {
            active,
            from_unix_ms: AT,
            lasted_ms,
            score,
            regions: Vec::new(),
            picture: picture.to_owned(),
            label: label.to_owned(),
            why: why.to_owned(),
        })
    }

    #[test]
    fn what_is_told_of_a_motion_is_one_thing_in_whatever_order_it_comes() {
        let film = event(What::MotionClip {
            motion_from_unix_ms: AT,
            path: "motion/mp4/1.mp4".to_owned(),
            from_unix_ms: AT - 5_000,
            duration_ms: 12_000,
            bytes: 9,
            why: String::new(),
        });
        let begun = SeenMotion::after(None, "one", &motion(true));
        assert_eq!(
            (begun.lasted_ms, begun.label.as_str(), begun.picture.as_str()),
            (None, "person", "motion/images/1.jpg")
        );
        let in_order = [motion(true), motion(false), film.clone()];
        let whole = in_order.iter().fold(None, |known, event| Some(SeenMotion::after(known, "one", event))).unwrap();
        assert_eq!((whole.lasted_ms, whole.score, whole.why.as_str()), (Some(7_000), 0.4, "still"));
        assert_eq!((whole.film.as_ref().unwrap().duration_ms, whole.from_unix_ms), (12_000, AT));
        let otherwise = [film, motion(false), motion(true), motion(true)];
        let other = otherwise.iter().fold(None, |known, event| Some(SeenMotion::after(known, "one", event))).unwrap();
        assert_eq!(whole, other);
        assert!(key("gate", 9) < key("gate", 10));
    }
}
