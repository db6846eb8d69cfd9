//! Removes a recording from its store: playlists first, so that none names what is gone, then all that is below its folder. Each step may be done
//! again. Before it: [`super::tasks`], which has had the recorder let go of it; after it: the store.
use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use futures_util::stream::iter;
use millstream_objects::Key;
use millstream_objects::limits::PAGE_KEYS_MAX;
use millstream_proto::id::Id;
use millstream_recorder::name::RecordingName;
use millstream_recorder::store::{ReadStore as _, StoreError};

use super::storing::{Storing, failed};

/// Objects that are removed at the same time.
const AT_ONCE: usize = 8;
/// Bytes of a `recording.json` that are looked at: it lists twenty thousand files of two hundred bytes each at most.
const SUMMARY_BYTES_MAX: usize = 8 << 20;
/// Bytes of a multivariant playlist that are looked at: it has some hundred.
const PLAYLIST_BYTES_MAX: usize = 64 << 10;
/// Playlists of a recording, the ones that players begin with first.
const PLAYLISTS: [&str; 4] = ["index.m3u8", "manifest.mpd", "video.m3u8", "audio.m3u8"];

/// Removes all of it, with these files that are not below its folder; gives how many objects there were below that.
pub(super) async fn remove(
    store: &Storing,
    stream: &Id,
    name: &RecordingName,
    files: &BTreeSet<Key>,
) -> Result<u64, StoreError> {
    let folder = Key::parse(&format!("{stream}/rec/{name}")).map_err(failed)?;
    if let Some(vod) = its_vod(store, stream, name).await? {
        store.0.delete(&vod).await.map_err(failed)?;
    }
    for playlist in PLAYLISTS {
        store.0.delete(&folder.child(playlist).map_err(failed)?).await.map_err(failed)?;
    }
    for file in files {
        store.0.delete(file).await.map_err(failed)?;
    }
    let (store, mut removed) = (store.0.as_ref(), 0);
    loop {
        // Always the first page: what was on it is gone.
        let page = store.list(Some(&folder), None, PAGE_KEYS_MAX).await.map_err(failed)?;
        removed += page.objects.len() as u64;
        let more = page.next.is_some();
        iter(page.objects.into_iter().map(Ok))
            .try_for_each_concurrent(AT_ONCE, |object| async move { store.delete(&object.key).await })
            .await
            .map_err(failed)?;
        if !more {
            return Ok(removed);
        }
    }
}

/// The MP4 files that its `recording.json` lists.
pub(super) async fn its_files(store: &Storing, stream: &Id, name: &RecordingName) -> Result<BTreeSet<Key>, StoreError> {
    let summary = store.read(&name.key(stream, "recording.json"), 0, SUMMARY_BYTES_MAX).await?.unwrap_or_default();
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap_or_default();
    let paths = summary["files"].as_array().into_iter().flatten().filter_map(|file| file["path"].as_str());
    let files = paths.filter(|path| path.starts_with("mp4/"));
    Ok(files.filter_map(|path| Key::parse(&format!("{stream}/{path}")).ok()).collect())
}

/// The playlist beside the recordings that is this one's: another one may have begun in the same millisecond.
async fn its_vod(store: &Storing, stream: &Id, name: &RecordingName) -> Result<Option<Key>, StoreError> {
    let key = name.vod_key(stream);
    let Some(text) = store.read(&key, 0, PLAYLIST_BYTES_MAX).await? else { return Ok(None) };
    let folder = format!("rec/{name}/");
    let names = text.windows(folder.len()).any(|part| part == folder.as_bytes());
    Ok(if names { Some(Key::parse(&key).map_err(failed)?) } else { None })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millstream_objects::memory::MemoryStore;
    use millstream_objects::{Body, Meta, ObjectStore as _};

    use super::*;

    async fn put(store: &MemoryStore, key: &str, text: &str) {
        let key = Key::parse(key).expect("a key");
        let mut body = Body::default();
        body.push(text.to_owned().into());
        let meta = Meta::of(&key, "no-store");
        store.put(&key, body, meta).await.expect("put");
    }

    async fn keys(store: &MemoryStore) -> Vec<String> {
        let page = store.list(None, None, PAGE_KEYS_MAX).await.expect("a list");
        page.objects.into_iter().map(|object| object.key.to_string()).collect()
    }

    #[tokio::test]
    async fn all_of_a_recording_goes_and_nothing_of_another_one() {
        let store = Arc::new(MemoryStore::new());
        let storing = Storing(Arc::clone(&store) as Arc<dyn millstream_objects::ObjectStore>);
        let (id, name) = (Id::new("cam").expect("an id"), RecordingName::parse("17-a").expect("a name"));
        let other = "cam/rec/17-ab/index.m3u8";
        put(&store, other, "#EXTM3U").await;
        put(&store, "cam/vod-17.m3u8", "#EXTM3U\nrec/17-a/video.m3u8\n").await;
        for file in ["index.m3u8", "video.m3u8", "recording.json", "video/init-1.mp4", "clips/c.mp4"] {
            put(&store, &format!("cam/rec/17-a/{file}"), "x").await;
        }
        for number in 0..2_100 {
            put(&store, &format!("cam/rec/17-a/video/{number}.mp4"), "x").await;
        }
        put(
            &store,
            "cam/rec/17-a/recording.json",
            r#"{"files": [{"path": "mp4/2026/11/24/17.mp4"}, {"path": "../key"}]}"#,
        )
        .await;
        put(&store, "cam/mp4/2026/11/24/17.mp4", "x").await;
        let files = its_files(&storing, &id, &name).await.expect("a list");
        assert!(remove(&storing, &id, &name, &files).await.expect("removed") >= 2_100);
        assert_eq!(keys(&store).await, [other]);
        assert_eq!(remove(&storing, &id, &name, &files).await.expect("removed"), 0, "it may be done again");
        // One that began in the same millisecond keeps its playlist.
        put(&store, "cam/vod-17.m3u8", "#EXTM3U\nrec/17-ab/video.m3u8\n").await;
        remove(&storing, &id, &name, &files).await.expect("removed");
        assert_eq!(keys(&store).await, [other, "cam/vod-17.m3u8"]);
    }
}
