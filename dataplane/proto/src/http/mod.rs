//! HTTP/1 heads: how viewers ask and how they are answered. Before it in the pipeline: bytes of a viewer's connection; after it: the engine's
//! router, which knows what is at which path.
pub mod conditional;
pub mod file;
pub mod forwarded;
pub mod range;
pub mod request;
pub mod response;
pub mod target;
#[cfg(test)]
mod tests;
pub mod websocket;
