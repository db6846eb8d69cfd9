//! Clips that are made by arithmetic, with what moves in them known: each a scene in front of a camera, from a seed. Before it: nothing; after it: the
//! measurements of [`super::tests`].
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use crate::picture::Picture;

/// How long a clip is, and how often a frame is looked at, milliseconds.
pub(super) const CLIP_MS: i64 = 24_000;
/// What happens in a clip happens behind this.
const QUIET_MS: i64 = 4_000;

/// What is in a clip.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// Something moves across, and is gone.
    Object,
    /// The same in a picture with much noise.
    ObjectInNoise,
    /// The same in rain.
    ObjectInRain,
    /// The same after the light was switched.
    ObjectAfterLight,
    /// The same while the evening comes.
    ObjectInDrift,
    /// Something moves, and stays: it is motion as long as it moves.
    ObjectStops,
    /// Nothing but noise.
    Noise,
    /// The light is switched, some times.
    Light,
    /// Another camera is switched to, some times.
    Cut,
    /// Rain, more and less of it.
    Rain,
    /// The shadow of a cloud.
    Shadow,
    /// It becomes dark, or bright.
    Drift,
}

impl Kind {
    pub(super) const ALL: [Self; 12] = [
        Self::Object,
        Self::ObjectInNoise,
        Self::ObjectInRain,
        Self::ObjectAfterLight,
        Self::ObjectInDrift,
        Self::ObjectStops,
        Self::Noise,
        Self::Light,
        Self::Cut,
        Self::Rain,
        Self::Shadow,
        Self::Drift,
    ];

    fn has_object(self) -> bool {
        use Kind::{Object, ObjectAfterLight, ObjectInDrift, ObjectInNoise, ObjectInRain, ObjectStops};
        matches!(self, Object | ObjectInNoise | ObjectInRain | ObjectAfterLight | ObjectInDrift | ObjectStops)
    }
}

/// Random numbers that are the same for the same seed (SplitMix64).
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn within(&mut self, range: Range<f32>) -> f32 {
        range.start + (range.end - range.start) * (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }

    fn is(&mut self, likely: f32) -> bool {
        self.within(0.0..1.0) < likely
    }
}

