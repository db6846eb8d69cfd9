//! The certificate that control has for all its nodes: the node shows the challenges that are pending before it says so, and fetches the file with the key when
//! it lacks it, over TLS alone. Before it: what polls are answered with; after it: a [`TlsHost`], which has the ports and the data directory. A node without
//! one has certificates of its own, and control leaves it alone.
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_control_protocol::exchange::Poll;
use millstream_control_protocol::tls::{FleetTls, PendingChallenge};
use millstream_fleet::backoff::Backoff;
use millstream_fleet::certificates::{is_sha256, sha256_of};
use millstream_proto::secret::Secret;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::control::Control;

/// Tries to get a file that could not be had.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// The shards show challenges within this time, or control is not told that they do.
const SHOW_WAIT: Duration = Duration::from_secs(5);
/// After a failure to show them it is tried again.
const SHOW_RETRY: Duration = Duration::from_secs(1);
/// Control hears that they are shown with the next poll, which waits so long for that: it is answered at once until then.
const POLL_PAUSE: Duration = Duration::from_secs(1);

/// What comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Has a node's ports with TLS.
pub trait TlsHost: Send + Sync {
    /// Answers these challenges from here on, and no others; done when every shard does. The error is for people.
    fn show(&self, challenges: Vec<PendingChallenge>) -> Later<'_, Result<(), String>>;

    /// SHA-256 of the file that is in use, where one is. One that is kept and was refused is not in use.
    fn in_use(&self) -> Later<'_, Option<String>>;

    /// What clients do not accept of what is in use, for people.
    fn problem(&self) -> Option<String>;

    /// Keeps this file, with certificate, chain and key, and takes it into use. The error says, for people, why it is not in use, and does not quote it.
    fn take(&self, file: Secret) -> Later<'_, Result<(), String>>;
}

/// The certificate and the challenges of control.
pub(super) struct OfControl {
    host: Mutex<Option<Arc<dyn TlsHost>>>,
    /// The newest of what control has told.
    told: watch::Sender<FleetTls>,
    /// The number of what is shown.
    shown: watch::Sender<u64>,
    /// SHA-256 of the file that is wanted; empty: none is.
    wanted: watch::Sender<String>,
    warning: Mutex<Option<String>>,
}

impl Default for OfControl {
    fn default() -> Self {
        let (told, shown, wanted) = (watch::Sender::default(), watch::Sender::default(), watch::Sender::default());
        Self { host: Mutex::default(), told, shown, wanted, warning: Mutex::default() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for OfControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfControl")
            .field("shown", &*self.shown.borrow())
            .field("wanted", &*self.wanted.borrow())
            .finish_non_exhaustive()
    }
}

impl OfControl {
    /// Who takes it, from here on.
    pub(super) fn is_taken_by(&self, host: Arc<dyn TlsHost>) {
        *lock(&self.host) = Some(host);
    }

    fn host(&self) -> Option<Arc<dyn TlsHost>> {
        lock(&self.host).clone()
    }

    /// Says in a poll what is shown. A control with another store than the one that is followed is not asked: whoever it is, its certificates are not for this node.
    pub(super) fn say(&self, poll: &mut Poll) {
        poll.tls = (self.host().is_some() && poll.refused.is_none()).then(|| *self.shown.borrow());
    }

    /// Has shown what control has told, and has the file brought; returns when the challenges are shown, or soon if they cannot be.
    pub(super) async fn take_in(&self, told: FleetTls, refuses: bool) {
        if refuses || self.host().is_none() {
            return;
        }
        if !told.certificate.is_empty() {
            self.wanted.send_if_modified(|wanted| {
                let differs = *wanted != told.certificate;
                wanted.clone_from(&told.certificate);
                differs
            });
        }
        let number = told.number;
        self.told.send_if_modified(|newest| {
            let differs = newest.number != number;
            *newest = told;
            differs
        });
        let mut shown = self.shown.subscribe();
        drop(timeout(POLL_PAUSE, shown.wait_for(|shown| *shown == number)).await);
    }

    /// Shows the newest of what control tells, for ever, and tries again what cannot be shown.
    pub(super) async fn show(&self) {
        let Some(host) = self.host() else { return };
        let mut changes = self.told.subscribe();
        let mut said = None;
        loop {
            let told = changes.borrow_and_update().clone();
            if told.number == *self.shown.borrow() {
                // Its sender is here, too.
                drop(changes.changed().await);
                continue;
            }
            let count = told.challenges.len();
            let shown = timeout(SHOW_WAIT, host.show(told.challenges)).await;
            match shown.unwrap_or_else(|_| Err("the shards do not answer".to_owned())) {
                Ok(()) => {
                    if count > 0 {
                        tracing::info!(count, "challenges of an authority are answered for control");
                    }
                    said = None;
                    self.shown.send_replace(told.number);
                }
                Err(error) => {
                    if said.as_ref() != Some(&error) {
                        tracing::warn!(
                            error,
                            "challenges of an authority cannot be answered; it is tried again, which is told once the reason is another"
                        );
                        said = Some(error);
                    }
                    drop(timeout(SHOW_RETRY, changes.changed()).await);
                }
            }
        }
    }

