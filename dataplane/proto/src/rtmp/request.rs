//! What a client asks for: which name in which application, with which parameters, out of the many places where encoders
//! put them. Before it in the pipeline: [`super::server`] read `connect` and `publish` or `play`; after it: admission decides.
use crate::amf0::Value;
use crate::limits::{RTMP_CLIENT_TEXT_BYTES_MAX, STREAM_KEY_BYTES_MAX};
use crate::query::{Params, QueryError};
use crate::secret::Secret;

/// A publish or play request. `Debug` prints neither parameters nor tcUrl.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Application, without its query; not validated, and empty where the client named none.
    pub app: String,
    /// Stream name, without its query; not validated.
    pub name: String,
    /// Parameters of the application (else of tcUrl) and then of the name.
    pub params: Params,
    /// The URL as the client gave it.
    pub tc_url: Secret,
    /// What the client says it is; cut to [`RTMP_CLIENT_TEXT_BYTES_MAX`].
    pub flash_ver: String,
    /// The page that the client plays in, without its query; cut likewise.
    pub page_url: String,
}

/// What `connect` said.
#[derive(Clone, Debug)]
pub(super) struct ConnectInfo {
    app: String,
    app_query: Secret,
    tc_url: Secret,
    flash_ver: String,
    page_url: String,
}

/// A request that names nothing that could be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("application or stream name is longer than {STREAM_KEY_BYTES_MAX} bytes")]
    Long,
    #[error("the stream name is missing")]
    Missing,
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl ConnectInfo {
    pub(super) fn new(object: &Value) -> Result<Self, RequestError> {
        let text = |name| object.get(name).and_then(Value::as_str).unwrap_or_default();
        let (app, tc_url) = (text("app"), text("tcUrl"));
        if app.len() > STREAM_KEY_BYTES_MAX || tc_url.len() > STREAM_KEY_BYTES_MAX {
            return Err(RequestError::Long);
        }
        let (path, app_query) = app.split_once('?').unwrap_or((app, ""));
        let path = path.trim_matches('/');
        Ok(Self {
            // Flash names the default instance of an application.
            app: path.strip_suffix("/_definst_").unwrap_or(path).to_owned(),
            app_query: Secret::new(app_query),
            tc_url: Secret::new(tc_url),
            flash_ver: shortened(text("flashVer")),
            page_url: shortened(without_query(text("pageUrl"))),
        })
    }

    pub(super) fn request(&self, name: &str) -> Result<Request, RequestError> {
        if name.len() > STREAM_KEY_BYTES_MAX {
            return Err(RequestError::Long);
        }
        let (path, name_query) = name.split_once('?').unwrap_or((name, ""));
        let path = path.trim_matches('/');
        // Some clients repeat the application in the name; others have the whole path in the URL and no name.
        let repeated = path.strip_prefix(self.app.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let (app, path) = match repeated {
            Some(rest) if !self.app.is_empty() => (self.app.as_str(), rest),
            // Without a name, what stands in the application alone may still be a path that the operator has mapped.
            _ if path.is_empty() => self.app.rsplit_once('/').unwrap_or(("", &self.app)),
            _ => (self.app.as_str(), path),
        };
        if path.is_empty() {
            return Err(RequestError::Missing);
        }
        let mut params = Params::parse(self.url_query(name_query))?;
        params.append(Params::parse(name_query)?);
        Ok(Request {
            app: app.to_owned(),
            name: path.to_owned(),
            params,
            tc_url: self.tc_url.clone(),
            flash_ver: self.flash_ver.clone(),
            page_url: self.page_url.clone(),
        })
    }

    /// The server URL's part of the parameters. Where tcUrl is the whole URL, its query is the name's: that counts once. What the
    /// client put into the application and into the name is there twice, and `sign` is refused then.
    fn url_query(&self, name_query: &str) -> &str {
        if !self.app_query.is_empty() {
            return self.app_query.expose();
        }
        let query = self.tc_url.expose().split_once('?').map_or("", |(_, query)| query);
        if query == name_query { "" } else { query }
    }
}

fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(page, _)| page)
}

fn shortened(text: &str) -> String {
    text.get(..text.floor_char_boundary(RTMP_CLIENT_TEXT_BYTES_MAX)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(app: &str, tc_url: &str, name: &str) -> Result<Request, RequestError> {
        let object = Value::object([("app", Value::string(app)), ("tcUrl", Value::string(tc_url))]);
        ConnectInfo::new(&object)?.request(name)
    }

    #[test]
    fn wherever_encoders_put_the_parts() {
        let check = |app: &str, tc_url: &str, name: &str, expected: (&str, &str, &[&str])| {
            let request = request(app, tc_url, name).unwrap();
            let signs: Vec<_> = request.params.all("sign").collect();
            assert_eq!((request.app.as_str(), request.name.as_str(), signs.as_slice()), expected, "{app} {name}");
        };
        check("stream", "rtmp://h/stream", "id", ("stream", "id", &[]));
        check("stream", "rtmp://h/stream", "id?sign=1-a", ("stream", "id", &["1-a"]));
        check("stream/", "rtmp://h/stream/", "/id", ("stream", "id", &[]));
        check("/stream", "", "stream/id", ("stream", "id", &[]));
        check("stream/_definst_", "", "id", ("stream", "id", &[]));
        check("stream/id", "rtmp://h/stream/id", "", ("stream", "id", &[]));
        check("stream/id?sign=x", "", "", ("stream", "id", &["x"]));
        check("stream?sign=x", "rtmp://h/stream?sign=x", "id", ("stream", "id", &["x"]));
        check("stream", "rtmp://h/stream?sign=x", "id", ("stream", "id", &["x"]));
        check("stream?sign=x", "", "id?sign=y", ("stream", "id", &["x", "y"]));
        check("stream", "rtmp://h/stream/id?sign=x", "id?sign=x", ("stream", "id", &["x"]));
        check("", "rtmp://h/", "id", ("", "id", &[]));
        check("stream", "rtmp://h/stream", "", ("", "stream", &[]));
        check("id?sign=x", "rtmp://h/id?sign=x", "", ("", "id", &["x"]));
        check("live/studio", "rtmp://h/live/studio", "my cam.1?sign=x", ("live/studio", "my cam.1", &["x"]));
    }

    #[test]
    fn refused() {
        assert_eq!(request("", "", ""), Err(RequestError::Missing));
        assert_eq!(request("stream", "", &"a".repeat(3000)), Err(RequestError::Long));
        assert_eq!(request(&"a".repeat(3000), "", "id"), Err(RequestError::Long));
        let long = format!("id?{}", "a".repeat(2_045));
        assert_eq!(request("stream", "", &long).map(|_| ()), Ok(()));
    }

    #[test]
    fn secrets_do_not_print() {
        let object = Value::object([
            ("app", Value::string("stream?sign=hush")),
            ("tcUrl", Value::string("rtmp://h/stream?sign=hush")),
            ("pageUrl", Value::string("https://page/?token=hush")),
        ]);
        let info = ConnectInfo::new(&object).unwrap();
        let request = info.request("id?sign=hush").unwrap();
        assert!(!format!("{info:?} {request:?}").contains("hush"));
        assert_eq!(request.page_url, "https://page/");
    }
}
