//! What is wrong with a stream: twelve conditions, judged by what its node measures each second and by what has happened to it, and told in a
//! sentence with what to do. Sans-IO: samples, events and times go in, conditions come out.
//!
//! Before it: the agent of a node, which looks at its streams each second and has their events; after it: the node's reports, and the API, which makes
//! [`said`] sentences of conditions. So a fleet's nodes judge their own streams, and control only shows what they found.
//!
//! Reading order: [`kind`] (which conditions there are), [`judge`] (one stream), [`hold`] (so that nothing flickers), [`publisher`], [`viewers`],
//! [`hooks`] and [`told`] (what the judgement is made of), [`streams`] (all streams of a node), [`words`] (sentences).
//!
//! Invariants: what is kept of a stream is bounded, and so is the number of streams that are kept without being on air; a clean stream has no condition
//! (`tests/clean.rs`).
#![forbid(unsafe_code)]

pub mod hold;
pub mod hooks;
pub mod judge;
pub mod kind;
pub mod publisher;
pub mod streams;
pub mod told;
pub mod viewers;
mod window;
pub mod words;

pub use hooks::{HookTrouble, Tally};
pub use judge::{Judge, Sample};
pub use kind::{Kind, Severity};
pub use streams::Streams;
pub use words::{Said, said};
