//! One order, from the account to the certificate: RFC 8555, 7.1. It ends within a time, whatever the authority does. Before it:
//! [`crate::renewal`]; after it: files with a new certificate, or a reason why there is none.
use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use millstream_fleet::http::tls::Authorities;
use millstream_proto::secret::Secret;
use millstream_tls::{Certificates, PemFile};
use tokio::time::timeout;
use tracing::warn;

use crate::client::Client;
use crate::domain::Domain;
use crate::error::{OrderError, tidy, words_of};
use crate::files::{self, Files};
use crate::pending::Pending;

/// Time for a whole order.
const ORDER_WAIT: Duration = Duration::from_mins(5);
/// Orders in a row that fail because of numbers of requests, each of which was tried several times.
const TRIES_MAX: u32 = 3;
/// Time for the authority to look at challenges, and to issue.
pub(crate) const POLL_WAIT: Duration = Duration::from_secs(90);
const POLL: RetryPolicy = RetryPolicy::new().timeout(POLL_WAIT);

/// What is ordered, where, and where it is kept.
#[derive(Clone, Debug)]
pub struct Config {
    /// The authority's directory.
    pub directory: String,
    /// The names, at least one.
    pub domains: Vec<Domain>,
    /// Whom the authority writes to. It is taken for consent to the authority's terms.
    pub email: String,
    /// Challenges that may be answered, at least one, the first one first.
    pub kinds: Vec<Kind>,
    /// Who signs the certificate of the authority's own server, if that is not one that this machine trusts.
    pub authorities: Option<Authorities>,
    /// Where it is kept.
    pub files: Files,
}

/// A way to show that a name leads here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// By a request to port 80.
    Http01,
    /// By a handshake on port 443.
    TlsAlpn01,
}

impl Kind {
    /// Its name in the standard.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }

