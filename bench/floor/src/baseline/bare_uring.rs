//! The raw ring: one issuer, completions taken in the loop itself, one send per viewer under way.
#![allow(unsafe_code)]
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use millstream_hub::config::FlushPolicy;

use super::feed::{Cursor, Feed, READ_BYTES};

/// HOT_PATH, rule 7.
const ENTRIES: u32 = 1024;
const COMPLETIONS: u32 = 32 << 10;
const PUBLISHER: u64 = u64::MAX;
/// Nothing is due: the publisher's next frame comes long before.
const LONG: Duration = Duration::from_secs(1);

struct Viewer {
    socket: TcpStream,
    cursor: Cursor,
    /// What the kernel has.
    sending: Option<Bytes>,
}

pub(super) fn serve(publisher: &TcpStream, viewers: Vec<TcpStream>, policy: FlushPolicy) -> anyhow::Result<()> {
    let mut ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_cqsize(COMPLETIONS)
        .build(ENTRIES)
        .context("io_uring is not available")?;
    let mut feed = Feed::new(policy);
    let mut viewers: Vec<_> =
        viewers.into_iter().map(|socket| Viewer { socket, cursor: Cursor::default(), sending: None }).collect();
    let mut buf = vec![0; READ_BYTES];
    let mut done = Vec::new();
    let receive = |buf: &mut [u8]| {
        opcode::Recv::new(Fd(publisher.as_raw_fd()), buf.as_mut_ptr(), READ_BYTES as u32).build().user_data(PUBLISHER)
    };
    push(&mut ring, &receive(&mut buf))?;
    loop {
        let wait = Timespec::from(feed.wait().unwrap_or(LONG));
        match ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&wait)) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(62 | 4 | 16)) => {} // ETIME, EINTR, EBUSY
            Err(error) => return Err(error.into()),
        }
        done.clear();
        done.extend(ring.completion().map(|entry| (entry.user_data(), entry.result())));
        let mut flush = feed.tick();
        for &(index, result) in &done {
            if index == PUBLISHER {
                if result <= 0 {
                    return Ok(());
                }
                flush |= feed.read(&buf[..result as usize]);
                push(&mut ring, &receive(&mut buf))?;
                continue;
            }
            let viewer = &mut viewers[index as usize];
            let Some(sent) = viewer.sending.take() else { bail!("a completion of no send") };
            if result <= 0 {
                bail!("a viewer has gone: {result}");
            }
            viewer.cursor.sent(result as usize, sent.len());
            send(&mut ring, &feed, viewer, index)?;
        }
        if flush {
            for (index, viewer) in viewers.iter_mut().enumerate().filter(|(_, viewer)| viewer.sending.is_none()) {
                send(&mut ring, &feed, viewer, index as u64)?;
            }
        }
    }
}

fn send(ring: &mut IoUring, feed: &Feed, viewer: &mut Viewer, index: u64) -> anyhow::Result<()> {
    if let Some(bytes) = viewer.cursor.fill(feed) {
        let fd = Fd(viewer.socket.as_raw_fd());
        let entry = opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32).build().user_data(index);
        viewer.sending = Some(bytes);
        push(ring, &entry)?;
    }
    Ok(())
}

fn push(ring: &mut IoUring, entry: &squeue::Entry) -> anyhow::Result<()> {
    // SAFETY: what the entry points to stays where it is until its completion: a viewer's bytes are held in `sending`, the read
    // buffer lives as long as the ring and is looked at only while no read is under way.
    while unsafe { ring.submission().push(entry) }.is_err() {
        ring.submit()?;
    }
    Ok(())
}
