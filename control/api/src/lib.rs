//! The control API: streams, their keys and what is live of them, over HTTP.
//!
//! Reading order: [`Api`] (in [`app`]: what every handler holds), [`routes`] (the handlers, one file per thing), [`streams`] (what is
//! done to a stream: store, then data plane, then audit log), `hooks` (the same for hooks and where they are bound), `slates`, `reconcile`
//! (changes that did not run to their end), [`model`] (what is
//! kept), [`auth`] (who may), [`events`] (what nodes tell: the event stream and the session history), [`outbox`] (what webhooks are to
//! get), [`http`] (bodies, conditions, errors, connections), [`openapi`] (the document), `mcp` (the same for assistants).
//!
//! Before it: an operator's browser or script; after it: [`millstream_store`] and, through [`millstream_fleet`], the nodes.
//! Nothing here is ever waited for by a shard, and a data plane goes on without it.
//!
//! Invariants: what is acknowledged is durable, and in the audit log; secrets are derived and never stored, and are in no answer but
//! those that are asked for them; whatever is refused is a [`http::problem::Problem`] that says what to do.
#![forbid(unsafe_code)]

mod app;
pub mod auth;
pub mod chain;
pub mod clock;
pub mod events;
mod fixed;
pub mod hooks;
pub mod http;
pub mod identity;
pub mod ids;
mod mcp;
pub mod model;
pub mod openapi;
pub mod outbox;
mod reconcile;
mod recordings;
pub mod routes;
mod slates;
pub mod streams;
pub mod tls;

pub use app::{Api, Here, Parts, StartError};
