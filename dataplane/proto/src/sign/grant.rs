//! Play grants: what lets a viewer fetch the playlists and files of one stream for a while, by the path `/g/<grant>/<id>/...`. Pure functions: the
//! wall clock is an argument. Before it: the engine, which makes a grant for who was admitted and checks it with each request; beside it:
//! `docs/cdn/grants.js`, which checks the same text at a CDN's edge.
//!
//! The text is `v1.<generation>.<expiry>.<session>.<mac>`, one path segment without escapes: the generation of the key, Unix seconds, 16
//! characters of base64url that name the viewer's session, and the MAC as unpadded base64url of HMAC-SHA256 over all that stands before it,
//! `/` and the stream's id. The key is the text of [`MasterKey::grant_key`], so that an edge needs no more than a text.
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use super::{MasterKey, hmac_sha256, parse_expiry, span};
use crate::id::Id;
use crate::limits::GRANT_BYTES_MAX;
use crate::secret::Secret;

/// What a grant of this form starts with.
const PREFIX: &str = "v1.";
/// Bytes of a session's name.
const SESSION_BYTES: usize = 12;
/// Digits of a generation that is read.
const GENERATION_DIGITS_MAX: usize = 9;

/// Whether a path's segment can only be meant as a grant, right or wrong: no stream, rendition or file that a path begins with has a dot there.
pub fn is_meant(segment: &str) -> bool {
    segment.contains('.')
}

/// Names a viewer's session in all of its grants. Not a secret by itself: it admits nobody.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GrantSession([u8; SESSION_BYTES]);

impl GrantSession {
    /// A session of these bytes, which no other session may have.
    pub const fn new(bytes: [u8; SESSION_BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for GrantSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for GrantSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a right grant says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PlayGrant {
    /// It admits up to, and not including, this second of Unix time.
    pub expiry_unix_s: u64,
    /// Whose it is.
    pub session: GrantSession,
}

/// Why a grant does not admit. Never holds the grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Not of the form, or longer than one can be.
    #[error("the grant in the path is not whole, or not of the form that this server makes")]
    Malformed,
    /// Made with a key that is not in force here.
    #[error("the grant in the path was made with a key that is not in force any more")]
    OtherKey,
    /// Made with another key, or for another stream, session or expiry.
    #[error("the grant in the path is wrong, or was made for another stream")]
    Wrong,
    /// Made here, and too old.
    #[error("the grant in the path expired {} ago", span(*since))]
    Expired {
        /// Seconds between the expiry and now.
        since: u64,
    },
}

/// The keys that grants are made and checked with. Does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct GrantKeys {
    /// New grants are made with it.
    current: (u32, Secret),
    /// Its grants are still taken.
    previous: Option<(u32, Secret)>,
}

impl fmt::Debug for GrantKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantKeys").field("generation", &self.current.0).finish_non_exhaustive()
    }
}

impl GrantKeys {
    /// The key of this generation makes grants, and it and the one before it check them: whoever raises the generation by one ends no grant, and by
    /// two ends all.
    pub fn new(master: &MasterKey, generation: u32) -> Self {
        let key = |generation| (generation, master.grant_key(generation));
        Self { current: key(generation), previous: generation.checked_sub(1).filter(|before| *before > 0).map(key) }
    }

    /// Makes a grant for this stream.
    pub fn make(&self, id: &Id, grant: PlayGrant) -> Secret {
        let (generation, key) = &self.current;
        let said = format!("{PREFIX}{generation}.{}.{}", grant.expiry_unix_s, grant.session);
        let mac = URL_SAFE_NO_PAD.encode(mac(&said, id, key));
        Secret::new(format!("{said}.{mac}"))
    }

    /// What a grant for this stream says, if it is right and admits at this second.
    pub fn check(&self, text: &str, id: &Id, unix_s: u64) -> Result<PlayGrant, GrantError> {
        // The expiry is looked at only once the MAC is found right: a stranger is told nothing but "wrong".
        let grant = self.read(text, id)?;
        match unix_s.checked_sub(grant.expiry_unix_s) {
            None => Ok(grant),
            Some(since) => Err(GrantError::Expired { since }),
        }
    }

