//! The baseline on glommio.
use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::{FromRawFd as _, IntoRawFd as _};
use std::rc::Rc;
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
use glommio::net::TcpStream;
use glommio::{LocalExecutorBuilder, Placement, spawn_local};
use millstream_hub::config::FlushPolicy;

use super::tasks::{Channel, In, Out};

struct Socket(TcpStream);

impl Out for Socket {
    async fn send(&mut self, bytes: Bytes) -> io::Result<usize> {
        self.0.write(&bytes).await
    }
}

impl In for Socket {
    async fn recv(&mut self, mut buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        buf.resize(buf.capacity(), 0);
        let result = self.0.read(&mut buf).await;
        buf.truncate(*result.as_ref().unwrap_or(&0));
        (result, buf)
    }
}

#[allow(unsafe_code)]
fn stream(socket: StdStream) -> Socket {
    // SAFETY: the descriptor is of a TCP socket, and its owner gives it up.
    Socket(unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) })
}

pub(super) fn serve(publisher: StdStream, viewers: Vec<StdStream>, policy: FlushPolicy) -> anyhow::Result<()> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make().map_err(|error| anyhow!("{error}"))?;
    executor.run(async {
        let channel = Channel::new(policy);
        for viewer in viewers {
            let (viewer, channel) = (stream(viewer), Rc::clone(&channel));
            spawn_local(async move { channel.view(viewer).await }).detach();
        }
        let tended = Rc::clone(&channel);
        spawn_local(async move { tended.tend(async |wait: Duration| glommio::timer::sleep(wait).await).await })
            .detach();
        channel.publish(stream(publisher)).await;
    });
    Ok(())
}
