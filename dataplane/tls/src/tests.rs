//! The crate from outside: a client of rustls in memory as the peer, and certificates made for each test.
mod certificates;
mod challenges;
mod hostile;
mod kernel;
mod kit;
mod sessions;
mod strangers;
