//! What the recorder does gives way to shards: they have a frame to send now, and what is recorded can wait, for the window and the spool hold it.
//! Before it: [`super::start`], which starts the threads of the disk; after it: the system's scheduler.
//!
//! With threads of the same priority viewers of a machine with two busy cores had their frames 100 ms late: each of some fifty threads that read the spool for the
//! store ran for a few milliseconds before a shard had its turn.
use std::thread::{Builder, JoinHandle};

use tokio::runtime::Runtime;

/// How much lower the priority of the disk's threads is than that of shards.
const DISK_NICE: i32 = 5;
/// And that of threads that read for the store and talk to it: what they are late with stays in the spool.
const STORE_NICE: i32 = 10;
/// Reads and checksums of files at a time, besides those that wait for the store.
const READS_MAX: usize = 4;

/// The runtime of uploads: a thread, and a few more that read.
pub fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(READS_MAX)
        .thread_name("recorder-store")
        // With the priority that they have they are only slower.
        .on_thread_start(|| {
            let _ = rustix::process::nice(STORE_NICE);
        })
        .enable_all()
        .build()
}

/// A thread of the disk.
pub(super) fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        let _ = rustix::process::nice(DISK_NICE);
        work();
    })
}

#[cfg(test)]
mod tests {
    use rustix::process::nice;

    use super::*;

    #[test]
    fn threads_of_the_recorder_give_way_and_no_others() {
        let before = nice(0).expect("a priority");
        let runtime = runtime().expect("a runtime");
        let reads = runtime.block_on(async { runtime.spawn_blocking(|| nice(0)).await }).expect("done");
        assert_eq!(reads.expect("a priority"), (before + STORE_NICE).min(19));
        let talks = runtime.block_on(runtime.spawn(async { nice(0) })).expect("done");
        assert_eq!(talks.expect("a priority"), (before + STORE_NICE).min(19));
        let (tell, told) = std::sync::mpsc::channel();
        let disk = thread("disk", move || tell.send(nice(0)).expect("somebody listens")).expect("a thread");
        disk.join().expect("no panic");
        assert_eq!(told.recv().expect("told").expect("a priority"), (before + DISK_NICE).min(19));
        assert_eq!(nice(0).expect("a priority"), before);
    }
}
