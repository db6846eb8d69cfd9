//! Uploads as a store sees them: in order, looked at, tried for ever, and quick enough to catch up.
use super::*;

const KIND: Kind = Kind { content_type: "video/mp4", cache_control: "no-store" };

fn name(n: u64) -> RecordingName {
    RecordingName::new(n, "s").expect("a name")
}

fn object(number: u32, look_first: bool) -> Request {
    Request {
        what: What::Object(Track::Video, number),
        key: format!("video/{number}.mp4"),
        content: Some(Content::Object(Track::Video, number)),
        sums: Sums { bytes: 10, crc32: number },
        kind: KIND,
        look_first,
    }
}

fn text(body: &'static str) -> Request {
    let content = Some(Content::Bytes(Bytes::from_static(body.as_bytes())));
    Request {
        what: What::Index,
        key: "index.m3u8".to_owned(),
        content,
        sums: Sums::of(body.as_bytes()),
        kind: KIND,
        look_first: false,
    }
}

fn at(ms: u64) -> Moment {
    Moment { now: Time::from_millis(ms), unix_ms: ms }
}

/// Names of what is put (`+`) and looked at (`?`).
fn told(jobs: &[Job]) -> Vec<String> {
    jobs.iter().map(|job| format!("{}{}", if job.put.is_some() { '+' } else { '?' }, job.key)).collect()
}

#[test]
fn an_upload_is_stored_once_the_store_shows_its_length_and_checksum() {
    let mut uploader = Uploader::new();
    uploader.push(&name(1), object(1, false));
    let put = uploader.jobs(at(1));
    assert_eq!(told(&put), ["+video/1.mp4"]);
    assert_eq!(uploader.done(put[0].id, Outcome::Put, at(2)), None);
    let look = uploader.jobs(at(3));
    assert_eq!(told(&look), ["?video/1.mp4"]);
    // An object of 0 bytes after "success".
    let empty = Sums { bytes: 0, crc32: 0 };
    assert_eq!(uploader.done(look[0].id, Outcome::Found(Some(empty)), at(4)), None);
    assert!(uploader.missing(&name(1)).error.expect("an error").contains("has 10 bytes"));
    assert_eq!(told(&uploader.jobs(at(5))), [""; 0], "after a wait");
    let again = uploader.jobs(at(5_000));
    assert_eq!(told(&again), ["+video/1.mp4"]);
    uploader.done(again[0].id, Outcome::Put, at(5_001));
    let look = uploader.jobs(at(5_002));
    let stored = uploader.done(look[0].id, Outcome::Found(Some(look[0].sums)), at(5_003));
    assert_eq!(stored, Some(Finished::Stored(name(1), What::Object(Track::Video, 1))));
    assert_eq!(uploader.missing(&name(1)), Missing::default());
}

#[test]
fn objects_begin_in_order_a_few_at_a_time_and_wait_behind_one_that_fails() {
    let mut uploader = Uploader::new();
    (1..=9).for_each(|number| uploader.push(&name(1), object(number, false)));
    let jobs = uploader.jobs(at(1));
    assert_eq!(told(&jobs), ["+video/1.mp4", "+video/2.mp4", "+video/3.mp4", "+video/4.mp4"]);
    uploader.done(jobs[0].id, Outcome::Failed("503".to_owned()), at(2));
    jobs[1..].iter().for_each(|job| drop(uploader.done(job.id, Outcome::Put, at(2))));
    assert_eq!(told(&uploader.jobs(at(3))), [""; 0], "the first one waits, and so do all behind it");
    assert_eq!(told(&uploader.jobs(at(3_000))), ["+video/1.mp4", "?video/2.mp4", "?video/3.mp4", "?video/4.mp4"]);
}

#[test]
fn what_was_found_after_a_crash_is_looked_at_before_it_is_put() {
    let mut uploader = Uploader::new();
    uploader.push(&name(1), object(1, true));
    uploader.push(&name(1), object(2, true));
    let looks = uploader.jobs(at(1));
    assert_eq!(told(&looks), ["?video/1.mp4", "?video/2.mp4"]);
    // The second is not put before the first is known.
    uploader.done(looks[1].id, Outcome::Found(None), at(2));
    assert_eq!(told(&uploader.jobs(at(3))), [""; 0]);
    let stored = uploader.done(looks[0].id, Outcome::Found(Some(looks[0].sums)), at(4));
    assert_eq!(stored, Some(Finished::Stored(name(1), What::Object(Track::Video, 1))));
    assert_eq!(told(&uploader.jobs(at(5))), ["+video/2.mp4"]);
    // One that is no longer here can only be looked at.
    uploader.push(&name(2), Request { content: None, ..object(1, true) });
    let look = uploader.jobs(at(6));
    assert_eq!(told(&look), ["?video/1.mp4"]);
    assert!(matches!(uploader.done(look[0].id, Outcome::Found(None), at(7)), Some(Finished::Missing(..))));
}

