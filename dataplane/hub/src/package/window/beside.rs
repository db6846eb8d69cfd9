//! What a window's playlists say of those of other windows that players switch to: a stream's of its renditions', and a rendition's of its
//! source's and of the other renditions' (RFC 8216bis 4.4.5.4). Renditions are cut where their source is, so that one of which nothing is known
//! here is taken to be where this window is: one that nobody has asked for will be there when it answers. Beside [`super::text`].
use millstream_proto::codec::Summary;
use millstream_proto::hls::media::Report;
use millstream_proto::media::Track;

use super::offer::Offer;
use super::{Beside, Position, Window, playlist_name};
use crate::config::Rendition;
use crate::decodable::Undecodable;

impl Window {
    /// Where a track's playlist is; `None`: there is nothing in it yet.
    pub fn position(&self, track: Track) -> Option<Position> {
        let last = self.held(track).segments().rev().find(|segment| !segment.parts.is_empty() || segment.closed)?;
        Some(Position { msn: last.opened.msn, part: (last.parts.len() as u64).saturating_sub(1) })
    }

    /// Size of the newest picture, pixels.
    pub(super) fn picture(&self) -> Option<(u32, u32)> {
        self.held(Track::Video).newest_header()?.summary.shape?.picture()
    }

    /// Those of a stream's renditions that players may ask for beside this window, whether it is the stream's or a rendition's.
    pub fn offered<'a>(&self, renditions: &'a [Rendition]) -> impl Iterator<Item = &'a Rendition> {
        let source = match self.guide() {
            Some(guide) => guide.picture,
            None => self.picture().filter(|_| self.is_decodable()),
        };
        let fits = move |rendition: &Rendition| source.is_some_and(|source| rendition.size_of(source).is_some());
        renditions.iter().filter(move |rendition| fits(rendition) && rendition.unencodable().is_none())
    }

    fn is_decodable(&self) -> bool {
        self.held(Track::Video).newest_header().is_some_and(|header| is_decodable(&header.summary))
    }

    /// The same, as the multivariant playlist and the manifest have them, the largest first.
    pub(super) fn offers(&self, renditions: &[Rendition], name: fn(Track) -> &'static str) -> Vec<Offer> {
        let Some(source) = self.picture().filter(|_| self.is_decodable()) else { return Vec::new() };
        let made = renditions.iter().rev().filter(|rendition| rendition.unencodable().is_none());
        made.filter_map(|rendition| Offer::of(rendition, source, name)).collect()
    }

    /// What a track's playlist says of the others.
    pub(super) fn report_beside(&self, beside: &[Beside], reports: &mut Vec<Report<'_>>) {
        for Beside { path, is_source, video, audio } in beside {
            for (of, at) in [(Track::Video, video), (Track::Audio, audio)] {
                if of == Track::Video || *is_source {
                    let at = at.or_else(|| self.position(of));
                    reports.extend(at.map(|Position { msn, part }| Report {
                        uri: format!("{path}{}", playlist_name(of)).into(),
                        last_msn: msn,
                        last_part: part,
                    }));
                }
            }
        }
    }
}

/// Whether renditions can be made of a picture.
pub(super) fn is_decodable(Summary { codec, shape, unusual }: &Summary) -> bool {
    Undecodable::of(codec, *shape, *unusual).is_none()
}
