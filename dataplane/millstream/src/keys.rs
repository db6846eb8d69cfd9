//! The secrets in the data directory: `master-key` and `admin-token`, 32 random bytes each, made at the first start. Only their
//! paths are ever printed. Before it: [`crate::layers`] knows the directory; after it: the policy chain holds the key.
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use millstream_api::identity::{MARKER, MARKER_BYTES_MAX};
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;
#[cfg(feature = "hooks")]
use sha2::{Digest as _, Sha256};
use tracing::info;

/// The file of the key that streams' secrets are made from.
pub(crate) const MASTER_KEY: &str = "master-key";
/// The file of the token that the API asks for.
pub(crate) const ADMIN_TOKEN: &str = "admin-token";
/// The file of the token that nodes tell their control.
pub(crate) const NODE_TOKEN: &str = "node-token";
/// The file of the token that workers of other machines tell control.
const WORKER_TOKEN: &str = "worker-token";
/// The file of the key that compiled hooks are authenticated with.
#[cfg(feature = "hooks")]
const HOOK_CACHE_KEY: &str = "hook-cache-key";
/// Longest key file that is read, bytes.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// Makes the data directory where it is missing, for this user only.
pub(crate) fn make_data_dir(dir: &Path) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| {
        let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        format!("cannot make the data directory {}; give one that this user may write with --data-dir", whole.display())
    })
}

/// Who makes the files, and where they are looked for.
const MADE_BY_SERVE: &str =
    "`millstream serve` makes it at its first start, or give the right directory with --data-dir";

/// The master key; made where there is none.
pub(crate) fn master_key(dir: &Path) -> anyhow::Result<MasterKey> {
    make_if_missing(dir, MASTER_KEY)?;
    read_master_key(dir)
}

/// The master key; `None` where there is none.
pub(crate) fn find_master_key(dir: &Path) -> anyhow::Result<Option<MasterKey>> {
    let path = dir.join(MASTER_KEY);
    let there = path.try_exists().with_context(|| format!("cannot look for {}", path.display()))?;
    there.then(|| read_own(&path)).transpose()
}

/// A master key that ends with the process.
pub(crate) fn passing() -> anyhow::Result<MasterKey> {
    random().map(MasterKey::new)
}

/// The id of the store that this directory had; `None` where there is no such file.
pub(crate) fn store_marker(dir: &Path) -> anyhow::Result<Option<String>> {
    let path = dir.join(MARKER);
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let mut text = String::new();
    file.take(MARKER_BYTES_MAX as u64)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Some(text.trim().to_owned()))
}

