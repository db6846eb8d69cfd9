//! The port that workers of other machines come to, and the one that is there. Before it: [`super::greeting`], by which each side knows the other; after it:
//! [`super::workers`], which has the node's jobs made over that connection as it has them made by a child of its own.
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream_control_protocol::exchange::NodeId;
use millstream_fleet::backoff::Backoff;
use millstream_proto::sign::worker::WorkerKey;
use millstream_worker::protocol::{Hello, Skills};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::greeting::{GREETING_WAIT, GreetingError, Line, RELEASE, Welcomed, refuse, welcome};
use super::workers::Shared;

/// Connections that have not proved anything yet, of one address and in all.
const STRANGERS_OF_ADDRESS_MAX: usize = 4;
const STRANGERS_MAX: usize = 64;
/// Warnings of one kind in a minute: strangers must not fill the log.
const WARNINGS_MOST: u64 = 10;
const WARNINGS_WITHIN: Duration = Duration::from_mins(1);
/// After one that was of no use none is taken for this long at first, and at most: each ends what is being made here.
const REST_LEAST: Duration = Duration::from_secs(1);
const REST_MOST: Duration = Duration::from_mins(2);
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
    pub(crate) id: NodeId,
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
pub(crate) struct Place {
    state: Mutex<State>,
    arrived: Notify,
}

struct State {
    serving: Option<NodeId>,
    waiting: Option<Arrived>,
    rest: Backoff,
    rests_until: Option<Instant>,
}

/// How one that worked for this node came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// After it had worked for long.
    Worked,
    /// Before that, and so that the next one may come at once.
    Free,
    /// Before that: it was of no use.
    Failed,
}

impl State {
    /// Whether there is room for this one. The same process takes its own place, before it is known that its connection was gone; another one of its name does
    /// not, for the one that is there may be well.
    fn has_room(&self, id: &NodeId) -> Result<(), GreetingError> {
        let rests = self.rests_until.map(|until| until.saturating_duration_since(Instant::now()));
        if let Some(rests) = rests.filter(|rests| !rests.is_zero()) {
            return Err(GreetingError::Unsteady(rests));
        }
        match self.waiting.as_ref().map(|waiting| &waiting.id).or(self.serving.as_ref()) {
            Some(there) if there.name != id.name => Err(GreetingError::Taken(there.name.clone())),
            Some(there) if there.run != id.run => Err(GreetingError::SameName(there.name.clone())),
            _ => Ok(()),
        }
    }
}

