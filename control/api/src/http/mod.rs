//! HTTP beside the meaning of requests. [`gate`] (which hosts and origins), [`extract`] (bodies, parameters, conditions), [`detach`]
//! (changes run to their end), [`once`]
//! and `marks` (idempotency keys), [`problem`] (errors), `words` (what is wrong with a body or a query), [`page`] (cursors), [`serve`] (connections), `places` (their limits), `wire` (whether they are read).
pub(crate) mod detach;
pub mod extract;
pub(crate) mod fresh;
pub mod gate;
pub(crate) mod marks;
pub mod once;
pub mod page;
mod places;
pub mod problem;
pub mod serve;
mod wire;
pub(crate) mod words;