/// Writes that file, as a whole or not at all.
pub(crate) fn mark_store(dir: &Path, id: &str) -> anyhow::Result<()> {
    let (path, temporary) = (dir.join(MARKER), dir.join(format!(".{MARKER}.new")));
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    written
        .and_then(|mut file| {
            writeln!(file, "{id}")?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The master key; an error where there is none, because a signature under a new one would admit nobody.
pub(crate) fn read_master_key(dir: &Path) -> anyhow::Result<MasterKey> {
    read_own(&dir.join(MASTER_KEY))
}

/// The first admin's API token; made where there is none.
pub(crate) fn admin_token(dir: &Path) -> anyhow::Result<Secret> {
    make_if_missing(dir, ADMIN_TOKEN)?;
    // It has the form of a master key, and is checked as one.
    read_own(&dir.join(ADMIN_TOKEN)).map(|token| token.to_text())
}

/// The token of control's nodes; made where there is none.
pub(crate) fn node_token(dir: &Path) -> anyhow::Result<Secret> {
    make_if_missing(dir, NODE_TOKEN)?;
    read_own(&dir.join(NODE_TOKEN)).map(|token| token.to_text())
}

/// The token that this node tells its control; an error where there is none, because control has made it.
pub(crate) fn read_node_token(path: &Path) -> anyhow::Result<Secret> {
    let advice = "a node does not make it: copy control's node-token file, with its permissions, into the data directory, or give a file with \
                  --control-token-file";
    let token = read_secret(path, advice).map(|token| token.to_text());
    token.context("a node needs the token of its control")
}

/// The token of workers of other machines; made where there is none. It is good for asking whose they are, and for nothing else.
pub(crate) fn worker_token(dir: &Path) -> anyhow::Result<Secret> {
    make_if_missing(dir, WORKER_TOKEN)?;
    read_own(&dir.join(WORKER_TOKEN)).map(|token| token.to_text())
}

/// The token that this worker tells control.
#[cfg(feature = "transcode")]
pub(crate) fn read_worker_token(path: &Path) -> anyhow::Result<Secret> {
    let advice =
        "a worker does not make it: copy the file worker-token of control's data directory, with its permissions";
    let token = read_secret(path, advice).map(|token| token.to_text());
    token.context("a worker needs a token of control (--token-file)")
}

/// What compiled hooks in the data directory are authenticated with; made where there is none. Whoever loses it compiles them anew.
#[cfg(feature = "hooks")]
pub(crate) fn hook_cache_key(dir: &Path) -> anyhow::Result<[u8; 32]> {
    make_if_missing(dir, HOOK_CACHE_KEY)?;
    let key = read_secret(&dir.join(HOOK_CACHE_KEY), MADE_BY_SERVE)?.to_text();
    Ok(Sha256::digest(key.expose()).into())
}

/// Reads the secret in a `--key-file`: its one line, used as it is. Such files come from other systems (a mounted secret may be
/// readable by a group), so their permissions are their owner's business.
pub(crate) fn read_key_file(path: &Path) -> anyhow::Result<Secret> {
    let text = File::open(path)
        .and_then(|file| read_text(&file))
        .with_context(|| format!("cannot read the key file {}", path.display()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains(['\n', '\r']) || text.len() as u64 > KEY_FILE_BYTES_MAX {
        bail!("the key file {} must hold the secret on one line, and nothing else", path.display());
    }
    Ok(Secret::new(line))
}

fn read_own(path: &Path) -> anyhow::Result<MasterKey> {
    read_secret(path, MADE_BY_SERVE)
}

/// Reads a file of this kind; `missing` says what to do where there is none.
fn read_secret(path: &Path, missing: &str) -> anyhow::Result<MasterKey> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("there is no {shown}; {missing}"),
        _ => anyhow!(error).context(format!("cannot read {shown}")),
    })?;
    let mode = file.metadata().with_context(|| format!("cannot read {shown}"))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "{shown} is open to other users (mode {mode:04o}); run chmod 600 {shown}, and make a new one if others saw it"
        );
    }
    let text = read_text(&file).with_context(|| format!("cannot read {shown}"))?;
    MasterKey::parse(&text).with_context(|| {
        format!("{shown} is damaged; restore it from a backup (a new one makes every signature that was issued wrong)")
    })
}

fn read_text(file: &File) -> std::io::Result<String> {
    let mut text = String::new();
    file.take(KEY_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// Makes a file of 32 random bytes that is either whole or not there: written beside its place, then linked into it, which fails
/// where another process was first; its file then counts.
fn make_if_missing(dir: &Path, name: &str) -> anyhow::Result<()> {
    let path = dir.join(name);
    let shown = path.display();
    if path.try_exists().with_context(|| format!("cannot look for {shown}"))? {
        return Ok(());
    }
    // The temporary name is random and not a process id: containers that share a volume all have process 1.
    let key = MasterKey::new(random()?);
    let temporary = dir.join(format!(".{name}.{:016x}", u64::from_ne_bytes(random()?)));
    write_new(&temporary, &key.to_text()).with_context(|| format!("cannot make {}", temporary.display()))?;
    let linked = link(&temporary, &path);
    std::fs::remove_file(&temporary).with_context(|| format!("cannot remove {}", temporary.display()))?;
    let new = linked.with_context(|| format!("cannot make {shown}"))?;
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(|| format!("cannot make {shown} durable"))?;
    if new {
        info!(path = %shown, "made a new secret file; keep a backup of it");
    }
    Ok(())
}

fn random<const BYTES: usize>() -> anyhow::Result<[u8; BYTES]> {
    let mut bytes = [0_u8; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    Ok(bytes)
}

fn write_new(path: &Path, secret: &Secret) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", secret.expose())?;
    file.sync_all()
}

/// Whether `to` is now this file; otherwise another process made it.
fn link(from: &Path, to: &Path) -> std::io::Result<bool> {
    match std::fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
