//! A condition in a sentence, and what to do about it, in English. Before it: [`millstream_control_protocol::diagnosis`], as a node told it; after it: the
//! API. The console has the same in its own languages.
use millstream_control_protocol::diagnosis::Condition;

use crate::kind::{Kind, Severity};

/// What is told of a condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// How bad it is.
    pub severity: Severity,
    /// What is so.
    pub sentence: String,
    /// What to do.
    pub advice: String,
}

/// A condition in words.
pub fn said(condition: &Condition) -> Said {
    let Some(kind) = Kind::of(&condition.kind) else {
        return Said {
            severity: Severity::Warning,
            sentence: format!(
                "The node has recognised a condition that this release does not know: {}.",
                condition.kind
            ),
            advice: "Upgrade control to the release of the node.".to_owned(),
        };
    };
    let (sentence, advice) = words(kind, condition);
    Said { severity: kind.severity(&condition.form), sentence, advice: advice.to_owned() }
}

fn plural<'a>(count: f64, one: &'a str, many: &'a str) -> &'a str {
    if (count - 1.0).abs() < 0.5 { one } else { many }
}

/// A reason that was given, in brackets.
fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

fn words(kind: Kind, condition: &Condition) -> (String, &'static str) {
    let of = |name: &str| condition.figures.get(name).copied().unwrap_or(0.0);
    let (about, why) = (&condition.about, &condition.why);
    match kind {
        Kind::GopTooLong => (
            format!(
                "A GOP of the encoder is {} s long: who joins waits for a keyframe, and segments of HLS and DASH are as long.",
                of("gop_s")
            ),
            "Set the encoder's keyframe interval to 2 s (OBS: Output, Keyframe Interval; ffmpeg: -g with twice the frame rate).",
        ),
        Kind::TimestampsJump => {
            let jumps = of("jumps");
            let times = plural(jumps, "once", "times");
            let count = if times == "once" { String::new() } else { format!("{jumps} ") };
            (
                format!(
                    "The encoder's timestamps have jumped {count}{times} in this session; the stream goes on without the jumps."
                ),
                "Look at the encoder's clock, at the source that it captures, or at the file that it repeats.",
            )
        }
        Kind::UplinkStarves => (
            format!(
                "What the encoder sends arrives more slowly than it is stamped: it has fallen {} s behind.",
                of("behind_s")
            ),
            "Lower the encoder's bitrate or give it a better uplink; if its network is idle, the encoder itself is too slow: lower its size or frame rate.",
        ),
        Kind::BFrames => {
            let viewers = of("viewers");
            (
                format!(
                    "The encoder sends B-frames ({} of 100 pictures), and {viewers} {} with low latency: pictures wait for later ones before they are shown.",
                    of("b_frames_percent"),
                    plural(viewers, "viewer plays", "viewers play")
                ),
                "Switch B-frames off where delay matters (OBS: Tune zerolatency, or Max B-frames 0; ffmpeg: -bf 0).",
            )
        }
        Kind::Audio => audio(&condition.form, of("silent_s"), of("apart_s")),
        Kind::BitrateAboveViewers => (
            format!(
                "The stream has {} kbit/s, and of {} viewers looked at (HTTP-FLV, WebSocket, RTMP) half manage to receive {} kbit/s or less.",
                of("bitrate_kbit_s"),
                of("looked_at"),
                of("median_kbit_s")
            ),
            "Lower the encoder's bitrate, or offer renditions of a lower one; if viewers have the bandwidth, look at this server's own uplink.",
        ),
        Kind::EncoderReconnects => {
            let count = of("reconnects");
            (
                format!(
                    "The encoder has reconnected {count} {} within the last two minutes.",
                    plural(count, "time", "times")
                ),
                "Look at the encoder's network and log; over a poor network a lower bitrate or a wired connection helps.",
            )
        }
        Kind::PublisherReplaced => (
            format!("Another publisher ({about}) has taken the stream's place from the one before ({why})."),
            "If that was not meant, two encoders have the same key: stop one of them, and rotate the key if you do not know it.",
        ),
        Kind::Hook => hook(&condition.form, about, why, of("count")),
        Kind::RecordingPaused => (
            format!("The recording {about} does not grow and has a gap from here on{}.", because(why)),
            "Make room on the disk, or look at the store that recordings go to; the recording goes on by itself.",
        ),
        Kind::WorkerSheds => (
            format!("This machine is too slow for {} that viewers ask for: {about}.", {
                plural(of("renditions"), "a rendition", "renditions")
            }),
            "Offer fewer or smaller renditions, or carry the stream on a machine with more cores.",
        ),
        Kind::ViewersLag => {
            let (lagging, looked_at, skipped, behind_s) =
                (of("lagging"), of("looked_at"), of("skipped"), of("behind_s"));
            let sentence = if condition.form == "skips" {
                format!(
                    "{lagging} of {looked_at} viewers looked at cannot keep up: they have skipped to a later keyframe."
                )
            } else {
                format!(
                    "{lagging} of {looked_at} viewers looked at cannot keep up: up to {behind_s} s behind (skipped to a later keyframe: {skipped})."
                )
            };
            (
                sentence,
                "If it is few, their networks are slow: offer them a rendition. If it is most, look at this server's uplink and load.",
            )
        }
    }
}

