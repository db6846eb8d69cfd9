//! The guest that finds motion.
use millstream_hooks::wit::motion::{Event, Source};
use millstream_hooks::{Motion, World};

use super::built;
use crate::fixture::target;

const WIDTH: u32 = 160;
const HEIGHT: u32 = 90;
const FRAME_MS: u64 = 200;

/// A picture of 160x90 with noise of +-4, as a camera has it.
struct Scene {
    random: u32,
    frames: u64,
    motion: Motion,
}

impl Scene {
    fn new(config: &[(&str, &str)]) -> Self {
        let hook = built("motion", World::Motion, config);
        assert_eq!(hook.check_config().result.unwrap(), Ok(()), "{config:?}");
        let mut motion = hook.motion().result.unwrap();
        let source = Source { target: target(&[]), width: 1280, height: 720, fps_num: 25, fps_den: 1, extra: vec![] };
        let wanted = motion.start(&source).result.unwrap().unwrap();
        assert_eq!((wanted.width, wanted.height), (WIDTH, HEIGHT));
        Self { random: 1, frames: 0, motion }
    }

    /// The next frame: a wall of this brightness, and what is in front of it (left, top, size, brightness).
    fn frame(&mut self, wall: u8, square: Option<(u32, u32, u32, u8)>) -> Option<Event> {
        let mut luma = Vec::with_capacity((WIDTH * HEIGHT) as usize);
        for y in 0..HEIGHT {
            for x in 0..WIDTH {
                self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (self.random >> 24) % 9;
                let within = |from: u32, size: u32, at: u32| (from..from + size).contains(&at);
                let seen = square.filter(|(left, top, size, _)| within(*left, *size, x) && within(*top, *size, y));
                luma.push((u32::from(seen.map_or(wall, |it| it.3)) + noise).saturating_sub(4).min(255) as u8);
            }
        }
        self.frames += 1;
        self.motion.on_frame(&luma, WIDTH, HEIGHT, self.frames * FRAME_MS).result.unwrap()
    }

    fn still(&mut self, frames: u32) -> Vec<Event> {
        (0..frames).filter_map(|_| self.frame(100, None)).collect()
    }
}

#[test]
fn motion_finds_a_moving_square_and_where_it_is() {
    let mut scene = Scene::new(&[]);
    assert_eq!(scene.still(200), [], "noise is no motion");
    // 20 pixels wide, going right at 4 a frame.
    let events: Vec<(u32, Event)> =
        (0..20).filter_map(|n| scene.frame(100, Some((20 + 4 * n, 30, 20, 200))).map(|event| (n, event))).collect();
    let [(1, event)] = &events[..] else { panic!("one event, at the second frame: {events:?}") };
    assert!(event.active && event.label == "motion" && event.score > 0.0, "{event:?}");
    let [region] = &event.regions[..] else { panic!("{event:?}") };
    // It is at 24 to 44 across, 30 to 50 down, in cells of ten.
    assert!(region.x <= 30 && region.x + region.width >= 40 && region.width <= 40, "{region:?}");
    assert_eq!((region.y, region.height), (30, 20), "{region:?}");
    assert!(region.score > 0.5, "{region:?}");
    // 3 s without motion end it, once. The background has taken up a trace of the square meanwhile, which is below the threshold.
    let ended = scene.still(40);
    assert_eq!(ended.iter().map(|event| event.active).collect::<Vec<_>>(), [false]);
    // And it can begin again.
    let again: Vec<Event> = (0..5).filter_map(|n| scene.frame(100, Some((100 + 4 * n, 10, 20, 10)))).collect();
    assert!(again.len() == 1 && again[0].active, "{again:?}");
}

#[test]
fn motion_has_hysteresis_at_both_ends() {
    let mut scene = Scene::new(&[("start-frames", "3"), ("hold-ms", "1000"), ("start-cells", "4")]);
    scene.still(10);
    // Two frames are too few, again and again.
    for n in 0..20 {
        assert_eq!(scene.frame(100, Some((20 + 3 * n, 30, 20, 200))), None);
        assert_eq!(scene.frame(100, Some((22 + 3 * n, 30, 20, 200))), None);
        assert_eq!(scene.still(2), []);
    }
    // One cell is too little to begin with.
    for _ in 0..10 {
        assert_eq!(scene.frame(100, Some((40, 40, 10, 200))), None);
    }
    scene.still(20);
    let mut began = (0..3).filter_map(|n| scene.frame(100, Some((20 + 4 * n, 30, 20, 200))));
    assert!(began.next().unwrap().active);
    drop(began);
    // Once it has begun one cell is enough to go on, and pauses of 0.8 s do not end it.
    for _ in 0..10 {
        assert_eq!(scene.frame(100, Some((100, 60, 10, 200))), None);
        assert_eq!(scene.still(4), []);
    }
    let ended = scene.still(6);
    assert!(ended.len() == 1 && !ended[0].active, "{ended:?}");
}