impl Place {
    /// `seed` makes its rests this node's own.
    pub(crate) fn new(seed: u64) -> Self {
        let rest = Backoff::new(REST_LEAST, REST_MOST, seed);
        let state = State { serving: None, waiting: None, rest, rests_until: None };
        Self { state: Mutex::new(state), arrived: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, id: &NodeId) -> Result<(), GreetingError> {
        self.state().has_room(id)
    }

    /// Has it wait for orders, unless another one has come meanwhile: then its connection ends.
    fn put(&self, arrived: Arrived) -> Result<(), GreetingError> {
        let mut state = self.state();
        state.has_room(&arrived.id)?;
        state.waiting = Some(arrived);
        self.arrived.notify_one();
        Ok(())
    }

    /// The one that has come; it works for this node until [`Self::left`].
    pub(crate) fn take(&self) -> Option<Arrived> {
        let mut state = self.state();
        let taken = state.waiting.take()?;
        state.serving = Some(taken.id.clone());
        Some(taken)
    }

    /// Waits until one has come.
    pub(crate) async fn arrives(&self) {
        while self.state().waiting.is_none() {
            self.arrived.notified().await;
        }
    }

    /// The one that was taken works for this node no more.
    pub(crate) fn left(&self, how: Left) {
        let mut state = self.state();
        state.serving = None;
        match how {
            Left::Worked => state.rest.reset(),
            Left::Free => {}
            Left::Failed => {
                let rest = state.rest.next_wait();
                state.rests_until = Some(Instant::now() + rest);
            }
        }
    }

    /// The name of the one that works for this node.
    pub(crate) fn serving(&self) -> Option<String> {
        self.state().serving.as_ref().map(|serving| serving.name.clone())
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

/// Which warnings of one kind are said.
#[derive(Default)]
struct Warnings(Mutex<Said>);

#[derive(Default)]
struct Said {
    since: Option<Instant>,
    count: u64,
}

impl Warnings {
    /// Whether one more is said, and how many were left out before the last pause.
    fn one_more(&self) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = 0;
        if said.since.is_none_or(|since| since.elapsed() >= WARNINGS_WITHIN) {
            left_out = said.count.saturating_sub(WARNINGS_MOST);
            *said = Said { since: Some(Instant::now()), count: 0 };
        }
        said.count += 1;
        (said.count <= WARNINGS_MOST).then_some(left_out)
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
    let (crowded, refused) = (Warnings::default(), Arc::new(Warnings::default()));
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
            if let Some(left_out) = crowded.one_more() {
                tracing::warn!(%peer, left_out, "too many connections to the port of workers have not proved anything yet: one more is closed");
            }
            continue;
        };
        let acceptor = tls.as_ref().map(|config| TlsAcceptor::from(Arc::clone(&config.borrow())));
        let (shared, of, refused) = (Arc::clone(&shared), Arc::clone(&of), Arc::clone(&refused));
        tokio::spawn(async move {
            if let Err(error) = greet(&shared, socket, (peer, acceptor), &of).await
                && let Some(left_out) = refused.one_more()
            {
                tracing::warn!(%peer, %error, left_out, "a worker of another machine is not taken");
            }
            drop(place);
        });
    }
}

/// Whether code of hooks may go to it: nobody on the way can put other code in its place. Both ends are looked at, for a proxy on either machine makes one of them
/// local.
fn is_safe(secured: bool, from: IpAddr, reached: IpAddr) -> bool {
    secured || (from.is_loopback() && reached.is_loopback())
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
    // For all of it: who waits for each step in turn holds its place no longer.
    let until = Instant::now() + GREETING_WAIT;
    let mut line = timeout_at(until, connecting).await.map_err(|_| GreetingError::Late)??;
    let now_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let from = peer.ip().to_canonical();
    let greeting = async {
        let mut welcomed = welcome(&mut line, (node, key), now_unix_s).await?;
        let ports = shared.ports_for(welcomed.reached)?;
        let id = NodeId { name: welcomed.hello.worker.clone(), run: welcomed.hello.run };
        shared.remote.has_room(&id)?;
        let is_safe = is_safe(secured, from, welcomed.reached);
        let hooks = is_safe && shared.needs_hooks();
        welcomed.accept(&mut line, hooks, ports).await?;
        Ok((welcomed, id, (is_safe, hooks)))
    };
    let greeted = timeout_at(until, greeting).await.unwrap_or(Err(GreetingError::Late));
    let (Welcomed { hello: Hello { release, skills, .. }, reached, .. }, id, (is_safe, hooks)) = match greeted {
        Ok(greeted) => greeted,
        Err(error) => {
            refuse(&mut line, &error).await;
            return Err(error);
        }
    };
    let name = id.name.clone();
    shared.remote.put(Arrived { line, id, skills, from, reached, hooks, is_safe })?;
    tracing::info!(worker = name, %from, encrypted = secured, "a worker of another machine works for this node");
    if release != RELEASE {
        tracing::warn!(worker = name, release, ours = RELEASE, "the worker is of another release than this node");
    }
    shared.keep();
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn id(name: &str, run: u64) -> NodeId {
        NodeId { name: name.to_owned(), run }
    }

    fn arrived(name: &str, run: u64) -> Arrived {
        let here = IpAddr::from([127, 0, 0, 1]);
        let (skills, line) = (Skills::default(), Box::new(duplex(1).0));
        Arrived { line, id: id(name, run), skills, from: here, reached: here, hooks: false, is_safe: true }
    }

    #[tokio::test]
    async fn there_is_one_at_a_time_and_who_comes_back_takes_its_own_place() {
        let place = Place::new(1);
        assert!(place.take().is_none() && place.has_room(&id("one", 1)).is_ok());
        place.put(arrived("one", 1)).unwrap();
        place.arrives().await;
        assert!(place.has_room(&id("two", 1)).is_err(), "it waits to begin");
        assert!(place.put(arrived("two", 1)).is_err(), "two that were accepted at the same time are not both taken");
        assert_eq!(place.take().map(|arrived| arrived.id), Some(id("one", 1)));
        assert_eq!(place.serving().as_deref(), Some("one"));
        let error = place.has_room(&id("two", 1)).unwrap_err().to_string();
        assert!(error.contains("the worker \"one\" works for this node already"), "{error}");
        assert!(place.has_room(&id("one", 1)).is_ok(), "it is not known yet that it was gone");
        place.left(Left::Worked);
        assert!(place.has_room(&id("two", 1)).is_ok() && place.serving().is_none());
    }

    #[tokio::test]
    async fn a_second_process_of_a_name_does_not_throw_the_first_one_off() {
        let place = Place::new(1);
        place.put(arrived("one", 1)).unwrap();
        for _ in 0..2 {
            let error = place.put(arrived("one", 2)).unwrap_err().to_string();
            assert!(error.contains("another process of the name \"one\""), "{error}");
            place.take();
            assert_eq!(place.serving().as_deref(), Some("one"));
        }
        place.left(Left::Free);
        assert!(place.put(arrived("one", 2)).is_ok(), "it was started again");
    }

    #[tokio::test(start_paused = true)]
    async fn after_one_that_was_of_no_use_none_is_taken_for_a_while_that_grows() {
        let (place, mut waits) = (Place::new(1), Vec::new());
        for run in 0..12 {
            place.put(arrived("one", run)).unwrap();
            place.take();
            place.left(Left::Failed);
            let begun = Instant::now();
            let error = place.put(arrived("one", run + 1)).unwrap_err().to_string();
            assert!(error.contains("soon after they came"), "{error}");
            assert!(place.has_room(&id("two", 1)).is_err());
            while place.has_room(&id("one", run + 1)).is_err() {
                tokio::time::advance(Duration::from_millis(100)).await;
            }
            waits.push(begun.elapsed());
        }
        assert!(waits[0] <= REST_LEAST + Duration::from_millis(100), "{waits:?}");
        assert!(waits[11] >= REST_MOST / 2 && waits[11] <= REST_MOST + Duration::from_millis(100), "{waits:?}");
        place.put(arrived("one", 1)).unwrap();
        place.take();
        place.left(Left::Worked);
        assert!(place.has_room(&id("one", 2)).is_ok());
    }

    #[test]
    fn code_of_hooks_goes_to_this_machine_or_over_tls() {
        let (here, away) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([192, 0, 2, 7]));
        assert!(is_safe(true, away, away) && is_safe(false, here, here));
        assert!(!is_safe(false, here, away) && !is_safe(false, away, here), "a proxy stands between");
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_do_not_fill_the_log() {
        let warnings = Warnings::default();
        let said = (0..100).filter(|_| warnings.one_more().is_some()).count();
        assert_eq!(said as u64, WARNINGS_MOST);
        tokio::time::advance(WARNINGS_WITHIN).await;
        assert_eq!(warnings.one_more(), Some(100 - WARNINGS_MOST));
        assert_eq!(warnings.one_more(), Some(0));
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
