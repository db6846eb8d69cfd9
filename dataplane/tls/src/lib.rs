//! TLS for whoever has the sockets: certificates and their choice by name, and sessions that turn bytes into bytes. Nothing in here knows a
//! socket, a file or a thread. Before it: the binary reads the files; after it: `engine/io` keeps a [`Session`] beside each connection of a TLS
//! port, and the control port takes [`ServerTls::web`].
mod certificates;
mod challenges;
mod error;
mod kernel;
mod receiver;
mod records;
mod server;
mod session;
mod stranger;

#[cfg(test)]
mod tests;

pub use certificates::{Certificate, Certificates, PemFile, Problem};
pub use challenges::{CHALLENGES_MAX, Challenges};
pub use error::{CertificateError, ChallengeError, TlsError};
pub use kernel::{Cipher, KernelTls, NONCE_BYTES, SendKeys, Version, crypto_info};
pub use receiver::KEY_UPDATE_MESSAGE;
pub use records::{Records, whole};
pub use server::{Purpose, ServerTls, Tickets};
pub use session::Session;
pub use stranger::Stranger;
