//! The messages of the link. A node asks ([`Poll`]) and is answered when there is something to do ([`Push`]); beside that it tells
//! ([`Report`]) and is thanked ([`Receipt`]). A hook's module is fetched by its SHA-256: `GET /link/v1/hooks/{sha256}`, answered with its
//! bytes, and control's certificate likewise: see [`crate::tls`]. Within one process the same messages are passed by reference.
use serde::{Deserialize, Serialize};

use crate::diagnosis::Diagnosis;
use crate::event::Event;
use crate::hook_numbers::HookNumbers;
use crate::live::{Live, ViewerPage};
use crate::quality::Quality;
use crate::replay::{Recorded, Replay, Replayed, ShowRecorded};
use crate::state::{Binding, Stream, Version};
use crate::task::{Held, Task, TaskNews};
use crate::tls::FleetTls;

/// `POST /link/v1/poll`: a node has this state, and waits for news.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Poll {
    /// [`crate::PROTOCOL`].
    pub protocol: u32,
    /// Who asks.
    pub node: NodeId,
    /// The state that it has in force; `None`: none.
    pub have: Option<Version>,
    /// How long it wants to be kept waiting, milliseconds.
    pub wait_ms: u32,
    /// The state that it was sent and does not take, because control has another store: it is not to be sent again.
    pub refused: Option<Version>,
    /// The [`FleetTls`] that every shard of it shows, 0: none yet; `None`: it takes no certificate of control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<u64>,
}

/// Which node, and which run of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeId {
    /// Its name, unique in the fleet.
    pub name: String,
    /// Chosen when its process starts: session numbers and event numbers are of this run.
    pub run: u64,
}

/// The answer to a [`Poll`]: news, or nothing once the wait is over.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Push {
    /// [`crate::PROTOCOL`].
    pub protocol: u32,
    /// The state has changed.
    pub update: Option<Update>,
    /// To be done, in this order. A command that is pushed twice has the same number, and is done once.
    pub commands: Vec<Command>,
    /// Another certificate, or other challenges, than the node has said that it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<FleetTls>,
}

/// A newer state: all of it, or what changed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// The state that this leads to.
    pub version: Version,
    /// The state that this changes; `None`: nothing is kept of the one before.
    pub from: Option<Version>,
    /// See [`crate::state::State::key_check`].
    pub key_check: String,
    /// See [`crate::state::State::store`].
    pub store: String,
    /// Stores that an operator has put this one in the place of: a node that follows one of them follows this one from here on.
    pub stands_for: Vec<String>,
    /// Streams that are new or have changed.
    pub streams: Vec<Stream>,
    /// Streams that are no more.
    pub removed: Vec<String>,
    /// Bindings of hooks that are new or have changed. Each names the module that it needs.
    pub bindings: Vec<Binding>,
    /// Bindings that are no more, by id.
    pub unbound: Vec<String>,
    /// Tasks that are new or have changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Task>,
    /// Tasks that are no more, by id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settled: Vec<String>,
}

/// Something that a node is to do or to tell.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Command {
    /// What its [`Outcome`] names.
    pub number: u64,
    /// What.
    pub what: Order,
}

/// What a node is to do or to tell.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    /// End a session, whatever it does.
    KickSession {
        /// Its number.
        #[serde(default)]
        session: u64,
    },
    /// End a stream's sessions.
    KickStream {
        /// The stream's id.
        #[serde(default)]
        stream: String,
        /// Which of them.
        #[serde(default)]
        whom: Whom,
    },
    /// Tell what is live of one stream, now.
    Look {
        /// The stream's id.
        #[serde(default)]
        stream: String,
    },
    /// Tell who watches a stream, in the order of session numbers.
    Viewers {
        /// The stream's id.
        #[serde(default)]
        stream: String,
        /// Only those after this session number.
        #[serde(default)]
        after: u64,
        /// At most so many.
        #[serde(default)]
        limit: u32,
    },
    /// Tell how a stream plays, as players say.
    Quality {
        /// The stream's id.
        #[serde(default)]
        stream: String,
    },
    /// Tell what a hook has written to its log, oldest first.
    HookLogs {
        /// The hook's name.
        #[serde(default)]
        hook: String,
        /// Only lines from this number on; `None`: the newest ones.
        #[serde(default)]
        from: Option<u64>,
        /// Only lines of this version.
        #[serde(default)]
        version: Option<u64>,
        /// Only lines that are at least so important: `debug`, `info`, `warn` or `error`; an open set, in which an unknown word means all.
        #[serde(default)]
        level: String,
        /// At most so many.
        #[serde(default)]
        limit: u32,
    },
    /// Tell what is counted of a hook's versions that are bound.
    HookNumbers {
        /// The hook's name.
        #[serde(default)]
        hook: String,
    },
    /// Ask a hook what was asked and decided before, and tell where it would decide differently.
    Replay {
        /// Which hook, and how far.
        #[serde(default)]
        replay: Box<Replay>,
    },
    /// Show recorded decisions of a hook, without secrets.
    ShowRecorded {
        /// Which.
        #[serde(default)]
        wanted: ShowRecorded,
    },
    /// Tell how far a recording is.
    LookAtRecording {
        /// Its name.
        #[serde(default)]
        recording: String,
    },
    /// Something that a later version knows: answered with [`Answer::NotUnderstood`].
    #[default]
    #[serde(other)]
    Unknown,
}

