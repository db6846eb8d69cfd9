//! The store of the control plane: items by kind and key, written under conditions, read in pages.
//!
//! Reading order: [`item`] (what is kept and how a write says what it expects), [`Store`] (the one trait, in [`contract`]),
//! [`sqlite`] (the embedded default, a file in the data directory) and [`memory`] (nothing on disk: `demo` and tests). [`repeated`] keeps
//! what may happen with every call from filling the log.
//!
//! The trait has the shape of DynamoDB, so that a fleet's store can be another implementation: conditions by the item's version, transactions
//! over a few items that are named beforehand, pages by key, expiry as a hint that [`Store::purge`] acts on. What an item
//! means is its writer's business (`control/api/model`). `tests/contract.rs` is the suite that every implementation runs.
//!
//! Invariants: a write that was answered with success is durable; nothing is held that has no maximum ([`item`]); no secret is
//! stored, because secrets are derived from the master key and tokens are kept as digests.
#![forbid(unsafe_code)]

pub mod contract;
mod error;
pub mod item;
pub mod memory;
pub mod repeated;
pub mod sqlite;

pub use contract::{Answer, Room, Store};
pub use error::StoreError;
