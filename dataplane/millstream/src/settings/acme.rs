//! The `[acme]` table: certificates that are ordered and renewed. Before it: [`super::document`]; after it: [`crate::acme`], which has them ordered.
use std::path::PathBuf;

use millstream_acme::{DOMAINS_MAX, Domain, Kind, check_email};
use toml::de::DeValue;

use super::document::{Findings, Table, list, string};
use super::{path, values};

/// What the table says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct AcmeSettings {
    pub(crate) domains: Vec<Domain>,
    pub(crate) email: Option<String>,
    pub(crate) directory: Option<String>,
    pub(crate) ca: Option<PathBuf>,
    /// Empty: whichever fit the ports.
    pub(crate) challenges: Vec<Kind>,
}

/// Takes the table out of the file.
pub(super) fn walk(mut acme: Table<'_>, f: &mut Findings<'_>) -> AcmeSettings {
    let set = AcmeSettings {
        domains: acme.take(f, "domains", domains).unwrap_or_default(),
        email: acme.take(f, "email", |v| check_email(string(v)?).map_err(|error| error.to_string())),
        directory: acme.take(f, "directory", |v| values::directory(string(v)?)),
        ca: acme.take(f, "ca", path),
        challenges: acme.take(f, "challenges", challenges).unwrap_or_default(),
    };
    acme.close(f);
    set
}

fn domains(value: &DeValue<'_>) -> Result<Vec<Domain>, String> {
    let domains = list(value, |item| string(item)?.parse::<Domain>().map_err(|error| error.to_string()))?;
    check_domains(&domains)?;
    Ok(domains)
}

/// Names of one certificate.
pub(crate) fn check_domains(domains: &[Domain]) -> Result<(), String> {
    if domains.len() > DOMAINS_MAX {
        return Err(format!("there are {} names; a certificate has {DOMAINS_MAX} at most", domains.len()));
    }
    for (n, domain) in domains.iter().enumerate() {
        if domains.iter().take(n).any(|other| other == domain) {
            return Err(format!("{domain} is there twice"));
        }
    }
    Ok(())
}

fn challenges(value: &DeValue<'_>) -> Result<Vec<Kind>, String> {
    let kinds = list(value, |item| values::challenge(string(item)?))?;
    match kinds.as_slice() {
        [one, other] if one == other => Err(format!("{one} is there twice")),
        [] | [_] | [_, _] => Ok(kinds),
        _ => Err("there are two kinds of challenges; give each once".to_owned()),
    }
}
