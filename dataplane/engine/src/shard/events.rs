//! What a shard tells the outside, before it: whoever publishes, ends or refuses; after it: [`crate::admin::feed`].
//!
//! Every refusal is counted, and of an address and a reason one a second is an event and a line in the log, with how many it stands for:
//! so a flood of them costs a look into a table each. What peers get wrong in a protocol is told in the same way, once a minute and in the
//! log alone. A name that belongs to no stream may be a key in the wrong field: one that looks like it goes no further than here.
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use millstream_control_protocol::event::{Event, What};
use millstream_policy::records::Labels;
use millstream_proto::id::Id;
use millstream_proto::network::counted;
use millstream_proto::redact;
use millstream_proto::time::Time;

use super::context::ShardContext;
use super::session::Session;
use crate::clock::unix_ms;
use crate::close::CloseReason;

/// One event of an address and a reason in this time.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// One line about what an address gets wrong in a protocol in this time.
pub(super) const FAULTS_EVERY: Duration = Duration::from_mins(1);
/// Addresses and reasons that are told apart; what comes on top is counted in the metrics alone.
const KEYS_MAX: usize = 4096;

/// Somebody who is not let in.
pub(crate) struct Refused<'a> {
    /// What it wanted: `publish`, `play`, or `connect` where it could not say yet.
    pub(crate) action: &'static str,
    /// As in `millstream_refused_total`.
    pub(crate) why: &'static str,
    /// What it is told.
    pub(crate) reason: &'a str,
    /// The stream; empty where it named none, or none that can be.
    pub(crate) stream: &'a str,
    /// The number of its session; 0 where it has none.
    pub(crate) session: u64,
    pub(crate) peer: SocketAddr,
    /// How it came.
    pub(crate) protocol: &'static str,
}

impl<'a> Refused<'a> {
    /// Of a session that wants to play, for what it gets to be told.
    pub(crate) fn of(session: &Session, protocol: &'static str, why: &'static str, reason: &'a str) -> Self {
        Self { action: "play", why, reason, stream: "", session: session.number, peer: session.peer(), protocol }
    }
}

impl Refused<'static> {
    /// Of a connection that a limit of connections keeps out.
    pub(crate) fn at_arrival(session: u64, peer: SocketAddr, protocol: &'static str, limit: CloseReason) -> Self {
        let reason = "there are as many connections as there may be, of this address or of all";
        Self { action: "connect", why: limit.label(), reason, stream: "", session, peer, protocol }
    }
}

/// Whose doing an event is.
pub(crate) struct OfSession<'a> {
    /// Empty: none.
    pub(crate) stream: &'a str,
    /// The session's number.
    pub(crate) number: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) protocol: &'static str,
    /// What a policy calls it.
    pub(crate) labels: Option<&'a Labels>,
}

/// An event that is told later.
struct Held {
    action: &'static str,
    reason: String,
    stream: String,
    session: u64,
    peer: SocketAddr,
    protocol: &'static str,
}

/// An event that is due, with how many it stands for.
struct Due {
    why: &'static str,
    count: u64,
    suppressed: Box<Held>,
}

struct Entry {
    /// When the last one was told.
    told: Time,
    /// Since then.
    more: u64,
    suppressed: Option<Box<Held>>,
}

