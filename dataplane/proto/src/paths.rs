//! Paths of other servers that an operator maps to a stream: those that encoders push to and RTMP players play from ([`push`]), and those that
//! HTTP players ask for ([`play`], [`Pattern`]). Before it: a record or the configuration; after it: the engine looks requests up by what
//! these functions make of them.
use std::fmt;

use crate::http::target::{self, TargetError};
use crate::id::Id;
use crate::limits::PATH_BYTES_MAX;
use crate::output::{self, Output};
use crate::query::percent_decode;

/// A path that cannot be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Nothing there.
    #[error("the path is empty")]
    Empty,
    /// More than [`PATH_BYTES_MAX`] bytes.
    #[error("the path has {0} bytes; at most {PATH_BYTES_MAX} are allowed")]
    Long(usize),
    /// A query, or a control character.
    #[error("the path has a '?' or a control character; give it without its query")]
    Character,
    /// A slash at the wrong end.
    #[error("give it as APPLICATION/NAME, without a slash in front or behind")]
    Slashes,
    /// No HTTP path.
    #[error("give it as an absolute path such as /live/cam.flv: {0}")]
    Target(TargetError),
    /// An ending that says nothing of the output.
    #[error("the path must end with .flv, .m3u8 or .mpd, which says what it gives")]
    Ending,
    /// A path that this server has for itself.
    #[error("this server has this path for itself; a stream's own outputs need no map")]
    Native,
    /// A pattern without its place for the id, or with two.
    #[error("a pattern has {{id}} once, such as /live/{{id}}.flv")]
    Place,
}

/// A push path as it is looked up: `app/name`, without percent-encoding: ffmpeg sends `my cam` as `my%20cam`.
pub fn push(path: &str) -> Result<String, PathError> {
    let path = &percent_decode(path).unwrap_or_else(|| path.to_owned());
    check(path)?;
    if path.starts_with('/') || path.ends_with('/') {
        return Err(PathError::Slashes);
    }
    Ok(path.to_owned())
}

/// A play path as it is looked up, and what it gives.
pub fn play(path: &str) -> Result<(String, &'static Output), PathError> {
    check(path)?;
    if path.contains("{id}") {
        return Err(PathError::Place);
    }
    let segments = segments(path)?;
    let output = ending(&segments)?;
    Ok((key(&segments), output))
}

/// The key that a request's path is looked up by.
pub fn key<S: AsRef<str>>(segments: &[S]) -> String {
    segments.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("/")
}

/// Whether this server has a path for itself: the outputs of a stream, and what it has beside streams.
pub fn is_native<S: AsRef<str>>(segments: &[S]) -> bool {
    match segments {
        [_, name] => output::ALL.iter().any(|output| output.files.contains(&name.as_ref())),
        _ => false,
    }
}

fn check(path: &str) -> Result<(), PathError> {
    match path {
        "" => Err(PathError::Empty),
        _ if path.len() > PATH_BYTES_MAX => Err(PathError::Long(path.len())),
        _ if path.contains(|c: char| c == '?' || c.is_control()) => Err(PathError::Character),
        _ => Ok(()),
    }
}

/// Written as in a URL, or as a person reads it.
fn segments(path: &str) -> Result<Vec<String>, PathError> {
    let segments = target::segments(path).map_err(PathError::Target)?;
    if is_native(&segments) { Err(PathError::Native) } else { Ok(segments) }
}

fn ending(segments: &[String]) -> Result<&'static Output, PathError> {
    let (_, ending) = segments.last().and_then(|name| name.rsplit_once('.')).ok_or(PathError::Ending)?;
    output::ALL.into_iter().find(|output| output.extension == ending).ok_or(PathError::Ending)
}

/// Paths of every stream, with `{id}` where its id stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    segments: Vec<String>,
    output: &'static Output,
}

impl Pattern {
    /// Reads one.
    pub fn new(text: &str) -> Result<Self, PathError> {
        check(text)?;
        if text.matches("{id}").count() != 1 {
            return Err(PathError::Place);
        }
        let segments = segments(text)?;
        let output = ending(&segments)?;
        Ok(Self { segments, output })
    }

