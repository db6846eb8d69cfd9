//! Whoever pushes this node's streams on to other servers, as the agent sees it: it is asked how that goes wherever the agent tells of a stream.
//! Before it: the binary, which starts relays; after it: reports and answers to control.
use std::fmt;
use std::sync::Arc;

use millstream_control_protocol::live::{Live, Relay};

/// The relays of a stream, by its id.
pub type ShowRelays = Arc<dyn Fn(&str) -> Vec<Relay> + Send + Sync>;

/// Who knows of them, if somebody does.
#[derive(Clone, Default)]
pub(super) struct KnownRelays(pub(super) Option<ShowRelays>);

impl KnownRelays {
    /// Adds them to what is told of a stream.
    pub(super) fn add_to(&self, live: &mut Live) {
        if let Some(show) = &self.0 {
            live.relays = show(&live.id);
        }
    }
}

impl fmt::Debug for KnownRelays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "KnownRelays" } else { "KnownRelaysNone" })
    }
}
