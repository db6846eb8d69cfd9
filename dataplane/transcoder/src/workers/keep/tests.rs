//! A worker that hangs, with a shell in its place that says what a worker says and then stops. Beside [`super`].
use std::ffi::OsString;
use std::path::Path;

use millstream_fleet::http::guard::Guard;
use millstream_proto::id::Id;
use millstream_proto::sign::job::JOB_KEY_BYTES;
use millstream_proto::zones::Zones;
use millstream_worker::protocol::{Capacity, MotionSettings, PROTOCOL, Report, Sandbox, encode};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{sleep, timeout};

use super::super::{Watching, Workers};
use super::*;
use crate::addresses::{Addresses, Introduced};
use crate::encoder::EncoderChoice;
use crate::ffmpeg::NoFfmpeg;
use crate::program::Program;
use crate::watches::Seen;

/// A worker of these tests is not silent for longer.
const SILENT: Duration = Duration::from_millis(1_500);
/// Whatever is waited for comes within this time, on a machine that others work on, too.
const WAIT: Duration = Duration::from_secs(30);
/// It takes orders once it has said so, and looks at a stream once it has been told to. What comes of the watch is for whatever number it has.
const BEGINS: &str = "echo $$ >> \"$1/pids\"; cat \"$1/ready\"; head -c 1 > /dev/null; cat \"$1/watched\"; ";
const STOPS: &str = "kill -STOP $$";
const GOES_ON: &str = "while sleep 0.2; do cat \"$1/watched\"; done";

const SETTINGS: MotionSettings = MotionSettings {
    percent: 30,
    diff: 10,
    duration_ms: 5_000,
    timeout_ms: 60_000,
    every_ms: MotionSettings::EVERY_MS,
    keyframes_only: false,
    zones: Zones::WHOLE,
};

/// Whoever has a stream watched by such workers, and what is seen of it.
struct Watched {
    workers: Workers,
    seen: Receiver<Seen>,
    directory: tempfile::TempDir,
    _watching: Watching,
}

fn watched_by(script: &str) -> Watched {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let ready = Report::Ready {
        protocol: PROTOCOL,
        version: "0".to_owned(),
        capacity: Capacity::default(),
        sandbox: Sandbox::default(),
    };
    std::fs::write(at("ready"), encode(&ready, b"").unwrap()).unwrap();
    let word = |watch| Report::Watched { watch, pictures_s: 5.0, shared: false, frames_lost: 0 };
    let words: Vec<u8> = (1..20).flat_map(|watch| encode(&word(watch), b"").unwrap()).collect();
    std::fs::write(at("watched"), words).unwrap();
    // What a node adds to them is behind the directory.
    let arguments = ["-c", script, "worker"].map(OsString::from).into_iter().chain([directory.path().into()]);
    let program = Program { path: "/bin/sh".into(), arguments: arguments.collect() };
    let (app, key, guard) = ("stream".to_owned(), [7; JOB_KEY_BYTES], Guard::PublicAnd(Vec::new()));
    let mut workers =
        Workers::new(Handle::current(), (program, Where::Local), app, key, guard, EncoderChoice::default());
    Arc::get_mut(&mut workers.0).unwrap().silent_most = SILENT;
    let [http, rtmp] = ["127.0.0.1:1", "127.0.0.1:2"].map(|address| address.parse().unwrap());
    let addresses = Addresses { http, rtmp, introduced: Introduced::default() };
    assert!(workers.0.addresses.set(addresses).is_ok());
    workers.equip(Err(NoFfmpeg::Off));
    let (tell, seen) = channel(64);
    let watching = workers.watch(&Id::new("cam").unwrap(), SETTINGS, tell).unwrap();
    Watched { workers, seen, directory, _watching: watching }
}

impl Watched {
    async fn next(&mut self) -> Seen {
        timeout(WAIT, self.seen.recv()).await.expect("in time").expect("somebody tells")
    }

    /// Workers that were started so far.
    fn pids(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.path().join("pids")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn restarts(&self) -> u64 {
        self.workers.load().restarts
    }
}

fn is_there(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Whether it was told to stop.
fn is_stopped(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|behind| behind.trim_start().starts_with('T'))
}

#[tokio::test]
async fn a_worker_that_hangs_is_killed_and_replaced_by_one_that_is_told_all_of_it() {
    let mut watched = watched_by(&format!("{BEGINS}{STOPS}"));
    assert!(matches!(watched.next().await, Seen::Watched { .. }));
    let heard = Instant::now();
    let first = watched.pids().pop().unwrap();
    timeout(WAIT, async {
        while !is_stopped(&first) {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it stops");
    // It has neither ended nor closed anything: nothing but its silence says that it hangs.
    let Seen::Lost { why } = watched.next().await else { panic!("it is given up") };
    assert_eq!(why, "its worker ended; another one is started");
    assert!(heard.elapsed() >= SILENT / 2, "{:?}", heard.elapsed());
    assert!(!is_there(&first), "a process that is stopped is killed all the same");
    assert!(matches!(watched.next().await, Seen::Watched { .. }), "another one looks");
    let pids = watched.pids();
    assert!(pids.len() >= 2 && pids.last() != Some(&first) && is_there(&pids[pids.len() - 1]), "{pids:?}");
    assert!(watched.restarts() >= 1);
}

#[tokio::test]
async fn a_worker_that_says_how_it_does_is_left_alone() {
    let mut watched = watched_by(&format!("{BEGINS}{GOES_ON}"));
    let begun = Instant::now();
    while begun.elapsed() < 2 * SILENT {
        let seen = watched.next().await;
        assert!(matches!(seen, Seen::Watched { .. }), "{seen:?}");
    }
    assert_eq!((watched.restarts(), watched.pids().len()), (0, 1));
}
