//! The bare epoll loop: writes at once, and waits for room only where there was none. With `sendfile`, the newest block is also a file in
//! memory whose pages the sockets refer to.
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::bail;
use millstream_hub::config::FlushPolicy;
use rustix::event::epoll;

use super::feed::{Cursor, Feed, READ_BYTES};

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

pub(super) fn serve(
    mut publisher: TcpStream,
    viewers: Vec<TcpStream>,
    policy: FlushPolicy,
    sendfile: bool,
) -> anyhow::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    publisher.set_nonblocking(true)?;
    epoll::add(&poll, &publisher, epoll::EventData::new_u64(PUBLISHER), epoll::EventFlags::IN)?;
    let mut feed = Feed::new(policy);
    let mut sockets = Vec::new();
    let mut newest = None;
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
                send(&poll, &feed, newest.as_ref(), viewer, index)?;
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
            newest = if sendfile { feed.newest().map(Newest::new).transpose()? } else { None };
            for (index, viewer) in sockets.iter_mut().enumerate().filter(|(_, viewer)| !viewer.waits) {
                send(&poll, &feed, newest.as_ref(), viewer, index as u64)?;
            }
        }
    }
}

/// The newest block as a file. Never written again: sockets refer to its pages until their peers have acknowledged them.
struct Newest {
    seq: u64,
    file: File,
}

impl Newest {
    fn new((seq, bytes): (u64, &[u8])) -> io::Result<Self> {
        let mut file = File::from(rustix::fs::memfd_create(c"block", rustix::fs::MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        Ok(Self { seq, file })
    }
}

fn send(
    poll: &std::os::fd::OwnedFd,
    feed: &Feed,
    newest: Option<&Newest>,
    viewer: &mut Viewer,
    index: u64,
) -> anyhow::Result<()> {
    let mut waits = false;
    while let Some(bytes) = viewer.cursor.fill(feed) {
        let result = match newest.filter(|newest| newest.seq == viewer.cursor.next) {
            Some(Newest { file, .. }) => {
                let mut from = viewer.cursor.offset as u64;
                rustix::fs::sendfile(&viewer.socket, file, Some(&mut from), bytes.len()).map_err(io::Error::from)
            }
            None => viewer.socket.write(&bytes),
        };
        match result {
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
