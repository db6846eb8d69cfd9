//! A reader of DASH manifests as the server writes them, and what a player that fetched all of one would find in its segments. Beside [`crate::hls`],
//! whose reader of MP4 it uses.
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use crate::hls::boxes::{Init, fragments};
use crate::http;
use crate::tools::Tool;

/// Two segments, or two periods, may be this far apart, seconds.
const HOLE_S_MAX: f64 = 0.1;

/// A run without a discontinuity.
#[derive(Clone, Debug)]
pub struct Period {
    /// Where it begins, seconds.
    pub start_s: f64,
    /// Its tracks.
    pub tracks: Vec<Track>,
}

/// One track of it.
#[derive(Clone, Debug)]
pub struct Track {
    /// Frames, not audio.
    pub video: bool,
    /// Width and height of the first representation, as the manifest has them.
    pub size: Option<(u32, u32)>,
    timescale: f64,
    offset: f64,
    init: String,
    /// Address, time and length of each segment, in units.
    segments: Vec<(String, u64, u64)>,
}

fn attribute<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    let (_, rest) = text.split_once(&format!(" {name}=\"")).with_context(|| format!("no {name} in {text:.200}"))?;
    rest.split('"').next().context("a value")
}

fn number(text: &str, name: &str) -> Result<f64> {
    let value = attribute(text, name)?;
    value.parse().with_context(|| format!("{name}={value}"))
}

/// The periods of a manifest.
pub fn periods(manifest: &str) -> Result<Vec<Period>> {
    manifest.split("<Period ").skip(1).map(period).collect()
}

/// How far behind the live edge players stay, seconds.
pub fn delay_s(manifest: &str) -> Result<f64> {
    let text = attribute(manifest, "suggestedPresentationDelay")?;
    Ok(text.trim_start_matches("PT").trim_end_matches('S').parse()?)
}

fn period(text: &str) -> Result<Period> {
    let text = format!(" {text}");
    let start = attribute(&text, "start")?;
    let start_s = start.trim_start_matches("PT").trim_end_matches('S').parse()?;
    let tracks = text.split("<AdaptationSet").skip(1).map(track).collect::<Result<_>>()?;
    Ok(Period { start_s, tracks })
}

/// With the segments of its first representation.
fn track(text: &str) -> Result<Track> {
    let second = text.match_indices("<Representation ").nth(1);
    let text = second.map_or(text, |(at, _)| &text[..at]);
    let video = attribute(text, "contentType")? == "video";
    let size = match (number(text, "width"), number(text, "height")) {
        (Ok(width), Ok(height)) => Some((width as u32, height as u32)),
        _ => None,
    };
    let (media, first) = (attribute(text, "media")?, number(text, "startNumber")? as u64);
    let segments = text.split("<S").skip(1).filter(|segment| segment.starts_with(" t="));
    let segments = (first..).zip(segments).map(|(n, segment)| {
        let segment = segment.split('>').next().unwrap_or_default();
        let units = |name: &str| -> Result<u64> { Ok(attribute(segment, name)?.parse()?) };
        Ok((media.replace("$Number$", &n.to_string()), units("t")?, units("d")?))
    });
    Ok(Track {
        video,
        size,
        timescale: number(text, "timescale")?,
        offset: number(text, "presentationTimeOffset")?,
        init: attribute(text, "initialization")?.to_owned(),
        segments: segments.collect::<Result<_>>()?,
    })
}

impl Track {
    /// The segments from so far before its end on, seconds; the one that this is in is the first.
    pub fn newest(&self, behind_s: f64) -> Vec<&str> {
        let end = self.segments.last().map_or(0.0, |(_, t, d)| (t + d) as f64);
        let from = end - behind_s * self.timescale;
        self.segments.iter().filter(|(_, t, d)| (t + d) as f64 > from).map(|(name, ..)| name.as_str()).collect()
    }
}

