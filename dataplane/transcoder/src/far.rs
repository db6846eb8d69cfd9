//! A worker on another machine than its node: a small supervisor, which holds the connection, and below it the confined process that decodes and encodes. Before
//! it: [`super::link`], which says which node; after it: `millstream worker` as a child, whose orders and reports pass through here as they are.
//!
//! It makes connections and takes none. Its child ends with it, by whatever it ends, and with the connection.
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_control_protocol::exchange::NodeId;
use millstream_control_protocol::work::{Assignment, WorkerStatus};
use millstream_fleet::backoff::Backoff;
use millstream_fleet::http::client::AskError;
use millstream_fleet::http::dial::dial_and_see;
use millstream_fleet::http::guard::Guard;
use millstream_proto::secret::Secret;
use millstream_worker::protocol::{EncoderName, Hello, Skills};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

use super::encoder::EncoderChoice;
use super::ffmpeg::{Installed, NoFfmpeg, decodes};
use super::greeting::{Accepted, GREETING_WAIT, GreetingError, Line, RELEASE, introduce};
use super::link::{LinkTo, Telling, follow};
use super::process::{log, start};
use super::program::{Program, arguments_of};

/// A node that says nothing for so long has gone: it asks every few seconds whether this worker is there.
const NODE_SILENT_MOST: Duration = Duration::from_secs(12);
/// Either side takes what is written to it within this time.
const WRITE_WAIT: Duration = Duration::from_secs(15);
/// Time for the name and the connection.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// A node is come back to after this long at first, and at most.
const AGAIN_LEAST: Duration = Duration::from_millis(200);
const AGAIN_MOST: Duration = Duration::from_secs(5);
/// A connection that has lasted this long was all right.
const LASTED: Duration = Duration::from_secs(30);
/// Bytes of a read in either direction.
const PUMP_BYTES: usize = 64 << 10;

/// A worker of other machines' nodes.
#[derive(Debug)]
pub struct FarWorker {
    /// Its name, and its run.
    pub id: NodeId,
    /// When it started, Unix milliseconds.
    pub started_unix_ms: u64,
    /// What is run as the confined process.
    pub program: Program,
    /// Which `ffmpeg` may be used, or why none.
    pub ffmpeg: Result<Installed, NoFfmpeg>,
    /// What of it encodes renditions in place of OpenH264.
    pub encoder: Option<EncoderName>,
    /// Control.
    pub control: LinkTo,
}

/// Why it does not work for a node, or no longer.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0:?} is no address of a node: tcp://HOST:PORT or tls://HOST:PORT is meant")]
    Url(String),
    #[error(transparent)]
    Connect(#[from] AskError),
    #[error(transparent)]
    Greeting(#[from] GreetingError),
    #[error("no connection within {} s", CONNECT_WAIT.as_secs())]
    Late,
    #[error(
        "the node would send code of hooks over a connection that others can change, and it is not taken: let transcode.worker_url of the node begin with tls://"
    )]
    Hooks,
    #[error("the process that decodes cannot be started: {0}")]
    Start(io::Error),
    #[error("the node has closed the connection")]
    Closed,
    #[error("the node has said nothing for {} s", NODE_SILENT_MOST.as_secs())]
    Silent,
    #[error("the connection to the node broke: {0}")]
    Broken(io::Error),
    #[error("the process that decodes has ended; another one is started")]
    Ended,
}

/// Works for as long as the process runs. To be run on a thread that lives as long: the child ends with the one that started it.
pub async fn serve_far(worker: FarWorker) {
    let skills = worker.skills();
    let beside = worker.ffmpeg.as_ref().map(Installed::beside).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let status = WorkerStatus {
        release: RELEASE.to_owned(),
        started_unix_ms: worker.started_unix_ms,
        cores: cores as u32,
        decodes: decodes(beside),
        encoder: skills.encoder.clone(),
        no_ffmpeg: skills.no_ffmpeg.clone(),
        trouble: String::new(),
    };
    let telling = Arc::new(Telling::new(status));
    let (assigned, told) = watch::channel(None);
    let following = follow(&worker.control, worker.id.clone(), &telling, &assigned);
    tokio::join!(following, work(&worker, &skills, &telling, told));
}

