//! How a worker of another machine and a node find that they are who they say: [`Greeting`]s, read and written with bounds. Before it: a connection; after it:
//! [`super::remote`] at the node, [`super::serving`] at the worker.
//!
//! The node proves itself first, so a worker takes no order of anyone else; neither sends what it proves itself with.
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use millstream_proto::secret::Secret;
use millstream_proto::sign::worker::{NONCE_BYTES, Nonces, Side, WorkerKey, nonce, proof};
use millstream_worker::protocol::{
    FrameError, GREETING_BYTES_MAX, Greeting, Hello, Message, PROTOCOL, Reader, WHY_CHARS_MAX, encode,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// All greetings of a connection take no longer.
pub(crate) const GREETING_WAIT: Duration = Duration::from_secs(10);
/// A ticket that is good for longer was not made by a control.
const TICKET_MOST: Duration = Duration::from_hours(24);
/// Bytes of the length of a header, and of a payload.
const LENGTH_BYTES: usize = 4;
/// The release of this program.
pub(crate) const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// Why a worker of another machine is not taken, or does not come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GreetingError {
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
    #[error("{0} has not proved itself: look whether the node has the node-token of its control")]
    Proof(&'static str),
    /// What the other side says.
    #[error("the node refuses it: {0}")]
    Refused(String),
    /// Another one is there.
    #[error("the worker {0:?} works for this node already; this one is for another node, or waits")]
    Taken(String),
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

/// Reads one greeting: no byte behind it, and nothing that is longer than one.
pub(crate) async fn hear(line: &mut impl Line) -> Result<Greeting, GreetingError> {
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
    match reader.poll()? {
        Some(Message { header, .. }) => Ok(header),
        None => Err(GreetingError::Turn),
    }
}

/// Says one.
pub(crate) async fn say(line: &mut impl Line, greeting: &Greeting) -> Result<(), GreetingError> {
    line.write_all(&encode(greeting, &[])?).await?;
    Ok(line.flush().await?)
}

/// Says why not, to who may not listen any more.
pub(crate) async fn refuse(line: &mut impl Line, why: &GreetingError) {
    let _ = timeout(GREETING_WAIT, say(line, &Greeting::Refused { why: why.to_string() })).await;
}

fn random() -> Result<String, GreetingError> {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(GreetingError::Random)?;
    Ok(nonce(bytes))
}

/// A name, or a release, that the two may tell each other, and log.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// The node's half, up to the worker's proof: who has come, and the address that it reached this node at.
pub(crate) async fn welcome(
    line: &mut impl Line,
    (node, key): (&str, &WorkerKey),
    now_unix_s: u64,
) -> Result<(Hello, IpAddr), GreetingError> {
    let Greeting::Hello(hello) = hear(line).await? else { return Err(GreetingError::Turn) };
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
    let ticket = key.ticket(node, &hello.worker, hello.expires_unix_s);
    let own = random()?;
    let nonces = Nonces { worker: &hello.nonce, node: &own };
    let shown = proof(&ticket, Side::Node, nonces).expose().to_owned();
    let (protocol, release) = (PROTOCOL, RELEASE.to_owned());
    say(line, &Greeting::Welcome { protocol, release, nonce: own.clone(), proof: shown }).await?;
    let Greeting::Proof { proof: shown } = hear(line).await? else { return Err(GreetingError::Turn) };
    if !proof(&ticket, Side::Worker, nonces).matches(&shown) {
        return Err(GreetingError::Proof("the worker"));
    }
    Ok((hello, reached.to_canonical()))
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
    let own = random()?;
    say(line, &Greeting::Hello(Hello { protocol: PROTOCOL, nonce: own.clone(), ..hello })).await?;
    let (protocol, release, nonce, shown) = match hear(line).await? {
        Greeting::Welcome { protocol, release, nonce, proof } => (protocol, release, nonce, proof),
        other => return Err(refusal(other)),
    };
    if protocol != PROTOCOL {
        return Err(GreetingError::Protocol { worker: PROTOCOL, node: protocol });
    }
    let nonces = Nonces { worker: &own, node: &nonce };
    if !proof(ticket, Side::Node, nonces).matches(&shown) {
        return Err(GreetingError::Proof("the node"));
    }
    let shown = proof(ticket, Side::Worker, nonces).expose().to_owned();
    say(line, &Greeting::Proof { proof: shown }).await?;
    match hear(line).await? {
        Greeting::Accepted { hooks, ports } => Ok(Accepted { hooks, ports, release }),
        other => Err(refusal(other)),
    }
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
mod tests {
    use tokio::io::duplex;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn key() -> WorkerKey {
        WorkerKey::new(&Secret::new("the nodes' token"))
    }

    fn hello(node: &str, expires_unix_s: u64) -> Hello {
        Hello {
            release: RELEASE.to_owned(),
            worker: "gpu".to_owned(),
            node: node.to_owned(),
            expires_unix_s,
            reached: "::ffff:192.0.2.7".to_owned(),
            ..Hello::default()
        }
    }

    /// Both halves over a pipe: what the worker and the node come to.
    async fn greet(hello: Hello, ticket: Secret) -> (Result<Accepted, GreetingError>, Result<IpAddr, GreetingError>) {
        let (mut ours, mut theirs) = duplex(1 << 10);
        let node = async move {
            let welcomed = welcome(&mut theirs, ("edge-1", &key()), NOW).await;
            match &welcomed {
                Ok(_) => say(&mut theirs, &Greeting::Accepted { hooks: true, ports: vec![80, 1935] }).await?,
                Err(why) => refuse(&mut theirs, why).await,
            }
            welcomed.map(|(_, reached)| reached)
        };
        // What is refused hangs up.
        let worker = async move { introduce(&mut ours, hello, &ticket).await };
        tokio::join!(worker, node)
    }

    #[tokio::test]
    async fn who_have_the_same_ticket_are_of_one_mind() {
        let ticket = key().ticket("edge-1", "gpu", NOW + 60);
        let (worker, node) = greet(hello("edge-1", NOW + 60), ticket).await;
        let accepted = Accepted { hooks: true, ports: vec![80, 1935], release: RELEASE.to_owned() };
        assert_eq!((worker.unwrap(), node.unwrap().to_string()), (accepted, "192.0.2.7".to_owned()));
    }

    #[tokio::test]
    async fn who_has_not_is_told_what_to_look_at() {
        let right = |expires| key().ticket("edge-1", "gpu", expires);
        let wrong = WorkerKey::new(&Secret::new("another token")).ticket("edge-1", "gpu", NOW + 60);
        let cases = [
            (hello("edge-1", NOW + 60), wrong, "the node has not proved itself"),
            (hello("edge-1", NOW + 61), right(NOW + 60), "the node has not proved itself"),
            (hello("edge-1", NOW - 1), right(NOW - 1), "look at the clocks"),
            (hello("edge-1", NOW + 100_000), right(NOW + 100_000), "look at the clocks"),
            (hello("edge-2", NOW + 60), key().ticket("edge-2", "gpu", NOW + 60), "wants the node \"edge-2\""),
            (Hello { worker: "a\nb".to_owned(), ..hello("edge-1", NOW + 60) }, right(NOW + 60), "is none"),
            (Hello { reached: "edge-1".to_owned(), ..hello("edge-1", NOW + 60) }, right(NOW + 60), "is none"),
        ];
        for (hello, ticket, said) in cases {
            let (worker, node) = greet(hello, ticket).await;
            let told = worker.unwrap_err().to_string();
            assert!(told.contains(said), "{said}: {told}");
            assert!(node.is_err());
        }
    }

    #[tokio::test]
    async fn a_worker_that_proves_nothing_is_not_taken() {
        let said = async |answer: Greeting| {
            let (mut ours, mut theirs) = duplex(1 << 10);
            let worker = async move {
                let hello = Hello { protocol: PROTOCOL, ..hello("edge-1", NOW + 60) };
                say(&mut ours, &Greeting::Hello(hello)).await.unwrap();
                hear(&mut ours).await.unwrap();
                say(&mut ours, &answer).await.unwrap();
                ours
            };
            let node = key();
            let (_open, welcomed) = tokio::join!(worker, welcome(&mut theirs, ("edge-1", &node), NOW));
            welcomed.unwrap_err().to_string()
        };
        assert!(said(Greeting::Proof { proof: String::new() }).await.contains("the worker has not proved itself"));
        assert!(said(Greeting::Accepted { hooks: true, ports: Vec::new() }).await.contains("not in its turn"));
    }

    #[tokio::test]
    async fn other_versions_are_named_and_what_is_no_greeting_is_read_no_further() {
        let (mut ours, mut theirs) = duplex(1 << 10);
        say(&mut ours, &Greeting::Hello(Hello { protocol: PROTOCOL + 1, ..hello("edge-1", NOW) })).await.unwrap();
        let error = welcome(&mut theirs, ("edge-1", &key()), NOW).await.unwrap_err();
        assert!(
            error.to_string().contains("the worker speaks version 2 of the protocol and the node version 1"),
            "{error}"
        );
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0xFF, 0xFF], &[0, 0, 0, 2, b'{', b'}', 0, 0, 0, 1]] {
            let (mut ours, mut theirs) = duplex(1 << 10);
            ours.write_all(bytes).await.unwrap();
            assert!(hear(&mut theirs).await.is_err());
        }
    }
}
