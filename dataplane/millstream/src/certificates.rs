//! Certificates from files, those of the configuration and the one that is ordered: read at the start, read again when they change and on SIGHUP.
//! What cannot be used, or is worse than what is in use, changes nothing, and is said. Before it: [`crate::layers`]; after it: the shards and the control port, which get the new ones at once.
use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use millstream_acme::{Config, Hurry, Numbers, Renewal, Server};
use millstream_api::tls::{CertificateInUse, ShowTls, TlsInForce};
use millstream_engine::Remote;
use millstream_engine::config::TlsConfig;
use millstream_tls::{Certificate, Certificates, Challenges, PemFile, Problem, ServerTls, Tickets};
use rustls::ServerConfig;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::ktls::Ktls;
use crate::layers::{self, Layers};
use crate::own_metrics;

/// Bytes of one file: a chain has some thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How often files are looked at. A change is taken up once it has been the same for two looks, since certificate and key are written one after the
/// other.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Files that were refused may be good without a change: a certificate begins to be valid, a disk can be read again.
const TRY_EVERY: Duration = Duration::from_mins(1);
const TRIED_AGAIN: &str = "they were refused before";
const ORDERED: &str = "a certificate was ordered";
/// What has less time left than this is told at the start, with each reading, and from then on every day.
const ENDS_SOON_S: u64 = 7 * 86_400;
const TELL_EVERY: Duration = Duration::from_hours(24);

/// Where certificates and keys are, and which names clients come for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Files {
    certificates: Vec<PathBuf>,
    keys: Vec<PathBuf>,
    names: Vec<String>,
    /// The one that is ordered.
    ordered: Option<millstream_acme::files::Files>,
}

impl Files {
    /// Those of the configuration; an error where it asks for TLS without them.
    pub(crate) fn of(layers: &Layers) -> anyhow::Result<Option<Self>> {
        let tls = &layers.tls;
        let listens = [("rtmp", tls.rtmp), ("http", tls.http), ("control", tls.control)];
        // What control sends is kept where one is that is ordered here.
        let is_ordered = layers.acme.is_some() || tls.from_control;
        let ordered = is_ordered.then(|| millstream_acme::files::Files::below(&layers.data_dir));
        match (tls.certificates.is_empty(), listens.iter().find(|(_, at)| at.is_some())) {
            (true, _) if !tls.keys.is_empty() => bail!("tls.keys is set, but tls.certificates names no file"),
            (true, Some((table, _))) if ordered.is_none() => bail!(
                "{table}.tls_listen is set, but tls.certificates names no file: give it and tls.keys, or have a certificate ordered by acme.domains; a \
                 node may have it of its control by tls.from_control"
            ),
            (true, _) if ordered.is_none() => return Ok(None),
            _ => {}
        }
        if tls.keys.is_empty() && !tls.certificates.is_empty() {
            bail!(
                "tls.certificates is set, but tls.keys names no file; a file may hold both, and is then named in both"
            );
        }
        let public = &layers.public;
        let urls = [(&public.rtmp, tls.rtmp), (&public.http, tls.http), (&public.control, tls.control)];
        // Behind a proxy that has TLS of its own, our certificate is not the one that clients see.
        let names = urls
            .into_iter()
            .filter(|(_, at)| at.is_some())
            .filter_map(|(url, _)| url.as_deref())
            .filter(|url| url.starts_with("rtmps://") || url.starts_with("https://"))
            .filter_map(layers::host_of)
            .collect();
        Ok(Some(Self { certificates: tls.certificates.clone(), keys: tls.keys.clone(), names, ordered }))
    }

    /// Reads and checks them.
    pub(crate) fn load(&self) -> anyhow::Result<Certificates> {
        let (mut chains, mut keys) = (read_all(&self.certificates)?, read_all(&self.keys)?);
        if let Some(ordered) = self.read_ordered() {
            chains.push(ordered.clone());
            keys.push(ordered);
        }
        if chains.is_empty() {
            return Ok(Certificates::none());
        }
        Ok(Certificates::from_pem(&pem(&chains), &pem(&keys))?)
    }

