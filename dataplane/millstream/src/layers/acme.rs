//! The `[acme]` table and its flags, checked against the ports that the server has. Before it: [`super`]; after it: [`crate::certificates`].
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use millstream_acme::files::Files;
use millstream_acme::{Config, Domain, Kind, LETS_ENCRYPT};
use millstream_fleet::http::tls::Authorities;
use millstream_fleet::http::url::Url;

use super::Tls;
use crate::certificates;
use crate::settings::Public;
use crate::settings::acme::{AcmeSettings, check_domains};
use crate::settings::values::Role;

/// The ports that an authority comes to.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// A certificate that is ordered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Acme {
    pub(crate) domains: Vec<Domain>,
    pub(crate) email: String,
    pub(crate) directory: String,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) challenges: Vec<Kind>,
}

/// Flags over the file.
pub(super) fn over(domains: Vec<Domain>, email: Option<String>, set: AcmeSettings) -> AcmeSettings {
    let domains = if domains.is_empty() { set.domains } else { domains };
    AcmeSettings { domains, email: email.or(set.email), ..set }
}

/// What is ordered; nothing where no name is given.
pub(super) fn of(
    set: AcmeSettings,
    role: Role,
    http: SocketAddr,
    tls: &Tls,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Option<Acme>> {
    let AcmeSettings { domains, email, directory, ca, challenges } = set;
    if domains.is_empty() {
        let is_set = [(email.is_some(), "email"), (directory.is_some(), "directory"), (ca.is_some(), "ca")];
        for (_, key) in is_set.into_iter().chain([(!challenges.is_empty(), "challenges")]).filter(|(set, _)| *set) {
            warnings
                .push(format!("acme.{key}: set, but not in force: acme.domains (--domain) gives no name to certify"));
        }
        return Ok(None);
    }
    check_domains(&domains).map_err(|error| anyhow!("acme.domains (--domain): {error}"))?;
    if role == Role::Control && tls.control.is_some() && tls.certificates.is_empty() {
        bail!(
            "control.tls_listen: nodes come to it before the first certificate is ordered, which they answer the authority for; give it one of its \
             own with tls.certificates and tls.keys"
        );
    }
    let Some(email) = email else {
        bail!(
            "acme.domains (--domain) is set, but not acme.email (--acme-email): give an address that the authority of certificates may write \
             to; by that you agree to its terms of service"
        );
    };
    let directory = directory.unwrap_or_else(|| LETS_ENCRYPT.to_owned());
    if directory == LETS_ENCRYPT
        && let Some(domain) = domains.iter().find(|domain| domain.is_local())
    {
        bail!("acme.domains (--domain): {domain} is no public name, which Let's Encrypt certifies none but");
    }
    // The ports are those of nodes, which control does not know.
    let is_of_nodes = role == Role::Control;
    let challenges = if is_of_nodes { kinds_of_nodes(challenges) } else { kinds(challenges, http, tls)? };
    if !is_of_nodes && !ports(&challenges, http, tls) {
        warnings.push(format!(
            "acme.domains: the authority comes to port {HTTP_PORT} or {HTTPS_PORT} of each name, and this server listens on neither: have one of \
             them lead to http.listen or http.tls_listen, or listen there"
        ));
    }
    Ok(Some(Acme { domains, email, directory, ca, challenges }))
}

/// Whether a node that is to show control's certificate can have it. A key is sent where nobody can read it, and nowhere else.
pub(super) fn check_from_control(
    is_set: bool,
    role: Role,
    url: Option<&Url>,
    is_ordered: bool,
    warnings: &mut Vec<String>,
) -> anyhow::Result<()> {
    if !is_set {
        return Ok(());
    }
    if role != Role::Node {
        warnings
            .push("tls.from_control: set, but not in force: only the role \"node\" has a control elsewhere".to_owned());
        return Ok(());
    }
    if is_ordered {
        bail!(
            "tls.from_control and acme.domains (--domain): the node has its certificate of control, or orders its own; give one of them"
        );
    }
    match url {
        Some(url) if !url.secure => bail!(
            "tls.from_control: control.url ({url}) is not TLS, and a key is not sent where it could be read; give an https:// URL of control, \
             also on one machine (control.tls_listen at control, or a proxy in front of it)"
        ),
        _ => Ok(()),
    }
}

fn kinds_of_nodes(set: Vec<Kind>) -> Vec<Kind> {
    if set.is_empty() { vec![Kind::Http01, Kind::TlsAlpn01] } else { set }
}

/// Challenges in the order in which they are tried.
fn kinds(set: Vec<Kind>, http: SocketAddr, tls: &Tls) -> anyhow::Result<Vec<Kind>> {
    if set.contains(&Kind::TlsAlpn01) && tls.http.is_none() {
        bail!(
            "acme.challenges: tls-alpn-01 is answered on the HTTPS port, and there is none: set http.tls_listen, or leave it out"
        );
    }
    Ok(match (set.is_empty(), tls.http) {
        (false, _) => set,
        (true, None) => vec![Kind::Http01],
        (true, Some(https)) if http.port() != HTTP_PORT && https.port() == HTTPS_PORT => {
            vec![Kind::TlsAlpn01, Kind::Http01]
        }
        (true, Some(_)) => vec![Kind::Http01, Kind::TlsAlpn01],
    })
}

/// Whether one of the ports is there that the authority comes to.
fn ports(kinds: &[Kind], http: SocketAddr, tls: &Tls) -> bool {
    kinds.iter().any(|kind| match kind {
        Kind::Http01 => http.port() == HTTP_PORT,
        Kind::TlsAlpn01 => tls.http.is_some_and(|https| https.port() == HTTPS_PORT),
    })
}

/// Where the server is reached by the first name, as far as nothing else is said of that.
pub(super) fn public(set: Public, acme: Option<&Acme>, rtmp: SocketAddr, tls: &Tls) -> Public {
    let Some(domain) = acme.and_then(|acme| acme.domains.first()) else { return set };
    // A port that the system chooses is not known yet.
    let url = |scheme: &str, port: u16, usual: u16| match port {
        0 => None,
        port if port == usual => Some(format!("{scheme}://{domain}")),
        port => Some(format!("{scheme}://{domain}:{port}")),
    };
    Public {
        rtmp: set.rtmp.or_else(|| url("rtmp", rtmp.port(), 1935)),
        http: set.http.or_else(|| url("https", tls.http?.port(), HTTPS_PORT)),
        control: set.control,
    }
}

impl Acme {
    /// What the task that orders it is told; the file with authorities is read.
    pub(crate) fn config(&self, data_dir: &Path) -> anyhow::Result<Config> {
        let read = |file: &PathBuf| {
            let pem = certificates::read(file)?;
            Authorities::and_these(&pem).map_err(|error| anyhow!("{}: {error}", file.display()))
        };
        Ok(Config {
            directory: self.directory.clone(),
            domains: self.domains.clone(),
            email: self.email.clone(),
            kinds: self.challenges.clone(),
            authorities: self.ca.as_ref().map(read).transpose().context("acme.ca")?,
            files: Files::below(data_dir),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Flags, Layers, merge};
    use super::*;
    use crate::flags::EngineFlags;
    use crate::settings::Settings;
    use crate::settings::tls::{Listen, TlsSettings};

    fn flags(domain: &str) -> Flags {
        let domains = domain.split_whitespace().map(|domain| domain.parse().unwrap()).collect();
        Flags { domains, acme_email: Some("you@example.org".to_owned()), ..Flags::default() }
    }

    fn merged(flags: Flags, settings: Settings) -> Result<Layers, String> {
        merge(flags, settings).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_name_and_an_address_are_a_public_server() {
        let layers = merged(flags("live.example.org"), Settings::default()).unwrap();
        assert_eq!(layers.warnings, Vec::<String>::new());
        assert_eq!((layers.tls.rtmp.unwrap().port(), layers.tls.http.unwrap().port()), (1938, 443));
        let acme = layers.acme.unwrap();
        assert_eq!(acme.directory, LETS_ENCRYPT);
        assert_eq!(acme.challenges, [Kind::TlsAlpn01, Kind::Http01]);
        assert_eq!(layers.public.http.as_deref(), Some("https://live.example.org"));
        assert_eq!(layers.public.rtmp.as_deref(), Some("rtmp://live.example.org"));
        // What is set wins.
        let tls = TlsSettings { http: Some(Listen::Nowhere), rtmp: Some(Listen::Nowhere), ..TlsSettings::default() };
        let public = Public { http: Some("https://cdn.example.org".to_owned()), ..Public::default() };
        let layers = merged(flags("live.example.org"), Settings { public, tls, ..Settings::default() }).unwrap();
        assert_eq!((layers.tls.rtmp, layers.tls.http), (None, None));
        assert_eq!(layers.public.http.as_deref(), Some("https://cdn.example.org"));
        assert_eq!(layers.acme.unwrap().challenges, [Kind::Http01]);
        assert!(layers.warnings.iter().any(|warning| warning.contains("listens on neither")), "{:?}", layers.warnings);
    }

    #[test]
    fn port_80_is_what_http_01_is_for() {
        let http = Some("0.0.0.0:80".parse().unwrap());
        let flags = Flags { engine: EngineFlags { http, ..EngineFlags::default() }, ..flags("live.example.org") };
        let layers = merged(flags, Settings::default()).unwrap();
        assert_eq!(layers.acme.unwrap().challenges, [Kind::Http01, Kind::TlsAlpn01]);
    }

    #[test]
    fn what_is_not_right_is_told() {
        let none = Flags { acme_email: None, ..flags("live.example.org") };
        assert!(merged(none, Settings::default()).unwrap_err().contains("acme.email"));
        assert!(merged(flags("localhost"), Settings::default()).unwrap_err().contains("no public name"));
        assert!(merged(flags("a.org a.org"), Settings::default()).unwrap_err().contains("twice"));
        let acme = AcmeSettings { challenges: vec![Kind::TlsAlpn01], ..AcmeSettings::default() };
        let tls = TlsSettings { http: Some(Listen::Nowhere), ..TlsSettings::default() };
        let error = merged(flags("a.org"), Settings { tls, acme, ..Settings::default() }).unwrap_err();
        assert!(error.contains("http.tls_listen"), "{error}");
        let layers = merged(flags(""), Settings::default()).unwrap();
        assert!(layers.acme.is_none() && layers.tls.http.is_none());
        assert!(layers.warnings[0].starts_with("acme.email: set, but not in force"), "{:?}", layers.warnings);
    }

    #[test]
    fn control_orders_for_its_nodes_and_needs_a_certificate_of_its_own_for_its_port() {
        let control = || Flags { role: Some(Role::Control), ..flags("live.example.org") };
        let layers = merged(control(), Settings::default()).unwrap();
        assert_eq!(layers.warnings, Vec::<String>::new());
        assert_eq!((layers.tls.rtmp, layers.tls.http, layers.public.http), (None, None, None));
        assert_eq!(layers.acme.unwrap().challenges, [Kind::Http01, Kind::TlsAlpn01]);
        let at = Some(Listen::At("0.0.0.0:443".parse().unwrap()));
        let tls = TlsSettings { control: at, ..TlsSettings::default() };
        let error = merged(control(), Settings { tls: tls.clone(), ..Settings::default() }).unwrap_err();
        assert!(error.contains("tls.certificates"), "{error}");
        let tls = TlsSettings { certificates: vec!["a.pem".into()], keys: vec!["a.key".into()], ..tls };
        assert!(merged(control(), Settings { tls, ..Settings::default() }).is_ok());
    }

    #[test]
    fn a_node_takes_controls_certificate_over_tls_alone() {
        let node = |url: &str, flags: Flags| {
            let tls = TlsSettings { from_control: Some(true), ..TlsSettings::default() };
            let control_url = Some(url.to_owned());
            merged(Flags { role: Some(Role::Node), control_url, ..flags }, Settings { tls, ..Settings::default() })
        };
        let layers = node("https://control.example.org", Flags::default()).unwrap();
        assert_eq!((layers.tls.rtmp.unwrap().port(), layers.tls.http.unwrap().port()), (1938, 443));
        assert!(layers.tls.from_control && layers.acme.is_none());
        for url in ["http://127.0.0.1:8081", "http://localhost:8081"] {
            let error = node(url, Flags::default()).unwrap_err();
            assert!(error.contains("not TLS") && error.contains("tls.from_control"), "{error}");
        }
        assert!(node("https://control.example.org", flags("a.org")).unwrap_err().contains("acme.domains"));
        let tls = TlsSettings { from_control: Some(true), ..TlsSettings::default() };
        let layers = merged(Flags::default(), Settings { tls, ..Settings::default() }).unwrap();
        assert!(!layers.tls.from_control && layers.tls.http.is_none());
        assert!(layers.warnings[0].starts_with("tls.from_control: set, but"), "{:?}", layers.warnings);
    }

    #[test]
    fn a_file_of_authorities_is_read_with_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        let acme = |ca: &Path| Acme {
            ca: Some(ca.to_owned()),
            ..merged(flags("a.org"), Settings::default()).unwrap().acme.unwrap()
        };
        let said = |ca: &Path| format!("{:#}", acme(ca).config(dir.path()).unwrap_err());
        assert!(said(&ca).contains("acme.ca") && said(&ca).contains("cannot be read"), "{}", said(&ca));
        std::fs::write(&ca, "nothing").unwrap();
        assert!(said(&ca).contains("holds no certificate"), "{}", said(&ca));
    }
}
