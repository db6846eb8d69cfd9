//! Objects in a bucket, by the AWS SDK: at AWS, or any server that speaks S3. Before it: the recorder's puts; after it: HTTP.
//!
//! Requests are never repeated here, and each has an end ([`Timeouts`]). Integrity does not need a server's newer checksums: each request
//! carries the MD5 of its body, which every server checks, and each object its CRC-32 as metadata.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{error, fmt};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls;

use crate::body::{Body, Sums};
use crate::error::{ErrorKind, ObjectError};
use crate::key::Key;
use crate::location::S3Location;
use crate::store::{Answer, Meta, ObjectStore, Page, PresignedUrl, Probe, Reading, Span, Stored};

mod failure;
mod probe;
mod reading;
mod sending;
mod upload;

use failure::{Doing, failure};
use sending::Progress;

/// The name of the metadata that holds an object's CRC-32.
const CHECKSUM: &str = "crc32";
/// Shorter than servers keep connections, so that seldom one is used that they have closed.
const IDLE: Duration = Duration::from_secs(10);

/// How long a request may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// Until a connection is there.
    pub connect: Duration,
    /// Without any byte of a body moving.
    pub stall: Duration,
    /// From the last byte sent to the answer.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), stall: Duration::from_secs(20), answer: Duration::from_mins(1) }
    }
}

/// Credentials that are given rather than found.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticCredentials {
    /// The access key's name.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
}

impl fmt::Debug for StaticCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticCredentials({}, [redacted])", self.access_key_id)
    }
}

/// How a bucket is used.
#[derive(Clone, Default, Debug)]
pub struct S3Options {
    /// Where they are `None`: from the environment, the profile, a web identity, the container's or the machine's role, in this order.
    pub credentials: Option<StaticCredentials>,
    /// How long requests may take.
    pub timeouts: Timeouts,
}

/// Objects in a bucket. Clones share connections and credentials.
#[derive(Clone, Debug)]
pub struct S3Store {
    inner: Inner,
}

/// What all calls need.
#[derive(Clone, Debug)]
struct Inner {
    client: Client,
    location: Arc<S3Location>,
    timeouts: Timeouts,
    /// Until the server has shown otherwise.
    etags_are_md5: Arc<AtomicBool>,
}

impl S3Store {
    /// The store at this place. The bucket is not asked anything yet: [`ObjectStore::probe`] says whether it can be used. Where no
    /// credentials or region are given, files, the environment and the machine's own services are asked for them.
    pub async fn open(location: S3Location, options: S3Options) -> Result<Self, ObjectError> {
        let timeouts = options.timeouts;
        let http = http_client();
        let limits = TimeoutConfig::builder().connect_timeout(timeouts.connect).build();
        let config = if let Some(given) = options.credentials {
            let credentials = Credentials::new(given.access_key_id, given.secret_access_key, None, None, "settings");
            Builder::new().credentials_provider(credentials)
        } else {
            let mut loader = aws_config::defaults(BehaviorVersion::latest())
                .http_client(http.clone())
                .timeout_config(limits.clone());
            if let Some(region) = &location.region {
                loader = loader.region(Region::new(region.clone()));
            }
            Builder::from(&loader.load().await)
        };
        let mut config = config
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .timeout_config(limits)
            .retry_config(RetryConfig::disabled())
            // Stalls are watched for here, with bodies that go up, too.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .force_path_style(location.path_style);
        if let Ok(name) = AppName::new("millstream") {
            config = config.app_name(name);
        }
        if let Some(endpoint) = &location.endpoint {
            config = config.endpoint_url(endpoint);
        }
        if let Some(region) = &location.region {
            config = config.region(Region::new(region.clone()));
        }
        let mut built = config.clone().build();
        if built.region().is_none() {
            built = config.region(Region::from_static("us-east-1")).build();
        }
        let inner = Inner {
            client: Client::from_conf(built),
            location: Arc::new(location),
            timeouts,
            etags_are_md5: Arc::new(AtomicBool::new(true)),
        };
        Ok(Self { inner })
    }
}

/// TLS by rustls with ring, and the system's authorities (or those of `SSL_CERT_FILE`).
fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(IDLE)
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https()
}

