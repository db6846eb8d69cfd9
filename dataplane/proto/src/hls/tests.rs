//! Playlists as text, and directives as they come in URLs.
use super::media::{DateRange, MediaPlaylist, Part, Report, Segment};
use super::multivariant::{Audio, Multivariant, Variant};
use super::request::{DirectiveError, Directives, Until};
use super::vod::{VodHead, VodPlaylist, VodSegment};
use crate::query::Params;

#[test]
fn directives() {
    let check = |query: &str, expected: Result<Directives, DirectiveError>| {
        assert_eq!(Directives::parse(&Params::parse(query).unwrap()), expected, "{query:?}");
    };
    let until = |msn, part| Ok(Directives { until: Some(Until { msn, part }), skip: false });
    check("", Ok(Directives::default()));
    check("sign=1-2&_HLS_push=1", Ok(Directives::default()));
    check("_HLS_msn=0", until(0, None));
    check("_HLS_msn=1795531265&_HLS_part=0", until(1_795_531_265, Some(0)));
    check(
        "_HLS_part=7&_HLS_msn=3&_HLS_skip=YES",
        Ok(Directives { until: Some(Until { msn: 3, part: Some(7) }), skip: true }),
    );
    check("_HLS_skip=v2", Ok(Directives { until: None, skip: true }));
    check("_HLS_msn=9999999999999999999", until(9_999_999_999_999_999_999, None));
    for wrong in
        ["_HLS_msn=", "_HLS_msn=-1", "_HLS_msn=+1", "_HLS_msn=NaN", "_HLS_msn=1e3", "_HLS_msn=18446744073709551616"]
    {
        check(wrong, Err(DirectiveError::Number("_HLS_msn")));
    }
    check("_HLS_msn=1&_HLS_part=1.5", Err(DirectiveError::Number("_HLS_part")));
    check("_HLS_msn=1&_HLS_msn=1", Err(DirectiveError::Twice("_HLS_msn")));
    check("_HLS_part=1", Err(DirectiveError::PartWithoutMsn));
    check("_HLS_skip=NO", Err(DirectiveError::Skip));
}

fn part(duration_us: u64, uri: &str, independent: bool) -> Part {
    Part { duration_us, uri: uri.to_owned(), independent }
}

fn marker(id: &str, name: &str) -> DateRange {
    DateRange {
        id: id.to_owned(),
        class: "millstream.marker",
        start_unix_ms: 1_795_531_266_000,
        attributes: vec![(name.to_owned(), "goal".to_owned())],
    }
}

#[test]
fn a_media_playlist() {
    let segments = vec![
        Segment {
            discontinuity: false,
            map: Some("s/x/v/init-1.mp4".into()),
            date_unix_ms: 1_795_531_265_250,
            gap: false,
            parts: vec![],
            whole: Some((2_000_004, "s/x/v/7.m4s".into())),
            date_ranges: vec![(3, marker("m1", "X-KIND"))],
        },
        Segment {
            discontinuity: false,
            map: None,
            date_unix_ms: 1_795_531_267_250,
            gap: true,
            parts: vec![],
            whole: Some((1_999_995, "s/x/v/8.m4s".into())),
            date_ranges: vec![],
        },
        Segment {
            discontinuity: true,
            map: Some("s/x/v/init-2.mp4".into()),
            date_unix_ms: 1_795_531_269_250,
            gap: false,
            parts: vec![part(333_333, "s/x/v/p20.m4s", true), part(320_000, "s/x/v/p21.m4s", false)],
            whole: None,
            date_ranges: vec![(1, marker("m2", "X-A")), (2, marker("m3", "X-B"))],
        },
    ];
    let playlist = MediaPlaylist {
        target_duration_s: 2,
        part_target_ms: 335,
        part_hold_back_ms: 1_203,
        independent_segments: true,
        can_skip_until_ms: None,
        media_sequence: 7,
        discontinuity_sequence: 0,
        skipped: 0,
        segments,
        preload_hint: Some("s/x/v/p22.m4s".into()),
        reports: vec![Report { uri: "audio.m3u8".into(), last_msn: 9, last_part: 1 }],
        ended: false,
    };
    assert_eq!(
        playlist.to_text(),
        "#EXTM3U\n\
         #EXT-X-VERSION:6\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-TARGETDURATION:2\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.203,HOLD-BACK=6.000\n\
         #EXT-X-PART-INF:PART-TARGET=0.335\n\
         #EXT-X-MEDIA-SEQUENCE:7\n\
         #EXT-X-MAP:URI=\"s/x/v/init-1.mp4\"\n\
         #EXT-X-PROGRAM-DATE-TIME:2026-11-24T14:41:05.250Z\n\
         #EXT-X-DATERANGE:ID=\"m1\",CLASS=\"millstream.marker\",START-DATE=\"2026-11-24T14:41:06.000Z\",X-KIND=\"goal\"\n\
         #EXTINF:2.00000,\n\
         s/x/v/7.m4s\n\
         #EXT-X-PROGRAM-DATE-TIME:2026-11-24T14:41:07.250Z\n\
         #EXT-X-GAP\n\
         #EXTINF:2.00000,\n\
         s/x/v/8.m4s\n\
         #EXT-X-DISCONTINUITY\n\
         #EXT-X-MAP:URI=\"s/x/v/init-2.mp4\"\n\
         #EXT-X-PROGRAM-DATE-TIME:2026-11-24T14:41:09.250Z\n\
         #EXT-X-PART:DURATION=0.33333,URI=\"s/x/v/p20.m4s\",INDEPENDENT=YES\n\
         #EXT-X-DATERANGE:ID=\"m2\",CLASS=\"millstream.marker\",START-DATE=\"2026-11-24T14:41:06.000Z\",X-A=\"goal\"\n\
         #EXT-X-PART:DURATION=0.32000,URI=\"s/x/v/p21.m4s\"\n\
         #EXT-X-DATERANGE:ID=\"m3\",CLASS=\"millstream.marker\",START-DATE=\"2026-11-24T14:41:06.000Z\",X-B=\"goal\"\n\
         #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"s/x/v/p22.m4s\"\n\
         #EXT-X-RENDITION-REPORT:URI=\"audio.m3u8\",LAST-MSN=9,LAST-PART=1\n"
    );
    let delta = MediaPlaylist {
        can_skip_until_ms: Some(12_000),
        skipped: 2,
        discontinuity_sequence: 3,
        independent_segments: false,
        ended: true,
        ..playlist
    };
    let text = delta.to_text();
    assert!(text.starts_with("#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n"), "{text}");
    assert!(text.contains("HOLD-BACK=6.000,CAN-SKIP-UNTIL=12.000\n"), "{text}");
    let middle = "#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-DISCONTINUITY-SEQUENCE:3\n#EXT-X-SKIP:SKIPPED-SEGMENTS=2\n#EXT-X-DATERANGE:ID=\"m1\",";
    assert!(text.contains(middle), "{text}");
    assert!(text.contains("X-KIND=\"goal\"\n#EXT-X-DISCONTINUITY\n"), "{text}");
    assert!(text.ends_with("X-B=\"goal\"\n#EXT-X-ENDLIST\n"), "{text}");
}

