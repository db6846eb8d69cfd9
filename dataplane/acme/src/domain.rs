//! Names that an authority can certify by the challenges that this server answers, and the address of who asks for it.
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Bytes of a name, and of one of its labels (RFC 1035, 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// Bytes of an address (RFC 5321, 4.5.3.1).
const EMAIL_BYTES_MAX: usize = 254;

/// A host name, in lower case and without a dot at its end.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Domain(String);

/// Why a text is no name that can be certified here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DomainError {
    /// It is an address.
    #[error("{0} is an address, and certificates are ordered for names; give a domain name that leads to this server")]
    Address(String),
    /// It stands for many names.
    #[error(
        "{0} is a wildcard, which an authority certifies by an entry in the DNS alone (dns-01); this server does not make one: list the names \
         themselves, or order the certificate with another program and name its files in tls.certificates and tls.keys"
    )]
    Wildcard(String),
    /// It is not written as the DNS has it.
    #[error("{0:?} has letters that the DNS does not have; give its ASCII form (xn--...)")]
    NotAscii(String),
    /// It is a URL, or has a port.
    #[error("{0:?} is more than a name; give the name alone, without https://, port and path")]
    NotAlone(String),
    /// It is no name.
    #[error("{0:?} is not a domain name; give one such as live.example.org")]
    Malformed(String),
}

impl Domain {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is of a network's own, as `localhost` is: public authorities certify none.
    pub fn is_local(&self) -> bool {
        !self.0.contains('.')
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let given = || text.to_owned();
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if bare.parse::<IpAddr>().is_ok() {
            return Err(DomainError::Address(given()));
        }
        if text.starts_with("*.") {
            return Err(DomainError::Wildcard(given()));
        }
        if !text.is_ascii() {
            return Err(DomainError::NotAscii(given()));
        }
        if text.contains(['/', ':', '@']) {
            return Err(DomainError::NotAlone(given()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=LABEL_BYTES_MAX).contains(&label.len())
                && label.bytes().all(good)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last label of digits would be an address that is cut short.
        let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
        let last = name.rsplit('.').next().unwrap_or_default();
        if name.len() > NAME_BYTES_MAX || !name.split('.').all(is_label) || is_number(last) {
            return Err(DomainError::Malformed(given()));
        }
        Ok(Self(name))
    }
}

/// Why a text is no address of electronic mail.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not an address of electronic mail; give one such as you@example.org")]
pub struct EmailError(String);

/// An address that an authority takes; it may write to it.
pub fn check_email(text: &str) -> Result<String, EmailError> {
    let wrong = || EmailError(text.to_owned());
    let (local, domain) = text.rsplit_once('@').ok_or_else(wrong)?;
    // No more than mail addresses need: it becomes a part of a URL, `mailto:`.
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".!#$&'*+-/=^_`{|}~".contains(&byte);
    let domain: Domain = domain.parse().map_err(|_| wrong())?;
    if text.len() > EMAIL_BYTES_MAX || local.is_empty() || !local.bytes().all(good) || domain.is_local() {
        return Err(wrong());
    }
    Ok(format!("{local}@{domain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_and_what_is_none_is_told_why() {
        for (text, name) in [
            ("live.example.org", "live.example.org"),
            ("Live.Example.ORG.", "live.example.org"),
            ("localhost", "localhost"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("4.example", "4.example"),
        ] {
            assert_eq!(text.parse::<Domain>().unwrap().as_str(), name);
        }
        let said = |text: &str| text.parse::<Domain>().unwrap_err().to_string();
        for address in ["192.0.2.1", "::1", "[2001:db8::1]"] {
            assert!(said(address).contains("is an address"), "{address}");
        }
        assert!(said("*.example.org").contains("dns-01"));
        assert!(said("bücher.example").contains("xn--"));
        for more in ["https://example.org", "example.org:443", "example.org/live", "you@example.org"] {
            assert!(said(more).contains("the name alone"), "{more}");
        }
        let long = format!("{}.org", "x".repeat(64));
        let longer = "x.".repeat(127) + "org";
        for bad in ["", ".", "a..b", "-a.org", "a-.org", "a b.org", "a_b.org", "*", "a.*.org", "1.2.3", &long, &longer]
        {
            assert!(said(bad).contains("not a domain name"), "{bad}");
        }
    }

    #[test]
    fn mail_addresses() {
        assert_eq!(check_email("You+live@Example.org").unwrap(), "You+live@example.org");
        for bad in [
            "",
            "you",
            "you@",
            "@example.org",
            "you@localhost",
            "a b@example.org",
            "a,b@example.org",
            "a?x=y@b.org",
            "mailto:a@b.org",
            "a@b@",
        ] {
            assert!(check_email(bad).is_err(), "{bad}");
        }
    }
}
