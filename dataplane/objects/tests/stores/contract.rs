//! What every store keeps to, as its users see it: run against each implementation.
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use millstream_objects::memory::MemoryStore;
use millstream_objects::{
    Body, ErrorKind, FileStore, Key, Meta, ObjectError, ObjectStore, Retry, Span, Stored, confirm,
};

#[cfg(feature = "s3")]
use crate::support;

fn key(text: &str) -> Key {
    Key::parse(text).expect("a key")
}

fn meta(key: &Key) -> Meta {
    Meta::of(key, "public, max-age=60")
}

/// Tries of a call: servers close connections, and callers try again.
const TRIES_MAX: usize = 20;

async fn put(store: &dyn ObjectStore, name: &str, bytes: &[u8]) {
    let key = key(name);
    for _ in 0..TRIES_MAX {
        match store.put(&key, Body::from(bytes.to_vec()), meta(&key)).await {
            Ok(sums) => {
                assert_eq!((sums.bytes, sums.crc32.0), (bytes.len() as u64, crc32fast::hash(bytes)));
                return;
            }
            Err(error) => assert_eq!(error.retry(), Retry::Soon, "{error}"),
        }
    }
    panic!("{name} cannot be put");
}

async fn read(store: &dyn ObjectStore, name: &str, span: Span) -> Vec<u8> {
    for _ in 0..TRIES_MAX {
        match read_once(store, name, span).await {
            Ok(all) => return all,
            Err(error) => assert_eq!(error.retry(), Retry::Soon, "{error}"),
        }
        // A server that others write to may need a moment.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{name} cannot be read");
}

async fn read_once(store: &dyn ObjectStore, name: &str, span: Span) -> Result<Vec<u8>, ObjectError> {
    let reading = store.get(&key(name), span).await?;
    let all = reading.chunks.try_fold(Vec::new(), |mut all: Vec<u8>, chunk| async move {
        all.extend_from_slice(&chunk);
        Ok(all)
    });
    let all = all.await?;
    assert_eq!(all.len() as u64, reading.range.end - reading.range.start);
    Ok(all)
}

async fn head(store: &dyn ObjectStore, name: &str) -> Option<Stored> {
    store.head(&key(name)).await.expect("an answer")
}

/// Each test gets a store with nothing in it.
async fn an_object_comes_back_as_it_was_put(store: &dyn ObjectStore) {
    assert_eq!(head(store, "a/rec/1/video.mp4").await, None);
    put(store, "a/rec/1/video.mp4", b"moving pictures").await;
    let stored = head(store, "a/rec/1/video.mp4").await.expect("an object");
    assert_eq!((stored.bytes, stored.content_type.as_str()), (15, "video/mp4"));
    assert!(stored.etag.starts_with('"') && stored.etag.ends_with('"') && stored.etag.len() > 2, "{stored:?}");
    assert!(stored.modified_ms > 1_700_000_000_000, "{stored:?}");
    assert_eq!(read(store, "a/rec/1/video.mp4", Span::All).await, b"moving pictures");
    assert_eq!(store.get(&key("a/rec/1/video.mp4"), Span::All).await.expect("an object").stored, stored);
}

async fn ranges_are_served(store: &dyn ObjectStore) {
    put(store, "r.mp4", b"0123456789").await;
    for (span, wanted) in [
        (Span::All, "0123456789"),
        (Span::From(7), "789"),
        (Span::Within(0, 0), "0"),
        (Span::Within(2, 4), "234"),
        (Span::Within(8, 99), "89"),
        (Span::Last(3), "789"),
        (Span::Last(99), "0123456789"),
    ] {
        assert_eq!(read(store, "r.mp4", span).await, wanted.as_bytes(), "{span:?}");
        assert_eq!(store.get(&key("r.mp4"), span).await.expect("an object").stored.bytes, 10, "{span:?}");
    }
    for span in [Span::From(10), Span::Within(10, 11), Span::Last(0)] {
        assert_eq!(store.get(&key("r.mp4"), span).await.expect_err("no byte").kind(), ErrorKind::Range, "{span:?}");
    }
}

async fn a_later_put_replaces_all_of_an_earlier_one(store: &dyn ObjectStore) {
    put(store, "a/index.m3u8", b"#EXTM3U\nlong, long ago").await;
    let before = head(store, "a/index.m3u8").await.expect("an object");
    put(store, "a/index.m3u8", b"#EXTM3U").await;
    let after = head(store, "a/index.m3u8").await.expect("an object");
    assert_eq!(read(store, "a/index.m3u8", Span::All).await, b"#EXTM3U");
    assert_ne!(before.etag, after.etag);
}

async fn an_empty_object_is_an_object(store: &dyn ObjectStore) {
    put(store, "empty.json", b"").await;
    assert_eq!(head(store, "empty.json").await.map(|stored| stored.bytes), Some(0));
    assert_eq!(read(store, "empty.json", Span::All).await, b"");
    assert_eq!(store.get(&key("empty.json"), Span::Last(1)).await.expect_err("none").kind(), ErrorKind::Range);
}

async fn what_is_deleted_is_gone_and_may_be_deleted_again(store: &dyn ObjectStore) {
    put(store, "a/b/c.mp4", b"1").await;
    put(store, "a/b/d.mp4", b"2").await;
    for _ in 0..2 {
        store.delete(&key("a/b/c.mp4")).await.expect("deleted");
    }
    assert_eq!(head(store, "a/b/c.mp4").await, None);
    let error = store.get(&key("a/b/c.mp4"), Span::All).await.expect_err("gone");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::NotFound, Retry::Never));
    assert!(error.to_string().contains("a/b/c.mp4"), "{error}");
    assert_eq!(read(store, "a/b/d.mp4", Span::All).await, b"2");
    store.delete(&key("nothing/here.mp4")).await.expect("nothing to delete");
}

