//! A link of so many bytes a second: an uplink that becomes too slow for its encoder, and viewers whose networks are slow.
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{millis, seconds};

/// No limit.
pub const OPEN: u64 = u64::MAX;
/// Bytes that are passed on at once.
const PIECE_BYTES: usize = 4 << 10;

/// A rate that can be changed while bytes pass.
#[derive(Clone, Debug)]
struct Rate(Arc<AtomicU64>);

impl Rate {
    /// Waits as long as so many bytes take.
    fn passes(&self, bytes: usize, began: Instant) {
        let rate = self.0.load(Ordering::Relaxed);
        if rate != OPEN {
            let takes = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            std::thread::sleep(takes.saturating_sub(began.elapsed()));
        }
    }
}

/// An uplink: what a client sends passes at a rate, and answers pass freely.
#[derive(Debug)]
pub struct Uplink {
    pub address: SocketAddr,
    rate: Rate,
}

impl Uplink {
    /// To a server, without a limit at first.
    pub fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let rate = Rate(Arc::new(AtomicU64::new(OPEN)));
        let of_all = rate.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(to) else { return };
                let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
                let rate = of_all.clone();
                std::thread::spawn(move || carry(client, server, &rate));
                std::thread::spawn(move || carry(server_too, client_too, &Rate(Arc::new(AtomicU64::new(OPEN)))));
            }
        });
        Self { address, rate }
    }

    /// From now on so many bytes pass each second.
    pub fn limit(&self, bytes_per_second: u64) {
        self.rate.0.store(bytes_per_second, Ordering::Relaxed);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, rate: &Rate) {
    let _ = to.set_nodelay(true);
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let began = Instant::now();
        let read = from.read(&mut buffer).unwrap_or(0);
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
        rate.passes(read, began);
    }
}

/// A viewer that takes so many bytes a second of an answer, with little room for more. Dropping it ends it.
#[derive(Debug)]
pub struct SlowViewer {
    stop: Arc<AtomicBool>,
}

impl SlowViewer {
    pub fn start(server: SocketAddr, path: &str, bytes_per_second: u64) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        // Before it connects: the window is agreed on then.
        socket.set_recv_buffer_size(8 << 10).expect("a small window");
        socket.connect(&server.into()).expect("connected");
        let mut stream = TcpStream::from(socket);
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).expect("asked");
        stream.set_read_timeout(Some(millis(200))).expect("a timeout");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, rate) = (Arc::clone(&stop), Rate(Arc::new(AtomicU64::new(bytes_per_second))));
        std::thread::spawn(move || {
            let mut buffer = vec![0; PIECE_BYTES];
            let end = Instant::now() + seconds(600);
            while !stopped.load(Ordering::Relaxed) && Instant::now() < end {
                let began = Instant::now();
                match stream.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(read) => rate.passes(read, began),
                    // Nothing came for a moment.
                    Err(_) => {}
                }
            }
        });
        Self { stop }
    }
}

impl Drop for SlowViewer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
