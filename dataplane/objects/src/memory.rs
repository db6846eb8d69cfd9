//! Objects in memory, with faults that a test scripts. Before it: tests of those who use a store; after it: nothing.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream;

use crate::body::{Body, Crc32, Summing, Sums};
use crate::error::{ErrorKind, ObjectError};
use crate::key::Key;
use crate::limits::{CHUNK_BYTES, PAGE_KEYS_MAX};
use crate::store::{Answer, Listed, Meta, ObjectStore, Page, PresignedUrl, Probe, Reading, Span, Stored};

/// What is asked of a store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// [`ObjectStore::put`].
    Put,
    /// [`ObjectStore::head`].
    Head,
    /// [`ObjectStore::get`].
    Get,
    /// [`ObjectStore::delete`].
    Delete,
    /// [`ObjectStore::list`]; its key is the folder.
    List,
    /// [`ObjectStore::probe`].
    Probe,
}

/// A call, as the script sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// What is asked.
    pub operation: Operation,
    /// Of which object.
    pub key: Option<Key>,
    /// How many calls came before this one.
    pub number: u64,
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing is done, and this is the answer.
    Refuse(ErrorKind),
    /// It is done, and the answer is lost: the caller sees [`ErrorKind::Unavailable`].
    LoseAnswer,
    /// There is no answer, and nothing is done.
    Hang,
    /// The call is done after this time.
    Delay(Duration),
    /// A put keeps so many bytes at most and says that all went well.
    Shorten(u64),
    /// A put says that all went well and keeps nothing.
    Forget,
    /// The first byte becomes another one: what is kept, by a put, or what is read, by a get.
    Corrupt,
    /// A get ends with an error after so many bytes.
    CutRead(u64),
}

type Script = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

/// Objects in memory. Clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<Key, Object>,
    puts: u64,
    calls: Vec<Call>,
    script: Option<Script>,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    meta: Meta,
    number: u64,
    modified_ms: u64,
}

impl Object {
    fn stored(&self) -> Stored {
        Stored {
            bytes: self.bytes.len() as u64,
            crc32: Some(Crc32(crc32fast::hash(&self.bytes))),
            etag: format!("\"{}\"", self.number),
            modified_ms: self.modified_ms,
            content_type: self.meta.content_type.to_string(),
            cache_control: Some(self.meta.cache_control.to_string()),
        }
    }
}

impl MemoryStore {
    /// An empty store without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks this about each call from now on.
    pub fn script(&self, script: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.lock().script = Some(Box::new(script));
    }

    /// Ends the script.
    pub fn heal(&self) {
        self.lock().script = None;
    }

