//! The engine from outside: start it, learn where it listens, stop it. [`remote`] is what can be asked of it and done to it while it runs,
//! [`feed`] what it tells by itself, [`plays`] of its viewers.
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};

use millstream_policy::Chain;

use self::feed::Feed;
use self::plays::PlayFeed;
use self::remote::Remote;
use crate::clock::Clock;
use crate::config::Config;
use crate::io::{self, ShardWaker, WakeListener};
use crate::metrics::ShardStats;
use crate::shard::mailbox::{MAILBOX_LEN_MAX, Mail};
use crate::shard::{self, Parts};

pub mod feed;
pub mod plays;
pub mod remote;

/// Messages from outside that may wait at a shard.
const OUTSIDE_LEN_MAX: usize = 1024;

/// Where the engine listens: the real ports where 0 was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// RTMP.
    pub rtmp: SocketAddr,
    /// HTTP play.
    pub http: SocketAddr,
    /// RTMP with TLS.
    pub rtmps: Option<SocketAddr>,
    /// HTTP play with TLS.
    pub https: Option<SocketAddr>,
    /// `/metrics`, where the engine serves it itself.
    pub control: Option<SocketAddr>,
}

/// What changes where RTMPS listens, where others have a flag.
pub const RTMPS_KEY: &str = "config FILE: rtmp.tls_listen";
/// And HTTPS.
pub const HTTPS_KEY: &str = "config FILE: http.tls_listen";

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A port cannot be bound.
    #[error("cannot listen on {address} for {what}: {error}; {}", listen_advice(error, flag))]
    Listen {
        /// What the port is for.
        what: &'static str,
        /// The flag that changes it.
        flag: &'static str,
        /// Where.
        address: SocketAddr,
        /// The system's reason. Not called `source`: the message has it, and would be shown with it a second time.
        error: std::io::Error,
    },
    /// The kernel interface that was asked for is not there.
    #[error("{0}")]
    Io(std::io::Error),
    /// A thread cannot be started.
    #[error("cannot start a shard: {0}")]
    Thread(std::io::Error),
}

/// Whether an address can be listened on. One that is taken is tried for some seconds, as at the start: its server may be about to end.
pub fn try_address(address: SocketAddr) -> std::io::Result<()> {
    io::bind(address, 1).map(drop)
}

/// What to do where a port cannot be bound.
pub fn listen_advice(error: &std::io::Error, flag: &str) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => format!(
            "ports below 1024 need a right. Give it to the program (sudo setcap cap_net_bind_service=+ep /path/to/millstream) or to its \
             service (AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit), or choose a port from 1024 on with --{flag} and put a \
             proxy in front"
        ),
        ErrorKind::AddrNotAvailable => {
            format!("this machine does not have that address. Choose one of its own, or 0.0.0.0 for all, with --{flag}")
        }
        _ => format!("is another server running there? Choose another address with --{flag}"),
    }
}

/// Why a running engine stopped by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A shard's runtime failed.
    #[error("shard {shard} failed: {source}")]
    Shard {
        /// Its number.
        shard: usize,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A shard's thread died of a defect.
    #[error("shard {0} died of a defect; the message is above")]
    Panicked(usize),
}

type End = (usize, Option<std::io::Result<()>>);

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    remote: Remote,
    ends: Receiver<End>,
}

/// The way into every shard's mailbox from outside.
#[derive(Clone, Debug)]
struct Mailboxes {
    shards: Arc<[(SyncSender<Mail>, ShardWaker)]>,
    draining: Arc<AtomicBool>,
}

impl Mailboxes {
    /// Puts mail where there is room for it. Full or closed, it comes back; where that is dropped, whoever waits for what was in it finds out by that.
    fn try_put(&self, shard: usize, mail: Mail) -> Result<(), Mail> {
        let Some((sender, waker)) = self.shards.get(shard) else { return Err(mail) };
        let put = sender.try_send(mail).map_err(|error| match error {
            TrySendError::Full(mail) | TrySendError::Disconnected(mail) => mail,
        });
        waker.wake();
        put
    }

