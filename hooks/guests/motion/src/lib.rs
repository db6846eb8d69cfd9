//! Finds motion by comparing each frame with what the camera usually sees, and says where it is.
//!
//! What to learn here: a motion hook keeps its memory from frame to frame, and tells changes, not states. The picture is 160x90 in cells of 10x10.
//! A pixel has changed when it differs by `threshold` from the background, which follows the picture slowly. A cell moves when a quarter of its
//! pixels has changed, so that noise, which is everywhere and thin, moves none. Cells side by side are one region.
//!
//! Hysteresis keeps the event from flickering: it begins after `start-frames` frames in a row with at least `start-cells` moving cells, goes on
//! while any cell moves, and ends after `hold-ms` without one. When more than half of the picture changes at once, the light has: the
//! background is taken anew. `watch = "0,50,100,50"` (left, top, width, height in percent; several with `;`) leaves the rest of the picture out.
//!
//! A region that differs from the background without changing from frame to frame is a car that has been parked, or the place of one that the first
//! frame had in it and that has left. It becomes background after three seconds; a slow background alone would take a minute for it.
use std::sync::{Mutex, PoisonError};

use self::exports::millstream::hooks::{meta, motion};
use self::millstream::hooks::host;

wit_bindgen::generate!({ path: "../../wit", world: "motion-hook" });

struct FrameDifference;

const WIDTH: usize = 160;
const HEIGHT: usize = 90;
const CELL: usize = 10;
const ACROSS: usize = WIDTH / CELL;
const DOWN: usize = HEIGHT / CELL;
const CELLS: usize = ACROSS * DOWN;
/// Changed pixels that make a cell move.
const CELL_MOVES: u8 = (CELL * CELL / 4) as u8;
/// The background comes nearer to the picture by one step of brightness every so many frames.
const FOLLOWS_EVERY: u32 = 4;
/// A region becomes background when nothing in it has moved for so long.
const ABSORBED_AFTER_MS: u64 = 3000;
/// Where something moves, one of so many changed pixels, and so many at least, differ from the frame before: at its edges, if it is of one grey.
const ACTIVE_PART: u32 = 50;
const ACTIVE_LEAST: u32 = 6;
const REGIONS_MAX: usize = 16;

struct Config {
    threshold: u8,
    start_cells: usize,
    start_frames: u32,
    hold_ms: u64,
    watched: [bool; CELLS],
}

