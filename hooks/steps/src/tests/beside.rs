//! Event hooks and policy hooks that are functions: what waits, what is lost, what orders mean, whose renditions count.
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::live::{Live, Publisher, Video};
use millstream_control_protocol::state::Rendition;
use millstream_hooks::wit::{events, policy};
use millstream_proto::limits::RENDITIONS_MAX;

use super::*;
use crate::hearing::{Deed, Hearer, Hearing};
use crate::ladder::{Chooser, Choosing, choose, is_asked, source};
use crate::notice::notice;
use crate::post::Post;
use crate::waiting::{BATCH_MAX, WAITING_MAX};

type Told = Result<Vec<events::Order>, Failure>;

/// Hears, and answers what it is told to.
struct Hears<F>(F, Mutex<Vec<usize>>);

impl<F: Fn(&[events::Notice]) -> Told + Send + Sync> Hearer for Hears<F> {
    fn on_notices(&self, notices: &[events::Notice]) -> Called<Vec<events::Order>> {
        self.1.lock().unwrap().push(notices.len());
        Called { result: (self.0)(notices), cpu: Duration::from_micros(10) }
    }
}

fn hearing<F: Fn(&[events::Notice]) -> Told + Send + Sync + 'static>(
    rig: &Rig,
    binding: &Binding,
    hears: F,
) -> (Hearing, Arc<Hears<F>>) {
    let hears = Arc::new(Hears(hears, Mutex::default()));
    let numbers = rig.numbers.of(&binding.hook, binding.version);
    (Hearing::new(binding, Some(Arc::clone(&hears) as _), numbers).unwrap(), hears)
}

fn of_events(mode: Mode) -> Binding {
    Binding { kind: "events".to_owned(), point: "events".to_owned(), ..binding(1, mode) }
}

fn published(stream: &str, peer: &str) -> (Id, events::Notice, Option<std::net::IpAddr>) {
    let what = What::Publish { encoder: "enc".to_owned(), replaced_heard_ago_ms: None };
    let event = Event { stream: stream.to_owned(), peer: peer.to_owned(), what, ..Event::default() };
    let (notice, from) = notice(&event, "live").unwrap();
    (Id::new(stream).unwrap(), notice, from)
}

fn order(kind: &str, name: &str) -> events::Order {
    let detail = vec![types::Pair { name: "a".to_owned(), value: "b".to_owned() }];
    events::Order { kind: kind.to_owned(), app: "live".to_owned(), name: name.to_owned(), detail }
}

#[test]
fn notices_go_out_in_batches_and_the_oldest_are_lost_where_a_hook_lags() {
    let rig = Rig::new();
    let (hearing, hears) = hearing(&rig, &of_events(Mode::Live), |_| Ok(Vec::new()));
    let (stream, notice, from) = published("cam", "192.0.2.1:5");
    for number in 0..WAITING_MAX as u64 + 10 {
        assert!(hearing.note(&stream, &events::Notice { id: number, ..notice.clone() }, from));
    }
    let mut calls = 0;
    while hearing.deliver().is_some() {
        calls += 1;
    }
    let sizes = hears.1.lock().unwrap().clone();
    assert!(calls >= WAITING_MAX / BATCH_MAX && sizes.iter().all(|size| *size <= BATCH_MAX), "{sizes:?}");
    let told: usize = sizes.iter().sum();
    assert!(told <= WAITING_MAX && told > BATCH_MAX, "{told}");
    let of = |result: &str| {
        rig.text(&format!("millstream_hook_notices_total{{hook=\"hook-1\",version=\"1\",result=\"{result}\"}} "))
    };
    assert_eq!((of("told"), of("lost")), (told as u64, (WAITING_MAX + 10 - told) as u64));
    assert!(!hearing.has_news() && hearing.deliver().is_none());
}

