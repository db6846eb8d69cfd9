//! Fetches the image of a watermark. Its address is a customer's: every host is looked up and looked at before it is connected to, also those that a
//! redirect leads to; nothing is read past a maximum, and what is no image is not kept. Before it: [`super::marks`]; after it: the network, and the
//! worker, which decodes what came.
use std::time::Duration;

use bytes::Bytes;
use millstream_fleet::http::client::{AskError, Connection};
use millstream_fleet::http::guard::Guard;
use millstream_fleet::http::url::{Url, UrlError};
use millstream_worker::protocol::{JPEG_BEGINS, PNG_BEGINS};
use tokio::time::timeout;

/// Bytes of an image.
pub(crate) const IMAGE_BYTES_MAX: usize = 4 << 20;
/// Time for all of it, redirects included.
const WAIT: Duration = Duration::from_secs(15);
/// Time for one answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// How images begin.
const BEGINNINGS: [&[u8]; 2] = [PNG_BEGINS, JPEG_BEGINS];

/// Why there is no image. Without paths and queries: these may hold a token.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FetchError {
    /// It cannot be an address.
    #[error("its address: {0}")]
    Url(#[from] UrlError),
    /// See [`AskError`].
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Another answer than 200.
    #[error("{0} answered {1}")]
    Status(String, u16),
    /// It goes round in circles, or nearly.
    #[error("{0} redirects once more than the {REDIRECTS_MAX} times that are followed")]
    Redirects(String),
    /// A redirect that leads nowhere that may be gone to.
    #[error("{0} redirects to what is no address")]
    Location(String),
    /// What was encrypted is not asked for in the open.
    #[error("{0} redirects to an address without TLS")]
    Downgrade(String),
    /// There is more than is read.
    #[error("{0} sends more than {max} MiB", max = IMAGE_BYTES_MAX >> 20)]
    Long(String),
    /// It is something else.
    #[error("what {0} sends is neither PNG nor JPEG (it says {1})")]
    NoImage(String, String),
    /// It takes too long.
    #[error("it was not there within {} s", WAIT.as_secs())]
    Late,
}

/// The file of an image.
pub(crate) async fn fetch(url: &str, guard: &Guard) -> Result<Bytes, FetchError> {
    timeout(WAIT, follow(url.parse()?, guard)).await.unwrap_or(Err(FetchError::Late))
}

async fn follow(mut url: Url, guard: &Guard) -> Result<Bytes, FetchError> {
    for _ in 0..=REDIRECTS_MAX {
        let mut connection = Connection::open(&url, guard).await?;
        let reply = connection.get(&url, http::HeaderMap::new(), ANSWER_WAIT, IMAGE_BYTES_MAX).await?;
        let header = |name: http::HeaderName| reply.headers.get(name).and_then(|value| value.to_str().ok());
        match reply.status.as_u16() {
            200 => {
                let body = reply.body.clone().ok_or_else(|| FetchError::Long(url.to_string()))?;
                if !BEGINNINGS.iter().any(|beginning| body.starts_with(beginning)) {
                    let says: String =
                        header(http::header::CONTENT_TYPE).unwrap_or("nothing").chars().take(64).collect();
                    return Err(FetchError::NoImage(url.to_string(), says));
                }
                return Ok(body);
            }
            301 | 302 | 303 | 307 | 308 => {
                let location = header(http::header::LOCATION).unwrap_or_default();
                let next = resolved(&url, location).ok_or_else(|| FetchError::Location(url.to_string()))?;
                if url.secure && !next.secure {
                    return Err(FetchError::Downgrade(url.to_string()));
                }
                url = next;
            }
            status => return Err(FetchError::Status(url.to_string(), status)),
        }
    }
    Err(FetchError::Redirects(url.to_string()))
}

