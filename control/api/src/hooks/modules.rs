//! Modules' bytes in the store: in pieces that fit its items, under their SHA-256, so that the same bytes are there once. Before it: an
//! upload; after it: nodes, and downloads.
//!
//! Order: the module's own item, its pieces, then the version that names it. So whatever a crash leaves is found by [`sweep`], which
//! removes what no hook names: pieces, then the item.
use bytes::Bytes;
use millstream_store::item::{Expect, Query, VALUE_BYTES_MAX, Write};
use millstream_store::{Store, StoreError};
use sha2::{Digest as _, Sha256};

use crate::http::problem::{Answer, Problem};
use crate::model::hook::{Form, ModuleRecord};
use crate::model::{self, MODULE, PIECE};

/// Bytes of a piece: the largest value of the store.
const PIECE_BYTES: usize = VALUE_BYTES_MAX;
/// What every WebAssembly binary begins with.
const MAGIC: [u8; 4] = *b"\0asm";
/// What follows in a core module: version 1 of the format, layer 0.
const CORE: [u8; 4] = [1, 0, 0, 0];
/// What follows in a component: version 13 of the format, layer 1.
const COMPONENT: [u8; 4] = [13, 0, 1, 0];

fn piece_key(sha256: &str, number: usize) -> String {
    format!("{sha256}/{number:04}")
}

/// SHA-256 as modules are named.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |text, byte| format!("{text}{byte:02x}"))
}

/// The same, for one that takes a while.
pub(crate) async fn hashed(module: &Bytes) -> Answer<String> {
    let module = module.clone();
    let hashed = tokio::task::spawn_blocking(move || sha256(&module)).await;
    hashed.map_err(|_| Problem::unavailable("ending", "the server is ending", 10))
}

/// What a module is by its first bytes, or why it is none.
pub(crate) fn form(bytes: &[u8]) -> Result<Form, String> {
    let Some((magic, rest)) = bytes.split_first_chunk::<4>() else {
        return Err("this is no WebAssembly: it is too short; send the .wasm file as it is".to_owned());
    };
    if *magic != MAGIC {
        let text = magic.starts_with(b"(mod") || magic.starts_with(b"(com");
        let advice = if text { "this is WebAssembly text" } else { "this is no WebAssembly" };
        return Err(format!("{advice}: it does not begin with the bytes 00 61 73 6d; send the .wasm file as it is"));
    }
    match rest.first_chunk::<4>() {
        Some(&CORE) => Ok(Form::Module),
        Some(&COMPONENT) => Ok(Form::Component),
        Some([version, _, layer, _]) => Err(format!(
            "this is WebAssembly of a version that is not known (version {version}, layer {layer}); build a component (version 13, layer 1) \
             or a core module (version 1, layer 0)"
        )),
        None => Err("this is no WebAssembly: it ends after 4 bytes; send the .wasm file as it is".to_owned()),
    }
}

