//! What a node's report may hold: whoever has the nodes' token may say anything, and takes no more memory by it than a node does. Before it:
//! the link; after it: [`super::node_registry`].
use std::net::IpAddr;

use millstream_control_protocol::diagnosis::{Condition, Diagnosis};
use millstream_control_protocol::event::{Event, MotionRegion, What};
use millstream_control_protocol::exchange::{HOOK_BLAME_MAX, HookLine, Report, Status};
use millstream_control_protocol::live::{Live, Viewer};
use millstream_control_protocol::work::WorkerStatus;
use millstream_proto::id::Id;

use crate::limits::{
    CONDITIONS_MAX, DIAGNOSES_TOLD_MAX, EVENTS_PER_REPORT_MAX, FIGURES_MAX, HOOK_WARNINGS_MAX, HOOKS_TOLD_MAX,
    MODULES_TOLD_MAX, TASKS_TOLD_MAX,
};

/// Bytes of an address, a protocol, a word.
const WORD_BYTES_MAX: usize = 128;
/// Bytes of what an encoder calls itself, of a reason, of a warning.
const TEXT_BYTES_MAX: usize = 1_024;
/// Bytes of a name or a reason of a condition.
const CONDITION_TEXT_BYTES_MAX: usize = 256;
/// Bytes of a task's id: words, a recording's name and a clip's.
const TASK_ID_BYTES_MAX: usize = 256;
/// Warnings of a node.
const WARNINGS_MAX: usize = 4 * HOOK_WARNINGS_MAX;
/// Entries of a list that is part of a stream's figures.
const LIST_LEN_MAX: usize = 64;

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.shrink_to_fit();
    }
}

fn cut_list<T>(list: &mut Vec<T>, most: usize) {
    if list.len() > most {
        list.truncate(most);
        list.shrink_to_fit();
    }
}

/// Cuts a report to what a node says. Events beyond those of a whole report are left for the next one: they are not thanked for.
pub(super) fn tidy(report: &mut Report) {
    cut_list(&mut report.events, EVENTS_PER_REPORT_MAX);
    report.events.iter_mut().for_each(tidy_event);
    tidy_status(&mut report.status);
    cut_list(&mut report.failing_hooks, HOOKS_TOLD_MAX);
    report.failing_hooks.retain(|told| told.binding.len() <= WORD_BYTES_MAX);
    for told in &mut report.failing_hooks {
        cut_list(&mut told.by_address, HOOK_BLAME_MAX);
        // What is no address is blamed on nobody in particular: all of that is taken for one.
        for blamed in &mut told.by_address {
            if blamed.address.parse::<IpAddr>().is_err() {
                blamed.address = String::new();
            }
        }
    }
    cut_list(&mut report.tasks, TASKS_TOLD_MAX);
    report.tasks.retain(|told| told.id.len() <= TASK_ID_BYTES_MAX);
    report.tasks.iter_mut().for_each(|told| cut(&mut told.why, TEXT_BYTES_MAX));
    if let Some(diagnoses) = &mut report.diagnoses {
        diagnoses.retain(|told| Id::new(&told.stream).is_ok());
        cut_list(diagnoses, DIAGNOSES_TOLD_MAX);
        diagnoses.iter_mut().for_each(tidy_diagnosis);
    }
    if let Some(live) = &mut report.live {
        live.retain(|live| Id::new(&live.id).is_ok());
        live.iter_mut().for_each(tidy_live);
    }
}

fn tidy_diagnosis(told: &mut Diagnosis) {
    cut_list(&mut told.conditions, CONDITIONS_MAX);
    for condition in &mut told.conditions {
        for word in [&mut condition.kind, &mut condition.form] {
            cut(word, WORD_BYTES_MAX);
        }
        for text in [&mut condition.about, &mut condition.why] {
            cut(text, CONDITION_TEXT_BYTES_MAX);
        }
        condition.figures.retain(|name, figure| name.len() <= WORD_BYTES_MAX && figure.is_finite());
        while condition.figures.len() > FIGURES_MAX {
            condition.figures.pop_last();
        }
    }
}

