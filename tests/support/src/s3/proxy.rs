//! A proxy for HTTP/1.1 that does to a request what a script says. Before it: a client under test; after it: a server that works.
//!
//! One request per connection, so that a fault meets one request and no other.
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A request, as the script sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Without its question mark; empty where there is none.
    pub query: String,
    /// Header lines, names in small letters.
    pub headers: Vec<(String, String)>,
    /// Bytes of its body.
    pub bytes: u64,
    /// How many requests came before it.
    pub number: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// An answer of the proxy's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Whether the request's body is read first, or the answer comes in the middle of it.
    pub read_first: bool,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), read_first: true }
    }

    /// An error as S3 words it.
    pub fn error(status: u16, code: &str) -> Self {
        Self::new(
            status,
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>scripted {code}</Message></Error>"),
        )
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Before the request's body was read.
    #[must_use]
    pub fn early(mut self) -> Self {
        self.read_first = false;
        self
    }
}

/// What becomes of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The server is not asked; this is the answer.
    Reply(Reply),
    /// The request is read, and nothing comes.
    Hang,
    /// So many bytes of the body are read, and then nothing more.
    StallRequest(u64),
    /// The connection is closed before the body is read.
    Reset,
    /// The server gets so many bytes of the body, and then both connections are closed.
    CutRequest(u64),
    /// The server gets another byte in this place of the body.
    FlipRequest(u64),
    /// The server gets the request and answers; the client never sees that.
    LoseAnswer,
    /// The client gets so many bytes of the answer's body, and the connection is closed.
    CutAnswer(u64),
    /// The client gets so many bytes of the answer's body, and then nothing more.
    StallAnswer(u64),
    /// The client gets another byte in this place of the answer's body.
    FlipAnswer(u64),
    /// The answer has this header instead of the server's own.
    Header(&'static str, String),
}

type Script = Box<dyn FnMut(&Request) -> Option<Fault> + Send>;

struct Shared {
    upstream: SocketAddr,
    over: AtomicBool,
    script: Mutex<Option<Script>>,
    requests: Mutex<Vec<Request>>,
}

