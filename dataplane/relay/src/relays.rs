//! All targets of this node's streams: followers for the shards, tasks for the network, and what people are told. Before it: the engine, which
//! offers streams; after it: [`super::push`].
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_control_protocol::live::Relay;
use millstream_fleet::http::dial::dial;
use millstream_fleet::http::guard::Guard;
use millstream_hub::subscriber::Subscriber;
use millstream_proto::id::Id;
use millstream_proto::rtmp::address::PushAddress;
use millstream_proto::rtmp::relay_path::Stop;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, UnboundedSender, channel, unbounded_channel};

use super::follower::Follower;
use super::link::{Link, Piece, QUEUE_BLOCKS, State};
use super::push::{Dialling, Push};

/// Starts relays, and knows of all that run. Cheap to clone.
#[derive(Clone)]
pub struct Relays(Arc<Shared>);

struct Shared {
    runtime: Handle,
    guard: Arc<Guard>,
    seed: u64,
    begun: AtomicU64,
    /// By stream.
    targets: Mutex<HashMap<Id, Vec<Target>>>,
}

struct Target {
    number: u64,
    address: PushAddress,
    link: Arc<Link>,
    followers: UnboundedSender<Receiver<Piece>>,
}

impl Relays {
    /// Connects to public addresses and those that `guard` allows. `seed` tells this server's streams from others': the engine has the same.
    pub fn new(runtime: Handle, guard: Guard, seed: u64) -> Self {
        let (begun, targets) = (AtomicU64::new(0), Mutex::default());
        Self(Arc::new(Shared { runtime, guard: Arc::new(guard), seed, begun, targets }))
    }

    /// Followers of a stream that is pushed on to these. One that is connected already goes on.
    pub fn followers(&self, id: &Id, addresses: &[PushAddress]) -> Vec<Box<dyn Subscriber>> {
        addresses.iter().map(|address| Box::new(self.follower(id, address)) as Box<dyn Subscriber>).collect()
    }

    fn follower(&self, id: &Id, address: &PushAddress) -> Follower {
        let (to, pieces) = channel(QUEUE_BLOCKS);
        let mut targets = self.0.targets();
        let of_stream = targets.entry(id.clone()).or_default();
        let known = of_stream.iter().find(|target| target.address == *address);
        let pieces = match known {
            Some(target) => match target.followers.send(pieces) {
                Ok(()) => return Follower::new(Arc::clone(&target.link), to),
                // Its task is just ending.
                Err(unsent) => unsent.0,
            },
            None => pieces,
        };
        let number = self.0.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let link = Arc::new(Link::new(address.to_string()));
        let (followers, coming) = unbounded_channel();
        of_stream.push(Target { number, address: address.clone(), link: Arc::clone(&link), followers });
        let push = Push {
            stream: id.to_string(),
            address: address.clone(),
            link: Arc::clone(&link),
            dial: self.dial(address),
            stop: Stop::new(self.0.seed, id),
            pieces,
            followers: coming,
            alone_until: None,
        };
        let (shared, id) = (Arc::clone(&self.0), id.clone());
        self.0.runtime.spawn(async move {
            push.run(shared.seed ^ number).await;
            shared.forget(&id, number);
        });
        Follower::new(link, to)
    }

    /// Connects to an address, as often as it is called.
    fn dial(&self, address: &PushAddress) -> Box<dyn Fn() -> Dialling + Send> {
        let (guard, address) = (Arc::clone(&self.0.guard), address.clone());
        Box::new(move || {
            let (guard, to) = (Arc::clone(&guard), address.clone());
            Box::pin(async move { dial((&to.host, to.port), to.secure, &to.to_string(), (&guard, None)).await })
        })
    }

    /// Where a stream is pushed on to, and how that goes.
    pub fn of(&self, stream: &str) -> Vec<Relay> {
        let Ok(id) = Id::new(stream) else { return Vec::new() };
        let targets = self.0.targets();
        targets.get(&id).into_iter().flatten().map(|target| target.link.shown()).collect()
    }

    /// Its numbers as OpenMetrics text, without its end. No label grows with streams.
    pub fn numbers(&self) -> String {
        let mut counts =
            [(State::Connecting, "connecting", 0_u64), (State::OnAir, "on_air", 0), (State::Waiting, "waiting", 0)];
        for target in self.0.targets().values().flatten() {
            let state = target.link.state();
            counts.iter_mut().filter(|(of, ..)| *of == state).for_each(|(_, _, count)| *count += 1);
        }
        let mut out = String::from(
            "# HELP millstream_relays Servers that streams are pushed on to, by state.\n# TYPE millstream_relays gauge\n",
        );
        for (_, word, count) in counts {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "millstream_relays{{state=\"{word}\"}} {count}");
        }
        let begun = self.0.begun.load(Ordering::Relaxed);
        let _ = writeln!(
            out,
            "# HELP millstream_relays_begun Relays that were begun.\n# TYPE millstream_relays_begun counter\nmillstream_relays_begun_total {begun}"
        );
        out
    }
}

impl Shared {
    fn targets(&self) -> MutexGuard<'_, HashMap<Id, Vec<Target>>> {
        // Every change under this lock is one step.
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, id: &Id, number: u64) {
        let mut targets = self.targets();
        if let Some(of_stream) = targets.get_mut(id) {
            of_stream.retain(|target| target.number != number);
            if of_stream.is_empty() {
                targets.remove(id);
            }
        }
    }
}
