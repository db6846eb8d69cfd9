//! An RTMP client that says exactly what a test wants, byte by byte: for what no library would send.
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::{millis, seconds};

/// Connects from a given address of this machine: limits per address then see many peers.
pub fn connect_from(from: IpAddr, to: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    // A flood takes more ports than are free to be reused at once.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), seconds(5))?;
    Ok(socket.into())
}

/// One chunk that holds a whole message: a header of type 0, and the payload.
pub fn message(csid: u8, kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short message").to_be_bytes();
    [&[csid, 0, 0, 0, length[1], length[2], length[3], kind, stream, 0, 0, 0], payload].concat()
}

/// AMF0: a string.
pub fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short string").to_be_bytes();
    [&[2], &length[..], text.as_bytes()].concat()
}

/// AMF0: a number.
pub fn number(number: f64) -> Vec<u8> {
    [&[0][..], &number.to_be_bytes()].concat()
}

/// A command message of parts that are AMF0 already.
pub fn command(name: &str, transaction: f64, parts: &[&[u8]]) -> Vec<u8> {
    let payload = [&text(name)[..], &number(transaction), &parts.concat()].concat();
    message(3, 20, 0, &payload)
}

/// Sets the size of the chunks that follow.
pub fn chunk_size(bytes: u32) -> Vec<u8> {
    message(2, 1, 0, &bytes.to_be_bytes())
}

/// AMF0's null.
pub const NULL: &[u8] = &[5];

/// A connection behind its handshake.
#[derive(Debug)]
pub struct Raw {
    pub stream: TcpStream,
}

impl Raw {
    /// Connects and shakes hands.
    pub fn open(mut stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(seconds(5)))?;
        stream.set_write_timeout(Some(seconds(10)))?;
        let mut hello = vec![0; 1537];
        hello[0] = 3;
        stream.write_all(&hello)?;
        let mut answer = vec![0; 1 + 2 * 1536];
        stream.read_exact(&mut answer)?;
        stream.write_all(&answer[1..1537])?;
        Ok(Self { stream })
    }

    /// Says `connect`, with chunks large enough for all that a test says.
    pub fn connect(&mut self) -> Result<()> {
        let object = [&[3, 0, 3][..], b"app", &text("stream"), &[0, 0, 9]].concat();
        self.stream.write_all(&[chunk_size(60_000), command("connect", 1.0, &[&object])].concat())?;
        self.until(b"NetConnection.Connect.Success")
    }

    /// Plays on a message stream; gives the bytes that the first answers and media came in.
    pub fn play_on(&mut self, stream: u8, id: &str) -> Result<Vec<u8>> {
        let mut play = command("play", 3.0, &[NULL, &text(id)]);
        play[8] = stream;
        self.stream.write_all(&[command("createStream", 2.0, &[NULL]), play].concat())?;
        self.until(b"NetStream.Play.Start")?;
        let mut media = vec![0; 50_000];
        self.stream.read_exact(&mut media)?;
        Ok(media)
    }

    pub fn publish(&mut self, id: &str) -> Result<()> {
        let mut publish = command("publish", 3.0, &[NULL, &text(id), &text("live")]);
        publish[8] = 1;
        self.stream.write_all(&[command("createStream", 2.0, &[NULL]), publish].concat())?;
        self.until(b"NetStream.Publish.Start")
    }

    fn until(&mut self, wanted: &[u8]) -> Result<()> {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        while !all.windows(wanted.len()).any(|window| window == wanted) {
            let n = self.stream.read(&mut buffer).context("waiting for an answer")?;
            ensure!(n > 0, "closed instead of {}", String::from_utf8_lossy(wanted));
            all.extend_from_slice(&buffer[..n]);
        }
        Ok(())
    }

    /// Says all of it, while what the server says is thrown away. True: the server has closed, which is an answer.
    pub fn say(&mut self, bytes: &[u8]) -> bool {
        let mut reader = self.stream.try_clone().expect("a descriptor");
        let listening = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            reader.set_read_timeout(Some(millis(150))).expect("a timeout");
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => return true,
                    Ok(_) => {}
                    Err(error) => return !matches!(error.kind(), std::io::ErrorKind::WouldBlock),
                }
            }
        });
        let closed = self.stream.write_all(bytes).is_err();
        listening.join().expect("no panic") || closed
    }
}
