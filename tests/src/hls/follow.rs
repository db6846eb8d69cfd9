//! A player of one rendition that reloads as players do, fetches what is hinted and what is listed, and hands every playlist to the
//! validator. Before it: a server or a cache in front of one; after it: [`Followed::faults`], which a test wants empty.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::boxes::{self, Fragment, Init};
use super::history::History;
use super::playlist::{Media, Report, Segment};
use crate::http::{Connection, Response};
use crate::millis;

/// Between two tries where the server has nothing, or players do not block.
const RETRY: Duration = millis(250);

/// Whom to follow, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Server or cache.
    pub address: SocketAddr,
    /// Path of the stream, with a slash at its end: `/cam/`.
    pub base: String,
    /// Name of the media playlist.
    pub playlist: String,
    /// Ask for what is not there yet, and be held; else poll.
    pub blocking: bool,
    /// Ask for delta updates where they are offered.
    pub delta: bool,
    /// Fetch hinted parts, whole segments and initialisations.
    pub media: bool,
}

impl Plan {
    /// As low-latency players do.
    pub fn low_latency(address: SocketAddr, id: &str, playlist: &str) -> Self {
        let (base, playlist) = (format!("/{id}/"), playlist.to_owned());
        Self { address, base, playlist, blocking: true, delta: true, media: true }
    }

    /// As players that know no parts do.
    pub fn plain(address: SocketAddr, id: &str, playlist: &str) -> Self {
        Self { blocking: false, delta: false, ..Self::low_latency(address, id, playlist) }
    }

    /// Starts on a thread.
    pub fn start(self) -> Following {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Following { stop, thread: std::thread::spawn(move || self.follow(&seen)) }
    }
}

#[derive(Debug)]
pub struct Following {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Followed>,
}

impl Following {
    /// Ends it and takes what it saw.
    pub fn stop(self) -> Followed {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a follower does not panic")
    }
}

/// A playlist that came.
#[derive(Debug, Clone)]
pub struct Look {
    /// When it was asked for.
    pub asked: Instant,
    /// When it was there.
    pub came: Instant,
    /// The newest segment in it, and its newest part.
    pub newest: Option<(u64, Option<u64>)>,
    /// What it says of others.
    pub reports: Vec<Report>,
    /// Bytes.
    pub size: usize,
}

/// A segment, part or initialisation that came.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// When its last byte was there.
    pub came: Instant,
    pub status: u16,
    pub body: Vec<u8>,
}

/// What a follower saw.
#[derive(Debug, Default)]
pub struct Followed {
    /// All playlists.
    pub history: History,
    /// Playlists in order.
    pub looks: Vec<Look>,
    /// What was fetched, by name.
    pub fetched: HashMap<String, Fetched>,
    /// Answers that were no playlist, by status.
    pub refused: HashMap<u16, u32>,
    faults: Vec<String>,
}

impl Plan {
    fn follow(self, stop: &AtomicBool) -> Followed {
        let mut followed = Followed::default();
        let (wanted, wants) = channel();
        let fetcher = self.clone();
        let fetching = std::thread::spawn(move || fetcher.fetch_all(&wants));
        let mut connection = None;
        let mut asked_for = std::collections::HashSet::new();
        while !stop.load(Ordering::Relaxed) {
            let next = followed.history.last().filter(|m| self.blocking && !m.ended).and_then(Media::next);
            let skip = followed
                .history
                .last()
                .is_some_and(|m| self.delta && m.control.as_ref().is_some_and(|c| c.can_skip_until.is_some()));
            let mut query = match next {
                Some((msn, Some(part))) => format!("?_HLS_msn={msn}&_HLS_part={part}"),
                Some((msn, None)) => format!("?_HLS_msn={msn}"),
                None => String::new(),
            };
            if skip && next.is_some() {
                query.push_str("&_HLS_skip=YES");
            }
            let asked = Instant::now();
            let answer = self.get(&mut connection, &format!("{}{query}", self.playlist));
            let Some(media) = followed.playlist(asked, answer, next) else {
                std::thread::sleep(RETRY);
                continue;
            };
            if self.media {
                let news = want(&media).into_iter().filter(|uri| asked_for.insert(uri.clone()));
                news.for_each(|uri| drop(wanted.send(uri)));
            }
            if media.ended {
                break;
            }
            if next.is_none() && !self.blocking {
                std::thread::sleep(RETRY);
            }
        }
        drop(wanted);
        followed.fetched = fetching.join().expect("fetching does not panic");
        followed.compare();
        followed
    }