/// What was refused lately, by address and reason.
pub(crate) struct Refusals {
    entries: RefCell<HashMap<(IpAddr, &'static str), Entry>>,
    every: Duration,
}

/// What peers got wrong in a protocol lately, of all shards: to the operator they are one server.
pub(crate) struct Faults(Mutex<Refusals>);

impl Default for Faults {
    fn default() -> Self {
        Self(Mutex::new(Refusals::new(FAULTS_EVERY)))
    }
}

impl Faults {
    fn with<T>(&self, on: impl FnOnce(&Refusals) -> T) -> T {
        on(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ShardContext {
    /// Tells the outside what happened with a session; lost, and counted, where nobody takes it in time.
    pub(crate) fn tell(&self, session: &OfSession<'_>, what: impl FnOnce() -> What) {
        if self.feed.is_on() {
            let OfSession { stream, number, peer, protocol, labels } = *session;
            self.put_event(Event {
                stream: stream.to_owned(),
                session: number,
                peer: peer.to_string(),
                protocol: protocol.to_owned(),
                labels: pairs(labels),
                what: what(),
                ..Event::default()
            });
        }
    }

    /// Tells the outside what happened to a stream, and was no session's doing.
    pub(crate) fn tell_of(&self, stream: &Id, what: impl FnOnce() -> What) {
        if self.feed.is_on() {
            self.put_event(Event { stream: stream.to_string(), what: what(), ..Event::default() });
        }
    }

    fn put_event(&self, event: Event) {
        if !self.feed.put(Event { at_unix_ms: unix_ms(), ..event }) {
            self.stats.events_lost.add(1);
        }
    }

    /// Counts a refusal, and tells it as far as that is not too often.
    pub(crate) fn refused(&self, refused: &Refused<'_>) {
        self.stats.refused.add(refused.why, 1);
        // To the outside a rendition is its stream.
        let stream = refused.stream.split('/').next().unwrap_or_default();
        let refused = &Refused { stream, ..*refused };
        let is_hidden = redact::looks_secret(refused.stream) && !self.knows(refused.stream);
        let refused = &Refused { stream: if is_hidden { "" } else { refused.stream }, ..*refused };
        if self.refusals.is_first(refused, self.now()) {
            let Refused { action, why, reason, stream, session, peer, protocol } = *refused;
            // A viewer's typo is no operator's business, an encoder that is refused is.
            if action == "play" {
                tracing::info!(session, %peer, protocol, action, why, stream, reason, "refused");
            } else {
                tracing::warn!(session, %peer, protocol, action, why, stream, reason, "refused");
            }
            self.tell_refused(refused, 1);
        }
    }

    /// Tells what has gathered for long enough.
    pub(crate) fn tell_refusals(&self, now: Time) {
        for Due { why, count, suppressed } in self.refusals.take_due(now) {
            let Held { action, reason, stream, session, peer, protocol } = *suppressed;
            if action == "play" {
                tracing::info!(%peer, protocol, action, why, stream, reason, count, "refused again");
            } else {
                tracing::warn!(%peer, protocol, action, why, stream, reason, count, "refused again");
            }
            let reason = reason.as_str();
            self.tell_refused(&Refused { action, why, reason, stream: &stream, session, peer, protocol }, count);
        }
    }

    /// Whether there is a stream of that name: then it is no secret.
    fn knows(&self, name: &str) -> bool {
        Id::new(name).is_ok_and(|id| {
            self.directory.borrow().records().get(&id).is_some()
                || self.is_held.get().is_some_and(|is_held| is_held(&id))
        })
    }

    /// Tells what a peer got wrong in a protocol, as far as that is not too often; `fault` is in words. The end
    /// of a session that has asked for nothing is told with it.
    pub(crate) fn garbled(&self, session: &Session, protocol: &'static str, why: CloseReason, fault: &str) {
        session.set_quiet(session.is_new());
        let why = why.label();
        let refused = Refused { action: "speak", ..Refused::of(session, protocol, why, fault) };
        let is_first = self.faults.with(|faults| faults.is_first(&refused, self.now()));
        if is_first {
            let (number, peer) = (session.number, session.peer());
            tracing::warn!(session = number, %peer, protocol, kind = why, error = fault, "protocol error");
        }
    }

    /// Tells what has gathered for long enough.
    pub(crate) fn tell_faults(&self, now: Time) {
        let due = self.faults.with(|faults| faults.take_due(now));
        for Due { why: kind, count, suppressed } in due {
            let Held { reason, peer, protocol, .. } = *suppressed;
            tracing::warn!(%peer, protocol, kind, error = reason, count, "protocol error again");
        }
    }

    fn tell_refused(&self, refused: &Refused<'_>, count: u64) {
        let Refused { action, why, reason, stream, session, peer, protocol } = *refused;
        let session = OfSession { stream, number: session, peer, protocol, labels: None };
        self.tell(&session, || What::Refused {
            action: action.to_owned(),
            why: why.to_owned(),
            reason: reason.to_owned(),
            count,
        });
    }
}

/// Labels as the outside is told of them.
pub(super) fn pairs(labels: Option<&Labels>) -> BTreeMap<String, String> {
    labels.into_iter().flat_map(|labels| labels.iter().cloned()).collect()
}

impl Refusals {
    /// Tells one of each kind in this time.
    pub(super) fn new(every: Duration) -> Self {
        Self { entries: RefCell::default(), every }
    }

    /// Whether it is to be told by itself; else it is kept for later.
    fn is_first(&self, refused: &Refused<'_>, now: Time) -> bool {
        let mut entries = self.entries.borrow_mut();
        let key = (counted(refused.peer.ip()), refused.why);
        if let Some(entry) = entries.get_mut(&key) {
            entry.more += 1;
            entry.suppressed.get_or_insert_with(|| {
                Box::new(Held {
                    action: refused.action,
                    reason: refused.reason.to_owned(),
                    stream: refused.stream.to_owned(),
                    session: refused.session,
                    peer: refused.peer,
                    protocol: refused.protocol,
                })
            });
            return false;
        }
        let room = entries.len() < KEYS_MAX;
        if room {
            entries.insert(key, Entry { told: now, more: 0, suppressed: None });
        }
        room
    }

    /// What has gathered for long enough; who was quiet for as long is forgotten.
    fn take_due(&self, now: Time) -> Vec<Due> {
        let mut due = Vec::new();
        self.entries.borrow_mut().retain(|(_, why), entry| {
            if now < entry.told + self.every {
                return true;
            }
            let Some(suppressed) = entry.suppressed.take() else { return false };
            due.push(Due { why, count: std::mem::take(&mut entry.more), suppressed });
            entry.told = now;
            true
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str, why: &'static str, session: u64) -> Refused<'static> {
        let peer = SocketAddr::new(address.parse().unwrap(), 1000);
        Refused { action: "play", why, reason: "because", stream: "cam", session, peer, protocol: "rtmp" }
    }

    #[test]
    fn one_a_second_is_told_and_none_is_forgotten() {
        let refusals = Refusals::new(EVERY);
        let at = Time::from_millis;
        let (mut alone, mut of_others) = (0, 0);
        // Ten seconds of a refusal every millisecond, and looks as often as the shard's.
        for ms in 0..10_000 {
            alone += u64::from(refusals.is_first(&refused("192.0.2.1", "not_found", ms), at(ms)));
            if ms % 250 == 0 {
                let due = refusals.take_due(at(ms));
                assert!(due.len() <= 1);
                of_others += due.iter().map(|due| due.count).sum::<u64>();
            }
        }
        assert_eq!(alone, 1);
        of_others += refusals.take_due(at(20_000)).iter().map(|due| due.count).sum::<u64>();
        assert_eq!(alone + of_others, 10_000);
        // Quiet for a while: told at once again.
        assert!(refusals.take_due(at(30_000)).is_empty());
        assert!(refusals.is_first(&refused("192.0.2.1", "not_found", 1), at(30_001)));
    }

    #[test]
    fn addresses_and_reasons_are_told_apart_up_to_a_limit() {
        let refusals = Refusals::new(EVERY);
        let now = Time::from_millis(1);
        assert!(refusals.is_first(&refused("192.0.2.1", "not_found", 1), now));
        assert!(refusals.is_first(&refused("192.0.2.2", "not_found", 2), now));
        assert!(refusals.is_first(&refused("192.0.2.1", "expired", 3), now));
        assert!(refusals.is_first(&refused("2001:db8::1", "expired", 4), now));
        assert!(!refusals.is_first(&refused("2001:db8::2", "expired", 5), now), "the same /64");
        let told = (0..10_000_u32).filter(|n| {
            let address = std::net::Ipv4Addr::from_bits(0x0A00_0000 + n).to_string();
            refusals.is_first(&refused(&address, "not_found", 6), now)
        });
        assert_eq!(told.count(), KEYS_MAX - 4);
    }
}
