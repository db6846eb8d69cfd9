//! The samples of one track, kept compactly: an hour of them takes a few megabytes. Before it: [`super::build`], which decides which samples
//! are in the file; after it: [`super::moov`] and [`super::file`].

/// A sample on its way into the table. Times are in units of the track.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) dts: i64,
    pub(super) duration: u32,
    pub(super) composition: i32,
    pub(super) size: u32,
    pub(super) sync: bool,
    /// Where its bytes are: which object, and at which byte of it.
    pub(super) object: u32,
    pub(super) at: u64,
    /// Which span of the interleaving it belongs to.
    pub(super) slot: u64,
}

impl Entry {
    /// When it is presented, units; edits apart.
    pub(super) fn pts(&self) -> i64 {
        self.dts + i64::from(self.composition)
    }
}

/// A value, and how many samples in a row have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) samples: u32,
    pub(super) value: u32,
}

/// Values that come in runs.
#[derive(Debug, Default)]
pub(super) struct Runs(pub(super) Vec<Run>);

impl Runs {
    fn push(&mut self, value: u32) {
        match self.0.last_mut() {
            Some(run) if run.value == value => run.samples += 1,
            _ => self.0.push(Run { samples: 1, value }),
        }
    }
}

/// Bytes of an object that are copied as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) at: u64,
    pub(super) object: u32,
    pub(super) bytes: u32,
}

/// Samples of one track that stand together in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    pub(super) slot: u64,
    pub(super) samples: u32,
    pub(super) pieces: u32,
}

/// The newest sample: its duration is known for good when the next one is there.
#[derive(Clone, Copy, Debug)]
struct Newest {
    dts: i64,
    duration: u32,
}

/// A track's samples.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Those of all samples but the newest.
    durations: Runs,
    /// Presentation minus decode time, a signed number.
    pub(super) compositions: Runs,
    pub(super) sizes: Vec<u32>,
    /// Numbers of the samples where a decoder can start, from 1 on.
    pub(super) syncs: Vec<u32>,
    pub(super) pieces: Vec<Piece>,
    pub(super) chunks: Vec<Chunk>,
    pub(super) first_dts: i64,
    pub(super) first_pts: i64,
    /// The latest end of a sample.
    pub(super) end_pts: i64,
    pub(super) composition_min: i32,
    newest: Option<Newest>,
    pub(super) payload_bytes: u64,
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_none()
    }

    /// Forgets all samples, and keeps the memory for the next ones.
    pub(super) fn clear(&mut self) {
        self.durations.0.clear();
        self.compositions.0.clear();
        self.sizes.clear();
        self.syncs.clear();
        self.pieces.clear();
        self.chunks.clear();
        (self.newest, self.payload_bytes) = (None, 0);
    }

    /// Takes a sample, later than the one before it by no more than 32 bits can say: who calls has checked that.
    pub(super) fn push(&mut self, entry: &Entry) {
        let end_pts = entry.pts() + i64::from(entry.duration);
        match self.newest {
            None => {
                (self.first_dts, self.first_pts, self.end_pts) = (entry.dts, entry.pts(), end_pts);
                self.composition_min = entry.composition;
            }
            Some(newest) => {
                self.durations.push(u32::try_from(entry.dts - newest.dts).unwrap_or(u32::MAX));
                self.end_pts = self.end_pts.max(end_pts);
                self.composition_min = self.composition_min.min(entry.composition);
            }
        }
        self.newest = Some(Newest { dts: entry.dts, duration: entry.duration });
        self.compositions.push(entry.composition.cast_unsigned());
        self.sizes.push(entry.size);
        if entry.sync {
            self.syncs.push(self.sizes.len() as u32);
        }
        self.payload_bytes += u64::from(entry.size);
        match self.chunks.last_mut() {
            Some(chunk) if chunk.slot == entry.slot => chunk.samples += 1,
            _ => self.chunks.push(Chunk { slot: entry.slot, samples: 1, pieces: 0 }),
        }
        self.push_piece(entry);
    }

    fn push_piece(&mut self, entry: &Entry) {
        let Some(chunk) = self.chunks.last_mut() else { return };
        if let Some(last) = self.pieces.last_mut().filter(|_| chunk.pieces > 0) {
            let follows = last.object == entry.object && last.at + u64::from(last.bytes) == entry.at;
            if let Some(bytes) = last.bytes.checked_add(entry.size).filter(|_| follows) {
                last.bytes = bytes;
                return;
            }
        }
        if entry.size > 0 {
            self.pieces.push(Piece { at: entry.at, object: entry.object, bytes: entry.size });
            chunk.pieces += 1;
        }
    }

    /// Decode time of the newest sample.
    pub(super) fn newest_dts(&self) -> Option<i64> {
        self.newest.map(|newest| newest.dts)
    }

    /// How many runs of durations there are, at most.
    pub(super) fn durations_len(&self) -> usize {
        self.durations.0.len() + 1
    }

    /// How long each sample lasts, in runs.
    pub(super) fn durations(&self) -> Vec<Run> {
        let mut runs = Runs(Vec::with_capacity(self.durations_len()));
        runs.0.extend_from_slice(&self.durations.0);
        if let Some(newest) = self.newest {
            runs.push(newest.duration);
        }
        runs.0
    }

    /// All durations together.
    pub(super) fn media_units(&self) -> u64 {
        self.newest.map_or(0, |newest| (newest.dts - self.first_dts) as u64 + u64::from(newest.duration))
    }

    /// Memory that it has taken, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        use std::mem::size_of;
        (self.durations.0.capacity() + self.compositions.0.capacity()) * size_of::<Run>()
            + (self.sizes.capacity() + self.syncs.capacity()) * size_of::<u32>()
            + self.pieces.capacity() * size_of::<Piece>()
            + self.chunks.capacity() * size_of::<Chunk>()
    }
}