#[test]
fn what_waits_goes_to_the_changed_binding_or_is_counted_as_lost() {
    let rig = Rig::new();
    let of = |result: &str| {
        rig.text(&format!("millstream_hook_notices_total{{hook=\"hook-1\",version=\"1\",result=\"{result}\"}} "))
    };
    let bound = |binding: &Binding| hearing(&rig, binding, |_| Ok(Vec::new()));
    let ((before, _), (after, heard)) = (bound(&of_events(Mode::Live)), bound(&of_events(Mode::Live)));
    let (stream, notice, from) = published("cam", "192.0.2.1:5");
    (0..3).for_each(|_| assert!(before.note(&stream, &notice, from)));
    after.take_over(&before);
    assert!(!before.has_news() && after.has_news());
    drop(before);
    after.deliver();
    assert_eq!((heard.1.lock().unwrap().clone(), of("told")), (vec![3], 3));
    // Of a binding that is for another stream now, and of one that is gone.
    after.note(&stream, &notice, from);
    let (other, _) = bound(&Binding { stream: Some("other".to_owned()), ..of_events(Mode::Live) });
    other.take_over(&after);
    assert!(!other.has_news());
    after.note(&stream, &notice, from);
    drop(after);
    assert_eq!(of("lost"), 2);
    // One that cannot be told yet takes nothing.
    let (before, _) = bound(&of_events(Mode::Live));
    before.note(&stream, &notice, from);
    let waits = Hearing::new(&of_events(Mode::Live), None, rig.numbers.of("hook-1", 1)).unwrap();
    waits.take_over(&before);
    assert!(before.has_news());
    // What was missed altogether is counted, too.
    waits.missed(5);
    drop((waits, before));
    assert_eq!(of("lost"), 8);
}

#[test]
fn a_hook_that_fails_loses_that_batch_and_each_address_in_it_is_blamed() {
    let rig = Rig::new();
    let fails = |_: &[events::Notice]| Err(Failure::Trap { cause: "unreachable".to_owned() });
    let (hearing, _) = hearing(&rig, &of_events(Mode::Live), fails);
    // Of one address; of two; of one beside what nobody brought about; of nobody.
    let one = vec!["192.0.2.1:5", "192.0.2.1:6"];
    for peers in [one, vec!["192.0.2.1:5", "192.0.2.2:5"], vec!["192.0.2.1:5", ""], vec!["", ""]] {
        for peer in peers {
            let (stream, notice, from) = published("cam", peer);
            hearing.note(&stream, &notice, from);
        }
        assert_eq!(hearing.deliver().unwrap().orders.len(), 0);
    }
    let lately = hearing.calls.lately(2);
    assert_eq!((lately.calls, lately.failures, lately.by_nobody), (4, 4, 1), "a batch is one failure");
    let worst = [("192.0.2.1".parse().unwrap(), 3), ("192.0.2.2".parse().unwrap(), 1)];
    assert_eq!(lately.worst, worst, "each address of the batch is blamed");
    assert_eq!(rig.text("millstream_hook_notices_total{hook=\"hook-1\",version=\"1\",result=\"failed\"} "), 8);
    assert_eq!(rig.text("millstream_hook_failures_total{hook=\"hook-1\",version=\"1\",cause=\"trap\"} "), 4);
}

