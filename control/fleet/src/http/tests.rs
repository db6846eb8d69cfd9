//! The client against small servers that are played here.
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::client::{AskError, Connection, Reply};
use super::guard::Guard;
use super::url::{Url, UrlError};

const WAIT: Duration = Duration::from_secs(10);

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

#[test]
fn urls() {
    let check = |text: &str, expected: Result<(bool, &str, u16, &str), UrlError>| {
        let url = text.parse::<Url>();
        let got = url.as_ref().map(|url| (url.secure, url.host.as_str(), url.port, url.path.as_str()));
        assert_eq!(got, expected.as_ref().copied(), "{text}");
    };
    check("https://example.com", Ok((true, "example.com", 443, "/")));
    check("http://example.com:8081/a/b?c=d", Ok((false, "example.com", 8081, "/a/b?c=d")));
    check("http://[::1]:8081/x", Ok((false, "::1", 8081, "/x")));
    check("https://[2001:db8::1]", Ok((true, "2001:db8::1", 443, "/")));
    check("http://example.com?x", Ok((false, "example.com", 80, "/?x")));
    for bad in ["", "example.com", "/path", "http://", "http://:80/", "http://a:99999/", "http://a:/", "http://a b/"] {
        check(bad, Err(UrlError::Malformed));
    }
    check("ftp://example.com", Err(UrlError::Scheme));
    check("http://user:hush@example.com/", Err(UrlError::Userinfo));
    check(&format!("http://a/{}", "x".repeat(3000)), Err(UrlError::Long(3009)));
    assert_eq!(url("http://[::1]:81/hush?token=hush").to_string(), "http://[::1]:81");
    assert_eq!(url("https://a/base/").below("/link").path, "/base/link");
}

/// A server that reads one request and answers with these bytes; gives its URL and what it read.
async fn serve(answer: Vec<u8>) -> (Url, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url(&format!("http://{}/hook?x=1", listener.local_addr().unwrap()));
    let serving = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let (mut request, mut buf) = (Vec::new(), vec![0; 4096]);
        while !request.ends_with(b"body") {
            let count = socket.read(&mut buf).await.unwrap();
            request.extend_from_slice(&buf[..count]);
        }
        // The client may have had enough.
        let _ = socket.write_all(&answer).await;
        if answer.is_empty() {
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        String::from_utf8(request).unwrap()
    });
    (url, serving)
}

async fn ask(url: &Url, wait: Duration) -> Result<Reply, AskError> {
    let mut connection = Connection::open(url, &Guard::Open).await?;
    connection.post(url, HeaderMap::new(), "body".into(), wait, 1000).await
}

#[tokio::test]
async fn a_request_and_its_answer() {
    let (url, serving) = serve(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok".to_vec()).await;
    let reply = ask(&url, WAIT).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.body), (201, Some("ok".into())));
    let said = serving.await.unwrap();
    assert!(said.starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{said}");
    assert!(said.to_lowercase().contains(&format!("host: {}\r\n", url.authority())), "{said}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let (url, serving) =
        serve(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    assert_eq!(ask(&url, WAIT).await.unwrap().status.as_u16(), 302);
    serving.await.unwrap();
}

#[tokio::test]
async fn answers_have_a_limit_of_size_and_time() {
    let long = [&b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"[..], &[b'x'; 5000]].concat();
    let (url, _serving) = serve(long).await;
    let reply = ask(&url, WAIT).await.unwrap();
    assert_eq!((reply.status, reply.body), (StatusCode::OK, None));
    let (url, _serving) = serve(Vec::new()).await;
    assert_eq!(ask(&url, Duration::from_millis(100)).await, Err(AskError::Late(url.to_string())));
    let (url, _serving) = serve(b"SSH-2.0-nonsense\r\n\r\n".to_vec()).await;
    assert!(matches!(ask(&url, WAIT).await, Err(AskError::Broken(..))));
}

#[tokio::test]
async fn answers_of_the_class_1xx_come_before_the_final_one_and_not_without_end() {
    let few = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n".repeat(100);
    let long = "x".repeat(300_000);
    let (at, _serving) = serve(format!("{few}HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n{long}").into()).await;
    let mut connection = Connection::open(&at, &Guard::Open).await.unwrap();
    let reply = connection.post(&at, HeaderMap::new(), "body".into(), WAIT, 300_000).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.body), (200, Some(long.into())), "a body has a limit of its own");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endless = url(&format!("http://{}/", listener.local_addr().unwrap()));
    let serving = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = socket.read(&mut request).await.unwrap();
        while socket.write_all(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(2_000)).await.is_ok() {}
    });
    let refused = ask(&endless, WAIT).await;
    assert_eq!(refused, Err(AskError::Headless(endless.to_string())));
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("more than 64 KiB") && said.contains("1xx"), "{said}");
    // The connection is closed, so the server's loop ends.
    tokio::time::timeout(WAIT, serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn private_addresses_are_not_connected_to_unless_allowed() {
    let (url, serving) = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let guard = Guard::PublicAnd(Vec::new());
    for host in ["127.0.0.1", "localhost", "::ffff:127.0.0.1", "0.0.0.0", "169.254.169.254", "2130706433"] {
        let url = Url { host: host.to_owned(), ..url.clone() };
        let refused = Connection::open(&url, &guard).await.unwrap_err();
        assert!(matches!(refused, AskError::Private(_) | AskError::Name(_)), "{host}: {refused}");
    }
    assert!(!serving.is_finished(), "nobody came");
    let allowed = Guard::PublicAnd(vec!["127.0.0.0/8".parse().unwrap()]);
    let mut connection = Connection::open(&url, &allowed).await.unwrap();
    connection.post(&url, HeaderMap::new(), "body".into(), WAIT, 10).await.unwrap();
}

#[tokio::test]
async fn nobody_at_home() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    assert!(matches!(ask(&url(&format!("http://{at}/")), WAIT).await, Err(AskError::Connect(..))));
    let nowhere = ask(&url("http://does-not-exist.invalid/"), WAIT).await.unwrap_err();
    assert!(matches!(nowhere, AskError::Name(_) | AskError::Connect(..)), "{nowhere}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_in_the_clear() {
    let (plain, _serving) = serve(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()).await;
    let secure = Url { secure: true, ..plain };
    // Whatever fails first: no authorities on this machine, or no TLS over there.
    let error = tokio::time::timeout(WAIT, Connection::open(&secure, &Guard::Open)).await.unwrap().unwrap_err();
    assert!(matches!(error, AskError::Tls(..) | AskError::Connect(..)), "{error}");
}