/// What is kept from frame to frame.
struct State {
    config: Config,
    /// Empty until the first frame.
    background: Vec<u8>,
    /// The frame before.
    before: Vec<u8>,
    /// When each cell was last like the background, or in a region in which something moves.
    moved_in_ms: [u64; CELLS],
    frames: u32,
    /// Frames in a row with enough motion.
    in_a_row: u32,
    active: bool,
    moved_at_ms: u64,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

fn number(key: &str, usual: u64, (least, most): (u64, u64)) -> Result<u64, String> {
    let Some(text) = host::config(key) else { return Ok(usual) };
    let number = text.parse().ok().filter(|it| (least..=most).contains(it));
    number.ok_or_else(|| format!("{key} is {text:?}: a number from {least} to {most}"))
}

fn config() -> Result<Config, String> {
    let areas = host::config("watch").unwrap_or_else(|| "0,0,100,100".into());
    let mut watched = [false; CELLS];
    for area in areas.split(';').filter(|area| !area.trim().is_empty()) {
        let numbers: Vec<usize> = area.split(',').filter_map(|number| number.trim().parse().ok()).collect();
        let [x, y, width, height] = numbers[..] else { return Err(format!("watch: {area:?} is not four numbers")) };
        if x > 100 || y > 100 || width > 100 || height > 100 || x + width > 100 || y + height > 100 {
            return Err(format!("watch: {area:?} is not within the picture, in percent"));
        }
        for (n, watched) in watched.iter_mut().enumerate() {
            // By the cell's middle.
            let (across, down) = ((2 * (n % ACROSS) + 1) * 50 / ACROSS, (2 * (n / ACROSS) + 1) * 50 / DOWN);
            *watched |= (x..x + width).contains(&across) && (y..y + height).contains(&down);
        }
    }
    if !watched.contains(&true) {
        return Err("watch: no cell of the picture is within it".into());
    }
    Ok(Config {
        threshold: number("threshold", 24, (2, 250))? as u8,
        start_cells: number("start-cells", 2, (1, CELLS as u64))? as usize,
        start_frames: number("start-frames", 2, (1, 100))? as u32,
        hold_ms: number("hold-ms", 3000, (0, 3_600_000))?,
        watched,
    })
}

/// Pixels of each cell that differ from something.
type Counts = [u8; CELLS];

/// Pixels of each cell that differ by `threshold`. Plain loops over rows, which the compiler makes 16 pixels a step.
#[target_feature(enable = "simd128")]
fn compare(luma: &[u8], with: &[u8], threshold: u8) -> Counts {
    let mut differ = [0; CELLS];
    let mut columns = [0; WIDTH];
    for (row, (luma, with)) in luma.chunks_exact(WIDTH).zip(with.chunks_exact(WIDTH)).enumerate() {
        for ((columns, now), before) in columns.iter_mut().zip(luma).zip(with) {
            *columns += u8::from(now.abs_diff(*before) >= threshold);
        }
        // At the end of a row of cells; a column has counted to at most 10.
        if row % CELL == CELL - 1 {
            for (cell, columns) in differ[row / CELL * ACROSS..].iter_mut().zip(columns.chunks_exact(CELL)) {
                *cell = columns.iter().sum();
            }
            columns = [0; WIDTH];
        }
    }
    differ
}

/// The background comes nearer to the picture by one step.
#[target_feature(enable = "simd128")]
fn follow(luma: &[u8], background: &mut [u8]) {
    for (now, before) in luma.iter().zip(background) {
        *before = *before + u8::from(now > before) - u8::from(now < before);
    }
}

/// Moving cells side by side.
fn groups(moving: &[bool; CELLS]) -> Vec<Vec<usize>> {
    let mut left = *moving;
    let mut groups = Vec::new();
    while let Some(first) = left.iter().position(|cell| *cell) {
        left[first] = false;
        let (mut group, mut next) = (vec![first], 0);
        while let Some(cell) = group.get(next) {
            let (column, row) = (cell % ACROSS, cell / ACROSS);
            next += 1;
            for row in row.saturating_sub(1)..(row + 2).min(DOWN) {
                for column in column.saturating_sub(1)..(column + 2).min(ACROSS) {
                    let beside = row * ACROSS + column;
                    if std::mem::take(&mut left[beside]) {
                        group.push(beside);
                    }
                }
            }
        }
        groups.push(group);
    }
    groups
}

fn sum(group: &[usize], counts: &Counts) -> u32 {
    group.iter().map(|cell| u32::from(counts[*cell])).sum()
}

/// The box around a group, and how much of it has changed.
fn region(group: &[usize], changed: &Counts) -> motion::Region {
    let bounds = |of: fn(usize) -> usize| {
        group.iter().fold((usize::MAX, 0), |(least, most), cell| (least.min(of(*cell)), most.max(of(*cell))))
    };
    let (x, y) = (bounds(|cell| cell % ACROSS), bounds(|cell| cell / ACROSS));
    motion::Region {
        x: (x.0 * CELL) as u32,
        y: (y.0 * CELL) as u32,
        width: ((x.1 - x.0 + 1) * CELL) as u32,
        height: ((y.1 - y.0 + 1) * CELL) as u32,
        score: sum(group, changed) as f32 / (group.len() * CELL * CELL) as f32,
    }
}

impl State {
    fn on_frame(&mut self, luma: &[u8], pts_ms: u64) -> Option<motion::Event> {
        if self.background.is_empty() {
            (self.background, self.before) = (luma.to_vec(), luma.to_vec());
            self.moved_in_ms = [pts_ms; CELLS];
        }
        let changed = compare(luma, &self.background, self.config.threshold);
        let active = compare(luma, &self.before, self.config.threshold);
        self.before.copy_from_slice(luma);
        self.frames = self.frames.wrapping_add(1);
        if self.frames % FOLLOWS_EVERY == 0 {
            follow(luma, &mut self.background);
        }
        let moving: [bool; CELLS] =
            std::array::from_fn(|cell| changed[cell] >= CELL_MOVES && self.config.watched[cell]);
        let (count, watched) =
            (moving.iter().filter(|cell| **cell).count(), self.config.watched.iter().filter(|cell| **cell).count());
        // Of the whole picture: the light, or a cut.
        if changed.iter().filter(|changed| **changed >= CELL_MOVES).count() * 2 > CELLS {
            self.background.copy_from_slice(luma);
            self.in_a_row = 0;
            return self.end(pts_ms);
        }
        let mut groups = groups(&moving);
        self.absorb(luma, &groups, (&changed, &active), pts_ms);
        self.in_a_row = if count >= self.config.start_cells { self.in_a_row + 1 } else { 0 };
        if count > 0 {
            self.moved_at_ms = pts_ms;
        }
        if self.active {
            return self.end(pts_ms);
        }
        if self.in_a_row < self.config.start_frames {
            return None;
        }
        self.active = true;
        let score = count as f32 / watched as f32;
        // The largest first.
        groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
        let regions = groups.iter().take(REGIONS_MAX).map(|group| region(group, &changed)).collect();
        Some(event(true, score.min(1.0), regions))
    }