    /// The calls so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// All objects and their bytes.
    pub fn objects(&self) -> BTreeMap<Key, Bytes> {
        self.lock().objects.iter().map(|(key, object)| (key.clone(), object.bytes.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the call in, and lets the script have its way; gives the fault that is left for the call itself.
    async fn begin(&self, operation: Operation, key: Option<&Key>) -> Result<Option<Fault>, ObjectError> {
        let fault = {
            let mut inner = self.lock();
            let call = Call { operation, key: key.cloned(), number: inner.calls.len() as u64 };
            inner.calls.push(call.clone());
            inner.script.as_mut().and_then(|script| script(&call))
        };
        match fault {
            Some(Fault::Refuse(kind)) => {
                Err(ObjectError::new(kind, format!("the script refuses {operation:?}: {kind}")))
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(None)
            }
            fault => Ok(fault),
        }
    }
}

fn end(fault: Option<Fault>) -> Result<(), ObjectError> {
    match fault {
        Some(Fault::LoseAnswer) => Err(ObjectError::new(ErrorKind::Unavailable, "the script loses the answer")),
        _ => Ok(()),
    }
}

impl ObjectStore for MemoryStore {
    fn put(&self, key: &Key, body: Body, meta: Meta) -> Answer<'_, Sums> {
        let key = key.clone();
        Box::pin(async move {
            meta.check()?;
            let fault = self.begin(Operation::Put, Some(&key)).await?;
            let (mut bytes, mut summing, mut reader) = (Vec::new(), Summing::default(), body.reader());
            while let Some(chunk) = reader.next(CHUNK_BYTES)? {
                summing.update(&chunk);
                bytes.extend_from_slice(&chunk);
            }
            match fault {
                Some(Fault::Shorten(max)) => bytes.truncate(max as usize),
                Some(Fault::Corrupt) => bytes.iter_mut().take(1).for_each(|byte| *byte = !*byte),
                Some(Fault::Forget) => return Ok(summing.sums()),
                _ => {}
            }
            let modified_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
            {
                let mut inner = self.lock();
                inner.puts += 1;
                let object = Object { bytes: bytes.into(), meta, number: inner.puts, modified_ms };
                inner.objects.insert(key, object);
            }
            end(fault).map(|()| summing.sums())
        })
    }

    fn head(&self, key: &Key) -> Answer<'_, Option<Stored>> {
        let key = key.clone();
        Box::pin(async move {
            let fault = self.begin(Operation::Head, Some(&key)).await?;
            let stored = self.lock().objects.get(&key).map(Object::stored);
            end(fault).map(|()| stored)
        })
    }

    fn get(&self, key: &Key, span: Span) -> Answer<'_, Reading> {
        let key = key.clone();
        Box::pin(async move {
            let fault = self.begin(Operation::Get, Some(&key)).await?;
            end(fault)?;
            let object = self.lock().objects.get(&key).cloned();
            let object =
                object.ok_or_else(|| ObjectError::new(ErrorKind::NotFound, format!("memory has no object {key}")))?;
            let stored = object.stored();
            let range = span.of(stored.bytes).ok_or_else(|| span.refused(&key, stored.bytes))?;
            let mut bytes = object.bytes.slice(range.start as usize..range.end as usize);
            let mut cut = None;
            match fault {
                Some(Fault::Corrupt) => {
                    let mut other = bytes.to_vec();
                    other.iter_mut().take(1).for_each(|byte| *byte = !*byte);
                    bytes = other.into();
                }
                Some(Fault::CutRead(after)) => {
                    bytes.truncate(after as usize);
                    cut = Some(Err(ObjectError::new(ErrorKind::Unavailable, "the script cuts the object off")));
                }
                _ => {}
            }
            let chunks: Vec<Bytes> = bytes.chunks(CHUNK_BYTES).map(|chunk| bytes.slice_ref(chunk)).collect();
            Ok(Reading { stored, range, chunks: Box::pin(stream::iter(chunks.into_iter().map(Ok).chain(cut))) })
        })
    }

    fn delete(&self, key: &Key) -> Answer<'_, ()> {
        let key = key.clone();
        Box::pin(async move {
            let fault = self.begin(Operation::Delete, Some(&key)).await?;
            self.lock().objects.remove(&key);
            end(fault)
        })
    }

    fn list(&self, folder: Option<&Key>, after: Option<&Key>, limit: usize) -> Answer<'_, Page> {
        let (folder, after) = (folder.cloned(), after.cloned());
        Box::pin(async move {
            let fault = self.begin(Operation::List, folder.as_ref()).await?;
            let limit = limit.clamp(1, PAGE_KEYS_MAX);
            let mut objects: Vec<Listed> = Vec::new();
            for (key, object) in &self.lock().objects {
                let wanted = folder.as_ref().is_none_or(|folder| key.is_in(folder));
                if wanted && after.as_ref().is_none_or(|after| key > after) {
                    let (bytes, modified_ms) = (object.bytes.len() as u64, object.modified_ms);
                    objects.push(Listed { key: key.clone(), bytes, modified_ms });
                    if objects.len() > limit {
                        break;
                    }
                }
            }
            end(fault).map(|()| Page::of(objects, limit))
        })
    }

    fn presign(&self, _: &Key, _: Duration) -> Answer<'_, Option<PresignedUrl>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn probe(&self) -> Answer<'_, Probe> {
        Box::pin(async move {
            let fault = self.begin(Operation::Probe, None).await?;
            end(fault).map(|()| Probe::default())
        })
    }

    fn sweep(&self, _: Duration) -> Answer<'_, u64> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}