    fn shutdown(&self) {
        self.draining.store(true, Ordering::SeqCst);
        for (sender, waker) in &*self.shards {
            // Waits for room, unlike other mail: this must arrive. Closed: the shard has ended.
            let _ = sender.send(Mail::Shutdown);
            waker.wake();
        }
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
}

/// Tells that a shard's thread has ended, however it ended.
struct Farewell(usize, Sender<End>, Option<std::io::Result<()>>);

impl Farewell {
    fn ended(&mut self, result: std::io::Result<()>) {
        self.2 = Some(result);
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.1.send((self.0, self.2.take()));
    }
}

/// Binds every port, then starts the shards.
pub fn start(mut config: Config, chain: Chain) -> Result<Engine, StartError> {
    let (driver, why) = io::choose(config.io).map_err(StartError::Io)?;
    let shards = config.shards.max(1);
    let descriptors = io::raise_descriptor_limit();
    let listen = |what, flag, address, count| {
        io::bind(address, count).map_err(|error| StartError::Listen { what, flag, address, error })
    };
    let (rtmp, rtmp_listeners) = listen("RTMP", "rtmp", config.rtmp, shards)?;
    let (http, http_listeners) = listen("HTTP", "http", config.http, shards)?;
    // Each shard has its own of those ports, too.
    let with_tls = |what, flag, address: Option<SocketAddr>| -> Result<_, StartError> {
        let bound = address.map(|address| listen(what, flag, address, shards)).transpose()?;
        let (at, listeners) = bound.map_or((None, Vec::new()), |(at, listeners)| (Some(at), listeners));
        let mut listeners = listeners.into_iter().map(Some).collect::<Vec<_>>();
        listeners.resize_with(shards, || None);
        Ok((at, listeners))
    };
    let tls = config.tls.as_ref();
    let (rtmps, secure_rtmp) = with_tls("RTMPS", RTMPS_KEY, tls.and_then(|tls| tls.rtmp))?;
    let (https, secure_http) = with_tls("HTTPS", HTTPS_KEY, tls.and_then(|tls| tls.http))?;
    let control = config.control.map(|control| listen("control", "control", control, 1)).transpose()?;
    let (control, control_listeners) = control.map_or((None, Vec::new()), |(at, listeners)| (Some(at), listeners));
    let addresses = Addresses { rtmp, http, rtmps, https, control };
    let connections = connections(config.limits.connections, descriptors, shards);
    if connections < config.limits.connections {
        // Of the default the line below tells enough.
        if config.limits.connections_asked_for {
            tracing::warn!(
                connections,
                configured = config.limits.connections,
                descriptors,
                "limits.connections is cut to what the limit of open descriptors allows; raise that (ulimit -n, LimitNOFILE=)"
            );
        }
        config.limits.connections = connections;
    }
    // What is left is for the kernel's buffers, which count in a control group and are not seen from here.
    let memory = config.limits.memory.or_else(|| Some(io::machine_bytes()? / 10 * 9));
    config.limits.memory = memory;
    tracing::info!(?driver, why, shards, descriptors, connections, memory, "starting");

    let stats: Vec<_> = (0..shards).map(|_| Arc::new(ShardStats::new(&config.formats))).collect();
    let wake_listeners =
        (0..shards).map(|_| WakeListener::new()).collect::<Result<Vec<_>, _>>().map_err(StartError::Thread)?;
    let wakers: Vec<ShardWaker> = wake_listeners.iter().map(|(_, waker)| waker.clone()).collect();
    // `outboxes[from][to]` leads to one of `inboxes[to]`.
    let mut inboxes: Vec<_> = (0..shards).map(|_| Vec::new()).collect();
    let mut outboxes: Vec<_> = (0..shards).map(|_| Vec::new()).collect();
    for (from, outboxes) in outboxes.iter_mut().enumerate() {
        for (to, (inboxes, waker)) in inboxes.iter_mut().zip(&wakers).enumerate() {
            outboxes.push((from != to).then(|| {
                let (outbox, inbox) = io::mailbox(waker, MAILBOX_LEN_MAX);
                inboxes.push(inbox);
                outbox
            }));
        }
    }
    let (config, clock) = (Arc::new(config), Clock::start());
    let undrained = Arc::new(AtomicUsize::new(shards));
    let (end, ends) = channel();
    let (feed, plays) = (Feed::new(), PlayFeed::new());
    let (recorded_bytes, faults) = (Arc::default(), Arc::default());
    let mut remotes = Vec::new();
    let mut control_listener = control_listeners.into_iter().next();
    let ports = rtmp_listeners.into_iter().zip(http_listeners).zip(secure_rtmp.into_iter().zip(secure_http));
    let links = wake_listeners.into_iter().zip(inboxes).zip(outboxes).zip(vec![chain; shards]);
    for (index, (ports, ((((wake_listener, waker), inboxes), outboxes), chain))) in ports.zip(links).enumerate() {
        let ((rtmp, http), (rtmps, https)) = ports;
        let (outside_sender, outside) = sync_channel(OUTSIDE_LEN_MAX);
        remotes.push((outside_sender, waker.clone()));
        let room = Parts {
            index,
            config: Arc::clone(&config),
            clock,
            driver,
            chain,
            stats: stats.clone(),
            rtmp,
            http,
            rtmps,
            https,
            control: control_listener.take(),
            wake_listener,
            waker,
            recorded_bytes: Arc::clone(&recorded_bytes),
            outboxes,
            inboxes,
            outside,
            undrained: Arc::clone(&undrained),
            feed: Arc::clone(&feed),
            plays: Arc::clone(&plays),
            faults: Arc::clone(&faults),
        };
        spawn(room, end.clone()).map_err(StartError::Thread)?;
    }
    let mailboxes = Mailboxes { shards: remotes.into(), draining: Arc::default() };
    let more_metrics = config.more_metrics.clone();
    Ok(Engine {
        remote: Remote {
            mailboxes,
            stats: stats.into(),
            more_metrics,
            feed,
            plays,
            addresses,
            slates: config.slates.clone(),
        },
        ends,
    })
}

/// Descriptors that are not for connections of publishers and viewers: the link's, files, some that are just being closed, and as many for
/// control and webhooks as those have where there are few.
const DESCRIPTORS_KEPT: usize = 112;
/// Connections of the control port that are in [`DESCRIPTORS_KEPT`].
const CONTROL_CONNECTIONS_MIN: usize = 32;
/// Connections of the control port where there are descriptors enough.
const CONTROL_CONNECTIONS_MAX: usize = 512;
/// Deliveries of webhooks at the same time where there are descriptors enough.
const DELIVERIES_MAX: usize = 128;
/// Each shard's own: listeners, each of which is held twice, rings, wakers.
const DESCRIPTORS_KEPT_PER_SHARD: usize = 12;

/// How many connections there may be with so many descriptors; none are known where the system does not say.
fn connections(configured: usize, descriptors: u64, shards: usize) -> usize {
    match usize::try_from(descriptors) {
        Ok(0) | Err(_) => configured,
        Ok(most) => {
            let control = control_share(most) - CONTROL_CONNECTIONS_MIN + (most / 32).min(DELIVERIES_MAX);
            let kept = DESCRIPTORS_KEPT + control + DESCRIPTORS_KEPT_PER_SHARD * shards;
            configured.min(most.saturating_sub(kept).max(1))
        }
    }
}

/// How many connections the control port may have, so that it takes no descriptors of publishers and viewers.
pub fn control_connections() -> usize {
    usize::try_from(io::raise_descriptor_limit()).map_or(CONTROL_CONNECTIONS_MIN, control_share)
}

fn control_share(descriptors: usize) -> usize {
    (descriptors / 16).clamp(CONTROL_CONNECTIONS_MIN, CONTROL_CONNECTIONS_MAX)
}

fn spawn(parts: Parts, end: Sender<End>) -> std::io::Result<()> {
    let (index, driver) = (parts.index, parts.driver);
    let mut farewell = Farewell(index, end, None);
    io::start_shard(index, driver, move || shard::main(parts), move |result| farewell.ended(result))
}

impl Engine {
    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        self.remote.addresses()
    }

    /// A handle for other threads.
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Begins to drain: nothing new is taken, sessions end within the configured time. Returns at once; see [`Engine::wait`].
    pub fn shutdown(&self) {
        self.remote.shutdown();
    }

    /// Waits until all shards have drained, or one has failed.
    pub fn wait(self) -> Result<(), EngineError> {
        for _ in 0..self.remote.shards() {
            match self.ends.recv() {
                Ok((_, Some(Ok(())))) => {}
                Ok((shard, Some(Err(source)))) => return Err(EngineError::Shard { shard, source }),
                Ok((shard, None)) => return Err(EngineError::Panicked(shard)),
                // Every shard's thread tells of its end, so there is none left.
                Err(_) => break,
            }
        }
        Ok(())
    }
}