    /// For the report: what is wrong.
    pub(super) fn warning(&self) -> Option<String> {
        lock(&self.warning).clone()
    }

    /// Brings here what is wanted, for ever; `told` hears of it where there is something to report.
    pub(super) async fn bring(&self, control: &Control, seed: u64, told: &Notify) {
        let Some(host) = self.host() else { return };
        let (least, most) = RETRY;
        let mut backoff = Backoff::new(least, most, seed);
        let mut changes = self.wanted.subscribe();
        loop {
            let wanted = changes.borrow_and_update().clone();
            let brought = if wanted.is_empty() { Ok(()) } else { bring(control, &*host, &wanted).await };
            let failed = brought.is_err();
            self.settle(brought.err(), told);
            if failed {
                drop(timeout(backoff.next_wait(), changes.changed()).await);
            } else {
                backoff.reset();
                // Its sender is here, too.
                drop(changes.changed().await);
            }
        }
    }

    fn settle(&self, warning: Option<String>, told: &Notify) {
        let mut said = lock(&self.warning);
        if *said != warning {
            if let Some(warning) = &warning {
                tracing::error!("{warning}");
            }
            *said = warning;
            told.notify_one();
        }
    }
}

/// Has this file in use, and fetches it where another one is. An error also where clients do not accept it: the clock or the configuration may be mended.
async fn bring(control: &Control, host: &dyn TlsHost, sha256: &str) -> Result<(), String> {
    // It becomes a part of a path.
    if !is_sha256(sha256) {
        return Err("control names its certificate by what is no SHA-256".to_owned());
    }
    if host.in_use().await.is_none_or(|in_use| in_use != sha256) {
        fetch(control, host, sha256).await?;
    }
    match host.problem() {
        Some(problem) => Err(format!("control's certificate is in use, but clients do not accept it here: {problem}")),
        None => Ok(()),
    }
}

async fn fetch(control: &Control, host: &dyn TlsHost, sha256: &str) -> Result<(), String> {
    let cannot = |error: String| format!("control's certificate is not here: {error}");
    let file = control.certificate(sha256).await.map_err(|error| cannot(error.to_string()))?;
    if sha256_of(&file) != sha256 {
        return Err(cannot("what control sends is another file than it names".to_owned()));
    }
    host.take(file).await.map_err(|error| format!("control's certificate cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use millstream_control_protocol::exchange::NodeId;
    use millstream_control_protocol::state::Version;
    use millstream_fleet::{DropEvents, Fleet};
    use tokio::time::{Instant, sleep};

    use super::*;

    /// What a host was told.
    #[derive(Default)]
    struct Told {
        tokens: Vec<String>,
        kept: Option<Secret>,
        takes: u32,
        refuses: bool,
        problem: Option<String>,
    }

    #[derive(Clone, Default)]
    struct Host(Arc<Mutex<Told>>);

    impl TlsHost for Host {
        fn show(&self, challenges: Vec<PendingChallenge>) -> Later<'_, Result<(), String>> {
            let mut told = lock(&self.0);
            let done = if told.refuses { Err("no".to_owned()) } else { Ok(()) };
            told.tokens = challenges.into_iter().map(|challenge| challenge.token).collect();
            Box::pin(async { done })
        }

        fn in_use(&self) -> Later<'_, Option<String>> {
            let in_use = lock(&self.0).kept.as_ref().map(sha256_of);
            Box::pin(async { in_use })
        }

        fn problem(&self) -> Option<String> {
            lock(&self.0).problem.clone()
        }

        fn take(&self, file: Secret) -> Later<'_, Result<(), String>> {
            let mut told = lock(&self.0);
            told.takes += 1;
            let done = if told.refuses { Err("no".to_owned()) } else { Ok(()) };
            told.kept = done.is_ok().then_some(file);
            Box::pin(async { done })
        }
    }

    fn poll(of_control: &OfControl, refused: Option<Version>) -> Option<u64> {
        let mut poll = Poll { node: NodeId::default(), refused, ..Poll::default() };
        of_control.say(&mut poll);
        poll.tls
    }

