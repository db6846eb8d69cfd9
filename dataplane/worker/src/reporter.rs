//! What the worker tells its node, from any thread. Before it: jobs and snapshots; after it: the thread that writes standard output.
use std::io::{self, Write};
use std::time::Duration;
use std::{sync::Arc, thread};

use bytes::Bytes;

use crate::crash::Output;
use crate::protocol::{Report, encode};
use crate::queue::{Popped, Receiver, Sender, queue};

/// Reports and pictures that wait for a node that reads nothing, bytes; what comes on top is not told.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// What a report counts as, beside its payload.
const REPORT_BYTES: usize = 512;
/// How long a thread waits for room.
const ROOM_WAIT: Duration = Duration::from_millis(100);

/// Tells the node.
#[derive(Clone, Debug)]
pub(crate) struct Reporter(Arc<Sender<(Report, Bytes)>>);

impl Reporter {
    /// Starts the thread that writes; it ends when the last reporter has gone and all is written, or when nobody reads.
    pub(crate) fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = queue(WAITING_BYTES_MAX);
        let mut output = Output(output);
        let write = move || {
            if let Err(error) = write_all(&receiver, &mut output) {
                tracing::warn!(%error, "the node does not read what it is told");
            }
        };
        thread::Builder::new().name("reports".to_owned()).spawn(write)?;
        Ok(Self(Arc::new(sender)))
    }

    /// Tells something.
    pub(crate) fn tell(&self, report: Report) {
        self.tell_with(report, Bytes::new());
    }

    /// Tells something with a payload.
    pub(crate) fn tell_with(&self, report: Report, payload: Bytes) {
        let weight = REPORT_BYTES + payload.len();
        if self.0.push((report, payload), weight, ROOM_WAIT).is_err() {
            tracing::warn!("a report was lost: the node does not read");
        }
    }
}

fn write_all(receiver: &Receiver<(Report, Bytes)>, output: &mut Output<impl Write>) -> io::Result<()> {
    loop {
        match receiver.pop(Duration::from_mins(1)) {
            Popped::Item((report, payload)) => {
                output.message(&encode(&report, &payload).map_err(io::Error::other)?)?;
            }
            Popped::Nothing => {}
            Popped::Closed => return Ok(()),
        }
    }
}
