//! Clients of HTTP/2 for the tests beside it, by the crate `h2`, which shares no code with the engine: requests one by one, and a gateway that lets the
//! harness's viewers of HTTP/1.1 share one connection.
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, client};
use http::{HeaderMap, Request, Response};
use rustls::pki_types::ServerName;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::harness::SOON;
use crate::tls::{NAME, Secure};

/// A connection.
pub(crate) struct Client {
    runtime: Arc<Runtime>,
    requests: SendRequest<Bytes>,
    ended: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Whole {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

impl Client {
    /// With windows as large as those of browsers: a stream that is not taken leaves room for the others.
    pub(crate) fn connect(secure: &Secure) -> Self {
        Self::with_windows(secure, 1 << 20, 16 << 20)
    }

    /// One whose peers may send so much of a body, and of all of them, before it takes anything.
    pub(crate) fn with_windows(secure: &Secure, of_stream: u32, of_connection: u32) -> Self {
        let runtime = Arc::new(Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
        let mut config = (*secure.client).clone();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (to, connector) = (secure.https(), TlsConnector::from(Arc::new(config)));
        let (requests, connection) = runtime.block_on(async {
            let socket = tokio::net::TcpStream::connect(to).await.unwrap();
            let tls = connector.connect(ServerName::try_from(NAME).unwrap(), socket).await.unwrap();
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let mut builder = client::Builder::new();
            builder.initial_window_size(of_stream).initial_connection_window_size(of_connection);
            builder.handshake(tls).await.unwrap()
        });
        let ended = runtime.spawn(connection);
        Self { runtime, requests, ended }
    }

    /// Asks, and waits for the head of the answer.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response<RecvStream>, h2::Error> {
        let mut request = Request::builder().method(method).uri(format!("https://{NAME}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let requests = self.requests.clone();
        self.runtime.block_on(async move {
            let mut requests = timeout(SOON, requests.ready()).await.expect("a place for a request")?;
            let (answer, _) = requests.send_request(request, true)?;
            timeout(SOON, answer).await.expect("an answer")
        })
    }

    /// Asks, and does not wait; what is given back takes the request back when it is dropped.
    pub(crate) fn begin(&self, path: &str) -> ResponseFuture {
        let request = Request::builder().uri(format!("https://{NAME}{path}")).body(()).unwrap();
        let _runs = self.runtime.enter();
        self.requests.clone().send_request(request, true).unwrap().0
    }

    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Whole {
        self.whole(self.ask("GET", path, headers).unwrap()).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Whole {
        self.get_with(path, &[])
    }

    /// The rest of an answer.
    pub(crate) fn whole(&self, answer: Response<RecvStream>) -> Result<Whole, h2::Error> {
        let (head, mut stream) = answer.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = self.piece(&mut stream)? {
            body.extend_from_slice(&piece);
        }
        Ok(Whole { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// The next piece of an answer; `None` at its end. The server may send as much again.
    pub(crate) fn piece(&self, stream: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
        let piece = self.runtime.block_on(async { timeout(SOON, stream.data()).await.expect("a piece, or the end") });
        piece.transpose().inspect(|piece| {
            if let Some(piece) = piece {
                stream.flow_control().release_capacity(piece.len()).unwrap();
            }
        })
    }

    /// Waits for the end of the connection.
    pub(crate) fn until_ended(self) -> Result<(), h2::Error> {
        let Self { runtime, requests, ended } = self;
        drop(requests);
        runtime.block_on(async { timeout(SOON, ended).await.expect("the connection ends").unwrap() })
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ended.is_finished()
    }
}

/// An address without TLS whose viewers share this connection. An answer that breaks off ends its viewer's connection without the last chunk.
pub(crate) fn gateway(client: &Arc<Client>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (at, client) = (listener.local_addr().unwrap(), Arc::clone(client));
    std::thread::spawn(move || {
        for plain in listener.incoming().flatten() {
            let client = Arc::clone(&client);
            std::thread::spawn(move || carry(plain, &client));
        }
    });
    at
}

fn carry(mut plain: TcpStream, client: &Client) {
    plain.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match plain.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut line = head.split(' ');
    let (method, path) = (line.next().unwrap(), line.next().unwrap());
    let Ok(answer) = client.ask(method, path, &[]) else { return };
    let (head, mut stream) = answer.into_parts();
    let mut text = format!("HTTP/1.1 {}\r\nTransfer-Encoding: chunked\r\n", head.status);
    for (name, value) in &head.headers {
        text += name.as_str();
        text += ": ";
        text += value.to_str().unwrap();
        text += "\r\n";
    }
    if plain.write_all(format!("{text}\r\n").as_bytes()).is_err() {
        return;
    }
    while let Ok(piece) = client.piece(&mut stream) {
        let chunk = piece.map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat());
        let is_last = chunk.is_none();
        if plain.write_all(&chunk.unwrap_or_else(|| b"0\r\n\r\n".to_vec())).is_err() || is_last {
            return;
        }
    }
}
