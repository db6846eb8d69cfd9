//! The uploads of one recording, in order. Before it: [`super::Uploader`].
use std::collections::VecDeque;

use millstream_proto::time::Time;

use super::{Job, JobId, Missing, Moment, Request, What, timeout};
use crate::limits::UPLOADS_PER_RECORDING_MAX;
use crate::name::RecordingName;

/// An upload on its way.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) request: Request,
    /// It was put, and has to be looked at.
    pub(super) is_put: bool,
    /// Its job, and until when that may take.
    pub(super) job: Option<(JobId, Time)>,
    pub(super) tries: u32,
    pub(super) retry_at: Time,
    pub(super) failing_since: Option<Moment>,
    pub(super) error: Option<String>,
}

/// Those of a recording.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Media and headers.
    pub(super) objects: VecDeque<Upload>,
    /// Playlists and the summary.
    pub(super) texts: VecDeque<Upload>,
}

impl Upload {
    pub(super) fn new(request: Request) -> Self {
        Self { request, is_put: false, job: None, tries: 0, retry_at: Time::ZERO, failing_since: None, error: None }
    }

    /// Its next job is to look at it.
    const fn looks(&self) -> bool {
        self.is_put || self.request.look_first || self.request.content.is_none()
    }

    fn begin(&mut self, recording: &RecordingName, id: JobId, now: Time) -> (Job, What) {
        self.job = Some((id, now + timeout(self.request.sums)));
        let looks = self.looks();
        let Request { what, key, content, sums, kind, .. } = &self.request;
        let put = content.clone().filter(|_| !looks);
        (Job { id, recording: recording.clone(), key: key.clone(), put, sums: *sums, kind: *kind }, *what)
    }
}

impl Lane {
    pub(super) fn push(&mut self, request: Request) {
        match request.what {
            What::Object(..) | What::Init(..) | What::Movie(_) => self.objects.push_back(Upload::new(request)),
            _ => {
                let waiting =
                    self.texts.iter_mut().find(|text| text.request.what == request.what && text.job.is_none());
                match waiting {
                    Some(text) => (text.request, text.is_put) = (request, false),
                    None => self.texts.push_back(Upload::new(request)),
                }
            }
        }
    }

    /// Begins the next job that may begin.
    pub(super) fn begin(&mut self, recording: &RecordingName, id: JobId, now: Time) -> Option<(Job, What)> {
        if let Some(text) = self.texts.front_mut()
            && text.job.is_none()
            && text.retry_at <= now
        {
            return Some(text.begin(recording, id, now));
        }
        // In order: behind one that has to wait none begins, and none is put before those ahead of it were.
        let mut may_put = true;
        for upload in self.objects.iter_mut().take(UPLOADS_PER_RECORDING_MAX) {
            if upload.job.is_none() {
                let may_begin = upload.retry_at <= now && (may_put || upload.looks());
                return may_begin.then(|| upload.begin(recording, id, now));
            }
            may_put &= upload.is_put || !upload.request.look_first || upload.request.content.is_none();
        }
        None
    }

    pub(super) fn find(&mut self, id: JobId) -> Option<&mut Upload> {
        let mut all = self.texts.iter_mut().chain(&mut self.objects);
        all.find(|upload| upload.job.is_some_and(|(job, _)| job == id))
    }

    /// An object's upload that has no job.
    pub(super) fn waiting(&mut self, what: What) -> Option<&mut Upload> {
        self.objects.iter_mut().find(|upload| upload.request.what == what && upload.job.is_none())
    }

    /// Takes out an upload whose job has just been done.
    pub(super) fn remove(&mut self, id: JobId, what: What) {
        let is_it = |upload: &Upload| upload.request.what == what && upload.job.is_none_or(|(job, _)| job == id);
        for uploads in [&mut self.texts, &mut self.objects] {
            if let Some(at) = uploads.iter().position(is_it) {
                uploads.remove(at);
                return;
            }
        }
    }

    pub(super) fn is_late(&self, id: JobId, now: Time) -> bool {
        let mut jobs = self.texts.iter().chain(&self.objects).filter_map(|upload| upload.job);
        jobs.find(|(job, _)| *job == id).is_none_or(|(_, until)| now >= until)
    }

    /// Bytes of memory that it takes, with those of the texts.
    pub(super) fn memory_bytes(&self) -> usize {
        let of = |upload: &Upload| {
            let content = match &upload.request.content {
                Some(super::Content::Bytes(bytes)) => bytes.len(),
                _ => 0,
            };
            upload.request.key.capacity() + content + upload.error.as_ref().map_or(0, String::capacity)
        };
        (self.objects.capacity() + self.texts.capacity()) * size_of::<Upload>()
            + self.objects.iter().chain(&self.texts).map(of).sum::<usize>()
    }

    pub(super) fn missing(&self) -> Missing {
        let all = || self.texts.iter().chain(&self.objects);
        Missing {
            uploads: all().count(),
            bytes: all().map(|upload| upload.request.sums.bytes).sum(),
            failing_since: all().filter_map(|upload| upload.failing_since).min_by_key(|since| since.now),
            error: all().find_map(|upload| upload.error.clone()),
        }
    }
}