    /// The one that is ordered, if there is one that can be used; another one is ordered where it cannot.
    fn read_ordered(&self) -> Option<(String, Vec<u8>)> {
        let files = self.ordered.as_ref()?;
        let name = files.certificate().display().to_string();
        let usable = match files.read_certificate() {
            Ok(None) => return None,
            Ok(Some(bytes)) => {
                let file = [PemFile { name: &name, bytes: &bytes }];
                Certificates::from_pem(&file, &file).map(|_| bytes).map_err(|error| error.to_string())
            }
            Err(error) => Err(format!("{name}: {error}")),
        };
        match usable {
            Ok(bytes) => Some((name, bytes)),
            Err(error) => {
                warn!(error, "the certificate that was ordered cannot be used; another one takes its place");
                None
            }
        }
    }

    /// What clients will not accept of them now.
    pub(crate) fn problems(&self, certificates: &Certificates) -> Vec<Problem> {
        // What is yet to be ordered is no problem.
        if certificates.is_empty() { Vec::new() } else { certificates.problems(now_s(), &self.names) }
    }

    /// What tells one state of the files from another.
    fn stamp(&self) -> Stamp {
        let of = |file: &PathBuf| {
            let found = std::fs::metadata(file).ok()?;
            // With the change of rights, which may be what a first reading lacked.
            Some((
                found.dev(),
                found.ino(),
                found.size(),
                [(found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec())],
            ))
        };
        let ordered = self.ordered.as_ref().map(millstream_acme::files::Files::certificate);
        self.certificates.iter().chain(&self.keys).chain(&ordered).map(of).collect()
    }
}

type Stamp = Vec<Option<(u64, u64, u64, [(i64, i64); 2])>>;

fn read_all(files: &[PathBuf]) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    files.iter().map(|file| Ok((file.display().to_string(), read(file)?))).collect()
}

/// What is in a file of the configuration.
pub(crate) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let name = file.display();
    let mut bytes = Vec::new();
    let opened = File::open(file).with_context(|| format!("{name}: cannot be read; this user needs the right to"))?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("{name}: cannot be read"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(anyhow!("{name}: is larger than {FILE_BYTES_MAX} bytes; this is no certificate and no key"));
    }
    Ok(bytes)
}

fn pem(files: &[(String, Vec<u8>)]) -> Vec<PemFile<'_>> {
    files.iter().map(|(name, bytes)| PemFile { name, bytes }).collect()
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The certificates that a server began with.
pub(crate) struct Begun {
    files: Files,
    tickets: Tickets,
    server: ServerTls,
    /// Taken before they were read: what changes meanwhile is seen.
    stamp: Stamp,
    ktls: Ktls,
}

/// Reads what the configuration names and gives it to the engine's configuration; `None`: there is no TLS. What clients will not accept is only
/// said: a server that does not start serves nobody.
pub(crate) fn begin(layers: &mut Layers) -> anyhow::Result<Option<Begun>> {
    let Some(files) = Files::of(layers)? else { return Ok(None) };
    let stamp = files.stamp();
    let certificates = files.load()?;
    for problem in files.problems(&certificates) {
        warn!("certificate: {problem}");
    }
    tell(&certificates);
    let ktls = Ktls::probe(layers.tls.kernel);
    info!("TLS records are {ktls}");
    let tickets = Tickets::new()?;
    let server = ServerTls::new(certificates, &tickets, layers.tls.http2)?.with_kernel(ktls.used().cloned())?;
    let (rtmp, http) = (layers.tls.rtmp, layers.tls.http);
    layers.config.tls = Some(TlsConfig { server: server.clone(), rtmp, http });
    Ok(Some(Begun { files, tickets, server, stamp, ktls }))
}

