//! Chooses renditions by the source's size and by how busy the encoders are: `ladder = "1080:5000, 720:2800, 480:1200, 360:700"` (rows of
//! pixels, and kbit/s).
//!
//! What to learn here: a policy hook. Nothing is scaled up, no rendition has more bits than its source, and a rung that would be as large as the
//! source is left out, because the source is served as it is. From `busy-percent` on only the two lowest rungs are made, from `full-percent` on none:
//! viewers then get the source, which costs nothing. Rungs are encoded while somebody watches, unless `on-demand = "false"`.
use self::exports::millstream::hooks::{meta, policy};
use self::millstream::hooks::host;

wit_bindgen::generate!({ path: "../../wit", world: "policy-hook" });

struct Ladder;

const USUAL: &str = "1080:5000, 720:2800, 480:1200, 360:700";
/// Rungs when the encoders are busy.
const BUSY_RUNGS: usize = 2;
/// Small pictures at more than this many frames a second get half of them.
const SMALL_ROWS: u32 = 480;
const SMALL_FPS: u32 = 30;

struct Rung {
    rows: u32,
    kbps: u32,
}

struct Config {
    /// The largest first.
    rungs: Vec<Rung>,
    codec: String,
    audio_kbps: u32,
    on_demand: bool,
    busy_percent: u32,
    full_percent: u32,
}

fn rung(text: &str) -> Result<Rung, String> {
    let read = || {
        let (rows, kbps) = text.trim().split_once(':')?;
        let (rows, kbps) = (rows.trim().parse().ok()?, kbps.trim().parse().ok()?);
        ((16..=4320).contains(&rows) && rows % 2 == 0 && (50..=100_000).contains(&kbps)).then_some(Rung { rows, kbps })
    };
    read().ok_or_else(|| {
        format!("ladder: {text:?} is not like 720:2800 (an even number of rows, and 50 to 100000 kbit/s)")
    })
}

fn number(key: &str, usual: u32, most: u32) -> Result<u32, String> {
    let Some(text) = host::config(key) else { return Ok(usual) };
    text.parse().ok().filter(|it| *it <= most).ok_or_else(|| format!("{key} is {text:?}: a number up to {most}"))
}

fn config() -> Result<Config, String> {
    let ladder = host::config("ladder").unwrap_or_else(|| USUAL.into());
    let mut rungs = ladder.split(',').map(rung).collect::<Result<Vec<_>, _>>()?;
    rungs.sort_by_key(|rung| std::cmp::Reverse(rung.rows));
    if rungs.len() > 16 || rungs.windows(2).any(|pair| pair[0].rows == pair[1].rows) {
        return Err("ladder: at most 16 rungs, each of another number of rows".into());
    }
    let on_demand = match host::config("on-demand").as_deref() {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(format!("on-demand is {other:?}: \"true\" or \"false\"")),
    };
    Ok(Config {
        rungs,
        codec: host::config("codec").unwrap_or_else(|| "h264".into()),
        audio_kbps: number("audio-kbps", 128, 512)?.max(16),
        on_demand,
        busy_percent: number("busy-percent", 70, 100)?,
        full_percent: number("full-percent", 90, 100)?,
    })
}

impl policy::Guest for Ladder {
    fn select_renditions(source: policy::Source) -> Vec<policy::Rendition> {
        let config = match config() {
            Ok(config) => config,
            Err(error) => {
                host::log(host::Level::Error, &error);
                return vec![];
            }
        };
        if source.video.is_empty() || source.width == 0 || source.height == 0 {
            return vec![];
        }
        if source.load_percent >= config.full_percent {
            host::count("full", 1);
            return vec![];
        }
        // A picture that is higher than wide is measured by its width: 720 of a phone's video are its short side, too.
        let upright = source.height > source.width;
        let rows = source.height.min(source.width);
        // Where the source's rate is not known, the ladder's own numbers go.
        let fits = |rung: &&Rung| rung.rows < rows && (source.kbps == 0 || rung.kbps < source.kbps);
        let fitting: Vec<&Rung> = config.rungs.iter().filter(fits).collect();
        let skipped =
            if source.load_percent >= config.busy_percent { fitting.len().saturating_sub(BUSY_RUNGS) } else { 0 };
        fitting.into_iter().skip(skipped).map(|rung| rendition(&config, &source, rung, upright)).collect()
    }
}

fn rendition(config: &Config, source: &policy::Source, rung: &Rung, upright: bool) -> policy::Rendition {
    let many = source.fps_den > 0 && source.fps_num > SMALL_FPS.saturating_mul(source.fps_den);
    let halved = many && rung.rows <= SMALL_ROWS && source.fps_den <= u32::MAX / 2;
    // The other side is made from this one, so that the picture keeps its shape.
    let (width, height) = if upright { (rung.rows, 0) } else { (0, rung.rows) };
    policy::Rendition {
        name: format!("{}p", rung.rows),
        picture: policy::Picture::Encode(policy::VideoEncode {
            codec: config.codec.clone(),
            width,
            height,
            fps_num: if halved { source.fps_num } else { 0 },
            fps_den: if halved { source.fps_den * 2 } else { 1 },
            kbps: rung.kbps,
            extra: vec![],
        }),
        sound: match source.audio.as_str() {
            // Encoding again costs quality and wins nothing.
            "aac" | "" => policy::Sound::Copy,
            _ => policy::Sound::Encode(policy::AudioEncode {
                codec: "aac".into(),
                kbps: config.audio_kbps,
                sample_rate: 48_000,
                channels: source.channels.min(2),
                extra: vec![],
            }),
        },
        on_demand: config.on_demand,
        extra: vec![],
    }
}

impl meta::Guest for Ladder {
    fn describe() -> meta::Info {
        let setting = |name: &str, about: &str, default: &str| meta::Setting {
            name: name.into(),
            about: about.into(),
            kind: "text".into(),
            required: false,
            default: Some(default.into()),
            extra: vec![],
        };
        meta::Info {
            name: "ladder".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings: vec![
                setting("ladder", "Rows and kbit/s of each rung.", USUAL),
                setting("codec", "Of the rungs.", "h264"),
                setting("audio-kbps", "Of audio that is not AAC already.", "128"),
                setting("on-demand", "Whether rungs are encoded only while somebody watches.", "true"),
                setting("busy-percent", "The load from which on there are two rungs.", "70"),
                setting("full-percent", "The load from which on there are none.", "90"),
            ],
            extra: vec![],
        }
    }

    fn check_config() -> Result<(), String> {
        config().map(|_| ())
    }
}

export!(Ladder);
