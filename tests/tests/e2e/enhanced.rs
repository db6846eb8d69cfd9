//! Enhanced RTMP and encoders that are unlike others: codecs by FourCC, several tracks, capabilities, metadata that is late, empty, wrong or
//! not there.
use std::time::{Duration, Instant};

use millstream_tests::clip::Clip;
use millstream_tests::encoder::{
    AGGREGATE, Answer, COMMAND_AMF3, DATA_AMF3, Encoder, Value, amf0, metadata, object, property, text,
};
use millstream_tests::flv::{AUDIO, SCRIPT, Tag, VIDEO};
use millstream_tests::http::{self, Viewer};
use millstream_tests::rtmp::{Player, Publisher, Sink as _};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{Tool, ffmpeg_decodes, ffmpeg_decodes_by, ffprobe, ffprobe_by, newer, newer_push};
use millstream_tests::{eventually, millis, seconds};

/// Pushes with ffmpeg 8.1 and looks with it over both protocols: right codecs, and frames that decode.
fn plays_as(server: &Server, id: &str, options: &str, tracks: &[&str]) {
    let _push = newer_push(&server.push_url(id), options);
    Viewer::watch(server.http, id).find("keyframe", seconds(10), Tag::is_keyframe);
    at_once([server.flv_url(id), server.push_url(id)], |url| {
        assert_eq!(ffprobe_by(&newer("ffprobe"), url), tracks, "{url}");
        if id == "av1" {
            decodes_copy(url);
        } else {
            ffmpeg_decodes_by(&newer("ffmpeg"), url, 30);
        }
    });
}

/// Looks at both URLs at the same time: most of it is waiting.
fn at_once(urls: [String; 2], look: impl Fn(&str) + Sync) {
    std::thread::scope(|scope| {
        let look = &look;
        for url in urls {
            scope.spawn(move || look(&url));
        }
    });
}

/// ffmpeg 8.1 as it comes from PyPI takes AV1 out of FLV, but has no decoder for it; Debian's 5.1 is the other way round.
fn decodes_copy(url: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("copy.mkv");
    let file = file.to_str().expect("ASCII");
    let args = ["-hide_banner", "-nostdin", "-loglevel", "error", "-i", url, "-c", "copy", "-frames:v", "40", file];
    let copied = Tool::start(&newer("ffmpeg"), &args).wait(seconds(20));
    assert!(copied.status.success(), "{url}: {}", copied.stderr);
    ffmpeg_decodes(file, 30);
}

#[test]
fn case_11_hevc_with_opus_and_av1_with_aac_by_four_cc() {
    let server = Options::open().start();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let options = "-c:v libx265 -preset ultrafast -tune zerolatency -x265-params log-level=warning:pools=1 \
                           -c:a libopus -rtmp_enhanced_codecs hvc1,Opus";
            plays_as(&server, "hevc", options, &["hevc,320,180", "opus"]);
        });
        scope.spawn(|| {
            let options =
                "-c:v libsvtav1 -preset 12 -svtav1-params lp=1:pred-struct=1 -c:a aac -rtmp_enhanced_codecs av01";
            plays_as(&server, "av1", options, &["aac", "av1,320,180"]);
        });
    });
}

#[test]
fn case_11_vp9_flac_ac3_and_mp3() {
    let server = Options::open().start();
    let h264 = "-c:v libx264 -preset ultrafast -tune zerolatency";
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let options = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -lag-in-frames 0 -c:a flac";
            plays_as(&server, "vp9", options, &["flac", "vp9,320,180"]);
        });
        for (id, audio) in [("ac3", "ac3"), ("eac3", "eac3"), ("mp3", "libmp3lame -ar 44100")] {
            let (server, options) = (&server, format!("{h264} -c:a {audio}"));
            let mut tracks = [id, "h264,320,180"];
            tracks.sort_unstable();
            scope.spawn(move || plays_as(server, id, &options, &tracks));
        }
    });
}

