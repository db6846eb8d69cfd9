//! For which streams a binding counts: shared by hooks of all kinds. Before it: a binding of control; after it: [`super::bound`], [`super::hearing`],
//! [`super::ladder`] and whoever gives streams to workers.
use millstream_control_protocol::state::{Binding, Mode};
use millstream_proto::id::Id;

/// Whether a hook's answer about a stream counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counts {
    /// It is not asked.
    NotAsked,
    /// It is asked, and what it says is counted or compared, and not followed.
    Compared,
    /// It decides.
    Decides,
}

/// A binding's streams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reach {
    /// The stream that it is for; `None`: all.
    pub stream: Option<Id>,
    /// How much its answers count.
    pub mode: Mode,
    /// With [`Mode::Canary`]: of how many streams in a hundred it decides.
    pub canary_percent: u32,
}

impl Reach {
    /// Of a binding; `None`: it is off, or no stream can have the id that it names.
    pub fn of(binding: &Binding) -> Option<Self> {
        let stream = match &binding.stream {
            Some(stream) => Some(Id::new(stream).ok()?),
            None => None,
        };
        binding.is_on().then_some(Self { stream, mode: binding.mode, canary_percent: binding.canary_percent })
    }

    /// Whether its answer about this stream counts.
    pub fn counts(&self, stream: &Id) -> Counts {
        if self.stream.as_ref().is_some_and(|own| own != stream) {
            return Counts::NotAsked;
        }
        match self.mode {
            Mode::Live => Counts::Decides,
            Mode::Canary if share_of(stream) < self.canary_percent => Counts::Decides,
            Mode::Canary | Mode::Shadow => Counts::Compared,
            Mode::Off | Mode::Unknown => Counts::NotAsked,
        }
    }
}

/// Where a stream lies among a hundred. The same on every node: a canary's streams stay its streams.
pub fn share_of(stream: &Id) -> u32 {
    stream.place(100) as u32
}