async fn a_body_may_be_of_bytes_and_ranges_of_files(store: &dyn ObjectStore) {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&bytes).expect("written");
    let file: Arc<File> = Arc::new(file);
    let mut body = Body::from(b"index".to_vec());
    body.push_file(Arc::clone(&file), 100..2_000_000);
    body.push(b"between".to_vec().into());
    body.push_file(file, 2_999_999..3_000_000);
    let wanted = [b"index", &bytes[100..2_000_000], b"between", &bytes[2_999_999..]].concat();
    let key = key("mp4/2026/1/2/3.mp4");
    let sums = store.put(&key, body.clone(), meta(&key)).await.expect("put");
    assert_eq!(sums, body.sums().expect("sums"));
    assert_eq!(read(store, key.as_str(), Span::All).await, wanted);
    confirm(store, &key, sums).await.expect("it is there");
}

async fn a_body_that_is_shorter_than_it_says_stores_nothing(store: &dyn ObjectStore) {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(b"short").expect("written");
    let key = key("s/short.mp4");
    let body = Body::file(Arc::new(file), 0..6);
    let error = store.put(&key, body, meta(&key)).await.expect_err("too short");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Invalid, Retry::Never), "{error}");
    assert_eq!(head(store, "s/short.mp4").await, None);
    assert_eq!(store.list(None, None, 10).await.expect("a page").objects, []);
}

async fn confirm_tells_other_bytes_and_other_lengths(store: &dyn ObjectStore) {
    let key = key("c.mp4");
    let right = store.put(&key, Body::from(b"right".to_vec()), meta(&key)).await.expect("put");
    confirm(store, &key, right).await.expect("it is there");
    for other in [&b"wrong"[..], b"righ", b""] {
        put(store, "c.mp4", other).await;
        let error = confirm(store, &key, right).await.expect_err("something else");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Damaged, Retry::Soon), "{error}");
    }
    store.delete(&key).await.expect("deleted");
    assert_eq!(confirm(store, &key, right).await.expect_err("nothing").kind(), ErrorKind::Damaged);
}

