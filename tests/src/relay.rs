//! A network with a delay: a relay that gives on what it gets later, in both directions, each connection from an address of its own.
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::raw::connect_from;

#[derive(Debug)]
pub struct Relay {
    pub address: SocketAddr,
}

/// Gives on what is read, `delay` later, until the end.
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        for (due, bytes) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if bytes.is_empty() || to.write_all(&bytes).is_err() {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    });
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        if sender.send((Instant::now() + delay, buffer[..read].to_vec())).is_err() || read == 0 {
            return;
        }
    }
}

impl Relay {
    /// To a server; the `n`-th connection comes from 127.0.`net`.`n`, and a round trip takes twice `delay`.
    pub fn start(to: SocketAddr, net: u8, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for (n, client) in (1..=u8::MAX).zip(listener.incoming().map_while(Result::ok)) {
                std::thread::spawn(move || {
                    // The handshake of TCP takes a round trip, too.
                    std::thread::sleep(delay * 2);
                    let from: IpAddr = Ipv4Addr::new(127, 0, net, n).into();
                    let Ok(server) = connect_from(from, to) else { return };
                    for socket in [&client, &server] {
                        let _ = socket.set_nodelay(true);
                    }
                    let halves = client.try_clone().and_then(|client| Ok((client, server.try_clone()?)));
                    if let Ok((client_too, server_too)) = halves {
                        std::thread::spawn(move || carry(server_too, client_too, delay));
                        carry(client, server, delay);
                    }
                });
            }
        });
        Self { address }
    }
}
