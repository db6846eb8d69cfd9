//! Stamps that jump and open GOPs, as pages show them: the longest time between two frames.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use millstream_tests::clip::Clip;
use millstream_tests::flv::{AUDIO, Tag, VIDEO};
use millstream_tests::machine::Probe;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, millis, seconds};

const PAGES: [&str; 3] = ["flv.html", "hls.html", "dash.html"];
/// Pages are opened after this.
const WARM: Duration = seconds(6);

/// A jump of the stamps: how long after the pages play, of which kinds of tag, and by how much (`None`: to 0).
pub(crate) struct Jump {
    after: Duration,
    kinds: &'static [u8],
    by_ms: Option<i64>,
}

/// An encoder that sends in real time, with stamps that can be moved.
pub(crate) struct Jumper {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Added to the stamps of frames and of audio.
    shifts: Arc<std::sync::Mutex<[i64; 2]>>,
    began: Instant,
}

impl Jumper {
    pub(crate) fn start(server: &Server, clip: Clip, first_ms: i64) -> Self {
        let mut publisher = Publisher::start(server.rtmp, "stream", "cam").expect("published");
        let (end, shifts) = (Arc::new(AtomicBool::new(false)), Arc::new(std::sync::Mutex::new([first_ms; 2])));
        let (over, moved) = (Arc::clone(&end), Arc::clone(&shifts));
        let began = Instant::now();
        let thread = std::thread::spawn(move || {
            let first = u32::try_from(first_ms).expect("from 0 on");
            for tag in &clip.configuration {
                publisher.send(&Tag { timestamp: first, ..tag.clone() }).expect("sent");
            }
            for round in 0.. {
                for tag in &clip.frames {
                    let at_ms = i64::from(round * clip.period + tag.timestamp);
                    let due = began + millis(at_ms.unsigned_abs());
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let shift = moved.lock().expect("no panic")[usize::from(tag.kind == AUDIO)];
                    let timestamp = u32::try_from((at_ms + shift).max(0)).expect("32 bits");
                    publisher.send(&Tag { timestamp, ..tag.clone() }).expect("sent");
                }
            }
        });
        Self { end, thread: Some(thread), shifts, began }
    }

    pub(crate) fn jump(&self, jump: &Jump) {
        let now_ms = i64::try_from(self.began.elapsed().as_millis()).expect("small");
        let mut shifts = self.shifts.lock().expect("no panic");
        for kind in jump.kinds {
            let shift = &mut shifts[usize::from(*kind == AUDIO)];
            *shift = jump.by_ms.map_or(-now_ms, |by_ms| *shift + by_ms);
        }
    }
}

impl Drop for Jumper {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Plays the pages while stamps jump; no page may stand still for longer than `still`.
fn pages_go_on(clip: Clip, first_ms: i64, pages: &[&str], jumps: &[Jump], still: Duration) {
    let server = Options::open().shards(1).start();
    let encoder = Jumper::start(&server, clip, first_ms);
    std::thread::sleep(WARM);
    let watched = jumps.last().map_or(seconds(8), |last| last.after + seconds(6));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/jumps.mjs");
    let urls: Vec<String> = pages.iter().map(|page| format!("http://{}/cam/{page}", server.http)).collect();
    let time_s = watched.as_secs().to_string();
    let mut args = vec![script.to_str().expect("ASCII"), &time_s];
    args.extend(urls.iter().map(String::as_str));
    let tool = Tool::start("node", &args);
    eventually("all pages play", seconds(60), || tool.stdout.has("start").then_some(()));
    let (probe, start) = (Probe::start(), Instant::now());
    for jump in jumps {
        std::thread::sleep((start + jump.after).saturating_duration_since(Instant::now()));
        encoder.jump(jump);
    }
    let done = tool.wait(watched + seconds(60));
    let load = probe.stop();
    println!("{}\n{load}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
    for page in pages {
        let line = done.stdout.lines().find_map(|line| line.strip_prefix(&format!("page {page} ")));
        let words: Vec<&str> = line.expect("each page is told of").split(' ').collect();
        let pictures: f64 = words[0].parse().expect("a number");
        let longest = millis(words[1].parse().expect("milliseconds"));
        if load.too_busy() {
            // It plays, if slowly.
            assert!(
                longest <= still * 6 && pictures >= watched.as_secs_f64() * 30.0 * 0.25,
                "{page}: {longest:?}, {pictures} pictures"
            );
            continue;
        }
        assert!(longest <= still, "{page} stood still for {longest:?}");
        assert!(pictures >= watched.as_secs_f64() * 30.0 * 0.85, "{page} showed {pictures} pictures");
    }
}

pub(crate) fn both(after_s: u64, by_ms: i64) -> Jump {
    Jump { after: seconds(after_s), kinds: &[VIDEO, AUDIO], by_ms: Some(by_ms) }
}

#[test]
fn case_46_pages_go_on_where_stamps_jump_in_both_directions() {
    let to_zero = Jump { after: seconds(10), kinds: &[VIDEO, AUDIO], by_ms: None };
    let jumps = [both(2, 5_000), both(6, -1_500), to_zero];
    pages_go_on(Clip::small(), 0, &PAGES, &jumps, millis(500));
}

#[test]
#[ignore = "takes a minute; tests/run --long has it"]
fn case_46_pages_go_on_where_stamps_jump_by_less_than_ten_seconds() {
    let jumps = [both(2, 1_500), both(6, -5_000), both(10, 9_500), both(14, -9_500), both(18, -700)];
    pages_go_on(Clip::small(), 20_000, &PAGES, &jumps, millis(500));
}

#[test]
#[ignore = "takes a minute; tests/run --long has it"]
fn case_46_pages_go_on_where_the_stamps_of_one_track_jump() {
    for kinds in [&[VIDEO], &[AUDIO]] {
        let jump = |after_s, by_ms| Jump { after: seconds(after_s), kinds, by_ms: Some(by_ms) };
        pages_go_on(Clip::small(), 20_000, &PAGES, &[jump(2, 5_000), jump(7, -1_500)], millis(500));
    }
}

/// Who comes later starts at a recovery point, whose leading frames cannot be decoded.
#[test]
fn case_50_pages_play_open_gops_for_who_comes_later() {
    pages_go_on(Clip::numbered_open_gop(), 0, &PAGES, &[], millis(500));
}
