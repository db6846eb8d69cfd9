//! The API through HTTP: a server in this process on a port of its own, a client that says every byte, nodes that are played here.
//!
//! [`harness`] starts it; `streams` (records, conditions, idempotency keys), `keys`, `videostream` (the original's API), `live` (what nodes
//! tell, and what they are told), `access` (tokens, roles, logins, hosts, origins), `hostile` (what a stranger may try), `document`
//! (OpenAPI), `mcp` (for assistants), `quality` (how streams play, previews), `recordings` (begun by hand, removed), `webhooks`, `hooks`, `hook_life`, `hook_trials`, `replays`, `slates`, `failures` (the store and the clock), `hangups` (clients that leave).
#[path = "api/access.rs"]
mod access;
#[path = "api/document.rs"]
mod document;
#[path = "api/failures.rs"]
mod failures;
#[path = "api/hangups.rs"]
mod hangups;
#[path = "api/harness.rs"]
mod harness;
#[path = "api/hook_life.rs"]
mod hook_life;
#[path = "api/hook_trials.rs"]
mod hook_trials;
#[path = "api/hooks.rs"]
mod hooks;
#[path = "api/hostile.rs"]
mod hostile;
#[path = "api/keys.rs"]
mod keys;
#[path = "api/live.rs"]
mod live;
#[path = "api/mcp.rs"]
mod mcp;
#[path = "api/quality.rs"]
mod quality;
#[path = "api/recordings.rs"]
mod recordings;
#[path = "api/replays.rs"]
mod replays;
#[path = "api/slates.rs"]
mod slates;
#[path = "api/streams.rs"]
mod streams;
#[path = "api/videostream.rs"]
mod videostream;
#[path = "api/webhooks.rs"]
mod webhooks;
