//! The baseline on monoio, the product's runtime, with its default ring.
use std::io;
use std::net::TcpStream as StdStream;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_hub::config::FlushPolicy;
use monoio::io::{AsyncReadRent as _, AsyncWriteRent as _};
use monoio::net::TcpStream;
use monoio::{IoUringDriver, RuntimeBuilder};

use super::tasks::{Channel, In, Out};

/// HOT_PATH, rule 7.
const ENTRIES: u32 = 1024;

impl Out for TcpStream {
    async fn send(&mut self, bytes: Bytes) -> io::Result<usize> {
        self.write(bytes).await.0
    }
}

impl In for TcpStream {
    async fn recv(&mut self, buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        self.read(buf).await
    }
}

pub(super) fn serve(publisher: StdStream, viewers: Vec<StdStream>, policy: FlushPolicy) -> anyhow::Result<()> {
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new().with_entries(ENTRIES).enable_timer().build()?;
    runtime.block_on(async {
        let channel = Channel::new(policy);
        for viewer in viewers {
            let (viewer, channel) = (TcpStream::from_std(viewer)?, Rc::clone(&channel));
            drop(monoio::spawn(async move { channel.view(viewer).await }));
        }
        let tended = Rc::clone(&channel);
        drop(monoio::spawn(async move { tended.tend(async |wait: Duration| monoio::time::sleep(wait).await).await }));
        channel.publish(TcpStream::from_std(publisher)?).await;
        Ok(())
    })
}