/// About how many bytes of memory the conditions of a stream take.
pub(super) fn bytes_of_diagnosis(told: &Diagnosis) -> usize {
    let of = |condition: &Condition| {
        let texts = [&condition.kind, &condition.form, &condition.about, &condition.why];
        let figures: usize = condition.figures.keys().map(|name| name.len() + 64).sum();
        size_of::<Condition>() + texts.iter().map(|text| text.len() + 16).sum::<usize>() + figures
    };
    // The map has the id, too.
    size_of::<Diagnosis>() + 64 + 2 * told.stream.len() + told.conditions.iter().map(of).sum::<usize>()
}

/// A number from 0 to 1, whatever it was.
fn part(number: f64) -> f64 {
    if number.is_finite() { number.clamp(0.0, 1.0) } else { 0.0 }
}

fn tidy_event(event: &mut Event) {
    // A refusal may name no stream; nothing else has another name than an id.
    if Id::new(&event.stream).is_err() {
        event.stream.clear();
    }
    cut(&mut event.peer, WORD_BYTES_MAX);
    cut(&mut event.protocol, WORD_BYTES_MAX);
    match &mut event.what {
        What::Publish { encoder, .. } => cut(encoder, TEXT_BYTES_MAX),
        What::Unpublish { why, viewers, .. } => {
            cut(why, WORD_BYTES_MAX);
            cut_list(viewers, LIST_LEN_MAX);
            for count in viewers.iter_mut() {
                cut(&mut count.protocol, WORD_BYTES_MAX);
            }
        }
        What::SlateEnded { why, .. } => cut(why, WORD_BYTES_MAX),
        What::RecordingStarted { recording, store } => {
            cut(recording, WORD_BYTES_MAX);
            cut(store, TEXT_BYTES_MAX);
        }
        What::RecordingResumed { recording } | What::RecordingStored { recording, .. } => {
            cut(recording, WORD_BYTES_MAX);
        }
        What::RecordingPaused { recording, why }
        | What::RecordingWaits { recording, why }
        | What::RecordingFailed { recording, why } => {
            cut(recording, WORD_BYTES_MAX);
            cut(why, TEXT_BYTES_MAX);
        }
        What::RecordingFile { recording, path, .. } | What::RecordingThumbnails { recording, path, .. } => {
            cut(recording, WORD_BYTES_MAX);
            cut(path, WORD_BYTES_MAX);
        }
        What::Snapshot { path, .. } => cut(path, WORD_BYTES_MAX),
        What::Motion { score, regions, picture, label, why, .. } => {
            *score = part(*score);
            cut_list(regions, LIST_LEN_MAX);
            for MotionRegion { x, y, width, height, score } in regions.iter_mut() {
                for number in [x, y, width, height, score] {
                    *number = part(*number);
                }
            }
            cut(picture, WORD_BYTES_MAX);
            cut(label, WORD_BYTES_MAX);
            cut(why, WORD_BYTES_MAX);
        }
        What::MotionClip { path, why, .. } => {
            cut(path, WORD_BYTES_MAX);
            cut(why, TEXT_BYTES_MAX);
        }
        What::WatermarkFailed { why } => cut(why, TEXT_BYTES_MAX),
        What::RenditionStarted { rendition, .. } | What::RenditionStopped { rendition, .. } => {
            cut(rendition, WORD_BYTES_MAX);
        }
        What::RenditionFailed { rendition, reason, why } => {
            cut(rendition, WORD_BYTES_MAX);
            cut(reason, WORD_BYTES_MAX);
            cut(why, TEXT_BYTES_MAX);
        }
        What::Refused { action, why, reason, .. } => {
            cut(action, WORD_BYTES_MAX);
            cut(why, WORD_BYTES_MAX);
            cut(reason, TEXT_BYTES_MAX);
        }
        What::SlateStarted {} | What::LeftOut { .. } | What::Unknown => {}
        // Control's own words.
        What::RecordingDeleted { .. }
        | What::Clip { .. }
        | What::HookActivated { .. }
        | What::HookRolledBack { .. }
        | What::HookRolledBackAutomatically { .. }
        | What::HookFailing { .. } => event.what = What::Unknown,
    }
}

