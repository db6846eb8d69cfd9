//! The start of a rendition. Before it: [`super::Job`]; after it: its threads, [`super::encoder`] and [`super::pusher`].
use std::io;
use std::sync::Arc;

use super::running::{FEED_WEIGHT_MAX, Outlet, Running};
use super::shared::Shared;
use super::{encoder, pusher};
use crate::protocol::Rendition;
use crate::queue::queue;

/// Starts a rendition's threads.
pub(super) fn start(shared: &Arc<Shared>, rendition: &Rendition) -> io::Result<(Arc<Running>, Outlet)> {
    let running = Arc::new(Running::new(Arc::clone(shared), rendition));
    let (feed, pieces) = queue(FEED_WEIGHT_MAX);
    let (out, tags) = queue(pusher::TAGS_BYTES_MAX);
    pusher::start(Arc::clone(&running), tags)?;
    encoder::start(Arc::clone(&running), pieces, out)?;
    Ok((Arc::clone(&running), Outlet { running, feed }))
}
