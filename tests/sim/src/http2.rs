//! HTTP/2 as viewers and players speak it: the crate `h2`, which shares no code with the product, over a peer's connection with TLS. Before it: [`super::secured`];
//! after it: [`super::viewer`], with several streams of one connection, and [`super::player`].
//!
//! `h2` reads no clock but for streams that it has reset, which it forgets after 30 s of the machine's time: no walk lasts as long.
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_util::future::{AbortHandle, abortable};
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::Request;
use millstream_engine_simulated::io::{Line, spawn_outside};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::secured::{self, Secured};

/// Bytes that go into one write at most.
const WRITE_BYTES_MAX: usize = 16 << 10;

/// Whether a peer of this number speaks HTTP/2, where it speaks HTTP at all. It comes over TLS then.
pub(crate) fn is_spoken(number: usize) -> bool {
    number % 7 == 3
}

/// A connection.
pub(crate) struct Client {
    stream: Rc<Secured>,
    requests: SendRequest<Bytes>,
    running: AbortHandle,
}

/// An answer that comes.
pub(crate) struct Coming {
    pub(crate) status: u16,
    pub(crate) body: RecvStream,
}

impl Client {
    /// Connects; `window`: bytes of a body that the server may send before they are taken.
    pub(crate) async fn open(from: IpAddr, line: Line, window: u32) -> Option<Self> {
        let stream = Rc::new(secured::open_http2(from, line).await.ok()?);
        let wire = Wire { stream: Rc::clone(&stream), reading: None, rest: Bytes::new(), writing: None };
        let (requests, connection) =
            Builder::new().initial_window_size(window).enable_push(false).handshake(wire).await.ok()?;
        let (connection, running) = abortable(connection);
        // It ends when nobody asks any more and what was asked for is over.
        spawn_outside(async move { drop(connection.await) });
        Some(Self { stream, requests, running })
    }

    /// Asks for a file; `None`: there is no answer.
    pub(crate) async fn ask(&self, path: &str) -> Option<Coming> {
        let request = Request::get(format!("https://h.example{path}")).body(()).expect("a request");
        let mut requests = self.requests.clone().ready().await.ok()?;
        let (answer, _) = requests.send_request(request, true).ok()?;
        let (head, body) = answer.await.ok()?.into_parts();
        Some(Coming { status: head.status.as_u16(), body })
    }

    /// Whether hands have been shaken.
    pub(crate) fn has_shaken_hands(&self) -> bool {
        self.stream.has_shaken_hands()
    }

    /// Cuts the line, which nobody is told of.
    pub(crate) fn cut(&self) {
        self.stream.sever();
        // The end stays: nobody closes it.
        std::mem::forget(Rc::clone(&self.stream));
        self.running.abort();
    }
}

/// Takes all of a body.
pub(crate) async fn whole(mut body: RecvStream) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(bytes) = body.data().await {
        let bytes = bytes.ok()?;
        all.extend_from_slice(&bytes);
        body.flow_control().release_capacity(bytes.len()).ok()?;
    }
    Some(all)
}

type Later<T> = Pin<Box<dyn Future<Output = io::Result<T>>>>;

/// The connection as `h2` reads and writes it.
struct Wire {
    stream: Rc<Secured>,
    reading: Option<Later<Bytes>>,
    rest: Bytes,
    writing: Option<Later<()>>,
}

impl Wire {
    /// Waits until what was taken is with the line.
    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(writing) = &mut self.writing else { return Poll::Ready(Ok(())) };
        let written = ready!(writing.as_mut().poll(context));
        self.writing = None;
        Poll::Ready(written)
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            let stream = Rc::clone(&self.stream);
            let reading = self.reading.get_or_insert_with(|| Box::pin(async move { stream.read(64 << 10).await }));
            let read = ready!(reading.as_mut().poll(context));
            self.reading = None;
            self.rest = read?;
        }
        let count = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_written(context))?;
        let taken = Bytes::copy_from_slice(&bytes[..bytes.len().min(WRITE_BYTES_MAX)]);
        let (stream, count) = (Rc::clone(&self.stream), taken.len());
        self.writing = Some(Box::pin(async move { stream.write(&taken).await }));
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(context))?;
        Poll::Ready(self.stream.close())
    }
}
