//! Pictures that somebody asks for: one is taken for all who ask for it at once, and told to each. Sans-IO. Before it: [`super::workers`];
//! after it: [`super::process`].
use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_engine::renditions::NoPicture;
use millstream_proto::id::Id;
use millstream_worker::protocol::{Report, Why};
use tokio::sync::oneshot::Sender;

/// Another shard that asks within this time gets the same picture.
const SHARED: Duration = Duration::from_millis(500);
/// A picture that has not come after this time is no longer waited for.
const GIVEN_UP: Duration = Duration::from_secs(5);
/// Pictures that a worker is asked for at once: it takes no more.
const AT_ONCE: usize = 4;
/// Pictures that are waited for.
const PENDING_MAX: usize = 1_024;

/// What came of a picture.
pub(crate) type Picture = Result<Bytes, NoPicture>;

/// Who is told of a picture.
#[derive(Debug)]
pub(crate) enum Asker {
    /// A shard of the engine.
    Shard(usize),
    /// A task beside it.
    Task(Sender<Picture>),
}

/// Pictures that are wanted, or were taken just now.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    pending: HashMap<Id, Pending>,
    taken: HashMap<Id, (Instant, Picture)>,
    last_request: u64,
}

#[derive(Debug)]
struct Pending {
    since: Instant,
    /// The worker has been asked, with this number.
    request: Option<u64>,
    askers: Vec<Asker>,
}

impl Snapshots {
    /// Somebody wants a picture: one that is there, to be told to it, or `None` where it is told later.
    pub(crate) fn want(&mut self, asker: Asker, stream: &Id, now: Instant) -> Option<(Asker, Picture)> {
        self.taken.retain(|_, (at, _)| now.duration_since(*at) < SHARED);
        self.pending.retain(|_, pending| now.duration_since(pending.since) < GIVEN_UP);
        if let Some((_, picture)) = self.taken.get(stream) {
            return Some((asker, picture.clone()));
        }
        if let Some(pending) = self.pending.get_mut(stream) {
            pending.askers.push(asker);
            return None;
        }
        if self.pending.len() >= PENDING_MAX {
            return Some((asker, Err(NoPicture::Busy)));
        }
        self.pending.insert(stream.clone(), Pending { since: now, request: None, askers: vec![asker] });
        None
    }

    /// What a worker is to be asked: numbers of requests, and their streams.
    pub(crate) fn requests(&mut self) -> Vec<(u64, Id)> {
        let mut requests = Vec::new();
        let under_way = self.pending.values().filter(|pending| pending.request.is_some()).count();
        let room = AT_ONCE.saturating_sub(under_way);
        for (stream, pending) in self.pending.iter_mut().filter(|(_, pending)| pending.request.is_none()).take(room) {
            self.last_request += 1;
            pending.request = Some(self.last_request);
            requests.push((self.last_request, stream.clone()));
        }
        requests
    }

    /// The stream of a request.
    pub(crate) fn stream_of(&self, request: u64) -> Option<&Id> {
        self.pending.iter().find(|(_, pending)| pending.request == Some(request)).map(|(stream, _)| stream)
    }

    /// No worker is asked for a picture of this stream: gives who asked for it.
    pub(crate) fn give_up(&mut self, stream: &Id) -> Vec<Asker> {
        self.pending.remove(stream).map(|pending| pending.askers).unwrap_or_default()
    }

    /// The worker has ended: another one is asked for what it has not answered.
    pub(crate) fn forget_requests(&mut self) {
        self.pending.values_mut().for_each(|pending| pending.request = None);
    }

