//! Splits a request target into safe path segments and a query. Before it: [`super::request`]; after it: the router, which compares
//! segments and never sees an escape.
use crate::limits::HTTP_PATH_SEGMENTS_MAX;
use crate::query::percent_decode;

/// A target that is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Neither a path nor an `http` URL.
    #[error("the request target must be a path that starts with '/'")]
    Form,
    /// A character that has to be percent-encoded.
    #[error("the request target has a character that must be percent-encoded")]
    Character,
    /// A `%` that two hexadecimal digits do not follow, or bytes that are not UTF-8 once decoded.
    #[error("the path is not valid percent-encoded UTF-8")]
    Encoding,
    /// A segment that is `..`, or holds `/`, `\` or a control character once decoded.
    #[error("the path has a segment that is not allowed: '..', or with '/', '\\' or control characters")]
    Segment,
    /// More than [`HTTP_PATH_SEGMENTS_MAX`] segments.
    #[error("the path has more than {HTTP_PATH_SEGMENTS_MAX} segments")]
    Segments,
}

/// The segments of a target's path, decoded once, and its query as it stands. Takes origin form and, as RFC 9112, 3.2.2 requires,
/// absolute form. Empty segments and `.` are left out, but for a slash at the end, which is an empty last segment.
pub(super) fn split(target: &str) -> Result<(Vec<String>, &str), TargetError> {
    if !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(TargetError::Character);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = match path.split_at_checked("http://".len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http://") => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => path,
    };
    Ok((segments(path)?, query))
}

/// The segments of an absolute path, decoded once, and safe.
pub fn segments(path: &str) -> Result<Vec<String>, TargetError> {
    let path = path.strip_prefix('/').ok_or(TargetError::Form)?;
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let mut segments = Vec::new();
    let mut pieces = path.split('/').peekable();
    while let Some(raw) = pieces.next() {
        if segments.len() == HTTP_PATH_SEGMENTS_MAX {
            return Err(TargetError::Segments);
        }
        let segment = percent_decode(raw).ok_or(TargetError::Encoding)?;
        // Two slashes, and `/./`, name nothing: proxies and programs that join URLs leave them, and nobody understands them otherwise.
        if matches!(segment.as_str(), "" | ".") {
            if pieces.peek().is_none() && !segments.is_empty() {
                segments.push(String::new());
            }
            continue;
        }
        let unsafe_character = |c: char| matches!(c, '/' | '\\') || c.is_control();
        if segment == ".." || segment.contains(unsafe_character) {
            return Err(TargetError::Segment);
        }
        segments.push(segment);
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let check = |target: &str, path: &[&str], query: &str| {
            let expected = path.iter().map(|segment| (*segment).to_owned()).collect();
            assert_eq!(split(target), Ok((expected, query)), "{target:?}");
        };
        check("/", &[], "");
        check("/?a=b", &[], "a=b");
        check("/cam/live.flv", &["cam", "live.flv"], "");
        check("/cam/live.flv?sign=1%2D2?/../x", &["cam", "live.flv"], "sign=1%2D2?/../x");
        check("/a%20b/%e4%bd%a0", &["a b", "你"], "");
        // Decoded once: what is left of `%252e%252e` is a name, not a way up.
        check("/%252e%252e/x", &["%2e%2e", "x"], "");
        check("/cam/", &["cam", ""], "");
        for same in ["//cam/live.flv", "/cam//live.flv", "/./cam/././live.flv", "///cam/%2e/live.flv"] {
            check(same, &["cam", "live.flv"], "");
        }
        check("/cam/live.flv/", &["cam", "live.flv", ""], "");
        check("/cam//", &["cam", ""], "");
        check("/cam/.", &["cam", ""], "");
        check("//", &[], "");
        check("/cam/?a=b", &["cam", ""], "a=b");
        check("/.../a..b", &["...", "a..b"], "");
        check("http://host:8080/cam/live.flv", &["cam", "live.flv"], "");
        check("HTTP://host", &[], "");
        check("http://host?x", &[], "x");
    }

    #[test]
    fn refused() {
        let check = |target: &str, expected: TargetError| assert_eq!(split(target), Err(expected), "{target:?}");
        for target in ["", "*", "cam/live.flv", "host:443", "?x", "https://host/x"] {
            check(target, TargetError::Form);
        }
        for target in ["/a/../b", "/..", "/%2e%2E/b", "/.%2e", "/a%2fb", "/a%5Cb", "/a\\b"] {
            check(target, TargetError::Segment);
        }
        for target in ["/a%00", "/a%0d%0aSet-Cookie:x", "/%7f", "/%c2%85"] {
            check(target, TargetError::Segment);
        }
        for target in ["/%", "/%2", "/%zz", "/%ff", "/%c0%af", "/%+1"] {
            check(target, TargetError::Encoding);
        }
        check("/a b", TargetError::Character);
        check("/a#b", TargetError::Character);
        check("/straße", TargetError::Character);
        check(&"/a".repeat(17), TargetError::Segments);
    }
}
