//! Compiled code on disk, so that a restart compiles nothing; and on its way to a process of this node that runs it ([`seal`], [`open`]).
//!
//! A file, and what goes to another process, is `MAGIC`, an HMAC-SHA256 over all that follows, the length of the header (4 bytes, little-endian), the header as JSON, the code.
//! The key is a secret of the node: who can write the directory but has not the key cannot make the server run code. A file that was
//! changed, was made by another version or for another processor is reported and never used.
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::artifact::Artifact;
use crate::compile::{Compiled, Report};
use crate::text::hex;
use crate::world::World;

const MAGIC: &[u8; 8] = b"MSHOOK1\n";
const HMAC_BYTES: usize = 32;
/// No compiled form of a module that is taken is larger.
pub(crate) const MAX_ARTIFACT_BYTES: u64 = 512 << 20;
const EXTENSION: &str = "hook";

/// Compiled code of hooks in a directory.
pub struct ArtifactCache {
    dir: PathBuf,
    key: [u8; 32],
}

/// What is in the cache for a module.
#[derive(Debug)]
pub enum Cached {
    /// Its code.
    Found(Box<Compiled>),
    /// Nothing.
    Missing,
    /// A file that is not used: it was changed, or is for another engine or processor. Compile the module again, and report this.
    Ignored(String),
}

#[derive(Serialize, Deserialize)]
struct Header {
    fingerprint: [u8; 32],
    sha256: [u8; 32],
    world: World,
    report: Report,
}

impl ArtifactCache {
    /// A cache in that directory, which is made when it is not there (mode 0700).
    pub fn new(dir: impl Into<PathBuf>, key: [u8; 32]) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let dir = dir.into();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir, key })
    }

    /// The code for that module, made by an engine of that fingerprint ([`Runtime::fingerprint`](crate::Runtime::fingerprint)).
    pub fn get(&self, sha256: &[u8; 32], world: World, fingerprint: &[u8; 32]) -> Cached {
        let path = self.path(sha256, world);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Cached::Missing,
            Err(error) => return Cached::Ignored(format!("{}: {error}", path.display())),
        };
        let ignored = |why: &str| Cached::Ignored(format!("{}: {why}; it is compiled anew", path.display()));
        let compiled = match open(&self.key, &bytes, fingerprint) {
            Ok(compiled) => compiled,
            Err(why) => return ignored(&why.to_string()),
        };
        // The name of a file is not under the HMAC: one right file could lie under another's name.
        if compiled.artifact.sha256() != *sha256 || compiled.artifact.world() != world {
            return ignored("it is the code of another module");
        }
        Cached::Found(Box::new(compiled))
    }

    /// Keeps the code: written beside, then renamed (mode 0600).
    pub fn put(&self, compiled: &Compiled) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let artifact = &compiled.artifact;
        let bytes = seal(&self.key, compiled)?;
        let path = self.path(&artifact.sha256(), artifact.world());
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let beside = self.dir.join(format!("{}.{count}.new", std::process::id()));
        let written =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut file| {
                file.write_all(&bytes)?;
                fs::rename(&beside, &path)
            });
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// Removes the files of modules that are not in the list, and what an interrupted write left, as far as they were written before that time. Returns
    /// how many.
    pub fn keep_only(&self, modules: &[([u8; 32], World)], written_before: SystemTime) -> io::Result<usize> {
        let kept: Vec<PathBuf> = modules.iter().map(|(sha256, world)| self.path(sha256, *world)).collect();
        let mut removed = 0;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let path = entry.path();
            let ours = path.extension().is_some_and(|it| it == EXTENSION || it == "new");
            let is_old =
                || entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|at| at < written_before);
            if ours && !kept.contains(&path) && is_old() && fs::remove_file(&path).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes the code of a module, if it is there.
    pub fn remove(&self, sha256: &[u8; 32], world: World) -> io::Result<()> {
        match fs::remove_file(self.path(sha256, world)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, sha256: &[u8; 32], world: World) -> PathBuf {
        self.dir.join(format!("{}-{world}.{EXTENSION}", hex(sha256)))
    }
}

/// Why sealed code is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Something else.
    #[error("not a file of compiled code")]
    Form,
    /// Another key, or changed bytes.
    #[error("it was changed, or written under another key")]
    Mac,
    /// Not as this version writes it.
    #[error("its header cannot be read")]
    Header,
    /// Not for this process.
    #[error("it is for another version of the engine or another processor")]
    Foreign,
}

/// Compiled code as bytes that only who has the key can have made: for another process of this node.
pub fn seal(key: &[u8; 32], compiled: &Compiled) -> io::Result<Vec<u8>> {
    let artifact = &compiled.artifact;
    let header = serde_json::to_vec(&Header {
        fingerprint: artifact.fingerprint(),
        sha256: artifact.sha256(),
        world: artifact.world(),
        report: compiled.report.clone(),
    })?;
    let content = MAGIC.len() + HMAC_BYTES;
    let mut bytes = Vec::with_capacity(content + 4 + header.len() + artifact.size());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[0; HMAC_BYTES]);
    bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(artifact.code());
    let tag = mac(key, bytes.get(content..).unwrap_or_default()).finalize().into_bytes();
    if let Some(place) = bytes.get_mut(MAGIC.len()..content) {
        place.copy_from_slice(&tag);
    }
    Ok(bytes)
}

/// Code that was sealed under this key, for an engine of that fingerprint ([`Runtime::fingerprint`](crate::Runtime::fingerprint)).
///
/// Whoever has the key can have any code run by this process: it is made by this program, and only processes of it have it.
pub fn open(key: &[u8; 32], bytes: &[u8], fingerprint: &[u8; 32]) -> Result<Compiled, OpenError> {
    let parts = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_at_checked(HMAC_BYTES));
    let (tag, content) = parts.ok_or(OpenError::Form)?;
    mac(key, content).verify_slice(tag).map_err(|_| OpenError::Mac)?;
    let (header, code) = parse(content).ok_or(OpenError::Header)?;
    if header.fingerprint != *fingerprint {
        return Err(OpenError::Foreign);
    }
    let artifact = Artifact::trusted(header.sha256, header.world, header.fingerprint, code.to_vec());
    Ok(Compiled { report: header.report, artifact })
}

fn mac(key: &[u8; 32], content: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(content);
    mac
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_ARTIFACT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(content: &[u8]) -> Option<(Header, &[u8])> {
    let (len, rest) = content.split_first_chunk::<4>()?;
    let (header, code) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((serde_json::from_slice(header).ok()?, code))
}
