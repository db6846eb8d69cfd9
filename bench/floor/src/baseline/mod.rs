//! The baselines: servers that do nothing but the fan-out, each in a process of its own. A baseline takes one publisher (FLV tags over TCP),
//! then a known number of viewers, and sends them what the publisher sends, under a flush policy, until the publisher is gone.
pub(crate) mod bare_epoll;
pub(crate) mod bare_uring;
mod feed;
pub(crate) mod on_glommio;
pub(crate) mod on_monoio;
pub(crate) mod on_tokio;
mod tasks;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context as _, bail};
use millstream_hub::config::FlushPolicy;

/// As the product's (HOT_PATH, rule 6).
const NOTSENT_LOWAT_BYTES: u32 = 128 << 10;
const RESPONSE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nTransfer-Encoding: chunked\r\n\r\n";

/// What a baseline is built on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Backend {
    /// A loop over a raw ring.
    Uring,
    /// A loop over epoll.
    Epoll,
    /// The same loop, whose blocks are files in memory that are sent without a copy.
    Sendfile,
    /// monoio, a task per viewer.
    Monoio,
    /// glommio, a task per viewer.
    Glommio,
    /// tokio's current-thread runtime, a task per viewer.
    Tokio,
}

/// Serves until the publisher is gone. Prints its port once it listens.
pub(crate) fn serve(backend: Backend, policy: FlushPolicy, viewers: usize) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    // As std's backlog is 128 only.
    rustix::net::listen(&listener, 4096)?;
    let (publisher, _) = listener.accept().context("no publisher")?;
    let viewers = (0..viewers).map(|_| admit(&listener)).collect::<anyhow::Result<Vec<_>>>()?;
    match backend {
        Backend::Uring => bare_uring::serve(&publisher, viewers, policy),
        Backend::Epoll => bare_epoll::serve(publisher, viewers, policy, false),
        Backend::Sendfile => bare_epoll::serve(publisher, viewers, policy, true),
        Backend::Monoio => on_monoio::serve(publisher, viewers, policy),
        Backend::Glommio => on_glommio::serve(publisher, viewers, policy),
        Backend::Tokio => on_tokio::serve(publisher, viewers, policy),
    }
}

fn admit(listener: &TcpListener) -> anyhow::Result<TcpStream> {
    let (mut viewer, _) = listener.accept()?;
    viewer.set_nodelay(true)?;
    socket2::SockRef::from(&viewer).set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES)?;
    let mut request = [0; 1024];
    let mut length = 0;
    while !request[..length].ends_with(b"\r\n\r\n") {
        match viewer.read(&mut request[length..])? {
            0 => bail!("a viewer's request is cut short or too long"),
            count => length += count,
        }
    }
    viewer.write_all(RESPONSE_HEAD)?;
    Ok(viewer)
}
