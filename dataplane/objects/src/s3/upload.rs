//! Puts: in one request, or in parts above 16 MiB. Before it: a body; after it: an object that is there as a whole or not at all.
//!
//! A body is read twice, first for its sums: S3 is told the MD5 of each request's body and refuses another one, and an object carries its
//! checksum from the moment that it exists.
use std::time::Duration;

use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use super::failure::Doing;
use super::sending::{self, Progress};
use super::{CHECKSUM, Inner, S3Store};
use crate::body::{Body, Summing, Sums};
use crate::confirm::read_sums;
use crate::error::{ErrorKind, ObjectError};
use crate::key::Key;
use crate::limits::{CHUNK_BYTES, PARTS_MAX, PUT_BYTES_MAX};
use crate::store::Meta;

/// What will be sent in one request.
#[derive(Debug)]
struct Part {
    offset: u64,
    bytes: u64,
    md5: [u8; 16],
}

impl Part {
    fn content_md5(&self) -> String {
        STANDARD.encode(self.md5)
    }
}

/// What will be sent in all.
#[derive(Debug)]
struct Plan {
    sums: Sums,
    parts: Vec<Part>,
}

impl Plan {
    /// Reads all of the body, on a thread that may wait.
    fn of(body: &Body) -> Result<Self, ObjectError> {
        let size = part_bytes(body.len());
        let (mut summing, mut reader, mut parts) = (Summing::default(), body.reader(), Vec::new());
        let mut offset = 0;
        loop {
            let (mut md5, mut bytes) = (Md5::new(), 0);
            while bytes < size {
                let max = (size - bytes).min(CHUNK_BYTES as u64) as usize;
                let Some(chunk) = reader.next(max)? else { break };
                summing.update(&chunk);
                md5.update(&chunk);
                bytes += chunk.len() as u64;
            }
            // An empty body is one request, too.
            if bytes > 0 || parts.is_empty() {
                parts.push(Part { offset, bytes, md5: md5.finalize().into() });
            }
            offset += bytes;
            if bytes < size {
                return Ok(Self { sums: summing.sums(), parts });
            }
        }
    }

    /// What servers that name objects by their MD5 say as the ETag, without quotes.
    fn etag(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        match &*self.parts {
            [part] => hex(&part.md5),
            parts => {
                let all = parts.iter().fold(Md5::new(), |all, part| all.chain_update(part.md5)).finalize();
                format!("{}-{}", hex(&all), parts.len())
            }
        }
    }
}

/// Bytes of a part: 16 MiB, and more for bodies that would have too many parts.
fn part_bytes(bytes: u64) -> u64 {
    PUT_BYTES_MAX.max(bytes.div_ceil(PARTS_MAX))
}

/// What a store says of what it got.
struct Answer {
    etag: Option<String>,
    encrypted: bool,
}

impl Answer {
    fn of(etag: Option<&str>, encryption: Option<&ServerSideEncryption>, customer: Option<&str>) -> Self {
        // With keys of KMS or the customer the ETag is no MD5.
        let encrypted = customer.is_some() || encryption.is_some_and(|kind| *kind != ServerSideEncryption::Aes256);
        Self { etag: etag.map(|etag| etag.trim_matches('"').to_ascii_lowercase()), encrypted }
    }

    /// Whether it is an MD5, by its looks, and another one.
    fn contradicts(&self, wanted: &str) -> bool {
        let Some(etag) = self.etag.as_deref().filter(|_| !self.encrypted) else { return false };
        let looks_like_one = |etag: &str| {
            let (hex, count) = etag.split_once('-').unwrap_or((etag, "1"));
            hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) && count.parse::<u32>().is_ok()
        };
        looks_like_one(etag) && etag != wanted
    }
}

