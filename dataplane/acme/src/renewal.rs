//! The task that has a certificate ordered when its time has come, and tells what came of it. The one that is in use stays so until there is a
//! better one. Before it: the binary, which starts it; after it: [`crate::order`].
use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use millstream_tls::{Certificate, Certificates, PemFile};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use crate::client::Client;
use crate::error::OrderError;
use crate::files::Record;
use crate::numbers::{ISSUED, Numbers};
use crate::order::{Config, Kind, Server, now_s, order};
use crate::schedule::{Held, Schedule};

/// The clock may be set, and the machine may sleep: it is looked at so often.
const LOOK_EVERY: Duration = Duration::from_mins(10);
/// How often it is said again that a certificate cannot be renewed which has less than a third of its life left.
const TELL_EVERY_S: u64 = 86_400;
const DAY_S: u64 = 86_400;
/// Of a certificate that has to be renewed as soon as it is there.
const OLD: &str = "most of its life is over as it is issued; look at this machine's clock";

/// Tells the task that somebody has looked after things.
#[derive(Clone, Debug, Default)]
pub struct Hurry(Arc<Notify>);

impl Hurry {
    /// What has failed is tried soon.
    pub fn now(&self) {
        self.0.notify_one();
    }
}

/// What keeps a server in certificates.
#[derive(Debug)]
pub struct Renewal<S> {
    config: Config,
    server: Arc<S>,
    client: Client,
    schedule: Schedule,
    /// The directory of the authority that has issued the certificate.
    issued_by: Option<String>,
    hurry: Hurry,
    numbers: Numbers,
    /// When it was last said that things are bad.
    told_s: u64,
}

impl<S: Server> Renewal<S> {
    /// For this server; nothing happens until it runs.
    pub fn new(config: Config, server: S) -> Self {
        let Record { issued_by, failed } = config.files.record();
        let schedule = Schedule::new(failed, chance());
        let client = Client::new(config.authorities.clone());
        let server = Arc::new(server);
        let (hurry, numbers) = (Hurry::default(), Numbers::default());
        Self { config, server, client, schedule, issued_by, hurry, numbers, told_s: 0 }
    }

    /// The way to have it try soon.
    pub fn hurry(&self) -> Hurry {
        self.hurry.clone()
    }

    /// What it counts.
    pub fn numbers(&self) -> Numbers {
        self.numbers.clone()
    }

