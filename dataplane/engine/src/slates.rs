//! The clips that streams show while their publisher is away, by what names them everywhere: the SHA-256 of the file. Before it: files of the
//! configuration, and what the side fetches from control; after it: [`crate::shard`] gives each stream its own.
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use millstream_proto::hex;
use millstream_proto::media::Clip;

/// Names a clip: the SHA-256 of its file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlateKey(pub [u8; 32]);

impl SlateKey {
    /// Of 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }
}

impl fmt::Display for SlateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SlateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All clips that there are. Cheap to clone; every stream of every shard has the same bytes.
#[derive(Clone, Debug, Default)]
pub struct Slates {
    /// Of streams that name none; `None`: the built-in one.
    pub usual: Option<SlateKey>,
    configured: Arc<Clips>,
    /// Fetched from control.
    held: Arc<Clips>,
}

/// Clips by what names them.
pub type Clips = HashMap<SlateKey, Arc<Clip>>;

impl Slates {
    /// None yet but the built-in one; `usual` is what streams show that name none.
    pub fn new(usual: Option<SlateKey>) -> Self {
        Self { usual, ..Self::default() }
    }

    /// With one more of the configuration.
    pub fn insert(&mut self, key: SlateKey, clip: Arc<Clip>) {
        Arc::make_mut(&mut self.configured).insert(key, clip);
    }

    /// Whether the configuration has given it.
    pub fn has(&self, key: SlateKey) -> bool {
        self.configured.contains_key(&key)
    }

    /// Besides those of the configuration there are these.
    pub(crate) fn hold(&mut self, held: Arc<Clips>) {
        self.held = held;
    }

    /// The clip of a stream that names this one; the usual one where it is not here.
    pub fn get(&self, key: Option<SlateKey>) -> Option<Arc<Clip>> {
        let find = |key| self.configured.get(&key).or_else(|| self.held.get(&key));
        [key, self.usual].into_iter().flatten().find_map(find).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_hexadecimal_both_ways() {
        let text = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert_eq!(SlateKey::from_hex(text).map(|key| key.to_string()).as_deref(), Some(text));
        for bad in ["", "9f", &text[1..], &format!("{text}0"), &text.replace('9', "g"), &"é".repeat(32)] {
            assert_eq!(SlateKey::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_here_is_the_usual_one() {
        let clip = millstream_hub::slate::built_in;
        let (usual, own) = (SlateKey([1; 32]), SlateKey([2; 32]));
        assert!(Slates::default().get(None).is_none() && Slates::default().get(Some(own)).is_none());
        let mut slates = Slates::new(Some(usual));
        slates.insert(usual, clip());
        assert!(slates.get(None).is_some() && slates.get(Some(own)).is_some() && slates.has(usual) && !slates.has(own));
        let other = clip();
        slates.hold(Arc::new(HashMap::from([(own, Arc::new((*other).clone()))])));
        assert!(!Arc::ptr_eq(&slates.get(Some(own)).unwrap(), &slates.get(None).unwrap()));
    }
}
