//! Whoever does something with this node's streams beside serving them, as the agent sees it: it is asked how that goes wherever the agent tells of a
//! stream. Before it: the binary, which starts relays and has streams watched for motion; after it: reports and answers to control.
use std::fmt;
use std::sync::Arc;

use millstream_control_protocol::live::Live;

/// Adds to what is told of a stream what it knows of it.
pub type AddToLive = Arc<dyn Fn(&mut Live) + Send + Sync>;

/// Who knows something of streams.
#[derive(Clone, Default)]
pub(super) struct Beside(pub(super) Vec<AddToLive>);

impl Beside {
    /// Adds what they know to what is told of a stream.
    pub(super) fn add_to(&self, live: &mut Live) {
        self.0.iter().for_each(|add| add(live));
    }
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Beside").field(&self.0.len()).finish()
    }
}
