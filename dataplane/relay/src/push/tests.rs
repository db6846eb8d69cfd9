//! When a target is tried again, and when one that takes nothing is given up: on a made-up clock, with targets at the other end of a pipe. Beside [`super`].
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use millstream_hub::subscriber::{Progress, Subscriber as _};
use millstream_proto::id::Id;
use millstream_proto::media::MediaEvent;
use millstream_proto::rtmp::{Event, Refusal, ServerConfig, ServerSession};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedSender, channel, unbounded_channel};
use tokio::task::JoinHandle;

use super::super::fixture::{GOP_FRAMES, OnAir, number};
use super::super::follower::Follower;
use super::super::link::QUEUE_BLOCKS;
use super::*;

/// What a pipe holds that nobody reads.
const PIPE_BYTES: usize = 8 << 10;
/// Between two frames of a stream.
const FRAME: Duration = Duration::from_millis(40);
/// Timers go off by the millisecond.
const TICK: Duration = Duration::from_millis(2);

/// A stream with one target.
struct Relayed {
    link: Arc<Link>,
    follower: Follower,
    /// Connections that are made, and when.
    dialled: UnboundedReceiver<(Instant, DuplexStream)>,
    running: JoinHandle<()>,
    _followers: UnboundedSender<Receiver<Piece>>,
}

/// Begins to push a stream on. Each connection is at once there, but for the first `unreachable`.
fn relayed(seed: u64, unreachable: u32) -> Relayed {
    let addresses = PushAddress::list("rtmp://target.example/live/key").unwrap();
    let address = addresses.into_iter().next().unwrap();
    let link = Arc::new(Link::new(address.to_string()));
    let (to, pieces) = channel(QUEUE_BLOCKS);
    let (followers, coming) = unbounded_channel();
    let (dials, dialled) = unbounded_channel();
    let left = AtomicU32::new(unreachable);
    let dial = move || -> Dialling {
        let (ours, theirs) = duplex(PIPE_BYTES);
        // A test that is over listens no more.
        let _ = dials.send((Instant::now(), theirs));
        let fails = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        Box::pin(async move {
            if fails {
                return Err(AskError::Connect("target.example".to_owned(), "refused".to_owned()));
            }
            Ok(Box::new(ours) as Box<dyn Connected>)
        })
    };
    let push = Push {
        stream: "cam".to_owned(),
        address,
        link: Arc::clone(&link),
        dial: Box::new(dial),
        stop: Stop::new(1, &Id::new("cam").unwrap()),
        pieces,
        followers: coming,
        alone_until: None,
    };
    let follower = Follower::new(Arc::clone(&link), to);
    Relayed { link, follower, dialled, running: tokio::spawn(push.run(seed)), _followers: followers }
}

impl Relayed {
    /// The next connection, and when it is made.
    async fn next(&mut self) -> (Instant, Target) {
        let (at, socket) = self.dialled.recv().await.expect("another connection");
        (at, Target { socket, session: ServerSession::new(Time::ZERO, ServerConfig::default()), seen: Vec::new() })
    }

    fn last_error(&self) -> String {
        self.link.shown().last_error.unwrap_or_default()
    }

    /// Waits until blocks are wanted for a connection.
    async fn on_air(&self) {
        while self.link.wanted().is_none() {
            sleep(TICK).await;
        }
    }
}

/// The other end of a connection.
struct Target {
    socket: DuplexStream,
    session: ServerSession,
    /// Numbers of the frames that have come.
    seen: Vec<u64>,
}

impl Target {
    /// Reads once; says whether it was asked to take a stream. Gives `None` where the relay has closed.
    async fn read(&mut self) -> Option<bool> {
        let mut buffer = [0; 4 << 10];
        let count = self.socket.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        self.session.handle_input(Time::ZERO, &buffer[..count]).expect("RTMP");
        let mut is_asked = false;
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::PublishRequested(_) => is_asked = true,
                Event::Media(MediaEvent::Frame(frame)) => self.seen.push(number(&frame.body)),
                _ => {}
            }
        }
        self.say().await;
        Some(is_asked)
    }

    async fn say(&mut self) {
        while let Some(bytes) = self.session.poll_output() {
            // A relay that has gone hears nothing.
            let _ = self.socket.write_all(&bytes).await;
        }
    }

    async fn is_asked(&mut self) {
        while !self.read().await.expect("a relay that asks") {}
    }

    async fn refuse(mut self, why: &str) {
        self.is_asked().await;
        self.session.reject(Time::ZERO, Refusal::Denied, why);
        self.say().await;
        // The relay goes before the target does.
        while self.read().await.is_some() {}
    }

    async fn accept(&mut self) {
        self.is_asked().await;
        self.session.accept(Time::ZERO).expect("RTMP");
        self.say().await;
    }
}