    fn tls(number: u64, token: &str) -> FleetTls {
        let challenge = PendingChallenge { token: token.to_owned(), ..PendingChallenge::default() };
        FleetTls { number, challenges: vec![challenge], ..FleetTls::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn control_hears_that_challenges_are_shown_once_they_are() {
        let (of_control, host) = (Arc::new(OfControl::default()), Host::default());
        assert_eq!(poll(&of_control, None), None, "a node with certificates of its own is left alone");
        of_control.take_in(tls(1, "a"), false).await;
        of_control.is_taken_by(Arc::new(host.clone()));
        let of = Arc::clone(&of_control);
        tokio::spawn(async move { of.show().await });
        assert_eq!(poll(&of_control, None), Some(0));
        of_control.take_in(tls(5, "a"), false).await;
        assert_eq!((poll(&of_control, None), &*lock(&host.0).tokens), (Some(5), &["a".to_owned()][..]));
        // A control whose state is not taken: neither are its challenges.
        of_control.take_in(tls(6, "b"), true).await;
        assert_eq!((poll(&of_control, Some(Version::default())), poll(&of_control, None)), (None, Some(5)));
        assert_eq!(lock(&host.0).tokens, ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn challenges_that_cannot_be_shown_hold_up_little_and_are_tried_until_there_are_others() {
        let (of_control, host) = (Arc::new(OfControl::default()), Host::default());
        of_control.is_taken_by(Arc::new(host.clone()));
        let of = Arc::clone(&of_control);
        tokio::spawn(async move { of.show().await });
        lock(&host.0).refuses = true;
        let before = Instant::now();
        of_control.take_in(tls(7, "c"), false).await;
        assert_eq!((poll(&of_control, None), &*lock(&host.0).tokens), (Some(0), &["c".to_owned()][..]));
        // Told again at once, and then others.
        of_control.take_in(tls(7, "c"), false).await;
        of_control.take_in(tls(8, "d"), false).await;
        assert!(before.elapsed() <= 3 * POLL_PAUSE, "{:?}", before.elapsed());
        assert_eq!((poll(&of_control, None), &*lock(&host.0).tokens), (Some(0), &["d".to_owned()][..]));
        lock(&host.0).refuses = false;
        sleep(2 * SHOW_RETRY).await;
        assert_eq!(poll(&of_control, None), Some(8), "without being told again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_fetched_once_checked_and_tried_again_where_it_cannot_be_used() {
        let (of_control, host) = (Arc::new(OfControl::default()), Host::default());
        of_control.is_taken_by(Arc::new(host.clone()));
        let fleet = Fleet::new([], String::new(), DropEvents);
        let (control, of) = (Control::Here(fleet.clone()), Arc::clone(&of_control));
        tokio::spawn(async move { of.bring(&control, 1, &Notify::new()).await });
        let named = |certificate: &str| FleetTls { certificate: certificate.to_owned(), ..FleetTls::default() };
        let settled = || tokio::time::sleep(Duration::from_millis(100));
        // One that control has no longer, and one that is no name at all.
        for (other, words) in [("0".repeat(64), "no certificate of this SHA-256"), ("../x".to_owned(), "no SHA-256")] {
            of_control.take_in(named(&other), false).await;
            settled().await;
            assert!(of_control.warning().is_some_and(|warning| warning.contains(words)), "{:?}", of_control.warning());
        }
        let file = Secret::new("hush");
        fleet.give_certificate(file.clone());
        lock(&host.0).refuses = true;
        of_control.take_in(named(&sha256_of(&file)), false).await;
        settled().await;
        assert!(of_control.warning().is_some_and(|warning| warning.contains("cannot be used")));
        lock(&host.0).refuses = false;
        tokio::time::sleep(RETRY.1).await;
        assert_eq!((of_control.warning(), lock(&host.0).kept.clone()), (None, Some(file.clone())));
        // Told again, as after a restart of control: it is here.
        let takes = lock(&host.0).takes;
        of_control.take_in(named(&"0".repeat(64)), false).await;
        settled().await;
        of_control.take_in(named(&sha256_of(&file)), false).await;
        settled().await;
        assert_eq!((lock(&host.0).takes, of_control.warning()), (takes, None));
        // In use, as after a restart, and not accepted by clients: that is told until it is mended, and nothing is fetched for it.
        of_control.take_in(named(&"0".repeat(64)), false).await;
        settled().await;
        lock(&host.0).problem = Some("the clock".to_owned());
        of_control.take_in(named(&sha256_of(&file)), false).await;
        settled().await;
        assert!(
            of_control
                .warning()
                .is_some_and(|warning| warning.contains("in use, but") && warning.contains("the clock"))
        );
        lock(&host.0).problem = None;
        tokio::time::sleep(2 * RETRY.1).await;
        assert_eq!((lock(&host.0).takes, of_control.warning()), (takes, None));
        assert!(!format!("{of_control:?}").contains("hush"));
    }
}