#[test]
fn orders_are_followed_for_streams_of_the_binding_alone() {
    let rig = Rig::new();
    let orders = |_: &[events::Notice]| {
        let names = [("record-start", "cam"), ("record-stop", "cam"), ("marker", "cam"), ("dance", "cam")];
        let others = [("marker", "other"), ("marker", "cam/360p"), ("marker", "no such name!")];
        Ok(names.into_iter().chain(others).map(|(kind, name)| order(kind, name)).collect())
    };
    let of_cam = Binding { stream: Some("cam".to_owned()), ..of_events(Mode::Live) };
    let (hearing_of_cam, _) = hearing(&rig, &of_cam, orders);
    let (stream, told, from) = published("cam", "");
    assert!(hearing_of_cam.note(&stream, &told, from));
    assert!(!hearing_of_cam.note(&Id::new("other").unwrap(), &told, from), "of another stream");
    let delivered = hearing_of_cam.deliver().unwrap().orders;
    let deeds: Vec<_> = delivered.iter().map(|ordered| (ordered.stream.as_str(), ordered.deed.clone())).collect();
    let pairs = [("a".to_owned(), "b".to_owned())];
    let wanted = [Deed::Record(true), Deed::Record(false), Deed::Mark(pairs.into())];
    assert_eq!(deeds, wanted.map(|deed| ("cam", deed)));
    delivered[0].is_done(true);
    delivered[1].is_done(false);
    delivered[2].is_dropped();
    let of = |result: &str| {
        rig.text(&format!("millstream_hook_orders_total{{hook=\"hook-1\",version=\"1\",result=\"{result}\"}} "))
    };
    assert_eq!(["followed", "not_on_air", "dropped", "unknown", "other_stream"].map(of), [1, 3, 1, 1, 1]);
    // What a shadow orders is counted.
    let (shadow, _) = hearing(&rig, &of_events(Mode::Shadow), orders);
    shadow.note(&stream, &told, from);
    assert_eq!(shadow.deliver().unwrap().orders.len(), 0);
    assert_eq!(of("shadow"), 4);
    let large = |_: &[events::Notice]| {
        let mut order = order("marker", "cam");
        order.detail[0].value = "x".repeat(5_000);
        Ok(vec![order])
    };
    let (large, _) = hearing(&rig, &of_cam, large);
    large.note(&stream, &told, from);
    assert_eq!((large.deliver().unwrap().orders.len(), of("dropped")), (0, 2));
    let (mut idle, _) = hearing(&rig, &of_events(Mode::Live), orders);
    idle.hearer = None;
    assert!(!idle.note(&stream, &told, from));
    assert_eq!(rig.text("millstream_hook_notices_total{hook=\"hook-1\",version=\"1\",result=\"not_ready\"} "), 1);
    assert!(Hearing::new(&binding(1, Mode::Live), None, rig.numbers.of("hook-1", 1)).is_none());
}

