//! What a worker is to be told of all that is wanted. Before it: the tables of what is wanted ([`crate::table`], [`crate::snapshots`], [`crate::sprites`],
//! [`crate::watches`], [`crate::marks`]); after it: [`crate::process`], which tells it.
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use millstream_proto::id::Id;
use millstream_worker::protocol::{HookKey, HookUse, Order, PAYLOAD_BYTES_MAX, QUALITY, SecretUrl};

use super::Shared;
use crate::addresses::{At, Way};
use crate::fetch::fetch;
use crate::hooks::{Looks, MotionHook, MotionHooks};
use crate::table::Told;
use crate::watches::WatchOrder;

impl Shared {
    /// What a worker that has been told that much is to be told now, and when there may be more.
    pub(crate) fn orders(self: &Arc<Self>, told: &mut Told, way: Way) -> (Vec<Due>, Option<Instant>) {
        match self.addresses.get() {
            Some(addresses) => {
                let at = At { addresses, app: &self.app, jobs: &self.jobs, marks: &self.marks, way };
                let plain = |order| Due::Order(Box::new(order), Bytes::new());
                let with = |(order, payload)| Due::Order(Box::new(order), payload);
                let introduction = addresses.introduction(way).filter(|_| told.begin());
                let mut orders: Vec<_> = introduction.map(plain).into_iter().collect();
                let (of_renditions, look_at) = told.orders(&self.wanted(), &at, Instant::now());
                orders.extend(of_renditions.into_iter().map(with));
                let picture = |(request, stream)| Order::Snapshot {
                    request,
                    source: SecretUrl::new(at.stream(&stream)),
                    width_max: None,
                    quality: QUALITY,
                };
                let fetch_at = self.fetch_images();
                orders.extend(self.snapshots().requests().into_iter().map(picture).map(plain));
                orders.extend(self.sprites().order().map(with));
                let (watches, watch_at) = self.watches().orders(Instant::now(), |stream| self.hooks_of(stream));
                orders.extend(watches.into_iter().map(|order| match order {
                    WatchOrder::Watch(watch, stream, motion, hooks) => {
                        let source = SecretUrl::new(at.stream(&stream));
                        let of_stream = |hook| HookUse { hook, app: self.app.clone(), stream: stream.to_string() };
                        let [hook, shadow] = hooks.map(|hook| hook.map(of_stream));
                        plain(Order::Watch { watch, source, motion, hook, shadow })
                    }
                    WatchOrder::Unwatch(watch) => plain(Order::Unwatch { watch }),
                    WatchOrder::Unhook(hook) => plain(Order::Unhook { hook }),
                    WatchOrder::Hook(number, hook) => Due::Hook(number, hook),
                }));
                (orders, look_at.into_iter().chain(watch_at).chain(fetch_at).min())
            }
            None => (Vec::new(), None),
        }
    }

    /// What a worker has been told that has just begun.
    pub(crate) fn told_nothing(&self) -> Told {
        Told::without(self.crashes().all_left_out(Instant::now()))
    }

    fn hooks_of(&self, stream: &Id) -> Looks {
        let of = |hooks: &Arc<dyn MotionHooks>| Looks { hook: hooks.of(stream), shadow: hooks.beside(stream) };
        self.hooks.get().map(of).unwrap_or_default()
    }

    /// Whether a worker has to run hooks for what is wanted now.
    pub(crate) fn needs_hooks(&self) -> bool {
        self.hooks.get().is_some()
            && self.watches().streams().any(|stream| self.hooks_of(stream).all().next().is_some())
    }

    /// Fetches images that are wanted; gives when there may be more to fetch.
    fn fetch_images(self: &Arc<Self>) -> Option<Instant> {
        let without_room = self.marks().without_room();
        for (stream, why) in without_room {
            self.tell_of_marks(&stream, &why);
        }
        let (urls, next) = self.marks().fetches(Instant::now());
        for url in urls {
            let (shared, wait) = (Arc::clone(self), self.marks().begin(&url));
            self.runtime.spawn(async move {
                let fetched = fetch(&url, &shared.guard).await.map_err(|error| error.to_string());
                let told = shared.marks().fetched(&url, fetched, wait, Instant::now());
                for (stream, why) in told {
                    shared.tell_of_marks(&stream, &why);
                }
                shared.notify.notify_one();
            });
        }
        next
    }

    /// Pictures of some stream are looked at.
    pub(crate) fn is_watching(&self) -> bool {
        self.watches().counts().1 > 0
    }
}

/// What a worker is to be told.
pub(crate) enum Due {
    Order(Box<Order>, Bytes),
    /// A hook with this number, whose code has yet to be read.
    Hook(u64, Arc<MotionHook>),
}

impl Due {
    /// The order. Code is read, and made good for the worker with this key, on a thread that may wait.
    pub(crate) async fn order(self, key: Option<&HookKey>) -> (Order, Bytes) {
        let (hook, of) = match self {
            Self::Order(order, payload) => return (*order, payload),
            Self::Hook(hook, of) => (hook, of),
        };
        let sealed = match key.copied() {
            Some(key) => {
                let of = Arc::clone(&of);
                tokio::task::spawn_blocking(move || (of.sealed)(&key)).await.ok().flatten()
            }
            None => None,
        };
        let sealed = sealed.filter(|sealed| sealed.len() <= PAYLOAD_BYTES_MAX);
        if key.is_none() {
            tracing::error!(
                hook = ?of,
                "its code goes to no worker of another machine without TLS, so it cannot look for motion: let transcode.worker_url begin with tls://"
            );
        } else if sealed.is_none() {
            tracing::warn!(
                hook = ?of,
                "its compiled form is not kept here, or is larger than 16 MiB: it cannot look for motion"
            );
        }
        (Order::Hook { hook, spec: of.spec.clone() }, sealed.unwrap_or_default())
    }
}