/// Cuts what a node tells of a viewer: pages of them are bounded by their number.
pub(super) fn tidy_viewer(viewer: &mut Viewer) {
    cut(&mut viewer.protocol, WORD_BYTES_MAX);
    cut(&mut viewer.peer, WORD_BYTES_MAX);
}

/// Cuts a line of a hook's log: its text is a stranger's.
pub(super) fn tidy_line(line: &mut HookLine) {
    cut(&mut line.level, WORD_BYTES_MAX);
    cut(&mut line.text, TEXT_BYTES_MAX);
    if line.text.chars().any(char::is_control) {
        line.text = line.text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    }
}

/// Bytes of a host's name (RFC 1035, 2.3.4) and a port.
const HOST_BYTES_MAX: usize = 260;

/// Clears a URL that is not one of these schemes, a host and a port: operators are shown push URLs that are made of it.
fn tidy_url(url: &mut String, schemes: [&str; 2]) {
    let host = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
    let is_plain = |host: &str| {
        (1..=HOST_BYTES_MAX).contains(&host.len())
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
    };
    if !host.is_some_and(is_plain) {
        url.clear();
    }
}

fn tidy_status(status: &mut Status) {
    tidy_url(&mut status.rtmp_url, ["rtmp://", "rtmps://"]);
    tidy_url(&mut status.http_url, ["http://", "https://"]);
    tidy_url(&mut status.rtmps_url, ["rtmps://", "rtmps://"]);
    for word in [&mut status.release, &mut status.rtmp, &mut status.http] {
        cut(word, WORD_BYTES_MAX);
    }
    tidy_url(&mut status.worker_url, ["tcp://", "tls://"]);
    if let Some(worker) = &mut status.worker {
        cut(&mut worker.remote, WORD_BYTES_MAX);
        tidy_skills(&mut worker.decodes, &mut worker.encoder, &mut worker.no_ffmpeg);
        tidy_words(&mut worker.encodes);
    }
    cut(&mut status.record_store, TEXT_BYTES_MAX);
    cut_list(&mut status.warnings, WARNINGS_MAX);
    for warning in &mut status.warnings {
        cut(warning, TEXT_BYTES_MAX);
    }
    cut_list(&mut status.hooks, MODULES_TOLD_MAX);
    for sha256 in &mut status.hooks {
        cut(sha256, WORD_BYTES_MAX);
    }
}

fn tidy_skills(decodes: &mut Vec<String>, encoder: &mut String, no_ffmpeg: &mut String) {
    tidy_words(decodes);
    cut(encoder, WORD_BYTES_MAX);
    cut(no_ffmpeg, TEXT_BYTES_MAX);
}

fn tidy_words(words: &mut Vec<String>) {
    cut_list(words, LIST_LEN_MAX);
    for word in words {
        cut(word, WORD_BYTES_MAX);
    }
}

/// Cuts what a worker of another machine tells to what one says.
pub(super) fn tidy_worker(status: &mut WorkerStatus) {
    cut(&mut status.release, WORD_BYTES_MAX);
    tidy_skills(&mut status.decodes, &mut status.encoder, &mut status.no_ffmpeg);
    cut(&mut status.trouble, TEXT_BYTES_MAX);
}

