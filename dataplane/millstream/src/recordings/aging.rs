//! Pictures and films of motion leave the store once they are as old as their stream's `retention_days` says. Before it: the directory, which knows that of
//! each stream; after it: the store. Recordings, with their MP4 files and clips, are control's to remove (`api/recordings/retention`).
//!
//! Files are in folders by their day, so a stream is looked at once a day, whatever it has: a day that is kept is one short page of a listing, for
//! what is behind it is asked for next. Several nodes that share a bucket do the same work; a removal may be done twice.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::stream::iter;
use millstream_api::clock::Clock;
use millstream_objects::limits::PAGE_KEYS_MAX;
use millstream_objects::{Key, ObjectError, ObjectStore};
use millstream_proto::id::Id;
use millstream_proto::recorded::{Day, RecordedFile, RecordedPath};

/// What is looked at: folders below a stream's.
const FOLDERS: [&str; 3] = ["images", "motion/images", "motion/mp4"];
/// Between two looks, and before the first one: a clock that was wrong at the start has been set right by then.
const LOOK_EVERY: Duration = Duration::from_hours(1);
const DAY_MS: u64 = 24 * 3_600_000;
/// Objects that are removed at the same time.
const AT_ONCE: usize = 8;
/// Behind every name in a folder of a day, which are numbers.
const LAST_NAME: &str = "z";

/// Looks each hour, for as long as the process runs.
pub(super) async fn run<F>(store: Arc<dyn ObjectStore>, clock: Clock, retained: impl Fn() -> F)
where
    F: Future<Output = Vec<(Id, u32)>>,
{
    clock.store_was_used(None);
    let mut looked: BTreeMap<Id, u64> = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let retained = retained().await;
        look(&store, clock.believed_ms(), &retained, &mut looked).await;
    }
}

/// Removes what is too old by a clock that is believed. `looked`: up to when each stream's files have been removed, Unix milliseconds.
async fn look(store: &Arc<dyn ObjectStore>, believed_ms: u64, retained: &[(Id, u32)], looked: &mut BTreeMap<Id, u64>) {
    looked.retain(|id, _| retained.iter().any(|(known, _)| known == id));
    for (id, days) in retained {
        let oldest_ms = believed_ms.saturating_sub(u64::from(*days) * DAY_MS);
        // Whole days: what is from the first one that is kept in part is removed with that.
        let kept_from_ms = oldest_ms - oldest_ms % DAY_MS;
        if looked.get(id).is_some_and(|looked| *looked >= kept_from_ms) {
            continue;
        }
        match expire(store, id, kept_from_ms).await {
            Ok(removed) => {
                looked.insert(id.clone(), kept_from_ms);
                if removed > 0 {
                    tracing::info!(stream = %id, removed, days, "pictures and films are as old as retention_days: they are removed");
                }
            }
            Err(error) => {
                tracing::warn!(stream = %id, %error, "old pictures cannot be removed now; it is tried again in an hour");
            }
        }
    }
}

/// Removes a stream's pictures and films that are older than that; gives how many there were.
async fn expire(store: &Arc<dyn ObjectStore>, stream: &Id, kept_from_ms: u64) -> Result<u64, ObjectError> {
    let mut removed = 0;
    for name in FOLDERS {
        let folder = Key::parse(&format!("{stream}/{name}"))?;
        // Of a day that is kept the first file says enough.
        let (mut after, mut limit) = (None, 1);
        loop {
            let page = store.list(Some(&folder), after.as_ref(), limit).await?;
            let (mut old, mut skip) = (Vec::new(), None);
            for object in page.objects {
                match when(stream, &object.key) {
                    Some((_, at_ms)) if at_ms < kept_from_ms => old.push(object.key),
                    Some((day, _)) => {
                        skip = Some(Key::parse(&format!("{folder}/{day}/{LAST_NAME}"))?);
                        break;
                    }
                    // Somebody else's.
                    None => {}
                }
            }
            removed += old.len() as u64;
            iter(old.into_iter().map(Ok))
                .try_for_each_concurrent(AT_ONCE, |key| {
                    let store = Arc::clone(store);
                    async move { store.delete(&key).await }
                })
                .await?;
            (after, limit) = match (skip, page.next) {
                (Some(skip), _) => (Some(skip), 1),
                (None, Some(next)) => (Some(next), PAGE_KEYS_MAX),
                (None, None) => break,
            };
        }
    }
    Ok(removed)
}

