//! The marks of a job: read on a thread of their own, since an image may take a tenth of a second to decode, and put in force when they can be drawn.
//! Before it: an order; after it: [`super::encoder`]s, which draw them.
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;

use super::shared::Shared;
use crate::mark::{Fonts, Lacking, MarkSet};
use crate::protocol::{Marks, Report};
use crate::queue::lock;

/// What is to be drawn, as the node says it.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) fonts: Fonts,
    pub(crate) marks: Marks,
    /// The image's file.
    pub(crate) file: Bytes,
}

impl Said {
    pub(super) fn is_empty(&self) -> bool {
        self.marks == Marks::default()
    }
}

/// What of a job's marks has been read.
#[derive(Debug)]
pub(super) struct Marking {
    fonts: Fonts,
    read: Arc<Mutex<Read>>,
}

#[derive(Debug, Default)]
struct Read {
    /// Counts what was said: only the newest comes into force.
    said: u64,
    /// The newest marks that were read, with their file.
    newest: Option<(Arc<MarkSet>, Bytes)>,
}

impl Marking {
    pub(super) fn new(fonts: &Fonts) -> Self {
        Self { fonts: fonts.clone(), read: Arc::default() }
    }

    /// Draws these from now on, and tells how that goes. Text of a job that begins is there with its first picture.
    pub(super) fn say(&self, shared: &Arc<Shared>, Said { marks, file, .. }: Said) {
        let mut read = lock(&self.read);
        read.said += 1;
        let said = read.said;
        let before = read.newest.clone();
        drop(read);
        if before.is_none() && marks.text.is_some() {
            let text = Marks { image: None, ..marks.clone() };
            shared.set_marks(Some(Arc::new(MarkSet::read(&self.fonts, &text, b"", None).0)));
        }
        let (fonts, read, job) = (self.fonts.clone(), Arc::clone(&self.read), Arc::clone(shared));
        let reads = move || {
            let same = before.as_ref().filter(|(_, known)| *known == file).map(|(set, _)| set.as_ref());
            let (set, lacking) = MarkSet::read(&fonts, &marks, &file, same);
            let set = Arc::new(set);
            let mut read = lock(&read);
            if read.said != said {
                return;
            }
            job.set_marks((marks != Marks::default()).then(|| Arc::clone(&set)));
            read.newest = Some((set, file));
            drop(read);
            let Lacking { characters, image } = lacking;
            let error = image.map(|error| error.to_string());
            job.reporter.tell(Report::Marked { job: job.id, lacking: characters, error });
        };
        if let Err(error) = thread::Builder::new().name(format!("marks {}", shared.id)).spawn(reads) {
            let error = Some(format!("no thread: {error}"));
            shared.reporter.tell(Report::Marked { job: shared.id, lacking: String::new(), error });
        }
    }
}