#[test]
fn a_thread_delivers_while_somebody_is_bound() {
    let rig = Rig::new();
    let (sender, carried) = channel();
    let sender = Mutex::new(sender);
    let post = Post::new(Box::new(move |ordered| sender.lock().unwrap().send(ordered).unwrap()));
    let (stream, notice, from) = published("cam", "");
    post.tell(&stream, &notice, from);
    assert!(!post.wants(&stream));
    let marks = |notices: &[events::Notice]| {
        assert!(notices[0].id != 13, "a defect of this test's hook");
        Ok(vec![order("marker", "cam"); notices.len()])
    };
    let (bound, _) = hearing(&rig, &of_events(Mode::Live), marks);
    post.bind(vec![Arc::new(bound)]);
    // A panic is that batch's.
    post.tell(&stream, &events::Notice { id: 13, ..notice.clone() }, from);
    let began = Instant::now();
    while post.hearings()[0].has_news() {
        assert!(began.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..3 {
        post.tell(&stream, &notice, from);
    }
    for _ in 0..3 {
        assert_eq!(carried.recv_timeout(SOON).unwrap().stream, stream);
    }
    assert!(post.wants(&stream));
    post.bind(Vec::new());
    assert!(!post.wants(&stream));
    // The thread ends, and with it what it carried out orders with.
    drop(post);
    assert!(matches!(carried.recv_timeout(SOON), Err(RecvTimeoutError::Disconnected)));
}

#[test]
fn what_waits_behind_a_panic_is_told_without_another_event() {
    let rig = Rig::new();
    let (sender, carried) = channel();
    let sender = Mutex::new(sender);
    let post = Post::new(Box::new(move |ordered| sender.lock().unwrap().send(ordered).unwrap()));
    let (stream, notice, from) = published("cam", "");
    let marks = |notices: &[events::Notice]| {
        assert!(notices[0].id != 13, "a defect of this test's hook");
        Ok(vec![order("marker", "cam"); notices.len()])
    };
    let of_cam = Binding { stream: Some("cam".to_owned()), ..of_events(Mode::Live) };
    let (bound, _) = hearing(&rig, &of_cam, marks);
    assert!(bound.note(&stream, &events::Notice { id: 13, ..notice.clone() }, from));
    for _ in 0..BATCH_MAX {
        bound.note(&stream, &notice, from);
    }
    post.bind(vec![Arc::new(bound)]);
    assert!(post.wants(&stream) && !post.wants(&Id::new("other").unwrap()));
    // The last event: behind the batch that the hook fails with there are two.
    post.tell(&stream, &notice, from);
    for _ in 0..2 {
        assert_eq!(carried.recv_timeout(SOON).unwrap().stream, stream);
    }
}

/// Whatever a hook chooses can be.
fn any(_: &Rendition) -> bool {
    true
}

type Choice = Result<Vec<policy::Rendition>, Failure>;

struct Chooses<F>(F);

impl<F: Fn(&policy::Source) -> Choice + Send + Sync> Chooser for Chooses<F> {
    fn select_renditions(&self, source: &policy::Source) -> Called<Vec<policy::Rendition>> {
        Called { result: (self.0)(source), cpu: Duration::from_micros(10) }
    }
}

fn choosing(
    rig: &Rig,
    (number, mode): (u32, Mode),
    choice: impl Fn(&policy::Source) -> Choice + Send + Sync + 'static,
) -> Arc<Choosing> {
    let binding = Binding { kind: "policy".to_owned(), point: "renditions".to_owned(), ..binding(number, mode) };
    let chooser = Some(Arc::new(Chooses(choice)) as Arc<dyn Chooser>);
    Arc::new(Choosing::new(&binding, chooser, rig.numbers.of(&binding.hook, 1)).unwrap())
}

fn encoded(name: &str, (width, height): (u32, u32), codec: &str) -> policy::Rendition {
    let encode = policy::VideoEncode {
        codec: codec.to_owned(),
        width,
        height,
        fps_num: 0,
        fps_den: 1,
        kbps: 700,
        extra: Vec::new(),
    };
    policy::Rendition {
        name: name.to_owned(),
        picture: policy::Picture::Encode(encode),
        sound: policy::Sound::Copy,
        on_demand: true,
        extra: Vec::new(),
    }
}

fn live() -> Live {
    let video = Video {
        codec: "avc1.64001f".to_owned(),
        width: Some(1920),
        height: Some(1080),
        fps: 29.97,
        ..Video::default()
    };
    let publisher = Publisher { video: Some(video), bitrate_bps: 4_000_000, ..Publisher::default() };
    Live { id: "cam".to_owned(), publisher: Some(publisher), ..Live::default() }
}

#[test]
fn the_first_policy_that_decides_is_asked_and_what_cannot_be_made_is_said() {
    let rig = Rig::new();
    let cam = Id::new("cam").unwrap();
    let about = source(&live(), None, ("live", 12, true)).unwrap();
    assert_eq!((about.video.as_str(), about.width, about.fps_num, about.fps_den), ("h264", 1920, 29_970, 1_000));
    assert_eq!((about.kbps, about.load_percent, about.audio.as_str()), (4_000, 12, ""));
    let unmeasured = source(&live(), None, ("live", 250, false)).unwrap();
    assert_eq!((unmeasured.kbps, unmeasured.fps_num, unmeasured.fps_den, unmeasured.load_percent), (0, 0, 1, 100));
    let first = choosing(&rig, (1, Mode::Live), |_| {
        let mut sound = encoded("loud", (0, 360), "h264");
        sound.sound = policy::Sound::Drop;
        let mut copied = encoded("copied", (0, 360), "h264");
        copied.picture = policy::Picture::Copy;
        Ok(vec![
            encoded("720p", (0, 720), "h264"),
            policy::Rendition { on_demand: false, ..encoded("360p", (640, 0), "h264") },
            encoded("360p", (0, 200), "h264"),
            encoded("new", (0, 360), "vp9"),
            sound,
            copied,
        ])
    });
    let shadow = choosing(&rig, (2, Mode::Shadow), |_| Ok(vec![encoded("720p", (0, 720), "h264")]));
    let all = [Arc::clone(&first), Arc::clone(&shadow)];
    let chosen = choose(&all, &cam, &about, &[], any).unwrap();
    let rungs = chosen.rungs.unwrap();
    let made: Vec<_> =
        rungs.made.iter().map(|rung| (rung.name.as_str(), rung.width, rung.height, rung.always)).collect();
    assert_eq!((chosen.hook.as_str(), made), ("hook-1", vec![("360p", 640, 360, true), ("720p", 1280, 720, false)]));
    assert_eq!(rungs.left_out.len(), 4, "{:?}", rungs.left_out);
    let disagreements = || rig.text("millstream_hook_disagreements_total{hook=\"hook-2\",version=\"1\"} ");
    assert_eq!(disagreements(), 1);
    // Where nobody decides, a shadow is held against the record.
    let own = Rendition {
        name: "720p".to_owned(),
        width: 1280,
        height: 720,
        video_kbit_s: 700,
        codec: "h264".to_owned(),
        always: false,
    };
    assert_eq!(choose(&[Arc::clone(&shadow)], &cam, &about, &[own], any), None);
    assert_eq!((disagreements(), rig.text("millstream_hook_agreements_total{hook=\"hook-2\",version=\"1\"} ")), (1, 1));
    assert!(is_asked(&[shadow], &cam) && !is_asked(&[], &cam));
}

#[test]
fn what_cannot_be_takes_no_place_of_what_can() {
    let rig = Rig::new();
    let cam = Id::new("cam").unwrap();
    let about = source(&live(), None, ("live", 0, false)).unwrap();
    let many = choosing(&rig, (1, Mode::Live), |_| {
        let low = (1..=RENDITIONS_MAX as u32).map(|number| encoded(&format!("{number}p"), (2, 2 * number), "h264"));
        let high =
            (1..=RENDITIONS_MAX as u32 + 1).map(|number| encoded(&format!("h{number}"), (0, 700 + number), "h264"));
        Ok(low.chain(high).collect())
    });
    let chosen = choose(&[many], &cam, &about, &[], |rung| rung.height > 16).unwrap().rungs.unwrap();
    let names: Vec<_> = chosen.made.iter().map(|rung| rung.name.as_str()).collect();
    assert_eq!(names, ["h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8"]);
    assert_eq!(chosen.left_out.len(), RENDITIONS_MAX + 1, "{:?}", chosen.left_out);
    assert!(
        chosen.left_out[0].starts_with("1p: its name") && chosen.left_out[8].starts_with("h9: a stream has at most 8")
    );
}

#[test]
fn where_a_policy_fails_the_next_one_is_not_asked() {
    let rig = Rig::new();
    let cam = Id::new("cam").unwrap();
    let about = source(&live(), None, ("live", 0, false)).unwrap();
    let first = choosing(&rig, (1, Mode::Live), |_| Err(Failure::OutOfTime { budget: Duration::from_millis(20) }));
    let next = choosing(&rig, (2, Mode::Live), |_| panic!("is not asked"));
    let chosen = choose(&[Arc::clone(&first), next], &cam, &about, &[], any).unwrap();
    assert!(chosen.rungs.unwrap_err().contains("20 ms"));
    let lately = first.calls.lately(2);
    assert_eq!((lately.failures, lately.by_nobody), (1, 1), "no client asked");
    let mut unready = Arc::into_inner(first).unwrap();
    unready.chooser = None;
    let chosen = choose(&[Arc::new(unready)], &cam, &about, &[], any).unwrap();
    assert!(chosen.rungs.unwrap_err().contains("not ready"));
    let unknown = Live { publisher: Some(Publisher::default()), ..live() };
    assert!(source(&unknown, None, ("live", 0, false)).is_none());
}
