//! What must hold when all peers have gone: nothing is left behind, and what was lost was counted.
use std::time::Duration;

use millstream_engine_simulated::{Engine, io};

use crate::published::Published;
use crate::walk::{Walk, sleep_ms};

/// Streams that are over can be fetched for so long at most, and everything else has an end before that.
const QUIET_AFTER: Duration = Duration::from_mins(20);

/// What is zero when nobody is there.
const ZERO: [&str; 9] = [
    "millstream_streams",
    "millstream_sessions",
    "millstream_connections",
    "millstream_mirrors",
    "millstream_parked_sessions",
    "millstream_sends_in_flight",
    "millstream_log_bytes",
    "millstream_blocked_requests",
    "millstream_hls_bytes",
];

/// How the rules for viewers end them.
const CLOSED: [&str; 6] = ["lagging", "stalled", "no_keyframe", "control_flood", "protocol_error", "shutdown"];

/// A number of the metrics, of all shards and labels.
pub(crate) fn number(walk: &Walk, name: &str) -> u64 {
    labelled(walk, name, "")
}

/// Those of them with a label that holds this.
fn labelled(walk: &Walk, name: &str, label: &str) -> u64 {
    let text = walk.remote.metrics().expect("text");
    let of_name = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    let of_label = of_name.filter(|(labels, _)| label.is_empty() || labels.contains(&format!("\"{label}\"")));
    of_label.map(|(_, number)| number.parse::<f64>().expect("a number") as u64).sum()
}

/// While it runs: shards hold no more streams than they may.
pub(crate) fn bounds(walk: &Walk) {
    let (streams, mirrors) = (number(walk, "millstream_streams"), number(walk, "millstream_mirrors"));
    let most = (walk.settings.shards * walk.settings.streams_max) as u64;
    assert!(streams + mirrors <= most, "{streams} streams and {mirrors} mirrors, where {most} may be");
}

pub(crate) async fn nothing_left(walk: &Walk, tasks_before: usize) {
    let until = io::now() + QUIET_AFTER;
    let left = || -> Vec<String> {
        let numbers = ZERO.iter().map(|name| (*name, number(walk, name)));
        let mut left: Vec<String> =
            numbers.filter(|(_, number)| *number > 0).map(|(name, number)| format!("{name} {number}")).collect();
        if io::tasks() > tasks_before {
            left.push(format!("{} tasks", io::tasks() - tasks_before));
        }
        if io::descriptors() > 0 {
            left.push(format!("{} descriptors", io::descriptors()));
        }
        left
    };
    let mut wait_ms = 1_000;
    loop {
        let left = left();
        if left.is_empty() {
            return;
        }
        assert!(io::now() < until, "left behind: {left:?}");
        sleep_ms(wait_ms).await;
        wait_ms = (wait_ms * 2).min(60_000);
    }
}

/// The server ends in time, and no session was ended by a defect.
pub(crate) async fn ended(walk: &Walk, running: Engine) {
    let until = io::now() + walk.settings.drain + QUIET_AFTER;
    let mut wait_ms = 200;
    // Its shards are tasks, too.
    while io::shards() > 0 {
        assert!(io::now() < until, "the server never ends");
        sleep_ms(wait_ms).await;
        wait_ms = (wait_ms * 2).min(60_000);
    }
    running.wait().expect("all shards have ended well");
    assert_eq!(number(walk, "millstream_session_panics_total"), 0, "a defect ended a session");
    assert_eq!(io::descriptors(), 0, "descriptors are left");
}

/// Viewers have no gap that was not counted as a jump.
pub(crate) fn losses(walk: &Walk) {
    let skips = number(walk, "millstream_viewer_skips_total");
    let (gaps, resumes) = (walk.gaps.get(), walk.resumes.get());
    assert!(gaps <= skips + resumes, "{gaps} gaps, but {skips} jumps were counted, and {resumes} pauses");
    // Who was told the end had all that others had, unless a rule for viewers closed it, or its shard missed the end.
    let cut_short: u64 = walk.published.borrow().values().map(Published::cut_short).sum();
    let closed: u64 = CLOSED.iter().map(|why| labelled(walk, "millstream_closed_total", why)).sum();
    let counted = skips + resumes + closed + number(walk, "millstream_mirror_skips_total");
    assert!(gaps + cut_short <= counted, "{cut_short} viewers miss the end, {gaps} gaps, and {counted} were counted");
    for (name, number_of) in [
        ("skips", "millstream_viewer_skips_total"),
        ("mirror jumps", "millstream_mirror_skips_total"),
        ("handovers", "millstream_handovers_total"),
        ("mailbox full", "millstream_mailbox_full_total"),
        ("accept failures", "millstream_refused_total"),
    ] {
        walk.saw(name, number(walk, number_of));
    }
}
