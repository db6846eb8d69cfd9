//! A session: who is connected, until when it must have done something, and how it is ended from outside its own task. One slow sweep replaces a timer per session.
//! Before it: [`super::sessions`], which has all of them; after it: its task.
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use millstream_hub::config::StreamConfig;
use millstream_hub::viewer::{self, Viewer};
use millstream_policy::Request;
use millstream_proto::time::Time;
use tracing::Span;

use super::budget::OfConnection;
use super::granted::Granted;
use super::sessions::Sessions;
use super::wait::Notify;
use crate::close::CloseReason;
use crate::io::Closer;

/// What a session plays.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) config: StreamConfig,
    pub(crate) viewer: Rc<RefCell<Viewer>>,
    /// What it came over.
    pub(crate) protocol: &'static str,
    pub(crate) since: Time,
}

pub(crate) struct Session {
    /// Its number, unique in the process.
    pub(crate) number: u64,
    /// Its span: what is logged of it is logged in there.
    pub(crate) span: Span,
    /// Wakes its viewer task.
    pub(crate) notify: Notify,
    /// How often it may publish.
    pub(crate) publishes: Cell<OfConnection>,
    /// What it was admitted for.
    pub(crate) granted: RefCell<Granted>,
    peer: Cell<SocketAddr>,
    /// Its connection is encrypted, by us or as a proxy in front says.
    pub(super) secure: Cell<bool>,
    /// Whether it counts for that address: not before a proxy has named it.
    counted: Cell<bool>,
    closer: Closer,
    deadline: Cell<Option<Time>>,
    ending: Cell<Option<CloseReason>>,
    pub(super) new: Cell<bool>,
    idle: Cell<bool>,
    /// Requests on it are sessions of their own, which count in its place.
    pub(super) carries: Cell<bool>,
    /// Its end needs no line of its own.
    quiet: Cell<bool>,
    watching: RefCell<Option<Watched>>,
    home: Weak<Sessions>,
}

impl Session {
    pub(super) fn new(
        home: &Rc<Sessions>,
        number: u64,
        peer: SocketAddr,
        counted: bool,
        span: Span,
        closer: Closer,
    ) -> Self {
        Self {
            number,
            peer: Cell::new(peer),
            secure: Cell::new(false),
            counted: Cell::new(counted),
            span,
            notify: Notify::default(),
            publishes: Cell::default(),
            granted: RefCell::default(),
            closer,
            deadline: Cell::new(None),
            ending: Cell::new(None),
            new: Cell::new(false),
            idle: Cell::new(false),
            carries: Cell::new(false),
            quiet: Cell::new(false),
            watching: RefCell::new(None),
            home: Rc::downgrade(home),
        }
    }

