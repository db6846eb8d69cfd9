//! MP4 files of recordings: made one at a time of each recording, a few at a time of all, beside the disk's thread; uploaded from the spool's objects, and
//! recorded once the store has shown them. Before it: [`crate::recording::movies`], which says what is due; after it: [`super::storing`].
//!
//! A file is made once all that says where it ends is on the disk: what a crash leaves says the same. Until it is recorded, and that is on the disk, the
//! objects that it is made of stay. So it is made again after a crash, with the same bytes, and the store is asked first whether it has them.
use std::sync::Arc;

use super::making::{MovieJob, UnderWay};
use super::{EventKind, Recorder};
use crate::limits::{MOVIE_RETRY, MOVIES_AT_ONCE};
use crate::movie::copy::Built;
use crate::movie::make::MakeError;
use crate::name::{RecordingName, movie_key, movie_path};
use crate::recording::record::{MadeMovie, Record};
use crate::spool::disk::{Disk, DiskError};
use crate::store::Kind;
use crate::uploader::{Content, Moment, Request, What};

impl<D: Disk> Recorder<D> {
    /// MP4 files to be made now.
    pub fn movie_jobs(&mut self, moment: Moment) -> Vec<MovieJob> {
        let mut jobs = Vec::new();
        for (name, entry) in &mut self.entries {
            if self.movies_building >= MOVIES_AT_ONCE {
                break;
            }
            let making = &mut entry.making;
            // A record that waits for room may say that the file is made.
            if making.under_way.is_some() || !entry.late.is_empty() || moment.now < making.retry_at {
                continue;
            }
            let ledger = entry.recording.ledger();
            if ledger.whole_movies().is_none_or(|(first, _)| first > making.durable) {
                continue;
            }
            let Some(due) = ledger.due_movie() else { continue };
            making.under_way = Some(UnderWay { number: due.number, from_unix_ms: due.from_unix_ms, built: None });
            self.movies_building += 1;
            jobs.push(MovieJob { recording: name.clone(), due });
        }
        jobs
    }

    /// What came of a job.
    pub fn movie_built(&mut self, job: &MovieJob, result: Result<Built, MakeError>, moment: Moment) {
        self.movies_building = self.movies_building.saturating_sub(1);
        let (name, number) = (&job.recording, job.due.number);
        let Some(entry) = self.entries.get_mut(name) else { return };
        let Some(under_way) =
            entry.making.under_way.as_mut().filter(|movie| movie.number == number && movie.built.is_none())
        else {
            // The disk failed meanwhile, and the recording was read anew.
            return;
        };
        let path = movie_path(job.due.from_unix_ms);
        match result {
            Ok(Built { movie, sums }) => {
                if movie.left_out > 0 {
                    tracing::error!(recording = %name, file = path, segments = movie.left_out, "an MP4 file lacks segments that the spool no longer has");
                }
                let stream = &entry.recording.ledger().head().stream;
                let request = Request {
                    what: What::Movie(number),
                    key: movie_key(stream, job.due.from_unix_ms),
                    content: Some(Content::Movie(number)),
                    sums,
                    kind: Kind { content_type: "video/mp4", cache_control: super::storing::FOR_EVER },
                    look_first: true,
                };
                under_way.built = Some((Arc::new(movie), sums));
                self.uploader.push(name, request);
            }
            Err(MakeError::Unreadable(why)) => {
                tracing::warn!(recording = %name, file = path, why, "an MP4 file cannot be made now; it is tried again");
                entry.making.under_way = None;
                entry.making.retry_at = moment.now + MOVIE_RETRY;
            }
            Err(error) => {
                tracing::warn!(recording = %name, file = path, %error, "there is no MP4 file of a part of a recording");
                self.movie_made(name, MadeMovie { number, bytes: 0, duration_ms: 0 }, moment);
            }
        }
    }

    /// The store has a file.
    pub(super) fn movie_stored(&mut self, name: &RecordingName, number: u32, moment: Moment) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let Some(under_way) = entry.making.under_way.clone().filter(|movie| movie.number == number) else { return };
        let Some((movie, sums)) = under_way.built else { return };
        entry.is_listing_new = true;
        self.numbers.movies += 1;
        let (bytes, duration_ms, from_unix_ms) = (sums.bytes, movie.duration_ms(), under_way.from_unix_ms);
        self.tell(
            Some(name),
            EventKind::RecordingFile { path: movie_path(from_unix_ms), from_unix_ms, duration_ms, bytes },
            moment,
        );
        self.movie_made(name, MadeMovie { number, bytes, duration_ms }, moment);
    }

    /// Records that a file needs nothing more.
    fn movie_made(&mut self, name: &RecordingName, made: MadeMovie, moment: Moment) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.making.under_way = None;
        match entry.commit(&mut self.disk, &Record::Movie(made).into()) {
            Ok(bytes) => self.room.used_bytes += bytes,
            Err(DiskError::Full) => entry.put_off(vec![Record::Movie(made).into()]),
            Err(error) => self.disk_failed(name, &error, moment),
        }
    }

    /// A file's objects are no longer what they were: it is made anew.
    pub(super) fn movie_is_stale(&mut self, name: &RecordingName, number: u32, why: &str, moment: Moment) {
        tracing::warn!(recording = %name, number, why, "an MP4 file is made anew");
        self.uploader.give_up(name, What::Movie(number));
        let Some(entry) = self.entries.get_mut(name) else { return };
        if entry.making.under_way.as_ref().is_some_and(|movie| movie.number == number) {
            entry.making.under_way = None;
            entry.making.retry_at = moment.now + MOVIE_RETRY;
        }
    }
}