/// Where a redirect leads.
fn resolved(from: &Url, location: &str) -> Option<Url> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = if from.secure { "https" } else { "http" };
    if location.is_empty() {
        return None;
    }
    // A scheme, or else an address may stand in the query.
    if location.split(['/', '?']).next().is_some_and(|first| first.ends_with(':')) {
        return location.parse().ok();
    }
    if location.starts_with("//") {
        return format!("{scheme}:{location}").parse().ok();
    }
    let path = from.path.split('?').next().unwrap_or_default();
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = match location.chars().next() {
        Some('/') => location.to_owned(),
        Some('?') => format!("{path}{location}"),
        _ => format!("{folder}/{location}"),
    };
    format!("{scheme}://{}{path}", from.authority()).parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

    /// A server that answers each path as it is told; `*` in an answer is its own address.
    async fn server(answers: &'static [(&'static str, &'static [u8])]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let own = Arc::new(at.clone());
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let own = Arc::clone(&own);
                tokio::spawn(async move {
                    let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
                    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
                        let count = socket.read(&mut buffer).await.unwrap();
                        request.extend_from_slice(&buffer[..count]);
                    }
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let path = text.split(' ').nth(1).unwrap().to_owned();
                    let answer = answers
                        .iter()
                        .find(|(known, _)| *known == path)
                        .map_or(&b"HTTP/1.1 404 x\r\n\r\n"[..], |it| it.1);
                    let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
                    let head = String::from_utf8_lossy(&answer[..head_end]).replace('*', &own);
                    let _ = socket.write_all(head.as_bytes()).await;
                    let _ = socket.write_all(&answer[head_end..]).await;
                    if path == "/endless" {
                        while socket.write_all(&[0; 8_192]).await.is_ok() {}
                    }
                    if path == "/slow" {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        at
    }

    fn loopback() -> Guard {
        Guard::PublicAnd(vec!["127.0.0.0/8".parse().unwrap()])
    }

    #[tokio::test]
    async fn an_image_is_followed_to_where_it_is_and_nothing_else_is_taken() {
        let at = server(&[
            ("/a.png", b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n\x89PNG\r\n\x1a\nrest"),
            ("/to/a", b"HTTP/1.1 302 Found\r\nLocation: ../a.png\r\nContent-Length: 0\r\n\r\n"),
            ("/to/../a.png", b"HTTP/1.1 301 Moved\r\nLocation: http://*/a.png\r\nContent-Length: 0\r\n\r\n"),
            ("/circle", b"HTTP/1.1 307 x\r\nLocation: /circle\r\nContent-Length: 0\r\n\r\n"),
            (
                "/inside",
                b"HTTP/1.1 302 x\r\nLocation: http://169.254.169.254/latest/meta-data\r\nContent-Length: 0\r\n\r\n",
            ),
            ("/file", b"HTTP/1.1 302 x\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"),
            ("/nowhere", b"HTTP/1.1 302 x\r\nContent-Length: 0\r\n\r\n"),
            ("/page", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"),
            ("/endless", b"HTTP/1.1 200 OK\r\nContent-Length: 5368709120\r\n\r\n\x89PNG\r\n\x1a\n"),
            ("/broken", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n\x89PNG\r\n\x1a\n"),
        ])
        .await;
        let get = async |path: &str| fetch(&format!("http://{at}{path}"), &loopback()).await;
        assert_eq!(get("/a.png").await, Ok(Bytes::from_static(PNG)));
        assert_eq!(get("/to/a").await, Ok(Bytes::from_static(PNG)));
        let host = format!("http://{at}");
        assert_eq!(get("/circle").await, Err(FetchError::Redirects(host.clone())));
        let private = AskError::Private("169.254.169.254".to_owned());
        assert_eq!(get("/inside").await, Err(FetchError::Ask(private)));
        assert_eq!(get("/file").await, Err(FetchError::Location(host.clone())));
        assert_eq!(get("/nowhere").await, Err(FetchError::Location(host.clone())));
        assert_eq!(get("/page").await, Err(FetchError::NoImage(host.clone(), "text/html".to_owned())));
        assert_eq!(get("/endless").await, Err(FetchError::Long(host.clone())));
        assert!(matches!(get("/broken").await, Err(FetchError::Ask(AskError::Broken(..)))));
        assert_eq!(get("/other").await, Err(FetchError::Status(host.clone(), 404)));
        // Without leave, nothing of this machine is connected to.
        let unasked = fetch(&format!("{host}/a.png"), &Guard::PublicAnd(Vec::new())).await;
        assert_eq!(unasked, Err(FetchError::Ask(AskError::Private("127.0.0.1".to_owned()))));
        assert_eq!(fetch("ftp://h/a", &loopback()).await, Err(FetchError::Url(UrlError::Scheme)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_is_given_up() {
        let at = server(&[("/slow", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n\x89PNG")]).await;
        let slow = fetch(&format!("http://{at}/slow"), &loopback()).await;
        assert!(
            matches!(slow, Err(FetchError::Ask(AskError::Late(_) | AskError::Connect(..)) | FetchError::Late)),
            "{slow:?}"
        );
    }

    #[test]
    fn redirects_are_relative_or_not() {
        let from: Url = "https://a.example/x/y?z=1".parse().unwrap();
        let check = |location, expected: Option<&str>| {
            let expected = expected.map(|url| url.parse::<Url>().unwrap());
            assert_eq!(resolved(&from, location), expected, "{location}");
        };
        check("b.png", Some("https://a.example/x/b.png"));
        check("/b.png#here", Some("https://a.example/b.png"));
        check("//b.example/c", Some("https://b.example/c"));
        check("http://b.example:81/c?d", Some("http://b.example:81/c?d"));
        check("/b?of=https://c.example/d.png", Some("https://a.example/b?of=https://c.example/d.png"));
        check("b?of=https://c.example/d.png", Some("https://a.example/x/b?of=https://c.example/d.png"));
        check("?v=2", Some("https://a.example/x/y?v=2"));
        check("javascript://x", None);
        check("", None);
    }
}