/// Whose sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// The publisher's.
    Publisher,
    /// All viewers'.
    Viewers,
    /// Both; also for a word that a later version knows, since who orders more wants the stream gone.
    #[default]
    #[serde(other)]
    All,
}

/// What came of a command.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// The command's number.
    pub number: u64,
    /// What.
    pub answer: Answer,
}

/// What came of an order.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Answer {
    /// So many sessions are being ended.
    Kicked {
        /// How many; 0: there was none.
        #[serde(default)]
        sessions: u64,
    },
    /// A stream as it is now; `None`: it is not held here.
    Live {
        /// The stream.
        #[serde(default)]
        live: Option<Box<Live>>,
    },
    /// Some of a stream's viewers.
    Viewers {
        /// Which.
        #[serde(default)]
        page: ViewerPage,
    },
    /// How a stream plays.
    Quality {
        /// By protocol.
        #[serde(default)]
        quality: Vec<Quality>,
    },
    /// Some of what a hook has written to its log.
    HookLogs {
        /// The lines, oldest first.
        #[serde(default)]
        lines: Vec<HookLine>,
        /// The number behind the last line that was looked at: to go on from.
        #[serde(default)]
        next: u64,
        /// Lines that the hook wrote, and that were not kept because there were too many at once.
        #[serde(default)]
        dropped: u64,
    },
    /// What is counted of a hook's versions.
    HookNumbers {
        /// By version.
        #[serde(default)]
        versions: Vec<HookNumbers>,
    },
    /// What came of a replay.
    Replayed {
        /// What.
        #[serde(default)]
        replayed: Box<Replayed>,
    },
    /// Recorded decisions, oldest first.
    Recorded {
        /// Which.
        #[serde(default)]
        decisions: Vec<Recorded>,
    },
    /// How far a recording is.
    Recording {
        /// How far.
        #[serde(default)]
        held: Held,
    },
    /// The node did not find out in time, or failed to.
    Failed {
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// The node is of an older version and does not know the order; or the answer is of a later one.
    #[default]
    #[serde(other)]
    NotUnderstood,
}

/// A line of a hook's log. The text is the hook's: whoever shows it expects anything.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HookLine {
    /// Counts the hook's lines on the node since its start.
    pub number: u64,
    /// When it was written, Unix milliseconds.
    pub unix_ms: u64,
    /// The version that wrote it.
    pub version: u64,
    /// It runs beside the version that decides.
    pub shadow: bool,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// What it says, without control characters.
    pub text: String,
}

/// How often a binding's hook was called within the last minute, and failed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HookCalls {
    /// The binding's id.
    pub binding: String,
    /// Its generation: [`Binding::generation`].
    pub generation: u64,
    /// The version that was called.
    pub version: u64,
    /// Calls whose answer counted.
    pub calls: u64,
    /// Of them, those that failed by the hook's fault.
    pub failures: u64,
    /// Of the failures, those that no client's request brought about.
    pub by_nobody: u64,
    /// Whose requests failed, the addresses with the most failures first: at most [`HOOK_BLAME_MAX`]. Rather more are told of each than less: of a failure
    /// that any of several may have brought about, each is told. A node that does not tell addresses apart says nothing here.
    pub by_address: Vec<AddressFailures>,
}

/// Addresses that are told of a hook that fails.
pub const HOOK_BLAME_MAX: usize = 8;

/// Calls of a hook that failed for requests of one address.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AddressFailures {
    /// An IPv4 address, or the first one of an IPv6 /48.
    pub address: String,
    /// How many failed.
    pub failures: u64,
}

/// `POST /link/v1/report`: what a node has to tell. Sent every few seconds, and at once when something happened.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// [`crate::PROTOCOL`].
    pub protocol: u32,
    /// Who tells.
    pub node: NodeId,
    /// Which store's state it follows; empty where that is not known. Control with another store keeps no events: they are for that one.
    pub store: String,
    /// When, Unix milliseconds by the node's clock.
    pub at_unix_ms: u64,
    /// About the node itself.
    pub status: Status,
    /// Every stream that it holds; `None`: not told this time.
    #[serde(deserialize_with = "bounded::maybe")]
    pub live: Option<Vec<Live>>,
    /// What happened since the last report that was received, oldest first.
    #[serde(deserialize_with = "bounded::list")]
    pub events: Vec<Event>,
    /// What came of commands.
    #[serde(deserialize_with = "bounded::list")]
    pub outcomes: Vec<Outcome>,
    /// Bindings whose hooks failed within the last minute, by the hook's fault.
    #[serde(deserialize_with = "bounded::list", skip_serializing_if = "Vec::is_empty")]
    pub failing_hooks: Vec<HookCalls>,
    /// How far the node is with its tasks.
    #[serde(deserialize_with = "bounded::list", skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskNews>,
    /// What is wrong with which streams: those that something is wrong with, and no others; `None`: not told this time.
    #[serde(deserialize_with = "bounded::maybe", skip_serializing_if = "Option::is_none")]
    pub diagnoses: Option<Vec<Diagnosis>>,
}

