//! Looks at objects, reads, lists and signs addresses of them. Before it: players and listings; after it: HTTP.
use std::time::Duration;

use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use bytes::Bytes;
use futures_util::stream;

use super::failure::{Doing, told};
use super::sending::Progress;
use super::{CHECKSUM, Inner};
use crate::body::{Crc32, Summing};
use crate::error::{ErrorKind, ObjectError};
use crate::key::Key;
use crate::limits::{PAGE_KEYS_MAX, PRESIGN_MAX};
use crate::store::{Chunks, Listed, Page, PresignedUrl, Reading, Span, Stored};

fn modified_ms(at: Option<&DateTime>) -> u64 {
    at.and_then(|at| at.to_millis().ok()).and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0)
}

fn length(bytes: Option<i64>) -> Option<u64> {
    bytes.and_then(|bytes| u64::try_from(bytes).ok())
}

impl Inner {
    pub(super) async fn head(&self, key: &Key) -> Result<Option<Stored>, ObjectError> {
        let call = self.client.head_object().bucket(&self.location.bucket).key(self.full(key)).send();
        let output: HeadObjectOutput = match self.call(Doing::HEAD, key.as_str(), &Progress::default(), call).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.bucket_is_there(key).await?;
                return Ok(None);
            }
            output => output?,
        };
        let checksum = output.metadata().and_then(|metadata| metadata.get(CHECKSUM));
        Ok(Some(Stored {
            bytes: length(output.content_length()).ok_or_else(|| self.unlike(key, "a length"))?,
            crc32: checksum.and_then(|text| Crc32::parse(text)),
            etag: output.e_tag().unwrap_or_default().to_owned(),
            modified_ms: modified_ms(output.last_modified()),
            content_type: output.content_type().unwrap_or(key.content_type()).to_owned(),
            cache_control: output.cache_control().map(str::to_owned),
        }))
    }

    /// Whether an object is not there, or its bucket: the answer to a HEAD does not say. Who has no copy any more must not take one for the other.
    async fn bucket_is_there(&self, key: &Key) -> Result<(), ObjectError> {
        let call = self.client.head_bucket().bucket(&self.location.bucket).send();
        match self.call(Doing::HEAD_BUCKET, key.as_str(), &Progress::default(), call).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let place = self.place();
                let message = format!(
                    "{place}: cannot look at {key}: there is no such bucket; make the bucket, or correct its name in the setting"
                );
                Err(ObjectError::new(ErrorKind::Missing, message))
            }
            // A server that may only read and write objects may not ask this.
            Err(error) if error.kind() == ErrorKind::Denied => Ok(()),
            done => done.map(drop),
        }
    }

    /// An answer without something that it must have.
    fn unlike(&self, key: &Key, what: &str) -> ObjectError {
        let place = self.place();
        ObjectError::new(
            ErrorKind::Refused,
            format!(
                "{place}: the answer about {key} lacks {what} as S3 has it; check whether the endpoint is an S3 server's"
            ),
        )
    }

    pub(super) async fn get(&self, key: &Key, span: Span) -> Result<Reading, ObjectError> {
        let range = match span {
            Span::All => None,
            Span::From(first) => Some(format!("bytes={first}-")),
            Span::Within(first, last) if first <= last => Some(format!("bytes={first}-{last}")),
            // Servers disagree about ends that are longer than the object.
            Span::Last(_) | Span::Within(..) => {
                let stored = self.head(key).await?.ok_or_else(|| {
                    ObjectError::new(ErrorKind::NotFound, format!("{}: there is no object {key}", self.place()))
                })?;
                let range = span.of(stored.bytes).ok_or_else(|| span.refused(key, stored.bytes))?;
                Some(format!("bytes={}-{}", range.start, range.end - 1))
            }
        };
        let partial = range.is_some();
        let call = self.client.get_object().bucket(&self.location.bucket).key(self.full(key)).set_range(range).send();
        let output: GetObjectOutput = self.call(Doing::GET, key.as_str(), &Progress::default(), call).await?;
        let sent = length(output.content_length()).ok_or_else(|| self.unlike(key, "a length"))?;
        let (range, bytes) = if partial {
            let parsed = output.content_range().and_then(content_range);
            parsed.filter(|(range, _)| range.end - range.start == sent).ok_or_else(|| self.unlike(key, "a range"))?
        } else {
            (0..sent, sent)
        };
        let checksum = output.metadata().and_then(|metadata| metadata.get(CHECKSUM));
        let stored = Stored {
            bytes,
            crc32: checksum.and_then(|text| Crc32::parse(text)),
            etag: output.e_tag().unwrap_or_default().to_owned(),
            modified_ms: modified_ms(output.last_modified()),
            content_type: output.content_type().unwrap_or(key.content_type()).to_owned(),
            cache_control: output.cache_control().map(str::to_owned),
        };
        let crc32 = stored.crc32.filter(|_| !partial);
        let chunks = self.chunks(output.body, sent, crc32, key);
        Ok(Reading { stored, range, chunks })
    }

    /// The bytes as they come; an end that comes early or not at all is an error, and so are other bytes than were put.
    fn chunks(&self, body: ByteStream, bytes: u64, crc32: Option<Crc32>, key: &Key) -> Chunks {
        let coming = Coming {
            body,
            bytes,
            left: bytes,
            summing: Summing::default(),
            crc32,
            stall: self.timeouts.stall,
            what: format!("{}: {key}", self.place()),
        };
        Box::pin(stream::try_unfold(coming, async |mut coming| {
            let chunk = coming.next().await?;
            Ok(chunk.map(|chunk| (chunk, coming)))
        }))
    }

    pub(super) async fn list(
        &self,
        folder: Option<&Key>,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, ObjectError> {
        let limit = limit.clamp(1, PAGE_KEYS_MAX);
        let below = self.prefix(None).unwrap_or_default();
        let of = folder.map_or_else(|| "the bucket".to_owned(), Key::to_string);
        let mut objects: Vec<Listed> = Vec::new();
        let mut token = None;
        // More than one request only where the bucket has keys of others, or a server gives short pages.
        loop {
            let call = self
                .client
                .list_objects_v2()
                .bucket(&self.location.bucket)
                .set_prefix(self.prefix(folder))
                .set_start_after(after.map(|after| self.full(after)))
                .set_continuation_token(token.take())
                .max_keys((limit + 1 - objects.len()).min(PAGE_KEYS_MAX) as i32)
                .send();
            let output = self.call(Doing::LIST, &of, &Progress::default(), call).await?;
            for object in output.contents() {
                let key = object.key().and_then(|key| key.strip_prefix(&below)).and_then(|key| Key::parse(key).ok());
                if let (Some(key), Some(bytes)) = (key, length(object.size())) {
                    objects.push(Listed { key, bytes, modified_ms: modified_ms(object.last_modified()) });
                }
            }
            token = output.next_continuation_token().map(str::to_owned);
            if objects.len() > limit || output.is_truncated() != Some(true) || token.is_none() {
                return Ok(Page::of(objects, limit));
            }
        }
    }

    pub(super) async fn presign(&self, key: &Key, expiry: Duration) -> Result<PresignedUrl, ObjectError> {
        if expiry < Duration::from_secs(1) || expiry > PRESIGN_MAX {
            let days = PRESIGN_MAX.as_secs() / 86_400;
            return Err(ObjectError::invalid(format!("a signed address lasts 1 s to {days} days, not {expiry:?}")));
        }
        let config = PresigningConfig::expires_in(expiry).map_err(|error| ObjectError::invalid(error.to_string()))?;
        let call = self.client.get_object().bucket(&self.location.bucket).key(self.full(key)).presigned(config);
        let request = self.call(Doing::PRESIGN, key.as_str(), &Progress::default(), call).await?;
        Ok(PresignedUrl(request.uri().to_owned()))
    }
}

