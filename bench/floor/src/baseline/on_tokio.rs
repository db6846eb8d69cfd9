//! The baseline on tokio's current-thread runtime.
use std::io;
use std::net::TcpStream as StdStream;
use std::rc::Rc;

use bytes::Bytes;
use millstream_hub::config::FlushPolicy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

use super::tasks::{Channel, In, Out};

impl Out for TcpStream {
    async fn send(&mut self, bytes: Bytes) -> io::Result<usize> {
        self.write(&bytes).await
    }
}

impl In for TcpStream {
    async fn recv(&mut self, mut buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        (self.read_buf(&mut buf).await, buf)
    }
}

fn stream(socket: StdStream) -> io::Result<TcpStream> {
    socket.set_nonblocking(true)?;
    TcpStream::from_std(socket)
}

pub(super) fn serve(publisher: StdStream, viewers: Vec<StdStream>, policy: FlushPolicy) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let channel = Channel::new(policy);
        for viewer in viewers {
            let (viewer, channel) = (stream(viewer)?, Rc::clone(&channel));
            spawn_local(async move { channel.view(viewer).await });
        }
        let tended = Rc::clone(&channel);
        spawn_local(async move { tended.tend(tokio::time::sleep).await });
        channel.publish(stream(publisher)?).await;
        Ok(())
    })
}