    /// What has not moved for long enough becomes background.
    fn absorb(&mut self, luma: &[u8], groups: &[Vec<usize>], (changed, active): (&Counts, &Counts), pts_ms: u64) {
        let is_still = |group: &&Vec<usize>| sum(group, active) < (sum(group, changed) / ACTIVE_PART).max(ACTIVE_LEAST);
        let mut moves = [true; CELLS];
        groups.iter().filter(is_still).flatten().for_each(|cell| moves[*cell] = false);
        for (cell, (moves, moved_ms)) in moves.iter().zip(&mut self.moved_in_ms).enumerate() {
            // Times may begin anew.
            if *moves || *moved_ms > pts_ms {
                *moved_ms = pts_ms;
            }
            if pts_ms - *moved_ms < ABSORBED_AFTER_MS {
                continue;
            }
            let first = cell / ACROSS * CELL * WIDTH + cell % ACROSS * CELL;
            for row in (first..).step_by(WIDTH).take(CELL) {
                self.background[row..row + CELL].copy_from_slice(&luma[row..row + CELL]);
            }
        }
    }

    /// The end of the event, when it has been still for long enough.
    fn end(&mut self, pts_ms: u64) -> Option<motion::Event> {
        if !self.active || pts_ms.saturating_sub(self.moved_at_ms) < self.config.hold_ms {
            return None;
        }
        (self.active, self.in_a_row) = (false, 0);
        Some(event(false, 0.0, vec![]))
    }
}

fn event(active: bool, score: f32, regions: Vec<motion::Region>) -> motion::Event {
    motion::Event { active, score, regions, label: "motion".into(), extra: vec![] }
}

impl motion::Guest for FrameDifference {
    fn start(_: motion::Source) -> Result<motion::Wanted, String> {
        let config = config()?;
        let state = State {
            config,
            background: vec![],
            before: vec![],
            moved_in_ms: [0; CELLS],
            frames: 0,
            in_a_row: 0,
            active: false,
            moved_at_ms: 0,
        };
        *STATE.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        Ok(motion::Wanted { width: WIDTH as u32, height: HEIGHT as u32, fps: 5.0 })
    }

    fn on_frame(luma: Vec<u8>, width: u32, height: u32, pts_ms: u64) -> Option<motion::Event> {
        // The size that was asked for, or as near as the server can; this hook takes no other.
        if (width as usize, height as usize, luma.len()) != (WIDTH, HEIGHT, WIDTH * HEIGHT) {
            host::count("other_sizes", 1);
            return None;
        }
        STATE.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.on_frame(&luma, pts_ms)
    }
}

impl meta::Guest for FrameDifference {
    fn describe() -> meta::Info {
        let setting = |name: &str, about: &str, default: &str| meta::Setting {
            name: name.into(),
            about: about.into(),
            kind: "text".into(),
            required: false,
            default: Some(default.into()),
            extra: vec![],
        };
        meta::Info {
            name: "motion".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings: vec![
                setting("threshold", "The difference of brightness, out of 255, that counts.", "24"),
                setting("start-cells", "Moving cells, out of 144, with which an event begins.", "2"),
                setting("start-frames", "Frames in a row that it takes.", "2"),
                setting("hold-ms", "Stillness after which it ends.", "3000"),
                setting("watch", "Parts of the picture, in percent: left,top,width,height;...", "0,0,100,100"),
            ],
            extra: vec![],
        }
    }

    fn check_config() -> Result<(), String> {
        config().map(|_| ())
    }
}

export!(FrameDifference);