    fn get(&self, connection: &mut Option<Connection>, name: &str) -> Result<Response> {
        let request = format!("GET {}{name} HTTP/1.1\r\nHost: {}\r\n\r\n", self.base, self.address);
        let attempt = |connection: &mut Option<Connection>| -> Result<Response> {
            if connection.is_none() {
                *connection = Some(Connection::open(self.address)?);
            }
            let open = connection.as_mut().context("just opened")?;
            open.send(request.as_bytes())?;
            open.response(false)
        };
        let answer = attempt(connection).or_else(|_| {
            // A connection that was kept may have been closed meanwhile.
            *connection = None;
            attempt(connection)
        });
        if answer.as_ref().map_or(true, |r| r.header("connection").eq_ignore_ascii_case("close")) {
            *connection = None;
        }
        answer
    }

    fn fetch_all(&self, wants: &Receiver<String>) -> HashMap<String, Fetched> {
        let (mut connection, mut fetched) = (None, HashMap::new());
        for uri in wants {
            let answer = self.get(&mut connection, &uri);
            let (status, body) = answer.map_or((0, Vec::new()), |r| (r.status, r.body));
            fetched.insert(uri, Fetched { came: Instant::now(), status, body });
        }
        fetched
    }
}

/// What is wrong with how long an answer by number may be kept. A player that asks again gets something new: its browser keeps none, and
/// shared caches no answer to a request for a part 0, which Video.js repeats when the segment ends.
fn stale(cache_control: &str, part: Option<u64>) -> Option<String> {
    let age = |name: &str| {
        let said =
            cache_control.split(',').find_map(|directive| directive.trim().strip_prefix(name)?.strip_prefix('='));
        said.and_then(|seconds| seconds.parse::<u64>().ok())
    };
    let shared_max = if part == Some(0) { 1 } else { 60 };
    let holds = age("max-age") == Some(0) && age("s-maxage").is_some_and(|shared| (1..=shared_max).contains(&shared));
    (!holds).then(|| format!("asked for part {part:?}, and {cache_control:?} lets caches answer again"))
}

/// What a player of that playlist fetches: the initialisation, whole segments, and the hinted part.
fn want(media: &Media) -> Vec<String> {
    let mut all = Vec::new();
    for segment in &media.segments {
        all.extend(segment.map.clone());
        // Of a gap there is nothing to fetch.
        all.extend(segment.uri.clone().filter(|_| !segment.gap));
    }
    all.extend(media.hinted_part().map(str::to_owned));
    all
}

impl Followed {
    /// Every rule that did not hold, in order, and what was fetched and was not what was listed.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Takes an answer; the playlist if it is one.
    fn playlist(
        &mut self,
        asked: Instant,
        answer: Result<Response>,
        next: Option<(u64, Option<u64>)>,
    ) -> Option<Media> {
        let came = Instant::now();
        let answer = match answer {
            Ok(answer) if answer.status == 200 => answer,
            other => {
                let status = other.as_ref().map_or(0, |r| r.status);
                *self.refused.entry(status).or_default() += 1;
                let uncached = other.map_or(true, |r| r.header("cache-control") == "no-store");
                if !uncached {
                    self.faults.push(format!("status {status} may be cached"));
                }
                if status == 404 && self.history.last().is_some() {
                    self.history.next_session();
                }
                return None;
            }
        };
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let media = match Media::parse(&text) {
            Ok(media) => media,
            Err(error) => {
                self.faults.push(format!("no playlist: {error:#}\n{text}"));
                return None;
            }
        };
        if let Some((_, part)) = next.filter(|_| !media.ended) {
            self.faults.extend(stale(answer.header("cache-control"), part));
        }
        let faults = self.history.take(&media);
        if !faults.is_empty() {
            let words: Vec<String> = faults.iter().map(ToString::to_string).collect();
            self.faults.push(format!("{}\nasked for {next:?} and got\n{text}", words.join("\n")));
        }
        let newest = media.newest();
        if let (Some((msn, part)), Some((last, last_part)), false) = (next, newest, media.ended) {
            let whole = media.segments.last().is_some_and(|s| s.uri.is_some());
            let there =
                last > msn || (last == msn && (whole || part.is_some_and(|p| last_part.is_some_and(|l| l >= p))));
            if !there {
                self.faults.push(format!("asked for {msn} part {part:?}, answered with {last} part {last_part:?}"));
            }
        }
        self.looks.push(Look { asked, came, newest, reports: media.reports.clone(), size: answer.body.len() });
        Some(media)
    }

    /// The initialisation that was fetched under that name.
    pub fn init(&self, uri: &str) -> Option<Result<Init>> {
        self.fetched.get(uri).filter(|f| f.status == 200).map(|f| Init::parse(&f.body))
    }

    /// Compares what was fetched with what was listed.
    fn compare(&mut self) {
        let mut faults = Vec::new();
        let mut end: Option<(u64, f64)> = None;
        for segment in self.history.segments().values() {
            let Some(uri) = segment.uri.as_ref().filter(|_| !segment.gap) else { continue };
            let Some(fetched) = self.fetched.get(uri) else { continue };
            match self.segment(segment, fetched) {
                Err(error) => faults.push(format!("{uri}: {error:#}")),
                Ok((begins, ends)) => {
                    let before = end.filter(|(msn, _)| msn + 1 == segment.msn && !segment.discontinuity);
                    if let Some((_, before)) = before.filter(|(_, before)| (begins - before).abs() > 0.06) {
                        faults.push(format!("{uri} begins at {begins} s, the segment before it ends at {before} s"));
                    }
                    end = Some((segment.msn, ends));
                }
            }
        }
        self.faults.extend(faults);
    }

