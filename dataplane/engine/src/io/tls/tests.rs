//! A TLS connection over real sockets, with a client of rustls on a thread: both directions at once, more than a socket takes, what waits holds no
//! memory, and the session goes on at another shard. Where the kernel may make the records it is asked, and all is the same, whether it does or not.
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bytes::Bytes;
use millstream_tls::{Certificates, Cipher, KernelTls, PemFile, Purpose, Records, ServerTls, Tickets, Version};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::super::runtime::{Driver, run};
use super::super::socket::Socket;

mod keys;

/// More than a socket takes at once.
const MANY_BYTES: usize = 3 << 20;

fn server() -> (ServerTls, CertificateDer<'static>) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let (chain, key) = (cert.pem(), signing_key.serialize_pem());
    let file = |text| PemFile { name: "test.pem", bytes: text };
    let certificates = Certificates::from_pem(&[file(chain.as_bytes())], &[file(key.as_bytes())]).unwrap();
    (ServerTls::new(certificates, &Tickets::new().unwrap(), true).unwrap(), cert.der().clone())
}

fn client(root: CertificateDer<'static>) -> ClientConnection {
    client_of(root, &[])
}

/// A client that offers this protocol.
fn client_of(root: CertificateDer<'static>, alpn: &[u8]) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = [alpn.to_vec()].into_iter().filter(|alpn| !alpn.is_empty()).collect();
    ClientConnection::new(Arc::new(config), ServerName::try_from("a.example").unwrap()).unwrap()
}

async fn shake(mut socket: Socket, server: &ServerTls, purpose: Purpose) -> Socket {
    let mut tls = server.session(purpose).unwrap();
    let mut plain = Vec::new();
    while tls.is_handshaking() {
        socket.reader.readable().await.unwrap();
        let (mut out, mut buf) = (Records::new(), vec![0; 4_096]);
        let count = socket.reader.recv_now(&mut buf).unwrap().unwrap_or(0);
        tls.receive(&mut buf[..count], &mut plain, &mut out).unwrap();
        socket.writer.send_all(Bytes::from(out.into_vec())).await.unwrap();
    }
    socket.secure(tls, plain)
}

trait Peer: std::io::Read + std::io::Write + Send + 'static {}
impl<T: std::io::Read + std::io::Write + Send + 'static> Peer for T {}

fn tcp() -> (OwnedFd, Box<dyn Peer>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let ours = listener.accept().unwrap().0;
    ours.set_nonblocking(true).unwrap();
    (OwnedFd::from(ours), Box::new(theirs))
}

fn unix() -> (OwnedFd, Box<dyn Peer>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (OwnedFd::from(ours), Box::new(theirs))
}

#[test]
fn both_directions_are_whole_and_what_waits_holds_no_memory() {
    for driver in [Driver::Uring, Driver::Epoll] {
        both_directions(driver, unix(), None);
        // A socket that takes no keys, and one of a kernel that may have it or not.
        let kernel = || {
            let ciphers = [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Chacha20Poly1305];
            Arc::new(KernelTls::new(ciphers.map(|cipher| (Version::Tls13, cipher)).to_vec(), true))
        };
        let refuses = kernel();
        both_directions(driver, unix(), Some(Arc::clone(&refuses)));
        assert_eq!((refuses.given(), refuses.refused()), (0, 1));
        let may = kernel();
        both_directions(driver, tcp(), Some(Arc::clone(&may)));
        assert_eq!((may.given() + may.refused(), may.sessions()), (1, 0));
    }
}

fn both_directions(driver: Driver, (ours, theirs): (OwnedFd, Box<dyn Peer>), kernel: Option<Arc<KernelTls>>) {
    let (server, root) = server();
    let server = server.with_kernel(kernel).unwrap();
    let peer = std::thread::spawn(move || {
        let mut tls = StreamOwned::new(client(root), theirs);
        tls.write_all(&vec![1; MANY_BYTES]).unwrap();
        tls.flush().unwrap();
        // Much waits for it until here.
        let mut got = vec![0; 2 * MANY_BYTES + 5];
        tls.read_exact(&mut got).unwrap();
        assert!(
            got[..MANY_BYTES].iter().all(|byte| *byte == 2)
                && got[MANY_BYTES..2 * MANY_BYTES].iter().all(|byte| *byte == 3)
        );
        assert_eq!(&got[2 * MANY_BYTES..], b"small");
        // Says nothing of its end.
        let mut rest = Vec::new();
        assert_eq!(tls.read_to_end(&mut rest).unwrap(), 0, "a clean end");
    });
    let main = async {
        let socket = shake(Socket::from_fd(ours).unwrap(), &server, Purpose::Media).await;
        assert!(socket.is_secure());
        // As another shard takes it.
        let mut socket = Socket::from_fd(socket.into_fd().unwrap()).unwrap();
        assert!(socket.is_secure());
        let (mut count, mut buf) = (0, Vec::with_capacity(64 << 10));
        while count < MANY_BYTES {
            buf.clear();
            let (result, back) = socket.reader.recv(buf).await;
            (count, buf) = (count + result.unwrap(), back);
            assert!(buf.iter().all(|byte| *byte == 1));
        }
        assert_eq!(count, MANY_BYTES);
        let mut left = MANY_BYTES;
        while left > 0 {
            // What it takes without waiting, and then a wait.
            left -= socket.writer.send_now(&[std::io::IoSlice::new(&vec![2; left])]);
            socket.writer.flush().await.unwrap();
        }
        let progress = std::cell::Cell::new(0);
        let pieces = vec![Bytes::from(vec![3; MANY_BYTES]), Bytes::from_static(b"small")];
        socket.writer.send_file(pieces, |count| progress.set(progress.get() + count)).await.unwrap();
        assert_eq!(progress.get(), MANY_BYTES + 5);
        assert!(socket.writer.tls().unwrap().is_idle(), "it holds no buffer");
        socket.writer.finish().await;
        let (result, _) = socket.reader.recv(Vec::with_capacity(10)).await;
        assert_eq!(result.unwrap(), 0);
    };
    run(driver, main).unwrap();
    peer.join().unwrap();
}
