//! A peer that asks for other keys while the socket is full: nothing goes out before them, over HTTP/1.1 as over HTTP/2. The kernel is made up: its keys
//! are taken and nothing is encrypted, so that the peer sees in which order things go out. Before it: the sessions of [`super`].
use std::cell::Cell;
use std::io::{IoSlice, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_tls::{Cipher, KEY_UPDATE_MESSAGE, KernelTls, Purpose, Version};
use rustls::ClientConnection;

use super::super::super::http2::Http2;
use super::super::super::runtime::{Driver, run, sleep, spawn};
use super::super::super::socket::{Reader, Socket};
use super::super::{SEND_BYTES_MAX, Tls};
use super::{client_of, server, shake};
use crate::shard::wait::{Either, select};

/// What the socket is filled up with: no byte of a frame's beginning, of an answer's or of a key update's.
const FILLS: u8 = 0xee;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
/// A connection's preface, its settings, and a request for "/" (RFC 9113, 3.4; RFC 7541, A).
const REQUEST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x0e\x01\x05\0\0\0\x01\x82\x87\x84\x41\x09a.example";

/// A connection whose records the made-up kernel makes, and its peer.
struct Setup {
    tls: Rc<Tls>,
    /// What is read of the connection; `None`: that is the sender's own reader.
    reader: Option<Reader>,
    /// The connection, or a stream of it that is to be answered.
    sender: Socket,
    /// Keeps the connection of the stream.
    http2: Option<Rc<Http2>>,
    client: ClientConnection,
    peer: UnixStream,
}

async fn setup(is_http2: bool) -> Setup {
    let (server, root) = server();
    let ciphers = [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Chacha20Poly1305];
    let kernel = KernelTls::new(ciphers.map(|cipher| (Version::Tls13, cipher)).to_vec(), true);
    let server = server.with_kernel(Some(Arc::new(kernel))).unwrap();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let client = std::thread::spawn(move || {
        let mut client = client_of(root, if is_http2 { &b"h2"[..] } else { b"http/1.1" });
        let mut got = vec![0; SEND_BYTES_MAX];
        rustls::Stream::new(&mut client, &mut peer).read_exact(&mut got).unwrap();
        (client, peer)
    });
    let purpose = if is_http2 { Purpose::Viewers } else { Purpose::Web };
    let socket = shake(Socket::from_fd(OwnedFd::from(ours)).unwrap(), &server, purpose).await;
    let tls = Rc::clone(socket.writer.tls().unwrap());
    // Much is sent, and then the kernel has it.
    tls.encrypt(std::iter::once(&*vec![0; SEND_BYTES_MAX]), SEND_BYTES_MAX).unwrap();
    while !tls.flush(|records| socket.writer.offer(records)) {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(tls.may_go_to_kernel());
    tls.give_keys(|_| Ok(())).unwrap();
    let (client, peer) = client.join().unwrap();
    let mut setup = Setup { tls, reader: None, sender: socket, http2: None, client, peer };
    if is_http2 {
        setup.open_stream();
    }
    setup
}

impl Setup {
    fn open_stream(&mut self) {
        self.client.writer().write_all(REQUEST).unwrap();
        self.client.write_tls(&mut self.peer).unwrap();
        let (placeholder, _) = Socket::pair().unwrap();
        let socket = std::mem::replace(&mut self.sender, placeholder);
        let Ok((reader, http2)) = socket.into_http2(spawn) else { panic!("it was agreed on") };
        let mut said = vec![0; 1_024];
        let count = reader.recv_now(&mut said).unwrap().unwrap();
        assert_eq!(http2.receive(&said[..count]).unwrap(), REQUEST.len());
        let request = http2.next_request().unwrap();
        self.sender = http2.open(request.stream, false);
        http2.say();
        (self.reader, self.http2) = (Some(reader), Some(http2));
    }

    /// Until the socket takes nothing more.
    fn fill(&self) {
        for bytes in [&[FILLS; 4_096][..], &[FILLS]] {
            while self.sender.writer.offer(bytes) > 0 {}
        }
    }

    /// The peer asks, and that is read.
    fn ask_for_keys(&mut self) {
        self.client.refresh_traffic_keys().unwrap();
        self.client.write_tls(&mut self.peer).unwrap();
        let reader = self.reader.as_ref().unwrap_or(&self.sender.reader);
        assert_eq!(reader.recv_now(&mut [0; 16]).unwrap(), None);
        assert!(self.tls.wants_keys(), "there was no room to say so");
    }

    /// Answers, with the peer reading from now on: what came of it, and what the peer got behind the filling.
    async fn answer(self, answer: Option<&'static [u8]>) -> (std::io::Result<()>, Vec<u8>) {
        let Self { reader, sender: Socket { reader: own, mut writer }, http2, mut peer, .. } = self;
        let answered = Rc::new(Cell::new(None));
        let of_task = Rc::clone(&answered);
        spawn(async move {
            let result = match answer {
                Some(answer) => writer.send_all(Bytes::from_static(answer)).await,
                None => writer.flush().await,
            };
            of_task.set(Some(result));
        });
        // It waits, and does not hold up the others.
        sleep(Duration::from_millis(5)).await;
        assert!(answered.take().is_none(), "nothing could be sent yet");
        peer.set_nonblocking(true).unwrap();
        let (mut got, mut result) = (Vec::new(), None);
        let reads = async {
            loop {
                sleep(Duration::from_millis(1)).await;
                // Until nothing is there, or it has ended.
                let _ = peer.read_to_end(&mut got);
                result = result.take().or_else(|| answered.take());
                if result.is_some() {
                    break;
                }
            }
        };
        let Either::A(()) = select(reads, sleep(Duration::from_secs(10))).await else { panic!("it does not go on") };
        drop((reader, own, http2));
        let filled = got.iter().rposition(|byte| *byte == FILLS).unwrap() + 1;
        (result.unwrap(), got.split_off(filled))
    }
}

/// Whether that is all of the answer, with nothing before it.
fn is_answer(is_http2: bool, got: &[u8]) -> bool {
    // A frame of headers begins with its length, type and flags.
    if is_http2 { got[3] == 1 && got.ends_with(b"\0\0\x04\0\x01\0\0\0\x01body") } else { got == ANSWER }
}

#[test]
fn nothing_goes_out_before_the_keys_that_a_peer_has_asked_for() {
    for driver in [Driver::Uring, Driver::Epoll] {
        for (is_http2, is_queued) in [(false, false), (true, false), (true, true)] {
            let begun = || async {
                let mut setup = setup(is_http2).await;
                setup.fill();
                if is_queued {
                    // Frames of it are made, and wait for room.
                    let sent = setup.sender.writer.send_now(&[IoSlice::new(ANSWER)]);
                    assert_eq!(sent, ANSWER.len());
                    assert!(!setup.tls.is_sent());
                }
                setup.ask_for_keys();
                assert!(!setup.sender.writer.is_free(), "a batch may not send either");
                assert_eq!(setup.sender.writer.send_now(&[IoSlice::new(ANSWER)]), 0);
                (setup, (!is_queued).then_some(ANSWER))
            };
            let what = format!("{driver:?}, HTTP/2: {is_http2}, queued: {is_queued}");
            // The socket here takes what is said of the keys, and no keys: that ends the connection.
            let main = async {
                let (setup, rest) = begun().await;
                setup.answer(rest).await
            };
            let (result, got) = run(driver, main).unwrap();
            assert!(result.is_err(), "{what}");
            assert_eq!(got, KEY_UPDATE_MESSAGE, "{what}");
            // Where it has them all goes on.
            let main = async {
                let (setup, rest) = begun().await;
                setup.tls.next_keys(|| Ok(true)).unwrap();
                setup.answer(rest).await
            };
            let (result, got) = run(driver, main).unwrap();
            result.unwrap();
            assert!(is_answer(is_http2, &got), "{what}: {got:?}");
        }
    }
}

#[test]
fn nobody_waits_for_the_keys_of_a_peer_that_has_gone() {
    for driver in [Driver::Uring, Driver::Epoll] {
        for is_http2 in [false, true] {
            let main = async {
                let mut setup = setup(is_http2).await;
                setup.fill();
                setup.ask_for_keys();
                let Setup { mut sender, peer, reader: _reader, http2: _http2, .. } = setup;
                drop(peer);
                let sending = sender.writer.send_all(Bytes::from_static(ANSWER));
                let Either::A(sent) = select(sending, sleep(Duration::from_secs(10))).await else {
                    panic!("it waits for them");
                };
                assert!(sent.is_err(), "{driver:?}, HTTP/2: {is_http2}");
            };
            run(driver, main).unwrap();
        }
    }
}
