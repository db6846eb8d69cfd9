//! Signatures, play grants and keys.
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use millstream_proto::sign::grant::GrantKeys;
use millstream_proto::sign::{Action, Claim, Keys, MasterKey, parse_expiry, verify};

/// One text as a signature, a play grant, a master key and an expiry. Nobody who does not know the secret gets in.
pub fn sign(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (Ok(app), Ok(id)) = (Id::new("stream"), Id::new("cam")) else { return };
    let secrets = [Secret::new("known to nobody who writes seeds")];
    for action in [Action::Publish, Action::Play] {
        let claim = Claim { action, app: &app, id: &id };
        for keys in [Keys { stream: &secrets, legacy: &[] }, Keys { stream: &[], legacy: &secrets }] {
            assert!(verify(std::iter::once(text), claim, keys, 0).is_err(), "a forged signature");
            assert!(verify([text, text].into_iter(), claim, keys, 0).is_err(), "two signatures");
        }
    }
    for generation in [1, 2, u32::MAX] {
        let keys = GrantKeys::new(&MasterKey::new(*b"known to nobody who writes seeds"), generation);
        assert!(keys.check(text, &id, 0).is_err(), "a forged grant");
    }
    if let Ok(key) = MasterKey::parse(text) {
        assert_eq!(key.to_text().expose(), text.trim_end_matches('\n'));
    }
    if let Some(expiry) = parse_expiry(text) {
        assert_eq!(text.trim_start_matches('0').parse().unwrap_or(0), expiry);
    }
}
