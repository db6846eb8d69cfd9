//! The control API of a running server, as a script calls it: a token, a method, a path, JSON.

use std::io::Read as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::http::Connection;
use crate::seconds;
use crate::server::Server;

/// What the API answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// The `ETag`, or "".
    pub etag: String,
    /// The `Location`, or "".
    pub location: String,
    /// The body, `Null` where it is no JSON.
    pub json: Value,
}

impl Answer {
    /// A field that is text.
    pub fn text(&self, field: &str) -> &str {
        self.json[field].as_str().unwrap_or_else(|| panic!("no text {field} in {self:?}"))
    }

    /// Fails unless it has this status.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// A connection that was idle for as long may be closed by the time that a request is sent: control closes idle ones after ten seconds.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// A client with a token, on one connection for as long as the server says that it keeps it: not for longer than it may be idle.
#[derive(Debug)]
pub struct Client {
    address: std::net::SocketAddr,
    token: String,
    connection: Option<(Connection, Instant)>,
}

impl Client {
    /// With the admin's token of the server's data directory.
    pub fn admin(server: &Server) -> Self {
        let token = std::fs::read_to_string(server.data_dir().join("admin-token")).expect("made at the first start");
        Self::with(server.control, token.trim())
    }

    pub fn with(address: std::net::SocketAddr, token: &str) -> Self {
        Self { address, token: token.to_owned(), connection: None }
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// A request, with more header lines (each with its line end).
    pub fn try_request(&mut self, method: &str, path: &str, more: &str, body: Option<&Value>) -> Result<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{kind}Content-Length: {}\r\n{more}\r\n{body}",
            self.address,
            self.token,
            body.len()
        );
        let mut connection = match self.connection.take() {
            Some((connection, used)) if used.elapsed() < IDLE_MAX => connection,
            _ => Connection::open(self.address)?,
        };
        connection.send(request.as_bytes())?;
        let response = connection.response(false)?;
        if response.header("connection") != "close" {
            self.connection = Some((connection, Instant::now()));
        }
        let json = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
        let (etag, location) = (response.header("etag").to_owned(), response.header("location").to_owned());
        Ok(Answer { status: response.status, etag, location, json })
    }

    /// A request that is answered.
    pub fn request(&mut self, method: &str, path: &str, more: &str, body: Option<&Value>) -> Answer {
        self.try_request(method, path, more, body).unwrap_or_else(|error| panic!("{method} {path}: {error:#}"))
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, "", None)
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, "", Some(body))
    }

    /// Makes a stream; gives the value of `sign=` that it is pushed with.
    pub fn make_stream(&mut self, id: &str) -> String {
        self.post("/api/v1/streams", &json!({ "id": id })).is(201);
        self.sign_of(id)
    }

    /// The value of `sign=` that a stream is pushed with.
    pub fn sign_of(&mut self, id: &str) -> String {
        self.get(&format!("/api/v1/streams/{id}/key")).is(200).text("sign").to_owned()
    }

    /// Listens to the event stream, on a connection of its own.
    pub fn listen(&self) -> Events {
        let connection = self.open_events().expect("events");
        Events { connection, told: String::new() }
    }

    fn open_events(&self) -> Result<Connection> {
        let mut connection = Connection::open(self.address)?;
        connection.stream.set_read_timeout(Some(seconds(20)))?;
        let request =
            format!("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", self.token);
        connection.send(request.as_bytes())?;
        let head = connection.head()?;
        ensure!(head.status == 200, "{head:?}");
        Ok(connection)
    }
}

/// The event stream, and all that it has told.
#[derive(Debug)]
pub struct Events {
    connection: Connection,
    told: String,
}

impl Events {
    /// All that has been told so far.
    pub fn told(&self) -> &str {
        &self.told
    }

    /// Reads on until something is found in all that has been told.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, within: Duration, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + within;
        loop {
            if let Some(found) = look(&self.told) {
                return found;
            }
            assert!(Instant::now() < deadline, "not within {within:?}: {what}; told: {}", self.told);
            let mut bytes = [0; 8 << 10];
            let read = self.connection.stream.read(&mut bytes).expect("more events");
            assert!(read > 0, "the event stream is over: {}", self.told);
            self.told.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }

    /// The first event of this kind.
    #[track_caller]
    pub fn first(&mut self, kind: &str, within: Duration) -> Value {
        let head = format!("event: {kind}\n");
        self.until(kind, within, |told| {
            let (data, _) = told.split_once(&head)?.1.split_once('\n')?;
            Some(serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON"))
        })
    }
}