    /// What the worker answers; gives the picture, its stream, and who is to be told.
    pub(crate) fn heard(&mut self, report: &Report, payload: Bytes, now: Instant) -> Option<(Id, Vec<Asker>, Picture)> {
        let (number, picture) = match report {
            Report::Picture { request, .. } => (*request, Ok(payload)),
            Report::Failed { request, why, error } => {
                let text = error.clone().unwrap_or_else(|| "its pictures cannot be decoded".to_owned());
                let busy = matches!(why, Why::TooSlow | Why::Source | Why::Failed);
                (*request, Err(if busy { NoPicture::Busy } else { NoPicture::Undecodable(text) }))
            }
            _ => return None,
        };
        let stream = self.stream_of(number)?.clone();
        let Pending { askers, .. } = self.pending.remove(&stream)?;
        self.taken.insert(stream.clone(), (now, picture.clone()));
        Some((stream, askers, picture))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(request: u64) -> Report {
        Report::Picture { request, width: 2, height: 2, pts_ms: 0 }
    }

    fn want(snapshots: &mut Snapshots, shard: usize, stream: &Id, now: Instant) -> Option<Picture> {
        snapshots.want(Asker::Shard(shard), stream, now).map(|(_, picture)| picture)
    }

    #[test]
    fn one_picture_is_for_all_who_ask_at_once_and_no_request_is_lost_with_a_worker() {
        let (mut snapshots, now, cam) = (Snapshots::default(), Instant::now(), Id::new("cam").unwrap());
        assert_eq!(want(&mut snapshots, 0, &cam, now), None);
        assert_eq!(want(&mut snapshots, 1, &cam, now), None);
        assert_eq!(snapshots.requests(), [(1, cam.clone())]);
        assert_eq!(want(&mut snapshots, 2, &cam, now), None);
        assert!(snapshots.requests().is_empty(), "it is asked for already");
        snapshots.forget_requests();
        assert_eq!(snapshots.requests(), [(2, cam.clone())]);
        let jpeg = Bytes::from_static(b"jpeg");
        assert!(snapshots.heard(&picture(1), jpeg.clone(), now).is_none(), "of the worker before");
        let (stream, askers, taken) = snapshots.heard(&picture(2), jpeg.clone(), now).unwrap();
        let shards: Vec<_> = askers.iter().map(|asker| format!("{asker:?}")).collect();
        assert_eq!(
            (stream, shards.join(" "), taken),
            (cam.clone(), "Shard(0) Shard(1) Shard(2)".to_owned(), Ok(jpeg.clone()))
        );
        assert_eq!(want(&mut snapshots, 3, &cam, now + SHARED / 2), Some(Ok(jpeg)));
        assert_eq!(want(&mut snapshots, 3, &cam, now + SHARED), None);
        assert_eq!(snapshots.requests().len(), 1);
        let failed = Report::Failed { request: 3, why: Why::Unsupported, error: Some("HEVC".to_owned()) };
        let (_, _, none) = snapshots.heard(&failed, Bytes::new(), now + SHARED).unwrap();
        assert_eq!(none, Err(NoPicture::Undecodable("HEVC".to_owned())));
    }

    #[test]
    fn who_asks_for_a_picture_that_ended_a_worker_is_told_so_and_no_other_worker_is_asked() {
        let (mut snapshots, now, cam) = (Snapshots::default(), Instant::now(), Id::new("cam").unwrap());
        assert_eq!(want(&mut snapshots, 0, &cam, now), None);
        assert_eq!(want(&mut snapshots, 1, &cam, now), None);
        assert_eq!(snapshots.requests(), [(1, cam.clone())]);
        assert_eq!((snapshots.stream_of(1), snapshots.stream_of(2)), (Some(&cam), None));
        assert_eq!(snapshots.give_up(&cam).len(), 2);
        snapshots.forget_requests();
        assert!(snapshots.requests().is_empty());
    }

    #[test]
    fn what_does_not_come_makes_room() {
        let (mut snapshots, now) = (Snapshots::default(), Instant::now());
        let id = |n: usize| Id::new(&format!("cam-{n}")).unwrap();
        for n in 0..PENDING_MAX {
            assert_eq!(want(&mut snapshots, 0, &id(n), now), None);
        }
        assert_eq!(want(&mut snapshots, 0, &id(PENDING_MAX), now), Some(Err(NoPicture::Busy)));
        assert_eq!(want(&mut snapshots, 0, &id(PENDING_MAX), now + GIVEN_UP), None);
    }
}
