//! The guest that chooses renditions.
use millstream_hooks::wit::policy::{Picture, Rendition, Sound, Source, VideoEncode};
use millstream_hooks::{Hook, World};

use super::built;
use crate::fixture;

fn source(width: u32, height: u32) -> Source {
    Source { width, height, kbps: 6000, sample_rate: 44_100, ..fixture::source() }
}

fn ladder(config: &[(&str, &str)]) -> Hook {
    let hook = built("ladder", World::Policy, config);
    assert_eq!(hook.check_config().result.unwrap(), Ok(()), "{config:?}");
    hook
}

fn chosen(hook: &Hook, source: &Source) -> Vec<Rendition> {
    hook.select_renditions(source).result.unwrap()
}

fn names(hook: &Hook, source: &Source) -> Vec<String> {
    chosen(hook, source).into_iter().map(|rendition| rendition.name).collect()
}

fn video(rendition: &Rendition) -> &VideoEncode {
    match &rendition.picture {
        Picture::Encode(video) => video,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ladder_never_scales_up_and_never_adds_bits() {
    let hook = ladder(&[]);
    assert_eq!(names(&hook, &source(1920, 1080)), ["720p", "480p", "360p"]);
    assert_eq!(names(&hook, &source(3840, 2160)), ["1080p", "720p", "480p", "360p"]);
    assert_eq!(names(&hook, &source(854, 480)), ["360p"]);
    assert_eq!(names(&hook, &source(640, 360)), [""; 0]);
    for (width, height) in [(1280, 720), (1281, 721), (1080, 1920), (64, 64), (16, 4000), (u32::MAX, u32::MAX)] {
        for rendition in chosen(&hook, &source(width, height)) {
            let video = video(&rendition);
            let rows = video.width.max(video.height);
            assert!(rows < width.min(height), "{rendition:?} of {width}x{height}");
        }
    }
    for kbps in [1, 700, 701, 1201, 2800, 6000] {
        let of = Source { kbps, ..source(1920, 1080) };
        assert!(chosen(&hook, &of).iter().all(|rendition| video(rendition).kbps < kbps), "{kbps}");
    }
    // Where the rate is not known, nothing is held against a rung.
    assert_eq!(names(&hook, &Source { kbps: 0, ..source(1920, 1080) }).len(), 3);
    // A phone that is held upright: the short side counts.
    let upright = chosen(&hook, &source(1080, 1920));
    assert_eq!((video(&upright[0]).width, video(&upright[0]).height), (720, 0));
    assert_eq!(names(&hook, &Source { video: String::new(), width: 0, height: 0, ..source(0, 0) }), [""; 0]);
}

#[test]
fn ladder_is_shorter_where_encoders_are_busy() {
    let hook = ladder(&[]);
    let at = |load_percent| names(&hook, &Source { load_percent, ..source(3840, 2160) });
    assert_eq!(at(69).len(), 4);
    assert_eq!(at(70), ["480p", "360p"]);
    assert_eq!(at(89), ["480p", "360p"]);
    assert_eq!(at(90), [""; 0]);
    assert_eq!(hook.settings().counters.snapshot()["full"], 1);
    let mine = ladder(&[("busy-percent", "20"), ("full-percent", "30")]);
    let at = |load_percent| names(&mine, &Source { load_percent, ..source(854, 480) });
    assert_eq!((at(19), at(20), at(30)), (vec!["360p".into()], vec!["360p".into()], vec![]));
}

#[test]
fn ladder_keeps_what_need_not_be_encoded() {
    let hook = ladder(&[("ladder", "240:300,480:900 , 720:2000"), ("on-demand", "false"), ("codec", "hevc")]);
    let of = Source { fps_num: 60_000, fps_den: 1001, audio: "opus".into(), channels: 6, ..source(1920, 1080) };
    let chosen = chosen(&hook, &of);
    let fps: Vec<_> = chosen.iter().map(|it| (it.name.as_str(), video(it).fps_num, video(it).fps_den)).collect();
    assert_eq!(fps, [("720p", 0, 1), ("480p", 60_000, 2002), ("240p", 60_000, 2002)]);
    assert!(chosen.iter().all(|it| !it.on_demand && video(it).codec == "hevc"));
    let Sound::Encode(audio) = &chosen[0].sound else { panic!("{chosen:?}") };
    assert_eq!((audio.codec.as_str(), audio.channels), ("aac", 2));
    assert_eq!(self::chosen(&hook, &source(1920, 1080))[0].sound, Sound::Copy);
    for config in [
        ("ladder", "720"),
        ("ladder", "721:1000"),
        ("ladder", "720:10,720:20"),
        ("ladder", ""),
        ("on-demand", "yes"),
        ("busy-percent", "101"),
    ] {
        let hook = built("ladder", World::Policy, &[config]);
        assert!(hook.check_config().result.unwrap().is_err(), "{config:?}");
        assert_eq!(names(&hook, &source(1920, 1080)), [""; 0]);
    }
}
