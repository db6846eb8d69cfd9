//! What is drawn over the renditions of streams: the images that belong to it, fetched once for all streams that name them, and what the operator is
//! told where something is missing. Sans-IO. Before it: [`super::workers`], which shards tell what records say; after it: [`super::table`], which tells
//! a worker, and [`super::fetch`].
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_proto::id::Id;
use millstream_proto::watermark::Watermark;
use millstream_worker::protocol;

/// An image that no rendition has is kept for so long: renditions come and go with their viewers. One that is in use stays as it was fetched.
const KEPT: Duration = Duration::from_mins(10);
/// What could not be fetched is tried again after this long at first, and at most.
const AGAIN_LEAST: Duration = Duration::from_secs(20);
const AGAIN_MOST: Duration = Duration::from_mins(10);
/// Images that are held, and that are fetched at once.
const IMAGES_MAX: usize = 32;
const FETCHES_MAX: usize = 4;
/// Streams of which is known what the operator was told.
const TOLD_MAX: usize = 1_024;

/// Watermarks of streams that have renditions.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    of: BTreeMap<Id, Arc<Watermark>>,
    /// By their addresses.
    images: HashMap<String, Image>,
    last_number: u64,
    told: HashMap<Id, (Arc<Watermark>, BTreeSet<String>)>,
    /// Streams whose image has no room.
    crowded: BTreeSet<Id>,
}

#[derive(Debug)]
struct Image {
    state: State,
    used: Instant,
}

#[derive(Debug)]
enum State {
    Wanted,
    Fetching,
    Here { number: u64, file: Bytes },
    Failed { why: String, again: Instant, wait: Duration },
}

/// The marks of a stream as a worker is told them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spoken {
    pub(crate) marks: protocol::Marks,
    /// The image's file, and the number of its fetching.
    pub(crate) image: Option<(u64, Bytes)>,
}

impl PartialEq for Spoken {
    fn eq(&self, other: &Self) -> bool {
        let number = |spoken: &Self| spoken.image.as_ref().map(|(number, _)| *number);
        self.marks == other.marks && number(self) == number(other)
    }
}

impl Spoken {
    /// The payload of the order that says it.
    pub(crate) fn payload(&self) -> Bytes {
        self.image.as_ref().map(|(_, file)| file.clone()).unwrap_or_default()
    }
}

impl Marks {
    /// What a stream's record says now. False: it said so before.
    pub(crate) fn set(&mut self, stream: &Id, watermark: Option<&Arc<Watermark>>) -> bool {
        if self.of.get(stream) == watermark {
            return false;
        }
        match watermark {
            Some(watermark) => drop(self.of.insert(stream.clone(), Arc::clone(watermark))),
            None => drop(self.of.remove(stream)),
        }
        true
    }

    /// What a worker is told of a stream's marks: text, and the image once it is there.
    pub(crate) fn spoken(&mut self, stream: &Id, now: Instant) -> Spoken {
        let Some(watermark) = self.of.get(stream).cloned() else { return Spoken::default() };
        let text = watermark.text.as_ref().map(|text| protocol::Text {
            text: text.text.clone(),
            size_px: text.size_px,
            rgba: text.colour.0,
            left_px: text.left_px,
            top_px: text.top_px,
        });
        let here = watermark.image.as_ref().and_then(|image| Some((image, self.image(&image.url, now)?)));
        if watermark.image.as_ref().is_some_and(|image| !self.images.contains_key(&image.url)) {
            self.crowded.insert(stream.clone());
        }
        let image = here.as_ref().map(|(image, _)| protocol::Image {
            width_px: image.width_px,
            height_px: image.height_px,
            left_px: image.left_px,
            top_px: image.top_px,
            opacity_percent: image.opacity_percent,
        });
        Spoken { marks: protocol::Marks { text, image }, image: here.map(|(_, image)| image) }
    }

    fn image(&mut self, url: &str, now: Instant) -> Option<(u64, Bytes)> {
        if !self.images.contains_key(url) {
            self.make_room(now);
            if self.images.len() >= IMAGES_MAX {
                return None;
            }
        }
        let image = self.images.entry(url.to_owned()).or_insert(Image { state: State::Wanted, used: now });
        image.used = now;
        match &image.state {
            State::Here { number, file } => Some((*number, file.clone())),
            _ => None,
        }
    }

    /// Forgets images that no stream with renditions has had for a while; where there are many, all that none has.
    fn make_room(&mut self, now: Instant) {
        let used: BTreeSet<&str> =
            self.of.values().filter_map(|mark| mark.image.as_ref()).map(|image| image.url.as_str()).collect();
        let kept = if self.images.len() >= IMAGES_MAX { Duration::ZERO } else { KEPT };
        self.images.retain(|url, image| used.contains(url.as_str()) || now.duration_since(image.used) < kept);
    }