/// Says which certificates are in use, and which of them end soon.
fn tell(certificates: &Certificates) {
    for certificate in certificates.list() {
        let (file, names) = (&certificate.file, certificate.names.join(", "));
        info!(file, names, days_left = left_s(certificate) / 86_400, "certificate in use");
        tell_of_end(certificate);
    }
}

fn in_words(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Says which names clients could come for until now: nothing but `public_url` tells which of them have to stay.
fn tell_of_lost(before: &Certificates, now: &Certificates) {
    let names = |certificates: &Certificates| -> BTreeSet<String> {
        certificates.list().iter().flat_map(|certificate| certificate.names.iter().cloned()).collect()
    };
    // One with a wildcard may have taken a name over.
    let is_lost = |name: &String| !now.list().iter().any(|certificate| certificate.is_for(name));
    let lost: Vec<String> = names(before).difference(&names(now)).filter(|name| is_lost(name)).cloned().collect();
    if !lost.is_empty() {
        let names = lost.join(", ");
        warn!(
            names,
            "no certificate in use is for these names any more: clients that ask for them are shown another one, and refuse it"
        );
    }
}

fn left_s(certificate: &Certificate) -> u64 {
    certificate.valid_s.1.saturating_sub(now_s())
}

/// Says where one ends soon. One of a few days is meant to be renewed in its last third.
fn tell_of_end(certificate: &Certificate) {
    let left_s = left_s(certificate);
    let life_s = certificate.valid_s.1.saturating_sub(certificate.valid_s.0);
    if (1..ENDS_SOON_S.min(life_s / 3)).contains(&left_s) {
        let (file, names) = (&certificate.file, certificate.names.join(", "));
        warn!(file, names, days_left = left_s / 86_400, "a certificate in use expires soon");
    }
}

/// The certificates in use, and how they are replaced.
#[derive(Clone)]
pub(crate) struct InUse(Arc<Inner>);

struct Inner {
    files: Files,
    tickets: Tickets,
    runtime: Handle,
    engine: Option<Remote>,
    /// What is in use. Held for a moment only: a shard that shows its numbers looks, too.
    server: Mutex<ServerTls>,
    /// Where the control port looks.
    control: watch::Sender<Arc<ServerConfig>>,
    /// The files as they were when they were read last, whatever came of it. Held while they are read and put in use, which waits for the shards.
    stamp: Mutex<Stamp>,
    /// Why they were not taken then.
    refusal: Mutex<Option<String>>,
    replaced: AtomicU64,
    refused: AtomicU64,
    /// The task that orders one, where one is ordered.
    ordering: OnceLock<(Hurry, Numbers)>,
    ktls: Ktls,
}

impl fmt::Debug for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InUse").field(&self.0.files).finish()
    }
}

impl Begun {
    /// What the control port shows; it changes.
    pub(crate) fn watched(
        self,
        engine: Option<Remote>,
        runtime: Handle,
    ) -> (InUse, watch::Receiver<Arc<ServerConfig>>) {
        let Self { files, tickets, server, stamp, ktls } = self;
        let (control, seen) = watch::channel(Arc::clone(server.web()));
        let server = Mutex::new(server);
        let (stamp, replaced, refused) = (Mutex::new(stamp), AtomicU64::new(0), AtomicU64::new(0));
        let (refusal, ordering) = (Mutex::default(), OnceLock::new());
        let inner = Inner {
            files,
            tickets,
            runtime,
            engine,
            server,
            control,
            stamp,
            refusal,
            replaced,
            refused,
            ordering,
            ktls,
        };
        let in_use = InUse(Arc::new(inner));
        let counted = in_use.clone();
        own_metrics::and(move || counted.numbers());
        let watching = in_use.clone();
        let thread = std::thread::Builder::new().name("certificates".to_owned()).spawn(move || watching.watch());
        if let Err(error) = thread {
            warn!(%error, "certificates are read anew on SIGHUP only");
        }
        (in_use, seen)
    }
}

