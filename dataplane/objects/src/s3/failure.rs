//! What the SDK's errors mean: kind, reason and remedy. Before it: answers of S3 and of servers like it; after it: [`ObjectError`].
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};

use crate::error::{ErrorKind, ObjectError};

/// Text of others in a message, in bytes.
const TOLD_BYTES_MAX: usize = 300;

/// What was being done: for the message, and the permission that it needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doing {
    pub(super) what: &'static str,
    pub(super) permission: &'static str,
}

impl Doing {
    pub(super) const PUT: Self = Self { what: "put", permission: "s3:PutObject" };
    pub(super) const HEAD: Self = Self { what: "look at", permission: "s3:GetObject" };
    pub(super) const HEAD_BUCKET: Self = Self { what: "look for the bucket of", permission: "s3:ListBucket" };
    pub(super) const GET: Self = Self { what: "read", permission: "s3:GetObject" };
    pub(super) const DELETE: Self = Self { what: "delete", permission: "s3:DeleteObject" };
    pub(super) const LIST: Self = Self { what: "list", permission: "s3:ListBucket" };
    pub(super) const PRESIGN: Self = Self { what: "sign an address of", permission: "s3:GetObject" };
    pub(super) const ABORT: Self = Self { what: "abort an upload of", permission: "s3:AbortMultipartUpload" };
    pub(super) const SWEEP: Self =
        Self { what: "list unfinished uploads below", permission: "s3:ListBucketMultipartUploads" };
}

/// The message and kind of an error of the SDK. `place` is the store, `of` the key.
pub(super) fn failure<E>(place: &str, doing: Doing, of: &str, error: &SdkError<E, HttpResponse>) -> ObjectError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let (kind, reason, region, skew_s) = match error {
        SdkError::ServiceError(service) => {
            let (raw, meta) = (service.raw(), service.err().meta());
            let status = raw.status().as_u16();
            let region = raw.headers().get("x-amz-bucket-region");
            let code = meta.code().unwrap_or_default();
            let kind = kind_of(status, code, region.is_some());
            let odd = if status < 300 && code.is_empty() { ", and not as S3 does" } else { "" };
            let mut reason = format!("it answers {status}{odd}");
            for part in [code, meta.message().unwrap_or_default()] {
                if !part.is_empty() {
                    reason.push_str(", ");
                    reason.push_str(&told(part));
                }
            }
            (kind, reason, region.map(told), raw.headers().get("date").and_then(ahead_s))
        }
        other => {
            let kind = if credentials(other).is_some() { ErrorKind::Credentials } else { ErrorKind::Unavailable };
            let reason = match credentials(other) {
                Some(CredentialsError::CredentialsNotLoaded(_)) => "there are no credentials".to_owned(),
                Some(error) => told(&DisplayErrorContext(error).to_string()),
                None => told(&DisplayErrorContext(other).to_string()),
            };
            (kind, reason, None, None)
        }
    };
    let remedy = remedy(kind, doing, region.as_deref(), skew_s, &reason);
    ObjectError::new(kind, format!("{place}: cannot {} {of}: {reason}; {remedy}", doing.what))
}

/// The kind that a status and a code of S3 stand for.
fn kind_of(status: u16, code: &str, names_region: bool) -> ErrorKind {
    match code {
        "NoSuchBucket" => ErrorKind::Missing,
        "NoSuchKey" => ErrorKind::NotFound,
        "InvalidRange" => ErrorKind::Range,
        "RequestTimeTooSkewed" | "RequestExpired" => ErrorKind::Clock,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => ErrorKind::Region,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "TokenRefreshRequired"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "InvalidClientTokenId" => ErrorKind::Credentials,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "InvalidObjectState" => ErrorKind::Denied,
        "QuotaExceeded"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "InsufficientStorage"
        | "StorageFull"
        | "TooManyBuckets" => ErrorKind::Full,
        "BadDigest"
        | "InvalidDigest"
        | "IncompleteBody"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch" => ErrorKind::Damaged,
        // After the first three the put begins anew.
        "NoSuchUpload"
        | "InvalidPart"
        | "InvalidPartOrder"
        | "SlowDown"
        | "RequestTimeout"
        | "ServiceUnavailable"
        | "InternalError"
        | "OperationAborted"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequests" => ErrorKind::Unavailable,
        // Answers without a body, and servers with words of their own.
        _ => match status {
            301 | 307 | 308 => ErrorKind::Region,
            // What a HEAD says of a signature for another region.
            400 if names_region => ErrorKind::Region,
            401 => ErrorKind::Credentials,
            403 => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            416 => ErrorKind::Range,
            507 => ErrorKind::Full,
            408 | 409 | 425 | 429 | 500.. => ErrorKind::Unavailable,
            _ => ErrorKind::Refused,
        },
    }
}

