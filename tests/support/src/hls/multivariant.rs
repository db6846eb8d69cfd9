//! Multivariant playlists (RFC 8216bis 4.4.6): read, and what they must say. Before it: the text that was served; after it: players choose.
use anyhow::{Context as _, Result, bail, ensure};

use super::attributes::Attributes;
use super::{Fault, Faults, relative};

/// `EXT-X-MEDIA`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendition {
    /// `AUDIO` here.
    pub kind: String,
    pub group: String,
    /// For people.
    pub name: String,
    /// Where its playlist is.
    pub uri: Option<String>,
    /// Played where nobody chooses.
    pub default: bool,
}

/// `EXT-X-STREAM-INF` and the URI behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Where its playlist is.
    pub uri: String,
    /// Peak bits per second.
    pub bandwidth: u64,
    /// Bits per second on average.
    pub average_bandwidth: Option<u64>,
    /// As RFC 6381 writes them.
    pub codecs: Vec<String>,
    pub resolution: Option<(u64, u64)>,
    /// Frames per second.
    pub frame_rate: Option<f64>,
    /// The group of its audio.
    pub audio: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Multivariant {
    /// Ways to watch.
    pub variants: Vec<Variant>,
    /// What goes with them.
    pub renditions: Vec<Rendition>,
    /// `EXT-X-VERSION`.
    pub version: u64,
}

impl Multivariant {
    /// Reads one; the error says line and reason.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines().enumerate();
        ensure!(lines.next().is_some_and(|(_, line)| line == "#EXTM3U"), "the first line is not #EXTM3U (4.4.1.1)");
        ensure!(text.ends_with('\n'), "the last line has no end");
        let (mut whole, mut open) = (Self { version: 1, ..Self::default() }, None);
        for (at, line) in lines {
            whole.line(line, &mut open).with_context(|| format!("line {}: {line}", at + 1))?;
        }
        ensure!(open.is_none(), "EXT-X-STREAM-INF without a URI behind it");
        Ok(whole)
    }

    fn line(&mut self, line: &str, open: &mut Option<Variant>) -> Result<()> {
        if line.is_empty() || (line.starts_with('#') && !line.starts_with("#EXT")) {
            return Ok(());
        }
        if !line.starts_with('#') {
            let mut variant = open.take().context("a URI without EXT-X-STREAM-INF")?;
            line.clone_into(&mut variant.uri);
            self.variants.push(variant);
            return Ok(());
        }
        ensure!(open.is_none(), "a tag between EXT-X-STREAM-INF and its URI");
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-VERSION" => self.version = super::attributes::integer(value)?,
            "#EXT-X-INDEPENDENT-SEGMENTS" => {}
            "#EXT-X-MEDIA" => {
                let all = Attributes::parse(value)?;
                self.renditions.push(Rendition {
                    kind: all.word("TYPE")?.to_owned(),
                    group: all.quoted("GROUP-ID")?.to_owned(),
                    name: all.quoted("NAME")?.to_owned(),
                    uri: all.maybe_quoted("URI")?.map(str::to_owned),
                    default: all.yes("DEFAULT")?,
                });
            }
            "#EXT-X-STREAM-INF" => {
                let all = Attributes::parse(value)?;
                let size = |text: &str| {
                    let (w, h) = text.split_once('x')?;
                    Some((w.parse().ok()?, h.parse().ok()?))
                };
                let resolution = all.maybe_word("RESOLUTION")?;
                *open = Some(Variant {
                    uri: String::new(),
                    bandwidth: all.integer("BANDWIDTH")?,
                    average_bandwidth: all.maybe_integer("AVERAGE-BANDWIDTH")?,
                    codecs: all.quoted("CODECS")?.split(',').map(|c| c.trim().to_owned()).collect(),
                    resolution: resolution.map(|r| size(r).context("RESOLUTION")).transpose()?,
                    frame_rate: all.maybe_decimal("FRAME-RATE")?,
                    audio: all.maybe_quoted("AUDIO")?.map(str::to_owned),
                });
            }
            _ => bail!("a tag that is not expected in these playlists"),
        }
        Ok(())
    }

    /// Every rule that does not hold.
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        faults.demand(!self.variants.is_empty(), "variants", || "there are none".to_owned());
        for variant in &self.variants {
            let Variant { uri, .. } = variant;
            faults.demand(relative(uri), "relative URIs", || uri.clone());
            faults.demand(variant.bandwidth > 0, "bandwidth", || format!("{uri} has 0"));
            let average = variant.average_bandwidth.unwrap_or(variant.bandwidth);
            faults
                .demand(average <= variant.bandwidth, "bandwidth", || format!("{uri}: the average is above the peak"));
            let video =
                variant.codecs.iter().any(|c| ["avc1.", "hvc1.", "av01.", "vp09."].iter().any(|v| c.starts_with(v)));
            faults.demand(!video || (variant.resolution.is_some() && variant.frame_rate.is_some()), "picture", || {
                format!("{uri} has pictures, and neither or only one of RESOLUTION and FRAME-RATE")
            });
            faults.demand(video || variant.resolution.is_none(), "picture", || {
                format!("{uri} has a size and no video codec")
            });
            faults.demand(variant.codecs.iter().all(|c| codec(c)), "codecs", || format!("{:?}", variant.codecs));
            if let Some(group) = &variant.audio {
                let there = self.renditions.iter().any(|r| r.kind == "AUDIO" && r.group == *group);
                faults.demand(there, "groups", || format!("{uri} has sound of group {group}, which is not there"));
                let coded = variant.codecs.iter().any(|c| sound(c));
                faults
                    .demand(coded, "codecs", || format!("{uri} has sound, and no codec for it: {:?}", variant.codecs));
            }
        }
        for rendition in &self.renditions {
            if let Some(uri) = &rendition.uri {
                faults.demand(relative(uri), "relative URIs", || uri.clone());
            }
            let used = self.variants.iter().any(|v| v.audio.as_ref() == Some(&rendition.group));
            faults.demand(used, "groups", || format!("nobody uses {}", rendition.group));
        }
        faults.done()
    }
}

