//! Boxes of ISO/IEC 14496-12 as they stand in a slice of bytes: name and content. Before it: bytes of a file; after it: who reads clips and
//! tracks.
use crate::cursor::{Cursor, Truncated};

/// A box: its name and what is in it.
pub(crate) type Named<'a> = ([u8; 4], &'a [u8]);

/// The next box.
pub(crate) fn next_box<'a>(at: &mut Cursor<'a>) -> Result<Option<Named<'a>>, Truncated> {
    if at.is_empty() {
        return Ok(None);
    }
    let size = at.u32()?;
    let name = at.array()?;
    let length = match size {
        0 => at.remaining(),
        1 => usize::try_from(u64::from_be_bytes(at.array()?)).unwrap_or(usize::MAX).saturating_sub(16),
        size => (size as usize).saturating_sub(8),
    };
    Ok(Some((name, at.take(length)?)))
}

/// The first box of that name.
pub(crate) fn find(bytes: &[u8], wanted: [u8; 4]) -> Result<Option<&[u8]>, Truncated> {
    let mut at = Cursor::new(bytes);
    while let Some((name, inner)) = next_box(&mut at)? {
        if name == wanted {
            return Ok(Some(inner));
        }
    }
    Ok(None)
}

/// The first box at that path.
pub(crate) fn find_in<'a>(mut bytes: &'a [u8], path: &[[u8; 4]]) -> Result<Option<&'a [u8]>, Truncated> {
    for name in path {
        let Some(inner) = find(bytes, *name)? else { return Ok(None) };
        bytes = inner;
    }
    Ok(Some(bytes))
}
