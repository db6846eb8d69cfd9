//! Recorded files when something is wrong: viewers that stall and leave, readers that are slow, hang, stop and fail. Nobody gets a wrong length, nothing
//! grows, and nobody else is held up.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use millstream_engine::config::{Config, IoChoice};
use millstream_engine::recorded::{Growth, RecordedConfig};
use millstream_hub::config::StreamConfig;

use crate::harness::{BOTH, Server, eventually};
use crate::recorded_harness::{Memory, Reader, Viewer, pattern, with_files};

const FILM: &str = "cam/mp4/2026/11/24/1795531265250.mp4";
const OTHER: &str = "cam/mp4/2026/11/24/1795531265251.mp4";

/// One film with this reader, and another with one that is well.
fn memory(bytes: usize, reader: Reader) -> Arc<Memory> {
    let (film, well) = (pattern(bytes), Reader::Reads(64 << 10));
    Arc::new(Memory::new().with(FILM, film, Growth::Closed, reader).with(OTHER, pattern(5_000), Growth::Closed, well))
}

fn served(io: IoChoice, files: &Arc<Memory>, wait: Duration, answers: usize) -> Server {
    let config = with_files(io, 1, Arc::clone(files) as _);
    let stream = StreamConfig { stall_close: Duration::from_secs(2), ..config.stream };
    let recorded = RecordedConfig { wait, answers, ..config.recorded };
    Server::start(Config { stream, recorded, ..config })
}

fn is_well(server: &Server) {
    let got = Viewer::connect(server.at.http).get(&format!("/{OTHER}"), "");
    assert!(got.status == 200 && got.body == pattern(5_000), "{}", got.head);
}

const LONG: Duration = Duration::from_mins(1);

#[test]
fn a_viewer_that_stalls_costs_little_and_is_closed() {
    for io in BOTH {
        let files = memory(64 << 20, Reader::Reads(64 << 10));
        let server = served(io, &files, LONG, 100);
        let mut viewer = Viewer::connect(server.at.http);
        socket2::SockRef::from(&viewer.socket).set_recv_buffer_size(64 << 10).unwrap();
        viewer.ask("GET", &format!("/{FILM}"), "");
        let sent = || files.seen.sent.load(Ordering::SeqCst);
        eventually("it is full", || sent() > 512 << 10);
        std::thread::sleep(Duration::from_millis(500));
        let full = sent();
        // What waits here, and what the kernel holds at both ends.
        assert!(full < 8 << 20, "{full}");
        std::thread::sleep(Duration::from_millis(500));
        assert!(sent() - full <= 256 << 10, "{} after {full}", sent());
        is_well(&server);
        eventually("it is closed", || server.metric("millstream_closed_total", "timeout") == 1);
        eventually("its reader hears of it", || files.seen.gone.load(Ordering::SeqCst) == 1);
        eventually("its place is free", || server.metric("millstream_recorded_answers", "") == 0);
    }
}

