//! The crate from outside: a client of rustls in memory as the peer, and certificates made for each test.
mod certificates;
mod challenges;
mod fixture;
mod hostile;
mod kernel;
mod sessions;
mod strangers;
