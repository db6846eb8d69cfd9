//! A player of HLS as a task: playlists with blocking reloads, parts and segments, over connections that are kept. Playlists are read by the reader
//! that all tests share; every file is the same for all who fetch it.
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use millstream_engine_simulated::io::{self, Line, Port, Stream, connect};
use millstream_proto::time::Time;
use millstream_test_support::hls::Fault;
use millstream_test_support::hls::history::History;
use millstream_test_support::hls::playlist::Media;
use millstream_test_support::random::Random;
use mp4_atom::{Decode as _, Moof};

use crate::audit::number;
use crate::http2;
use crate::media::{MARKS, is_slate, mark};
use crate::plan::{Gate, Mood, address, forwarded, introduction};
use crate::walk::{Walk, by, sleep_ms};

/// Longest wait for an answer: nothing is held longer than three target durations, each of which is short.
const ANSWER_WAIT: Duration = Duration::from_mins(1);

struct Player<'a> {
    walk: &'a Walk,
    number: usize,
    line: Line,
    stream: Option<Stream>,
    http2: Option<http2::Client>,
    connections: usize,
    input: BytesMut,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

pub(crate) async fn run(walk: &Rc<Walk>, number: usize, id: &'static str, mut random: Random) {
    let line = Line { latency_us: random.pick(&[50, 2_000, 40_000]), room: random.pick(&[1_000, 8_000, 128_000]) };
    let mut player = Player { walk, number, line, stream: None, http2: None, connections: 0, input: BytesMut::new() };
    let leaves_at = io::now() + Duration::from_millis(random.within(500, 12_000));
    let name = random.pick(&["video.m3u8", "video.m3u8", "audio.m3u8", "manifest.mpd"]);
    let mut follow = Follow {
        id,
        name,
        history: History::new(),
        fetched: Vec::new(),
        text: String::new(),
        connection: 0,
        last: None,
    };
    let (mut failures, query) = (0, Mood { gates: [Gate::Allow; 2], later_ms: 0 }.query(number, Port::Http));
    let (mut directives, mut ended) = (String::new(), None);
    while (io::now() < leaves_at || ended.is_some()) && failures < 4 {
        let answer = player.get(&format!("/{id}/{name}?{query}{directives}")).await;
        directives.clear();
        let Some(answer) = answer else {
            failures += 1;
            sleep_ms(300).await;
            continue;
        };
        if answer.status != 200 {
            assert!(answer.status >= 400, "{}", answer.status);
            if let Some((media, listed_at)) = ended {
                walk.saw("playlists gone", 1);
                sleep_ms(random.below(3_000)).await;
                return follow.all_of_it(&mut player, &media, listed_at).await;
            }
            failures += 1;
            sleep_ms(500).await;
            continue;
        }
        walk.saw("playlists", 1);
        let listed_at = io::now();
        let text = String::from_utf8(answer.body).expect("text");
        if name == "manifest.mpd" {
            assert!(text.trim_end().ends_with("</MPD>"), "{text}");
            sleep_ms(700).await;
            continue;
        }
        let media = follow.take(walk, player.connections, &text);
        for uri in follow.new_parts(&media) {
            if random.chance(300) {
                continue;
            }
            if let Some(answer) = player.get(&format!("/{id}/{uri}")).await {
                follow.part(walk, &uri, &answer, media.ended);
            }
        }
        if media.ended {
            walk.saw("playlists ended", 1);
            // Some look until it is gone.
            if random.chance(600) {
                sleep_ms(random.within(200, 900)).await;
                ended = Some((media, listed_at));
                continue;
            }
            return follow.all_of_it(&mut player, &media, listed_at).await;
        }
        match media.next() {
            Some((msn, Some(part))) if random.chance(700) => directives = format!("&_HLS_msn={msn}&_HLS_part={part}"),
            _ if random.chance(500) => {
                // The part that comes next, before it is there.
                if let Some(uri) = media.hinted_part()
                    && let Some(answer) = player.get(&format!("/{id}/{uri}")).await
                    && answer.status == 200
                {
                    walk.saw("parts waited for", 1);
                    follow.same_for_all(walk, uri, &answer.body);
                    marks(&answer.body);
                }
            }
            _ => sleep_ms(random.within(50, 900)).await,
        }
    }
}