/// Works for the node that control says.
async fn work(worker: &FarWorker, skills: &Skills, telling: &Telling, mut told: watch::Receiver<Option<Assignment>>) {
    let mut backoff = Backoff::new(AGAIN_LEAST, AGAIN_MOST, worker.id.run);
    let mut known = (String::new(), String::new());
    loop {
        let assignment = match told.wait_for(Option::is_some).await {
            Ok(told) => told.clone().unwrap_or_default(),
            // Nobody asks control any more: the process ends.
            Err(_) => return,
        };
        let begun = Instant::now();
        let trouble = serve(worker, skills, &assignment, telling).await;
        let Assignment { node, url, .. } = assignment;
        telling.set("", trouble.to_string());
        if begun.elapsed() >= LASTED {
            backoff.reset();
        }
        let now = (node.clone(), trouble.to_string());
        // The same again and again is said once.
        if std::mem::replace(&mut known, now.clone()) != now || begun.elapsed() >= LASTED {
            tracing::warn!(node, url, %trouble, "this worker does not work for its node now; it tries again");
        }
        let wait = backoff.next_wait();
        let mut changes = told.clone();
        changes.mark_unchanged();
        let another = changes.wait_for(|told| told.as_ref().is_none_or(|told| told.node != node || told.url != url));
        let _ = timeout(wait, another).await;
    }
}

/// Whether a node can be said to take workers there: `tcp://HOST:PORT` or `tls://HOST:PORT`.
pub fn is_worker_url(text: &str) -> bool {
    let is_part_of_host = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | ':' | '_');
    parts(text).is_some_and(|(_, host, _)| host.chars().all(is_part_of_host))
}

/// `tcp://HOST:PORT` or `tls://HOST:PORT`: whether by TLS, the host, and the port.
fn parts(url: &str) -> Option<(bool, &str, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let secure = match scheme {
        "tcp" => false,
        "tls" => true,
        _ => return None,
    };
    let (host, port) = rest.rsplit_once(':')?;
    let host = host.strip_prefix('[').map_or(Some(host), |host| host.strip_suffix(']'))?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then_some((secure, host, port))
}

impl FarWorker {
    fn skills(&self) -> Skills {
        let beside = self.ffmpeg.as_ref().map(Installed::beside).unwrap_or_default();
        Skills {
            h264_any: beside.h264,
            hevc: beside.hevc,
            av1: beside.av1,
            x265: self.ffmpeg.as_ref().is_ok_and(|installed| installed.x265),
            encoder: self.encoder.map_or(EncoderChoice::OpenH264, EncoderChoice::Ffmpeg).to_string(),
            no_ffmpeg: self.ffmpeg.as_ref().err().map(NoFfmpeg::to_string).unwrap_or_default(),
        }
    }

    fn arguments(&self) -> Vec<OsString> {
        arguments_of(self.ffmpeg.as_ref().ok(), self.encoder)
    }

    /// A connection to a node that has accepted this worker.
    async fn connect(&self, skills: &Skills, assignment: &Assignment) -> Result<(Box<dyn Line>, Accepted), Trouble> {
        let url = &assignment.url;
        let (secure, host, port) = parts(url).ok_or_else(|| Trouble::Url(url.clone()))?;
        let dialing = dial_and_see((host, port), secure, url, (&Guard::Open, None));
        let (line, reached) = timeout(CONNECT_WAIT, dialing).await.map_err(|_| Trouble::Late)??;
        let mut line: Box<dyn Line> = Box::new(line);
        let hello = Hello {
            release: RELEASE.to_owned(),
            worker: self.id.name.clone(),
            run: self.id.run,
            node: assignment.node.clone(),
            expires_unix_s: assignment.expires_unix_s,
            reached: reached.ip().to_string(),
            skills: skills.clone(),
            ..Hello::default()
        };
        let ticket = Secret::new(assignment.ticket.0.clone());
        let greeting = introduce(&mut line, hello, &ticket);
        let accepted = timeout(GREETING_WAIT, greeting).await.unwrap_or(Err(GreetingError::Late))?;
        if accepted.hooks && !may_hook(secure, reached.ip()) {
            return Err(Trouble::Hooks);
        }
        Ok((line, accepted))
    }
}

/// Whether the process that decodes may be one that runs code of hooks: what follows the greetings is protected by TLS alone.
fn may_hook(secure: bool, reached: IpAddr) -> bool {
    secure || reached.to_canonical().is_loopback()
}