impl InUse {
    /// Has a certificate ordered and renewed for that server, which has these in use. To be called once.
    pub(crate) fn order(&self, order: Config, server: impl Server) {
        let renewal = Renewal::new(order, server);
        // Set once: there is one task.
        let _ = self.0.ordering.set((renewal.hurry(), renewal.numbers()));
        self.0.runtime.spawn(renewal.run());
    }

    fn stamp(&self) -> MutexGuard<'_, Stamp> {
        self.0.stamp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the files were not taken when they were read last.
    fn refusal(&self) -> MutexGuard<'_, Option<String>> {
        self.0.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the files that were read last are not what is in use.
    pub(crate) fn is_refused(&self) -> bool {
        self.refusal().is_some()
    }

    /// What clients do not accept of what is in use.
    pub(crate) fn problem(&self) -> Option<String> {
        let problems = self.0.files.problems(self.server().certificates());
        (!problems.is_empty()).then(|| in_words(&problems))
    }

    /// What is in use now.
    fn server(&self) -> ServerTls {
        self.0.server.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the files for as long as the process lives.
    fn watch(&self) {
        let mut before = self.stamp().clone();
        let (mut told, mut tried) = (Instant::now(), Instant::now());
        loop {
            std::thread::sleep(LOOK_EVERY);
            let now = self.0.files.stamp();
            if now == before && now != *self.stamp() {
                tried = Instant::now();
                // What is wrong has been said, and stays to be seen in the API.
                drop(self.read_anew("the files have changed"));
            } else if self.is_refused() && tried.elapsed() >= TRY_EVERY {
                tried = Instant::now();
                drop(self.read_anew(TRIED_AGAIN));
            }
            before = now;
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                self.remind();
            }
        }
    }

    /// Says what clients do not accept, or soon will not.
    fn remind(&self) {
        let server = self.server();
        for problem in self.0.files.problems(server.certificates()) {
            warn!("certificate in use: {problem}");
        }
        server.certificates().list().iter().for_each(tell_of_end);
    }

    /// Takes the ordered certificate into use that is kept now. Where it was refused before for the same reason, that is not said again.
    pub(crate) fn take_ordered(&self) -> Result<(), String> {
        self.read_anew(if self.is_refused() { TRIED_AGAIN } else { ORDERED })
    }

    /// Reads the files; what is in use stays where they are no better. An error, why they are not in use on every shard, has been said here; they are tried
    /// again.
    pub(crate) fn read_anew(&self, why: &str) -> Result<(), String> {
        let Inner { files, tickets, .. } = &*self.0;
        let mut stamp = self.stamp();
        *stamp = files.stamp();
        let before = self.server();
        let read = files.load().and_then(|certificates| {
            if certificates.is_empty() && !before.certificates().is_empty() {
                bail!("the certificate that was ordered is gone");
            }
            // What is in use may have expired meanwhile: then the others are no worse.
            let known = files.problems(before.certificates());
            let problems = files.problems(&certificates).into_iter();
            let new: Vec<_> = problems.filter(|problem| !known.iter().any(|known| known.is_same(problem))).collect();
            if !new.is_empty() {
                bail!("{}", in_words(&new));
            }
            // Challenges may be pending meanwhile.
            Ok(ServerTls::new(certificates, tickets, before.has_http2())?
                .with_kernel(before.kernel().cloned())?
                .with_challenges(Arc::clone(before.challenges()))?)
        });
        let next = match read {
            Ok(next) => next,
            Err(error) => {
                let error = format!("{error:#}");
                if self.refuse(why, &error) {
                    error!(why, error, "the certificates in use stay in use: the files cannot take their place");
                } else {
                    debug!(error, "the certificates in use stay in use, as before");
                }
                return Err(error);
            }
        };
        if let Err(error) = self.put(next) {
            let error = format!("not every shard shows the new certificates: {error}");
            if self.refuse(why, &error) {
                error!(why, "{error}; they are read again, soon or on SIGHUP");
            }
            return Err(error);
        }
        *self.refusal() = None;
        self.0.replaced.fetch_add(1, Ordering::Relaxed);
        info!(why, "the certificates were read anew");
        let server = self.server();
        for problem in files.problems(server.certificates()) {
            warn!("certificate: {problem}");
        }
        tell_of_lost(before.certificates(), server.certificates());
        tell(server.certificates());
        Ok(())
    }

