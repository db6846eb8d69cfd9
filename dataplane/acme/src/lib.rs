//! Certificates of an ACME authority (RFC 8555), ordered when there is none for the names that are wanted, and renewed before they end. Before it:
//! the configuration; after it: a [`Server`], which shows challenges to the authority and certificates to its clients.
//!
//! Reading order: [`schedule`] (when, without a clock or a socket), [`files`] (what is kept), [`client`] (how the authority is asked), [`order`]
//! (what it is asked), [`pending`] (what it may ask), [`renewal`] (the task that does all this).
mod client;
mod domain;
mod error;
pub mod files;
mod numbers;
mod order;
mod pending;
mod renewal;
mod schedule;

pub use domain::{Domain, DomainError, EmailError, check_email};
pub use error::OrderError;
pub use numbers::Numbers;
pub use order::{Config, Kind, Server};
pub use pending::{Pending, challenges};
pub use renewal::{Hurry, Renewal};
pub use schedule::Failed;

/// The directory that is asked where nothing else is said.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Names of one certificate at most: Let's Encrypt's limit.
pub const DOMAINS_MAX: usize = 100;
