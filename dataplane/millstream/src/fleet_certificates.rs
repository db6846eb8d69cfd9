//! One certificate for a fleet: control has it ordered and hands it to nodes, which answer the authority in its place. Before it: [`crate::certificates`], which
//! has what this process itself shows; after it: the link, whose two ends are [`ForFleet`] (control's) and [`OfFleet`] (a node's).
use std::time::Duration;

use millstream_acme::files::Files;
use millstream_acme::{Kind, Pending, Server};
use millstream_agent::certificates::{Later, TlsHost};
use millstream_control_protocol::tls::PendingChallenge;
use millstream_fleet::Fleet;
use millstream_fleet::certificates::sha256_of;
use millstream_proto::secret::Secret;
use millstream_tls::{Certificates, PemFile};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::certificates::InUse;

/// Nodes that were here before control began are back within this time: they try at least every ten seconds.
const NODES_RETURN: Duration = Duration::from_secs(12);
/// How often it is looked whether a node has come.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Nodes say within this time that they answer a challenge: it is longer than until one that has gone counts as away.
const CONFIRM_WAIT: Duration = Duration::from_secs(20);

/// Control, for which nodes have the ports. It has some itself where it has an engine.
pub(crate) struct ForFleet {
    own: InUse,
    files: Files,
    fleet: Fleet,
    began: Instant,
    has_ports: bool,
    /// Other nodes were here before control began.
    had_nodes: bool,
}

impl ForFleet {
    /// Nodes get what is kept there, if there is something. `own_node`: the name of the node that this process is, too.
    pub(crate) fn new(own: InUse, files: Files, fleet: Fleet, own_node: Option<&str>) -> Self {
        let had_nodes = fleet.came().iter().any(|name| Some(&**name) != own_node);
        let server = Self { own, files, fleet, began: Instant::now(), has_ports: own_node.is_some(), had_nodes };
        server.give();
        server
    }

    fn give(&self) {
        match read(&self.files) {
            Ok(Some(file)) => self.fleet.give_certificate(file),
            Ok(None) => {}
            Err(error) => warn!(error, "nodes get no certificate of control"),
        }
    }
}

/// The certificate that is kept, where it can be used.
fn read(files: &Files) -> Result<Option<Secret>, String> {
    let Some(bytes) = files.read_certificate().map_err(|error| error.to_string())? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    check(&text)?;
    Ok(Some(Secret::new(text)))
}

/// Whether this is a chain with its key. What is said of it quotes nothing.
fn check(text: &str) -> Result<(), String> {
    let file = [PemFile { name: "the certificate", bytes: text.as_bytes() }];
    Certificates::from_pem(&file, &file).map(drop).map_err(|error| error.to_string())
}

impl Server for ForFleet {
    async fn ready(&self) {
        if self.has_ports && !self.had_nodes {
            return;
        }
        // The authority may come to any of those that were here before, also where this process has ports of its own.
        sleep_until(self.began + NODES_RETURN).await;
        if self.has_ports {
            return;
        }
        if self.fleet.takers() == 0 {
            info!(
                "a certificate is ordered once a node is here that takes it (tls.from_control): the authority comes to nodes"
            );
        }
        while self.fleet.takers() == 0 {
            sleep_until(Instant::now() + LOOK_EVERY).await;
        }
    }

    async fn show(&self, pending: Vec<Pending>) -> Result<(), String> {
        let told = pending.iter().map(told).collect();
        let is_over = pending.is_empty();
        self.own.show(pending).await?;
        let number = self.fleet.show_challenges(told);
        // Nobody asks any more: who hears of it later is none the worse.
        if is_over {
            return Ok(());
        }
        match self.fleet.shown(number, CONFIRM_WAIT).await {
            Ok(0) if !self.has_ports => Err("no node is here that takes control's certificate".to_owned()),
            // A server without nodes answers by its own ports.
            Ok(0) => Ok(()),
            Ok(nodes) => {
                info!(nodes, "nodes answer the authority's challenges");
                Ok(())
            }
            Err(names) => {
                let (names, wait_s) = (names.join(", "), CONFIRM_WAIT.as_secs());
                Err(format!("{names} did not say within {wait_s} s that the authority is answered there"))
            }
        }
    }

    async fn renewed(&self) {
        self.own.renewed().await;
        self.give();
    }
}

fn told(pending: &Pending) -> PendingChallenge {
    let Pending { name, kind, token, answer } = pending;
    PendingChallenge {
        name: name.clone(),
        kind: kind.name().to_owned(),
        token: token.clone(),
        answer: answer.expose().to_owned(),
    }
}

/// A node that takes control's certificate.
#[derive(Clone)]
pub(crate) struct OfFleet {
    own: InUse,
    files: Files,
}

impl OfFleet {
    /// Keeps it there.
    pub(crate) fn new(own: InUse, files: Files) -> Self {
        Self { own, files }
    }

    fn keep(&self, file: &Secret) -> Result<(), String> {
        check(file.expose())?;
        let kept = self.files.keep_certificate(file.expose().as_bytes());
        kept.map_err(|error| format!("{}: {error}", self.files.certificate().display()))
    }
}

impl TlsHost for OfFleet {
    fn show(&self, challenges: Vec<PendingChallenge>) -> Later<'_, Result<(), String>> {
        Box::pin(async move {
            let pending = challenges.into_iter().map(pending).collect::<Result<Vec<_>, _>>()?;
            self.own.show(pending).await
        })
    }

    fn in_use(&self) -> Later<'_, Option<String>> {
        let OfFleet { own, files } = self.clone();
        // What was refused is kept, but is not what clients see.
        let read = move || read(&files).ok().flatten().filter(|_| !own.is_refused()).map(|file| sha256_of(&file));
        Box::pin(async move { tokio::task::spawn_blocking(read).await.ok().flatten() })
    }

    fn problem(&self) -> Option<String> {
        self.own.problem()
    }

    fn take(&self, file: Secret) -> Later<'_, Result<(), String>> {
        let node = self.clone();
        Box::pin(async move {
            let take = move || node.keep(&file).and_then(|()| node.own.take_ordered());
            let taken = tokio::task::spawn_blocking(take).await;
            taken.unwrap_or_else(|error| Err(error.to_string()))
        })
    }
}

fn pending(told: PendingChallenge) -> Result<Pending, String> {
    let PendingChallenge { name, kind, token, answer } = told;
    match Kind::of_name(&kind) {
        Some(kind) => Ok(Pending { name, kind, token, answer: Secret::new(answer) }),
        None => Err(format!("this release does not know challenges of the kind {kind:?}; upgrade the node")),
    }
}
