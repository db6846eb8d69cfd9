//! HTTP as a client: to control, and to operators' servers. One request at a time on a connection that is made here, so that the
//! address that was checked is the address that is connected to; no redirects, no proxies, no cookies, and a limit to everything.
//!
//! hyper's connection and nothing above it: it is in the build already for the API, where reqwest would add forty crates for what is
//! not wanted here. Reading order: [`url`], [`guard`] (which addresses may be connected to), [`dial`] (a connection, for other protocols too), [`client`], [`kept`] (from message to message), `head`, [`tls`].
pub mod client;
pub mod dial;
pub mod guard;
mod head;
pub mod kept;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
pub mod tls;
pub mod url;