    /// Checks a segment and its parts; gives its begin and end in the media's own time, seconds.
    fn segment(&self, segment: &Segment, fetched: &Fetched) -> Result<(f64, f64)> {
        anyhow::ensure!(fetched.status == 200, "listed, and answered with {}", fetched.status);
        let map = segment.map.as_deref().context("no initialisation")?;
        let status = self.fetched.get(map).map(|f| f.status);
        let init = self.init(map).with_context(|| format!("{map} was not to be had: {status:?}"))??;
        let all = boxes::fragments(&fetched.body)?;
        let scale = f64::from(init.timescale);
        let span = |all: &[Fragment]| -> (f64, f64) {
            let (first, last) = (all.first(), all.last());
            let begin = first.map_or(0, |f| f.decode_time);
            (begin as f64 / scale, last.map_or(0, |f| f.decode_time + f.duration) as f64 / scale)
        };
        let (begin, end) = span(&all);
        let listed = segment.duration.unwrap_or_default();
        // The last picture's duration is a guess that the next one's time corrects.
        anyhow::ensure!((end - begin - listed).abs() <= 0.06, "lasts {} s, listed with {listed} s", end - begin);
        let mut parts = Vec::new();
        for part in &segment.parts {
            let Some(own) = self.fetched.get(&part.uri) else { continue };
            anyhow::ensure!(own.status == 200, "{} was listed, and answered with {}", part.uri, own.status);
            let fragments = boxes::fragments(&own.body).context(part.uri.clone())?;
            let (begin, end) = span(&fragments);
            let lasts = end - begin;
            anyhow::ensure!(
                (lasts - part.duration).abs() <= 0.06,
                "{} lasts {lasts} s, not {}",
                part.uri,
                part.duration
            );
            // A keyframe anywhere in it will do (4.4.4.9).
            let sync = fragments.iter().any(|f| f.has_sync);
            anyhow::ensure!(!part.independent || sync, "{} is said to be independent, and is not", part.uri);
            parts.push(&own.body);
        }
        if parts.len() == segment.parts.len() && !parts.is_empty() {
            let sum: Vec<u8> = parts.into_iter().flatten().copied().collect();
            anyhow::ensure!(sum == fetched.body, "its parts are {} bytes, it is {}", sum.len(), fetched.body.len());
        }
        Ok((begin, end))
    }
}

/// Checks what playlists said of another rendition against what that one said itself (4.4.5.4); `uri` is the other one's name.
pub fn reports(of: &Followed, uri: &str, other: &Followed) -> Vec<String> {
    let mut faults = Vec::new();
    let place = |newest: Option<(u64, Option<u64>)>| newest.map(|(msn, part)| (msn, part.map_or(-1, |p| p as i64)));
    for look in &of.looks {
        let Some(report) = look.reports.iter().find(|r| r.uri == uri) else {
            faults.push(format!("a playlist says nothing of {uri}"));
            continue;
        };
        let said = (report.last_msn, report.last_part.map_or(-1, |p| p as i64));
        // What is reported is there for whoever asks after that.
        let later = other.looks.iter().find(|l| l.asked >= look.came).and_then(|l| place(l.newest));
        if let Some(later) = later.filter(|later| *later < said) {
            faults.push(format!("{uri} was reported at {said:?}, and was at {later:?} after that"));
        }
        // And it is as new as the playlist that says it: a part or so behind at most, for a playlist is made when its own part comes.
        let before = other.looks.iter().rfind(|l| l.came <= look.asked).and_then(|l| place(l.newest));
        let behind = before.is_some_and(|(msn, part)| msn > said.0 + 1 || (msn == said.0 && part > said.1 + 2));
        if behind {
            faults.push(format!("{uri} was reported at {said:?}, and was at {before:?} before that"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::stale;

    #[test]
    fn case_31_answers_by_number_that_are_kept_for_too_long_are_caught() {
        for (cache_control, part, holds) in [
            ("public, max-age=0, s-maxage=12", Some(3), true),
            ("public, max-age=0, s-maxage=12", None, true),
            ("public, max-age=0, s-maxage=1", Some(0), true),
            ("public, max-age=0, s-maxage=12", Some(0), false),
            ("public, max-age=12", Some(3), false),
            ("public, max-age=1", Some(3), false),
            ("no-store", Some(3), false),
            ("", Some(3), false),
        ] {
            assert_eq!(stale(cache_control, part).is_none(), holds, "{cache_control:?} for part {part:?}");
        }
    }
}