    /// Runs for as long as the process.
    pub async fn run(mut self) {
        loop {
            let now_s = now_s();
            let next_s = self.schedule.next_s(now_s, self.held());
            self.numbers.next_at(next_s.max(now_s));
            if next_s <= now_s {
                self.until_ready().await;
                self.order().await;
                continue;
            }
            self.remind(now_s);
            let wait = Duration::from_secs(next_s - now_s).min(LOOK_EVERY);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.hurry.0.notified() => self.schedule.hurry(),
            }
        }
    }

    /// Waits until an order is of use. That it waits for long is said, and to somebody who has looked after things at once.
    async fn until_ready(&mut self) {
        let server = Arc::clone(&self.server);
        let mut ready = pin!(server.ready());
        loop {
            tokio::select! {
                () = &mut ready => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.hurry.0.notified() => {
                    self.schedule.hurry();
                    self.told_s = 0;
                }
            }
            self.remind_of_wait(now_s());
        }
    }

    /// The certificate that is there.
    fn certificate(&self) -> Option<Certificate> {
        let bytes = self.config.files.read_certificate().ok().flatten()?;
        let file = [PemFile { name: "", bytes: &bytes }];
        Certificates::from_pem(&file, &file).ok()?.list().first().cloned()
    }

    fn held(&self) -> Option<Held> {
        let certificate = self.certificate()?;
        let wanted: HashSet<&str> = self.config.domains.iter().map(crate::Domain::as_str).collect();
        let names: HashSet<&str> = certificate.names.iter().map(String::as_str).collect();
        let is_of_authority = self.issued_by.as_ref() == Some(&self.config.directory);
        // Some authorities add a name of their own accord.
        Some(Held { valid_s: certificate.valid_s, is_wanted: wanted.is_subset(&names) && is_of_authority })
    }

    async fn order(&mut self) {
        let domains = self.domains();
        let kinds = self.kinds();
        let directory = &self.config.directory;
        match (self.schedule.failure(), kinds.first()) {
            (None, Some(kind)) => info!(domains, directory, challenge = kind.name(), "a certificate is ordered"),
            (_, kind) => {
                let challenge = kind.map(|kind| kind.name());
                debug!(domains, directory, challenge, "a certificate is ordered again");
            }
        }
        let ordered = order(&self.config, &kinds, &self.client, &*self.server).await;
        let asked = self.client.take_asked();
        match ordered {
            Ok(()) => {
                self.numbers.count(ISSUED);
                self.issued_by = Some(self.config.directory.clone());
                let failures = self.schedule.failure().map_or(0, |failed| failed.times);
                info!(domains, failures, "the authority has issued a certificate");
                // The next one would be ordered at once, and again: an authority soon issues no more.
                match self.held() {
                    Some(held) if held.is_wanted && !held.is_old(now_s()) => self.schedule.succeeded(chance()),
                    _ => self.failed(&OrderError::Certificate(OLD.to_owned()), asked),
                }
                self.keep();
                self.server.renewed().await;
            }
            Err(error) => {
                self.numbers.count(error.label());
                self.failed(&error, asked);
                self.keep();
            }
        }
    }

    /// Challenges in the order in which they are tried: another one first after each failure.
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = self.config.kinds.clone();
        if let (Some(failed), false) = (self.schedule.failure(), kinds.is_empty()) {
            let by = failed.times as usize % kinds.len();
            kinds.rotate_left(by);
        }
        kinds
    }

    fn failed(&mut self, error: &OrderError, asked: Option<Duration>) {
        let now_s = now_s();
        let why = (error.kind(), error.to_string());
        let is_new = self.schedule.failed(now_s, why, asked, chance());
        let wait_s = self.schedule.failure().map_or(0, |failed| failed.next_s.saturating_sub(now_s));
        let (domains, next) = (self.domains(), format!("in {}", words(wait_s)));
        if is_new {
            self.told_s = now_s;
            let in_use = self.in_use(now_s);
            warn!(domains, %error, next, in_use, "a certificate cannot be ordered; it is tried again, which is told once the reason is another");
        } else {
            debug!(domains, %error, next, "a certificate cannot be ordered, as before");
        }
    }

    /// Says again that things are bad, once they may end so.
    fn remind(&mut self, now_s: u64) {
        let Some(failed) = self.schedule.failure() else { return };
        let is_bad = self.held().is_none_or(|held| held.is_old(now_s));
        if !is_bad || now_s.saturating_sub(self.told_s) < TELL_EVERY_S {
            return;
        }
        let (since, tries, reason) = (words(now_s.saturating_sub(failed.since_s)), failed.times, failed.reason.clone());
        let (domains, in_use) = (self.domains(), self.in_use(now_s));
        self.told_s = now_s;
        warn!(domains, tries, reason, in_use, "no certificate could be ordered for {since}");
    }

    /// Says that nothing is ordered meanwhile.
    fn remind_of_wait(&mut self, now_s: u64) {
        if now_s.saturating_sub(self.told_s) < TELL_EVERY_S {
            return;
        }
        let (domains, in_use) = (self.domains(), self.in_use(now_s));
        self.told_s = now_s;
        warn!(
            domains,
            in_use,
            "a certificate is to be ordered, and nothing here answers the authority: no node is here that takes it (tls.from_control)"
        );
    }

    /// What there is meanwhile.
    fn in_use(&self, now_s: u64) -> String {
        match self.certificate().map(|certificate| certificate.valid_s.1) {
            None => "there is no certificate".to_owned(),
            Some(until_s) if until_s <= now_s => "the certificate in use has expired".to_owned(),
            Some(until_s) => format!("the certificate in use ends in {}", words(until_s - now_s)),
        }
    }

    fn domains(&self) -> String {
        self.config.domains.iter().map(crate::Domain::as_str).collect::<Vec<_>>().join(", ")
    }

    fn keep(&self) {
        let record = Record { issued_by: self.issued_by.clone(), failed: self.schedule.failure().cloned() };
        if let Err(error) = self.config.files.save_record(&record) {
            warn!(%error, "what came of an order cannot be written: a restart makes another one");
        }
    }
}

