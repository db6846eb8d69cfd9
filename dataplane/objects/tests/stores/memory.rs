//! What is put or read is never held as a whole: measured, in a process of its own.
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use millstream_objects::{Body, FileStore, Meta, ObjectStore, Span};

use crate::support::{Bench, key};

const OBJECT_BYTES: u64 = 256 * 1024 * 1024;
const GROWTH_KIB_MAX: u64 = 16 * 1024;

/// The most memory that this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_takes_a_few_chunks_of_memory() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().expect("a directory");
    let stores: [Box<dyn ObjectStore>; 2] = [Box::new(FileStore::new(dir.path())), Box::new(bench.direct().await)];
    let file = tempfile::tempfile().expect("a file");
    file.set_len(OBJECT_BYTES).expect("set");
    for at in (0..OBJECT_BYTES).step_by(1 << 20) {
        file.write_all_at(&at.to_le_bytes(), at).expect("written");
    }
    let body = Body::file(Arc::new(file), 0..OBJECT_BYTES);
    let sums = body.sums().expect("sums");
    for store in stores {
        let (key, before) = (key("large.mp4"), peak_kib());
        assert_eq!(store.put(&key, body.clone(), Meta::of(&key, "no-store")).await.expect("put"), sums);
        println!("{}: {} KiB more for the put", store.place(), peak_kib() - before);
        let mut reading = store.get(&key, Span::All).await.expect("an object");
        let mut bytes = 0;
        while let Some(chunk) = reading.chunks.try_next().await.expect("a chunk") {
            bytes += chunk.len() as u64;
        }
        let grown = peak_kib() - before;
        println!("{}: {grown} KiB more for 256 MiB", store.place());
        assert_eq!(bytes, OBJECT_BYTES);
        assert!(grown <= GROWTH_KIB_MAX, "{}: {grown} KiB more", store.place());
    }
}