fn tidy_live(live: &mut Live) {
    cut_list(&mut live.viewers, LIST_LEN_MAX);
    for count in &mut live.viewers {
        cut(&mut count.protocol, WORD_BYTES_MAX);
    }
    if let Some(motion) = &mut live.motion {
        motion.score = part(motion.score);
        motion.pictures_s = if motion.pictures_s.is_finite() { motion.pictures_s.max(0.0) } else { 0.0 };
        motion.why.iter_mut().for_each(|why| cut(why, TEXT_BYTES_MAX));
    }
    if let Some(ladder) = &mut live.ladder {
        for text in [&mut ladder.hook, &mut ladder.binding] {
            cut(text, WORD_BYTES_MAX);
        }
        ladder.failed.iter_mut().for_each(|why| cut(why, TEXT_BYTES_MAX));
        cut_list(&mut ladder.renditions, LIST_LEN_MAX);
        ladder.renditions.iter_mut().for_each(|rung| cut(&mut rung.name, WORD_BYTES_MAX));
        cut_list(&mut ladder.left_out, LIST_LEN_MAX);
        ladder.left_out.iter_mut().for_each(|why| cut(why, TEXT_BYTES_MAX));
    }
    cut_list(&mut live.renditions, LIST_LEN_MAX);
    for rendition in &mut live.renditions {
        cut(&mut rendition.name, WORD_BYTES_MAX);
        cut(&mut rendition.state, WORD_BYTES_MAX);
        rendition.reason.iter_mut().for_each(|reason| cut(reason, WORD_BYTES_MAX));
        rendition.why.iter_mut().for_each(|why| cut(why, TEXT_BYTES_MAX));
        rendition.fps = if rendition.fps.is_finite() { rendition.fps.max(0.0) } else { 0.0 };
    }
    let Some(publisher) = &mut live.publisher else { return };
    cut(&mut publisher.protocol, WORD_BYTES_MAX);
    cut(&mut publisher.peer, WORD_BYTES_MAX);
    cut(&mut publisher.encoder, TEXT_BYTES_MAX);
    cut_list(&mut publisher.repairs, LIST_LEN_MAX);
    for repair in &mut publisher.repairs {
        cut(&mut repair.kind, WORD_BYTES_MAX);
        cut(&mut repair.track, WORD_BYTES_MAX);
        cut(&mut repair.advice, TEXT_BYTES_MAX);
    }
    cut_list(&mut publisher.dropped_tracks, LIST_LEN_MAX);
    for track in &mut publisher.dropped_tracks {
        cut(&mut track.track, WORD_BYTES_MAX);
        cut(&mut track.codec, WORD_BYTES_MAX);
        cut(&mut track.reason, TEXT_BYTES_MAX);
        cut_list(&mut track.outputs, LIST_LEN_MAX);
        for output in &mut track.outputs {
            cut(output, WORD_BYTES_MAX);
        }
    }
}

/// About how many bytes of memory a stream's figures take.
pub(super) fn bytes_of(live: &Live) -> usize {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.len() + 16).sum::<usize>();
    let publisher = live.publisher.as_ref().map_or(0, |publisher| {
        let repairs =
            publisher.repairs.iter().map(|repair| 128 + texts(&[&repair.kind, &repair.track, &repair.advice]));
        let dropped = publisher.dropped_tracks.iter().map(|track| {
            128 + texts(&[&track.track, &track.codec, &track.reason])
                + track.outputs.iter().map(|output| output.len() + 40).sum::<usize>()
        });
        texts(&[&publisher.protocol, &publisher.peer, &publisher.encoder])
            + repairs.sum::<usize>()
            + dropped.sum::<usize>()
    });
    let motion = live.motion.as_ref().and_then(|motion| motion.why.as_ref()).map_or(0, String::len);
    let ladder = live.ladder.as_ref().map_or(0, |ladder| {
        let texts = ladder.failed.iter().chain(&ladder.left_out).map(|text| 32 + text.len()).sum::<usize>();
        texts
            + ladder.hook.len()
            + ladder.binding.len()
            + ladder.renditions.iter().map(|rung| 64 + rung.name.len()).sum::<usize>()
    });
    let renditions = live.renditions.iter().map(|rendition| {
        let words = [&rendition.reason, &rendition.why].map(|words| words.as_deref().unwrap_or_default());
        160 + texts(&[&rendition.name, &rendition.state, words[0], words[1]])
    });
    // The map has the id, too.
    size_of::<Live>()
        + 64
        + renditions.sum::<usize>()
        + ladder
        + motion
        + 2 * live.id.len()
        + publisher
        + live.viewers.len() * 96
}

#[cfg(test)]
mod tests {
    use millstream_control_protocol::live::{Motion, Publisher, ViewerCount};

    use super::*;

