//! Verdicts about viewers of HLS and DASH, who come again with each playlist: asked once, and kept as long as they keep coming.
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use millstream_policy::{Action, Request, Step, ViewerName};
use millstream_proto::network::counted;
use tokio::time::Instant;

/// Verdicts kept.
const KEPT_MAX: usize = 65_536;
/// Of those, about one address: it can call itself what it likes.
const KEPT_PER_ADDRESS_MAX: usize = 1024;

/// Who is asked about, for what.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    address: IpAddr,
    /// The session of those who have one.
    session: Option<u64>,
    publish: bool,
    app: String,
    name: String,
    /// What the requests of a viewer of HLS, DASH or recorded files have in common.
    viewer: Option<ViewerName>,
    query: String,
    bearer: String,
}

impl Key {
    pub(super) fn of(request: &Request) -> Self {
        let client = &request.client;
        let has_session = !matches!(client.protocol, "hls" | "dash" | "recorded");
        let text = |secret: &millstream_proto::secret::Secret| secret.expose().to_owned();
        Self {
            address: client.address.ip().to_canonical(),
            session: has_session.then_some(client.session),
            publish: request.action == Action::Publish,
            app: request.app.as_str().to_owned(),
            name: request.name.as_str().to_owned(),
            viewer: client.viewer,
            query: text(&super::forms::args(request).to_query()),
            bearer: client.bearer.as_ref().map(text).unwrap_or_default(),
        }
    }

    /// The stream.
    pub(super) fn stream(&self) -> &str {
        &self.name
    }

    /// Whether it comes again with each playlist.
    pub(super) const fn comes_again(&self) -> bool {
        self.session.is_none()
    }

    /// Whom it is counted for.
    pub(super) fn counted(&self) -> IpAddr {
        counted(self.address)
    }
}

struct Verdict {
    step: Step,
    used: Instant,
}

pub(super) struct Kept {
    verdicts: HashMap<Key, Verdict>,
    of_address: HashMap<IpAddr, usize>,
    time: Duration,
}

impl Kept {
    /// Each up to this long after its last use.
    pub(super) fn new(time: Duration) -> Self {
        Self { verdicts: HashMap::new(), of_address: HashMap::new(), time }
    }

    /// The verdict about this one, which is used now.
    pub(super) fn find(&mut self, key: &Key, now: Instant) -> Option<Step> {
        let verdict = self.verdicts.get_mut(key).filter(|verdict| now < verdict.used + self.time)?;
        // A refusal is not prolonged by asking: what it was for may have changed.
        if !matches!(verdict.step, Step::Deny(_)) {
            verdict.used = now;
        }
        Some(verdict.step.clone())
    }

    pub(super) fn keep(&mut self, key: Key, step: Step, now: Instant) {
        if self.time.is_zero() || !key.comes_again() {
            return;
        }
        if !self.verdicts.contains_key(&key) {
            if self.is_full(&key) {
                self.forget(now);
            }
            if self.is_full(&key) {
                return;
            }
            *self.of_address.entry(key.counted()).or_default() += 1;
        }
        self.verdicts.insert(key, Verdict { step, used: now });
    }

    fn is_full(&self, key: &Key) -> bool {
        let own = self.of_address.get(&key.counted()).copied().unwrap_or(0);
        self.verdicts.len() >= KEPT_MAX || own >= KEPT_PER_ADDRESS_MAX
    }

    /// Drops those whose time is over.
    pub(super) fn forget(&mut self, now: Instant) {
        let time = self.time;
        self.verdicts.retain(|_, verdict| now < verdict.used + time);
        self.of_address.clear();
        for key in self.verdicts.keys() {
            *self.of_address.entry(key.counted()).or_default() += 1;
        }
    }
}
