//! Hooks as steps of the policy chain. Before it: what the agent has compiled of control's bindings; after it: a [`millstream_policy::Chain`]
//! that the engine's shards decide by.
//!
//! Reading order: [`bound`] (a binding in force), [`question`] and [`answer`] (the contract's types and the policy's), [`step`] (one binding as a
//! step of one shard), [`threads`] (decisions that do not run on a shard), [`chain`] (all of them). [`slots`], [`kept`] and [`pace`] are what a
//! step needs; [`numbers`] and [`failing`] (with [`blame`]) are what it counts, [`troubles`] whom they
//! turned away by stream, [`explain`] what it would say. [`hearing`] (with [`waiting`]) and [`post`] tell event hooks of [`notice`]s, [`ladder`] asks policy hooks. [`reach`] says for which streams a
//! binding counts. [`decision`], [`recorder`] (a [`ring`] that threads fill)
//! and [`replay`] are the record of what was decided, and how another version would have.
#![forbid(unsafe_code)]

pub mod answer;
mod blame;
pub mod bound;
pub mod chain;
pub mod decision;
pub mod explain;
pub mod failing;
pub mod hearing;
pub mod kept;
pub mod ladder;
pub mod notice;
pub mod numbers;
pub mod pace;
pub mod post;
pub mod question;
pub mod reach;
pub mod recorder;
pub mod redact;
pub mod replay;
pub mod ring;
pub mod slots;
pub mod step;
pub mod threads;
pub mod troubles;
mod waiting;

#[cfg(test)]
mod tests;