#[test]
fn a_text_that_waits_is_replaced_by_a_newer_one() {
    let mut uploader = Uploader::new();
    uploader.push(&name(1), text("one"));
    let first = uploader.jobs(at(1));
    uploader.push(&name(1), text("two"));
    uploader.push(&name(1), text("three"));
    uploader.done(first[0].id, Outcome::Put, at(2));
    let look = uploader.jobs(at(3));
    assert!(uploader.done(look[0].id, Outcome::Found(Some(Sums::of(b"one"))), at(4)).is_some());
    let second = uploader.jobs(at(5));
    assert_eq!(second[0].put, Some(Content::Bytes(Bytes::from_static(b"three"))));
    uploader.done(second[0].id, Outcome::Put, at(6));
    let look = uploader.jobs(at(7));
    assert!(uploader.done(look[0].id, Outcome::Found(Some(Sums::of(b"three"))), at(8)).is_some());
    assert!(!uploader.has_texts(&name(1)));
}

#[test]
fn a_store_that_is_away_is_asked_by_one_upload_at_a_time_for_ever_and_told_since_when() {
    let mut uploader = Uploader::new();
    (1..=50).for_each(|n| uploader.push(&name(n), object(1, false)));
    let (mut ms, mut asked) = (0, 0);
    while ms < 3_600_000 {
        ms += 50;
        let jobs = uploader.jobs(at(ms));
        assert!(asked < 20 || jobs.len() <= 1);
        asked += jobs.len();
        for job in &jobs {
            drop(uploader.done(job.id, Outcome::Failed("503".to_owned()), at(ms)));
        }
    }
    assert!((100..400).contains(&asked), "{asked} requests in an hour");
    let failing: Vec<u64> = (1..=50).filter_map(|n| Some(uploader.missing(&name(n)).failing_since?.unix_ms)).collect();
    assert!(failing.contains(&50), "{failing:?}");
    // It is back: all of them are stored soon.
    let mut left = 50;
    while left > 0 {
        ms += 50;
        for job in uploader.jobs(at(ms)) {
            let outcome = if job.put.is_some() { Outcome::Put } else { Outcome::Found(Some(job.sums)) };
            left -= usize::from(uploader.done(job.id, outcome, at(ms)).is_some());
        }
        assert!(ms < 3_600_000 + 3 * 60_000, "{left} are left");
    }
}

#[test]
fn no_answer_counts_as_a_failure_and_the_job_is_cancelled() {
    let mut uploader = Uploader::new();
    uploader.push(&name(1), object(1, false));
    let jobs = uploader.jobs(at(1));
    assert_eq!(told(&uploader.jobs(at(59_000))), [""; 0]);
    uploader.jobs(at(61_000));
    assert_eq!(uploader.take_cancelled(), [jobs[0].id]);
    assert_eq!(uploader.done(jobs[0].id, Outcome::Put, at(61_001)), None, "too late");
    assert_eq!(told(&uploader.jobs(at(70_000))), ["+video/1.mp4"]);
}

#[test]
fn an_hour_of_two_hundred_recordings_is_caught_up_with_at_more_than_five_times_their_speed() {
    let mut uploader = Uploader::new();
    // Both tracks, a minute each: an object in half a minute.
    for n in 1..=200 {
        (1..=120).for_each(|number| uploader.push(&name(n), object(number, false)));
    }
    let (mut ms, mut running, mut left) = (0, Vec::new(), 200 * 120);
    while left > 0 {
        ms += 50;
        // Each request takes a tenth of a second.
        let (done, more): (Vec<_>, Vec<_>) = running.drain(..).partition(|(at_ms, _): &(u64, Job)| *at_ms + 100 <= ms);
        running = more;
        for (_, job) in done {
            let outcome = if job.put.is_some() { Outcome::Put } else { Outcome::Found(Some(job.sums)) };
            left -= usize::from(uploader.done(job.id, outcome, at(ms)).is_some());
        }
        running.extend(uploader.jobs(at(ms)).into_iter().map(|job| (ms, job)));
        assert!(running.len() <= UPLOADS_MAX);
    }
    assert!(ms <= 3_600_000 / 5, "{} s", ms / 1_000);
}
