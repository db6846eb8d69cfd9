//! Checks what a hook answers before anybody acts on it.
//!
//! The runtime has made sure of the types and of valid UTF-8, and bounds the size as a whole; here are the rules of `hooks/wit`. The
//! errors are for the hook's author: what is wrong, where, and what is allowed.
use millstream_proto::id::Id;

use crate::text::clean;
use crate::wit::auth::{Denial, Fetch, Grant, Step};
use crate::wit::events::Order;
use crate::wit::meta::Info;
use crate::wit::motion::{Event, Wanted};
use crate::wit::policy::{AudioEncode, Picture, Rendition, Sound, VideoEncode};
use crate::wit::types::Pair;

type Checked<T> = Result<T, String>;

const MAX_PAIRS: usize = 16;
const MAX_NAME: usize = 64;
const MAX_VALUE: usize = 1024;
const MAX_SLOTS: usize = 8;
const MAX_SLOT_KEY: usize = 128;
const MAX_REASON: usize = 256;
const MAX_WORD: usize = 32;
const MAX_URL: usize = 2048;
const MAX_BODY: usize = 32 << 10;
const MAX_STATE: usize = 8 << 10;
const MAX_RENDITIONS: usize = 16;
const MAX_PIXELS: u32 = 8192;
const MAX_KBPS: u32 = 200_000;
const MAX_REGIONS: usize = 64;
const MAX_ORDERS: usize = 64;
const MAX_SETTINGS: usize = 64;

/// A guest's text for people: cut and cleaned, never refused.
pub(crate) fn text(text: &str) -> String {
    clean(text, MAX_REASON)
}

fn check(right: bool, message: impl FnOnce() -> String) -> Checked<()> {
    if right { Ok(()) } else { Err(message()) }
}

fn at_most(what: &str, len: usize, max: usize) -> Checked<()> {
    check(len <= max, || format!("{what}: {len}, at most {max}"))
}

/// Text that goes into names, headers and addresses.
fn plain(what: &str, text: &str, max: usize) -> Checked<()> {
    at_most(&format!("{what}: bytes"), text.len(), max)?;
    check(!text.chars().any(char::is_control), || format!("{what}: has a control character"))
}

fn pairs(what: &str, pairs: &[Pair]) -> Checked<()> {
    at_most(what, pairs.len(), MAX_PAIRS)?;
    for pair in pairs {
        check(!pair.name.is_empty(), || format!("{what}: a name is empty"))?;
        plain(&format!("{what}: a name"), &pair.name, MAX_NAME)?;
        plain(&format!("{what}: {}", clean(&pair.name, MAX_NAME)), &pair.value, MAX_VALUE)?;
    }
    Ok(())
}

fn word(what: &str, word: &str) -> Checked<()> {
    let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    check(!word.is_empty() && word.len() <= MAX_WORD && word.bytes().all(valid), || {
        format!("{what}: {:?} is no word out of a-z, 0-9 and -, at most {MAX_WORD}", clean(word, MAX_WORD))
    })
}

pub(crate) fn step(step: Step) -> Checked<Step> {
    Ok(match step {
        Step::Allow(it) => {
            grant(&it)?;
            Step::Allow(it)
        }
        Step::Deny(it) => Step::Deny(denial(it)?),
        Step::Next => Step::Next,
        Step::Redirect(url) => {
            plain("redirect", &url, MAX_URL)?;
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            check(
                rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !url.contains([' ', '\\'])),
                // It may have a client's token, and this text goes to the log.
                || "redirect: it is no absolute http or https URL".to_owned(),
            )?;
            Step::Redirect(url)
        }
        Step::Ask(it) => {
            fetch(&it)?;
            Step::Ask(it)
        }
    })
}

