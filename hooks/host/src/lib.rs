//! Runs operators' WebAssembly hooks: the host side of all worlds of `hooks/wit`.
//!
//! A module is checked and compiled ([`Runtime::compile`]; a server does it in a process of its own, [`compile_in_child`]), kept compiled
//! ([`ArtifactCache`]), loaded ([`Runtime::load`]), bound to configuration and limits ([`Hook`]), and called. Read on in `wit` (the contract),
//! `runtime` (the engine), `state` (one instance and its limits), `hook` (the calls), `host` (what a guest may ask), `answer` (what is checked
//! before anybody acts on an answer), `compile` and `inspect` (uploads), `json` and `trial` (events to try a hook with), `artifact`, `cache` and `child` (compiled code).
//!
//! Invariants:
//! - A guest has no file, socket, thread or clock, and never sees a secret.
//! - A call ends: by its CPU budget, of its thread's own CPU time, so that a busy machine kills no innocent call.
//! - Each call but those of a motion hook has an instance of its own. A failure concerns one call.
//! - What a guest can repeat is bounded: memory, stack, tables, what it hands over, logs, values, counters.
//! - Native code is loaded only if this program compiled it (`artifact`, the only place with `unsafe`).
#![deny(unsafe_code)]

mod answer;
mod artifact;
mod cache;
mod call;
mod child;
mod compile;
mod counters;
mod crypto;
mod hook;
mod host;
mod inspect;
pub mod json;
mod kv;
mod link;
mod logs;
mod module;
mod motion;
mod pack;
mod priority;
mod refused;
mod runtime;
mod settings;
mod state;
mod text;
mod ticker;
mod trial;
pub mod wit;
mod world;

pub use artifact::{Artifact, LoadError};
pub use cache::{ArtifactCache, Cached, OpenError, open, seal};
pub use call::{ASKS_TOO_OFTEN, Called, Failure};
pub use child::{COMMAND, compile_in_child, compiler_main};
pub use compile::{Compiled, Report};
pub use counters::{Counters, MAX_COUNTERS};
pub use crypto::{KeyError, PublicKey};
pub use hook::Hook;
pub use inspect::Form;
pub use kv::Kv;
pub use logs::{Level, Line, Logs};
pub use millstream_proto::secret::Secret;
pub use module::Module;
pub use motion::Motion;
pub use pack::{kind_of, pack};
pub use priority::run_aside;
pub use refused::Refused;
pub use runtime::{Capacity, Runtime, RuntimeError};
pub use settings::Settings;
pub use trial::{Trial, TrialCall};
pub use world::{Limits, MAX_MEMORY_BYTES, MAX_MODULE_BYTES, UnknownWorld, World};