/// H.265 as encoders in China have sent it for years: as the video codec of number 12.
#[test]
fn case_11_legacy_hevc_passes_as_it_came() {
    let server = Options::open().start();
    let hevc = "-c:v libx265 -preset ultrafast -tune zerolatency -x265-params log-level=warning:pools=1 -c:a aac";
    let _push = newer_push(&server.push_url("source"), hevc);
    let tags = Viewer::watch(server.http, "source").tags_for(seconds(3));
    let old: Vec<Tag> = tags.into_iter().filter(|tag| tag.kind != SCRIPT).map(old_hevc).collect();
    assert!(
        old.iter().any(|tag| tag.data.starts_with(b"\x1c\0"))
            && old.iter().any(|tag| tag.data.starts_with(b"\x1c\x01"))
    );
    let push = Publisher::start(server.rtmp, "stream", "old").expect("published").repeat(Clip::from_tags(old.clone()));
    let mut viewer = Viewer::watch(server.http, "old");
    let mut player = Player::start(server.rtmp, "stream", "old").expect("play");
    let configuration = |tag: &Tag| tag.kind == VIDEO && tag.is_configuration();
    let sent = old.iter().find(|tag| configuration(tag)).expect("a configuration");
    assert_eq!(viewer.find("configuration", seconds(5), configuration).data, sent.data);
    assert_eq!(player.find(seconds(5), configuration).expect("a configuration").data, sent.data);
    for got in [
        viewer.find("keyframe", seconds(5), Tag::is_keyframe),
        player.find(seconds(5), Tag::is_keyframe).expect("media"),
    ] {
        assert!(push.sent().iter().any(|(tag, _)| tag.data == got.data), "a keyframe that nobody sent");
    }
    at_once([server.flv_url("old"), server.push_url("old")], |url| {
        assert_eq!(ffprobe_by(&newer("ffprobe"), url), ["aac", "hevc,320,180"], "{url}");
    });
}

/// The same tag with the number for a FourCC.
fn old_hevc(mut tag: Tag) -> Tag {
    if let (VIDEO, [first, b'h', b'v', b'c', b'1', rest @ ..]) = (tag.kind, &tag.data[..]) {
        let head = first & 0x70 | 0x0C;
        tag.data = match first & 15 {
            0 => [&[head, 0, 0, 0, 0], rest].concat(),
            1 => [&[head, 1], rest].concat(),
            3 => [&[head, 1, 0, 0, 0], rest].concat(),
            other => panic!("packet type {other}"),
        };
    }
    tag
}

/// What ffmpeg 8.1 says of its AAC besides does not trouble a player that knows nothing of it.
#[test]
fn a_legacy_player_sees_nothing_of_enhanced_rtmp() {
    let server = Options::open().start();
    let _push = newer_push(&server.push_url("cam"), "-c:v libx264 -preset ultrafast -tune zerolatency -c:a aac");
    let mut viewer = Viewer::watch(server.http, "cam");
    viewer.find("keyframe", seconds(10), Tag::is_keyframe);
    let enhanced =
        |tag: &Tag| tag.kind == VIDEO && tag.data[0] & 0x80 != 0 || tag.kind == AUDIO && tag.data[0] >> 4 == 9;
    assert_eq!(viewer.tags_for(seconds(1)).into_iter().find(enhanced), None);
    at_once([server.flv_url("cam"), server.push_url("cam")], |url| {
        assert_eq!(ffprobe(url), ["aac", "h264,320,180"], "{url}");
        ffmpeg_decodes(url, 30);
    });
}

#[test]
fn connect_says_what_passes_to_those_who_ask() {
    let server = Options::open().start();
    let old = Encoder::connect(server.rtmp, []).expect("connected").connected.expect("an answer");
    let map = object([("hvc1", Value::Number(3.0)), ("vvc1", Value::Number(3.0))]);
    let list = Value::StrictArray(vec![text("Opus"), text("vp08"), text("av01")]);
    let asked = [("fourCcList", list), ("videoFourCcInfoMap", map), ("capsEx", Value::Number(15.0))];
    let new = Encoder::connect(server.rtmp, asked).expect("connected").connected.expect("an answer");
    for (old, new) in [(&old.object, &new.object), (&old.information, &new.information)] {
        for name in ["fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"] {
            assert_eq!(property(old, name), None, "{name}");
        }
        assert_eq!(property(new, "fourCcList"), Some(&Value::StrictArray(vec![text("av01"), text("Opus")])));
        assert_eq!(property(new, "videoFourCcInfoMap"), Some(&object([("hvc1", Value::Number(4.0))])));
        assert_eq!(property(new, "audioFourCcInfoMap"), None);
        assert_eq!(property(new, "capsEx"), Some(&Value::Number(15.0)));
    }
}