fn grant(grant: &Grant) -> Checked<()> {
    at_most("grant.slots", grant.slots.len(), MAX_SLOTS)?;
    for slot in &grant.slots {
        check(!slot.key.is_empty(), || "grant.slots: a key is empty".into())?;
        plain("grant.slots: a key", &slot.key, MAX_SLOT_KEY)?;
    }
    pairs("grant.labels", &grant.labels)?;
    pairs("grant.extra", &grant.extra)?;
    if let Some(name) = &grant.rename {
        check(!name.is_empty(), || "grant.rename: is empty; leave it out to keep the name".into())?;
        check(Id::new(name).is_ok(), || {
            format!("grant.rename: {:?} is no stream's name: 1 to 64 of A-Z, a-z, 0-9, - and _", clean(name, MAX_NAME))
        })?;
    }
    Ok(())
}

fn denial(mut denial: Denial) -> Checked<Denial> {
    word("denial.why", &denial.why)?;
    denial.reason = text(&denial.reason);
    Ok(denial)
}

fn fetch(fetch: &Fetch) -> Checked<()> {
    plain("ask.upstream", &fetch.upstream, MAX_NAME)?;
    check(["GET", "POST", "PUT", "HEAD", "DELETE"].contains(&fetch.method.as_str()), || {
        format!("ask.method: {:?}, one of GET, POST, PUT, HEAD, DELETE", clean(&fetch.method, MAX_WORD))
    })?;
    plain("ask.path", &fetch.path, MAX_URL)?;
    check(fetch.path.starts_with('/') && !fetch.path.starts_with("//"), || {
        "ask.path: must begin with one \"/\"; the upstream's address comes from the configuration".into()
    })?;
    check(fetch.path.bytes().all(|c| c.is_ascii_graphic()), || {
        "ask.path: has characters that a URL has not; encode them with %".into()
    })?;
    at_most("ask.headers", fetch.headers.len(), MAX_PAIRS)?;
    for header in &fetch.headers {
        let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
        check(!header.name.is_empty() && header.name.len() <= MAX_NAME && header.name.bytes().all(token), || {
            format!("ask.headers: {:?} is no name of a header", clean(&header.name, MAX_NAME))
        })?;
        plain(&format!("ask.headers: {}", header.name), &header.value, MAX_VALUE)?;
        let set_by_us =
            ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"];
        check(!set_by_us.contains(&header.name.to_ascii_lowercase().as_str()), || {
            format!("ask.headers: {} is set by the server", header.name)
        })?;
    }
    at_most("ask.body: bytes", fetch.body.len(), MAX_BODY)?;
    at_most("ask.state: bytes", fetch.state.len(), MAX_STATE)
}

pub(crate) fn renditions(renditions: Vec<Rendition>) -> Checked<Vec<Rendition>> {
    at_most("renditions", renditions.len(), MAX_RENDITIONS)?;
    for (n, it) in renditions.iter().enumerate() {
        let valid = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        let shown = clean(&it.name, MAX_WORD);
        check(!it.name.is_empty() && it.name.len() <= MAX_WORD && it.name.bytes().all(valid), || {
            format!("renditions: {shown:?} is no name out of a-z, A-Z, 0-9 and -, at most {MAX_WORD}")
        })?;
        check(!renditions[..n].iter().any(|other| other.name == it.name), || {
            format!("renditions: {shown} is there twice")
        })?;
        check(!matches!((&it.picture, &it.sound), (Picture::Drop, Sound::Drop)), || {
            format!("rendition {shown}: drops both video and audio")
        })?;
        if let Picture::Encode(video) = &it.picture {
            video_encode(&shown, video)?;
        }
        if let Sound::Encode(audio) = &it.sound {
            audio_encode(&shown, audio)?;
        }
        pairs(&format!("rendition {shown}: extra"), &it.extra)?;
    }
    Ok(renditions)
}