async fn listings_are_in_order_of_keys_and_of_one_folder(store: &dyn ObjectStore) {
    // Orders of directories are not orders of keys: `-` and `.` come before `/`.
    let mut names =
        ["a-b.mp4", "a.mp4", "a/1.mp4", "a/1/x.mp4", "a/10.mp4", "a/b/c/d.mp4", "a0.mp4", "b/a.mp4", "b.mp4"];
    for name in names {
        put(store, name, name.as_bytes()).await;
    }
    names.sort_unstable();
    for limit in 1..=names.len() + 1 {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(None, after.as_ref(), limit).await.expect("a page");
            assert!(page.objects.len() <= limit);
            listed.extend(page.objects);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(listed.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), names, "{limit}");
        assert!(listed.iter().all(|object| object.bytes == object.key.as_str().len() as u64), "{listed:?}");
    }
    let folder = async |folder: &str, after: Option<&str>| {
        let page = store.list(Some(&key(folder)), after.map(key).as_ref(), 100).await.expect("a page");
        page.objects.iter().map(|object| object.key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(folder("a", None).await, ["a/1.mp4", "a/1/x.mp4", "a/10.mp4", "a/b/c/d.mp4"]);
    assert_eq!(folder("a", Some("a/1.mp4")).await, ["a/1/x.mp4", "a/10.mp4", "a/b/c/d.mp4"]);
    assert_eq!(folder("a/b", None).await, ["a/b/c/d.mp4"]);
    assert_eq!(folder("a/nothing", None).await, Vec::<String>::new());
    // A place that is no key there, and places before and behind the folder.
    assert_eq!(folder("a", Some("a/1/zzz")).await, ["a/10.mp4", "a/b/c/d.mp4"]);
    assert_eq!(folder("b", Some("a/9")).await, ["b/a.mp4"]);
    assert_eq!(folder("a", Some("b")).await, Vec::<String>::new());
}

async fn a_header_that_could_bring_another_is_refused(store: &dyn ObjectStore) {
    let key = key("h.mp4");
    let meta = Meta::of(&key, "no-store\r\nx-amz-acl: public-read");
    let error = store.put(&key, Body::from(b"x".to_vec()), meta).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(head(store, "h.mp4").await, None);
}

async fn readers_see_one_put_or_another_and_never_a_part(store: Arc<dyn ObjectStore>) {
    put(&*store, "a/live.m3u8", &vec![0; 50_000]).await;
    let writers = (0..4_u8).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..10_u8 {
                put(&*store, "a/live.m3u8", &vec![writer * 10 + n; 40_000 + usize::from(n) * 1_000]).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        let bytes = read(&*store, "a/live.m3u8", Span::All).await;
        assert!(bytes.len() >= 40_000 && bytes.iter().all(|byte| *byte == bytes[0]), "{} bytes", bytes.len());
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
    let page = store.list(None, None, 10).await.expect("a page");
    assert_eq!(page.objects.len(), 1, "{page:?}");
}

async fn a_folder_may_be_emptied_while_another_puts_into_it(store: Arc<dyn ObjectStore>) {
    let emptying = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..100 {
                put(&*store, "deep/er/gone.mp4", b"1").await;
                store.delete(&key("deep/er/gone.mp4")).await.expect("deleted");
            }
        })
    };
    for n in 0..100 {
        let name = format!("deep/er/{n}.mp4");
        put(&*store, &name, b"2").await;
        assert!(head(&*store, &name).await.is_some());
        store.delete(&key(&name)).await.expect("deleted");
    }
    emptying.await.expect("no panic");
    assert_eq!(store.list(None, None, 10).await.expect("a page").objects, []);
}