    /// Whose grant this is, if it is right, and though it may be over.
    pub fn session_of(&self, text: &str, id: &Id) -> Option<GrantSession> {
        self.read(text, id).ok().map(|grant| grant.session)
    }

    fn read(&self, text: &str, id: &Id) -> Result<PlayGrant, GrantError> {
        if text.len() > GRANT_BYTES_MAX {
            return Err(GrantError::Malformed);
        }
        let (said, given) = text.rsplit_once('.').ok_or(GrantError::Malformed)?;
        let mut fields = said.strip_prefix(PREFIX).ok_or(GrantError::Malformed)?.split('.');
        let (Some(generation), Some(expiry), Some(session), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(GrantError::Malformed);
        };
        let generation = parse_generation(generation).ok_or(GrantError::Malformed)?;
        let expiry_unix_s = parse_expiry(expiry).ok_or(GrantError::Malformed)?;
        let session = GrantSession(decode(session)?);
        let given: [u8; 32] = decode(given)?;
        let keys = [Some(&self.current), self.previous.as_ref()];
        let (_, key) =
            keys.into_iter().flatten().find(|(known, _)| *known == generation).ok_or(GrantError::OtherKey)?;
        if !bool::from(mac(said, id, key).ct_eq(&given)) {
            return Err(GrantError::Wrong);
        }
        Ok(PlayGrant { expiry_unix_s, session })
    }
}

impl MasterKey {
    /// The key that grants of this generation are made with: base64url(HMAC-SHA256(master, "grant key\n" + generation)). A stream's secret is of
    /// another message: its id has no space. It tells nothing about the master key, so that it may be given to edges.
    pub fn grant_key(&self, generation: u32) -> Secret {
        let message = format!("grant key\n{generation}");
        Secret::new(URL_SAFE_NO_PAD.encode(hmac_sha256(&self.0, message.as_bytes())))
    }
}

/// Everything that stands before the MAC is signed as the text that it is, so that its every character is covered.
fn mac(said: &str, id: &Id, key: &Secret) -> [u8; 32] {
    hmac_sha256(key.expose().as_bytes(), format!("{said}/{id}").as_bytes())
}

fn decode<const BYTES: usize>(text: &str) -> Result<[u8; BYTES], GrantError> {
    let mut bytes = [0; BYTES];
    // A text that is too long does not fit.
    match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(count) if count == BYTES => Ok(bytes),
        _ => Err(GrantError::Malformed),
    }
}