impl Period {
    /// Where a track begins and ends, on the manifest's time, seconds.
    fn span_s(&self, track: &Track) -> (f64, f64) {
        let at = |units: u64| self.start_s + (units as f64 - track.offset) / track.timescale;
        let (first, last) = (track.segments.first(), track.segments.last());
        (first.map_or(0.0, |(_, t, _)| at(*t)), last.map_or(0.0, |(_, t, d)| at(t + d)))
    }
}

/// Fetches all that the manifest of a stream lists, and holds it against what the manifest says: times and lengths are those of the files,
/// segments follow each other without a hole, and so do periods; ffmpeg decodes each track of each period without a warning, and to
/// frames of the size that is given. Gives the periods.
pub fn watch(address: SocketAddr, stream: &str) -> Result<Vec<Period>> {
    let get = |path: &str| -> Result<Vec<u8>> {
        let answer = http::get(address, &format!("/{stream}/{path}"));
        ensure!(answer.status == 200, "{path}: {}", answer.status);
        Ok(answer.body)
    };
    let found = periods(&String::from_utf8(get("manifest.mpd")?)?)?;
    let dir = tempfile::Builder::new().prefix("millstream-dash-").tempdir()?;
    for period in &found {
        for track in &period.tracks {
            let mut file = get(&track.init)?;
            let timescale = f64::from(Init::parse(&file)?.timescale);
            ensure!((timescale - track.timescale).abs() < 0.5, "{}: a timescale of {timescale}", track.init);
            let (mut end, mut samples) = (None, 0);
            for (name, t, d) in &track.segments {
                let bytes = get(name)?;
                let parts = fragments(&bytes)?;
                let begins = parts.first().map(|part| part.decode_time);
                ensure!(begins == Some(*t), "{name} begins at {begins:?}, not at {t}");
                let lasts: u64 = parts.iter().map(|part| part.duration).sum();
                let slack = (track.timescale * 0.03) as u64;
                ensure!(lasts.abs_diff(*d) <= slack, "{name} lasts {lasts}, not {d}");
                let before = end.replace(t + d).unwrap_or(*t);
                ensure!(before == *t, "{name} begins at {t}, after {before}");
                samples += parts.iter().map(|part| part.sizes.len()).sum::<usize>();
                file.extend(bytes);
            }
            let path = dir.path().join("track.mp4");
            std::fs::write(&path, file)?;
            let decoded = decode(&path.to_string_lossy(), track)?;
            ensure!(decoded.abs_diff(samples) <= 3, "{decoded} frames of {samples} were decoded");
        }
    }
    for pair in found.windows(2) {
        for track in &pair[0].tracks {
            let Some(next) = pair[1].tracks.iter().find(|next| next.video == track.video) else { continue };
            let (ends_s, begins_s) = (pair[0].span_s(track).1, pair[1].span_s(next).0);
            ensure!((begins_s - ends_s).abs() < HOLE_S_MAX, "a period begins at {begins_s} s, after {ends_s} s");
        }
    }
    Ok(found)
}

/// How many frames ffmpeg decodes of a file.
fn decode(path: &str, track: &Track) -> Result<usize> {
    #[rustfmt::skip]
    let done = Tool::start("ffprobe", &[
        "-v", "error", "-count_frames", "-show_entries", "stream=width,height,nb_read_frames", "-of", "csv=p=0", path,
    ]).wait(crate::seconds(20));
    ensure!(done.status.success() && done.stderr.trim().is_empty(), "ffprobe: {}", done.stderr);
    let values: Vec<u32> = done.stdout.trim().trim_end_matches(',').split(',').filter_map(|n| n.parse().ok()).collect();
    let (frames, size) = values.split_last().context("a count")?;
    let size = if let [width, height] = size { Some((*width, *height)) } else { None };
    ensure!(size == track.size, "{size:?}, not {:?}", track.size);
    Ok(*frames as usize)
}