    /// The kind of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Http01, Self::TlsAlpn01].into_iter().find(|kind| kind.name() == name)
    }

    const fn of_protocol(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Http01 => "port 80 of this name has to lead to the server's HTTP port, from anywhere",
            Self::TlsAlpn01 => {
                "port 443 of this name has to lead to the server's HTTPS port, from anywhere, and through nothing that has TLS of its own"
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The server that certificates are for.
pub trait Server: Send + Sync + 'static {
    /// Waits until an authority can be answered at all: nothing is ordered before. What it waits for is said here once; that it goes on is said by who waits.
    fn ready(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Answers these challenges from now on, and no others; an error where not all of it does.
    fn show(&self, pending: Vec<Pending>) -> impl Future<Output = Result<(), String>> + Send;

    /// Takes the new certificate into use.
    fn renewed(&self) -> impl Future<Output = ()> + Send;
}

/// Orders a certificate and keeps it; `kinds`: which challenge is answered, the first one that the authority has.
pub(crate) async fn order<S: Server>(
    config: &Config,
    kinds: &[Kind],
    client: &Client,
    server: &S,
) -> Result<(), OrderError> {
    let trying = async {
        let mut tries = 1;
        loop {
            match whole(config, kinds, client, server).await {
                // Numbers of requests are good for a short time, which one of several servers behind an authority may see differently.
                Err(error) if error.is_of_nonce() && tries < TRIES_MAX => tries += 1,
                ordered => return ordered,
            }
        }
    };
    let ordered = timeout(ORDER_WAIT, trying).await;
    // Nothing is pending any more, whatever came of it.
    if let Err(error) = server.show(Vec::new()).await {
        warn!(error, "challenges that are over are still answered");
    }
    ordered.unwrap_or(Err(OrderError::Late(ORDER_WAIT.as_secs())))
}

async fn whole<S: Server>(config: &Config, kinds: &[Kind], client: &Client, server: &S) -> Result<(), OrderError> {
    config.files.prepare().map_err(|error| OrderError::Files("the directory for certificates", error))?;
    let known = known_account(config, client).await?;
    let is_known = known.is_some();
    let account = match known {
        Some(account) => account,
        None => new_account(config, client).await?,
    };
    match with_account(config, &account, kinds, server).await {
        // It was removed over there, or the authority has lost what it knew.
        Err(error) if error.is_of_account() && is_known => {
            warn!(directory = config.directory, "the authority does not know the account; another one is made");
            let account = new_account(config, client).await?;
            with_account(config, &account, kinds, server).await
        }
        ordered => ordered,
    }
}

/// The account that is kept, if it is one at this authority.
async fn known_account(config: &Config, client: &Client) -> Result<Option<Account>, OrderError> {
    let kept = config.files.account().unwrap_or_else(|error| {
        warn!(%error, "the file with the account cannot be used; another account is made");
        None
    });
    let Some(kept) = kept.filter(|kept| kept.directory == config.directory) else { return Ok(None) };
    let account = Account::builder_with_http(Box::new(client.clone())).from_credentials(kept.credentials).await?;
    if kept.email != config.email {
        match account.update_contacts(&[&format!("mailto:{}", config.email)]).await {
            Ok(()) => keep_email(config),
            // Certificates are ordered all the same; the next order tries it again.
            Err(error) => {
                let error = OrderError::from(error);
                warn!(%error, "the authority does not take the new address for its messages");
            }
        }
    }
    Ok(Some(account))
}

/// Writes down that the authority has the new address. Read anew: credentials cannot be copied.
fn keep_email(config: &Config) {
    let kept = config.files.account().and_then(|kept| match kept {
        Some(kept) => config.files.save_account(&files::Account { email: config.email.clone(), ..kept }),
        None => Ok(()),
    });
    if let Err(error) = kept {
        warn!(%error, "the account cannot be written");
    }
}

async fn new_account(config: &Config, client: &Client) -> Result<Account, OrderError> {
    let contact = format!("mailto:{}", config.email);
    let wanted = NewAccount { contact: &[&contact], terms_of_service_agreed: true, only_return_existing: false };
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let (account, credentials) = builder.create(&wanted, config.directory.clone(), None).await?;
    let kept = files::Account { directory: config.directory.clone(), email: config.email.clone(), credentials };
    config.files.save_account(&kept).map_err(|error| OrderError::Files("the file with the account", error))?;
    Ok(account)
}

async fn with_account<S: Server>(
    config: &Config,
    account: &Account,
    kinds: &[Kind],
    server: &S,
) -> Result<(), OrderError> {
    let names: Vec<_> = config.domains.iter().map(|domain| Identifier::Dns(domain.to_string())).collect();
    let mut order = account.new_order(&NewOrder::new(&names)).await?;
    // An authority remembers for some time what it has seen.
    if order.state().status == OrderStatus::Pending {
        prove(&mut order, kinds, server).await?;
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&POLL).await?;
    check(config, &chain, &key)?;
    let pem = [key.as_bytes(), chain.as_bytes()].join(&b'\n');
    config.files.save_certificate(&pem).map_err(|error| OrderError::Files("the file with the certificate", error))
}

/// Shows that each name leads here.
async fn prove<S: Server>(order: &mut Order, kinds: &[Kind], server: &S) -> Result<(), OrderError> {
    let mut pending = Vec::new();
    let mut taken = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let name = tidy(&authorization.identifier().to_string());
        let has = |kind: Kind| authorization.challenges.iter().any(|found| found.r#type == kind.of_protocol());
        let Some(kind) = kinds.iter().copied().find(|kind| has(*kind)) else {
            let offered: Vec<_> = authorization.challenges.iter().map(|found| format!("{:?}", found.r#type)).collect();
            return Err(OrderError::NoChallenge { name, offered: tidy(&offered.join(", ")) });
        };
        let Some(challenge) = authorization.challenge(kind.of_protocol()) else { continue };
        let answer = Secret::new(challenge.key_authorization().as_str());
        pending.push(Pending { name: name.clone(), kind, token: challenge.token.clone(), answer });
        taken.push((name, kind));
    }
    server.show(pending).await.map_err(OrderError::Shown)?;
    let looked_at = look(order, &taken).await;
    match looked_at {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(status) => Err(why_not(order, &taken).await.unwrap_or_else(|| OrderError::Refused {
            kind: "order".to_owned(),
            words: format!("the order is {status:?}, and it does not say why"),
        })),
        Err(instant_acme::Error::Api(problem)) => Err(why_not(order, &taken).await.unwrap_or_else(|| problem.into())),
        Err(error) => Err(error.into()),
    }
}

/// Has the authority look at challenges, and waits until it has.
async fn look(order: &mut Order, taken: &[(String, Kind)]) -> Result<OrderStatus, instant_acme::Error> {
    let mut authorizations = order.authorizations();
    let mut taken = taken.iter();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let kind = taken.next().map_or(Kind::Http01, |(_, kind)| *kind);
        if let Some(mut challenge) = authorization.challenge(kind.of_protocol()) {
            challenge.set_ready().await?;
        }
    }
    order.poll_ready(&POLL).await
}

/// What the authority has found at the first name that it has not accepted.
async fn why_not(order: &mut Order, taken: &[(String, Kind)]) -> Option<OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let state = authorization.refresh().await.ok()?;
        let name = tidy(&state.identifier().to_string());
        let Some((_, kind)) = taken.iter().find(|(taken, _)| *taken == name) else { continue };
        let challenge = state.challenges.iter().find(|found| found.r#type == kind.of_protocol());
        if let Some(problem) = challenge.and_then(|challenge| challenge.error.as_ref()) {
            let (by, words, advice) = (kind.name(), words_of(problem), kind.advice());
            return Some(OrderError::Challenge { name, by, words, advice });
        }
    }
    None
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whether what was issued can be used, now and for all names. What cannot be takes no other one's place.
fn check(config: &Config, chain: &str, key: &str) -> Result<(), OrderError> {
    let file = |text: &'static str, bytes| PemFile { name: text, bytes };
    let chain = file("the authority's answer", chain.as_bytes());
    let issued = Certificates::from_pem(&[chain], &[file("the key", key.as_bytes())])?;
    let now_s = now_s();
    let is_valid = |(from_s, until_s): (u64, u64)| (from_s..until_s).contains(&now_s);
    if !issued.list().iter().all(|one| is_valid(one.valid_s)) {
        return Err(OrderError::Certificate("it is not valid now; look at this machine's clock".to_owned()));
    }
    let names: HashSet<&str> = issued.list().iter().flat_map(|one| one.names.iter().map(String::as_str)).collect();
    match config.domains.iter().find(|domain| !names.contains(domain.as_str())) {
        Some(missing) => Err(OrderError::Certificate(format!("it is not for {missing}"))),
        None => Ok(()),
    }
}