struct Follow {
    id: &'static str,
    name: &'static str,
    history: History,
    fetched: Vec<String>,
    text: String,
    /// That it came over.
    connection: usize,
    /// The newest frame, and the part's place in the order of the playlist.
    last: Option<(String, u32)>,
}

impl Follow {
    fn take(&mut self, walk: &Walk, connection: usize, text: &str) -> Media {
        let media = Media::parse(text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
        let session = |text: &str| text.split("s/").nth(1).and_then(|rest| rest.split('/').next()).map(str::to_owned);
        if !self.text.is_empty() && session(text) != session(&self.text) {
            self.history.next_session();
            self.last = None;
        }
        let mut faults = self.history.take(&media);
        // Where memory is short, the window is, down to nothing for a moment.
        let is_short = walk.settings.hls.bytes_max < 1 << 20;
        let by_memory = |fault: &Fault| {
            fault.rule == "too short" || fault.rule == "goes back" && fault.what.ends_with("ends at None")
        };
        faults.retain(|fault| !(is_short && by_memory(fault)));
        // Another connection may lead to another shard, which is told a little later.
        let elsewhere = std::mem::replace(&mut self.connection, connection) != connection;
        let is_behind = |fault: &Fault| match fault.rule {
            "media sequence" | "goes back" | "changed part" | "hint" | "end is final" => true,
            "changed segment" => {
                fault.what.ends_with("is open again") || fault.what.ends_with("and is (None, None, None)")
            }
            _ => false,
        };
        faults.retain(|fault| !(elsewhere && is_behind(fault)));
        assert!(faults.is_empty(), "{}: {faults:?}\n{text}\nbefore: {}", self.name, self.text);
        assert_eq!(media.hinted_part().is_none(), media.ended, "{text}");
        text.clone_into(&mut self.text);
        media
    }

    fn new_parts(&mut self, media: &Media) -> Vec<String> {
        let all = media.segments.iter().flat_map(|segment| &segment.parts);
        let new: Vec<String> = all
            .filter(|part| !part.gap)
            .map(|part| part.uri.clone())
            .filter(|uri| !self.fetched.contains(uri))
            .collect();
        self.fetched.extend(new.iter().cloned());
        new
    }

    fn same_for_all(&self, walk: &Walk, uri: &str, body: &[u8]) {
        io::note_bytes(body);
        let hash = body.iter().fold(body.len() as u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(*byte));
        let known = *walk.files.borrow_mut().entry((self.id, uri.to_owned())).or_insert(hash);
        assert_eq!(known, hash, "{uri} is not the same for all");
    }

    fn part(&mut self, walk: &Walk, uri: &str, answer: &Answer, _ended: bool) {
        if answer.status != 200 {
            // It is too old by now, or its stream is over.
            return;
        }
        walk.saw("parts", 1);
        self.same_for_all(walk, uri, &answer.body);
        let marks = marks(&answer.body);
        assert!(marks.windows(2).all(|two| two[0] < two[1]), "{uri}: frames out of order: {marks:?}");
        if let (Some((before, last)), Some(first)) = (&self.last, marks.first()) {
            // Encoders follow each other in any order.
            assert!(
                first > last || first / MARKS != last / MARKS,
                "{uri} begins with frame {first}, and {before} ended with {last}"
            );
        }
        self.last = marks.last().map(|last| (uri.to_owned(), *last)).or(self.last.take());
    }

    /// What a playlist that is over lists can be fetched.
    async fn all_of_it(&self, player: &mut Player<'_>, media: &Media, listed_at: Time) {
        let there = media.segments.iter().filter(|segment| !segment.gap);
        for uri in there.filter_map(|segment| segment.uri.as_ref()) {
            // As long as the playlist is, and no longer, its files must be there (RFC 8216bis 6.2.2).
            if io::now() > listed_at + Duration::from_secs_f64(media.seconds()) {
                return;
            }
            let Some(answer) = player.get(&format!("/{}/{uri}", self.id)).await else { continue };
            // A server that ends, and a shard that had no room to be told, know nothing of it.
            let may_be_gone = player.walk.settings.drain_at.is_some() || audit_full(player.walk);
            assert!(
                answer.status == 200 || may_be_gone,
                "{uri} is listed at the end, and is answered {}",
                answer.status
            );
            if answer.status == 200 {
                player.walk.saw("files of ended streams", 1);
                self.same_for_all(player.walk, uri, &answer.body);
            }
        }
    }
}

fn audit_full(walk: &Walk) -> bool {
    number(walk, "millstream_mailbox_full_total") > 0
}

impl Player<'_> {
    /// Asks for a file; `None`: there is no whole answer.
    async fn get(&mut self, path: &str) -> Option<Answer> {
        if http2::is_spoken(self.number) {
            return self.get_by_http2(path).await;
        }
        #[expect(clippy::single_match_else, reason = "it connects where there is none")]
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                self.input.clear();
                self.connections += 1;
                let stream = connect(Port::Http, address(self.number), self.line).await.ok()?;
                stream.write(introduction(self.number).as_bytes()).await.ok()?;
                stream
            }
        };
        let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{}\r\n", forwarded(self.number));
        let until = io::now() + ANSWER_WAIT;
        let answer = by(until, self.exchange(&stream, &head)).await;
        let status = answer.as_ref().map(|answer| answer.as_ref().map(|(answer, _)| answer.status));
        io::say(&format!("player {} of port {}: {path}: {status:?}", self.number, stream.port()));
        let Some(answer) = answer else {
            // Where descriptors run out, it may never have been accepted.
            assert!(!self.walk.has_descriptors, "{path} is never answered");
            return None;
        };
        let (answer, keep) = answer?;
        if keep {
            self.stream = Some(stream);
        }
        Some(answer)
    }

    /// The same over HTTP/2.
    async fn get_by_http2(&mut self, path: &str) -> Option<Answer> {
        let client = if let Some(client) = self.http2.take() {
            client
        } else {
            self.connections += 1;
            http2::Client::open(address(self.number), self.line, 65_535).await?
        };
        let asking = async {
            let coming = client.ask(path).await?;
            Some(Answer { status: coming.status, body: http2::whole(coming.body).await? })
        };
        let answer = by(io::now() + ANSWER_WAIT, asking).await;
        io::say(&format!("player {} over HTTP/2: {path}: {:?}", self.number, answer.as_ref().map(Option::is_some)));
        let Some(answer) = answer else {
            assert!(!self.walk.has_descriptors, "{path} is never answered");
            return None;
        };
        if answer.is_some() {
            self.walk.saw("files over HTTP/2", 1);
            self.http2 = Some(client);
        }
        answer
    }

    async fn exchange(&mut self, stream: &Stream, head: &str) -> Option<(Answer, bool)> {
        stream.write(head.as_bytes()).await.ok()?;
        loop {
            if let Some(end) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.input[..end]).into_owned();
                let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let length: usize = field("Content-Length:").and_then(|n| n.parse().ok()).unwrap_or(0);
                if self.input.len() >= end + 4 + length {
                    let status = head.get(9..12).and_then(|digits| digits.parse().ok()).expect("a status");
                    let whole = self.input.split_to(end + 4 + length);
                    let keep = field("Connection:") != Some("close");
                    return Some((Answer { status, body: whole[end + 4..].to_vec() }, keep));
                }
            }
            let bytes = stream.read(64 << 10).await.ok()?;
            if bytes.is_empty() {
                return None;
            }
            self.input.extend_from_slice(&bytes);
        }
    }
}

/// The marks of a fragment's frames: each begins with its own. Those of a slate come again and again.
fn marks(fragment: &[u8]) -> Vec<u32> {
    let moof = Moof::decode(&mut &fragment[..]).expect("a fragment");
    let run = &moof.traf[0].trun[0];
    let mut at = usize::try_from(run.data_offset.expect("an offset")).expect("forwards");
    let mut marks = Vec::new();
    for entry in &run.samples {
        marks.extend(mark(&fragment[at..]).filter(|mark| !is_slate(*mark)));
        at += entry.size.expect("a size") as usize;
    }
    assert_eq!(at, fragment.len(), "all of the fragment is frames");
    marks
}