/// Items of a list of a [`Report`]: an item may be two bytes on the wire and some hundred in memory.
pub const REPORT_LIST_MAX: usize = 65_536;

/// Lists that end somewhere.
mod bounded {
    use std::fmt;
    use std::marker::PhantomData;

    use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

    use super::REPORT_LIST_MAX;

    struct List<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {REPORT_LIST_MAX} items")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == REPORT_LIST_MAX {
                    return Err(A::Error::invalid_length(REPORT_LIST_MAX + 1, &self));
                }
                list.push(item);
            }
            Ok(list)
        }
    }

    pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
        from.deserialize_seq(List(PhantomData))
    }

    /// A list that may be null.
    struct Maybe<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Maybe<T> {
        type Value = Option<Vec<T>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list or null")
        }

        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
            list(from).map(Some)
        }
    }

    pub(super) fn maybe<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Vec<T>>, D::Error> {
        from.deserialize_option(Maybe(PhantomData))
    }
}

/// A node, about itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// The release that it runs.
    pub release: String,
    /// When its process started, Unix milliseconds.
    pub started_unix_ms: u64,
    /// Where it listens for RTMP.
    pub rtmp: String,
    /// Where it listens for HTTP.
    pub http: String,
    /// The server that encoders push to, as they reach it: `rtmp://host[:port]`; empty where a release did not say.
    pub rtmp_url: String,
    /// Where players ask, as they reach it: `http://host[:port]`; empty where a release did not say.
    pub http_url: String,
    /// The server that encoders push to over TLS: `rtmps://host[:port]`; empty where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rtmps_url: String,
    /// Where it takes workers of other machines: `tcp://HOST:PORT` or `tls://HOST:PORT`; empty: it takes none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub worker_url: String,
    /// It takes nothing new: it is about to end.
    pub draining: bool,
    /// Threads that own sockets and streams.
    pub shards: u32,
    /// Open connections.
    pub connections: u64,
    /// Sessions that publish.
    pub publishers: u64,
    /// Sessions that play.
    pub viewers: u64,
    /// The state that it has in force is number so and so of control's run; `None`: none yet.
    pub state_number: Option<u64>,
    /// The same, the run: see [`Version::epoch`].
    pub state_epoch: Option<u64>,
    /// Parts of that state that it could not take or does not act on, with reasons; the first few.
    #[serde(rename = "complaints")]
    pub warnings: Vec<String>,
    /// SHA-256 of each hook's module that it holds, in order.
    pub hooks: Vec<String>,
    /// Where it keeps recordings; empty: it has no recorder.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub record_store: String,
    /// Events that found no room since its start.
    pub events_lost: u64,
    /// What its worker does, the process that decodes and encodes; `None`: it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerLoad>,
}

/// What a node's worker does.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerLoad {
    /// Renditions that are made now.
    pub renditions: u64,
    /// Those that somebody asks for: more than are made while they begin, or where the machine is too slow.
    pub renditions_wanted: u64,
    /// Streams whose pictures are looked at for motion now.
    pub watched: u64,
    /// Pictures that are decoded for renditions, a second.
    pub decoded_fps: u64,
    /// From the arrival of a frame to the same frame of a rendition, milliseconds: the longest of the last seconds, of any rendition.
    pub behind_ms: u64,
    /// Renditions that the machine was too slow for, since the node's start.
    pub shed: u64,
    /// Workers that ended and were started again, since the node's start.
    pub restarts: u64,
    /// Codecs of streams of which it can make renditions and pictures: `h264`, and where an `ffmpeg` is found that decodes them `h264_any` (interlaced, more
    /// than 8 bits, other sampling than 4:2:0), `hevc` and `av1`. An open set.
    pub decodes: Vec<String>,
    /// What it makes renditions in: `h264`, `av1` where this program was built with it, and `hevc` where an `ffmpeg` with libx265 is found. An open set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encodes: Vec<String>,
    /// What renditions are encoded with: `openh264`, or `ffmpeg:` and the name of an encoder.
    pub encoder: String,
    /// Why no `ffmpeg` is used; empty: one is, or it is not known yet.
    pub no_ffmpeg: String,
    /// The worker of another machine that works for it; empty: none does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote: String,
    /// Cores that the worker may use, as it has measured when it began; 0: none has begun.
    #[serde(skip_serializing_if = "crate::state::is_zero")]
    pub cores: u64,
    /// Macroblocks (16x16 pixels) that it decodes a second by one core, as measured: 720p at 30 pictures a second has 108,000.
    #[serde(skip_serializing_if = "crate::state::is_zero")]
    pub decode_mb_s: u64,
    /// The same, scaled and encoded.
    #[serde(skip_serializing_if = "crate::state::is_zero")]
    pub encode_mb_s: u64,
}

/// The answer to a [`Report`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Receipt {
    /// [`crate::PROTOCOL`].
    pub protocol: u32,
    /// Events up to this number are kept by control: the node may forget them.
    pub events_through: u64,
}
