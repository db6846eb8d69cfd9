//! CMCD (CTA-5004, CTA-5004-B): what players say of how they play, with requests that they make anyway. Before it: a request's `CMCD` parameter or its
//! headers `CMCD-*`; after it: whoever adds that up. It is a dictionary of structured fields (RFC 8941); what is not understood is passed over, because
//! players differ and nobody is refused for it.
use crate::limits::{CMCD_BYTES_MAX, CMCD_MEMBERS_MAX, CMCD_SESSION_BYTES_MAX};

/// What one report says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cmcd<'a> {
    /// `sid`: the name of the playback session, as the player has chosen it.
    pub session: Option<&'a str>,
    /// All else that is of use.
    pub figures: Figures,
}

/// The figures of a report. Those of version 2 that are lists are here as one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// `sf`: what is played.
    pub format: Option<Format>,
    /// `ot`: what the request is for.
    pub object: Option<Object>,
    /// `sta`: what the player does.
    pub state: Option<State>,
    /// `br`: how the media is encoded, kbit/s; the highest where it is a list.
    pub bitrate_kbit_s: Option<u32>,
    /// `bl`: media that the player holds, milliseconds; the lowest where it is a list.
    pub buffer_ms: Option<u32>,
    /// `ltc`: how far the picture is behind its being at the server, milliseconds.
    pub latency_ms: Option<u32>,
    /// `msd`: from the wish to play to the first picture, milliseconds. Said once a session.
    pub start_delay_ms: Option<u32>,
    /// `su`: the object is wanted at once, because nothing plays yet.
    pub startup: bool,
    /// `bs`: the player has run dry since the last report of such an object.
    pub starved: bool,
    /// `bsd`: for how long it stood still, milliseconds, the sum where it is a list.
    pub starved_ms: Option<u32>,
    /// `bsa`: how often it has run dry since the session began; the highest where it is a list.
    pub starved_count_total: Option<u32>,
    /// `bsda`: for how long in all it has stood still since then, milliseconds; the highest where it is a list.
    pub starved_ms_total: Option<u32>,
}

/// What is played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `h`
    Hls,
    /// `d`
    Dash,
    /// `s` (Smooth Streaming) and `o`: anything else.
    Other,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Object {
    /// `v` or `av`: pictures, alone or with sound.
    Video,
    /// `a`: sound.
    Audio,
    /// A playlist, a header, subtitles, keys or anything else.
    Other,
}

/// What a player does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// `s` or `d`: it begins, or loads ahead of that.
    Starting,
    /// `p`
    Playing,
    /// `r`: it has run dry.
    Rebuffering,
    /// Paused, seeking, waiting, over, failed, or a later word.
    Other,
}

/// Reads a report. `None`: it is longer than [`CMCD_BYTES_MAX`], and nothing of it is read. Members beyond [`CMCD_MEMBERS_MAX`] are passed over.
pub fn parse(text: &str) -> Option<Cmcd<'_>> {
    if text.len() > CMCD_BYTES_MAX {
        return None;
    }
    let mut report = Cmcd::default();
    let of = &mut report.figures;
    for (key, value) in members(text).take(CMCD_MEMBERS_MAX) {
        match key {
            "sid" => report.session = report.session.or_else(|| session(value)),
            "sf" => {
                of.format = match token(value) {
                    "h" => Some(Format::Hls),
                    "d" => Some(Format::Dash),
                    "s" | "o" => Some(Format::Other),
                    _ => None,
                };
            }
            "ot" => {
                of.object = Some(match token(value) {
                    "v" | "av" => Object::Video,
                    "a" => Object::Audio,
                    _ => Object::Other,
                });
            }
            "sta" => {
                of.state = Some(match token(value) {
                    "s" | "d" => State::Starting,
                    "p" => State::Playing,
                    "r" => State::Rebuffering,
                    _ => State::Other,
                });
            }
            "br" => of.bitrate_kbit_s = numbers(value).max(),
            "bl" => of.buffer_ms = numbers(value).min(),
            "ltc" => of.latency_ms = numbers(value).next(),
            "msd" => of.start_delay_ms = numbers(value).next(),
            "su" => of.startup = is_true(value),
            "bs" => of.starved = is_true(value),
            "bsd" => of.starved_ms = numbers(value).reduce(u32::saturating_add),
            "bsa" => of.starved_count_total = numbers(value).max(),
            "bsda" => of.starved_ms_total = numbers(value).max(),
            _ => {}
        }
    }
    Some(report)
}

/// The session that a report names; as [`parse`], which reads all of it.
pub fn session_id(text: &str) -> Option<&str> {
    if text.len() > CMCD_BYTES_MAX {
        return None;
    }
    members(text).take(CMCD_MEMBERS_MAX).find_map(|(key, value)| if key == "sid" { session(value) } else { None })
}

/// `key=value`, or a key alone, between commas that stand in no text and no list. A value is as it is written.
fn members(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let now = rest?;
        let end = end_of_member(now);
        rest = now.get(end + 1..);
        Some(now.get(..end).unwrap_or_default().trim())
    })
    .filter(|member| !member.is_empty())
    .map(|member| member.split_once('=').unwrap_or((member, "")))
}

/// Where the first member ends.
fn end_of_member(text: &str) -> usize {
    let (mut in_text, mut is_escaped, mut in_list) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'(' => in_list = true,
            b')' => in_list = false,
            b',' if !in_list => return at,
            _ => {}
        }
    }
    text.len()
}

