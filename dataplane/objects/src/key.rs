//! Names of objects. Before it: the recorder, which names what it keeps; after it: paths below a directory, keys of a bucket.
use std::fmt;
use std::sync::Arc;

use crate::error::ObjectError;
use crate::limits::{KEY_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENTS_MAX};

/// The name of an object: segments of `[A-Za-z0-9._-]` with `/` between them, none of them `.` or `..`. As the folder of a listing, it is
/// what the keys in it begin with. Keys are ordered by their bytes, as S3 lists them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// A key as it is written in a path or a listing.
    pub fn parse(text: &str) -> Result<Self, ObjectError> {
        let refuse = |why: String| Err(ObjectError::invalid(format!("{text:.80?} is no key of an object: {why}")));
        if text.len() > KEY_BYTES_MAX {
            return refuse(format!("it has {} bytes, and at most {KEY_BYTES_MAX} are taken", text.len()));
        }
        if text.split('/').count() > SEGMENTS_MAX {
            return refuse(format!("it has more than {SEGMENTS_MAX} segments"));
        }
        match text.split('/').find(|segment| !is_segment(segment)) {
            None => Ok(Self(text.into())),
            Some("") => refuse("it has an empty segment".to_owned()),
            Some(segment) => refuse(format!(
                "the segment {segment:.80?} is \".\", \"..\", longer than {SEGMENT_BYTES_MAX} bytes, or has other characters than A-Z a-z 0-9 . _ -"
            )),
        }
    }

    /// The key of these segments.
    pub fn of<S: AsRef<str>>(segments: impl IntoIterator<Item = S>) -> Result<Self, ObjectError> {
        let segments: Vec<S> = segments.into_iter().take(SEGMENTS_MAX + 1).collect();
        // A segment with a slash would be two.
        if let Some(bad) = segments.iter().find(|segment| !is_segment(segment.as_ref())) {
            return Err(ObjectError::invalid(format!("{:.80?} is no segment of an object's key", bad.as_ref())));
        }
        Self::parse(&segments.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("/"))
    }

    /// The key with one more segment.
    pub fn child(&self, segment: &str) -> Result<Self, ObjectError> {
        Self::of(self.segments().chain([segment]))
    }

    /// The key with those of another behind it.
    pub fn join(&self, other: &Self) -> Result<Self, ObjectError> {
        Self::of(self.segments().chain(other.segments()))
    }

    /// Its segments, at least one.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> + '_ {
        self.0.split('/')
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the key is in this folder, at any depth.
    pub fn is_in(&self, folder: &Self) -> bool {
        self.0.strip_prefix(&*folder.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The media type that the name's extension stands for.
    pub fn content_type(&self) -> &'static str {
        match self.name().rsplit_once('.').map_or("", |(_, extension)| extension) {
            "m3u8" => "application/vnd.apple.mpegurl",
            "mpd" => "application/dash+xml",
            "mp4" | "m4s" | "m4v" | "cmfv" => "video/mp4",
            "m4a" | "cmfa" => "audio/mp4",
            "jpg" | "jpeg" => "image/jpeg",
            "png" => "image/png",
            "json" => "application/json",
            "vtt" => "text/vtt",
            "txt" => "text/plain; charset=utf-8",
            "html" => "text/html; charset=utf-8",
            _ => "application/octet-stream",
        }
    }
}

/// Whether this may be a segment of a key.
pub(crate) fn is_segment(text: &str) -> bool {
    let taken = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(text, "" | "." | "..") && text.len() <= SEGMENT_BYTES_MAX && text.bytes().all(taken)
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_leave_the_directory_or_split_a_line_is_no_key() {
        for bad in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a b", "a\n", "a\0", "ä", "a\\b", "~a", "a%2fb",
            "a?b",
        ] {
            assert!(Key::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Key::parse(&"a".repeat(256)).is_err() && Key::parse(&"a".repeat(255)).is_ok());
        assert!(Key::parse(&["a"; 17].join("/")).is_err() && Key::parse(&["a"; 16].join("/")).is_ok());
        assert!(Key::parse(&vec!["a".repeat(200); 4].join("/")).is_err());
        assert!(Key::of(["a", "b/c"]).is_err() && Key::of(Vec::<String>::new()).is_err());
        assert!(Key::parse("a").expect("a key").child("..").is_err());
    }

    #[test]
    fn keys_are_put_together_and_taken_apart() {
        let key = Key::parse("live/rec/1-2").and_then(|k| k.child("video.m3u8")).expect("a key");
        assert_eq!(key.as_str(), "live/rec/1-2/video.m3u8");
        assert_eq!((key.name(), key.content_type()), ("video.m3u8", "application/vnd.apple.mpegurl"));
        let folder = |text| Key::parse(text).expect("a key");
        assert!(key.is_in(&folder("live")) && key.is_in(&folder("live/rec")));
        assert!(!key.is_in(&folder("live/re")) && !key.is_in(&key));
    }
}