impl Inner {
    fn place(&self) -> String {
        self.location.to_string()
    }

    /// The key as the bucket has it.
    fn full(&self, key: &Key) -> String {
        match &self.location.prefix {
            Some(prefix) => format!("{prefix}/{key}"),
            None => key.to_string(),
        }
    }

    /// What the bucket's keys in a folder begin with.
    fn prefix(&self, folder: Option<&Key>) -> Option<String> {
        match (&self.location.prefix, folder) {
            (_, Some(folder)) => Some(format!("{}/", self.full(folder))),
            (Some(prefix), None) => Some(format!("{prefix}/")),
            (None, None) => None,
        }
    }

    /// One request.
    fn call<'a, T, E>(
        &'a self,
        doing: Doing,
        of: &'a str,
        progress: &'a Progress,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
    ) -> Answer<'a, T>
    where
        T: Send + 'a,
        E: ProvideErrorMetadata + error::Error + Send + 'static,
    {
        // Futures of the SDK are tens of kilobytes.
        let call = Box::pin(call);
        Box::pin(async move {
            match progress.watch(self.timeouts, call).await {
                Ok(output) => output.map_err(|error| failure(&self.place(), doing, of, &error)),
                Err(wait) => Err(self.too_late(doing, of, wait)),
            }
        })
    }

    fn too_late(&self, doing: Doing, of: &str, wait: Duration) -> ObjectError {
        let (place, what) = (self.place(), doing.what);
        ObjectError::new(
            ErrorKind::Unavailable,
            format!("{place}: cannot {what} {of}: nothing happened for {} ms; it may be tried again", wait.as_millis()),
        )
    }

    fn etags_are_md5(&self) -> bool {
        self.etags_are_md5.load(Ordering::Relaxed)
    }

    fn etags_are_no_md5(&self) {
        self.etags_are_md5.store(false, Ordering::Relaxed);
    }

    async fn delete(&self, key: &Key) -> Result<(), ObjectError> {
        let call = self.client.delete_object().bucket(&self.location.bucket).key(self.full(key)).send();
        match self.call(Doing::DELETE, key.as_str(), &Progress::default(), call).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done.map(drop),
        }
    }
}

impl ObjectStore for S3Store {
    fn put(&self, key: &Key, body: Body, meta: Meta) -> Answer<'_, Sums> {
        let key = key.clone();
        Box::pin(async move { upload::put(self, &key, body, meta).await })
    }

    fn head(&self, key: &Key) -> Answer<'_, Option<Stored>> {
        let key = key.clone();
        Box::pin(async move { self.inner.head(&key).await })
    }

    fn get(&self, key: &Key, span: Span) -> Answer<'_, Reading> {
        let key = key.clone();
        Box::pin(async move { self.inner.get(&key, span).await })
    }

    fn delete(&self, key: &Key) -> Answer<'_, ()> {
        let key = key.clone();
        Box::pin(async move { self.inner.delete(&key).await })
    }

    fn list(&self, folder: Option<&Key>, after: Option<&Key>, limit: usize) -> Answer<'_, Page> {
        let (folder, after) = (folder.cloned(), after.cloned());
        Box::pin(async move { self.inner.list(folder.as_ref(), after.as_ref(), limit).await })
    }

    fn presign(&self, key: &Key, expiry: Duration) -> Answer<'_, Option<PresignedUrl>> {
        let key = key.clone();
        Box::pin(async move { self.inner.presign(&key, expiry).await.map(Some) })
    }

    fn probe(&self) -> Answer<'_, Probe> {
        Box::pin(probe::probe(self))
    }

    fn sweep(&self, older_than: Duration) -> Answer<'_, u64> {
        Box::pin(upload::sweep(&self.inner, older_than))
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}

/// Now, for ages of uploads.
fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_get_into_logs() {
        let credentials =
            StaticCredentials { access_key_id: "AKIA".to_owned(), secret_access_key: "hunter2".to_owned() };
        let options = S3Options { credentials: Some(credentials), ..S3Options::default() };
        assert!(format!("{options:?}").contains("AKIA") && !format!("{options:?}").contains("hunter2"));
    }
}
