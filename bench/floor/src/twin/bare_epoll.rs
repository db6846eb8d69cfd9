//! The bare epoll loop: writes at once, and waits for room only where there was none.
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::bail;
use millstream_hub::config::FlushPolicy;
use rustix::event::epoll;

use super::READ_BYTES;
use super::feed::{Cursor, Feed};

const PUBLISHER: u64 = u64::MAX;
const EVENTS: usize = 1024;
/// Nothing is due: the publisher's next frame comes long before.
const LONG: Duration = Duration::from_secs(1);

struct Viewer {
    socket: TcpStream,
    cursor: Cursor,
    /// Its kernel buffer is full.
    waits: bool,
}

pub(super) fn serve(mut publisher: TcpStream, viewers: Vec<TcpStream>, policy: FlushPolicy) -> anyhow::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    publisher.set_nonblocking(true)?;
    epoll::add(&poll, &publisher, epoll::EventData::new_u64(PUBLISHER), epoll::EventFlags::IN)?;
    let mut feed = Feed::new(policy);
    let mut sockets = Vec::new();
    for (index, socket) in viewers.into_iter().enumerate() {
        socket.set_nonblocking(true)?;
        epoll::add(&poll, &socket, epoll::EventData::new_u64(index as u64), epoll::EventFlags::empty())?;
        sockets.push(Viewer { socket, cursor: Cursor::default(), waits: false });
    }
    let mut buf = vec![0; READ_BYTES];
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        let wait = feed.wait().unwrap_or(LONG).try_into()?;
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut flush = feed.tick();
        for event in &events {
            let index = event.data.u64();
            if index != PUBLISHER {
                let viewer = &mut sockets[index as usize];
                send(&poll, &feed, viewer, index)?;
                continue;
            }
            match publisher.read(&mut buf) {
                Ok(0) => return Ok(()),
                Ok(count) => flush |= feed.read(&buf[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Ok(()),
            }
        }
        if flush {
            for (index, viewer) in sockets.iter_mut().enumerate().filter(|(_, viewer)| !viewer.waits) {
                send(&poll, &feed, viewer, index as u64)?;
            }
        }
    }
}

fn send(poll: &std::os::fd::OwnedFd, feed: &Feed, viewer: &mut Viewer, index: u64) -> anyhow::Result<()> {
    let mut waits = false;
    while let Some(bytes) = viewer.cursor.fill(feed) {
        match viewer.socket.write(&bytes) {
            Ok(0) => bail!("a viewer has gone"),
            Ok(count) => viewer.cursor.sent(count, bytes.len()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                waits = true;
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if waits != viewer.waits {
        viewer.waits = waits;
        let flags = if waits { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
        epoll::modify(poll, &viewer.socket, epoll::EventData::new_u64(index), flags)?;
    }
    Ok(())
}
