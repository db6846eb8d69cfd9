//! The packager's changes between nodes. Used by [`super`].
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use millstream_proto::codec::avc::UNUSUAL;
use millstream_proto::codec::{Shape, Summary};

use super::fields::{Fields, put_bool, put_bytes, put_int, put_signed, put_track};
use super::{WireClock, WireError};
use crate::package::change::{Change, Guide, Header, Opened, Part, PartPromise, Session};
use crate::package::marker::{Marker, Said};

/// Writes changes in their order.
pub(super) fn put(out: &mut BytesMut, changes: &[Change], clock: WireClock) {
    put_int(out, changes.len() as u64);
    for change in changes {
        match change {
            Change::Began(session) => {
                out.put_u8(0);
                put_session(out, session);
            }
            Change::Header(track, header) => {
                out.put_u8(1);
                put_track(out, *track);
                put_header(out, header);
            }
            Change::Parts(track, PartPromise { target_ms, hold_back_ms }) => {
                out.put_u8(2);
                put_track(out, *track);
                put_int(out, (*target_ms).into());
                put_int(out, *hold_back_ms);
            }
            Change::Opened(track, opened) => {
                out.put_u8(3);
                put_track(out, *track);
                put_opened(out, opened);
            }
            Change::Part(track, part) => {
                out.put_u8(4);
                put_track(out, *track);
                put_part(out, part, clock);
            }
            Change::Closed(track) => {
                out.put_u8(5);
                put_track(out, *track);
            }
            Change::Gap(track, us) => {
                out.put_u8(6);
                put_track(out, *track);
                put_int(out, *us);
            }
            Change::Skipped(track, next) => {
                out.put_u8(7);
                put_track(out, *track);
                put_int(out, *next);
            }
            Change::Ended => out.put_u8(8),
            Change::Marked(track, marker) => {
                out.put_u8(9);
                put_track(out, *track);
                put_marker(out, marker);
            }
        }
    }
}

/// Reads changes in their order.
pub(super) fn take(fields: &mut Fields, clock: WireClock) -> Result<Vec<Change>, WireError> {
    // Not reserved: the count is the other node's word, and each change takes bytes of the message.
    let mut changes = Vec::new();
    for _ in 0..fields.int("the number of changes")? {
        changes.push(match fields.byte("the kind of a change")? {
            0 => Change::Began(Arc::new(session(fields)?)),
            1 => Change::Header(fields.track()?, Arc::new(header(fields)?)),
            2 => {
                let track = fields.track()?;
                let target_ms = fields.small("a length")?;
                Change::Parts(track, PartPromise { target_ms, hold_back_ms: fields.int("a length")? })
            }
            3 => Change::Opened(fields.track()?, opened(fields)?),
            4 => Change::Part(fields.track()?, part(fields, clock)?),
            5 => Change::Closed(fields.track()?),
            6 => Change::Gap(fields.track()?, fields.int("a length")?),
            7 => Change::Skipped(fields.track()?, fields.int("a part's number")?),
            8 => Change::Ended,
            9 => Change::Marked(fields.track()?, Arc::new(marker(fields)?)),
            _ => return Err(WireError::Invalid("the kind of a change")),
        });
    }
    Ok(changes)
}

fn put_session(out: &mut BytesMut, session: &Session) {
    let Session { name, target_duration_s, window, bytes_max, zero_unix_ms, guide } = session;
    put_bytes(out, name.as_bytes());
    put_int(out, (*target_duration_s).into());
    put_int(out, *window as u64);
    put_int(out, *bytes_max as u64);
    put_int(out, *zero_unix_ms);
    put_bool(out, guide.is_some());
    if let Some(Guide { session, picture }) = guide {
        put_bytes(out, session.as_bytes());
        put_bool(out, picture.is_some());
        let (width, height) = picture.unwrap_or_default();
        put_int(out, width.into());
        put_int(out, height.into());
    }
}

fn session(fields: &mut Fields) -> Result<Session, WireError> {
    Ok(Session {
        name: fields.text("a session's name")?,
        target_duration_s: fields.small("a target duration")?,
        window: fields.small("a window")?,
        bytes_max: fields.small("a window")?,
        zero_unix_ms: fields.int("a time")?,
        guide: if fields.bool("a source")? { Some(guide(fields)?) } else { None },
    })
}

fn guide(fields: &mut Fields) -> Result<Guide, WireError> {
    let session = fields.text("a session's name")?;
    let is_known = fields.bool("a size")?;
    let picture = (fields.small("a width")?, fields.small("a height")?);
    Ok(Guide { session, picture: is_known.then_some(picture) })
}

