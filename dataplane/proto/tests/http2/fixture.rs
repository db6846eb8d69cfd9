//! A server over the connection under test, as an engine would drive it, and a client of another implementation.
use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use millstream_proto::http2::{Connection, ErrorCode, Event, HeadBlock, Limits, ResetReason, StreamId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;

/// What an answer has yet to send.
struct Answer {
    stream: StreamId,
    body: Bytes,
    /// The next frame may go, as far as is known.
    goes: bool,
}

/// A request whose body is still coming.
struct Asked {
    stream: StreamId,
    path: Vec<String>,
    body: BytesMut,
    fields: usize,
    cookie: Option<Bytes>,
}

/// What a server saw, when its connection is over.
#[derive(Default, Debug)]
pub(crate) struct Seen {
    /// Requests that came.
    pub(crate) requests: usize,
    /// Streams at once, at most.
    pub(crate) streams_max: usize,
    /// Why streams ended before their time.
    pub(crate) resets: Vec<ResetReason>,
    /// DATA frames that were sent.
    pub(crate) frames: usize,
    /// How often a stream that waited could go on.
    pub(crate) writable: usize,
    /// Bytes that the connection held, at most.
    pub(crate) held_bytes_max: usize,
}

/// The bytes of every body.
pub(crate) fn body(bytes: usize) -> Bytes {
    (0..bytes).map(|n| (n * 7 + n / 251) as u8).collect()
}

struct Server {
    connection: Connection,
    asked: Vec<Asked>,
    answers: VecDeque<Answer>,
    seen: Seen,
    /// What goes to the peer, in the order in which the connection gave it.
    wire: BytesMut,
}

impl Server {
    fn control(&mut self) {
        if let Some(output) = self.connection.poll_output() {
            self.wire.extend_from_slice(&output);
        }
    }

    fn head(&mut self, stream: StreamId, status: u16, end: bool) -> bool {
        let text = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: text/plain\r\nConnection: keep-alive\r\nX-Answer: yes\r\n\r\n"
        );
        let head = HeadBlock::of_http1(text.as_bytes()).unwrap();
        self.control();
        let Ok(frame) = self.connection.respond(stream, &head, end) else { return false };
        self.wire.extend_from_slice(frame.as_bytes());
        self.wire.extend_from_slice(head.block());
        true
    }

    fn answer(&mut self, stream: StreamId, status: u16, body: Bytes) {
        if self.head(stream, status, body.is_empty()) && !body.is_empty() {
            self.answers.push_back(Answer { stream, body, goes: true });
        }
    }

    fn decide(&mut self, asked: Asked) {
        let stream = asked.stream;
        let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
        match path[..] {
            ["whole", bytes] => self.answer(stream, 200, body(bytes.parse().unwrap())),
            ["echo"] => self.answer(stream, 200, asked.body.freeze()),
            ["fields"] => self.answer(stream, 200, asked.fields.to_string().into()),
            ["cookie"] => self.answer(stream, 200, asked.cookie.unwrap_or_default()),
            ["reset"] => assert!(self.connection.reset(stream, ErrorCode::INTERNAL_ERROR)),
            ["drain"] => {
                self.connection.drain();
                self.answer(stream, 200, body(100_000));
            }
            _ => self.answer(stream, 404, "nothing here".into()),
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Request { stream, head, end } => {
                self.seen.requests += 1;
                let request = match head.to_request() {
                    Ok(request) => request,
                    Err(error) => return self.answer(stream, error.status(), error.to_string().into()),
                };
                let cookie = head.cookie().map(|cookie| Bytes::copy_from_slice(&cookie));
                let fields = head.fields().count();
                let asked = Asked { stream, path: request.path, body: BytesMut::new(), fields, cookie };
                if end || asked.path == ["early"] {
                    self.decide(asked);
                } else {
                    self.asked.push(asked);
                }
            }
            Event::Body { stream, bytes } => {
                if let Some(asked) = self.asked.iter_mut().find(|asked| asked.stream == stream) {
                    asked.body.extend_from_slice(&bytes);
                }
            }
            Event::End { stream } => {
                if let Some(place) = self.asked.iter().position(|asked| asked.stream == stream) {
                    let asked = self.asked.remove(place);
                    self.decide(asked);
                }
            }
            Event::Reset { stream, reason } => {
                self.asked.retain(|asked| asked.stream != stream);
                self.answers.retain(|answer| answer.stream != stream);
                self.seen.resets.push(reason);
            }
            Event::Writable { stream } => {
                self.seen.writable += 1;
                self.answers.iter_mut().filter(|answer| answer.stream == stream).for_each(|answer| answer.goes = true);
            }
            _ => {}
        }
    }

    /// One frame of each answer in turn, until none may go on.
    fn send(&mut self) {
        self.control();
        while let Some(place) = self.answers.iter().position(|answer| answer.goes) {
            let Some(mut answer) = self.answers.remove(place) else { return };
            let frame = self.connection.data(answer.stream, answer.body.len(), true).expect("it is not over");
            if let Some(frame) = frame {
                self.seen.frames += 1;
                self.wire.extend_from_slice(&frame.head);
                self.wire.extend_from_slice(&answer.body.split_to(frame.bytes));
                if frame.end {
                    assert!(answer.body.is_empty());
                    self.control();
                    continue;
                }
            }
            answer.goes = self.connection.writable(answer.stream) > 0;
            self.answers.push_back(answer);
        }
        self.control();
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(mut socket: DuplexStream, limits: Limits) -> Seen {
    let connection = Connection::new(limits);
    let mut server = Server {
        connection,
        asked: Vec::new(),
        answers: VecDeque::new(),
        seen: Seen::default(),
        wire: BytesMut::new(),
    };
    let mut scratch = vec![0; 5_000];
    loop {
        server.send();
        if socket.write_all(&server.wire.split()).await.is_err() || server.connection.is_finished() {
            break;
        }
        let Ok(count @ 1..) = socket.read(&mut scratch).await else { break };
        let mut rest = &scratch[..count];
        while !rest.is_empty() {
            match server.connection.receive(rest) {
                Ok(taken) => rest = &rest[taken..],
                Err(error) => panic!("{error}"),
            }
            server.seen.held_bytes_max = server.seen.held_bytes_max.max(server.connection.held_bytes());
            server.seen.streams_max = server.seen.streams_max.max(server.connection.streams());
            while let Some(event) = server.connection.poll_event() {
                server.event(event);
            }
        }
    }
    server.seen
}

/// A client, its connection's task, and the server's.
pub(crate) struct Pair {
    /// Sends requests.
    pub(crate) client: SendRequest<Bytes>,
    /// Ends with the connection.
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
    /// What the server saw.
    pub(crate) server: JoinHandle<Seen>,
}

/// Both ends, with a network of 4,000 bytes between them.
pub(crate) async fn pair(limits: Limits, client: &h2::client::Builder) -> Pair {
    let (near, far) = tokio::io::duplex(4_000);
    let server = tokio::spawn(serve(far, limits));
    let (client, connection) = client.handshake(near).await.unwrap();
    Pair { client, connection: tokio::spawn(connection), server }
}

/// A request without a body.
pub(crate) fn get(path: &str) -> http::Request<()> {
    http::Request::builder().uri(format!("https://media.example{path}")).body(()).unwrap()
}

/// One with a body.
pub(crate) fn post(path: &str) -> http::Request<()> {
    http::Request::builder().method("POST").uri(format!("https://media.example{path}")).body(()).unwrap()
}

/// The whole of an answer.
pub(crate) async fn whole(response: http::Response<h2::RecvStream>) -> Result<(u16, Bytes), h2::Error> {
    let (head, mut stream) = response.into_parts();
    let mut all = BytesMut::new();
    while let Some(piece) = within(stream.data()).await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    Ok((head.status.as_u16(), all.freeze()))
}

impl Pair {
    /// Asks, and waits for the whole answer.
    pub(crate) async fn ask(&mut self, request: http::Request<()>) -> Result<(u16, Bytes), h2::Error> {
        self.client = self.client.clone().ready().await?;
        let (response, _) = self.client.send_request(request, true)?;
        whole(within(response).await?).await
    }

    /// Asks with a body.
    pub(crate) async fn ask_with(
        &mut self,
        request: http::Request<()>,
        body: Bytes,
        trailers: Option<http::HeaderMap>,
    ) -> Result<(u16, Bytes), h2::Error> {
        self.client = self.client.clone().ready().await?;
        let (response, mut stream) = self.client.send_request(request, false)?;
        stream.send_data(body, trailers.is_none())?;
        if let Some(trailers) = trailers {
            stream.send_trailers(trailers)?;
        }
        whole(within(response).await?).await
    }

    /// Ends the connection; what the server saw.
    pub(crate) async fn end(self) -> Seen {
        let Self { client, connection, server } = self;
        drop(client);
        within(connection).await.unwrap().unwrap();
        within(server).await.unwrap()
    }
}

/// A test that hangs is one that fails.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it does not hang")
}
