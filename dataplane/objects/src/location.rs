//! Where a store is, as operators write it: `file:DIR` or `s3://bucket/prefix?endpoint=&region=&path_style=`. Before it: a setting; after it:
//! the store.
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::ObjectError;
use crate::key::Key;

/// Where a store is. It holds no secret.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Location {
    /// A directory.
    File {
        /// Its path.
        dir: PathBuf,
    },
    /// A bucket.
    S3(S3Location),
}

/// A bucket, and how to reach it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct S3Location {
    /// Its name.
    pub bucket: String,
    /// What all keys begin with.
    pub prefix: Option<Key>,
    /// The server's address, `http://` or `https://`; AWS where it is not said.
    pub endpoint: Option<String>,
    /// The bucket's region; where it is not said, that of the environment, the profile or the machine, and else `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket is named in the path rather than in the host's name: unless said, so with an endpoint of one's own.
    pub path_style: bool,
}

const FORMS: &str = "file:DIR, or s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&path_style=true|false]";

impl FromStr for Location {
    type Err = ObjectError;

    fn from_str(text: &str) -> Result<Self, ObjectError> {
        if let Some(dir) = text.strip_prefix("file:") {
            let dir = dir.strip_prefix("//").filter(|dir| dir.starts_with('/')).unwrap_or(dir);
            if dir.is_empty() || dir.contains('\0') {
                return Err(ObjectError::invalid(format!("file: names no directory; write {FORMS}")));
            }
            return Ok(Self::File { dir: dir.into() });
        }
        let Some(rest) = text.strip_prefix("s3://") else {
            // What came may hold a secret: it is not repeated.
            return Err(ObjectError::invalid(format!("a store begins with file: or s3://; write {FORMS}")));
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(known) || bucket.starts_with(['.', '-']) {
            return Err(ObjectError::invalid(format!(
                "s3:// with a bucket's name that cannot be one: 3 to 63 of a-z 0-9 . - are; credentials are not written here; write {FORMS}"
            )));
        }
        let prefix = prefix.trim_end_matches('/');
        let prefix = if prefix.is_empty() { None } else { Some(Key::parse(prefix)?) };
        let mut location =
            S3Location { bucket: bucket.to_owned(), prefix, endpoint: None, region: None, path_style: false };
        let mut path_style = None;
        for (name, value) in
            query.split('&').filter(|pair| !pair.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")))
        {
            match name {
                _ if value.is_empty() => {}
                "endpoint" => location.endpoint = Some(endpoint(value)?),
                "region" => location.region = Some(region(value)?),
                "path_style" => {
                    path_style = Some(value.parse::<bool>().map_err(|_| {
                        ObjectError::invalid(format!("path_style is true or false, not {value:.40?}; write {FORMS}"))
                    })?);
                }
                _ => {
                    return Err(ObjectError::invalid(format!(
                        "s3:// has no parameter {name:.40?}: endpoint, region and path_style are known; credentials are taken from the environment"
                    )));
                }
            }
        }
        location.path_style = path_style.unwrap_or(location.endpoint.is_some());
        Ok(Self::S3(location))
    }
}

fn endpoint(value: &str) -> Result<String, ObjectError> {
    let value = decoded(value)?;
    let host =
        value.strip_prefix("https://").or_else(|| value.strip_prefix("http://")).map(|rest| rest.trim_end_matches('/'));
    match host {
        Some(host) if host.contains('@') => Err(ObjectError::invalid(
            "the endpoint of s3:// has a user before its host; credentials are taken from the environment",
        )),
        Some(host)
            if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\".contains(&byte)) =>
        {
            Ok(value.trim_end_matches('/').to_owned())
        }
        _ => Err(ObjectError::invalid(format!("the endpoint {value:.80?} of s3:// is no http:// or https:// address"))),
    }
}

fn region(value: &str) -> Result<String, ObjectError> {
    let fits = value.len() <= 64 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    fits.then(|| value.to_owned())
        .ok_or_else(|| ObjectError::invalid(format!("{value:.80?} is no region of s3://, such as eu-central-1")))
}

/// Undoes `%3A` and the like, which some write in a query.
fn decoded(value: &str) -> Result<String, ObjectError> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(ObjectError::invalid(format!("{value:.80?} has a % without two digits behind it")));
        };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| ObjectError::invalid(format!("{value:.80?} is not UTF-8")))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { dir } => write!(f, "file:{}", dir.display()),
            Self::S3(location) => location.fmt(f),
        }
    }
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if let Some(prefix) = &self.prefix {
            write!(f, "/{prefix}")?;
        }
        let mut mark = '?';
        for (name, value) in [("endpoint", &self.endpoint), ("region", &self.region)] {
            if let Some(value) = value {
                write!(f, "{mark}{name}={value}")?;
                mark = '&';
            }
        }
        if self.path_style != self.endpoint.is_some() {
            write!(f, "{mark}path_style={}", self.path_style)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Location {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn locations_are_read_and_written() {
        assert_eq!(parsed("file:/var/rec"), Location::File { dir: "/var/rec".into() });
        assert_eq!(parsed("file:///var/rec"), Location::File { dir: "/var/rec".into() });
        assert_eq!(parsed("file:rec"), Location::File { dir: "rec".into() });
        let Location::S3(aws) = parsed("s3://my-bucket") else { panic!("S3") };
        assert_eq!((aws.bucket.as_str(), aws.prefix, aws.path_style), ("my-bucket", None, false));
        let Location::S3(own) = parsed("s3://b.u_c/a/b/?endpoint=http%3A%2F%2Fminio:9000/&region=eu-central-1") else {
            panic!("S3")
        };
        assert_eq!(own.prefix, Some(Key::parse("a/b").expect("a key")));
        assert_eq!((own.endpoint.as_deref(), own.path_style), (Some("http://minio:9000"), true));
        for text in [
            "file:/a",
            "s3://abc",
            "s3://abc/p/q?endpoint=https://h:1&region=r-1&path_style=false",
            "s3://abc?path_style=true",
        ] {
            assert_eq!(parsed(text).to_string(), text);
            assert_eq!(parsed(&parsed(text).to_string()), parsed(text));
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_no_secret_repeated() {
        for bad in [
            "",
            "file:",
            "/var/rec",
            "s3:/b",
            "s3://",
            "s3://ab",
            "s3://-ab",
            "s3://a b c",
            "s3://abc/../x",
            "s3://abc/a//b",
            "s3://abc?endpoint=minio:9000",
            "s3://abc?endpoint=http://",
            "s3://abc?path_style=yes",
            "s3://abc?region=a/b",
            "s3://abc?endpoint=http://h?x",
            "s3://abc?endpoint=%zz",
            "s3://abc?acl=public",
        ] {
            assert!(bad.parse::<Location>().is_err(), "{bad:?}");
        }
        for secret in [
            "s3://AKIA:hunter2@abc",
            "s3://abc?endpoint=https://user:hunter2@h",
            "s3://abc?secret_access_key=hunter2",
            "hunter2",
        ] {
            let error = secret.parse::<Location>().expect_err("refused").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
