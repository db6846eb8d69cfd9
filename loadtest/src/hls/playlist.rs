//! As much of a playlist (RFC 8216bis) as a player needs to go on. Lenient: what is not understood is passed over, as players do. Before it:
//! the body of an answer; after it: [`super::edge`].
use std::time::Duration;

use super::lane::Unreadable;

/// Where a part or segment is: media sequence number, and index of the part.
pub(crate) type Key = (u64, u64);

/// A segment or part that can be fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub(crate) uri: String,
    pub(crate) duration: Duration,
    /// A player can start here.
    pub(crate) independent: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Media {
    pub(crate) target: Duration,
    /// Of `PART-HOLD-BACK`; `None` where there are no parts to hold back by.
    pub(crate) part_hold_back: Option<Duration>,
    pub(crate) hold_back: Option<Duration>,
    pub(crate) can_block: bool,
    pub(crate) map: Option<String>,
    pub(crate) segments: Vec<(u64, Piece)>,
    pub(crate) parts: Vec<(Key, Piece)>,
    /// The part that comes next.
    pub(crate) next: Key,
    /// Its name, where it is told.
    pub(crate) hint: Option<String>,
    pub(crate) ended: bool,
}

/// A multivariant playlist: its first variant, and the audio that goes with it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Variant {
    pub(crate) video: String,
    pub(crate) audio: Option<String>,
}

/// The value of an attribute, without quotes. Names and values of these playlists hold no commas but between quotes.
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = list;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (value, behind) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        if key == name {
            return Some(value);
        }
        rest = behind.trim_start_matches(',');
    }
    None
}

fn seconds(text: Option<&str>) -> Option<Duration> {
    text?.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// Reads a multivariant playlist.
pub(crate) fn variant(text: &str) -> Result<Variant, Unreadable> {
    let mut found = Variant::default();
    let (mut group, mut expects) = (None, false);
    for line in text.lines() {
        if let Some(list) = line.strip_prefix("#EXT-X-STREAM-INF:") {
            group = attribute(list, "AUDIO");
            expects = true;
        } else if expects && !line.is_empty() && !line.starts_with('#') {
            line.clone_into(&mut found.video);
            break;
        }
    }
    if found.video.is_empty() {
        return Err(Unreadable::Playlist("no variant"));
    }
    let renditions = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-MEDIA:"));
    found.audio = renditions
        .filter(|list| group.is_some() && attribute(list, "GROUP-ID") == group)
        .find_map(|list| attribute(list, "URI"))
        .map(str::to_owned);
    Ok(found)
}

/// Reads a media playlist.
pub(crate) fn media(text: &str) -> Result<Media, Unreadable> {
    if !text.starts_with("#EXTM3U") {
        return Err(Unreadable::Playlist("not #EXTM3U"));
    }
    let mut media = Media::default();
    let (mut msn, mut index) = (0_u64, 0_u64);
    let (mut extinf, mut independent) = (None, false);
    for line in text.lines() {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-TARGETDURATION" => media.target = seconds(Some(value)).unwrap_or_default(),
            "#EXT-X-MEDIA-SEQUENCE" => msn = value.parse().map_err(|_| Unreadable::Playlist("media sequence"))?,
            "#EXT-X-SERVER-CONTROL" => {
                media.part_hold_back = seconds(attribute(value, "PART-HOLD-BACK"));
                media.hold_back = seconds(attribute(value, "HOLD-BACK"));
                media.can_block = attribute(value, "CAN-BLOCK-RELOAD") == Some("YES");
            }
            "#EXT-X-SKIP" => msn += attribute(value, "SKIPPED-SEGMENTS").and_then(|n| n.parse().ok()).unwrap_or(0),
            "#EXT-X-MAP" => media.map = attribute(value, "URI").map(str::to_owned),
            "#EXTINF" => extinf = seconds(value.split(',').next()),
            "#EXT-X-PART" => {
                let uri = attribute(value, "URI").ok_or(Unreadable::Playlist("a part without URI"))?.to_owned();
                let duration = seconds(attribute(value, "DURATION")).unwrap_or_default();
                let piece = Piece { uri, duration, independent: attribute(value, "INDEPENDENT") == Some("YES") };
                independent |= index == 0 && piece.independent;
                media.parts.push(((msn, index), piece));
                index += 1;
            }
            "#EXT-X-PRELOAD-HINT" if attribute(value, "TYPE") == Some("PART") => {
                media.hint = attribute(value, "URI").map(str::to_owned);
            }
            "#EXT-X-ENDLIST" => media.ended = true,
            _ if !line.is_empty() && !line.starts_with('#') => {
                let duration = extinf.take().ok_or(Unreadable::Playlist("a segment without duration"))?;
                // Without parts nothing says where a picture can start: players take every segment for one.
                let independent = index == 0 || std::mem::take(&mut independent);
                media.segments.push((msn, Piece { uri: line.to_owned(), duration, independent }));
                (msn, index) = (msn + 1, 0);
            }
            _ => {}
        }
    }
    media.next = (msn, index);
    Ok(media)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_learns_what_it_needs() {
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"b\",NAME=\"x, y\",URI=\"other.m3u8\"\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"s\",URI=\"audio.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1,mp4a\",AUDIO=\"a\"\nvideo.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\nlow.m3u8\n";
        let expected = Variant { video: "video.m3u8".to_owned(), audio: Some("audio.m3u8".to_owned()) };
        assert_eq!(variant(text), Ok(expected));
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.005\n\
            #EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-MAP:URI=\"i.mp4\"\n#EXTINF:2.0,\n7.m4s\n\
            #EXT-X-PART:DURATION=0.5,URI=\"8.0\",INDEPENDENT=YES\n#EXTINF:0.5,\n8.m4s\n#EXT-X-PART:DURATION=0.5,URI=\"9.0\"\n\
            #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"9.1\"\n";
        let media = media(text).unwrap();
        assert_eq!((media.next, media.hint.as_deref(), media.map.as_deref()), ((9, 1), Some("9.1"), Some("i.mp4")));
        assert_eq!(media.segments.iter().map(|(msn, _)| *msn).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(
            media.parts.iter().map(|(key, p)| (*key, p.independent)).collect::<Vec<_>>(),
            [((8, 0), true), ((9, 0), false)]
        );
        assert_eq!(media.part_hold_back, Some(Duration::from_millis(1005)));
    }

    #[test]
    fn what_is_no_playlist_is_said() {
        assert!(media("<html>").is_err() && media("#EXTM3U\nx.m4s\n").is_err() && variant("#EXTM3U\n").is_err());
    }
}
