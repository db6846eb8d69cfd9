//! The form that names what it is for: `v2-<exp>-<mac>`, the MAC as unpadded base64url of HMAC-SHA256, under the stream's secret,
//! over `v2\n<action>\n<app>/<id>\n<exp>`.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::{Choice, ConstantTimeEq as _};

use super::{Action, Claim, Keys, SignError, hmac_sha256, parse_expiry};
use crate::secret::Secret;

/// What a signature of this form starts with.
pub(super) const PREFIX: &str = "v2-";

/// Makes the value of `sign=` that admits this claim until `expiry`, Unix seconds.
pub fn sign(claim: Claim<'_>, expiry: u64, secret: &Secret) -> Secret {
    let expiry = expiry.to_string();
    let mac = URL_SAFE_NO_PAD.encode(mac(claim, &expiry, secret));
    Secret::new(format!("{PREFIX}{expiry}-{mac}"))
}

/// The expiry, and whether a secret of the stream made this signature; `rest` is what follows the first hyphen. The second one
/// ends the expiry, and any further hyphen is part of the MAC, whose alphabet has one.
pub(super) fn check(rest: &str, claim: Claim<'_>, keys: Keys<'_>) -> Result<(u64, bool), SignError> {
    let (expiry_text, encoded) = rest.split_once('-').ok_or(SignError::Malformed)?;
    let expiry = parse_expiry(expiry_text).ok_or(SignError::Malformed)?;
    let given = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| SignError::Malformed)?;
    let given: [u8; 32] = given.try_into().map_err(|_| SignError::Malformed)?;
    let mut right = Choice::from(0);
    for secret in keys.stream {
        right |= mac(claim, expiry_text, secret).ct_eq(&given);
    }
    Ok((expiry, bool::from(right)))
}

/// The expiry is signed as the text that was given, so that its every character is covered.
fn mac(claim: Claim<'_>, expiry: &str, secret: &Secret) -> [u8; 32] {
    let Claim { action, app, id } = claim;
    let message = format!("v2\n{}\n{app}/{id}\n{expiry}", Action::as_str(action));
    hmac_sha256(secret.expose().as_bytes(), message.as_bytes())
}