#[test]
fn a_multivariant_playlist() {
    let main = Variant {
        uri: "video.m3u8",
        bandwidth: 2_900_000,
        average_bandwidth: 2_500_000,
        codecs: vec!["avc1.64001f", "mp4a.40.2"],
        resolution: Some((1280, 720)),
        frame_rate: Some(29.97),
    };
    let both = Multivariant {
        main: main.clone(),
        also: Vec::new(),
        audio: Some(Audio { uri: "audio.m3u8", channels: Some(2) }),
    };
    assert_eq!(
        both.to_text(),
        "#EXTM3U\n\
         #EXT-X-VERSION:6\n\
         #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"main\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"audio.m3u8\"\n\
         #EXT-X-STREAM-INF:BANDWIDTH=2900000,AVERAGE-BANDWIDTH=2500000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=29.970,AUDIO=\"audio\"\n\
         video.m3u8\n"
    );
    let sound = Variant { uri: "audio.m3u8", codecs: vec!["opus"], resolution: None, frame_rate: None, ..main };
    assert_eq!(
        Multivariant { main: sound, also: Vec::new(), audio: None }.to_text(),
        "#EXTM3U\n#EXT-X-VERSION:6\n\
         #EXT-X-STREAM-INF:BANDWIDTH=2900000,AVERAGE-BANDWIDTH=2500000,CODECS=\"opus\"\naudio.m3u8\n"
    );
}

#[test]
fn a_playlist_of_a_recording_that_grows_and_its_end() {
    let first = VodSegment {
        discontinuities: 0,
        map: Some("video/init-1.mp4"),
        date_unix_ms: Some(1_795_531_265_250),
        duration_ms: 2_000,
        range: Some((1_234, 0)),
        uri: "video/1.mp4",
    };
    let gap = VodSegment { map: None, date_unix_ms: None, range: None, uri: "video/gap-1.mp4", ..first };
    let last = VodSegment { discontinuities: 2, duration_ms: 40, range: Some((5, 1_234)), ..first };
    let text = |is_final| {
        let head = VodHead {
            target_duration_s: 2,
            is_final,
            independent_segments: is_final,
            discontinuity_sequence: u32::from(!is_final),
        };
        let mut playlist = VodPlaylist::new(head, 3);
        for segment in [first, gap, last] {
            playlist.push(segment);
        }
        playlist.finish()
    };
    let segments = "#EXT-X-MAP:URI=\"video/init-1.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-11-24T14:41:05.250Z\n#EXTINF:2.000,\n\
        #EXT-X-BYTERANGE:1234@0\nvideo/1.mp4\n#EXT-X-GAP\n#EXTINF:2.000,\nvideo/gap-1.mp4\n#EXT-X-DISCONTINUITY\n#EXT-X-DISCONTINUITY\n\
        #EXT-X-MAP:URI=\"video/init-1.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-11-24T14:41:05.250Z\n#EXTINF:0.040,\n\
        #EXT-X-BYTERANGE:5@1234\nvideo/1.mp4\n";
    let grows = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-MEDIA-SEQUENCE:0\n\
        #EXT-X-DISCONTINUITY-SEQUENCE:1\n";
    assert_eq!(text(false), format!("{grows}{segments}"));
    let is_final = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n\
        #EXT-X-MEDIA-SEQUENCE:0\n";
    assert_eq!(text(true), format!("{is_final}{segments}#EXT-X-ENDLIST\n"));
}