/// The proxy; ends when dropped.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl FaultProxy {
    /// In front of this server, on a free port of loopback.
    pub fn start(upstream: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            over: AtomicBool::new(false),
            script: Mutex::default(),
            requests: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // An error is a connection that ended: so it is meant.
                std::thread::spawn(move || client.and_then(|client| serve(&shared, client)));
            }
        });
        Ok(Self { address, shared })
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks this about each request from now on.
    pub fn script(&self, script: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(script));
    }

    /// From now on all requests go through as they are.
    pub fn heal(&self) {
        *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(shared: &Shared, mut client: TcpStream) -> io::Result<()> {
    let (head, mut rest) = read_head(&mut client)?;
    let mut request = parse(&head).ok_or(io::ErrorKind::InvalidData)?;
    let fault = {
        let mut requests = shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        request.number = requests.len();
        requests.push(request.clone());
        drop(requests);
        let mut script = shared.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.as_mut().and_then(|script| script(&request))
    };
    if request.header("expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    match fault {
        Some(Fault::Reset) => return Ok(()),
        Some(Fault::Hang) => {
            drain(&mut client, request.bytes.saturating_sub(rest.len() as u64))?;
            return hold(shared, &client);
        }
        Some(Fault::StallRequest(bytes)) => {
            drain(&mut client, bytes.saturating_sub(rest.len() as u64))?;
            return hold(shared, &client);
        }
        Some(Fault::Reply(reply)) => {
            if reply.read_first {
                drain(&mut client, request.bytes.saturating_sub(rest.len() as u64))?;
            }
            return answer(&mut client, &request, &reply);
        }
        _ => {}
    }
    let mut server = TcpStream::connect(shared.upstream)?;
    server.write_all(head_for_server(&head).as_bytes())?;
    let mut left = request.bytes;
    let mut sent = 0;
    while left > 0 {
        let mut chunk = if rest.is_empty() {
            let mut buffer = vec![0; 64 * 1024];
            let max = left.min(64 * 1024) as usize;
            let read = client.read(&mut buffer[..max])?;
            buffer.truncate(read);
            buffer
        } else {
            std::mem::take(&mut rest)
        };
        if chunk.is_empty() {
            return Ok(());
        }
        flip(
            &mut chunk,
            sent,
            match fault {
                Some(Fault::FlipRequest(at)) => Some(at),
                _ => None,
            },
        );
        if let Some(Fault::CutRequest(at)) = fault
            && sent + chunk.len() as u64 > at
        {
            chunk.truncate((at - sent) as usize);
            return server.write_all(&chunk);
        }
        server.write_all(&chunk)?;
        sent += chunk.len() as u64;
        left -= chunk.len() as u64;
    }
    pass_answer(shared, &mut server, &mut client, fault.as_ref())
}

/// The server's answer on its way to the client.
fn pass_answer(
    shared: &Shared,
    server: &mut TcpStream,
    client: &mut TcpStream,
    fault: Option<&Fault>,
) -> io::Result<()> {
    let (head, mut chunk) = read_head(server)?;
    if fault == Some(&Fault::LoseAnswer) {
        return io::copy(server, &mut io::sink()).map(drop);
    }
    let header = match fault {
        Some(Fault::Header(name, value)) => Some((*name, value.as_str())),
        _ => None,
    };
    client.write_all(head_for_client(&head, header).as_bytes())?;
    let mut sent = 0;
    loop {
        if chunk.is_empty() {
            chunk = vec![0; 64 * 1024];
            let read = server.read(&mut chunk)?;
            chunk.truncate(read);
            if read == 0 {
                return client.shutdown(Shutdown::Write);
            }
        }
        flip(
            &mut chunk,
            sent,
            match fault {
                Some(Fault::FlipAnswer(at)) => Some(*at),
                _ => None,
            },
        );
        if let Some(&(Fault::CutAnswer(at) | Fault::StallAnswer(at))) = fault
            && sent + chunk.len() as u64 > at
        {
            client.write_all(&chunk[..(at - sent) as usize])?;
            return if matches!(fault, Some(Fault::StallAnswer(_))) { hold(shared, client) } else { Ok(()) };
        }
        client.write_all(&chunk)?;
        sent += chunk.len() as u64;
        chunk.clear();
    }
}

fn flip(chunk: &mut [u8], offset: u64, at: Option<u64>) {
    let within = at.and_then(|at| at.checked_sub(offset)).and_then(|at| chunk.get_mut(at as usize));
    if let Some(byte) = within {
        *byte = !*byte;
    }
}

/// Keeps the connection until the client or the test has had enough.
fn hold(shared: &Shared, client: &TcpStream) -> io::Result<()> {
    client.set_nonblocking(true)?;
    while !shared.over.load(Ordering::Relaxed) {
        // Looks, and leaves what waits there.
        if client.peek(&mut [0]).is_ok_and(|read| read == 0) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn drain(client: &mut TcpStream, bytes: u64) -> io::Result<()> {
    io::copy(&mut client.take(bytes), &mut io::sink()).map(drop)
}

/// The head up to its empty line, and what came with it of the body.
fn read_head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8 * 1024];
    loop {
        let read = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..read]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            let head = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
            return Ok((head, body));
        }
        if read == 0 || bytes.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn parse(head: &str) -> Option<Request> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let bytes = headers.iter().find(|(name, _)| name == "content-length").map_or(Some(0), |(_, v)| v.parse().ok())?;
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), headers, bytes, number: 0 })
}

/// One request per connection, whose body is not waited for.
fn head_for_server(head: &str) -> String {
    with_lines(head, &["connection", "expect"], &[("connection", "close")])
}

fn head_for_client(head: &str, header: Option<(&str, &str)>) -> String {
    let mut lines = vec![("connection", "close")];
    lines.extend(header);
    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    with_lines(head, &names, &lines)
}

fn with_lines(head: &str, without: &[&str], with: &[(&str, &str)]) -> String {
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let kept = head.split("\r\n").filter(|line| !line.is_empty() && !without.contains(&name(line).as_str()));
    let added = with.iter().map(|(name, value)| format!("{name}: {value}"));
    kept.map(str::to_owned).chain(added).map(|line| line + "\r\n").collect::<String>() + "\r\n"
}

fn answer(client: &mut TcpStream, request: &Request, reply: &Reply) -> io::Result<()> {
    let mut lines = vec![format!("HTTP/1.1 {} Scripted", reply.status), "connection: close".to_owned()];
    lines.extend(reply.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    if !reply.headers.iter().any(|(name, _)| name == "content-length") {
        lines.push(format!("content-length: {}", reply.body.len()));
    }
    let head = lines.join("\r\n") + "\r\n";
    client.write_all((head + "\r\n").as_bytes())?;
    if request.method != "HEAD" {
        client.write_all(reply.body.as_bytes())?;
    }
    client.shutdown(Shutdown::Write)?;
    // What is left unread would make a reset of it, which could overtake the answer.
    client.set_read_timeout(Some(Duration::from_millis(500)))?;
    io::copy(client, &mut io::sink()).map(drop)
}
