//! Renditions of streams: which are wanted, told to whoever makes them. Before it: [`crate::shard`], which finds that somebody asks for one;
//! after it: a [`Transcoder`], whose worker reads the stream over HTTP-FLV and publishes the rendition over RTMP, both with a job's token.
use std::fmt;
use std::sync::Arc;

use millstream_hub::config::Rendition;
use millstream_proto::id::Id;
use millstream_proto::sign::job::{JOB_KEY_BYTES, JobKey};
use millstream_proto::watermark::Watermark;

/// Makes renditions. Called on a shard's thread: it may not wait.
pub trait Transcoder: Send + Sync {
    /// Somebody asks for a rendition of this stream, which is on air; it is to be published until [`Self::unwant`].
    fn want(&self, stream: &Id, rendition: &Rendition);
    /// What is drawn over all renditions of this stream from now on. Said before the first of them is wanted, and again whenever that is worth a look:
    /// mostly it is what it was.
    fn mark(&self, stream: &Id, watermark: Option<&Arc<Watermark>>);
    /// The rendition with this id is wanted no more.
    fn unwant(&self, rendition: &Id);
    /// A picture of this stream, which is on air, is to be taken, and told to that shard: [`crate::Remote::snapshot`].
    fn snapshot(&self, shard: usize, stream: &Id);
    /// Whether there is a [`Self::trouble`] with any rendition: asked first, since there seldom is.
    fn has_trouble(&self) -> bool {
        false
    }
    /// Why the rendition with this id would not be made now, if anybody asked for it.
    fn trouble(&self, rendition: &Id) -> Option<Trouble> {
        let _ = rendition;
        None
    }
}

/// Why a rendition is not made, although its stream is on air and has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// In one word: an open set.
    pub reason: &'static str,
    /// For viewers and operators, as a sentence's end, without secrets.
    pub text: String,
}

/// Why there is no picture of a stream.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoPicture {
    /// This server takes none.
    #[error("this server takes no pictures of streams: it was built without a decoder")]
    NotHere,
    /// It is not there in time.
    #[error("the picture was not there in time; try again in a moment")]
    Busy,
    /// None is taken for a while, and why.
    #[error("{0}")]
    LeftOut(String),
    /// The stream has none that can be decoded, and why.
    #[error("there is no picture of this stream: {0}")]
    Undecodable(String),
}

/// Who makes renditions.
#[derive(Clone)]
pub struct RenditionConfig {
    /// `None`: nobody; streams have none.
    pub transcoder: Option<Arc<dyn Transcoder>>,
    /// What jobs' tokens are checked with.
    pub jobs: Option<JobKey>,
}

impl RenditionConfig {
    /// Nobody does.
    pub const fn none() -> Self {
        Self { transcoder: None, jobs: None }
    }

    /// Made by this transcoder, whose jobs have tokens of this key.
    pub fn new(transcoder: Arc<dyn Transcoder>, key: [u8; JOB_KEY_BYTES]) -> Self {
        Self { transcoder: Some(transcoder), jobs: Some(JobKey::new(key)) }
    }

    /// Whether a token is that of a job that reads this stream or publishes this rendition.
    pub(crate) fn admits(&self, id: &Id, token: Option<&str>) -> bool {
        self.jobs.as_ref().zip(token).is_some_and(|(jobs, token)| jobs.admits(id, token))
    }
}

impl fmt::Debug for RenditionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RenditionConfig").field(&self.transcoder.is_some()).finish()
    }
}

/// The parameter of a job's addresses that holds its token.
pub const JOB_PARAM: &str = "job";
/// The one with which it reads the stream from as far back as players may ask for a rendition of it; without it, from the newest keyframe.
pub const BEHIND_PARAM: &str = "behind";
