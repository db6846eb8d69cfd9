//! Playlists that reach back into a recording, as they are sent: chunks that every shard shares, between a shard's own texts. Before it:
//! [`super::past_view`]; beside it: [`super::hls`], which answers.
use std::hash::{DefaultHasher, Hasher as _};

use bytes::Bytes;
use millstream_hub::package::archive::{gzip_around, pack};
use millstream_hub::package::window::Past;
use millstream_proto::http::conditional::Tag;
use millstream_proto::http::request::Method;
use millstream_proto::http::response::{Body, Cache, Head};

use super::head::FileHead;
use super::past_view::PastView;
use super::reply::{Answer, Reply};
use crate::clock::unix_s;

/// A whole playlist, whose chunks stand between two texts.
pub(super) fn answer(
    view: &PastView,
    reply: &Reply<'_>,
    content_type: &'static str,
    cache: Cache,
    head: &Bytes,
    past: &Past,
) -> Answer {
    let here = view.here();
    let chunks = here.as_ref().map_or(&[][..], |here| here.chunks(past));
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(Tag::hash(head));
    for chunk in chunks {
        hasher.write_u64(chunk.hash);
    }
    hasher.write_u64(Tag::hash(&past.tail));
    let (gzip, hash) = (reply.request.accepts_gzip, hasher.finish());
    let tag = Tag::new(hash, gzip);
    if let Some(known) = reply.request.if_none_match.as_deref().and_then(|asked| tag.known_by(asked)) {
        let head = Head::new(304, Body::None, cache, reply.keep_alive)
            .header("ETag", &known.to_string())
            .header("Vary", "Accept-Encoding")
            .date(unix_s());
        return Answer::Whole(head.finish());
    }
    let mut pieces = Vec::with_capacity(chunks.len() + 4);
    // The place of the head.
    pieces.push(Bytes::new());
    if gzip {
        let first = pack(head);
        let sums = chunks.iter().map(|own| (own.chunk.packed.crc32, own.plain.len() as u64));
        let [begin, end] = gzip_around(std::iter::once((first.crc32, head.len() as u64)).chain(sums), &past.tail);
        pieces.extend([begin, first.blocks]);
        pieces.extend(chunks.iter().map(|own| own.packed.clone()));
        pieces.push(end);
    } else {
        pieces.push(head.clone());
        pieces.extend(chunks.iter().map(|own| own.plain.clone()));
        pieces.push(past.tail.clone());
    }
    let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
    let keep_alive = reply.keep_alive;
    let file = FileHead { content_type, cache, bytes, keep_alive, form: Some((tag, gzip)) };
    let head = reply.shard.heads.of(file);
    if reply.request.method == Method::Head {
        return Answer::Whole(head);
    }
    if let Some(place) = pieces.first_mut() {
        *place = head;
    }
    Answer::File { pieces, waited_since: None }
}