/// At the beginning of a drain, with all of it left to go elsewhere; the old connection works on until then.
#[test]
fn a_drain_asks_encoders_that_understand_it_to_reconnect() {
    let mut server = Options::open().config("[node]\ndrain = \"3s\"\n").start();
    let clip = Clip::small();
    let mut encoders = Vec::new();
    for (id, caps) in [("new", Value::Number(1.0)), ("old", Value::Null), ("silent", Value::Number(1.0))] {
        let mut encoder = Encoder::connect(server.rtmp, [("capsEx", caps)]).expect("connected");
        encoder.publish(id).expect("published");
        clip.configuration.iter().for_each(|tag| encoder.send(tag).expect("sent"));
        encoders.push(encoder);
    }
    // A publisher that sends nothing is asked when it is sent away.
    let mut silent = encoders.pop().expect("three");
    let mut frames = clip.frames.iter();
    let mut send = |encoders: &mut [Encoder]| {
        let tag = frames.next().expect("ten seconds of frames");
        std::thread::sleep(millis(10));
        encoders.iter_mut().all(|encoder| encoder.send(tag).is_ok())
    };
    (0..50).for_each(|_| assert!(send(&mut encoders)));
    let mut viewer = Viewer::watch(server.http, "new");
    assert!(encoders.iter().all(|encoder| encoder.heard.is_empty()), "{encoders:?}");
    server.terminate();
    let told = Instant::now();
    while encoders[0].heard.is_empty() {
        assert!(send(&mut encoders) && told.elapsed() < seconds(1), "not asked: {encoders:?}");
    }
    println!("asked to reconnect {:?} after the drain began", told.elapsed());
    let request = encoders[0].heard.remove(0);
    let status = (request.name.as_str(), request.stream, request.code());
    assert_eq!(status, ("onStatus", 0, "NetConnection.Connect.ReconnectRequest"));
    // Until the end both go on, and the old one is told nothing new.
    while told.elapsed() < seconds(2) {
        assert!(send(&mut encoders), "{encoders:?}");
    }
    assert!(encoders.iter().all(|encoder| encoder.heard.is_empty()), "{encoders:?}");
    assert!(viewer.tags_for(millis(300)).iter().any(Tag::is_frame));
    for encoder in &mut encoders {
        let end = encoder.hear("the end", seconds(4), |answer| answer.code() == "NetStream.Publish.Rejected");
        assert!(end.is_ok() && encoder.heard.is_empty(), "{end:?}");
    }
    let codes = ["NetConnection.Connect.ReconnectRequest", "NetStream.Publish.Rejected"];
    silent.hear("the end", seconds(4), |answer| answer.code() == codes[1]).expect("sent away");
    assert_eq!(silent.heard.iter().map(Answer::code).collect::<Vec<_>>(), codes[..1]);
    assert!(server.wait(seconds(10)).success());
}

/// The clip as OBS's multitrack output sends it: the first track as ever, three more frames and a second audio in the packets that
/// Enhanced RTMP has for them.
fn four_pictures(clip: &Clip) -> Clip {
    let with_extras = |tags: &[Tag]| -> Vec<Tag> {
        let extras = |tag: &Tag| -> Vec<Tag> {
            let more = |data| Tag { data, ..tag.clone() };
            match (tag.kind, &tag.data[..]) {
                (VIDEO, [first, packet_type, rest @ ..]) => (1..4u8)
                    .map(|id| {
                        // A configuration has no composition time here.
                        let rest = if *packet_type == 0 { &rest[3..] } else { rest };
                        more([&[first & 0x70 | 0x86, *packet_type], &b"avc1"[..], &[id], rest].concat())
                    })
                    .collect(),
                (AUDIO, [_, packet_type, rest @ ..]) => {
                    vec![more([&[0x95, *packet_type], &b"mp4a\x01"[..], rest].concat())]
                }
                _ => Vec::new(),
            }
        };
        tags.iter().flat_map(|tag| std::iter::once(tag.clone()).chain(extras(tag))).collect()
    };
    Clip { configuration: with_extras(&clip.configuration), frames: with_extras(&clip.frames), ..clip.clone() }
}