fn sound(codec: &str) -> bool {
    ["mp4a.40.", "opus", "Opus", "fLaC", "ac-3", "ec-3", "mp4a.69", "mp4a.6b"].iter().any(|c| codec.starts_with(c))
}

/// Written in full: `avc1` alone says nothing about what a browser can play.
fn codec(text: &str) -> bool {
    let avc = |rest: &str| rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_hexdigit());
    match text.split_once('.') {
        Some(("avc1", rest)) => avc(rest),
        Some(("hvc1" | "av01" | "vp09", rest)) => rest.split('.').count() >= 3,
        _ => sound(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "#EXTM3U
#EXT-X-VERSION:9
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"sound\",DEFAULT=YES,AUTOSELECT=YES,URI=\"audio.m3u8\"
#EXT-X-STREAM-INF:BANDWIDTH=1200000,AVERAGE-BANDWIDTH=1000000,CODECS=\"avc1.42c01e,mp4a.40.2\",RESOLUTION=640x360,FRAME-RATE=30.000,AUDIO=\"a\"
video.m3u8
";

    fn with(old: &str, new: &str) -> Vec<&'static str> {
        assert!(GOOD.contains(old), "{old:?}");
        let whole =
            Multivariant::parse(&GOOD.replacen(old, new, 1)).unwrap_or_else(|e| panic!("{old:?} {new:?}: {e:#}"));
        whole.check().into_iter().map(|f| f.rule).collect()
    }

    #[test]
    fn a_good_one_is_read_whole_and_passes() {
        let whole = Multivariant::parse(GOOD).unwrap();
        assert_eq!(whole.check(), []);
        let variant = &whole.variants[0];
        assert_eq!((variant.uri.as_str(), variant.resolution), ("video.m3u8", Some((640, 360))));
        assert_eq!(whole.renditions[0].uri.as_deref(), Some("audio.m3u8"));
    }

    #[test]
    fn each_rule_catches_what_breaks_it() {
        for (old, new, rule) in [
            ("video.m3u8", "/cam/video.m3u8", "relative URIs"),
            ("audio.m3u8", "http://a/audio.m3u8", "relative URIs"),
            ("BANDWIDTH=1200000", "BANDWIDTH=0", "bandwidth"),
            ("AVERAGE-BANDWIDTH=1000000", "AVERAGE-BANDWIDTH=1300000", "bandwidth"),
            (",RESOLUTION=640x360", "", "picture"),
            (",FRAME-RATE=30.000", "", "picture"),
            ("avc1.42c01e,", "", "picture"),
            ("avc1.42c01e", "avc1.42", "codecs"),
            (",mp4a.40.2", "", "codecs"),
            (",AUDIO=\"a\"", ",AUDIO=\"b\"", "groups"),
            (",AUDIO=\"a\"", "", "groups"),
        ] {
            let found = with(old, new);
            assert!(found.contains(&rule), "{old:?} -> {new:?}: expected {rule:?}, found {found:?}");
        }
        assert_eq!(Multivariant::parse("#EXTM3U\n").unwrap().check()[0].rule, "variants");
    }

    #[test]
    fn what_is_none_is_refused() {
        for (old, new) in [
            ("#EXTM3U", "EXTM3U"),
            ("video.m3u8\n", ""),
            ("BANDWIDTH=1200000,", ""),
            ("RESOLUTION=640x360", "RESOLUTION=640"),
            ("#EXT-X-VERSION:9", "#EXT-X-TARGETDURATION:2"),
            ("NAME=\"sound\"", "NAME=sound"),
        ] {
            assert!(GOOD.contains(old));
            assert!(Multivariant::parse(&GOOD.replacen(old, new, 1)).is_err(), "{old:?} -> {new:?}");
        }
    }
}