/// A number from -1 to 1 for a place, always the same.
fn hash(seed: u64, x: i32, y: i32) -> f32 {
    let place = (x as u32 as u64) << 32 | u64::from(y as u32);
    let mut random = Random(seed ^ place.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    random.within(-1.0..1.0)
}

/// Smooth noise with spots of that size.
fn texture(seed: u64, x: f32, y: f32, size: f32) -> f32 {
    let (x, y) = (x / size, y / size);
    let (left, top) = (x.floor(), y.floor());
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (smooth(x - left), smooth(y - top));
    let at = |dx, dy| hash(seed, left as i32 + dx, top as i32 + dy);
    let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
    mix(mix(at(0, 0), at(1, 0), u), mix(at(0, 1), at(1, 1), u), v)
}

/// What a camera looks at.
#[derive(Clone)]
struct View {
    seed: u64,
    base: f32,
    contrast: f32,
    spots: f32,
    /// Walls, doors and furniture: left, top, width, height, and how much brighter.
    boxes: Vec<[f32; 5]>,
}

impl View {
    fn new(random: &mut Random) -> Self {
        let boxes = (0..6).map(|_| {
            let (width, height) = (random.within(12.0..70.0), random.within(12.0..50.0));
            [random.within(-10.0..150.0), random.within(-10.0..80.0), width, height, random.within(-45.0..45.0)]
        });
        let boxes = boxes.collect();
        Self {
            seed: random.next(),
            base: random.within(70.0..150.0),
            contrast: random.within(4.0..30.0),
            spots: random.within(4.0..14.0),
            boxes,
        }
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        let inside = |b: &&[f32; 5]| x >= b[0] && x < b[0] + b[2] && y >= b[1] && y < b[1] + b[3];
        let boxes: f32 = self.boxes.iter().filter(inside).map(|b| b[4]).sum();
        let fine = texture(self.seed ^ 1, x, y, 2.5) * 0.4;
        (self.base + boxes + self.contrast * (texture(self.seed, x, y, self.spots) + fine)).clamp(12.0, 235.0)
    }
}

/// What moves.
struct Object {
    seed: u64,
    size: (f32, f32),
    from: (f32, f32),
    to: (f32, f32),
    level: f32,
    contrast: f32,
    is_round: bool,
}

impl Object {
    /// How far it is along its way where its middle is, and whether that is a pixel of it.
    fn at(&self, x: f32, y: f32, way: f32) -> Option<f32> {
        let middle = (self.from.0 + (self.to.0 - self.from.0) * way, self.from.1 + (self.to.1 - self.from.1) * way);
        let (dx, dy) = ((x - middle.0) / self.size.0 * 2.0, (y - middle.1) / self.size.1 * 2.0);
        let inside = if self.is_round { dx * dx + dy * dy < 1.0 } else { dx.abs() < 1.0 && dy.abs() < 1.0 };
        inside.then(|| {
            (self.level + self.contrast * texture(self.seed, x - middle.0, y - middle.1, 5.0)).clamp(8.0, 240.0)
        })
    }
}

/// Brightness of views, by their number and the width of the picture.
type Seen = HashMap<(usize, u32), Rc<Vec<f32>>>;

/// A clip.
pub(super) struct Clip {
    seed: u64,
    views: Vec<(i64, View)>,
    /// What views look like, by number and size: they do not change.
    seen: RefCell<Seen>,
    object: Option<(Range<i64>, Object)>,
    /// Grey levels.
    noise: f32,
    /// When the light is switched, how long that takes, and what the brightness is multiplied by from then on.
    lights: Vec<(i64, i64, f32)>,
    /// From 1 to this factor over the whole clip.
    drift: f32,
    /// Drops at the same time, and how long they are.
    rain: Option<(usize, f32)>,
    /// A cloud: when, how dark, how soft its edge is, and how large it is.
    shadow: Option<(Range<i64>, f32, f32, f32)>,
}

impl Clip {
    /// A clip; `large`: what moves fills more than a third of the picture.
    pub(super) fn new(kind: Kind, seed: u64, large: bool) -> Self {
        let mut random = Random(seed.wrapping_mul(0x1000_0001) ^ (kind as u64) << 56);
        let view = View::new(&mut random);
        let mut clip = Self {
            seed: random.next(),
            views: vec![(0, view)],
            seen: RefCell::default(),
            object: None,
            noise: random.within(0.0..3.0),
            lights: Vec::new(),
            drift: 1.0,
            rain: None,
            shadow: None,
        };
        let mut moment = |from: i64, to: i64| from + random.within(0.0..(to - from) as f32) as i64;
        let (first, second) = (moment(QUIET_MS, 9_000), moment(12_000, 18_000));
        let object_at = moment(QUIET_MS, 10_000);
        match kind {
            Kind::Noise | Kind::ObjectInNoise => {
                clip.noise = random.within(4.0..if kind == Kind::Noise { 14.0 } else { 8.0 });
            }
            Kind::Rain | Kind::ObjectInRain => {
                let drops = random.within(20.0..if kind == Kind::Rain { 160.0 } else { 80.0 });
                clip.rain = Some((drops as usize, random.within(4.0..10.0)));
            }
            Kind::Light => {
                let factor = if random.is(0.5) { random.within(0.3..0.7) } else { random.within(1.3..1.8) };
                let takes = |random: &mut Random| if random.is(0.5) { 0 } else { random.within(200.0..900.0) as i64 };
                clip.lights = vec![(first, takes(&mut random), factor), (second, takes(&mut random), 1.0 / factor)];
            }
            Kind::ObjectAfterLight => clip.lights = vec![(2_500, 0, random.within(0.5..1.5))],
            Kind::Drift | Kind::ObjectInDrift => {
                clip.drift = if random.is(0.5) { random.within(0.4..0.8) } else { random.within(1.2..1.6) };
            }
            Kind::Cut => clip.views.extend([(first, View::new(&mut random)), (second, View::new(&mut random))]),
            Kind::Shadow => {
                let lasts = random.within(3_000.0..9_000.0) as i64;
                let soft = random.within(14.0..40.0);
                clip.shadow = Some((first..first + lasts, random.within(0.55..0.85), soft, random.within(30.0..90.0)));
            }
            Kind::Object | Kind::ObjectStops => {}
        }
        if kind.has_object() {
            clip.object = Some(object(&mut random, &clip.views[0].1, kind, object_at, large));
        }
        clip
    }

    /// When something moves.
    pub(super) fn moves(&self) -> Option<Range<i64>> {
        self.object.as_ref().map(|(moves, _)| moves.clone())
    }

    /// When what moves fills that part of the picture first.
    pub(super) fn fills(&self, part: f32) -> Option<i64> {
        let (moves, object) = self.object.as_ref()?;
        moves.clone().step_by(100).find(|at_ms| {
            let way = (at_ms - moves.start) as f32 / (moves.end - moves.start) as f32;
            let pixels = (0..90).flat_map(|y| (0..160).map(move |x| (x as f32 + 0.5, y as f32 + 0.5)));
            let count = pixels.filter(|(x, y)| object.at(*x, *y, way).is_some()).count();
            count as f32 >= part * 160.0 * 90.0
        })
    }

    /// The brightness of a picture of this size, without the noise of the camera.
    fn scene(&self, (width, height): (u32, u32), at_ms: i64) -> Vec<f32> {
        let view =
            self.view((width, height), self.views.iter().rposition(|(from_ms, _)| at_ms >= *from_ms).unwrap_or(0));
        let light = self.lights.iter().fold(1.0, |light, (from_ms, takes_ms, factor)| {
            let part = ((at_ms - from_ms) as f32 / (*takes_ms).max(1) as f32).clamp(0.0, 1.0);
            light * (1.0 + (factor - 1.0) * part)
        });
        let drift = 1.0 + (self.drift - 1.0) * at_ms as f32 / CLIP_MS as f32;
        let mut samples = Vec::with_capacity((width * height) as usize);
        for row in 0..height {
            for column in 0..width {
                let (x, y) = ((column as f32 + 0.5) * 160.0 / width as f32, (row as f32 + 0.5) * 90.0 / height as f32);
                let object = self.object.as_ref().and_then(|(moves, object)| {
                    let way = (at_ms - moves.start) as f32 / (moves.end - moves.start) as f32;
                    if way < 0.0 { None } else { object.at(x, y, way.min(1.0)) }
                });
                let level = object.unwrap_or(view[(row * width + column) as usize]);
                samples.push(level * light * drift * self.shade(x, y, at_ms));
            }
        }
        samples
    }

    fn view(&self, (width, height): (u32, u32), number: usize) -> Rc<Vec<f32>> {
        let mut seen = self.seen.borrow_mut();
        let view = &self.views[number].1;
        let place = |at: u32, of: u32, pixels: f32| (at as f32 + 0.5) * pixels / of as f32;
        let levels = || {
            let rows = (0..height).map(|row| place(row, height, 90.0));
            rows.flat_map(|y| (0..width).map(move |column| view.at(place(column, width, 160.0), y))).collect()
        };
        Rc::clone(seen.entry((number, width)).or_insert_with(|| Rc::new(levels())))
    }

    fn shade(&self, x: f32, y: f32, at_ms: i64) -> f32 {
        let Some((when, dark, soft, size)) = &self.shadow else { return 1.0 };
        let way = (at_ms - when.start) as f32 / (when.end - when.start) as f32;
        if !(0.0..=1.0).contains(&way) {
            return 1.0;
        }
        let reach = size + soft;
        let middle = -reach + (160.0 + 2.0 * reach) * way;
        let distance = (x + (y - 45.0) * 0.3 - middle).abs() - size / 2.0;
        let part = (0.5 - distance / soft).clamp(0.0, 1.0);
        1.0 - (1.0 - dark) * part * part * (3.0 - 2.0 * part)
    }

    /// A frame's samples, of any size.
    pub(super) fn luma(&self, size: (u32, u32), at_ms: i64) -> Vec<u8> {
        let mut samples = self.scene(size, at_ms);
        let mut random = Random(self.seed ^ (at_ms as u64).wrapping_mul(0xA24B_AED4_963E_E407));
        let scale = size.0 as f32 / 160.0;
        if let Some((drops, length)) = self.rain {
            for _ in 0..drops {
                let (x, y) = (random.within(0.0..160.0) * scale, random.within(-10.0..90.0) * scale);
                for step in 0..(length * scale) as u32 {
                    let (x, y) = ((x + step as f32 * 0.15) as u32, (y + step as f32).max(0.0) as u32);
                    let wide = x..(x + scale.max(1.0) as u32).min(size.0);
                    let at = wide.filter(|x| *x < size.0 && y < size.1).map(|x| (y * size.0 + x) as usize);
                    at.for_each(|at| samples[at] = samples[at] * 0.6 + 85.0);
                }
            }
        }
        let mut noisy = |level: f32| {
            // The sum of four is near enough to a normal distribution.
            let bits = random.next();
            let sum: u64 = (0..4).map(|n| bits >> (16 * n) & 0xFFFF).sum();
            let noise = (sum as f32 / 65_536.0 - 2.0) * 1.732;
            (level + noise * self.noise * scale.max(1.0).sqrt()).round().clamp(0.0, 255.0) as u8
        };
        samples.into_iter().map(&mut noisy).collect()
    }

    /// A picture of grey.
    pub(super) fn picture(&self, size: (u32, u32), at_ms: i64) -> Picture {
        let mut samples = self.luma(size, at_ms);
        samples.resize(samples.len() * 3 / 2, 128);
        Picture::from_samples(size.0, size.1, samples).expect("an even size")
    }
}

fn object(random: &mut Random, view: &View, kind: Kind, from_ms: i64, large: bool) -> (Range<i64>, Object) {
    let size = if large {
        (random.within(80.0..110.0), random.within(74.0..90.0))
    } else {
        (random.within(16.0..45.0), random.within(18.0..50.0))
    };
    let lasts_ms = random.within(4_000.0..9_000.0) as i64;
    let row = random.within(size.1 / 2.0..(90.0 - size.1 / 2.0).max(size.1 / 2.0 + 1.0));
    let (outside, stops) = (size.0 / 2.0 + 2.0, kind == Kind::ObjectStops);
    let end = if stops { random.within(60.0..110.0) } else { 160.0 + outside };
    let (mut from, mut to) = (-outside, end);
    if random.is(0.5) {
        (from, to) = (160.0 - from, 160.0 - to);
    }
    // Something that is seen: clothes and cars, not camouflage.
    let differs = random.within(35.0..90.0);
    let level = if view.base > 110.0 { view.base - differs } else { view.base + differs };
    let object = Object {
        seed: random.next(),
        size,
        from: (from, row),
        to: (to, row + random.within(-8.0..8.0)),
        level,
        contrast: random.within(0.0..25.0),
        is_round: random.is(0.5) && !large,
    };
    (from_ms..from_ms + lasts_ms, object)
}