#[test]
fn a_slow_viewer_gets_all_of_it() {
    let files = memory(3_000_000, Reader::Reads(64 << 10));
    let server = served(IoChoice::Auto, &files, LONG, 100);
    let mut viewer = Viewer::connect(server.at.http);
    socket2::SockRef::from(&viewer.socket).set_recv_buffer_size(16 << 10).unwrap();
    viewer.ask("GET", &format!("/{FILM}"), "");
    let began = Instant::now();
    let mut all = Vec::new();
    let mut buf = vec![0; 60_000];
    while !all.ends_with(&pattern(3_000_000)[2_999_000..]) {
        match std::io::Read::read(&mut viewer.socket, &mut buf) {
            Ok(0) => panic!("closed after {} bytes", all.len()),
            Ok(count) => all.extend_from_slice(&buf[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
        std::thread::sleep(Duration::from_millis(40));
    }
    assert!(began.elapsed() > Duration::from_secs(2), "longer than a stall may last: {:?}", began.elapsed());
    assert!(all.ends_with(&pattern(3_000_000)));
}

#[test]
fn a_viewer_that_leaves_ends_the_reading() {
    for io in BOTH {
        let files = memory(64 << 20, Reader::Reads(64 << 10));
        let server = served(io, &files, LONG, 100);
        for _ in 0..10 {
            let mut viewer = Viewer::connect(server.at.http);
            viewer.ask("GET", &format!("/{FILM}"), "");
            let mut some = [0; 1_000];
            std::io::Read::read_exact(&mut viewer.socket, &mut some).unwrap();
            drop(viewer);
        }
        eventually("all readers hear of it", || files.seen.gone.load(Ordering::SeqCst) == 10);
        assert!(files.seen.sent.load(Ordering::SeqCst) < 10 * (8 << 20));
        eventually("all places are free", || server.metric("millstream_recorded_answers", "") == 0);
    }
}

#[test]
fn a_slow_reader_is_waited_for() {
    for io in BOTH {
        // Each piece in time, all of them longer than that.
        let files = memory(50_000, Reader::Slow(1_000, Duration::from_millis(20)));
        let server = served(io, &files, Duration::from_millis(500), 100);
        let mut viewer = Viewer::connect(server.at.http);
        let got = viewer.get(&format!("/{FILM}"), "");
        assert!(!got.cut && got.body == pattern(50_000));
        assert_eq!(viewer.get("/healthz", "").text(), "ok\n");
    }
}

#[test]
fn a_reader_that_fails_before_it_has_sent_anything_is_told_in_words() {
    for io in BOTH {
        for (reader, status, label) in [
            (Reader::HangsAtOnce, 503, "late"),
            (Reader::Hangs(0), 503, "late"),
            (Reader::Stops(0), 503, "short"),
            (Reader::Drops, 503, "short"),
            (Reader::Unavailable, 503, "unavailable"),
            (Reader::Denies, 403, "denied"),
        ] {
            let files = memory(50_000, reader);
            let server = served(io, &files, Duration::from_millis(300), 100);
            let mut viewer = Viewer::connect(server.at.http);
            let got = viewer.get(&format!("/{FILM}"), "");
            assert_eq!((got.status, got.cut), (status, false), "{reader:?}: {}", got.head);
            let retry_after = if reader == Reader::Unavailable { "7" } else { "1" };
            assert_eq!(got.header("Retry-After"), (status == 503).then_some(retry_after), "{reader:?}");
            assert_eq!(got.header("Cache-Control"), Some("no-store"));
            assert_eq!(viewer.get("/healthz", "").text(), "ok\n", "the connection goes on");
            assert_eq!(server.metric("millstream_recorded_refused_total", label), 1, "{reader:?}");
            is_well(&server);
        }
    }
}

#[test]
fn a_redirect_is_passed_on_as_it_is() {
    let files = memory(5_000, Reader::Redirects);
    let server = served(IoChoice::Auto, &files, LONG, 100);
    let got = Viewer::connect(server.at.http).get(&format!("/{FILM}"), "");
    assert_eq!((got.status, got.header("Cache-Control")), (302, Some("no-store")));
    assert_eq!(got.header("Location"), Some("https://bucket.example/a.mp4?X-Sig=a%2Fb"));
}

#[test]
fn a_file_that_comes_to_an_end_too_soon_ends_the_connection() {
    for io in BOTH {
        for (reader, label) in [(Reader::Stops(30_000), "short"), (Reader::Hangs(30_000), "late")] {
            let files = memory(50_000, reader);
            let server = served(io, &files, Duration::from_millis(300), 100);
            let mut viewer = Viewer::connect(server.at.http);
            let got = viewer.get(&format!("/{FILM}"), "");
            assert_eq!((got.status, got.header("Content-Length"), got.cut), (200, Some("50000"), true), "{reader:?}");
            assert!(got.body == pattern(50_000)[..got.body.len()], "no byte of anything else");
            assert_eq!(server.metric("millstream_recorded_refused_total", label), 1);
            eventually("it is counted", || server.metric("millstream_closed_total", "recorded_cut") == 1);
            is_well(&server);
        }
    }
}

#[test]
fn more_than_is_wanted_is_not_sent() {
    let files = memory(5_500, Reader::TooMuch);
    let server = served(IoChoice::Auto, &files, LONG, 100);
    let mut viewer = Viewer::connect(server.at.http);
    for _ in 0..3 {
        let got = viewer.get(&format!("/{FILM}"), "Range: bytes=0-2999\r\n");
        assert!(got.status == 206 && got.body == pattern(5_500)[..3_000]);
    }
    eventually("the reader is told", || files.seen.beyond.load(Ordering::SeqCst) == 3);
}

#[test]
fn a_panic_of_whoever_has_the_files_ends_one_session() {
    for io in BOTH {
        let files = memory(5_000, Reader::Panics);
        let server = served(io, &files, LONG, 100);
        let got = Viewer::connect(server.at.http).get(&format!("/{FILM}"), "");
        assert!(got.status == 0 && got.cut);
        is_well(&server);
        assert_eq!(server.metric("millstream_session_panics_total", ""), 1);
        eventually("its place is free", || server.metric("millstream_recorded_answers", "") == 0);
    }
}

#[test]
fn as_many_answers_as_may_are_under_way_and_readers_that_hang_count() {
    for io in BOTH {
        let files = memory(5_000, Reader::HangsAtOnce);
        let server = served(io, &files, Duration::from_millis(300), 5);
        let mut viewers: Vec<_> = (0..5).map(|_| Viewer::connect(server.at.http)).collect();
        for viewer in &mut viewers {
            viewer.ask("GET", &format!("/{FILM}"), "");
        }
        eventually("all hang", || server.metric("millstream_recorded_answers", "") == 5);
        let mut sixth = Viewer::connect(server.at.http);
        let got = sixth.get(&format!("/{OTHER}"), "");
        assert_eq!((got.status, got.header("Retry-After")), (503, Some("1")), "{}", got.text());
        assert!(got.text().contains("too many recorded files"));
        assert_eq!(server.metric("millstream_refused_total", "recorded_full"), 1);
        // Their viewers are told; what hangs is still there.
        assert!(viewers.iter_mut().all(|viewer| viewer.answer(false).status == 503));
        assert_eq!(server.metric("millstream_recorded_answers", ""), 5);
        assert_eq!(sixth.get(&format!("/{OTHER}"), "").status, 503);
        files.seen.released.store(true, Ordering::SeqCst);
        eventually("their places are free", || server.metric("millstream_recorded_answers", "") == 0);
        is_well(&server);
    }
}

#[test]
fn a_server_that_ends_waits_for_no_reader() {
    let files = memory(64 << 20, Reader::Slow(1_000, Duration::from_millis(100)));
    let server = served(IoChoice::Auto, &files, LONG, 100);
    let mut viewer = Viewer::connect(server.at.http);
    viewer.ask("GET", &format!("/{FILM}"), "");
    eventually("it is under way", || files.seen.sent.load(Ordering::SeqCst) > 0);
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(viewer.answer(false).cut);
    eventually("its reader hears of it", || files.seen.gone.load(Ordering::SeqCst) == 1);
}
