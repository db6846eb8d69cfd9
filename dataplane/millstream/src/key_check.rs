//! Whether `master-key` is the one that the store's streams were made with. Under another one no key that was handed out admits, and nobody
//! would know why: so the server does not start, unless it is told that this is meant. The store keeps a check of the key, never the key.
//! Before it: [`crate::serve`], which has neither read nor made the key yet; after it: [`crate::keys`].
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use millstream_api::model::{SERVER, STREAM};
use millstream_proto::sign::MasterKey;
use millstream_store::Store;
use millstream_store::item::{Expect, Write};
use millstream_store::sqlite::{peek, peek_count};
use tokio::runtime::Runtime;
use tracing::warn;

use crate::keys;

/// The check's key in the store.
const CHECK: &str = "master-key-check";

/// What to do.
const ADVICE: &str = "Restore master-key from a backup (mode 0600). Only if it is lost for good, start once with --accept-new-key: then every \
                      push URL and every webhook secret that was handed out is void, and has to be handed out anew";

/// Fails where the key is missing beside a store that has streams, or is another one. To be called before a key is made.
pub(crate) fn agree(dir: &Path, accept: bool) -> anyhow::Result<()> {
    if accept {
        return Ok(());
    }
    // A store that cannot be read is told of by whoever opens it.
    let (Ok(kept), Ok(streams)) = (peek(dir, SERVER, CHECK), peek_count(dir, STREAM)) else { return Ok(()) };
    let kept = kept.map(|item| String::from_utf8_lossy(&item.value).into_owned());
    let path = dir.join(keys::MASTER_KEY);
    let shown = path.display();
    if !path.try_exists()? {
        if kept.is_some() || streams > 0 {
            bail!(
                "{shown} is missing, and the store beside it has {streams} streams whose keys are made from it. {ADVICE}"
            );
        }
        return Ok(());
    }
    // A key that cannot be read is told of by whoever needs it.
    let Ok(key) = keys::read_master_key(dir) else { return Ok(()) };
    if kept.is_some_and(|kept| kept != key.check()) {
        bail!("{shown} is not the key that the streams of the store beside it were made with. {ADVICE}");
    }
    Ok(())
}

/// Keeps the key's check in the store, where it has another one or none.
pub(crate) fn keep(runtime: &Runtime, store: &Arc<dyn Store>, key: Option<&MasterKey>) {
    let Some(check) = key.map(MasterKey::check) else { return };
    let keeping = async {
        if store.get(SERVER, CHECK).await?.is_some_and(|item| item.value == check.as_bytes()) {
            return Ok(());
        }
        let value = check.into_bytes();
        let write = Write { kind: SERVER, key: CHECK.to_owned(), expect: Expect::Any, expires_ms: None, value };
        store.put(write).await.map(drop)
    };
    // A full disk does not keep the server from starting; the next start tries again.
    if let Err(error) = runtime.block_on(keeping) {
        warn!(%error, "the check of the master key cannot be kept: a lost key would not be noticed");
    }
}