    /// The stream that a request's path names by this pattern, and what it gives.
    pub fn find<S: AsRef<str>>(&self, path: &[S]) -> Option<(Id, &'static Output)> {
        if path.len() != self.segments.len() || is_native(path) {
            return None;
        }
        let mut id = None;
        for (is, should) in path.iter().zip(&self.segments) {
            match should.split_once("{id}") {
                Some((before, after)) => {
                    let name = is.as_ref().strip_prefix(before)?.strip_suffix(after)?;
                    id = Some(Id::new(name).ok()?);
                }
                None if is.as_ref() == should => {}
                None => return None,
            }
        }
        id.map(|id| (id, self.output))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.segments.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_56_paths_of_other_servers() {
        for path in ["live/studio/my cam.1", "live/straße", "app", "live/100%", "live//x"] {
            assert_eq!(push(path), Ok(path.to_owned()));
        }
        assert_eq!(push("live/a%20b"), Ok("live/a b".to_owned()));
        let check = |path: &str, key: &str, output| assert_eq!(play(path), Ok((key.to_owned(), output)), "{path}");
        check("/live/cam1.flv", "live/cam1.flv", &output::FLV);
        check("/live/my%20cam.1.flv", "live/my cam.1.flv", &output::FLV);
        check("/live/my cam.flv", "live/my cam.flv", &output::FLV);
        check("/app/cam1/index.m3u8", "app/cam1/index.m3u8", &output::HLS);
        check("/app/straße/manifest.mpd", "app/straße/manifest.mpd", &output::DASH);
        check("/cam.flv", "cam.flv", &output::FLV);
    }

    #[test]
    fn refused() {
        for (path, error) in [
            ("", PathError::Empty),
            ("a?b", PathError::Character),
            ("/live/x", PathError::Slashes),
            ("live/", PathError::Slashes),
        ] {
            assert_eq!(push(path), Err(error), "{path}");
        }
        assert_eq!(push(&"a".repeat(600)), Err(PathError::Long(600)));
        for (path, error) in [
            ("live/x.flv", PathError::Target(TargetError::Form)),
            ("/live/../x.flv", PathError::Target(TargetError::Segment)),
            ("/live/x", PathError::Ending),
            ("/live/x.ts", PathError::Ending),
            ("/cam/live.flv", PathError::Native),
            ("/cam/index.m3u8", PathError::Native),
            ("/live/{id}.flv", PathError::Place),
            ("/live/x.flv?a=b", PathError::Character),
        ] {
            assert_eq!(play(path), Err(error), "{path}");
        }
        for text in ["/live/x.flv", "/{id}/{id}.flv"] {
            assert_eq!(Pattern::new(text), Err(PathError::Place), "{text}");
        }
        assert_eq!(Pattern::new("/{id}/live.flv"), Err(PathError::Native));
    }

    #[test]
    fn patterns_find_ids_and_leave_our_own_paths_alone() {
        let find = |pattern: &str, path: &[&str]| {
            Pattern::new(pattern).unwrap().find(path).map(|(id, output)| (id.to_string(), output))
        };
        assert_eq!(find("/live/{id}.flv", &["live", "cam.flv"]), Some(("cam".to_owned(), &output::FLV)));
        assert_eq!(find("/a/{id}/index.m3u8", &["a", "cam", "index.m3u8"]), Some(("cam".to_owned(), &output::HLS)));
        assert_eq!(find("/live/x-{id}.mpd", &["live", "x-cam.mpd"]), Some(("cam".to_owned(), &output::DASH)));
        for path in [
            &["live", "live.flv"][..],
            &["live", ".flv"],
            &["live", "a.b.flv"],
            &["other", "cam.flv"],
            &["live", "cam.flv", "x"],
            &[],
        ] {
            assert_eq!(find("/live/{id}.flv", path), None, "{path:?}");
        }
    }
}