    /// Its address; the proxy's until that has named the client.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer.get()
    }

    /// A proxy has named the address behind it, which counts from here on; an error is the limit that this would pass.
    pub(crate) fn comes_from(&self, peer: SocketAddr) -> Result<(), CloseReason> {
        self.span.record("peer", tracing::field::display(peer));
        self.peer.set(peer);
        if let Some(home) = self.home.upgrade()
            && !self.counted.get()
        {
            home.new.borrow_mut().comes_from(self.number, peer.ip());
            home.count(peer.ip())?;
            self.counted.set(true);
        }
        Ok(())
    }

    /// Whether the client's connection is encrypted is known, or a proxy has said so.
    pub(crate) fn set_secure(&self, secure: bool) {
        self.secure.set(secure);
    }

    /// Whether the client's connection is encrypted, as far as that is known.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure.get()
    }

    /// A proxy that many share has named whom the request that follows is for: that address counts until [`Session::served`], or to the
    /// session's end. An error is the limit that this would pass; then nobody counts.
    pub(crate) fn serves(&self, client: SocketAddr) -> Result<(), CloseReason> {
        let Some(home) = self.home.upgrade() else { return Ok(()) };
        self.uncount(&home);
        self.peer.set(client);
        home.count(client.ip())?;
        self.counted.set(true);
        Ok(())
    }

    /// The request has been answered: the connection is the proxy's again, and counts for nobody.
    pub(crate) fn served(&self, proxy: SocketAddr) {
        if let Some(home) = self.home.upgrade() {
            self.uncount(&home);
        }
        self.peer.set(proxy);
    }

    /// A proxy that many share is all that is known of the client so far.
    pub(crate) fn comes_through(&self, proxy: SocketAddr) {
        self.peer.set(proxy);
    }

    /// Tells the log whom the rest of the connection is for.
    pub(crate) fn name_peer(&self) {
        self.span.record("peer", tracing::field::display(self.peer()));
    }

    pub(super) fn uncount(&self, home: &Sessions) {
        if self.counted.replace(false) {
            home.uncount(self.peer().ip());
        }
    }

    /// It must have moved this deadline by then, or is ended.
    pub(crate) fn set_deadline(&self, deadline: Option<Time>) {
        self.deadline.set(deadline);
    }

    /// It has asked for something: it no longer counts against the limit of those that have not.
    pub(crate) fn asked(&self) {
        if self.new.replace(false)
            && let Some(home) = self.home.upgrade()
        {
            home.new.borrow_mut().remove(self.number);
        }
    }

    /// Whether it has yet to ask for something.
    pub(crate) fn is_new(&self) -> bool {
        self.new.get()
    }

    /// It waits for a request, or has one.
    pub(crate) fn set_idle(&self, idle: bool) {
        if self.idle.replace(idle) != idle
            && let Some(home) = self.home.upgrade()
        {
            let mut all = home.idle.borrow_mut();
            if idle {
                all.insert(self.number)
            } else {
                all.remove(&self.number)
            };
        }
    }

    /// Requests on it have begun to be sessions of their own: the first counts in its place. Or all of them are over, and it counts again. `counted`: for
    /// its address, too.
    pub(crate) fn set_carries(&self, carries: bool, counted: bool) {
        let Some(home) = self.home.upgrade() else { return };
        if self.carries.replace(carries) == carries {
            return;
        }
        if carries {
            home.carrying.set(home.carrying.get() + 1);
            self.uncount(&home);
        } else {
            home.carrying.set(home.carrying.get() - 1);
            if counted {
                home.count_again(self.peer().ip());
                self.counted.set(true);
            }
        }
        home.tell();
    }

    /// Whether requests on it are sessions of their own.
    pub(crate) fn carries(&self) -> bool {
        self.carries.get()
    }

    /// Whether its end needs no line of its own in the log.
    pub(crate) fn set_quiet(&self, quiet: bool) {
        self.quiet.set(quiet);
    }

    /// Whether its end has been told already.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.get()
    }

    /// Whether it has nothing to do, and loses nothing when it ends.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle.get()
    }

    /// Whether it plays or played.
    pub(crate) fn was_watching(&self) -> bool {
        self.watching.borrow().is_some()
    }

    /// Why it is being ended, if it is.
    pub(crate) fn ending(&self) -> Option<CloseReason> {
        self.ending.get()
    }

    /// Ends it: its task finds the connection closed, and this reason.
    pub(crate) fn end(&self, why: CloseReason) {
        if self.ending.get().is_none() {
            self.ending.set(Some(why));
        }
        self.closer.close();
        self.notify.notify();
    }

    /// Why it ends where the socket says this: a socket that we closed looks like one that the peer closed.
    pub(crate) fn ended_by(&self, socket: CloseReason) -> CloseReason {
        self.ending.get().unwrap_or(socket)
    }

    /// Ends it, but lets it say goodbye: reading ends, writing goes on.
    pub(crate) fn end_politely(&self, why: CloseReason) {
        if self.ending.get().is_none() {
            self.ending.set(Some(why));
        }
        self.closer.close_read();
        self.notify.notify();
    }

    fn is_expired(&self, now: Time) -> bool {
        self.granted.borrow().is_over(now)
    }

    /// What is to be asked about it again now.
    pub(super) fn take_recheck(&self, now: Time) -> Option<Request> {
        self.granted.borrow_mut().take_recheck(now).filter(|_| self.ending().is_none())
    }

    /// Ends it because it may not go on: a viewer at once, a publisher politely.
    pub(super) fn end_as_asked(&self, why: CloseReason) {
        if self.was_watching() { self.end(why) } else { self.end_politely(why) }
    }

    pub(super) fn is_overdue(&self, now: Time) -> bool {
        self.has_missed(now)
            || self.ending().is_none() && self.is_expired(now)
            || self.ending().is_none() && self.stuck(now).is_some()
    }

    pub(super) fn end_overdue(&self, now: Time) {
        // Also one that is being ended: its goodbye has a deadline too.
        if self.has_missed(now) {
            self.end(CloseReason::Timeout);
        } else if self.ending().is_none() && self.is_expired(now) {
            self.end_as_asked(CloseReason::Expired);
        } else if self.ending().is_none() {
            match self.stuck(now) {
                // Nothing is under way: it finds out by itself, and can say goodbye.
                Some(viewer::CloseReason::NoStart) => self.notify.notify(),
                Some(why) => self.end(why.into()),
                None => {}
            }
        }
    }

    fn has_missed(&self, now: Time) -> bool {
        self.deadline.get().is_some_and(|deadline| deadline <= now)
    }

    /// Why what it plays is to end.
    fn stuck(&self, now: Time) -> Option<viewer::CloseReason> {
        let watching = self.watching.borrow();
        let Watched { config, viewer, .. } = watching.as_ref()?;
        // A viewer that is being worked on is not overdue.
        viewer.try_borrow().ok().and_then(|viewer| viewer.overdue(config, now))
    }

    /// Whether it is being ended so that others have its place.
    pub(super) fn gives_way(&self) -> bool {
        matches!(self.ending(), Some(CloseReason::Handshakes | CloseReason::GaveWay))
    }

    /// What it plays or played.
    pub(crate) fn watched(&self) -> Option<Watched> {
        self.watching.borrow().clone()
    }

    /// It plays: the sweep looks after its viewer from here on.
    pub(crate) fn watch(&self, watched: Watched) {
        *self.watching.borrow_mut() = Some(watched);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.asked();
        self.set_idle(false);
        if let Some(home) = self.home.upgrade() {
            home.forget(self);
        }
    }
}

/// Ends a session whose task ends without having said so: a defect. Its other task is not to go on alone.
pub(crate) struct EndsWith<'a>(pub(crate) &'a Session);

impl Drop for EndsWith<'_> {
    fn drop(&mut self) {
        self.0.end(CloseReason::Defect);
    }
}