/// A wait that is doubled so often lies between a half and the whole of it.
fn is_doubled(wait: Duration, times: u32) -> bool {
    let (least, most) = RETRY;
    let whole = (least * 2_u32.pow(times)).min(most);
    (whole / 2..=whole + TICK).contains(&wait)
}

#[tokio::test(start_paused = true)]
async fn a_target_that_refuses_is_tried_again_after_twice_the_time_up_to_a_minute() {
    let mut relayed = relayed(7, 0);
    let mut stream = OnAir::new(100);
    stream.frame();
    relayed.follower.advance(stream.view());
    let mut waits = Vec::new();
    let (_, mut target) = relayed.next().await;
    for times in 0..10 {
        let begun = Instant::now();
        target.refuse("who are you?").await;
        let ended = Instant::now();
        assert!(ended - begun <= TICK, "it is not waited with");
        let (at, next) = relayed.next().await;
        target = next;
        waits.push(at - ended);
        assert!(is_doubled(at - ended, times), "{waits:?}");
        assert_eq!(relayed.last_error(), "the target refused the stream: NetStream.Publish.Denied who are you?");
        assert_eq!((relayed.link.shown().tries, relayed.link.wanted()), (u64::from(times) + 2, None));
    }
    assert!(waits[9] > Duration::from_secs(29), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_reached_waits_in_the_same_way_and_ends_with_the_stream() {
    let mut relayed = relayed(3, u32::MAX);
    let mut stream = OnAir::new(100);
    stream.frame();
    relayed.follower.advance(stream.view());
    let mut before = relayed.next().await.0;
    for times in 0..8 {
        let at = relayed.next().await.0;
        assert!(is_doubled(at - before, times), "{times}: {:?}", at - before);
        before = at;
    }
    assert_eq!(relayed.last_error(), "cannot connect to target.example: refused");
    assert_eq!((relayed.link.state(), relayed.link.shown().tries), (State::Waiting, 9));
    // It waits for half a minute at least, and not when the stream is over.
    let Relayed { follower, running, link, .. } = relayed;
    drop(follower);
    let begun = Instant::now();
    running.await.unwrap();
    assert!(begun.elapsed() <= NEW_FOLLOWER_WAIT + TICK, "{:?}", begun.elapsed());
    assert_eq!(link.wanted(), None);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_on_air_for_a_minute_is_tried_again_soon() {
    let mut relayed = relayed(5, 6);
    let mut stream = OnAir::new(100);
    stream.frame();
    relayed.follower.advance(stream.view());
    for _ in 0..6 {
        relayed.next().await;
    }
    let (_, mut target) = relayed.next().await;
    // A little less is not enough: it goes on where it was.
    for (holds, times) in [(GOOD * 59 / 60, 6), (GOOD * 61 / 60, 0), (TICK, 1)] {
        target.accept().await;
        relayed.on_air().await;
        sleep(holds).await;
        drop(target);
        let ended = Instant::now();
        let (at, next) = relayed.next().await;
        target = next;
        assert!(is_doubled(at - ended, times), "{holds:?}: {:?}", at - ended);
        assert_eq!((relayed.last_error().as_str(), relayed.link.wanted()), ("the target closed the connection", None));
    }
}

/// So many frames come at the rate of the stream.
async fn play(stream: &mut OnAir, frames: u64, to: &mut [&mut Relayed]) {
    for _ in 0..frames {
        stream.frame();
        for relayed in &mut *to {
            assert_ne!(relayed.follower.advance(stream.view()), Progress::Done);
        }
        sleep(FRAME).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_nothing_for_20_s_is_connected_to_anew_and_another_one_goes_on() {
    let (mut stalled, mut other) = (relayed(1, 0), relayed(2, 0));
    let mut stream = OnAir::new(20_000);
    play(&mut stream, 1, &mut [&mut stalled, &mut other]).await;
    let (mut target, mut reader) = (stalled.next().await.1, other.next().await.1);
    reader.accept().await;
    other.on_air().await;
    let reading = tokio::spawn(async move {
        while reader.read().await.is_some() {}
        reader.seen
    });
    target.accept().await;
    stalled.on_air().await;
    // It has said yes, and reads nothing from here on: what the pipe holds is the last that it takes.
    let begun = Instant::now();
    play(&mut stream, 490, &mut [&mut stalled, &mut other]).await;
    assert!(begun.elapsed() < STALL && stalled.dialled.try_recv().is_err(), "it has time");
    assert_eq!((stalled.link.state(), stalled.link.shown().sent_bytes < 20_000), (State::OnAir, true));
    play(&mut stream, 40, &mut [&mut stalled, &mut other]).await;
    let (at, mut next) = stalled.next().await;
    let (least, most) = (STALL + RETRY.0 / 2, STALL + RETRY.0 + 2 * FRAME);
    assert!((least..most).contains(&(at - begun)), "{:?}", at - begun);
    assert_eq!(stalled.last_error(), "the target took nothing for 20 s");
    assert_eq!((stalled.link.shown().tries, other.link.shown().tries), (2, 1));
    // The new connection begins where a decoder can.
    next.accept().await;
    stalled.on_air().await;
    let reading_anew = tokio::spawn(async move {
        while next.read().await.is_some() {}
        next.seen
    });
    play(&mut stream, 20, &mut [&mut stalled, &mut other]).await;
    for relayed in [stalled, other] {
        drop(relayed.follower);
        relayed.running.await.unwrap();
    }
    let anew = reading_anew.await.unwrap();
    assert!(anew.len() >= 20 && anew[0].is_multiple_of(GOP_FRAMES), "{anew:?}");
    assert_eq!((anew[anew.len() - 1], anew.len() as u64), (550, 551 - anew[0]), "nothing is missing behind that");
    assert_eq!(reading.await.unwrap(), (0..551).collect::<Vec<_>>(), "the other one has all");
    drop(target);
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_a_little_now_and_then_keeps_its_connection_and_misses_what_does_not_fit() {
    let mut relayed = relayed(1, 0);
    let mut stream = OnAir::new(50_000);
    play(&mut stream, 1, &mut [&mut relayed]).await;
    let mut target = relayed.next().await.1;
    target.accept().await;
    relayed.on_air().await;
    // A frame takes it minutes.
    for _ in 0..20 {
        play(&mut stream, 375, &mut [&mut relayed]).await;
        target.read().await.expect("a relay that goes on");
    }
    assert!(relayed.dialled.try_recv().is_err() && relayed.link.state() == State::OnAir, "{}", relayed.last_error());
    // From here on it takes all.
    let reading = tokio::spawn(async move {
        while target.read().await.is_some() {}
        target.seen
    });
    play(&mut stream, 50, &mut [&mut relayed]).await;
    let shown = relayed.link.shown();
    assert_eq!(shown.tries, 1);
    drop(relayed.follower);
    relayed.running.await.unwrap();
    // What waited for it is whole. Behind each loss it goes on with a keyframe, and at the end it has all of the last seconds.
    let seen = reading.await.unwrap();
    let losses: Vec<usize> = (1..seen.len()).filter(|at| seen[*at] != seen[at - 1] + 1).collect();
    assert!(seen[0] == 0 && losses.first() > Some(&QUEUE_BLOCKS) && losses.len() as u64 == shown.skips, "{seen:?}");
    assert!(losses.iter().all(|at| seen[*at].is_multiple_of(GOP_FRAMES)), "{seen:?}");
    let newest = &seen[losses[losses.len() - 1]..];
    assert!(newest.len() >= 50 && newest.last() == Some(&7_550), "{seen:?}");
}
