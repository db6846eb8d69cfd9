//! What two hundred streams with renditions leave behind: no process, no descriptor, no file.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::http::get;
use millstream_tests::proc;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::{eventually, seconds};
use serde_json::json;

const CYCLES: usize = 200;
/// Streams at the same time.
const BESIDE: usize = 4;

/// What a server and what is below it hold.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Held {
    /// Command lines.
    processes: Vec<String>,
    /// Of the server, and of its worker.
    descriptors: Vec<usize>,
    threads: Vec<usize>,
    /// Below the data directory.
    files: BTreeSet<PathBuf>,
}

fn held(server: &Server) -> Held {
    let below = proc::below(server.pid());
    let all = || std::iter::once(server.pid()).chain(below.iter().copied());
    let threads = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    Held {
        processes: below.iter().map(|pid| proc::command(*pid)).collect(),
        descriptors: all().map(proc::descriptors).collect(),
        threads: all().map(threads).collect(),
        files: files(server.data_dir()),
    }
}

fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { [entry.path()].into() }).collect()
}

/// A stream begins, somebody asks for a rendition of it and gets some, and it ends.
fn cycle(server: &Server, id: &str, clip: &Clip) {
    let push = Publisher::start(server.rtmp, "stream", id).expect("published").repeat(clip.clone());
    eventually("it is on air", seconds(10), || {
        (get(server.http, &format!("/{id}/video.m3u8")).status == 200).then_some(())
    });
    let path = format!("/{id}/360p/video.m3u8");
    let playlist = eventually("the rendition is there", seconds(20), || {
        let answer = get(server.http, &path);
        (answer.status == 200).then(|| String::from_utf8_lossy(&answer.body).into_owned())
    });
    assert!(playlist.contains("#EXT-X-PART:"), "{playlist}");
    push.finish().expect("ended");
}

#[test]
#[ignore = "slow: four minutes of streams that come and go"]
fn two_hundred_streams_with_renditions_leave_nothing_behind() {
    let server = Options::open().config("[stream_defaults]\non_unpublish = \"end\"\n").start();
    let mut client = Client::admin(&server);
    let ids: Vec<String> = (0..BESIDE).map(|number| format!("cam{number}")).collect();
    for id in &ids {
        let settings = json!({ "isCodec": true, "ld": true });
        client.post("/api/v1/streams", &json!({ "id": id, "settings": settings })).is(201);
    }
    let (clip, begun) = (Clip::busy(), Instant::now());
    let rounds = |count: usize| {
        for _ in 0..count {
            std::thread::scope(|scope| {
                for id in &ids {
                    scope.spawn(|| cycle(&server, id, &clip));
                }
            });
        }
    };
    // What is kept after it: the worker, and what belongs to a process that has worked once.
    let rested = || {
        eventually("no rendition is made", seconds(30), || {
            server.metrics().contains("millstream_renditions{state=\"made\"} 0").then_some(())
        });
        // Connections and threads end by themselves, each in its time.
        let mut before = held(&server);
        eventually("it rests", seconds(60), || {
            std::thread::sleep(seconds(3));
            let now = held(&server);
            let rests = now == before;
            before = now;
            rests.then_some(())
        });
        before
    };
    rounds(2);
    let first = rested();
    println!("after {} cycles: {first:?}", 2 * BESIDE);
    assert!(first.processes.iter().filter(|command| command.contains("worker")).count() >= 1, "{first:?}");
    rounds(CYCLES / BESIDE - 2);
    let last = rested();
    println!("after {CYCLES} cycles in {:?}: {last:?}", begun.elapsed());
    assert_eq!(last.processes, first.processes);
    assert_eq!(last.files, first.files);
    let most = |held: &Held| (held.descriptors.iter().sum::<usize>(), held.threads.iter().sum::<usize>());
    assert!(most(&last) <= most(&first), "{last:?}\n{first:?}");
    assert!(server.metric("millstream_worker_restarts_total") < 1.0, "{}", server.metrics());
}
