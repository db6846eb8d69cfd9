//! A receiver of webhooks on a thread: what it was told, and when.
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

#[derive(Debug)]
pub struct Delivery {
    /// The head, in lower case.
    head: String,
    pub body: Vec<u8>,
    pub event: Value,
    pub at: Instant,
}

impl Delivery {
    /// The header of that name (in lower case).
    pub fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head)).trim()
    }
}

/// A server that is told of events.
#[derive(Debug)]
pub struct WebhookReceiver {
    pub address: SocketAddr,
    deliveries: Receiver<Delivery>,
}

impl WebhookReceiver {
    /// One that takes every delivery.
    pub fn start() -> Self {
        Self::refusing(0)
    }

    /// One that answers so many deliveries with an error before it takes any.
    pub fn refusing(first: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let (sender, deliveries) = channel();
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                let mut reader = BufReader::new(stream);
                let (mut head, mut line) = (String::new(), String::new());
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    head.push_str(&line.to_ascii_lowercase());
                    line.clear();
                }
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                let whole = reader.read_exact(&mut body);
                let status = if n < first { "503 Later" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let told = reader.get_mut().write_all(answer.as_bytes());
                if let (Ok(()), Ok(()), Ok(event)) = (whole, told, serde_json::from_slice(&body))
                    && sender.send(Delivery { head, body, event, at: Instant::now() }).is_err()
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