    /// Notes why the files are not in use; whether that is to be said.
    fn refuse(&self, why: &str, error: &str) -> bool {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        let before = self.refusal().replace(error.to_owned());
        why != TRIED_AGAIN || before.as_deref() != Some(error)
    }

    /// Puts these in use; whoever calls it holds the stamp. On an error some shards have them, and some do not.
    fn put(&self, next: ServerTls) -> Result<(), String> {
        let Inner { runtime, engine, control, server, .. } = &*self.0;
        let put = engine.as_ref().map_or(Ok(()), |engine| runtime.block_on(engine.set_tls(&next)));
        control.send_replace(Arc::clone(next.web()));
        *server.lock().unwrap_or_else(PoisonError::into_inner) = next;
        put.map_err(|error| error.to_string())
    }

    /// Answers these challenges, and no others. Waits for the shards.
    pub(crate) fn put_challenges(&self, challenges: Challenges) -> Result<(), String> {
        let _alone = self.stamp();
        let next = self.server().with_challenges(Arc::new(challenges)).map_err(|error| error.to_string())?;
        self.put(next)
    }

    /// Somebody has looked after things: an order that has failed is made again soon.
    pub(crate) fn hurry(&self) {
        if let Some((hurry, _)) = self.0.ordering.get() {
            hurry.now();
        }
    }

    /// What the API shows.
    pub(crate) fn shows(&self) -> ShowTls {
        let Self(inner) = self;
        let of_api = Self(Arc::clone(inner));
        Arc::new(move || of_api.in_force())
    }

    fn in_force(&self) -> TlsInForce {
        let server = self.server();
        let in_use = |certificate: &Certificate| CertificateInUse {
            file: certificate.file.clone(),
            names: certificate.names.clone(),
            valid_from_unix_s: certificate.valid_s.0,
            valid_until_unix_s: certificate.valid_s.1,
        };
        TlsInForce {
            certificates: server.certificates().list().iter().map(in_use).collect(),
            problems: self.0.files.problems(server.certificates()).iter().map(ToString::to_string).collect(),
            refused: self.refusal().clone(),
            refused_total: self.0.refused.load(Ordering::Relaxed),
            http2: server.has_http2(),
            kernel: format!("records are {}", self.0.ktls),
            kernel_sessions: self.0.ktls.used().map_or(0, |kernel| kernel.sessions()),
        }
    }

    /// Numbers of `/metrics`.
    fn numbers(&self) -> String {
        let (replaced, refused) = (self.0.replaced.load(Ordering::Relaxed), self.0.refused.load(Ordering::Relaxed));
        let mut text = format!(
            "# HELP millstream_tls_certificates_read Readings of the files with certificates since the start, by what came of them.\n\
             # TYPE millstream_tls_certificates_read counter\n\
             millstream_tls_certificates_read_total{{result=\"taken\"}} {replaced}\n\
             millstream_tls_certificates_read_total{{result=\"refused\"}} {refused}\n\
             # HELP millstream_tls_certificate_expiry_timestamp_seconds When a certificate in use expires.\n\
             # TYPE millstream_tls_certificate_expiry_timestamp_seconds gauge\n\
             # UNIT millstream_tls_certificate_expiry_timestamp_seconds seconds\n"
        );
        for certificate in self.server().certificates().list() {
            let file = certificate.file.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let until_s = certificate.valid_s.1;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "millstream_tls_certificate_expiry_timestamp_seconds{{file=\"{file}\"}} {until_s}");
        }
        text.push_str(&self.0.ktls.numbers());
        if let Some((_, numbers)) = self.0.ordering.get() {
            text.push_str(&numbers.text());
        }
        text
    }
}
