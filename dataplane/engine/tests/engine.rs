//! The engine from outside: started in this process, driven over loopback with blocking sockets. `harness` is what the tests share:
//! servers, publishers, viewers. Each test starts its own engine on ports of its own.
#[path = "engine/admin.rs"]
mod admin;
#[path = "engine/admission.rs"]
mod admission;
#[path = "engine/drain.rs"]
mod drain;
#[path = "engine/encoders.rs"]
mod encoders;
#[path = "engine/harness.rs"]
mod harness;
#[path = "engine/hls.rs"]
mod hls;
#[path = "engine/http.rs"]
mod http;
#[path = "engine/http2.rs"]
mod http2;
#[path = "engine/http2_harness.rs"]
mod http2_harness;
#[path = "engine/limits.rs"]
mod limits;
#[path = "engine/nodes.rs"]
mod nodes;
#[path = "engine/outputs.rs"]
mod outputs;
#[path = "engine/play.rs"]
mod play;
#[path = "engine/playlists.rs"]
mod playlists;
#[path = "engine/policies.rs"]
mod policies;
#[path = "engine/proxy.rs"]
mod proxy;
#[path = "engine/recorded.rs"]
mod recorded;
#[path = "engine/recorded_faults.rs"]
mod recorded_faults;
#[path = "engine/recorded_harness.rs"]
mod recorded_harness;
#[path = "engine/renditions.rs"]
mod renditions;
#[path = "engine/shards.rs"]
mod shards;
#[path = "engine/subscribers.rs"]
mod subscribers;
#[path = "engine/tls.rs"]
mod tls;
#[path = "engine/websocket.rs"]
mod websocket;
