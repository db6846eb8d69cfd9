//! The signature of a webhook: HMAC-SHA256 over time and body, so that a receiver knows who sent it and that it is not an old one sent
//! again. Before it: the hook's secret and the bytes of the body; after it: a header, and the receiver, who computes the same.
use super::hmac_sha256;
use crate::secret::Secret;

/// `t=<unix_s>,v1=<hex>`: the MAC, lower-case, is over `<unix_s>.<body>` under the secret as it is written.
pub fn sign(secret: &Secret, unix_s: u64, body: &[u8]) -> String {
    let message = [unix_s.to_string().as_bytes(), b".", body].concat();
    let mac = hmac_sha256(secret.expose().as_bytes(), &message);
    let hex = mac.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    format!("t={unix_s},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Python: `hmac.new(b"whsec", b'1800000000.{"a":1}', "sha256").hexdigest()`.
    #[test]
    fn as_a_receiver_computes_it() {
        let signature = sign(&Secret::new("whsec"), 1_800_000_000, b"{\"a\":1}");
        assert_eq!(signature, "t=1800000000,v1=adf19a16865985b0891b0e7e4f6770e17d6bdd6462d897848f5adb661c4381bb");
    }
}