    /// The addresses of what is to be fetched now, and when there may be more.
    pub(crate) fn fetches(&mut self, now: Instant) -> (Vec<String>, Option<Instant>) {
        self.make_room(now);
        let used: BTreeSet<&str> =
            self.of.values().filter_map(|mark| mark.image.as_ref()).map(|image| image.url.as_str()).collect();
        let under_way = self.images.values().filter(|image| matches!(image.state, State::Fetching)).count();
        let (mut due, mut next) = (Vec::new(), None);
        for (url, image) in self.images.iter().filter(|(url, _)| used.contains(url.as_str())) {
            match image.state {
                State::Wanted => due.push(url.clone()),
                State::Failed { again, .. } if again <= now => due.push(url.clone()),
                State::Failed { again, .. } => next = Some(next.map_or(again, |next: Instant| next.min(again))),
                State::Fetching | State::Here { .. } => {}
            }
        }
        due.truncate(FETCHES_MAX.saturating_sub(under_way));
        (due, next)
    }

    /// These are being fetched. Gives how long one that fails is not tried again.
    pub(crate) fn begin(&mut self, url: &str) -> Duration {
        let Some(image) = self.images.get_mut(url) else { return AGAIN_LEAST };
        match std::mem::replace(&mut image.state, State::Fetching) {
            State::Failed { wait, .. } => (wait * 2).min(AGAIN_MOST),
            _ => AGAIN_LEAST,
        }
    }

    /// An image came, or not; gives what operators are to be told of their streams.
    pub(crate) fn fetched(
        &mut self,
        url: &str,
        fetched: Result<Bytes, String>,
        wait: Duration,
        now: Instant,
    ) -> Vec<(Id, String)> {
        let Some(image) = self.images.get_mut(url) else { return Vec::new() };
        image.state = match fetched {
            Ok(file) => {
                self.last_number += 1;
                State::Here { number: self.last_number, file }
            }
            Err(why) => State::Failed { why, again: now + wait, wait },
        };
        let State::Failed { why, .. } = &image.state else { return Vec::new() };
        let why = format!("its image is not drawn: {why}");
        let streams: Vec<Id> = self.of.iter().filter(|(_, mark)| has(mark, url)).map(|(id, _)| id.clone()).collect();
        streams.into_iter().filter_map(|stream| Some((stream.clone(), self.tells(&stream, why.clone())?))).collect()
    }

    /// What a worker says of the marks of a stream; gives what the operator is to be told.
    pub(crate) fn heard(&mut self, stream: &Id, lacking: &str, error: Option<&str>) -> Vec<String> {
        let lacks = (!lacking.is_empty()).then(|| {
            format!("no font of this node has {lacking}: a box stands for each; install one that has them (docs/renditions.md)")
        });
        let image = error.map(|error| format!("its image is not drawn: {error}"));
        [lacks, image].into_iter().flatten().filter_map(|why| self.tells(stream, why)).collect()
    }

    /// Streams whose image is not even fetched, and what operators are to be told of it.
    pub(crate) fn without_room(&mut self) -> Vec<(Id, String)> {
        let why = || format!("its image is not drawn: {IMAGES_MAX} images of other streams are in use");
        let crowded = std::mem::take(&mut self.crowded);
        crowded.into_iter().filter_map(|stream| Some((stream.clone(), self.tells(&stream, why())?))).collect()
    }

    /// Nobody has renditions of a stream.
    pub(crate) fn forget(&mut self, stream: &Id) {
        self.of.remove(stream);
    }

    /// The sentence, if it is a new one of what the record says now: renditions come and go, and it would be told each time.
    fn tells(&mut self, stream: &Id, why: String) -> Option<String> {
        let watermark = Arc::clone(self.of.get(stream)?);
        if self.told.len() >= TOLD_MAX && !self.told.contains_key(stream) {
            self.told.clear();
        }
        let told = self.told.entry(stream.clone()).or_insert_with(|| (Arc::clone(&watermark), BTreeSet::new()));
        if told.0 != watermark {
            *told = (watermark, BTreeSet::new());
        }
        told.1.insert(why.clone()).then_some(why)
    }
}

fn has(mark: &Watermark, url: &str) -> bool {
    mark.image.as_ref().is_some_and(|image| image.url == url)
}

#[cfg(test)]
mod tests {
    use millstream_proto::watermark::{ImageMark, Rgba, TextMark};

    use super::*;

    const URL: &str = "https://example.org/logo.png";

    fn id(name: &str) -> Id {
        Id::new(name).unwrap()
    }

    fn mark(text: &str, url: &str) -> Arc<Watermark> {
        let text = TextMark { text: text.to_owned(), size_px: 24, colour: Rgba::WHITE, left_px: 1, top_px: 2 };
        let url = url.to_owned();
        let image = ImageMark { url, width_px: 100, height_px: 50, left_px: 3, top_px: 4, opacity_percent: 100 };
        Arc::new(Watermark { text: Some(text), image: Some(image) })
    }

