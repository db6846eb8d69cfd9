//! What a worker of another machine asks control: whose it is. Before it: the operator's URL and token; after it: [`super::far`], which goes to the node that it is told.
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use millstream_control_protocol::exchange::NodeId;
use millstream_control_protocol::work::{Assignment, WorkPoll, WorkPush, WorkerStatus};
use millstream_control_protocol::{PROTOCOL, understands};
use millstream_fleet::backoff::Backoff;
use millstream_fleet::http::client::AskError;
use millstream_fleet::http::kept::{KeptConnection, bearer};
use millstream_fleet::http::url::Url;
use millstream_fleet::limits::RECEIPT_BYTES_MAX;
use millstream_proto::secret::Secret;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// How long control may keep a question waiting, and how long its answer may take beyond that.
const WAIT: Duration = Duration::from_secs(8);
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Control that is away is asked again after this long at first, and at most.
const AGAIN_LEAST: Duration = Duration::from_millis(250);
const AGAIN_MOST: Duration = Duration::from_secs(5);
/// Characters of what control says, as it is logged.
const SAID_CHARS_MAX: usize = 300;

/// Where control is, and what a worker shows it.
#[derive(Clone, Debug)]
pub struct LinkTo {
    /// Control's URL.
    pub url: Url,
    /// The token in control's `worker-token` file.
    pub token: Secret,
}

/// Why control gives no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum LinkFailure {
    #[error(transparent)]
    Away(#[from] AskError),
    #[error("{0} refuses this worker's token: give it the content of control's worker-token file (--token-file)")]
    Token(String),
    #[error("{0} knows no workers of other machines: is it a millstream control, and of a release that does?")]
    Unknown(String),
    #[error("{0} refuses this worker: {1}")]
    SameName(String, String),
    #[error("{0} says: {1}")]
    Says(String, String),
    #[error("{0} answers what is no message of the link")]
    Language(String),
}

impl LinkFailure {
    /// Control has answered, and this worker is none of its own: the ticket that it has is another one's, or is to be taken back.
    const fn is_of_this_worker(&self) -> bool {
        matches!(self, Self::Token(_) | Self::SameName(..))
    }
}

/// What a worker tells control of itself: written by [`super::far`].
#[derive(Debug, Default)]
pub(crate) struct Telling {
    told: Mutex<(String, WorkerStatus)>,
    /// It works for another node than it did, or for none.
    changed: Notify,
}

impl Telling {
    pub(crate) fn new(status: WorkerStatus) -> Self {
        Self { told: Mutex::new((String::new(), status)), changed: Notify::new() }
    }

    /// The node that it works for, and what keeps it from that.
    pub(crate) fn set(&self, serving: &str, trouble: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0 != serving {
            serving.clone_into(&mut told.0);
            self.changed.notify_one();
        }
        told.1.trouble = trouble;
    }