fn parse_generation(text: &str) -> Option<u32> {
    let decimal = !text.is_empty() && text.len() <= GENERATION_DIGITS_MAX && text.bytes().all(|b| b.is_ascii_digit());
    if decimal { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Random;

    const SESSION: GrantSession = GrantSession([7; SESSION_BYTES]);

    fn keys(generation: u32) -> GrantKeys {
        GrantKeys::new(&MasterKey::new([1; 32]), generation)
    }

    fn id(text: &str) -> Id {
        Id::new(text).unwrap()
    }

    fn grant(expiry_unix_s: u64) -> PlayGrant {
        PlayGrant { expiry_unix_s, session: SESSION }
    }

    /// The text is what edges check with code of their own: it must not change.
    #[test]
    fn the_text_is_the_one_that_edges_know() {
        let text = keys(1).make(&id("cam"), grant(1_800_000_000));
        // Computed with Python's hmac.
        let expected = "v1.1.1800000000.BwcHBwcHBwcHBwcH.W2xYaMhzaMKFLli9DqNxPdrwX1gm9xvauO-sVKs6RZ8";
        assert_eq!(text.expose(), expected);
        assert_eq!(keys(1).current.1.expose(), "1LVrU2x0gzqyVRRE6ZzzpQIFWWvxfNcVWBRgeTZk-1g");
    }

    #[test]
    fn a_grant_admits_to_its_stream_until_its_expiry() {
        let (keys, cam) = (keys(3), id("cam"));
        let text = keys.make(&cam, grant(100));
        assert_eq!(keys.check(text.expose(), &cam, 99), Ok(grant(100)));
        assert_eq!(keys.check(text.expose(), &cam, 100), Err(GrantError::Expired { since: 0 }));
        assert_eq!(keys.check(text.expose(), &id("other"), 99), Err(GrantError::Wrong));
        assert_eq!((keys.session_of(text.expose(), &cam), keys.session_of("", &cam)), (Some(SESSION), None));
        assert!(text.expose().len() <= GRANT_BYTES_MAX && is_meant(text.expose()));
        assert!(!format!("{keys:?} {text:?}").contains(text.expose()));
    }

    #[test]
    fn generations_overlap_by_one() {
        let cam = id("cam");
        let text = keys(3).make(&cam, grant(100));
        let check = |generation| keys(generation).check(text.expose(), &cam, 0);
        assert_eq!((check(3), check(4)), (Ok(grant(100)), Ok(grant(100))));
        assert_eq!((check(5), check(2)), (Err(GrantError::OtherKey), Err(GrantError::OtherKey)));
        let other = GrantKeys::new(&MasterKey::new([2; 32]), 3);
        assert_eq!(other.check(text.expose(), &cam, 0), Err(GrantError::Wrong));
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        let (keys, cam) = (keys(1), id("cam"));
        let text = keys.make(&cam, grant(100));
        let text = text.expose();
        let (said, mac) = text.rsplit_once('.').unwrap();
        for wrong in [
            String::new(),
            ".".to_owned(),
            "v1....".to_owned(),
            format!("{text}="),
            format!("{text}."),
            format!("{text}A"),
            format!(" {text}"),
            format!("{said}.{mac}.{mac}"),
            text.replace("v1.", "v2."),
            text.replace("v1.", "V1."),
            text.replace(".100.", ".-100."),
            text.replace(".100.", "..100."),
            text.replace(".100.", ".1e2."),
            text.replace("v1.1.", "v1.4294967297."),
            text.replace("v1.1.", "v1.."),
            text.get(..text.len() - 1).unwrap().to_owned(),
            "v1.".to_owned() + &"9".repeat(GRANT_BYTES_MAX),
        ] {
            assert_eq!(keys.check(&wrong, &cam, 0), Err(GrantError::Malformed), "{wrong}");
        }
        // Other texts of the same numbers are other texts.
        for wrong in [text.replace(".100.", ".0100."), text.replace("v1.1.", "v1.01.")] {
            assert_eq!(keys.check(&wrong, &cam, 0), Err(GrantError::Wrong), "{wrong}");
        }
    }

    #[test]
    fn nothing_but_what_was_made_is_right() {
        let mut random = Random::new(0x6772_616E);
        for _ in 0..20_000 {
            let generation = 1 + random.below(1_000_000) as u32;
            let made = PlayGrant {
                expiry_unix_s: 1 + random.next() % 999_999_999_999,
                session: GrantSession(std::array::from_fn(|_| random.next() as u8)),
            };
            let name: String = (0..=random.below(63)).map(|_| char::from(b"aZ09_-"[random.below(6)])).collect();
            let (keys, id) = (keys(generation), id(&name));
            let text = keys.make(&id, made);
            assert!(text.expose().len() <= GRANT_BYTES_MAX, "{}", text.expose());
            assert_eq!(keys.check(text.expose(), &id, made.expiry_unix_s - 1), Ok(made));
            assert_eq!(keys.check(text.expose(), &id, made.expiry_unix_s), Err(GrantError::Expired { since: 0 }));
            let other = Id::new(&format!("{name}x").split_off(1)).unwrap();
            assert!(other == id || keys.check(text.expose(), &other, 0).is_err(), "{other} is not {id}");
            let mut damaged = text.expose().as_bytes().to_vec();
            random.damage(&mut damaged);
            let damaged = String::from_utf8_lossy(&damaged);
            assert!(damaged == text.expose() || keys.check(&damaged, &id, 0).is_err(), "{damaged}");
        }
    }
}