fn remedy(kind: ErrorKind, doing: Doing, region: Option<&str>, skew_s: Option<i64>, reason: &str) -> String {
    match kind {
        ErrorKind::Missing => "make the bucket, or correct its name in the setting".to_owned(),
        ErrorKind::Region => match region {
            Some(region) => format!("the bucket is in another region: set region={region}"),
            None => "the bucket is in another region: set region= to it, and the endpoint that belongs to it".to_owned(),
        },
        ErrorKind::Credentials => "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile (AWS_PROFILE), or the role of this machine".to_owned(),
        ErrorKind::Clock => match skew_s {
            Some(skew) if skew != 0 => {
                let side = if skew > 0 { "ahead of" } else { "behind" };
                format!("the clock of this machine is {} s {side} the store's: set it, and keep it so by NTP", skew.abs())
            }
            _ => "set the clock of this machine, and keep it so by NTP".to_owned(),
        },
        ErrorKind::Denied => format!("allow {} to these credentials", doing.permission),
        ErrorKind::Full => "free space at the store, or raise its quota".to_owned(),
        ErrorKind::Damaged => "what arrived is not what was sent: it may be sent again".to_owned(),
        ErrorKind::Refused => "check whether the endpoint is an S3 server, and see its log for the reason".to_owned(),
        ErrorKind::Unavailable if reason.contains("certificate") => {
            "install the authority of its certificate, or name it by SSL_CERT_FILE".to_owned()
        }
        ErrorKind::Unavailable => "it may be tried again; if it stays so, check the endpoint and the network".to_owned(),
        _ => "check the key".to_owned(),
    }
}

/// The error of those who look for credentials, if that is the cause.
fn credentials<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CredentialsError> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        at = error.source();
    }
    None
}

/// How far this machine's clock is ahead of the one of an answer.
fn ahead_s(date: &str) -> Option<i64> {
    let theirs = DateTime::from_str(date, DateTimeFormat::HttpDate).ok()?.secs();
    let ours = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    Some(ours - theirs)
}

/// Text of others: one line, with an end.
pub(super) fn told(text: &str) -> String {
    let mut told = String::new();
    for word in text.split_whitespace() {
        if told.len() + word.len() > TOLD_BYTES_MAX {
            told.push_str(" ...");
            break;
        }
        if !told.is_empty() {
            told.push(' ');
        }
        told.extend(word.chars().filter(|c| !c.is_control()));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_bare_statuses_have_their_kinds() {
        for (status, code, region, kind) in [
            (404, "NoSuchBucket", false, ErrorKind::Missing),
            (404, "", false, ErrorKind::NotFound),
            (301, "PermanentRedirect", true, ErrorKind::Region),
            (400, "AuthorizationHeaderMalformed", true, ErrorKind::Region),
            (400, "", true, ErrorKind::Region),
            (400, "", false, ErrorKind::Refused),
            (403, "InvalidAccessKeyId", false, ErrorKind::Credentials),
            (403, "RequestTimeTooSkewed", false, ErrorKind::Clock),
            (403, "QuotaExceeded", false, ErrorKind::Full),
            (507, "XMinioStorageFull", false, ErrorKind::Full),
            (403, "", false, ErrorKind::Denied),
            (400, "BadDigest", false, ErrorKind::Damaged),
            (400, "RequestTimeout", false, ErrorKind::Unavailable),
            (404, "NoSuchUpload", false, ErrorKind::Unavailable),
            (503, "SlowDown", false, ErrorKind::Unavailable),
            (429, "", false, ErrorKind::Unavailable),
            (502, "<html>", false, ErrorKind::Unavailable),
            (418, "Teapot", false, ErrorKind::Refused),
        ] {
            assert_eq!(kind_of(status, code, region), kind, "{status} {code}");
        }
    }

    #[test]
    fn texts_of_others_are_one_line_with_an_end() {
        assert_eq!(told(" a\r\nb\u{1b}[31m  c"), "a b[31m c");
        assert!(told(&"word ".repeat(1_000)).len() < TOLD_BYTES_MAX + 10);
    }
}