    #[test]
    fn what_is_told_of_streams_is_cut() {
        let condition = Condition {
            kind: "k".repeat(10_000),
            about: "\u{e9}".repeat(10_000),
            figures: (0..1_000).map(|n| (format!("figure_{n}"), if n % 2 == 0 { f64::NAN } else { 1.0 })).collect(),
            ..Condition::default()
        };
        let told = |stream: String| Diagnosis { stream, conditions: vec![condition.clone(); 100] };
        let names = ["../etc".to_owned(), "cam".to_owned()];
        let mut report = Report { diagnoses: Some(names.map(told).to_vec()), ..Report::default() };
        tidy(&mut report);
        let told = report.diagnoses.unwrap();
        assert_eq!((told.len(), told[0].stream.as_str(), told[0].conditions.len()), (1, "cam", CONDITIONS_MAX));
        let Condition { kind, about, figures, .. } = &told[0].conditions[0];
        assert!(
            kind.len() == WORD_BYTES_MAX && about.len() == CONDITION_TEXT_BYTES_MAX && figures.len() == FIGURES_MAX
        );
        assert!(figures.values().all(|figure| figure.is_finite()));
        assert!(bytes_of_diagnosis(&told[0]) < 32 << 10);
    }

    #[test]
    fn a_report_is_cut_to_what_a_node_says() {
        let long = || "\u{e9}".repeat(100_000);
        let event = |stream: &str| Event {
            stream: stream.to_owned(),
            peer: long(),
            what: What::Refused { action: long(), why: long(), reason: long(), count: 1 },
            ..Event::default()
        };
        let live = |id: &str| Live {
            id: id.to_owned(),
            publisher: Some(Publisher { encoder: long(), ..Publisher::default() }),
            viewers: vec![ViewerCount::default(); 10_000],
            motion: Some(Motion { score: f64::NAN, pictures_s: -1.0, why: Some(long()), ..Motion::default() }),
            ..Live::default()
        };
        let mut report = Report {
            status: Status {
                warnings: vec![long(); 1_000],
                hooks: vec![long(); 10_000],
                rtmp_url: format!("rtmp://{}", "a".repeat(100_000)),
                http_url: "https://[2001:db8::1]:8443".to_owned(),
                ..Status::default()
            },
            live: Some(vec![live("cam"), live(&long()), live("../etc")]),
            events: vec![event("a/b"); 3_000],
            ..Report::default()
        };
        tidy(&mut report);
        assert_eq!((&*report.status.rtmp_url, &*report.status.http_url), ("", "https://[2001:db8::1]:8443"));
        for url in ["rtmp://a/b", "rtmp://a?sign=1", "http://a", "rtmp://", "javascript:a", "rtmp://user@a"] {
            let mut url = url.to_owned();
            tidy_url(&mut url, ["rtmp://", "rtmps://"]);
            assert_eq!(url, "");
        }
        let live = report.live.as_deref().unwrap();
        assert_eq!((live.len(), live[0].viewers.len()), (1, LIST_LEN_MAX));
        assert!(bytes_of(&live[0]) < 16 << 10);
        let motion = live[0].motion.as_ref().unwrap();
        assert_eq!((motion.score, motion.pictures_s), (0.0, 0.0));
        assert_eq!((report.events.len(), report.events[0].stream.as_str()), (EVENTS_PER_REPORT_MAX, ""));
        let region = MotionRegion { x: f64::INFINITY, y: -1.0, width: 7.0, height: 0.5, score: f64::NAN };
        let (regions, picture) = (vec![region; 1_000], long());
        let mut event = Event {
            what: What::Motion {
                active: true,
                from_unix_ms: 1,
                lasted_ms: 0,
                score: 1e300,
                regions,
                picture,
                label: long(),
                why: long(),
            },
            ..Event::default()
        };
        tidy_event(&mut event);
        let What::Motion { score, regions, picture, label, .. } = &event.what else { panic!("{event:?}") };
        let expected = MotionRegion { x: 0.0, y: 0.0, width: 1.0, height: 0.5, score: 0.0 };
        assert_eq!((*score, regions.len(), regions[0]), (1.0, LIST_LEN_MAX, expected));
        assert!(picture.len() <= WORD_BYTES_MAX && label.len() <= WORD_BYTES_MAX);
        let all = serde_json::to_vec(&report).unwrap().len();
        assert!(all < 4 << 20, "{all} bytes are left");
    }
}
