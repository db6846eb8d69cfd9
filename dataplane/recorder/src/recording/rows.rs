//! The segments of a track, eight bytes each, so that half a day of them is a few hundred KiB. Before it: [`super::ledger`]; after it: playlists.
//!
//! What changes seldom (object, header, run) stands beside them with the first row that it is for.

/// A segment as it is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Taken {
    /// `None` for a gap.
    pub(crate) object: Option<u32>,
    /// Where it begins in its object.
    pub(crate) offset: u64,
    pub(crate) init: u32,
    pub(crate) run: u32,
    pub(crate) date_unix_ms: u64,
    pub(crate) decode_time: Option<u64>,
    pub(crate) bytes: u32,
    pub(crate) duration_ms: u32,
    pub(crate) independent: bool,
}

/// A segment as it is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its object; `None` for a gap.
    pub object: Option<u32>,
    /// Where it begins in its object.
    pub offset: u64,
    /// Its length there; 0 for a gap.
    pub bytes: u32,
    /// Its length, milliseconds.
    pub duration_ms: u32,
    /// Number of its header; 0 for a gap.
    pub init: u32,
    /// Number of its run.
    pub run: u32,
    /// Its date, where that does not follow from the segment before it.
    pub date_unix_ms: Option<u64>,
    /// When it is decoded, in units of its header, where that does not follow from the segment before it and is known.
    pub decode_time: Option<u64>,
    /// Begins with a frame that can be decoded by itself.
    pub independent: bool,
}

const INDEPENDENT: u32 = 1 << 31;
const BYTES: u32 = (1 << 30) - 1;

#[derive(Clone, Copy, Debug)]
struct Row {
    /// And a flag.
    bytes: u32,
    duration_ms: u32,
}

/// From this row on.
#[derive(Clone, Copy, Debug)]
struct Mark<T> {
    row: u32,
    is: T,
}

/// A segment that does not follow from the one before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Anchor {
    run: u32,
    date_unix_ms: u64,
    decode_time: Option<u64>,
}

/// All segments of a track.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    list: Vec<Row>,
    /// `None` from a gap on.
    objects: Vec<Mark<Option<u32>>>,
    inits: Vec<Mark<u32>>,
    /// Rows of segments that do not begin where the one before them in their object ends: something between them is not known.
    jumps: Vec<Mark<u64>>,
    /// Where the newest segment ends, and in which object.
    end: Option<(u32, u64)>,
    /// Run, and what does not follow from the segment before.
    runs: Vec<Mark<Anchor>>,
    /// The date of the next segment, if it follows the last one.
    end_unix_ms: u64,
    total_ms: u64,
}

fn mark<T: PartialEq>(marks: &mut Vec<Mark<T>>, row: usize, is: T) {
    if marks.last().is_none_or(|last| last.is != is) {
        marks.push(Mark { row: row as u32, is });
    }
}

/// The mark in force at a row; rows are asked for in order.
fn at<T: Copy>(marks: &[Mark<T>], next: &mut usize, row: usize) -> Option<T> {
    while marks.get(*next).is_some_and(|mark| mark.row as usize <= row) {
        *next += 1;
    }
    marks.get(next.checked_sub(1)?).map(|mark| mark.is)
}

impl Rows {
    pub(crate) fn push(&mut self, taken: Taken) {
        let row = self.list.len();
        let follows = self.runs.last().is_some_and(|last| last.is.run == taken.run);
        if !follows || self.end_unix_ms != taken.date_unix_ms {
            let Taken { run, date_unix_ms, decode_time, .. } = taken;
            self.runs.push(Mark { row: row as u32, is: Anchor { run, date_unix_ms, decode_time } });
        }
        mark(&mut self.objects, row, taken.object);
        if let Some(object) = taken.object {
            mark(&mut self.inits, row, taken.init);
            let follows = self.end.filter(|(last, _)| *last == object).map_or(0, |(_, end)| end);
            if taken.offset != follows {
                self.jumps.push(Mark { row: row as u32, is: taken.offset });
            }
            self.end = Some((object, taken.offset.saturating_add(u64::from(taken.bytes.min(BYTES)))));
        }
        let flag = if taken.independent { INDEPENDENT } else { 0 };
        self.list.push(Row { bytes: taken.bytes.min(BYTES) | flag, duration_ms: taken.duration_ms });
        self.end_unix_ms = taken.date_unix_ms.saturating_add(u64::from(taken.duration_ms));
        self.total_ms += u64::from(taken.duration_ms);
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.list.capacity() * size_of::<Row>()
            + self.objects.capacity() * size_of::<Mark<Option<u32>>>()
            + self.inits.capacity() * size_of::<Mark<u32>>()
            + self.jumps.capacity() * size_of::<Mark<u64>>()
            + self.runs.capacity() * size_of::<Mark<Anchor>>()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) const fn end_unix_ms(&self) -> u64 {
        self.end_unix_ms
    }