/// Works for a node until something ends that.
async fn serve(worker: &FarWorker, skills: &Skills, assignment: &Assignment, telling: &Telling) -> Trouble {
    let (line, accepted) = match worker.connect(skills, assignment).await {
        Ok(connected) => connected,
        Err(trouble) => return trouble,
    };
    let Accepted { hooks, ports, release } = accepted;
    let child = start(&worker.program, (&worker.arguments(), hooks), &ports);
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Trouble::Start(error),
    };
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Trouble::Start(io::Error::other("it has no pipes"));
    };
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(log(stderr));
    }
    tracing::info!(node = assignment.node, url = assignment.url, hooks, "this worker works for a node");
    if release != RELEASE {
        tracing::warn!(
            node = assignment.node,
            release,
            ours = RELEASE,
            "the node is of another release than this worker"
        );
    }
    telling.set(&assignment.node, String::new());
    let (from_node, to_node) = tokio::io::split(line);
    let trouble = tokio::select! {
        trouble = orders(from_node, stdin) => trouble,
        trouble = reports(stdout, to_node) => trouble,
    };
    // What it makes is for a node that is not there, or it hangs.
    let _ = child.kill().await;
    trouble
}

/// Passes orders on.
async fn orders(mut node: impl AsyncRead + Unpin, mut child: impl AsyncWrite + Unpin) -> Trouble {
    let mut buffer = vec![0; PUMP_BYTES];
    loop {
        let count = match timeout(NODE_SILENT_MOST, node.read(&mut buffer)).await {
            Ok(Ok(0)) => return Trouble::Closed,
            Ok(Ok(count)) => count,
            Ok(Err(error)) => return Trouble::Broken(error),
            Err(_) => return Trouble::Silent,
        };
        let orders = buffer.get(..count).unwrap_or_default();
        if !matches!(timeout(WRITE_WAIT, child.write_all(orders)).await, Ok(Ok(()))) {
            return Trouble::Ended;
        }
    }
}

/// Passes reports back.
async fn reports(mut child: impl AsyncRead + Unpin, mut node: impl AsyncWrite + Unpin) -> Trouble {
    let mut buffer = vec![0; PUMP_BYTES];
    loop {
        let Ok(count @ 1..) = child.read(&mut buffer).await else { return Trouble::Ended };
        let writing = async {
            node.write_all(buffer.get(..count).unwrap_or_default()).await?;
            node.flush().await
        };
        match timeout(WRITE_WAIT, writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Trouble::Broken(error),
            Err(_) => return Trouble::Broken(io::ErrorKind::TimedOut.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[test]
    fn addresses_of_nodes() {
        assert_eq!(parts("tcp://192.0.2.7:8082"), Some((false, "192.0.2.7", 8082)));
        assert_eq!(parts("tls://node1.example.org:1"), Some((true, "node1.example.org", 1)));
        assert_eq!(parts("tcp://[2001:db8::1]:8082"), Some((false, "2001:db8::1", 8082)));
        for wrong in
            ["", "node1:8082", "http://node1:8082", "tcp://node1", "tcp://:8082", "tcp://node1:0", "tcp://[::1:80"]
        {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
        assert!(
            is_worker_url("tls://[2001:db8::1]:8082")
                && !is_worker_url("tcp://no de:1")
                && !is_worker_url("tcp://a/b:1")
        );
    }

    #[test]
    fn code_of_hooks_is_taken_over_tls_or_within_one_machine() {
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(may_hook(true, at("192.0.2.7")) && may_hook(false, at("127.0.0.1")) && may_hook(false, at("::1")));
        assert!(!may_hook(false, at("192.0.2.7")) && !may_hook(false, at("::ffff:192.0.2.7")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_as_it_was_and_a_node_that_says_nothing_has_gone() {
        let (mut node, ours) = duplex(16);
        let (theirs, mut child) = duplex(16);
        let passing = tokio::spawn(orders(ours, theirs));
        node.write_all(b"an order that is longer than the pipes").await.unwrap();
        let mut came = [0; 38];
        child.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"an order that is longer than the pipes");
        let begun = tokio::time::Instant::now();
        assert!(matches!(passing.await.unwrap(), Trouble::Silent));
        assert!(begun.elapsed().abs_diff(NODE_SILENT_MOST) < Duration::from_secs(1));
        // One that closes is gone at once, and a child that has ended, too.
        let (closed, ended, open) = (duplex(16).0, duplex(16).0, duplex(16));
        assert!(matches!(orders(closed, open.0).await, Trouble::Closed));
        assert!(matches!(reports(ended, open.1).await, Trouble::Ended));
    }
}