/// A value without its parameters.
fn bare(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// A token. Some players write it as a text.
fn token(value: &str) -> &str {
    bare(value).trim_matches('"')
}

/// A text that names a session: what stands between its quotes.
fn session(value: &str) -> Option<&str> {
    let (name, _) = value.strip_prefix('"')?.rsplit_once('"')?;
    Some(name).filter(|name| !name.is_empty() && name.len() <= CMCD_SESSION_BYTES_MAX)
}

/// A key alone is true; version 1 has no other form, and some of its players write `true` and `false`.
fn is_true(value: &str) -> bool {
    matches!(bare(value), "" | "?1" | "true")
}

/// The number, or those of a list; what is none, or less than nothing, is left out.
fn numbers(value: &str) -> impl Iterator<Item = u32> {
    let list = value.trim().strip_prefix('(').map(|list| list.split(')').next().unwrap_or_default());
    list.unwrap_or(value).split_ascii_whitespace().filter_map(|item| number(bare(item)))
}

/// Decimals are rounded; what is larger than fits is the largest.
fn number(text: &str) -> Option<u32> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    // No sign, no exponent, no `inf`: a finite number that is not negative, or none. The conversion saturates.
    let number: f64 = text.parse().ok().filter(|_| is_decimal && text.len() <= 16)?;
    Some(number.round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Random;

    #[track_caller]
    fn check(text: &str, expected: Figures) {
        assert_eq!(parse(text).map(|report| report.figures), Some(expected), "{text}");
    }

    /// As hls.js 1.7 and dash.js 5.2 write them.
    #[test]
    fn reports_of_both_versions() {
        let text = "bl=1200,br=3000,bs,d=2000,mtp=5000,ot=v,sf=h,sid=\"a-b\",st=l,su";
        let expected = Figures {
            format: Some(Format::Hls),
            object: Some(Object::Video),
            bitrate_kbit_s: Some(3000),
            buffer_ms: Some(1200),
            startup: true,
            starved: true,
            ..Figures::default()
        };
        assert_eq!(parse(text), Some(Cmcd { session: Some("a-b"), figures: expected }));
        let text = "bl=(1200 900;a),br=(3000;v 128;a),bsa=(2),bsd=(300 40),bsda=(340),cid=\"x\\\",br=1,y\",ltc=1800,msd=900,nor=(\"../x,y.m4s\"),\
            pr=1.05,sf=d,sid=\"s,1\",sta=r,su=?0,v=2";
        let expected = Figures {
            format: Some(Format::Dash),
            state: Some(State::Rebuffering),
            bitrate_kbit_s: Some(3000),
            buffer_ms: Some(900),
            latency_ms: Some(1800),
            start_delay_ms: Some(900),
            starved_ms: Some(340),
            starved_count_total: Some(2),
            starved_ms_total: Some(340),
            ..Figures::default()
        };
        assert_eq!(parse(text), Some(Cmcd { session: Some("s,1"), figures: expected }));
    }

    #[test]
    fn what_is_not_understood_is_passed_over() {
        check("", Figures::default());
        check(",,=,br,br=,br=x,br=-1,br=1e9,br=nan,br=(,br=()", Figures::default());
        check("br=3000.4,com.example-x=(1 2", Figures { bitrate_kbit_s: Some(3000), ..Figures::default() });
        check("br=99999999999999", Figures { bitrate_kbit_s: Some(u32::MAX), ..Figures::default() });
        check("bs=false,su=true", Figures { startup: true, ..Figures::default() });
        check("sta=zz,ot=m", Figures { state: Some(State::Other), object: Some(Object::Other), ..Figures::default() });
        // A text that does not end takes the rest with it.
        check("cid=\"a,br=1,bl=2", Figures::default());
        assert_eq!(parse(&"a".repeat(CMCD_BYTES_MAX + 1)), None);
        let late = format!("{}br=1", "x,".repeat(CMCD_MEMBERS_MAX));
        check(&late, Figures::default());
    }

    #[test]
    fn a_player_names_its_session() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                (session_id(text), parse(text).and_then(|report| report.session)),
                (expected, expected),
                "{text}"
            );
        };
        check("bl=1000, sid=\"6e2f-1\",st=l", Some("6e2f-1"));
        check("sid=\"\"", None);
        check("cid=\"sid=1\",sid=b", None);
        check("sid=\"é\"", Some("é"));
        check(&format!("sid=\"{}\"", "x".repeat(65)), None);
    }

    /// Whatever comes, what is read is within the text and nothing panics; a report that is written is read as it was meant.
    #[test]
    fn any_text() {
        let mut random = Random::new(7);
        let pieces = [
            "br=", "(", ")", "\"", "\\", ",", ";", " ", "1", "9", ".", "sid=", "é", "bs", "sta=", "r", "=", "ltc", "?0",
        ];
        for _ in 0..20_000 {
            let text: String = (0..random.below(24)).map(|_| pieces[random.below(pieces.len())]).collect();
            let report = parse(&text).expect("it is short");
            if let Some(session) = report.session {
                assert!(text.contains(session) && session.len() <= CMCD_SESSION_BYTES_MAX);
            }
            let (bl, br, ltc) = (random.below(90_000) as u32, random.below(90_000) as u32, random.below(90_000) as u32);
            let written = format!("bl=({bl};v),br={br},cid=\"a,\\\"b\",ltc={ltc},sid=\"n\"");
            let figures = parse(&written).expect("it is short").figures;
            assert_eq!(
                (figures.buffer_ms, figures.bitrate_kbit_s, figures.latency_ms),
                (Some(bl), Some(br), Some(ltc))
            );
        }
    }
}
