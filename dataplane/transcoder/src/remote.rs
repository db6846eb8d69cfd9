//! The port that workers of other machines come to, and the one that is there. Before it: [`super::greeting`], by which each side knows the other; after it:
//! [`super::workers`], which has the node's jobs made over that connection as it has them made by a child of its own.
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream_proto::sign::worker::WorkerKey;
use millstream_worker::protocol::{Greeting, Hello, Skills};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::greeting::{GREETING_WAIT, GreetingError, Line, RELEASE, refuse, say, welcome};
use super::workers::Shared;

/// Connections that have not proved anything yet, of one address and in all.
const STRANGERS_OF_ADDRESS_MAX: usize = 4;
const STRANGERS_MAX: usize = 64;
/// How long accepting pauses when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where workers of other machines come to a node.
pub struct RemotePort {
    /// Where it listens.
    pub listener: std::net::TcpListener,
    /// What it shows, where it has TLS.
    pub tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    /// The node's name.
    pub node: String,
    /// What tickets are made again with.
    pub key: WorkerKey,
}

impl fmt::Debug for RemotePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemotePort").field("node", &self.node).finish_non_exhaustive()
    }
}

/// A worker that has proved itself, and waits for orders.
pub(crate) struct Arrived {
    pub(crate) line: Box<dyn Line>,
    pub(crate) name: String,
    pub(crate) skills: Skills,
    /// Where it comes from, and the address that it reached this node at.
    pub(crate) from: IpAddr,
    pub(crate) reached: IpAddr,
    /// It was started as one that may run hooks.
    pub(crate) hooks: bool,
    /// Nobody on the way can put other code in the place of a hook.
    pub(crate) is_safe: bool,
}

/// The worker of another machine that works for this node, and one that waits to.
#[derive(Default)]
pub(crate) struct Place {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    serving: Option<String>,
    waiting: Option<Arrived>,
}

impl Place {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for one of this name: one that comes back takes its own place, before it is known that it was gone.
    fn has_room(&self, name: &str) -> Result<(), GreetingError> {
        let state = self.state();
        let there = state.waiting.as_ref().map(|waiting| &waiting.name).or(state.serving.as_ref());
        match there.filter(|there| *there != name) {
            Some(there) => Err(GreetingError::Taken(there.clone())),
            None => Ok(()),
        }
    }

    fn put(&self, arrived: Arrived) {
        self.state().waiting = Some(arrived);
        self.arrived.notify_one();
    }

    /// The one that has come; it works for this node until [`Self::left`].
    pub(crate) fn take(&self) -> Option<Arrived> {
        let mut state = self.state();
        let taken = state.waiting.take()?;
        state.serving = Some(taken.name.clone());
        Some(taken)
    }

    /// Waits until one has come.
    pub(crate) async fn arrives(&self) {
        while self.state().waiting.is_none() {
            self.arrived.notified().await;
        }
    }

    /// The one that was taken works for this node no more.
    pub(crate) fn left(&self) {
        self.state().serving = None;
    }

    /// The name of the one that works for this node.
    pub(crate) fn serving(&self) -> Option<String> {
        self.state().serving.clone()
    }
}

/// Who has not proved anything yet.
#[derive(Clone, Default)]
struct Strangers(Arc<Mutex<Vec<IpAddr>>>);

/// The place of one of them, until it is dropped.
struct Stranger(Strangers, IpAddr);

impl Strangers {
    fn all(&self) -> MutexGuard<'_, Vec<IpAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: there are too many.
    fn enter(&self, from: IpAddr) -> Option<Stranger> {
        let mut all = self.all();
        let of_address = all.iter().filter(|other| **other == from).count();
        let has_room = all.len() < STRANGERS_MAX && of_address < STRANGERS_OF_ADDRESS_MAX;
        has_room.then(|| {
            all.push(from);
            Stranger(self.clone(), from)
        })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut all = self.0.all();
        if let Some(at) = all.iter().position(|from| *from == self.1) {
            all.swap_remove(at);
        }
    }
}

