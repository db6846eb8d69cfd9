//! What a worker is told of what is wanted, as orders in short.
use super::*;

/// Where a text is drawn over all renditions.
struct Here(&'static str);

impl Places for Here {
    fn source(&self, stream: &Id) -> protocol::SecretUrl {
        protocol::SecretUrl::new(format!("http://h/{stream}/live.flv"))
    }

    fn push(&self, rendition: &Id) -> protocol::SecretUrl {
        protocol::SecretUrl::new(format!("rtmp://h/stream/{rendition}"))
    }

    fn marks(&self, _: &Id, _: Instant) -> Spoken {
        let text = protocol::Text { text: self.0.to_owned(), ..protocol::Text::default() };
        let text = (!self.0.is_empty()).then_some(text);
        Spoken { marks: protocol::Marks { text, image: None }, image: None }
    }
}

fn id(name: &str) -> Id {
    Id::new(name).unwrap()
}

fn rendition(height: u32) -> Rendition {
    let name = RenditionName::new(&format!("{height}p")).unwrap();
    Rendition {
        name,
        width_max: height * 16 / 9,
        height_max: height,
        video_kbit_s: height,
        codec: None,
        marked: false,
        always: false,
    }
}

/// Orders in short: `+1 cam 360p`, `=1 360p 480p`, `-1`.
fn said(told: &mut Told, wanted: &Wanted, now: Instant) -> Vec<String> {
    said_with(told, wanted, "", now)
}

/// The same with a text: `+1 cam 360p "x"`, `~1 "y"`.
fn said_with(told: &mut Told, wanted: &Wanted, text: &'static str, now: Instant) -> Vec<String> {
    let names = |renditions: &[protocol::Rendition]| {
        renditions.iter().fold(String::new(), |names, rendition| names + " " + &rendition.name)
    };
    let (orders, _) = told.orders(wanted, &Here(text), now);
    let quoted = |marks: protocol::Marks| marks.text.map(|text| format!(" {:?}", text.text)).unwrap_or_default();
    let short = |order: Order| match order {
        Order::Start { job, source, renditions, marks } => {
            let stream = source.expose().split('/').nth(3).unwrap_or_default().to_owned();
            format!("+{job} {stream}{}{}", names(&renditions), quoted(marks))
        }
        Order::Renditions { job, renditions } => format!("={job}{}", names(&renditions)),
        Order::Marks { job, marks } => format!("~{job}{}", quoted(marks)),
        Order::Stop { job } => format!("-{job}"),
        other => format!("{other:?}"),
    };
    orders.into_iter().map(|(order, _)| short(order)).collect()
}

fn ended(job: u64, rendition: Option<&str>, why: Why) -> Report {
    Report::Ended { job, rendition: rendition.map(str::to_owned), why, error: None }
}

#[test]
fn a_worker_is_told_what_is_wanted_and_each_change_once() {
    let (mut wanted, mut told, now) = (Wanted::new(), Told::default(), Instant::now());
    assert!(want(&mut wanted, &id("a"), &rendition(480)));
    assert!(!want(&mut wanted, &id("a"), &rendition(480)));
    assert_eq!(said(&mut told, &wanted, now), ["+1 a 480p"]);
    assert!(said(&mut told, &wanted, now).is_empty());
    want(&mut wanted, &id("a"), &rendition(360));
    want(&mut wanted, &id("b"), &rendition(360));
    assert_eq!(said(&mut told, &wanted, now), ["=1 360p 480p", "+2 b 360p"]);
    assert!(unwant(&mut wanted, &id("a"), &rendition(480).name));
    assert!(!unwant(&mut wanted, &id("a"), &rendition(480).name));
    assert!(!unwant(&mut wanted, &id("c"), &rendition(480).name));
    assert_eq!(said(&mut told, &wanted, now), ["=1 360p"]);
    unwant(&mut wanted, &id("a"), &rendition(360).name);
    assert_eq!(said(&mut told, &wanted, now), ["-1"]);
    // A worker that is started anew is told all of it.
    assert_eq!(said(&mut Told::default(), &wanted, now), ["+1 b 360p"]);
}

#[test]
fn marks_begin_with_a_job_and_change_without_its_end() {
    let (mut wanted, mut told, now) = (Wanted::new(), Told::default(), Instant::now());
    want(&mut wanted, &id("a"), &rendition(360));
    assert_eq!(said_with(&mut told, &wanted, "x", now), ["+1 a 360p \"x\""]);
    assert!(said_with(&mut told, &wanted, "x", now).is_empty());
    assert_eq!(said_with(&mut told, &wanted, "y", now), ["~1 \"y\""]);
    assert_eq!(said_with(&mut told, &wanted, "", now), ["~1"]);
    let marked = Report::Marked { job: 1, lacking: String::new(), error: None };
    assert_eq!(told.heard(&marked, now), Some(id("a")));
}

#[test]
fn a_rendition_with_another_rate_takes_the_place_of_the_one_before() {
    let (mut wanted, mut told, now) = (Wanted::new(), Told::default(), Instant::now());
    want(&mut wanted, &id("a"), &rendition(360));
    said(&mut told, &wanted, now);
    assert!(want(&mut wanted, &id("a"), &Rendition { video_kbit_s: 999, ..rendition(360) }));
    assert_eq!(said(&mut told, &wanted, now), ["=1 360p"]);
}

#[test]
fn what_ends_by_itself_is_tried_again_after_a_while_and_harms_nothing_else() {
    let (mut wanted, mut told, now) = (Wanted::new(), Told::default(), Instant::now());
    for (stream, height) in [("a", 360), ("a", 480), ("b", 360)] {
        want(&mut wanted, &id(stream), &rendition(height));
    }
    said(&mut told, &wanted, now);
    for (job, name) in [(1, "360p"), (1, "480p"), (1, "480p"), (2, "360p"), (9, "360p")] {
        told.heard(&Report::Started { job, rendition: name.to_owned(), width: 2, height: 2 }, now);
    }
    assert_eq!(told.started(), 3);
    let of = told.heard(&ended(1, Some("480p"), Why::TooSlow), now);
    assert_eq!((of.unwrap().as_str(), told.started()), ("a/480p", 2));
    assert!(said(&mut told, &wanted, now).is_empty(), "the worker knows that it has ended");
    let (_, look_at) = told.orders(&wanted, &Here(""), now);
    assert_eq!(look_at, Some(now + HOPELESS_WAIT));
    assert_eq!(said(&mut told, &wanted, now + HOPELESS_WAIT), ["=1 360p 480p"]);
    let now = now + HOPELESS_WAIT;
    assert_eq!(told.heard(&ended(2, None, Why::Gone), now), Some(id("b")));
    assert!(said(&mut told, &wanted, now).is_empty());
    assert_eq!(said(&mut told, &wanted, now + GONE_WAIT), ["+3 b 360p"]);
    assert_eq!(told.heard(&ended(2, None, Why::Gone), now), None, "of a job that is over");
    // Nobody asks for it while it waits: it is not begun.
    told.heard(&ended(3, None, Why::Failed), now + GONE_WAIT);
    unwant(&mut wanted, &id("b"), &rendition(360).name);
    assert!(said(&mut told, &wanted, now + FAILED_WAIT * 2).is_empty());
}

#[test]
fn renditions_that_the_machine_is_too_slow_for() {
    let (mut wanted, mut told, now) = (Wanted::new(), Told::default(), Instant::now());
    want(&mut wanted, &id("a"), &rendition(360));
    want(&mut wanted, &id("a"), &rendition(480));
    said(&mut told, &wanted, now);
    assert!(told.shed(&wanted, now).is_empty());
    told.heard(&ended(1, Some("480p"), Why::TooSlow), now);
    told.heard(&ended(1, Some("360p"), Why::Unsupported), now);
    let shed = BTreeMap::from([(id("a"), vec!["480p".to_owned()])]);
    assert_eq!(told.shed(&wanted, now), shed);
    // It is tried again, and is not made yet.
    let again = now + HOPELESS_WAIT;
    assert_eq!(said(&mut told, &wanted, again), ["=1 360p 480p"]);
    assert_eq!(told.shed(&wanted, again), shed);
    told.heard(&Report::Started { job: 1, rendition: "480p".to_owned(), width: 854, height: 480 }, again);
    assert!(told.shed(&wanted, again).is_empty());
    // Nobody asks for it any more.
    told.heard(&ended(1, Some("480p"), Why::TooSlow), again);
    unwant(&mut wanted, &id("a"), &rendition(480).name);
    assert!(told.shed(&wanted, again).is_empty());
}

#[test]
fn a_stream_that_ended_a_worker_is_told_to_the_next_one_when_its_time_is_over() {
    let now = Instant::now();
    let until = now + Duration::from_secs(20);
    let wanted = Wanted::from([(id("bad"), vec![rendition(360)]), (id("good"), vec![rendition(360)])]);
    let mut told = Told::without([(&id("bad"), until)].into_iter());
    assert_eq!(said(&mut told, &wanted, now), ["+1 good 360p"]);
    assert_eq!((told.stream_of(1), told.stream_of(2)), (Some(&id("good")), None));
    assert_eq!(told.orders(&wanted, &Here(""), now).1, Some(until), "there is more to say then");
    assert_eq!(said(&mut told, &wanted, until), ["+2 bad 360p"]);
    assert_eq!(told.stream_of(2), Some(&id("bad")));
}