/// The day and the moment of a file that the product has put there, Unix milliseconds.
fn when(stream: &Id, key: &Key) -> Option<(Day, u64)> {
    let below: Vec<&str> = key.segments().skip(1).collect();
    match RecordedPath::parse(stream.clone(), &below).ok()?.file {
        RecordedFile::Dated { day, at_ms, .. } if day == Day::of_unix_ms(at_ms) => Some((day, at_ms)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use millstream_objects::memory::{MemoryStore, Operation};
    use millstream_objects::{Body, FileStore, Meta};
    use millstream_proto::recorded::DatedKind;

    use super::*;

    /// 2026-11-24, 12:00 UTC.
    const NOON_MS: u64 = 1_795_521_600_000;
    const HOUR_MS: u64 = 3_600_000;

    fn id(name: &str) -> Id {
        Id::new(name).expect("an id")
    }

    fn file(stream: &str, kind: DatedKind, at_ms: u64) -> String {
        let file = RecordedFile::Dated { kind, day: Day::of_unix_ms(at_ms), at_ms };
        RecordedPath { stream: id(stream), file }.to_string()
    }

    async fn put(store: &Arc<dyn ObjectStore>, key: &str) {
        let key = Key::parse(key).expect("a key");
        let mut body = Body::default();
        body.push("x".into());
        store.put(&key, body, Meta::of(&key, "no-store")).await.expect("put");
    }

    async fn keys(store: &Arc<dyn ObjectStore>) -> Vec<String> {
        let page = store.list(None, None, PAGE_KEYS_MAX).await.expect("a list");
        page.objects.into_iter().map(|object| object.key.to_string()).collect()
    }

    async fn old_files_go_and_no_others(store: &Arc<dyn ObjectStore>) {
        let at = |days: u64| NOON_MS - days * DAY_MS;
        let mut kept = vec![
            // Another stream's, those of a recording, and what is not the product's.
            file("dom", DatedKind::Image, at(40)),
            "cam/rec/17-a/video/1.mp4".to_owned(),
            file("cam", DatedKind::Mp4, at(40)),
            "cam/images/2026/1/2/note.txt".to_owned(),
            "cam/images/2026/1/2/1795531265250.jpg".to_owned(),
            "cam/images.old/2026/1/2/17.jpg".to_owned(),
        ];
        for kind in [DatedKind::Image, DatedKind::MotionImage, DatedKind::MotionMp4] {
            kept.extend((0..=7).flat_map(|days| [at(days), at(days) + 1]).map(|at_ms| file("cam", kind, at_ms)));
            // The day that is kept in part, from its first moment.
            kept.push(file("cam", kind, at(7) - 12 * HOUR_MS));
            for days in 8..30 {
                for second in 0..5 {
                    put(store, &file("cam", kind, at(days) + second * 1_000)).await;
                }
            }
            put(store, &file("cam", kind, at(7) - 12 * HOUR_MS - 1)).await;
        }
        for key in &kept {
            put(store, key).await;
        }
        kept.sort();
        let retained = [(id("cam"), 7)];
        let mut looked = BTreeMap::new();
        look(store, NOON_MS, &retained, &mut looked).await;
        assert_eq!(keys(store).await, kept);
        // A day later, and not before.
        look(store, NOON_MS + 11 * HOUR_MS, &retained, &mut looked).await;
        assert_eq!(keys(store).await, kept);
        look(store, NOON_MS + 12 * HOUR_MS, &retained, &mut looked).await;
        assert_eq!(keys(store).await.len(), kept.len() - 9);
    }

    #[tokio::test]
    async fn pictures_and_films_go_with_their_days() {
        old_files_go_and_no_others(&(Arc::new(MemoryStore::new()) as Arc<dyn ObjectStore>)).await;
        let dir = tempfile::tempdir().expect("a directory");
        old_files_go_and_no_others(&(Arc::new(FileStore::new(dir.path().to_owned())) as Arc<dyn ObjectStore>)).await;
    }

    #[tokio::test]
    async fn days_that_are_kept_cost_a_short_page_each() {
        let memory = Arc::new(MemoryStore::new());
        let store = Arc::clone(&memory) as Arc<dyn ObjectStore>;
        for days in 0..30 {
            for second in 0..100 {
                put(&store, &file("cam", DatedKind::Image, NOON_MS - days * DAY_MS + second * 30_000)).await;
            }
        }
        assert_eq!(expire(&store, &id("cam"), NOON_MS - 60 * DAY_MS).await.expect("looked"), 0);
        let lists = memory.calls().into_iter().filter(|call| call.operation == Operation::List);
        assert_eq!(lists.count(), 31 + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_comes_each_hour_and_a_clock_that_leaps_removes_nothing() {
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let image = |days: u64| file("cam", DatedKind::Image, NOON_MS - days * DAY_MS);
        for days in [1, 3] {
            put(&store, &image(days)).await;
        }
        let ahead_ms = Arc::new(AtomicU64::new(0));
        let began = tokio::time::Instant::now();
        let passed = move || began.elapsed().as_millis() as u64;
        let ahead = Arc::clone(&ahead_ms);
        let clock = Clock::of_both(move || NOON_MS + passed() + ahead.load(Ordering::Relaxed), passed);
        let retained = || async { vec![(id("cam"), 2)] };
        let running = tokio::spawn(run(Arc::clone(&store), clock, retained));
        let after = async |minutes: u64| tokio::time::sleep(Duration::from_mins(minutes)).await;
        after(59).await;
        assert_eq!(keys(&store).await.len(), 2, "not before the clock is set right");
        after(2).await;
        assert_eq!(keys(&store).await, [image(1)]);
        ahead_ms.store(30 * DAY_MS, Ordering::Relaxed);
        after(120).await;
        assert_eq!(keys(&store).await, [image(1)], "a clock that leaps is not believed at once");
        ahead_ms.store(0, Ordering::Relaxed);
        after(60).await;
        assert_eq!(keys(&store).await, [image(1)]);
        after(48 * 60).await;
        assert_eq!(keys(&store).await, Vec::<String>::new());
        running.abort();
    }
}