/// Keeps a module; all of it is durable when this returns.
pub(crate) async fn keep(store: &dyn Store, sha256: &str, module: &Bytes) -> Answer<()> {
    let record = ModuleRecord { bytes: module.len() as u64 };
    // What is there already is the same: its name says so.
    let _ = model::save(store, (MODULE, sha256), Expect::Absent, None, &record).await?;
    // One after the other, so that other writes come between.
    for (number, piece) in module.chunks(PIECE_BYTES).enumerate() {
        let key = piece_key(sha256, number);
        let write = Write { kind: PIECE, key, expect: Expect::Absent, expires_ms: None, value: piece.to_vec() };
        match store.put(write).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The piece that begins at byte `at`; empty at the end; `None`: there is no such module.
pub(crate) async fn piece(store: &dyn Store, sha256: &str, at: u64) -> Result<Option<Bytes>, StoreError> {
    let whole_pieces = usize::try_from(at).ok().filter(|at| at % PIECE_BYTES == 0).map(|at| at / PIECE_BYTES);
    // The last piece is shorter, and nothing is behind it.
    let Some(number) = whole_pieces else { return Ok(Some(Bytes::new())) };
    let found = store.get(PIECE, &piece_key(sha256, number)).await?.map(|item| Bytes::from(item.value));
    Ok(found.or_else(|| (number > 0).then(Bytes::new)))
}

/// Bytes of all modules that are kept.
pub(crate) async fn bytes_kept(store: &dyn Store) -> Answer<u64> {
    let mut bytes = 0;
    let mut after = None;
    loop {
        let page = store.page(Query { after, ..Query::all(MODULE) }).await?;
        for item in &page.items {
            bytes += model::decode::<ModuleRecord>(MODULE, item)?.value.bytes;
        }
        after = page.next;
        if after.is_none() {
            return Ok(bytes);
        }
    }
}

/// Removes modules that nothing names; says how many. Nobody may be uploading meanwhile.
pub(crate) async fn sweep(store: &dyn Store, is_named: impl Fn(&str) -> bool) -> Answer<usize> {
    let (mut removed, mut after) = (0, None);
    loop {
        let page = store.page(Query { after, ..Query::all(MODULE) }).await?;
        for item in page.items.iter().filter(|item| !is_named(&item.key)) {
            let bytes = model::decode::<ModuleRecord>(MODULE, item)?.value.bytes;
            let pieces = usize::try_from(bytes).unwrap_or(0).div_ceil(PIECE_BYTES);
            for number in 0..pieces {
                store.delete(PIECE, &piece_key(&item.key, number), Expect::Any).await?;
            }
            store.delete(MODULE, &item.key, Expect::Version(item.version)).await?;
            removed += 1;
        }
        after = page.next;
        if after.is_none() {
            return Ok(removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use millstream_store::memory::MemoryStore;

    use super::*;

    #[test]
    fn forms_are_told_by_the_first_bytes() {
        let check = |bytes: &[u8], expected: Result<Form, &str>| match (form(bytes), expected) {
            (Ok(form), Ok(expected)) => assert_eq!(form, expected),
            (Err(said), Err(part)) => assert!(said.contains(part), "{said}"),
            (found, expected) => panic!("{bytes:?}: {found:?}, and not {expected:?}"),
        };
        check(b"\0asm\x01\0\0\0", Ok(Form::Module));
        check(b"\0asm\x0d\0\x01\0 and more", Ok(Form::Component));
        check(b"\0asm\x0c\0\x01\0", Err("version 12, layer 1"));
        check(b"\0asm", Err("ends after 4 bytes"));
        check(b"\0as", Err("too short"));
        check(b"", Err("too short"));
        check(b"(module)", Err("WebAssembly text"));
        check(b"\x7fELF\x02\x01\x01\0", Err("no WebAssembly"));
    }

    #[tokio::test]
    async fn modules_are_kept_in_pieces_and_swept_when_nothing_names_them() {
        let store = MemoryStore::new();
        for size in [8, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            let module: Bytes = (0..size).map(|n| (n * 7 % 251) as u8).collect();
            let name = sha256(&module);
            assert_eq!(piece(&store, &name, 0).await, Ok(None));
            keep(&store, &name, &module).await.unwrap();
            keep(&store, &name, &module).await.unwrap();
            let mut read = Vec::new();
            loop {
                let piece = piece(&store, &name, read.len() as u64).await.unwrap().unwrap();
                if piece.is_empty() {
                    break;
                }
                read.extend_from_slice(&piece);
            }
            assert_eq!(read, module, "{size} bytes");
        }
        assert_eq!(bytes_kept(&store).await.unwrap(), (8 + 5 * PIECE_BYTES + 1) as u64);
        assert_eq!(store.count(PIECE).await, Ok(7));
        let kept = sha256(&[0, 7, 14, 21, 28, 35, 42, 49]);
        assert_eq!(sweep(&store, |name| name == kept).await.unwrap(), 3);
        assert_eq!((store.count(MODULE).await, store.count(PIECE).await), (Ok(1), Ok(1)));
    }

    /// A crash at any write of an upload leaves what the sweep finds.
    #[tokio::test]
    async fn an_upload_that_was_cut_off_is_swept_or_finished() {
        let module = Bytes::from(vec![7; 2 * PIECE_BYTES]);
        let name = sha256(&module);
        for written in 0..=2 {
            let store = MemoryStore::new();
            let record = ModuleRecord { bytes: module.len() as u64 };
            let _ = model::save(&store, (MODULE, &name), Expect::Absent, None, &record).await.unwrap();
            for number in 0..written {
                let key = piece_key(&name, number);
                let value = vec![7; PIECE_BYTES];
                store.put(Write { kind: PIECE, key, expect: Expect::Absent, expires_ms: None, value }).await.unwrap();
            }
            assert_eq!(sweep(&store, |_| false).await.unwrap(), 1);
            assert_eq!((store.count(MODULE).await, store.count(PIECE).await), (Ok(0), Ok(0)));
            keep(&store, &name, &module).await.unwrap();
            assert_eq!(store.count(PIECE).await, Ok(2));
        }
    }
}