fn hook(form: &str, about: &str, why: &str, count: f64) -> (String, &'static str) {
    let (times, attempts, reason) =
        (plural(count, "time", "times"), plural(count, "attempt", "attempts"), because(why));
    match form {
        "fails" => (
            format!("The hook {about} has failed {count} {times} for this stream{reason}."),
            "Read the hook's log, and roll it back to its last version if this one is new.",
        ),
        "not_ready" => (
            format!("The hook {about} was not ready on its node and could not decide {count} {times} for this stream."),
            "A node fetches and compiles a hook before it is ready: if that takes longer than a minute, read the node's warnings.",
        ),
        "late" => (
            format!("The hook {about} has not decided in time {count} {times} for this stream."),
            "Look at the service that the hook asks, and at this machine's load.",
        ),
        "overloaded" => (
            format!(
                "The hook {about} has not been asked {count} {times} for this stream: more decisions are wanted than the node has room for."
            ),
            "Have the hook take less time, or spread the streams over more nodes; if nobody should ask so often, look who does.",
        ),
        "denies_publish" => (
            format!("The hook {about} has refused {count} {attempts} to publish this stream{reason}."),
            "If that was not meant, test the hook with this event, and look at the encoder's key and at the binding's configuration.",
        ),
        _ => (
            format!("The hook {about} has refused {count} {attempts} to play this stream{reason}."),
            "If that was not meant, test the hook with this event, and look at the players' tokens and at the binding's configuration.",
        ),
    }
}

fn audio(form: &str, silent_s: f64, apart_s: f64) -> (String, &'static str) {
    match form {
        "missing" => (
            format!("The encoder announces audio, and none has come for {silent_s} s: players wait for it."),
            "Choose an audio device in the encoder, or switch its audio off so that none is announced.",
        ),
        "stopped" => (
            format!("Audio has stopped {silent_s} s ago while the picture goes on."),
            "Look at the encoder's audio device and mixer.",
        ),
        "behind" => (
            format!("Audio arrives {apart_s} s behind the picture of the same timestamp: players have to wait for it."),
            "Set the audio offset in the encoder to 0, and use one clock for both devices.",
        ),
        _ => (
            format!(
                "Audio arrives {apart_s} s ahead of the picture of the same timestamp: players have to wait for the picture."
            ),
            "Set the audio offset in the encoder to 0, use one clock for both devices, and a quicker preset or less look-ahead for video.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, form: &str, figures: &[(&str, f64)]) -> Condition {
        let figures = figures.iter().map(|(name, figure)| ((*name).to_owned(), *figure)).collect();
        let (kind, form) = (kind.to_owned(), form.to_owned());
        Condition { kind, form, about: "geo".to_owned(), why: "a reason".to_owned(), figures, ..Condition::default() }
    }

    #[test]
    fn every_condition_is_a_sentence_with_advice() {
        let audio = ["missing", "stopped", "ahead", "behind"];
        let hook = ["fails", "not_ready", "late", "overloaded", "denies_publish", "denies_play"];
        let forms: Vec<_> = ["", "skips"].into_iter().chain(audio).chain(hook).collect();
        for kind in Kind::ALL {
            for form in &forms {
                let said = said(&condition(kind.word(), form, &[]));
                for text in [&said.sentence, &said.advice] {
                    assert!(text.ends_with('.') && text.starts_with(char::is_alphanumeric), "{text}");
                }
            }
            assert_eq!(Kind::of(kind.word()), Some(kind));
        }
    }

    #[test]
    fn figures_are_in_the_sentence() {
        let sentence = |kind: &str, form: &str, figures: &[(&str, f64)]| said(&condition(kind, form, figures)).sentence;
        assert!(sentence("gop_too_long", "", &[("gop_s", 20.0)]).starts_with("A GOP of the encoder is 20 s long"));
        assert!(sentence("timestamps_jump", "", &[("jumps", 1.0)]).contains("have jumped once in"));
        assert!(sentence("timestamps_jump", "", &[("jumps", 3.0)]).contains("have jumped 3 times in"));
        assert!(sentence("audio", "missing", &[("silent_s", 3.5)]).contains("none has come for 3.5 s"));
        assert_eq!(
            sentence("hook", "denies_publish", &[("count", 1.0)]),
            "The hook geo has refused 1 attempt to publish this stream (a reason)."
        );
        assert!(
            sentence("hook", "denies_play", &[("count", 3.0)]).contains("has refused 3 attempts to play this stream")
        );
        assert!(
            sentence("hook", "late", &[("count", 2.0)]).ends_with("has not decided in time 2 times for this stream.")
        );
        let lag = [("lagging", 1.0), ("looked_at", 5.0), ("skipped", 1.0)];
        assert_eq!(
            sentence("viewers_lag", "skips", &lag),
            "1 of 5 viewers looked at cannot keep up: they have skipped to a later keyframe."
        );
        let behind = [&lag[..], &[("behind_s", 3.5)]].concat();
        assert!(sentence("viewers_lag", "", &behind).contains("up to 3.5 s behind (skipped to a later keyframe: 1)"));
        let short = [("bitrate_kbit_s", 2_500.0), ("median_kbit_s", 800.0), ("looked_at", 4.0)];
        assert!(
            sentence("bitrate_above_viewers", "", &short)
                .contains("of 4 viewers looked at (HTTP-FLV, WebSocket, RTMP) half")
        );
        assert!(said(&condition("of_a_later_release", "", &[])).sentence.contains("of_a_later_release"));
    }
}
