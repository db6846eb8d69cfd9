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
            run: 7,
            node: node.to_owned(),
            expires_unix_s,
            reached: "::ffff:192.0.2.7".to_owned(),
            ..Hello::default()
        }
    }

    /// The ticket of the hello above.
    fn ticket() -> Secret {
        key().ticket("edge-1", ("gpu", 7), NOW + 60)
    }

    /// What the node comes to, which accepts with these ports.
    async fn node(mut line: impl Line, ports: Vec<u16>) -> Result<IpAddr, GreetingError> {
        match welcome(&mut line, ("edge-1", &key()), NOW).await {
            Ok(mut welcomed) => {
                welcomed.accept(&mut line, true, ports).await?;
                Ok(welcomed.reached)
            }
            Err(why) => {
                refuse(&mut line, &why).await;
                Err(why)
            }
        }
    }

    /// Both halves over a pipe: what the worker and the node come to.
    async fn greet(hello: Hello, ticket: Secret) -> (Result<Accepted, GreetingError>, Result<IpAddr, GreetingError>) {
        let (mut ours, theirs) = duplex(1 << 10);
        let node = node(theirs, vec![80, 1935]);
        // What is refused hangs up.
        let worker = async move { introduce(&mut ours, hello, &ticket).await };
        tokio::join!(worker, node)
    }

    #[tokio::test]
    async fn who_have_the_same_ticket_are_of_one_mind() {
        let (worker, node) = greet(hello("edge-1", NOW + 60), ticket()).await;
        let accepted = Accepted { hooks: true, ports: vec![80, 1935], release: RELEASE.to_owned() };
        assert_eq!((worker.unwrap(), node.unwrap().to_string()), (accepted, "192.0.2.7".to_owned()));
    }

    #[tokio::test]
    async fn who_has_not_is_told_what_to_look_at() {
        let right = |expires| key().ticket("edge-1", ("gpu", 7), expires);
        let wrong = WorkerKey::new(&Secret::new("another token")).ticket("edge-1", ("gpu", 7), NOW + 60);
        let cases = [
            (hello("edge-1", NOW + 60), wrong, "the node has not proved itself"),
            (hello("edge-1", NOW + 61), right(NOW + 60), "the node has not proved itself"),
            (hello("edge-1", NOW - 1), right(NOW - 1), "look at the clocks"),
            (hello("edge-1", NOW + 100_000), right(NOW + 100_000), "look at the clocks"),
            (hello("edge-2", NOW + 60), key().ticket("edge-2", ("gpu", 7), NOW + 60), "wants the node \"edge-2\""),
            (Hello { run: 8, ..hello("edge-1", NOW + 60) }, right(NOW + 60), "the node has not proved itself"),
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

    /// A copy of what crosses both ways, with greetings changed: what the worker and the node come to.
    async fn greet_through(
        change: impl Fn(Greeting) -> Greeting,
    ) -> (Result<Accepted, GreetingError>, Result<IpAddr, GreetingError>) {
        let ((mut ours, mut near), (mut far, theirs)) = (duplex(1 << 10), duplex(1 << 10));
        let worker = async move { introduce(&mut ours, hello("edge-1", NOW + 60), &ticket()).await };
        let between = async move {
            // Hello, Welcome, Proof, Accepted, Proof.
            for is_of_worker in [true, false, true, false, false] {
                let (from, to) = if is_of_worker { (&mut near, &mut far) } else { (&mut far, &mut near) };
                let Ok(heard) = hear(from, &mut Vec::new()).await else { return };
                if say(to, &change(heard), &mut Vec::new()).await.is_err() {
                    return;
                }
            }
        };
        let (worker, node, ()) = tokio::join!(worker, node(theirs, vec![80, 1935]), between);
        (worker, node)
    }

    #[tokio::test]
    async fn what_is_changed_on_the_way_is_found() {
        let (worker, node) = greet_through(|greeting| greeting).await;
        assert!(worker.is_ok_and(|accepted| accepted.hooks) && node.is_ok());
        let with_hooks = |greeting| match greeting {
            Greeting::Accepted { ports, .. } => Greeting::Accepted { hooks: false, ports },
            other => other,
        };
        let with_port = |greeting| match greeting {
            Greeting::Accepted { hooks, .. } => Greeting::Accepted { hooks, ports: vec![22] },
            other => other,
        };
        let with_address = |greeting| match greeting {
            Greeting::Hello(hello) => Greeting::Hello(Hello { reached: "127.0.0.1".to_owned(), ..hello }),
            other => other,
        };
        let with_release = |greeting| match greeting {
            Greeting::Welcome { protocol, nonce, proof, .. } => {
                Greeting::Welcome { protocol, release: "0.0.0".to_owned(), nonce, proof }
            }
            other => other,
        };
        let changes: [&dyn Fn(Greeting) -> Greeting; 4] = [&with_hooks, &with_port, &with_address, &with_release];
        for (at, change) in changes.into_iter().enumerate() {
            let (worker, _) = greet_through(change).await;
            assert!(worker.is_err(), "{at}: {worker:?}");
        }
    }

    #[tokio::test]
    async fn a_node_that_names_no_ports_gets_no_worker() {
        for ports in [vec![], vec![80, 0], vec![80, 1935, 22]] {
            let (mut ours, theirs) = duplex(1 << 10);
            let worker = async move { introduce(&mut ours, hello("edge-1", NOW + 60), &ticket()).await };
            let (worker, _) = tokio::join!(worker, node(theirs, ports.clone()));
            assert!(matches!(worker, Err(GreetingError::Ports)), "{ports:?}");
        }
    }

    #[tokio::test]
    async fn a_worker_that_proves_nothing_is_not_taken() {
        let said = async |answer: Greeting| {
            let (mut ours, mut theirs) = duplex(1 << 10);
            let worker = async move {
                let hello = Hello { protocol: PROTOCOL, ..hello("edge-1", NOW + 60) };
                let mut said = Vec::new();
                say(&mut ours, &Greeting::Hello(hello), &mut said).await.unwrap();
                hear(&mut ours, &mut said).await.unwrap();
                say(&mut ours, &answer, &mut said).await.unwrap();
                ours
            };
            let node = key();
            let (_open, welcomed) = tokio::join!(worker, welcome(&mut theirs, ("edge-1", &node), NOW));
            welcomed.err().unwrap().to_string()
        };
        assert!(said(Greeting::Proof { proof: String::new() }).await.contains("the worker has not proved itself"));
        assert!(said(Greeting::Accepted { hooks: true, ports: Vec::new() }).await.contains("not in its turn"));
    }

    #[tokio::test]
    async fn other_versions_are_named_and_what_is_no_greeting_is_read_no_further() {
        let (mut ours, mut theirs) = duplex(1 << 10);
        let newer = Hello { protocol: PROTOCOL + 1, ..hello("edge-1", NOW) };
        say(&mut ours, &Greeting::Hello(newer), &mut Vec::new()).await.unwrap();
        let error = welcome(&mut theirs, ("edge-1", &key()), NOW).await.err().unwrap();
        assert!(
            error.to_string().contains("the worker speaks version 2 of the protocol and the node version 1"),
            "{error}"
        );
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0xFF, 0xFF], &[0, 0, 0, 2, b'{', b'}', 0, 0, 0, 1]] {
            let (mut ours, mut theirs) = duplex(1 << 10);
            ours.write_all(bytes).await.unwrap();
            assert!(hear(&mut theirs, &mut Vec::new()).await.is_err());
        }
    }
}
