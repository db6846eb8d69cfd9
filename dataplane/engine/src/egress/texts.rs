//! Playlists and manifests as they are sent: each version compressed and tagged once, however many ask for it. Between the window, which
//! renders them, and [`super::hls`], which answers.
use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::io::Write as _;
use std::rc::Rc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use millstream_proto::http::conditional::Tag;

/// Versions held of a stream handle: a multivariant playlist, two tracks' with and without what can be skipped, a manifest, and some that have just
/// been replaced; and as many with the addresses that they have below a mapped path.
const TEXTS_MAX: usize = 16;

/// One version of a playlist.
pub(crate) struct Text {
    pub(super) plain: Bytes,
    pub(super) hash: u64,
    gzip: OnceCell<Option<Bytes>>,
}

impl Text {
    /// The compressed form, made when the first one asks; `None` where it would be no shorter.
    pub(super) fn gzip(&self) -> Option<Bytes> {
        self.gzip.get_or_init(|| gzip(&self.plain)).clone()
    }
}

/// Without a name or a time in its head: the same bytes on every node.
fn gzip(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::default());
    encoder.write_all(plain).ok()?;
    let packed = encoder.finish().ok()?;
    (packed.len() < plain.len()).then(|| packed.into())
}

/// The newest versions of a stream handle's playlists.
#[derive(Default)]
pub(crate) struct Texts {
    newest: RefCell<VecDeque<Rc<Text>>>,
}

impl Texts {
    /// The version with this text.
    pub(super) fn of(&self, plain: Bytes) -> Rc<Text> {
        let newest = &mut *self.newest.borrow_mut();
        // What the window has rendered it shares, and it is held here: the same place is the same text.
        if let Some(text) = newest.iter().find(|text| text.plain.as_ptr() == plain.as_ptr() && text.plain == plain) {
            return Rc::clone(text);
        }
        let hash = Tag::hash(&plain);
        if let Some(text) = newest.iter().find(|text| text.hash == hash && text.plain == plain) {
            return Rc::clone(text);
        }
        let text = Rc::new(Text { plain, hash, gzip: OnceCell::new() });
        newest.truncate(TEXTS_MAX - 1);
        newest.push_front(Rc::clone(&text));
        text
    }
}