/// An object on its way here.
struct Coming {
    body: ByteStream,
    bytes: u64,
    left: u64,
    summing: Summing,
    /// Where all of the object comes, and its checksum is known.
    crc32: Option<Crc32>,
    stall: Duration,
    what: String,
}

impl Coming {
    async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        let chunk = match tokio::time::timeout(self.stall, self.body.try_next()).await {
            Err(_) => return Err(self.cut(&format!("nothing came for {} ms", self.stall.as_millis()))),
            Ok(Err(error)) => return Err(self.cut(&told(&DisplayErrorContext(&error).to_string()))),
            Ok(Ok(None)) if self.left > 0 => return Err(self.cut("the connection was closed")),
            Ok(Ok(Some(chunk))) if chunk.len() as u64 > self.left => {
                return Err(self.cut("more came than was promised"));
            }
            Ok(Ok(chunk)) => chunk,
        };
        if let Some(chunk) = &chunk {
            self.left -= chunk.len() as u64;
            self.summing.update(chunk);
        } else if self.crc32.is_some_and(|crc32| crc32 != self.summing.sums().crc32) {
            let message = format!("{} came with other bytes than were put; it may be read again", self.what);
            return Err(ObjectError::new(ErrorKind::Damaged, message));
        }
        Ok(chunk)
    }

    fn cut(&self, why: &str) -> ObjectError {
        let (what, bytes) = (&self.what, self.bytes);
        let done = bytes - self.left;
        let message = format!("{what} ended after {done} of {bytes} bytes: {why}; it may be read again");
        ObjectError::new(ErrorKind::Unavailable, message)
    }
}

/// Reads `bytes 0-99/200`: the range and the whole length.
fn content_range(text: &str) -> Option<(std::ops::Range<u64>, u64)> {
    let (range, bytes) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, bytes): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, bytes.parse().ok()?);
    (first <= last && last < bytes).then(|| (first..last + 1, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_answers_are_read_and_not_believed() {
        assert_eq!(content_range("bytes 2-4/10"), Some((2..5, 10)));
        for bad in
            ["", "bytes", "bytes 2-4", "bytes 2-4/*", "bytes 4-2/10", "bytes 2-10/10", "items 2-4/10", "bytes -2/10"]
        {
            assert_eq!(content_range(bad), None, "{bad:?}");
        }
        assert_eq!(content_range("bytes 0-18446744073709551615/18446744073709551615"), None);
    }
}