async fn a_store_that_works_says_so_and_has_nothing_to_sweep(store: &dyn ObjectStore) {
    let probe = store.probe().await.expect("it works");
    assert_eq!(probe.warnings, Vec::<String>::new());
    assert_eq!(store.list(None, None, 10).await.expect("a page").objects, [], "the probe leaves nothing");
    put(store, "kept.mp4", b"1").await;
    assert_eq!(store.sweep(Duration::ZERO).await.expect("swept"), 0);
    assert_eq!(read(store, "kept.mp4", Span::All).await, b"1");
}

/// Objects of an own making below that directory, which the store serves.
async fn ten_thousand_keys_are_listed_in_pages_in_order(store: &dyn ObjectStore, dir: &std::path::Path) {
    let mut names = Vec::new();
    for folder in 0..100 {
        for n in 0..100 {
            names.push(match n % 3 {
                0 => format!("s{folder}/rec/{n}/video.m4s"),
                1 => format!("s{folder}/{n}.mp4"),
                _ => format!("s{folder}-{n}.jpg"),
            });
        }
    }
    for name in &names {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, name).expect("written");
    }
    names.sort_unstable();
    for limit in [1_000, 777, usize::MAX] {
        let (mut listed, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = store.list(None, after.as_ref(), limit).await.expect("a page");
            pages += 1;
            assert!(page.objects.len() <= limit.min(1_000));
            listed.extend(page.objects.into_iter().map(|object| object.key.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(pages, 10_000_usize.div_ceil(limit.min(1_000)));
        assert_eq!(listed, names);
    }
}

#[tokio::test]
async fn a_directory_lists_ten_thousand_keys_in_pages_in_order() {
    let (store, dir) = file_store();
    ten_thousand_keys_are_listed_in_pages_in_order(&*store, dir.path()).await;
}

#[cfg(feature = "s3")]
#[tokio::test]
async fn a_bucket_lists_ten_thousand_keys_in_pages_in_order() {
    let (store, bench) = s3_store().await;
    let dir = bench.dir.path().join(support::BUCKET).join("a/prefix");
    ten_thousand_keys_are_listed_in_pages_in_order(&*store, &dir).await;
}

#[cfg(feature = "s3")]
async fn s3_store() -> (Arc<dyn ObjectStore>, support::Bench) {
    let bench = support::Bench::new();
    (Arc::new(bench.direct().await), bench)
}

macro_rules! suite {
    ($module:ident, $new:expr) => {
        mod $module {
            use super::*;
            suite!(@tests $new; shared
                an_object_comes_back_as_it_was_put ranges_are_served a_later_put_replaces_all_of_an_earlier_one
                an_empty_object_is_an_object what_is_deleted_is_gone_and_may_be_deleted_again
                a_body_may_be_of_bytes_and_ranges_of_files a_body_that_is_shorter_than_it_says_stores_nothing
                confirm_tells_other_bytes_and_other_lengths listings_are_in_order_of_keys_and_of_one_folder
                a_header_that_could_bring_another_is_refused a_store_that_works_says_so_and_has_nothing_to_sweep);
            suite!(@tests $new; owned
                readers_see_one_put_or_another_and_never_a_part a_folder_may_be_emptied_while_another_puts_into_it);
        }
    };
    (@tests $new:expr; $how:ident $($test:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let (store, _guard) = $new.await;
            suite!(@call $how $test store);
        })*
    };
    (@call shared $test:ident $store:ident) => { super::$test(&*$store).await };
    (@call owned $test:ident $store:ident) => { super::$test($store).await };
}

fn file_store() -> (Arc<dyn ObjectStore>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    (Arc::new(FileStore::new(dir.path())), dir)
}

fn memory_store() -> (Arc<dyn ObjectStore>, ()) {
    (Arc::new(MemoryStore::new()), ())
}

suite!(memory, std::future::ready(memory_store()));
suite!(file, std::future::ready(file_store()));
#[cfg(feature = "s3")]
suite!(s3, s3_store());