/// Days, hours, or minutes, as people say them.
fn words(seconds: u64) -> String {
    match (seconds / DAY_S, seconds / 3_600, seconds / 60) {
        (2.., ..) => format!("{} days", seconds / DAY_S),
        (_, 2.., _) => format!("{} h", seconds / 3_600),
        (.., 2..) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// From 0 to 1. Without it servers would only come at the same time.
fn chance() -> f64 {
    getrandom::u64().map_or(0.5, |number| number as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::timeout;

    use super::*;
    use crate::Pending;
    use crate::files::Files;

    /// One that no authority can reach, until it can.
    #[derive(Clone, Default)]
    struct Alone(Arc<(AtomicBool, Notify)>);

    impl Server for Alone {
        async fn ready(&self) {
            let Self(shared) = self;
            while !shared.0.load(Ordering::SeqCst) {
                shared.1.notified().await;
            }
        }

        async fn show(&self, _pending: Vec<Pending>) -> Result<(), String> {
            Ok(())
        }

        async fn renewed(&self) {}
    }

    fn config(dir: &tempfile::TempDir) -> Config {
        Config {
            directory: "https://localhost:1/".to_owned(),
            domains: vec!["example.org".parse().unwrap()],
            email: "you@example.org".to_owned(),
            kinds: vec![Kind::Http01],
            authorities: None,
            files: Files::below(dir.path()),
        }
    }

    #[test]
    fn a_certificate_with_a_name_more_is_kept_even_where_its_record_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir);
        config.files.prepare().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["example.org", "www.example.org"].map(str::to_owned);
        let issued = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        config.files.save_certificate((key.serialize_pem() + &issued.pem()).as_bytes()).unwrap();
        let mut renewal = Renewal::new(config.clone(), Alone::default());
        assert!(!renewal.held().unwrap().is_wanted, "nobody knows whose it is");
        // As after an order whose record could not be written.
        renewal.issued_by = Some(config.directory.clone());
        assert!(renewal.held().unwrap().is_wanted);
        renewal.config.domains.push("other.example.org".parse().unwrap());
        assert!(!renewal.held().unwrap().is_wanted, "a name is missing");
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_waits_for_long_is_told_once_a_day_and_to_whoever_looks_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir);
        let server = Alone::default();
        let mut renewal = Renewal::new(config, server.clone());
        let short = LOOK_EVERY / 2;
        assert!(timeout(short, renewal.until_ready()).await.is_err());
        assert_eq!(renewal.told_s, 0, "a node may be on its way");
        assert!(timeout(2 * LOOK_EVERY, renewal.until_ready()).await.is_err());
        assert_ne!(renewal.told_s, 0);
        // It was told a while ago: that is enough for a day.
        let while_ago_s = now_s() - TELL_EVERY_S / 2;
        renewal.told_s = while_ago_s;
        assert!(timeout(2 * LOOK_EVERY, renewal.until_ready()).await.is_err());
        assert_eq!(renewal.told_s, while_ago_s);
        renewal.hurry().now();
        assert!(timeout(short, renewal.until_ready()).await.is_err());
        assert!(renewal.told_s > while_ago_s);
        server.0.0.store(true, Ordering::SeqCst);
        server.0.1.notify_one();
        timeout(short, renewal.until_ready()).await.expect("it is ready");
    }
}