    fn get(&self) -> (String, WorkerStatus) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Asks control for as long as the process runs, and tells what it answers. While it is away, what it said last stays.
pub(crate) async fn follow(
    to: &LinkTo,
    worker: NodeId,
    telling: &Telling,
    assigned: &watch::Sender<Option<Assignment>>,
) {
    let mut connection = KeptConnection::default();
    let mut backoff = Backoff::new(AGAIN_LEAST, AGAIN_MOST, worker.run);
    let mut trouble: Option<LinkFailure> = None;
    let mut is_first = true;
    let mut told = String::new();
    loop {
        let (serving, status) = telling.get();
        let wait_ms = WAIT.as_millis() as u32;
        let poll =
            WorkPoll { protocol: PROTOCOL, worker: worker.clone(), wait_ms, assigned: told.clone(), serving, status };
        let asked = tokio::select! {
            asked = ask(to, &mut connection, &poll) => asked,
            // Control gives the node to another one unless it hears in time that this one has come.
            () = telling.changed.notified() => continue,
        };
        match asked {
            Ok(push) => {
                backoff.reset();
                if trouble.take().is_some() {
                    tracing::info!(control = %to.url, "control is back");
                } else if std::mem::take(&mut is_first) {
                    tracing::info!(control = %to.url, "control is reached");
                }
                if !understands(push.protocol) {
                    tracing::warn!(
                        protocol = push.protocol,
                        ours = PROTOCOL,
                        "control is more than one release apart: upgrade the older of the two"
                    );
                }
                let node = push.assignment.as_ref().map(|assignment| assignment.node.clone()).unwrap_or_default();
                if node != told && node.is_empty() {
                    tracing::info!("no node wants a worker that has none: this one waits");
                }
                told = node;
                assigned.send_replace(push.assignment);
            }
            Err(error) => {
                let is_of_this_worker = error.is_of_this_worker();
                if is_of_this_worker {
                    told.clear();
                    assigned.send_replace(None);
                }
                if trouble.as_ref() != Some(&error) {
                    if is_of_this_worker {
                        tracing::warn!(%error, "this worker goes to no node until control takes it; what is being made goes on");
                    } else {
                        tracing::warn!(%error, "control gives no answer; what is being made goes on, and it is asked again");
                    }
                    trouble = Some(error);
                }
                sleep(backoff.next_wait()).await;
            }
        }
    }
}

async fn ask(to: &LinkTo, kept: &mut KeptConnection, poll: &WorkPoll) -> Result<WorkPush, LinkFailure> {
    let (name, url) = (to.url.to_string(), to.url.below("/link/v1/work"));
    let language = || LinkFailure::Language(name.clone());
    let body = serde_json::to_vec(poll).map_err(|_| language())?.into();
    let headers = bearer(&to.token).ok_or_else(|| LinkFailure::Token(name.clone()))?;
    let reply = kept.post(&url, &headers, &body, WAIT + ANSWER_WAIT, RECEIPT_BYTES_MAX).await?;
    let body = reply.body.unwrap_or_default();
    match reply.status {
        StatusCode::OK => serde_json::from_slice(&body).map_err(|_| language()),
        StatusCode::UNAUTHORIZED => Err(LinkFailure::Token(name)),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Err(LinkFailure::Unknown(name)),
        status => {
            let said = String::from_utf8_lossy(&body);
            let said: String = said.trim().chars().filter(|char| !char.is_control()).take(SAID_CHARS_MAX).collect();
            if status == StatusCode::CONFLICT {
                return Err(LinkFailure::SameName(name, said));
            }
            Err(LinkFailure::Says(name, if said.is_empty() { format!("status {}", status.as_u16()) } else { said }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// The next question of a worker on this connection.
    async fn question(socket: &mut TcpStream) -> WorkPoll {
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && let Ok(poll) = serde_json::from_str(body)
            {
                return poll;
            }
            assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0, "{text}");
        }
    }

    async fn answer(socket: &mut TcpStream, status: &str, body: &str) {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        socket.write_all(answer.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn control_hears_at_once_whose_it_is_and_who_is_refused_goes_to_no_node() {
        let control = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", control.local_addr().unwrap()).parse().unwrap();
        let to = LinkTo { url, token: Secret::new("token") };
        let telling = Arc::new(Telling::default());
        let (assigned, mut told) = watch::channel(None);
        let told_of = Arc::clone(&telling);
        let worker = NodeId { name: "gpu".to_owned(), run: 1 };
        let follows = tokio::spawn(async move { follow(&to, worker, &told_of, &assigned).await });

        let (mut first, _) = control.accept().await.unwrap();
        assert_eq!(question(&mut first).await.serving, "");
        let assignment = Assignment { node: "edge-1".to_owned(), ..Assignment::default() };
        let push = WorkPush { protocol: PROTOCOL, assignment: Some(assignment) };
        answer(&mut first, "200 OK", &serde_json::to_string(&push).unwrap()).await;
        told.wait_for(Option::is_some).await.unwrap();
        assert_eq!(question(&mut first).await.assigned, "edge-1");
        // The question waits at control: it is asked anew.
        telling.set("edge-1", String::new());
        let asked_anew = async {
            let (mut second, _) = control.accept().await.unwrap();
            (question(&mut second).await.serving, second)
        };
        let (serving, mut second) = tokio::time::timeout(WAIT / 2, asked_anew).await.unwrap();
        assert_eq!(serving, "edge-1");
        answer(&mut second, "409 Conflict", "another worker of this name is here").await;
        told.wait_for(Option::is_none).await.unwrap();
        follows.abort();
    }
}
