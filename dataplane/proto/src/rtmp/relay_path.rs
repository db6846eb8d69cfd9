//! Through which streams a pushed-on stream has come: what a relay calls itself says so, and the server that it comes to refuses a stream that
//! comes back to itself. Before it: who starts a relay; after it: `connect`'s `flashVer`, and admission.
use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::id::Id;

/// How a relay calls itself, in front of the path.
const NAME: &str = "Millstream relay ";
/// Streams on a path: a stream that has come through more is not pushed on.
const STOPS_MAX: usize = 8;
/// Hexadecimal digits of a stop.
const STOP_DIGITS: usize = 16;

/// A stream of one server, told from all others without its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stop(u64);

impl Stop {
    /// The stream of a server; `seed` is the server's own, and tells it from others.
    pub fn new(seed: u64, id: &Id) -> Self {
        let digest = Sha256::new().chain_update(seed.to_be_bytes()).chain_update(id.as_str()).finalize();
        let mut first = [0; 8];
        first.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self(u64::from_be_bytes(first))
    }
}

/// The streams that one has come through, oldest first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RelayPath(Vec<Stop>);

impl RelayPath {
    /// What a publisher says of itself, `flashVer`; an empty path for one that is no relay, or is none of ours.
    pub fn read(client_name: &str) -> Self {
        let Some(path) = client_name.strip_prefix(NAME) else { return Self::default() };
        let stop = |text: &str| {
            let is_stop = text.len() == STOP_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_stop.then(|| u64::from_str_radix(text, 16).ok().map(Stop)).flatten()
        };
        Self(path.split(',').take(STOPS_MAX).map_while(stop).collect())
    }

    /// Whether it leads through this stream.
    pub fn has(&self, stop: Stop) -> bool {
        self.0.contains(&stop)
    }

    /// The path behind this stream; `None` where it would be too long.
    #[must_use]
    pub fn through(&self, stop: Stop) -> Option<Self> {
        (self.0.len() < STOPS_MAX).then(|| Self(self.0.iter().copied().chain([stop]).collect()))
    }
}

/// What a relay calls itself.
impl fmt::Display for RelayPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        for (at, Stop(stop)) in self.0.iter().enumerate() {
            write!(f, "{}{stop:016x}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(seed: u64, name: &str) -> Stop {
        Stop::new(seed, &Id::new(name).expect("an id"))
    }

    #[test]
    fn a_path_is_read_as_it_is_written() {
        let path = RelayPath::default().through(stop(1, "cam")).and_then(|path| path.through(stop(1, "copy")));
        let path = path.expect("short");
        assert_eq!(RelayPath::read(&path.to_string()), path);
        assert!(path.has(stop(1, "cam")) && path.has(stop(1, "copy")));
        assert!(!path.has(stop(2, "cam")), "another server's stream of the same name");
        assert_eq!(RelayPath::read("obs-output module"), RelayPath::default());
        assert_eq!(RelayPath::read("Millstream relay ,,x"), RelayPath::default());
    }

    #[test]
    fn a_path_has_an_end() {
        let mut path = RelayPath::default();
        for n in 0..STOPS_MAX {
            path = path.through(stop(1, &format!("cam-{n}"))).expect("short enough");
        }
        assert_eq!(path.through(stop(1, "one-more")), None);
        let long = format!("{path},{path}");
        assert_eq!(RelayPath::read(&long).0.len(), STOPS_MAX);
    }
}
