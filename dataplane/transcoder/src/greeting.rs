//! How a worker of another machine and a node find that they are who they say: [`Greeting`]s, read and written with bounds. Before it: a connection; after it:
//! [`super::remote`] at the node, [`super::far`] at the worker.
//!
//! The node proves itself first, so a worker takes no order of anyone else; neither sends what it proves itself with. Proofs cover all greetings: what was changed on the
//! way is found. What follows them is protected by TLS alone.
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use millstream_fleet::limits::is_name;
use millstream_proto::secret::Secret;
use millstream_proto::sign::worker::{NONCE_BYTES, Turn, WorkerKey, nonce, proof};
use millstream_worker::protocol::{
    FrameError, GREETING_BYTES_MAX, Greeting, Hello, Message, PROTOCOL, Reader, WHY_CHARS_MAX, encode,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// All greetings of a connection take no longer.
pub(crate) const GREETING_WAIT: Duration = Duration::from_secs(10);
/// Who is refused takes the reason within this time, or is not told.
const REFUSE_WAIT: Duration = Duration::from_secs(1);
/// Ports that streams are read from and published to.
const PORTS_MOST: usize = 2;
/// A ticket that is good for longer was not made by a control.
const TICKET_MOST: Duration = Duration::from_hours(24);
/// Bytes of the length of a header, and of a payload.
const LENGTH_BYTES: usize = 4;
/// The release of this program.
pub(crate) const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// Why a worker of another machine is not taken, or does not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetingError {
    /// The connection failed.
    #[error("the connection broke before it was accepted: {0}")]
    Io(#[from] io::Error),
    /// What came is none of it.
    #[error("what came is no greeting of a worker: {0}")]
    Frame(#[from] FrameError),
    /// A message that is longer than one may be, or comes out of turn.
    #[error("what came is no greeting of a worker: it is too long, or not in its turn")]
    Turn,
    /// No answer in time.
    #[error("no answer came within {} s", GREETING_WAIT.as_secs())]
    Late,
    /// The two are too far apart.
    #[error(
        "the worker speaks version {worker} of the protocol and the node version {node}: run releases of both that belong together"
    )]
    Protocol {
        /// Of the worker.
        worker: u32,
        /// Of the node.
        node: u32,
    },
    /// It wants another node.
    #[error("the worker wants the node {0:?}, and this is another one: look at transcode.worker_url of both")]
    Node(String),
    /// A name or an address that cannot be one.
    #[error("the worker's name, its release, or the address that it came by, is none")]
    Name,
    /// The ticket is over, or was good for too long.
    #[error("the worker's ticket is over: look at the clocks of the node's machine and of control's")]
    Expired,
    /// One of the two has not the ticket.
    #[error(
        "{0} has not proved itself: look whether the node has the node-token of its control, and that nothing on the way changes what is sent"
    )]
    Proof(&'static str),
    /// What the other side says.
    #[error("the node refuses it: {0}")]
    Refused(String),
    /// Another one is there.
    #[error("the worker {0:?} works for this node already; this one is for another node, or waits")]
    Taken(String),
    /// Another process of its name is there.
    #[error(
        "another process of the name {0:?} works for this node: give each worker a name of its own (--name); one that was started again is taken as soon as \
         the earlier one is gone"
    )]
    SameName(String),
    /// The last ones were of no use.
    #[error(
        "workers of other machines have ended here soon after they came, so this node takes none for another {} s: look at the worker's log, and at the node's", .0.as_secs() + 1
    )]
    Unsteady(Duration),
    /// It cannot say yet which ports there are.
    #[error("this node has just begun and listens for no streams yet")]
    Early,
    /// Nothing would keep the process that decodes from other ports.
    #[error("the node names no port for streams, or what is none")]
    Ports,
    /// It could not read a stream.
    #[error(
        "this node's ports for streams ({0}) are on its loopback interface, where no other machine comes: set http.listen and rtmp.listen"
    )]
    Loopback(String),
    /// No random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// A connection that greetings go over.
pub(crate) trait Line: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + ?Sized> Line for S {}

/// Reads one greeting: no byte behind it, and nothing that is longer than one. Its bytes are put behind what was said before.
async fn hear(line: &mut impl Line, said: &mut Vec<u8>) -> Result<Greeting, GreetingError> {
    let mut reader = Reader::new();
    let mut length = [0; LENGTH_BYTES];
    line.read_exact(&mut length).await?;
    let header_bytes = u32::from_be_bytes(length) as usize;
    if header_bytes > GREETING_BYTES_MAX {
        return Err(GreetingError::Turn);
    }
    reader.push(&length);
    // And the length of a payload, which it has none of.
    let mut rest = vec![0; header_bytes + LENGTH_BYTES];
    line.read_exact(&mut rest).await?;
    reader.push(&rest);
    said.extend_from_slice(&length);
    said.extend_from_slice(&rest);
    match reader.poll()? {
        Some(Message { header, .. }) => Ok(header),
        None => Err(GreetingError::Turn),
    }
}

/// Says one, and puts its bytes behind what was said before.
async fn say(line: &mut impl Line, greeting: &Greeting, said: &mut Vec<u8>) -> Result<(), GreetingError> {
    let bytes = encode(greeting, &[])?;
    line.write_all(&bytes).await?;
    said.extend_from_slice(&bytes);
    Ok(line.flush().await?)
}

/// Says why not, to who may not listen any more.
pub(crate) async fn refuse(line: &mut impl Line, why: &GreetingError) {
    let refused = Greeting::Refused { why: why.to_string() };
    let _ = timeout(REFUSE_WAIT, say(line, &refused, &mut Vec::new())).await;
}