/// Takes workers for as long as the process runs.
pub(crate) async fn listen(shared: Arc<Shared>, port: RemotePort) {
    let RemotePort { listener, tls, node, key } = port;
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "workers of other machines cannot be listened for"),
    };
    let (strangers, of) = (Strangers::default(), Arc::new((node, key)));
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a worker's connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = strangers.enter(peer.ip()) else {
            tracing::warn!(%peer, "too many connections to the port of workers have not proved anything yet: one more is closed");
            continue;
        };
        let acceptor = tls.as_ref().map(|config| TlsAcceptor::from(Arc::clone(&config.borrow())));
        let (shared, of) = (Arc::clone(&shared), Arc::clone(&of));
        tokio::spawn(async move {
            if let Err(error) = greet(&shared, socket, (peer, acceptor), &of).await {
                tracing::warn!(%peer, %error, "a worker of another machine is not taken");
            }
            drop(place);
        });
    }
}

/// Finds out who has come, within its time.
async fn greet(
    shared: &Arc<Shared>,
    socket: TcpStream,
    (peer, tls): (SocketAddr, Option<TlsAcceptor>),
    (node, key): &(String, WorkerKey),
) -> Result<(), GreetingError> {
    // Small messages, answered at once.
    let _ = socket.set_nodelay(true);
    let secured = tls.is_some();
    let connecting = async {
        let line: Box<dyn Line> = match tls {
            Some(acceptor) => Box::new(acceptor.accept(socket).await?),
            None => Box::new(socket),
        };
        Ok::<_, GreetingError>(line)
    };
    let mut line = timeout(GREETING_WAIT, connecting).await.map_err(|_| GreetingError::Late)??;
    let now_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let from = peer.ip().to_canonical();
    let is_safe = secured || from.is_loopback();
    let greeting = async {
        let (hello, reached) = welcome(&mut line, (node, key), now_unix_s).await?;
        let ports = shared.ports_for(reached)?;
        shared.remote.has_room(&hello.worker)?;
        let hooks = is_safe && shared.needs_hooks();
        say(&mut line, &Greeting::Accepted { hooks, ports }).await?;
        Ok((hello, reached, hooks))
    };
    let greeted = timeout(GREETING_WAIT, greeting).await.unwrap_or(Err(GreetingError::Late));
    let (Hello { worker: name, release, skills, .. }, reached, hooks) = match greeted {
        Ok(greeted) => greeted,
        Err(error) => {
            refuse(&mut line, &error).await;
            return Err(error);
        }
    };
    tracing::info!(worker = name, %from, encrypted = secured, "a worker of another machine works for this node");
    if release != RELEASE {
        tracing::warn!(worker = name, release, ours = RELEASE, "the worker is of another release than this node");
    }
    shared.remote.put(Arrived { line, name, skills, from, reached, hooks, is_safe });
    shared.keep();
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn arrived(name: &str) -> Arrived {
        let here = IpAddr::from([127, 0, 0, 1]);
        let (name, skills, line) = (name.to_owned(), Skills::default(), Box::new(duplex(1).0));
        Arrived { line, name, skills, from: here, reached: here, hooks: false, is_safe: true }
    }

    #[tokio::test]
    async fn there_is_one_at_a_time_and_who_comes_back_takes_its_own_place() {
        let place = Place::default();
        assert!(place.take().is_none() && place.has_room("one").is_ok());
        place.put(arrived("one"));
        place.arrives().await;
        assert!(place.has_room("two").is_err(), "it waits to begin");
        assert_eq!(place.take().map(|arrived| arrived.name).as_deref(), Some("one"));
        assert_eq!(place.serving().as_deref(), Some("one"));
        let error = place.has_room("two").unwrap_err().to_string();
        assert!(error.contains("the worker \"one\" works for this node already"), "{error}");
        assert!(place.has_room("one").is_ok(), "it is not known yet that it was gone");
        place.left();
        assert!(place.has_room("two").is_ok() && place.serving().is_none());
    }

    #[test]
    fn one_address_does_not_take_all_places_of_strangers() {
        let (strangers, address) = (Strangers::default(), |last: u8| IpAddr::from([192, 0, 2, last]));
        let mut of_one: Vec<_> = (0..STRANGERS_OF_ADDRESS_MAX).map(|_| strangers.enter(address(1)).unwrap()).collect();
        assert!(strangers.enter(address(1)).is_none());
        let others: Vec<_> = (2..=u8::MAX).map_while(|last| strangers.enter(address(last))).collect();
        assert_eq!(of_one.len() + others.len(), STRANGERS_MAX);
        of_one.pop();
        assert!(strangers.enter(address(1)).is_some());
    }
}
