//! What a proxy says of a connection before its client's first byte, on either port. Before it: [`super::Shard`] has seen that the
//! configuration expects it of that peer; after it: the protocol's own reader.
use std::time::Duration;

use millstream_proto::limits::PROXY_HEADER_BYTES_MAX;
use millstream_proto::proxy::{self, Source};

use super::context::ShardContext;
use super::events::Refused;
use super::session::Session;
use crate::close::CloseReason;
use crate::io::Reader;

/// Reads the header; gives what came behind it. The address that it names is the session's, and counts, unless it is that of a proxy which
/// names its clients with each request.
pub(crate) async fn introduce(
    shard: &ShardContext,
    session: &Session,
    reader: &Reader,
    protocol: &'static str,
    timeout: Duration,
) -> Result<Vec<u8>, CloseReason> {
    session.set_deadline(Some(shard.now() + timeout));
    let mut input = Vec::new();
    loop {
        match proxy::parse(&input) {
            Ok(proxy::Parsed::Complete { source, secure, header_bytes }) => {
                let peer = if let Source::Client(peer) = source { peer } else { session.peer() };
                tracing::debug!(parent: &session.span, ?source, secure, "introduced by a proxy");
                session.set_secure(secure);
                if protocol == "http" && shard.trusts(peer.ip()) {
                    session.comes_through(peer);
                } else {
                    session.comes_from(peer).inspect_err(|limit| {
                        shard.refused(&Refused::at_arrival(session.number, peer, protocol, *limit));
                    })?;
                }
                input.drain(..header_bytes);
                return Ok(input);
            }
            Ok(proxy::Parsed::Partial) => {}
            Err(error) => {
                shard.garbled(session, protocol, error.into(), &error.to_string());
                return Err(error.into());
            }
        }
        reader.readable().await.map_err(|_| CloseReason::PeerGone)?;
        let scratch = &mut *shard.scratch.borrow_mut();
        // A whole header always fits, so there is always room here.
        let room = scratch.get_mut(..PROXY_HEADER_BYTES_MAX.saturating_sub(input.len()).max(1)).unwrap_or_default();
        match reader.recv_now(room) {
            Ok(None) => {}
            Ok(Some(0)) if input.is_empty() => return Err(CloseReason::PeerClosed),
            Ok(Some(0)) => return Err(proxy::ProxyError::Short.into()),
            Ok(Some(count)) => input.extend_from_slice(room.get(..count).unwrap_or_default()),
            Err(_) => return Err(CloseReason::PeerGone),
        }
    }
}
