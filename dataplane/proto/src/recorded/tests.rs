//! Paths of recordings: those that are ours, and what is refused.
use super::*;
use crate::testkit::Random;

fn parse(path: &str) -> Result<RecordedPath, RecordedPathError> {
    let (id, below) = path.split_once('/').unwrap();
    RecordedPath::parse(Id::new(id).unwrap(), &below.split('/').collect::<Vec<_>>())
}

const PATHS: [&str; 16] = [
    "cam/rec/1795531265250-19ab/thumbnails.vtt",
    "cam/rec/1795531265250-19ab/thumbnails/0.jpg",
    "cam/rec/1795531265250-19ab3cd4e5f1/index.m3u8",
    "cam/rec/1795531265250-a-b_C/video.m3u8",
    "cam/rec/0-s/audio.m3u8",
    "cam/rec/1795531265250-19ab/manifest.mpd",
    "cam/rec/1795531265250-19ab/recording.json",
    "cam/rec/1795531265250-19ab/video/init-1.mp4",
    "cam/rec/1795531265250-19ab/audio/000001795531265.m4s",
    "rec/rec/999999999999999-rec/video/rec.mp4",
    "cam/vod-1795531265250.m3u8",
    "cam/mp4/2026/11/24/1795531265250.mp4",
    "cam/images/2026/1/2/1795531265250.jpg",
    "cam/motion/mp4/1970/1/1/0.mp4",
    "cam/motion/images/9999/12/31/253402300799999.jpg",
    "cam/rec/1795531265250-19ab/clips/3f0d8f6e-7d55-4a0b-9c30-6a1f4f7a2b11.mp4",
];

#[test]
fn paths_are_taken_apart_and_put_together_again() {
    for path in PATHS {
        let parsed = parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(parsed.to_string(), path);
        assert!(RecordedPath::is_meant(&path.split('/').skip(1).collect::<Vec<_>>()), "{path}");
    }
    let day = Day { year: 2026, month: 11, day: 24 };
    let at_ms = 1_795_531_265_250;
    let file = |path: &str| parse(path).unwrap().file;
    assert_eq!(file(PATHS[11]), RecordedFile::Dated { kind: DatedKind::Mp4, day, at_ms });
    assert_eq!(file(PATHS[10]), RecordedFile::Vod { start_ms: at_ms });
    let RecordedFile::Recording(name, RecordingFile::Media(Track::Video, media)) = file(PATHS[7]) else { panic!() };
    assert_eq!((name.start_ms, name.session.as_str(), media.as_str()), (at_ms, "19ab", "init-1.mp4"));
}

#[test]
fn days_are_those_of_utc() {
    let text = |unix_ms| Day::of_unix_ms(unix_ms).to_string();
    assert_eq!(
        (text(0), text(86_399_999), text(86_400_000)),
        ("1970/1/1".into(), "1970/1/1".into(), "1970/1/2".into())
    );
    assert_eq!(text(1_795_531_265_250), "2026/11/24");
    assert_eq!(text(u64::MAX), "9999/12/31");
}

#[test]
fn what_is_no_name_of_ours_is_refused() {
    use RecordedPathError::{Dated, File, Other, Recording, Vod};

    let check = |path: &str, error| assert_eq!(parse(&format!("cam/{path}")), Err(error), "{path}");
    for path in
        ["", "live.m3u8", "s/1/video/2.m4s", "360p/rec/1-a/index.m3u8", "recording.json", "rec", "rec/a/b/c/d/e/f/g"]
    {
        check(path, Other);
    }
    for name in
        ["", "1795531265250", "-a", "1-", "01-a", "+1-a", "1-a.b", "..", "1-..", "1795531265250000-a", "1-a%2e", "a-1"]
    {
        check(&format!("rec/{name}/index.m3u8"), Recording);
    }
    check(&format!("rec/1-{}/index.m3u8", "a".repeat(65)), Recording);
    for file in [
        "",
        "index.html",
        "INDEX.M3U8",
        "video",
        "video/",
        "video/..",
        "video/.mp4",
        "video/a.mp4.",
        "video/a.b.mp4",
        "video/a.jpg",
        "video/a b.mp4",
        "video/ä.mp4",
        "video/a\0.mp4",
        "video/../a.mp4",
        "text/a.mp4",
        "video/a/b.mp4",
        "clips/a.m4s",
        "clips/..",
        "clips",
    ] {
        check(&format!("rec/1-a/{file}"), File);
    }
    check(&format!("rec/1-a/video/{}.mp4", "a".repeat(65)), File);
    for name in ["vod-.m3u8", "vod-x.m3u8", "vod-1.mp4", "vod-00.m3u8", "vod-1", "vod--1.m3u8", "vod-1.m3u8.m3u8"] {
        check(name, Vod);
    }
    for path in [
        "mp4",
        "mp4/1.mp4",
        "mp4/2026/1/1.mp4",
        "mp4/2026/01/1/1.mp4",
        "mp4/2026/13/1/1.mp4",
        "mp4/2026/0/1/1.mp4",
        "mp4/2026/1/32/1.mp4",
        "mp4/1969/1/1/1.mp4",
        "mp4/20260/1/1/1.mp4",
        "mp4/2026/1/1/1.jpg",
        "mp4/2026/1/1/.mp4",
        "mp4/2026/1/1/1mp4",
        "mp4/2026/1/1/1.mp4.mp4",
        "mp4/../1/1/1.mp4",
        "images/2026/1/1/1.mp4",
        "motion",
        "motion/2026/1/1/1.mp4",
        "motion/gif/2026/1/1/1.gif",
        "motion/mp4/2026/1/1/1.jpg",
    ] {
        check(path, Dated);
    }
}

#[test]
fn damaged_paths_are_refused_or_mean_what_they_say() {
    let mut random = Random::new(15);
    let mut taken = 0;
    for round in 0..100_000 {
        let mut bytes = PATHS[round % PATHS.len()].as_bytes().to_vec();
        random.damage(&mut bytes);
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let Some((id, below)) = text.split_once('/') else { continue };
        let (Ok(id), below) = (Id::new(id), below.split('/').collect::<Vec<_>>()) else { continue };
        if let Ok(path) = RecordedPath::parse(id, &below) {
            assert_eq!(path.to_string(), text);
            taken += 1;
        }
    }
    assert!(taken > 1_000, "{taken}");
}