#[test]
fn case_12_obs_multitrack_goes_on_and_a_legacy_player_gets_one_track() {
    let server = Options::open().start();
    let capable = [
        ("fourCcList", Value::StrictArray(vec![text("av01"), text("hvc1"), text("avc1")])),
        ("videoFourCcInfoMap", object([("avc1", Value::Number(2.0))])),
        ("capsEx", Value::Number(2.0)),
    ];
    let mut encoder = Encoder::connect(server.rtmp, capable).expect("connected");
    encoder.publish("obs").expect("published");
    let track = || object([("width", Value::Number(320.0)), ("height", Value::Number(180.0))]);
    let tracks = object([("1", track()), ("2", track()), ("3", track())]);
    let description = metadata(object([("videocodecid", Value::Number(7.0)), ("videoTrackIdInfoMap", tracks)]));
    encoder.message(SCRIPT, 1, 0, description).expect("sent");
    let clip = Clip::small();
    let push = encoder.repeat(four_pictures(&clip));
    let mut viewer = Viewer::watch(server.http, "obs");
    let mut tags = viewer.tags_for(seconds(3));
    assert_eq!(viewer.flags(), Some(5));
    tags.retain(Tag::is_frame);
    Viewer::assert_monotonic(&tags);
    let times: Vec<u32> = tags.iter().filter(|tag| tag.kind == VIDEO).map(|tag| tag.timestamp).collect();
    assert!(times.len() > 60 && times.windows(2).all(|w| (20..=50).contains(&(w[1] - w[0]))), "pictures at {times:?}");
    let first_track = |tag: &Tag| clip.frames.iter().any(|sent| (sent.kind, &sent.data) == (tag.kind, &tag.data));
    assert!(tags.iter().all(first_track), "what came is not all of the first track");
    at_once([server.flv_url("obs"), server.push_url("obs")], |url| {
        assert_eq!(ffprobe(url), ["aac", "h264,320,180"], "{url}");
        ffmpeg_decodes(url, 60);
    });
    // One publish, one connection: it was neither refused nor sent away, and did not come back.
    assert!(push.alive());
    assert!((server.metric("millstream_publishes_total") - 1.0).abs() < 0.5, "{}", server.metrics());
    push.finish().expect("goodbye");
    eventually("what was ignored is counted", seconds(5), || {
        server.metrics().lines().any(|line| line.contains("extra_track") && !line.ends_with(" 0")).then_some(())
    });
}

#[test]
fn case_12_four_pictures_from_ffmpeg() {
    let server = Options::open().start();
    let options = "-map 0:v -map 0:v -map 0:v -map 0:v -map 1:a -s:v:1 160x90 -c:v libx264 -preset ultrafast -tune zerolatency -c:a aac";
    let mut push = newer_push(&server.push_url("many"), options);
    Viewer::watch(server.http, "many").find("keyframe", seconds(10), Tag::is_keyframe);
    assert_eq!(ffprobe(&server.flv_url("many")), ["aac", "h264,320,180"]);
    ffmpeg_decodes(&server.push_url("many"), 30);
    assert!(push.running() && http::get(server.http, "/healthz").status == 200);
}

/// Commands and data in AMF3's wrapper, and media in aggregates: what comes out is what went in.
#[test]
fn case_07_wrapped_commands_and_aggregates_play() {
    let server = Options::open().start();
    let clip = Clip::small();
    let mut encoder = Encoder::connect(server.rtmp, [("objectEncoding", Value::Number(3.0))]).expect("connected");
    encoder.publish_as(COMMAND_AMF3, &[0], "flash").expect("published");
    encoder
        .message(DATA_AMF3, 1, 0, [&[0], &metadata(object([("title", text("wrapped"))]))[..]].concat())
        .expect("sent");
    let mut viewer = None;
    let mut tags = clip.configuration.clone();
    tags.extend(clip.frames.iter().take(200).cloned());
    for group in tags.chunks(7) {
        let first = group[0].timestamp;
        let body: Vec<u8> = group.iter().flat_map(|tag| tag_bytes(tag, 0x0100_0000)).collect();
        encoder.message(AGGREGATE, 1, first, body).expect("sent");
        encoder.pump().expect("it goes on");
        viewer = viewer.or_else(|| Viewer::open(server.http, "/flash/live.flv", "HTTP/1.1").expect("an answer").ok());
        std::thread::sleep(millis(20));
    }
    let mut got = viewer.expect("on air").tags_for(seconds(1));
    let description = got.iter().find(|tag| tag.kind == SCRIPT).expect("metadata");
    assert!(description.data.windows(7).any(|w| w == b"wrapped"), "{:?}", description.data);
    got.retain(|tag| tag.kind != SCRIPT);
    let key = |tag: &Tag| (tag.kind, tag.is_frame(), tag.data.clone());
    let sent: Vec<_> = tags.iter().map(key).collect();
    let got: Vec<_> = got.iter().map(key).collect();
    assert!(got == sent, "{} tags of {}", got.len(), sent.len());
}

/// A tag as it stands in an FLV file, its timestamps counted from elsewhere.
fn tag_bytes(tag: &Tag, offset: u32) -> Vec<u8> {
    let ([_, l2, l1, l0], [t3, t2, t1, t0]) =
        ((tag.data.len() as u32).to_be_bytes(), (tag.timestamp + offset).to_be_bytes());
    let back = (tag.data.len() as u32 + 11).to_be_bytes();
    [&[tag.kind, l2, l1, l0, t2, t1, t0, t3, 0, 0, 0], &tag.data[..], &back].concat()
}