    /// The newest run.
    pub(crate) fn run(&self) -> Option<u32> {
        self.runs.last().map(|mark| mark.is.run)
    }

    pub(crate) const fn total_ms(&self) -> u64 {
        self.total_ms
    }

    /// The segments in order; those that are not `there`, by object and offset, are gaps.
    pub(crate) fn iter(&self, there: impl Fn(u32, u64) -> bool) -> impl Iterator<Item = Segment> {
        let (mut objects, mut inits, mut jumps, mut runs) = (0, 0, 0, 0);
        let mut within: Option<(u32, u64)> = None;
        self.list.iter().enumerate().map(move |(row, kept)| {
            let object = at(&self.objects, &mut objects, row).flatten();
            let before = runs;
            let Anchor { run, date_unix_ms, decode_time } = at(&self.runs, &mut runs, row).unwrap_or_default();
            let init = at(&self.inits, &mut inits, row).unwrap_or_default();
            let bytes = kept.bytes & BYTES;
            let passed = jumps;
            let jump = at(&self.jumps, &mut jumps, row).filter(|_| jumps != passed);
            let offset = match (object, within) {
                _ if jump.is_some() => jump.unwrap_or_default(),
                (Some(object), Some((last, offset))) if object == last => offset,
                _ => 0,
            };
            if let Some(object) = object {
                within = Some((object, offset.saturating_add(u64::from(bytes))));
            }
            let object = object.filter(|object| there(*object, offset));
            Segment {
                object,
                offset,
                bytes: if object.is_some() { bytes } else { 0 },
                duration_ms: kept.duration_ms,
                init: if object.is_some() { init } else { 0 },
                run,
                date_unix_ms: (runs != before).then_some(date_unix_ms),
                decode_time: decode_time.filter(|_| runs != before),
                independent: kept.bytes & INDEPENDENT != 0,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_come_out_as_they_went_in() {
        let mut rows = Rows::default();
        let taken = |object, offset, run, date_unix_ms, bytes| Taken {
            object,
            offset,
            init: 1 + run,
            run,
            date_unix_ms,
            decode_time: Some(date_unix_ms - 1_000),
            bytes,
            duration_ms: 2_000,
            independent: bytes == 10,
        };
        for one in [
            taken(Some(1), 0, 0, 1_000, 10),
            taken(Some(1), 10, 0, 3_000, 20),
            taken(None, 0, 0, 5_000, 0),
            taken(Some(1), 30, 0, 7_000, 30),
            taken(Some(2), 0, 0, 9_000, 40),
            // What is before it in its object is not known.
            taken(Some(3), 7, 1, 20_000, 50),
            taken(Some(3), 57, 1, 22_000, 60),
        ] {
            rows.push(one);
        }
        let all: Vec<Segment> = rows.iter(|object, offset| object != 2 && (object, offset) != (1, 10)).collect();
        let offsets: Vec<_> = all.iter().map(|s| (s.object, s.offset, s.bytes)).collect();
        let expected = [
            (Some(1), 0, 10),
            (None, 10, 0),
            (None, 0, 0),
            (Some(1), 30, 30),
            (None, 0, 0),
            (Some(3), 7, 50),
            (Some(3), 57, 60),
        ];
        assert_eq!(offsets, expected);
        let dates: Vec<_> = all.iter().map(|s| s.date_unix_ms).collect();
        assert_eq!(dates, [Some(1_000), None, None, None, None, Some(20_000), None]);
        let times: Vec<_> = all.iter().map(|s| s.decode_time).collect();
        assert_eq!(times, [Some(0), None, None, None, None, Some(19_000), None]);
        assert_eq!(all.iter().map(|s| s.init).collect::<Vec<_>>(), [1, 0, 0, 1, 0, 2, 2]);
        assert_eq!(
            all.iter().map(|s| s.independent).collect::<Vec<_>>(),
            [true, false, false, false, false, false, false]
        );
        assert_eq!((rows.end_unix_ms(), rows.total_ms(), rows.len()), (24_000, 14_000, 7));
        assert!(size_of::<Row>() == 8);
    }
}
