//! A tiny low-latency HLS origin that misbehaves on purpose: frames only, twenty a second, parts of a quarter of a second, segments of one.
//! Each picture carries the time at which it was made, as the synthetic ones of the harness do.
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mp4_atom::{Encode as _, Mdat, Mfhd, Moof, Moov, Tfdt, Tfhd, Traf, Trak, Trun, TrunEntry};

/// Frames a second, in a part, and parts in a segment.
const RATE: u64 = 20;
const PER_PART: u64 = 5;
const PARTS: u64 = 4;
/// It has run for so many parts when it starts.
const BEFORE: u64 = 60;
const PART: Duration = Duration::from_millis(250);

/// What it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Behaviour {
    /// Serves.
    Good,
    /// A part comes a second late, once.
    LatePart,
    /// Parts are not there.
    NoParts,
    /// The playlists are something else.
    Garbage,
    /// The stream ends after a second.
    Ends,
    /// Every other part request is answered with other frames.
    Damage,
    /// The parts are no MP4.
    NotMp4,
    /// Each connection is closed after an answer.
    Closes,
}

/// A running one.
pub(crate) struct HlsServer {
    address: SocketAddr,
}

impl HlsServer {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Origin {
            behaviour,
            born: Instant::now().checked_sub(PART * BEFORE as u32).unwrap(),
            wall: SystemTime::now().checked_sub(PART * BEFORE as u32).unwrap(),
        };
        std::thread::spawn(move || {
            for (number, socket) in listener.incoming().flatten().enumerate() {
                std::thread::spawn(move || drop(origin.serve(&socket, number)));
            }
        });
        Self { address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[derive(Clone, Copy)]
struct Origin {
    behaviour: Behaviour,
    born: Instant,
    wall: SystemTime,
}

impl Origin {
    /// Parts that are finished.
    fn finished(&self) -> u64 {
        self.born.elapsed().as_millis() as u64 / PART.as_millis() as u64
    }

    fn wait_for(&self, part: u64) {
        let mut at = self.born + PART * (part as u32 + 1);
        if self.behaviour == Behaviour::LatePart && (BEFORE + 6..BEFORE + 10).contains(&part) {
            at += Duration::from_millis(1_200).saturating_sub(PART * (part - BEFORE - 6) as u32);
        }
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
    }

    fn serve(&self, socket: &TcpStream, number: usize) -> std::io::Result<()> {
        let mut lines = BufReader::new(socket).lines();
        loop {
            let Some(request) = lines.next().transpose()? else { return Ok(()) };
            while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
            let url = request.split(' ').nth(1).unwrap_or_default();
            let (path, query) = url.split_once('?').unwrap_or((url, ""));
            let name = path.rsplit('/').next().unwrap_or_default();
            let (status, body) = self.answer(name, query, number);
            write!(&*socket, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len())?;
            (&*socket).write_all(&body)?;
            if self.behaviour == Behaviour::Closes {
                return Ok(());
            }
        }
    }

    fn answer(&self, name: &str, query: &str, number: usize) -> (u16, Vec<u8>) {
        let asked =
            |key: &str| query.split('&').find_map(|p| p.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok());
        if self.behaviour == Behaviour::Garbage && name == "video.m3u8" {
            return (200, b"<html>It works!</html>".to_vec());
        }
        match name {
            "live.m3u8" => {
                (200, b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1.42c00d\"\nvideo.m3u8\n".to_vec())
            }
            "video.m3u8" => {
                if let (Some(msn), Some(part)) = (asked("_HLS_msn"), asked("_HLS_part")) {
                    self.wait_for(msn * PARTS + part);
                }
                (200, self.playlist().into_bytes())
            }
            "init.mp4" => {
                let mut trak = Trak::default();
                trak.mdia.mdhd.timescale = 1_000;
                let mut out = Vec::new();
                Moov { trak: vec![trak], ..Moov::default() }.encode(&mut out).unwrap();
                (200, out)
            }
            _ => match name.strip_prefix('p').and_then(|n| n.parse().ok()) {
                Some(_) if self.behaviour == Behaviour::NoParts => (404, Vec::new()),
                Some(_) if self.behaviour == Behaviour::NotMp4 => (200, b"no MP4 at all".to_vec()),
                Some(part) => {
                    self.wait_for(part);
                    (200, self.part(part, self.behaviour == Behaviour::Damage && number % 2 == 1))
                }
                // A whole segment: its parts.
                None => match name.strip_prefix('s').and_then(|n| n.parse::<u64>().ok()) {
                    Some(msn) => (200, (msn * PARTS..(msn + 1) * PARTS).flat_map(|n| self.part(n, false)).collect()),
                    None => (404, Vec::new()),
                },
            },
        }
    }

    fn playlist(&self) -> String {
        let mut finished = self.finished();
        if self.behaviour == Behaviour::LatePart && (BEFORE + 6..BEFORE + 10).contains(&finished) {
            finished = BEFORE + 6;
        }
        let first = finished / PARTS - 8;
        let mut text = format!(
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.75\n\
             #EXT-X-PART-INF:PART-TARGET=0.25\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-MAP:URI=\"init.mp4\"\n"
        );
        for part in first * PARTS..finished {
            let independent = if part.is_multiple_of(PARTS) { ",INDEPENDENT=YES" } else { "" };
            text = format!("{text}#EXT-X-PART:DURATION=0.25,URI=\"p{part}\"{independent}\n");
            if (part + 1).is_multiple_of(PARTS) {
                text = format!("{text}#EXTINF:1.0,\ns{}\n", part / PARTS);
            }
        }
        if self.behaviour == Behaviour::Ends && finished > BEFORE + 4 {
            return text + "#EXT-X-ENDLIST\n";
        }
        format!("{text}#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p{finished}\"\n")
    }

    fn part(&self, part: u64, damaged: bool) -> Vec<u8> {
        let step_ms = 1_000 / RATE;
        let pictures: Vec<Vec<u8>> = (0..PER_PART)
            .map(|n| {
                let number = part * PER_PART + n;
                let made = self.wall + Duration::from_millis(number * step_ms);
                let us = made.duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
                let mut picture = b"\0\0\0\x34\x06\x05\x30millstream-load1".to_vec();
                picture.extend_from_slice(format!("{us:016x}{number:016x}").as_bytes());
                picture.push(if damaged { 0x81 } else { 0x80 });
                picture
            })
            .collect();
        let entry = |(n, data): (usize, &Vec<u8>)| TrunEntry {
            duration: Some(step_ms as u32),
            size: Some(data.len() as u32),
            flags: Some(if n == 0 && part.is_multiple_of(PARTS) { 0x200_0000 } else { 0x101_0000 }),
            cts: None,
        };
        let entries: Vec<TrunEntry> = pictures.iter().enumerate().map(entry).collect();
        let traf = Traf {
            tfhd: Tfhd { track_id: 1, default_base_is_moof: true, ..Tfhd::default() },
            tfdt: Some(Tfdt { base_media_decode_time: part * PER_PART * step_ms }),
            trun: vec![Trun { data_offset: Some(0), samples: entries.into() }],
            ..Traf::default()
        };
        let mut out = Vec::new();
        Moof { mfhd: Mfhd { sequence_number: part as u32 }, traf: vec![traf] }.encode(&mut out).unwrap();
        Mdat { data: pictures.concat() }.encode(&mut out).unwrap();
        out
    }
}
