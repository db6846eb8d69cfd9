//! Who calls, and what they may do. [`caller`] (tokens and cookies to a caller with a role), [`login`] (a token for a cookie, with its
//! rate limit). A handler says what it needs in its arguments: [`Viewer`], [`Operator`] or [`Admin`].
pub mod caller;
pub mod login;
pub(crate) mod tries;
pub mod who;

pub use caller::{Admin, Operator, Viewer};
pub use who::Caller;
pub(crate) use who::ForAssistant;