fn put_header(out: &mut BytesMut, header: &Header) {
    let Header { number, bytes, timescale, summary: Summary { codec, shape, unusual } } = header;
    put_int(out, (*number).into());
    put_int(out, (*timescale).into());
    put_bytes(out, codec.as_bytes());
    match *shape {
        None => out.put_u8(0),
        Some(Shape::Video { width, height }) => {
            out.put_u8(1);
            put_int(out, width.into());
            put_int(out, height.into());
        }
        Some(Shape::Audio { rate_hz, channels }) => {
            out.put_u8(2);
            put_int(out, rate_hz.into());
            out.put_u8(channels);
        }
    }
    // 0 is nothing unusual.
    let number = unusual.and_then(|words| UNUSUAL.iter().position(|known| *known == words));
    out.put_u8(number.map_or(0, |number| number as u8 + 1));
    put_bytes(out, bytes);
}

fn header(fields: &mut Fields) -> Result<Header, WireError> {
    let number = fields.small("a header's number")?;
    let timescale = fields.small("a time scale")?;
    let codec = fields.text("a codec")?;
    let shape = match fields.byte("a shape")? {
        0 => None,
        1 => Some(Shape::Video { width: fields.small("a width")?, height: fields.small("a height")? }),
        2 => Some(Shape::Audio { rate_hz: fields.small("a rate")?, channels: fields.byte("channels")? }),
        _ => return Err(WireError::Invalid("a shape")),
    };
    let unusual = match usize::from(fields.byte("what is unusual")?).checked_sub(1) {
        None => None,
        Some(number) => Some(*UNUSUAL.get(number).ok_or(WireError::Invalid("what is unusual"))?),
    };
    Ok(Header { number, bytes: fields.bytes("a header")?, timescale, summary: Summary { codec, shape, unusual } })
}

fn put_opened(out: &mut BytesMut, opened: &Opened) {
    put_int(out, opened.msn);
    put_bool(out, opened.discontinuity);
    put_int(out, opened.discontinuities);
    put_int(out, opened.run_start_ms);
    put_signed(out, opened.run_zero_unix_ms);
    put_int(out, opened.header.into());
    put_int(out, opened.start);
    put_int(out, opened.start_us);
    put_int(out, opened.date_unix_ms);
}

fn opened(fields: &mut Fields) -> Result<Opened, WireError> {
    Ok(Opened {
        msn: fields.int("a segment's number")?,
        discontinuity: fields.bool("a discontinuity")?,
        discontinuities: fields.int("discontinuities")?,
        run_start_ms: fields.int("a time")?,
        run_zero_unix_ms: fields.signed("a time")?,
        header: fields.small("a header's number")?,
        start: fields.int("a time")?,
        start_us: fields.int("a time")?,
        date_unix_ms: fields.int("a date")?,
    })
}

fn put_part(out: &mut BytesMut, part: &Part, clock: WireClock) {
    put_int(out, part.number);
    put_int(out, part.duration);
    put_int(out, part.duration_us);
    put_bool(out, part.independent);
    put_int(out, part.frames.into());
    put_signed(out, clock.unix_us(part.arrived));
    put_bytes(out, &part.bytes);
}

fn part(fields: &mut Fields, clock: WireClock) -> Result<Part, WireError> {
    Ok(Part {
        number: fields.int("a part's number")?,
        duration: fields.int("a length")?,
        duration_us: fields.int("a length")?,
        independent: fields.bool("a keyframe")?,
        frames: fields.small("frames")?,
        arrived: clock.time(fields.signed("a time")?),
        bytes: fields.bytes("a part")?,
    })
}

fn put_marker(out: &mut BytesMut, marker: &Marker) {
    let Marker { said: Said { number, unix_ms, pairs }, date_unix_ms, run, at_ms } = marker;
    for int in [number, unix_ms, date_unix_ms, run, at_ms] {
        put_int(out, *int);
    }
    put_int(out, pairs.len() as u64);
    for (name, value) in &**pairs {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

fn marker(fields: &mut Fields) -> Result<Marker, WireError> {
    let (number, unix_ms) = (fields.int("a marker's number")?, fields.int("a date")?);
    let (date_unix_ms, run, at_ms) = (fields.int("a date")?, fields.int("a run")?, fields.int("a time")?);
    // Not reserved, as above.
    let mut pairs = Vec::new();
    for _ in 0..fields.int("the number of pairs")? {
        pairs.push((fields.text("a name")?, fields.text("a value")?));
    }
    Ok(Marker { said: Said { number, unix_ms, pairs: pairs.into() }, date_unix_ms, run, at_ms })
}