/// Puts an object.
pub(super) async fn put(store: &S3Store, key: &Key, body: Body, meta: Meta) -> Result<Sums, ObjectError> {
    meta.check()?;
    let inner = &store.inner;
    let planned = body.clone();
    let plan = tokio::task::spawn_blocking(move || Plan::of(&planned)).await;
    let plan =
        plan.map_err(|_| ObjectError::new(ErrorKind::Unavailable, "the server is stopping: nothing was put"))??;
    let answer = if plan.parts.len() == 1 {
        at_once(inner, key, &body, &plan, &meta).await?
    } else {
        in_parts(inner, key, &body, &plan, &meta).await?
    };
    if answer.contradicts(&plan.etag()) && inner.etags_are_md5() {
        // Damaged on its way, or a server that names objects by something else: its content tells.
        let kept = match read_sums(store, key).await {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            kept => Some(kept?),
        };
        if kept != Some(plan.sums) {
            return Err(ObjectError::new(
                ErrorKind::Damaged,
                format!("{}: {key} has been taken and is not what was sent; it may be sent again", inner.place()),
            ));
        }
        inner.etags_are_no_md5();
    }
    Ok(plan.sums)
}

async fn at_once(inner: &Inner, key: &Key, body: &Body, plan: &Plan, meta: &Meta) -> Result<Answer, ObjectError> {
    let [part] = &*plan.parts else { return Err(ObjectError::invalid("a put at once has one part")) };
    let (stream, progress) = sending::stream(body, part.offset, part.bytes);
    let call = inner
        .client
        .put_object()
        .bucket(&inner.location.bucket)
        .key(inner.full(key))
        .content_type(&*meta.content_type)
        .cache_control(&*meta.cache_control)
        .metadata(CHECKSUM, plan.sums.crc32.to_string())
        .content_md5(part.content_md5())
        .content_length(part.bytes as i64)
        .body(stream);
    let output: PutObjectOutput = inner.call(Doing::PUT, key.as_str(), &progress, call.send()).await?;
    Ok(Answer::of(output.e_tag(), output.server_side_encryption(), output.sse_customer_algorithm()))
}

async fn in_parts(inner: &Inner, key: &Key, body: &Body, plan: &Plan, meta: &Meta) -> Result<Answer, ObjectError> {
    let created = inner
        .client
        .create_multipart_upload()
        .bucket(&inner.location.bucket)
        .key(inner.full(key))
        .content_type(&*meta.content_type)
        .cache_control(&*meta.cache_control)
        .metadata(CHECKSUM, plan.sums.crc32.to_string());
    let created = inner.call(Doing::PUT, key.as_str(), &Progress::default(), created.send()).await?;
    let id = created.upload_id().unwrap_or_default().to_owned();
    if id.is_empty() {
        let message = format!("{}: the upload of {key} was given no name", inner.place());
        return Err(ObjectError::new(ErrorKind::Refused, message));
    }
    let mut upload = Upload { inner: inner.clone(), key: key.clone(), id, open: true };
    let answer = upload.send(body, plan).await;
    if answer.is_err() {
        upload.abort().await;
    }
    upload.open = false;
    answer
}

/// An upload in parts; aborted when it is dropped before it has been completed.
struct Upload {
    inner: Inner,
    key: Key,
    id: String,
    open: bool,
}

impl Upload {
    async fn send(&self, body: &Body, plan: &Plan) -> Result<Answer, ObjectError> {
        let (inner, key) = (&self.inner, self.key.as_str());
        let mut completed = CompletedMultipartUpload::builder();
        for (number, part) in (1..).zip(&plan.parts) {
            let (stream, progress) = sending::stream(body, part.offset, part.bytes);
            let call = inner
                .client
                .upload_part()
                .bucket(&inner.location.bucket)
                .key(inner.full(&self.key))
                .upload_id(&self.id)
                .part_number(number)
                .content_md5(part.content_md5())
                .content_length(part.bytes as i64)
                .body(stream);
            let output = inner.call(Doing::PUT, key, &progress, call.send()).await?;
            let part = CompletedPart::builder().part_number(number).set_e_tag(output.e_tag().map(str::to_owned));
            completed = completed.parts(part.build());
        }
        let call = inner
            .client
            .complete_multipart_upload()
            .bucket(&inner.location.bucket)
            .key(inner.full(&self.key))
            .upload_id(&self.id)
            .multipart_upload(completed.build());
        let output = inner.call(Doing::PUT, key, &Progress::default(), call.send()).await?;
        Ok(Answer::of(output.e_tag(), output.server_side_encryption(), None))
    }

    /// What is left after a failure of this, [`sweep`] finds.
    async fn abort(&self) {
        let _ = abort(&self.inner, &self.inner.full(&self.key), &self.id).await;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        // Given up in the middle: whoever did so does not wait for this.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (inner, key, id) = (self.inner.clone(), self.inner.full(&self.key), std::mem::take(&mut self.id));
            runtime.spawn(async move { abort(&inner, &key, &id).await });
        }
    }
}