/// What the first frame has in it, and leaves, is not seen there for a minute, and neither is what has stopped.
#[test]
fn motion_ends_soon_where_something_has_left_or_has_stopped() {
    // Dark and bright, and from right to left.
    for (brightness, is_back) in [(200, false), (10, true)] {
        let mut scene = Scene::new(&[]);
        let square = |n: u32| Some((if is_back { 110 - 6 * n } else { 20 + 6 * n }, 30, 24, brightness));
        let began: Vec<Event> = (0..15).filter_map(|n| scene.frame(100, square(n))).collect();
        assert!(began.len() == 1 && began[0].active, "{began:?}");
        // Three seconds for the place where it was, and three without motion.
        let ended = scene.still(35);
        assert_eq!(ended.iter().map(|event| event.active).collect::<Vec<_>>(), [false]);
        assert_eq!(scene.still(100), [], "nothing moves");
        // It comes back and stays, in the middle: that ends as soon.
        let began: Vec<Event> = (0..8).filter_map(|n| scene.frame(100, square(n))).collect();
        assert!(began.len() == 1 && began[0].active, "{began:?}");
        let ended: Vec<Event> = (0..35).filter_map(|_| scene.frame(100, square(7))).collect();
        assert_eq!(ended.iter().map(|event| event.active).collect::<Vec<_>>(), [false]);
        assert!((0..100).all(|_| scene.frame(100, square(7)).is_none()), "it is usual now");
        // And that it leaves is motion.
        let left: Vec<Event> = (8..15).filter_map(|n| scene.frame(100, square(n))).collect();
        assert!(left.len() == 1 && left[0].active, "{left:?}");
    }
}

/// What moves slowly and is of one grey differs from the frame before at its edges alone.
#[test]
fn motion_that_is_slow_is_not_taken_for_what_has_stopped() {
    let mut scene = Scene::new(&[]);
    scene.still(20);
    // 12 s at a pixel a frame: its middle is the same for longer than what has stopped may be.
    let events: Vec<Event> = (0..60).filter_map(|n| scene.frame(100, Some((20 + n, 20, 40, 200)))).collect();
    assert!(events.len() == 1 && events[0].active, "{events:?}");
}

#[test]
fn motion_is_not_light_and_not_outside_of_what_is_watched() {
    let mut scene = Scene::new(&[]);
    scene.still(20);
    for wall in [180, 20, 250, 100] {
        assert!((0..10).all(|_| scene.frame(wall, None).is_none()), "the light was switched");
    }
    // Slowly brighter: a cloud goes away.
    assert!((100..160).all(|wall| (0..8).all(|_| scene.frame(wall, None).is_none())));
    // The lower half only.
    let mut scene = Scene::new(&[("watch", "0,50,100,50")]);
    scene.still(20);
    assert!((0..10).all(|n| scene.frame(100, Some((20 + 4 * n, 10, 20, 200))).is_none()), "above");
    assert!((0..10).any(|n| scene.frame(100, Some((20 + 4 * n, 60, 20, 200))).is_some()), "below");
    // Two at once, far from each other.
    let mut scene = Scene::new(&[]);
    scene.still(5);
    let mut luma = vec![100; (WIDTH * HEIGHT) as usize];
    scene.motion.on_frame(&luma, WIDTH, HEIGHT, 5000).result.unwrap();
    for (x, y) in (0..20).flat_map(|x| (0..20).map(move |y| (x, y))) {
        luma[((10 + y) * WIDTH + 10 + x) as usize] = 200;
        luma[((60 + y) * WIDTH + 130 + x / 2) as usize] = 0;
    }
    scene.motion.on_frame(&luma, WIDTH, HEIGHT, 5200).result.unwrap();
    let event = scene.motion.on_frame(&luma, WIDTH, HEIGHT, 5400).result.unwrap().unwrap();
    let boxes: Vec<_> = event.regions.iter().map(|it| (it.x, it.y, it.width, it.height)).collect();
    assert_eq!(boxes, [(10, 10, 20, 20), (130, 60, 10, 20)]);
    // A frame of another size is counted and passed over.
    assert_eq!(scene.motion.on_frame(&vec![0; 320 * 180], 320, 180, 6000).result.unwrap(), None);
}

#[test]
fn motion_refuses_a_configuration_that_watches_nothing() {
    for config in [
        ("watch", "0,0,1,1"),
        ("watch", "50,50,60,10"),
        ("watch", "a,b,c,d"),
        ("watch", "18446744073709551615,1,1,1"),
        ("threshold", "0"),
        ("hold-ms", "soon"),
    ] {
        let hook = built("motion", World::Motion, &[config]);
        assert!(hook.check_config().result.unwrap().is_err(), "{config:?}");
        let source = Source { target: target(&[]), width: 160, height: 90, fps_num: 0, fps_den: 1, extra: vec![] };
        assert!(hook.motion().result.unwrap().start(&source).result.unwrap().is_err());
    }
}
