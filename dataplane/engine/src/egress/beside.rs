//! Where the playlists are that players may switch to from a stream's or a rendition's: said in its own as rendition reports. Only what this shard
//! holds is looked at: nothing is begun or subscribed to for it. Before it: [`super::hls`]; after it: the hub's window, which writes them.
use millstream_hub::config::Rendition;
use millstream_hub::package::window::{Beside, Window};
use millstream_proto::id::Id;
use millstream_proto::media::Track;

use crate::shard::state::Shard;

/// Those beside the window of this stream or rendition, whose stream has these renditions.
pub(super) fn of(shard: &Shard, id: &Id, window: &Window, renditions: &[Rendition]) -> Vec<Beside> {
    if renditions.is_empty() {
        return Vec::new();
    }
    let at = |other: &Id, path: String, is_source: bool| {
        let held = shard.playing(other);
        let position = |track| held.as_ref()?.packaging.window.borrow().position(track);
        Beside { path, is_source, video: position(Track::Video), audio: position(Track::Audio) }
    };
    let (stream, own) = id.rendition().unzip();
    let (stream, up) = (stream.as_ref(), if own.is_some() { "../" } else { "" });
    let source = stream.map(|stream| at(stream, up.to_owned(), true));
    let others = window.offered(renditions).filter(|rendition| own.as_ref() != Some(&rendition.name));
    let others = others.map(|rendition| {
        let other = stream.unwrap_or(id).of_rendition(&rendition.name);
        at(&other, format!("{up}{}/", rendition.name), false)
    });
    source.into_iter().chain(others).collect()
}
