//! Every maximum of this crate, in one place, each with its unit.
use std::time::Duration;

/// Nodes of one fleet. A node is a machine; the number bounds what a thief of a token can make control remember.
pub const NODES_MAX: usize = 1024;
/// Workers of other machines in one fleet.
pub const WORKERS_MAX: usize = 1024;
/// Longest that a worker's poll is kept waiting: while it does it is not heard.
pub const WORK_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether a node wants the worker that waits.
pub const WORK_LOOK_EVERY: Duration = Duration::from_millis(250);
/// The same, of one that works for a node.
pub const WORK_LOOK_SERVING_EVERY: Duration = Duration::from_secs(2);
/// A worker that was told a node works for it within this time, or another one is told the node.
pub const WORK_BEGUN_WITHIN: Duration = Duration::from_secs(10);
/// How long a ticket is good: a worker whose control is away comes back to its node for so long.
pub const TICKET_LASTS: Duration = Duration::from_hours(1);
/// Bytes of a node's name.
pub const NODE_NAME_BYTES_MAX: usize = 64;

/// Whether a node, or a worker, can have this name; what they say of themselves, and what is logged of them, keeps to it, too.
pub fn is_name(name: &str) -> bool {
    (1..=NODE_NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Commands that may wait for one node.
pub const COMMANDS_WAITING_MAX: usize = 256;
/// Changes of the state that are remembered one by one; a node that is further behind gets all of it.
pub const JOURNAL_LEN_MAX: usize = 4096;
/// Bytes of a report: 4,096 streams on each of some shards.
pub const REPORT_BYTES_MAX: usize = 32 << 20;
/// Bytes of memory that streams' figures take at control, of all nodes. Those of a thousand streams take about a mebibyte.
pub const LIVE_BYTES_MAX: usize = if cfg!(test) { 1 << 20 } else { 256 << 20 };
/// Streams that a node tells something wrong of, and conditions of one of them, and figures of one of those.
pub const DIAGNOSES_TOLD_MAX: usize = 4_096;
/// See [`DIAGNOSES_TOLD_MAX`].
pub const CONDITIONS_MAX: usize = 16;
/// See [`DIAGNOSES_TOLD_MAX`].
pub const FIGURES_MAX: usize = 8;
/// Protocols that a node tells how a stream plays by, and buckets of a histogram of that.
pub const PROTOCOLS_TOLD_MAX: usize = 16;
/// See [`PROTOCOLS_TOLD_MAX`].
pub const SPREAD_BUCKETS_MAX: usize = 32;
/// Modules that a node names.
pub const MODULES_TOLD_MAX: usize = 1_024;
/// Bytes of a file with certificate, chain and key: a chain for a hundred names has some ten thousand.
pub const CERTIFICATE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a poll.
pub const POLL_BYTES_MAX: usize = 64 << 10;
/// Longest that a poll is kept waiting.
pub const POLL_WAIT_MAX: Duration = Duration::from_secs(30);
/// A node that was not heard for this long is shown as away; it reports every few seconds, and a poll is answered within
/// [`POLL_WAIT_MAX`].
pub const NODE_AWAY_AFTER: Duration = Duration::from_secs(15);
/// A node that was not heard for this long is forgotten.
pub const NODE_FORGOTTEN_AFTER: Duration = Duration::from_hours(1);
/// Streams that control keeps the last hour's figures of, for charts: about 16 KiB each.
pub const SERIES_STREAMS_MAX: usize = 2_000;
/// Points of each: an hour.
pub const SERIES_POINTS_MAX: usize = 360;
/// Longest that an order waits for a node's answer.
pub const ORDER_WAIT_MAX: Duration = Duration::from_secs(2);
/// Longest that a replay of recorded decisions waits for a node's answer: the replay itself, the way of the module and its compilation.
pub const REPLAY_WAIT_MAX: Duration = Duration::from_secs(15);
/// Of that, the replay itself.
pub const REPLAY_FOR_MAX: Duration = Duration::from_secs(8);
/// Longest that replays for all bindings of one change take together.
pub const REPLAYS_WAIT_MAX: Duration = Duration::from_secs(20);
/// Differences that a replay lists.
pub const DIFFERENCES_LISTED_MAX: usize = 100;
/// Recorded decisions that a node shows at once.
pub const RECORDED_SHOWN_MAX: u32 = 2_000;
/// Bytes of recorded decisions in one answer, of all nodes.
pub const RECORDED_BYTES_MAX: usize = 8 << 20;
/// Bytes of one of them: a request's head and what a hook answered.
pub const RECORDED_EVENT_BYTES_MAX: usize = 256 << 10;
/// Nodes that are asked for recorded decisions at the same time: each may answer with as many as are given.
pub const RECORDED_ASKED_AT_ONCE_MAX: usize = 16;
/// Longest that one of them is waited for, so that those that hang leave their places to others.
pub const RECORDED_NODE_WAIT_MAX: Duration = Duration::from_secs(4);
/// Events that a listener may be behind before it misses some.
pub const EVENTS_BEHIND_MAX: usize = 4096;
/// Viewers in one page.
pub const VIEWERS_PER_PAGE_MAX: u32 = 1000;
/// Nodes that one list of viewers asks at the same time: each may answer with a whole page.
pub const VIEWERS_ASKED_AT_ONCE_MAX: usize = 32;
/// Bytes of a state, on the wire and on disk: 100,000 streams take some 20 MB.
pub const STATE_BYTES_MAX: usize = 128 << 20;
/// Bytes that a server may send before the head of its answer is whole: the head, and answers of the class 1xx before it.
pub const ANSWER_HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes of a receipt.
pub const RECEIPT_BYTES_MAX: usize = 64 << 10;
/// Events that wait at a node while control is away; the oldest go first, and leave a hole in the numbers.
pub const EVENTS_KEPT_MAX: usize = 10_000;
/// Events in one report.
pub const EVENTS_PER_REPORT_MAX: usize = 1000;
/// Answers to orders that wait at a node.
pub const OUTCOMES_KEPT_MAX: usize = 1024;
/// Orders that a node works on at the same time.
pub const ORDERS_AT_ONCE_MAX: usize = 64;
/// Bytes of a hook's module: a guest in Python brings its interpreter, 18 MB.
pub const MODULE_BYTES_MAX: usize = 20 << 20;
/// Bytes of all modules that a node keeps, or control.
pub const MODULES_BYTES_MAX: u64 = 1 << 30;
/// Slates that operators upload, and that a node holds: each is in memory as a whole.
pub const SLATES_MAX: usize = 32;
/// Bytes of all of them.
pub const SLATES_BYTES_MAX: u64 = 64 << 20;
/// Warnings about hooks that a node makes at the same time: a state that is wrong as a whole needs no more to be noticed.
pub const HOOK_WARNINGS_MAX: usize = 16;
/// Versions of a hook that a node tells counts of.
pub const HOOK_VERSIONS_TOLD_MAX: usize = 64;
/// Bindings whose hooks fail that a node tells of in one report.
pub const HOOKS_TOLD_MAX: usize = 1_024;
/// Tasks that a node tells of in one report.
pub const TASKS_TOLD_MAX: usize = 1_024;
/// Lines of hooks' logs in one answer.
pub const HOOK_LINES_MAX: u32 = 1_000;
/// Nodes that are asked for a hook's log at the same time: each may answer with a whole page.
pub const HOOK_LOGS_ASKED_AT_ONCE_MAX: usize = 8;
/// Webhooks that are under way at the same time: one of each hook that there may be (100), and then some of those that take them.
pub const DELIVERIES_AT_ONCE_MAX: usize = 128;
/// Of those, to one hook: one that is slow leaves places for others.
pub const DELIVERIES_PER_HOOK_MAX: usize = 4;
/// Bytes of a receiver's answer that are read: only its status counts.
pub const HOOK_REPLY_BYTES_MAX: usize = 4 << 10;

const _: () = assert!(WORK_WAIT_MAX.as_secs() < NODE_AWAY_AFTER.as_secs());
const _: () = assert!(DELIVERIES_PER_HOOK_MAX < DELIVERIES_AT_ONCE_MAX);
