//! HTTP beside the meaning of requests. [`gate`] (which hosts and origins), [`extract`] (bodies, parameters, conditions), [`detach`]
//! (changes run to their end), [`once`]
//! (idempotency keys), [`problem`] (errors), [`page`] (cursors), [`serve`] (connections and their limits).
pub(crate) mod detach;
pub mod extract;
pub mod gate;
pub mod once;
pub mod page;
pub mod problem;
pub mod serve;
