//! HTTP/2 (RFC 9113), a server's end: one connection without a socket. Before it: the plaintext of a viewer's connection; after it: the
//! engine's router, which gets the requests that HTTP/1 would have given it.
//!
//! Reading order: [`frame`] (what a connection is made of), [`hpack`] (headers as bytes), [`request`] (what a request may be),
//! [`HeadBlock`] (an answer's head, made once for many viewers), [`Connection`] (streams, windows, limits).
//!
//! # What goes out
//! [`Connection::poll_output`] gives control frames. Heads and bodies of answers are the caller's to write: [`Connection::respond`] and
//! [`Connection::data`] give the few bytes that go before a block or a piece of a body which others share, so that nothing is copied.
//!
//! - **Order.** What these three give goes to the peer in the order in which it was given, each frame in one piece, and SETTINGS, which a new connection
//!   has to say, before all else. So the caller takes `poll_output` before it first answers, and whenever it has called anything else.
//! - **Flow control.** `data` says how much of what there is may go now. Where that is not all, [`Event::Writable`] comes when there is
//!   room again. A viewer whose window stays empty is a slow viewer, whatever its socket takes.
//! - **Fairness** between streams is the caller's: `data` gives one frame of at most [`Limits::data_frame_bytes`], and who has several
//!   streams to serve gives each one frame in turn. `Writable` events come in turn, too.
//!
//! # Invariants
//! No input panics. What is held has a maximum: a frame, a header block, a peer's table (4 KiB), the streams, the events that wait
//! (nothing is read beyond), the bodies that wait (the connection's window) and the control frames. A connection that waits holds little more than
//! the table.
//!
//! There is no server push, no upgrade from HTTP/1.1 (a connection begins with the preface), no CONNECT and no WebSocket (RFC 8441).
mod connection;
mod error;
mod event;
mod flood;
pub mod frame;
mod head_block;
pub mod hpack;
mod limits;
pub mod request;
mod settings;
mod streams;
#[cfg(test)]
mod tests;
mod window;

pub use connection::{Connection, DataFrame, HeadersFrame};
pub use error::{ConnectionError, ErrorCode, SendError, StreamError};
pub use event::{Event, ResetReason};
pub use frame::{PREFACE, StreamId};
pub use head_block::{HeadBlock, HeadBlockError};
pub use limits::Limits;
pub use request::{Malformed, RequestHead};
