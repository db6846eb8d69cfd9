//! The second pass: the bytes of a file, from its first to its last, in chunks that are bounded. Before it: a [`Movie`]; after it: whoever writes, sums or
//! sends them.
use bytes::Bytes;

use super::Recipe;
use super::make::{MakeError, Movie, make};
use super::source::{Ahead, Source};
use crate::limits::MOVIE_READ_BYTES;
use crate::store::Sums;

/// The bytes of a file under way.
pub struct Chunks<'a> {
    movie: &'a Movie,
    /// Bytes of the head that were given.
    head: usize,
    copies: Box<dyn Iterator<Item = (usize, u64, u64)> + Send + 'a>,
    /// What is left of the newest one.
    copy: Option<(usize, u64, u64)>,
    ahead: Ahead,
}

/// A file with its length and checksum.
#[derive(Debug)]
pub struct Built {
    /// The file.
    pub movie: Movie,
    /// Of all of its bytes.
    pub sums: Sums,
}

/// Makes a file, and reads all of it for its checksum.
pub async fn build(recipe: &Recipe, source: &dyn Source) -> Result<Built, MakeError> {
    let movie = make(recipe, source).await?;
    let sums = movie.sums(source).await?;
    Ok(Built { movie, sums })
}

impl Movie {
    /// Its bytes, from the first on.
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks { movie: self, head: 0, copies: Box::new(self.copies()), copy: None, ahead: Ahead::default() }
    }

    /// Length and checksum of what can be read now.
    pub async fn sums(&self, source: &dyn Source) -> Result<Sums, MakeError> {
        let (mut sum, mut bytes) = (crc32fast::Hasher::new(), 0);
        let mut chunks = self.chunks();
        while let Some(chunk) = chunks.next(source).await? {
            sum.update(&chunk);
            bytes += chunk.len() as u64;
        }
        Ok(Sums { bytes, crc32: sum.finalize() })
    }
}

impl Chunks<'_> {
    /// The next bytes, at most [`MOVIE_READ_BYTES`]; `None` behind the last.
    pub async fn next(&mut self, source: &dyn Source) -> Result<Option<Bytes>, MakeError> {
        let head = self.movie.head();
        if let Some(rest) = head.get(self.head..).filter(|rest| !rest.is_empty()) {
            let chunk = rest.get(..MOVIE_READ_BYTES).unwrap_or(rest);
            self.head += chunk.len();
            return Ok(Some(Bytes::copy_from_slice(chunk)));
        }
        let Some((number, at, bytes)) = self.copy.take().or_else(|| self.copies.next()) else { return Ok(None) };
        let Some(object) = self.movie.objects.get(number) else { return Ok(None) };
        let most = usize::try_from(bytes).unwrap_or(usize::MAX).min(MOVIE_READ_BYTES);
        let got = self.ahead.get(source, (object.track, object.number), at, most, object.bytes).await;
        let mut got = got.map_err(|error| MakeError::Unreadable(error.to_string()))?;
        got.truncate(most);
        let given = got.len() as u64;
        self.copy = (given < bytes).then_some((number, at + given, bytes - given));
        Ok(Some(got))
    }
}