fn video_encode(name: &str, video: &VideoEncode) -> Checked<()> {
    word(&format!("rendition {name}: codec"), &video.codec)?;
    for (what, value) in [("width", video.width), ("height", video.height)] {
        check(value <= MAX_PIXELS && value.is_multiple_of(2), || {
            format!("rendition {name}: {what} {value}: an even number of pixels up to {MAX_PIXELS}, or 0")
        })?;
    }
    let fps = (video.fps_num, video.fps_den);
    check(fps.0 == 0 || (fps.1 > 0 && u64::from(fps.0) <= 240 * u64::from(fps.1)), || {
        format!("rendition {name}: {} / {} frames per second: at most 240, or 0 / 1", fps.0, fps.1)
    })?;
    kbps(name, video.kbps)?;
    pairs(&format!("rendition {name}: video extra"), &video.extra)
}

fn audio_encode(name: &str, audio: &AudioEncode) -> Checked<()> {
    word(&format!("rendition {name}: audio codec"), &audio.codec)?;
    check(audio.sample_rate == 0 || (8_000..=192_000).contains(&audio.sample_rate), || {
        format!("rendition {name}: {} Hz: 8,000 to 192,000, or 0", audio.sample_rate)
    })?;
    check(audio.channels <= 8, || format!("rendition {name}: {} channels, at most 8", audio.channels))?;
    kbps(name, audio.kbps)?;
    pairs(&format!("rendition {name}: audio extra"), &audio.extra)
}

fn kbps(name: &str, kbps: u32) -> Checked<()> {
    check((1..=MAX_KBPS).contains(&kbps), || format!("rendition {name}: {kbps} kbit/s: 1 to {MAX_KBPS}"))
}

pub(crate) fn wanted(wanted: Wanted) -> Checked<Wanted> {
    let side = 16..=640;
    check(side.contains(&wanted.width) && side.contains(&wanted.height), || {
        format!("start: {} x {} pixels: 16 to 640 each", wanted.width, wanted.height)
    })?;
    check(wanted.fps > 0.0 && wanted.fps <= 30.0, || format!("start: {} frames per second: up to 30", wanted.fps))?;
    Ok(wanted)
}

pub(crate) fn event(event: Event, width: u32, height: u32) -> Checked<Event> {
    let score = |what: &str, score: f32| {
        check((0.0..=1.0).contains(&score), || format!("{what}: score {score}, which is not within 0 to 1"))
    };
    score("event", event.score)?;
    plain("event.label", &event.label, MAX_NAME)?;
    at_most("event.regions", event.regions.len(), MAX_REGIONS)?;
    for region in &event.regions {
        score("event.regions", region.score)?;
        let within = |from: u32, size: u32, max: u32| size > 0 && from.checked_add(size).is_some_and(|end| end <= max);
        check(within(region.x, region.width, width) && within(region.y, region.height, height), || {
            let r = region;
            format!("event.regions: {} x {} at {}, {}: not within {width} x {height}", r.width, r.height, r.x, r.y)
        })?;
    }
    pairs("event.extra", &event.extra)?;
    Ok(event)
}

pub(crate) fn orders(orders: Vec<Order>) -> Checked<Vec<Order>> {
    at_most("orders", orders.len(), MAX_ORDERS)?;
    for order in &orders {
        word("order.kind", &order.kind)?;
        plain("order.app", &order.app, MAX_REASON)?;
        plain("order.name", &order.name, MAX_REASON)?;
        pairs("order.detail", &order.detail)?;
    }
    Ok(orders)
}

pub(crate) fn info(info: Info) -> Checked<Info> {
    plain("info.name", &info.name, MAX_NAME)?;
    plain("info.version", &info.version, MAX_NAME)?;
    at_most("info.settings", info.settings.len(), MAX_SETTINGS)?;
    for setting in &info.settings {
        check(!setting.name.is_empty(), || "info.settings: a name is empty".into())?;
        plain("info.settings: a name", &setting.name, MAX_NAME)?;
        plain("info.settings: about", &setting.about, MAX_VALUE)?;
        word("info.settings: kind", &setting.kind)?;
        plain("info.settings: default", setting.default.as_deref().unwrap_or_default(), MAX_VALUE)?;
        pairs("info.settings: extra", &setting.extra)?;
    }
    pairs("info.extra", &info.extra)?;
    Ok(info)
}
