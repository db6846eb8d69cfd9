//! A receiver of webhooks on a thread: what it was told, and when.
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

#[derive(Debug)]
pub struct Delivery {
    pub event: Value,
    pub at: Instant,
}

/// A server that takes every delivery.
#[derive(Debug)]
pub struct WebhookReceiver {
    pub address: SocketAddr,
    deliveries: Receiver<Delivery>,
}

impl WebhookReceiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let (sender, deliveries) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let (mut length, mut line) = (0, String::new());
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                let whole = reader.read_exact(&mut body);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let told = reader.get_mut().write_all(answer);
                if let (Ok(()), Ok(()), Ok(event)) = (whole, told, serde_json::from_slice(&body))
                    && sender.send(Delivery { event, at: Instant::now() }).is_err()
                {
                    return;
                }
            }
        });
        Self { address, deliveries }
    }

    /// The next delivery, if one comes in this time.
    pub fn next(&self, within: Duration) -> Option<Delivery> {
        self.deliveries.recv_timeout(within).ok()
    }
}
