//! The form that encoders in the field hold: `<exp>-<md5>`, the MD5 as lower-case hex over `/<app>/<id>-<exp>-<secret>`.
use md5::{Digest as _, Md5};
use subtle::{Choice, ConstantTimeEq as _};

use super::{Action, Claim, Keys, SignError, parse_expiry};
use crate::id::Id;
use crate::secret::Secret;

/// Makes the value of `sign=` that lets `app/id` be published until `expiry`, Unix seconds.
pub fn sign(app: &Id, id: &Id, expiry: u64, secret: &Secret) -> Secret {
    let expiry = expiry.to_string();
    let mut text = format!("{expiry}-");
    for byte in digest(app, id, &expiry, secret) {
        for nibble in [byte >> 4, byte & 0xF] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or_default());
        }
    }
    Secret::new(text)
}

/// Whether any key made this signature for a push path of another server, as that server made it: over `/<path>` instead of
/// `/<app>/<id>`. Otherwise like [`super::verify`] for publishing.
pub fn verify_path<'a>(
    mut signs: impl Iterator<Item = &'a str>,
    path: &str,
    keys: Keys<'_>,
    unix_s: u64,
) -> Result<(), SignError> {
    let sign = signs.next().ok_or(SignError::Missing)?;
    if signs.next().is_some() {
        return Err(SignError::Duplicate);
    }
    let (expiry, right) = check_for(sign, |text, secret| digest_of(&["/", path], text, secret), keys)?;
    super::admits(expiry, right, unix_s)
}

/// The expiry, and whether any key made this signature. It names no action, so it can only be for publishing.
pub(super) fn check(sign: &str, claim: Claim<'_>, keys: Keys<'_>) -> Result<(u64, bool), SignError> {
    let (app, id) = (claim.app, claim.id);
    let (expiry, right) = check_for(sign, |text, secret| digest(app, id, text, secret), keys)?;
    Ok((expiry, right && claim.action == Action::Publish))
}

fn check_for(sign: &str, made: impl Fn(&str, &Secret) -> [u8; 16], keys: Keys<'_>) -> Result<(u64, bool), SignError> {
    let (expiry_text, hex) = sign.split_once('-').ok_or(SignError::Malformed)?;
    let expiry = parse_expiry(expiry_text).ok_or(SignError::Malformed)?;
    let given = parse_digest(hex).ok_or(SignError::Malformed)?;
    let mut right = Choice::from(0);
    for secret in keys.stream.iter().chain(keys.legacy) {
        right |= made(expiry_text, secret).ct_eq(&given);
    }
    Ok((expiry, bool::from(right)))
}

/// The expiry is hashed as the text that was given, so that its every character is covered.
fn digest(app: &Id, id: &Id, expiry: &str, secret: &Secret) -> [u8; 16] {
    digest_of(&["/", app.as_str(), "/", id.as_str()], expiry, secret)
}

fn digest_of(path: &[&str], expiry: &str, secret: &Secret) -> [u8; 16] {
    let mut md5 = Md5::new();
    for part in path.iter().chain(&["-", expiry, "-", secret.expose()]) {
        md5.update(part.as_bytes());
    }
    md5.finalize().into()
}

/// 32 lower-case hexadecimal digits.
fn parse_digest(hex: &str) -> Option<[u8; 16]> {
    if hex.len() != 32 || hex.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    u128::from_str_radix(hex, 16).ok().map(u128::to_be_bytes)
}