    fn fetch(marks: &mut Marks, now: Instant, came: Result<&'static [u8], &str>) -> Vec<(Id, String)> {
        let (urls, _) = marks.fetches(now);
        assert_eq!(urls, [URL]);
        let wait = marks.begin(URL);
        assert!(marks.fetches(now).0.is_empty(), "under way");
        marks.fetched(URL, came.map(Bytes::from_static).map_err(str::to_owned), wait, now)
    }

    #[test]
    fn text_is_there_at_once_and_the_image_when_it_has_come_once_for_all() {
        let (mut marks, now) = (Marks::default(), Instant::now());
        assert_eq!(marks.spoken(&id("a"), now), Spoken::default());
        assert!(marks.set(&id("a"), Some(&mark("hello", URL))) && marks.set(&id("b"), Some(&mark("", URL))));
        assert!(!marks.set(&id("a"), Some(&mark("hello", URL))), "the same");
        let spoken = marks.spoken(&id("a"), now);
        assert_eq!((spoken.marks.text.unwrap().text.as_str(), spoken.marks.image), ("hello", None));
        marks.spoken(&id("b"), now);
        assert!(fetch(&mut marks, now, Ok(b"png")).is_empty());
        let here = marks.spoken(&id("b"), now);
        assert_eq!((here.payload(), here.marks.image.as_ref().unwrap().top_px), (Bytes::from_static(b"png"), 4));
        assert_eq!(here, marks.spoken(&id("b"), now));
        assert_ne!(here, spoken_of(&mut marks, "a", now));
        // While it is in use, and a while longer, it is not fetched again.
        assert!(marks.fetches(now + KEPT * 2).0.is_empty());
        marks.forget(&id("a"));
        marks.forget(&id("b"));
        marks.fetches(now + KEPT / 2);
        marks.set(&id("a"), Some(&mark("hello", URL)));
        assert!(marks.spoken(&id("a"), now + KEPT / 2).image.is_some());
        marks.forget(&id("a"));
        marks.fetches(now + KEPT * 2);
        marks.set(&id("a"), Some(&mark("hello", URL)));
        assert!(marks.spoken(&id("a"), now + KEPT * 2).image.is_none(), "it may be another one by now");
    }

    fn spoken_of(marks: &mut Marks, stream: &str, now: Instant) -> Spoken {
        marks.spoken(&id(stream), now)
    }

    #[test]
    fn what_fails_is_told_once_and_tried_again_less_and_less_often() {
        let (mut marks, mut now) = (Marks::default(), Instant::now());
        marks.set(&id("a"), Some(&mark("x", URL)));
        marks.spoken(&id("a"), now);
        let told = fetch(&mut marks, now, Err("no such host"));
        assert_eq!(told, [(id("a"), "its image is not drawn: no such host".to_owned())]);
        for wait in [AGAIN_LEAST, AGAIN_LEAST * 2, AGAIN_LEAST * 4] {
            let (none, next) = marks.fetches(now);
            assert_eq!((none.len(), next), (0, Some(now + wait)));
            now += wait;
            assert!(fetch(&mut marks, now, Err("no such host")).is_empty(), "told already");
        }
        // Another record: at once, and told anew.
        marks.set(&id("a"), Some(&mark("y", URL)));
        assert_eq!(marks.heard(&id("a"), "漢", Some("too large")).len(), 2);
        assert!(marks.heard(&id("a"), "漢", Some("too large")).is_empty());
        assert!(marks.heard(&id("gone"), "漢", None).is_empty());
        // A stream whose watermark goes asks for nothing.
        marks.set(&id("a"), None);
        assert_eq!(marks.fetches(now + AGAIN_MOST), (Vec::new(), None));
    }

    #[test]
    fn images_are_bounded() {
        let (mut marks, now) = (Marks::default(), Instant::now());
        for n in 0..IMAGES_MAX + 5 {
            let stream = id(&format!("s{n}"));
            marks.set(&stream, Some(&mark("x", &format!("https://example.org/{n}"))));
            marks.spoken(&stream, now);
        }
        assert_eq!((marks.images.len(), marks.fetches(now).0.len()), (IMAGES_MAX, FETCHES_MAX));
        let told = marks.without_room();
        assert_eq!(told.len(), 5, "{told:?}");
        assert!(told.iter().all(|(_, why)| why == "its image is not drawn: 32 images of other streams are in use"));
        marks.spoken(&told[0].0, now);
        assert_eq!(marks.without_room(), [], "it is told once");
        // One that nobody has makes room.
        marks.forget(&id("s0"));
        marks.spoken(&id(&format!("s{}", IMAGES_MAX + 4)), now);
        assert_eq!(marks.images.len(), IMAGES_MAX);
        assert!(marks.images.contains_key(&format!("https://example.org/{}", IMAGES_MAX + 4)));
    }
}