fn random() -> Result<String, GreetingError> {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(GreetingError::Random)?;
    Ok(nonce(bytes))
}

/// A worker that has proved itself.
pub(crate) struct Welcomed {
    pub(crate) hello: Hello,
    /// The address that it reached this node at.
    pub(crate) reached: IpAddr,
    ticket: Secret,
    said: Vec<u8>,
}

impl Welcomed {
    /// The rest of the node's half: how it is accepted, and that the node has said so.
    pub(crate) async fn accept(
        &mut self,
        line: &mut impl Line,
        hooks: bool,
        ports: Vec<u16>,
    ) -> Result<(), GreetingError> {
        say(line, &Greeting::Accepted { hooks, ports }, &mut self.said).await?;
        let proof = proof(&self.ticket, Turn::Accepted, &self.said).expose().to_owned();
        say(line, &Greeting::Proof { proof }, &mut self.said).await
    }
}

/// What the node shows first: it has heard the worker's greeting, and its own nonce is new.
fn welcome_proof(ticket: &Secret, said: &[u8], own: &str) -> Secret {
    proof(ticket, Turn::Welcome, &[said, own.as_bytes()].concat())
}

/// The node's half, up to the worker's proof.
pub(crate) async fn welcome(
    line: &mut impl Line,
    (node, key): (&str, &WorkerKey),
    now_unix_s: u64,
) -> Result<Welcomed, GreetingError> {
    let mut said = Vec::new();
    let Greeting::Hello(hello) = hear(line, &mut said).await? else { return Err(GreetingError::Turn) };
    if hello.protocol != PROTOCOL {
        return Err(GreetingError::Protocol { worker: hello.protocol, node: PROTOCOL });
    }
    if ![&hello.worker, &hello.node, &hello.release].into_iter().all(|name| is_name(name)) {
        return Err(GreetingError::Name);
    }
    if hello.node != node {
        return Err(GreetingError::Node(hello.node));
    }
    let reached: IpAddr = hello.reached.parse().map_err(|_| GreetingError::Name)?;
    if hello.expires_unix_s < now_unix_s || hello.expires_unix_s > now_unix_s + TICKET_MOST.as_secs() {
        return Err(GreetingError::Expired);
    }
    let ticket = key.ticket(node, (&hello.worker, hello.run), hello.expires_unix_s);
    let own = random()?;
    let shown = welcome_proof(&ticket, &said, &own).expose().to_owned();
    let (protocol, release) = (PROTOCOL, RELEASE.to_owned());
    say(line, &Greeting::Welcome { protocol, release, nonce: own, proof: shown }, &mut said).await?;
    let expected = proof(&ticket, Turn::Worker, &said);
    let Greeting::Proof { proof: shown } = hear(line, &mut said).await? else { return Err(GreetingError::Turn) };
    if !expected.matches(&shown) {
        return Err(GreetingError::Proof("the worker"));
    }
    Ok(Welcomed { hello, reached: reached.to_canonical(), ticket, said })
}

/// What a node has accepted a worker as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Accepted {
    pub(crate) hooks: bool,
    pub(crate) ports: Vec<u16>,
    /// The node's release.
    pub(crate) release: String,
}

/// The worker's half: all of it.
pub(crate) async fn introduce(line: &mut impl Line, hello: Hello, ticket: &Secret) -> Result<Accepted, GreetingError> {
    let mut said = Vec::new();
    say(line, &Greeting::Hello(Hello { protocol: PROTOCOL, nonce: random()?, ..hello }), &mut said).await?;
    let hello_bytes = said.len();
    let (protocol, release, nonce, shown) = match hear(line, &mut said).await? {
        Greeting::Welcome { protocol, release, nonce, proof } => (protocol, release, nonce, proof),
        other => return Err(refusal(other)),
    };
    if protocol != PROTOCOL {
        return Err(GreetingError::Protocol { worker: PROTOCOL, node: protocol });
    }
    if !welcome_proof(ticket, said.get(..hello_bytes).unwrap_or_default(), &nonce).matches(&shown) {
        return Err(GreetingError::Proof("the node"));
    }
    let shown = proof(ticket, Turn::Worker, &said).expose().to_owned();
    say(line, &Greeting::Proof { proof: shown }, &mut said).await?;
    let accepted = match hear(line, &mut said).await? {
        Greeting::Accepted { hooks, ports } => Accepted { hooks, ports, release },
        other => return Err(refusal(other)),
    };
    let expected = proof(ticket, Turn::Accepted, &said);
    let Greeting::Proof { proof: shown } = hear(line, &mut said).await? else { return Err(GreetingError::Turn) };
    if !expected.matches(&shown) {
        return Err(GreetingError::Proof("the node"));
    }
    // The process that decodes would connect to any port if it were told none.
    let has_ports = (1..=PORTS_MOST).contains(&accepted.ports.len()) && accepted.ports.iter().all(|port| *port != 0);
    if has_ports { Ok(accepted) } else { Err(GreetingError::Ports) }
}

/// What is wrong, where it is not this greeting's turn.
fn refusal(greeting: Greeting) -> GreetingError {
    match greeting {
        Greeting::Refused { why } => {
            let clean = why.chars().map(|char| if char.is_control() { ' ' } else { char });
            GreetingError::Refused(clean.take(WHY_CHARS_MAX).collect())
        }
        _ => GreetingError::Turn,
    }
}

#[cfg(test)]
mod tests;