/// One encoder of case 5: which tags it sends, in order, and what viewers must see.
struct Odd {
    id: &'static str,
    tags: Clip,
    flags: u8,
    tracks: &'static [&'static str],
}

/// Both, then each without what the other has: a clip of one kind of tag.
pub(crate) fn only(clip: &Clip, kind: u8) -> Clip {
    let of_kind = |tags: &[Tag]| tags.iter().filter(|tag| tag.kind == kind).cloned().collect();
    Clip { configuration: of_kind(&clip.configuration), frames: of_kind(&clip.frames), ..clip.clone() }
}

fn odd_encoders() -> Vec<Odd> {
    let script = |timestamp, data| Tag { kind: SCRIPT, timestamp, data };
    let number = Value::Number;
    let whole = || {
        let picture = [("width", number(320.0)), ("height", number(180.0)), ("videocodecid", number(7.0))];
        metadata(object([picture[0].clone(), picture[1].clone(), picture[2].clone(), ("audiocodecid", number(10.0))]))
    };
    let both: (u8, &[&str]) = (5, &["aac", "h264,320,180"]);
    let clip = Clip::small();
    let with = |before: Vec<Tag>| Clip { configuration: [before, clip.configuration.clone()].concat(), ..clip.clone() };
    let late = {
        let mut late = clip.clone();
        let at = late.frames.iter().position(|tag| tag.timestamp > 1500).expect("ten seconds");
        late.frames.insert(at, script(1500, whole()));
        late
    };
    let sound_first = {
        let (sound, picture): (Vec<Tag>, Vec<Tag>) =
            clip.configuration.iter().cloned().partition(|tag| tag.kind == AUDIO);
        Clip { configuration: [sound, vec![script(0, whole())], picture].concat(), ..clip.clone() }
    };
    let promises = |kind| {
        let half = only(&clip, kind);
        Clip { configuration: [vec![script(0, whole())], half.configuration].concat(), ..half }
    };
    let odd = |id, tags, (flags, tracks)| Odd { id, tags, flags, tracks };
    vec![
        odd("none", clip.clone(), both),
        odd("empty", with(vec![script(0, metadata(object([])))]), both),
        odd("null", with(vec![script(0, metadata(Value::Null))]), both),
        odd("nameless", with(vec![script(0, Vec::new()), script(0, amf0(&[text("@setDataFrame")]))]), both),
        odd("late", late, both),
        odd("sound-first", sound_first, both),
        odd("no-sound", promises(VIDEO), (1, &["h264,320,180"])),
        odd("no-picture", promises(AUDIO), (4, &["aac"])),
    ]
}

/// Publishers with no, empty and late onMetaData, with AAC's configuration before it, and with one that promises more than comes.
#[test]
fn case_05_viewers_start_within_two_seconds_with_the_tracks_really_seen() {
    let server = Options::open().start();
    let rtmp = server.rtmp;
    std::thread::scope(|scope| {
        for Odd { id, tags, flags, tracks } in odd_encoders() {
            let server = &server;
            scope.spawn(move || {
                let mut encoder = Encoder::connect(rtmp, []).expect("connected");
                encoder.publish(id).expect("published");
                let began = Instant::now();
                let _push = encoder.repeat(tags);
                let mut viewer = Viewer::watch(server.http, id);
                viewer.find("frame", seconds(5), Tag::is_frame);
                let started = began.elapsed();
                println!("{id}: an FLV viewer starts after {started:?}");
                // A track that is announced is waited for (case 51).
                let within = if id.starts_with("no-") { millis(3_800) } else { seconds(2) };
                assert!(started < within, "{id}: an FLV viewer starts after {started:?}");
                assert_eq!(viewer.flags(), Some(flags), "{id}");
                let asked = Instant::now();
                let mut player = Player::start(rtmp, "stream", id).expect("play");
                player.find(seconds(2), Tag::is_frame).expect("media");
                assert!(asked.elapsed() < seconds(2), "{id}: an RTMP player starts after {:?}", asked.elapsed());
                if id == "late" {
                    viewer.find("late metadata", seconds(4), |tag| tag.kind == SCRIPT && tag.data.len() > 40);
                }
                for url in [server.flv_url(id), server.push_url(id)] {
                    assert_eq!(ffprobe(&url), tracks, "{url}");
                }
                // Who was there when late metadata came has lost nothing.
                let tags = viewer.tags_for(Duration::from_secs(2).saturating_sub(began.elapsed()).max(millis(300)));
                Viewer::assert_monotonic(&tags);
                assert_eq!(viewer.end, None, "{id}");
            });
        }
    });
}
