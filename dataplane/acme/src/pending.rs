//! Challenges that are pending, as they can be handed on: to this server's ports, or to other machines that answer for it. Before it: [`crate::order`];
//! after it: [`Challenges`], which ports show.
use millstream_proto::secret::Secret;
use millstream_tls::Challenges;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use crate::error::OrderError;
use crate::order::Kind;

/// What an authority may ask, and what it is to be answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pending {
    /// The name that it looks at.
    pub name: String,
    /// How it comes.
    pub kind: Kind,
    /// What it asks for.
    pub token: String,
    /// The key authorization (RFC 8555, 8.1). Who has it can pass for this server before the authority.
    pub answer: Secret,
}

/// What ports are to show.
pub fn challenges(pending: &[Pending]) -> Result<Challenges, OrderError> {
    let mut challenges = Challenges::default();
    for Pending { name, kind, token, answer } in pending {
        match kind {
            Kind::Http01 => challenges.answer(token, answer.expose())?,
            Kind::TlsAlpn01 => {
                let (certificate, key) = certificate_of(name, answer)?;
                challenges.certificate(name, certificate, key)?;
            }
        }
    }
    Ok(challenges)
}

/// The certificate that a name is shown by (RFC 8737, 3): whoever has the answer can make one.
fn certificate_of(
    name: &str,
    answer: &Secret,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), OrderError> {
    let cannot = |error: rcgen::Error| OrderError::Shown(error.to_string());
    let key = KeyPair::generate().map_err(cannot)?;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(cannot)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&Sha256::digest(answer.expose()))];
    let certificate = params.self_signed(&key).map_err(cannot)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| OrderError::Shown(error.to_owned()))?;
    Ok((certificate.der().clone(), key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(name: &str, kind: Kind, token: &str) -> Pending {
        Pending { name: name.to_owned(), kind, token: token.to_owned(), answer: Secret::new(format!("{token}.thumb")) }
    }

    #[test]
    fn each_kind_is_shown_as_the_authority_comes_for_it() {
        let both = [pending("a.org", Kind::Http01, "one"), pending("b.org", Kind::TlsAlpn01, "two")];
        let shown = challenges(&both).unwrap();
        assert_eq!((shown.find("one"), shown.find("two")), (Some("one.thumb"), None));
        let said = format!("{shown:?} {both:?}");
        assert!(said.contains("certificates: 1") && !said.contains("thumb"), "{said}");
        assert_eq!(challenges(&[]).unwrap().find("one"), None);
    }

    #[test]
    fn the_certificate_of_a_name_has_the_digest_of_its_answer() {
        let (certificate, _) = certificate_of("a.org", &Secret::new("two.thumb")).unwrap();
        let digest = Sha256::digest("two.thumb");
        // An octet string in an octet string (RFC 8737, 3).
        assert!(certificate.windows(34).any(|part| part[..2] == [4, 32] && part[2..] == *digest), "{certificate:?}");
        assert!(certificate.windows(5).any(|part| part == b"a.org"));
    }

    #[test]
    fn what_is_no_challenge_is_refused() {
        for token in ["", "../x", "a b", &"x".repeat(129)] {
            assert!(challenges(&[pending("a.org", Kind::Http01, token)]).is_err(), "{token}");
        }
        let many: Vec<_> = (0..129).map(|n| pending("a.org", Kind::Http01, &n.to_string())).collect();
        assert!(challenges(&many).is_err());
    }
}