pub(super) async fn abort(inner: &Inner, full_key: &str, id: &str) -> Result<(), ObjectError> {
    let call = inner.client.abort_multipart_upload().bucket(&inner.location.bucket).key(full_key).upload_id(id).send();
    match inner.call(Doing::ABORT, full_key, &Progress::default(), call).await {
        Ok(_) => Ok(()),
        // Completed or aborted already.
        Err(error) if error.kind() == ErrorKind::NotFound || error.to_string().contains("NoSuchUpload") => Ok(()),
        Err(error) => Err(error),
    }
}

/// Aborts uploads below the prefix that began longer ago than this. Servers that cannot list them have none, for all that can be said.
pub(super) async fn sweep(inner: &Inner, older_than: Duration) -> Result<u64, ObjectError> {
    let before_s = super::now_s() - i64::try_from(older_than.as_secs()).unwrap_or(i64::MAX);
    let (mut key_marker, mut id_marker, mut aborted) = (None::<String>, None::<String>, 0);
    loop {
        let call = inner
            .client
            .list_multipart_uploads()
            .bucket(&inner.location.bucket)
            .set_prefix(inner.prefix(None))
            .set_key_marker(key_marker.take())
            .set_upload_id_marker(id_marker.take());
        let below = inner.prefix(None).unwrap_or_default();
        let output = match inner.call(Doing::SWEEP, &below, &Progress::default(), call.send()).await {
            Err(error) if error.to_string().contains("NotImplemented") => return Ok(aborted),
            output => output?,
        };
        for upload in output.uploads() {
            let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
            let old = upload.initiated().is_some_and(|initiated| initiated.secs() <= before_s);
            if old && key.starts_with(&below) {
                abort(inner, key, id).await?;
                aborted += 1;
            }
        }
        key_marker = output.next_key_marker().map(str::to_owned);
        id_marker = output.next_upload_id_marker().map(str::to_owned);
        if output.is_truncated() != Some(true) || key_marker.is_none() {
            return Ok(aborted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_cut_into_parts_of_16_mib_and_no_more_than_s3_takes() {
        const MIB: u64 = 1024 * 1024;
        let parts = |bytes: usize| Plan::of(&Body::from(vec![7; bytes])).expect("a plan").parts;
        let sizes = |bytes| parts(bytes).iter().map(|part| (part.offset, part.bytes)).collect::<Vec<_>>();
        assert_eq!(sizes(0), [(0, 0)]);
        assert_eq!(sizes(16 << 20), [(0, 16 * MIB)]);
        assert_eq!(sizes((16 << 20) + 1), [(0, 16 * MIB), (16 * MIB, 1)]);
        assert_eq!(sizes(32 << 20), [(0, 16 * MIB), (16 * MIB, 16 * MIB)]);
        let tebibyte = 1024 * 1024 * MIB;
        assert!(tebibyte.div_ceil(part_bytes(tebibyte)) <= PARTS_MAX);
    }

    #[test]
    fn an_etag_contradicts_only_where_it_is_an_md5() {
        let wanted = Plan::of(&Body::from(b"abc".to_vec())).expect("a plan").etag();
        assert_eq!(wanted, "900150983cd24fb0d6963f7d28e17f72");
        let contradicts = |etag| Answer::of(Some(etag), None, None).contradicts(&wanted);
        assert!(!contradicts("\"900150983CD24FB0D6963F7D28E17F72\""));
        assert!(contradicts("d41d8cd98f00b204e9800998ecf8427e") && contradicts("d41d8cd98f00b204e9800998ecf8427e-2"));
        assert!(!contradicts("anything else") && !Answer::of(None, None, None).contradicts(&wanted));
        let other = Some("d41d8cd98f00b204e9800998ecf8427e");
        assert!(!Answer::of(other, Some(&ServerSideEncryption::AwsKms), None).contradicts(&wanted));
        assert!(Answer::of(other, Some(&ServerSideEncryption::Aes256), None).contradicts(&wanted));
        assert!(!Answer::of(other, None, Some("AES256")).contradicts(&wanted));
    }
}
