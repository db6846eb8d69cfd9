//! What of a frame differs from the background and from the frame before, by cells of 10 x 10 pixels. Before it: [`super::background`]; after it:
//! [`super::regions`].
use super::background::{Background, PARTS};
use super::luma::{HEIGHT, Luma, WIDTH};
use millstream_proto::zones::{Zone, Zones};

/// Pixels of a cell, across and down.
pub(super) const CELL: usize = 10;
pub(super) const ACROSS: usize = WIDTH / CELL;
pub(super) const DOWN: usize = HEIGHT / CELL;
pub(super) const CELLS: usize = ACROSS * DOWN;
const CELL_PIXELS: f32 = (CELL * CELL) as f32;
/// Sum of the squares of a pixel's distance from the middle of its cell, over the cell, across or down.
const SLOPES: f32 = 825.0;
/// What is left of a cell's differences, a pixel, when brightness, a slope over the cell and contrast are taken out of them.
const LEFT_OVER: f32 = CELL_PIXELS - 4.0;
/// Noise that counts as a change, in standard deviations.
const NOISE_TIMES: f32 = 4.0;
/// A cell with so many changed pixels has changed from one frame to the next.
const FRAME_CELL_PIXELS: u32 = 25;
/// Contrast may change so much with the light: to less than a third of it is another texture, and so is to more than three times.
const CONTRAST: std::ops::RangeInclusive<f32> = -0.7..=2.0;
/// Pixels in a row that count.
const RUN: usize = 3;

/// One cell.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Cell {
    /// Pixels that differ from the background, three in a row at least.
    pub(super) changed: u32,
    /// Pixels that differ from the frame before.
    pub(super) active: u32,
    /// Its texture is another one than the background's.
    pub(super) is_other: bool,
    /// Pixels that differ from the frame before, with the light of the whole picture.
    from_before: u32,
}

/// All cells.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) cells: [Cell; CELLS],
}

/// Sums over a cell: of differences from the background, of the background, and of both; and of differences from the frame before.
#[derive(Clone, Copy, Default)]
struct Sums {
    d: f32,
    dx: f32,
    dy: f32,
    dd: f32,
    b: f32,
    bx: f32,
    by: f32,
    bb: f32,
    db: f32,
    f: f32,
}

impl Compared {
    /// Compares a frame; a pixel differs from `diff` grey levels on.
    pub(super) fn of(luma: &Luma, background: &mut Background, diff: u8) -> Self {
        let sums = sums(luma, background);
        let shift = median(sums.map(|sums| sums.d / CELL_PIXELS));
        let shift_before = median(sums.map(|sums| sums.f / CELL_PIXELS));
        let noise = background.noise(noise(luma, background, &sums));
        let least = f32::from(diff).max(NOISE_TIMES * noise);
        let mut cells = [Cell::default(); CELLS];
        count(luma, background, (least, shift, shift_before), &mut cells);
        let texture = (f32::from(diff) / 2.0).powi(2).max((NOISE_TIMES * noise).powi(2) / 2.0);
        for (cell, sums) in cells.iter_mut().zip(&sums) {
            cell.is_other = sums.left_over() > texture;
        }
        Self { cells }
    }

    /// Leaves out what differs elsewhere.
    pub(super) fn keep(&mut self, watched: &[bool; CELLS]) {
        for (cell, _) in self.cells.iter_mut().zip(watched).filter(|(_, watched)| !**watched) {
            *cell = Cell::default();
        }
    }

    /// Cells that have changed since the frame before.
    pub(super) fn cells_of_frame_before(&self) -> usize {
        self.cells.iter().filter(|cell| cell.from_before >= FRAME_CELL_PIXELS).count()
    }
}

/// Cells in which motion counts: those whose middle is in a zone. Across or down, a zone that is thinner than a cell has the cells that its own middle is in.
pub(super) fn watched(zones: Zones) -> [bool; CELLS] {
    let (across, down) = (100.0 / ACROSS as f64, 100.0 / DOWN as f64);
    std::array::from_fn(|at| {
        let (left, top) = ((at % ACROSS) as f64 * across, (at / ACROSS) as f64 * down);
        let is_of = |zone: Zone| {
            let (x, y) = zone.middle();
            let of = |from: f64, cell: f64, zone_from: u8, zone_length: u8, zone_middle: f64| {
                let (zone_from, zone_length) = (f64::from(zone_from), f64::from(zone_length));
                (zone_from..zone_from + zone_length).contains(&(from + cell / 2.0))
                    || zone_length < cell && (from..from + cell).contains(&zone_middle)
            };
            of(left, across, zone.left, zone.width, x) && of(top, down, zone.top, zone.height, y)
        };
        zones.is_whole() || zones.iter().any(is_of)
    })
}

impl Sums {
    /// The mean square of differences that no change of light explains.
    fn left_over(&self) -> f32 {
        let without = |product: f32, one: (f32, f32, f32), other: (f32, f32, f32)| {
            product - one.0 * other.0 / CELL_PIXELS - (one.1 * other.1 + one.2 * other.2) / SLOPES
        };
        let (d, b) = ((self.d, self.dx, self.dy), (self.b, self.bx, self.by));
        let (dd, bb, db) = (without(self.dd, d, d), without(self.bb, b, b), without(self.db, d, b));
        let contrast = if bb > 1.0 { db / bb } else { 0.0 };
        let explained = if CONTRAST.contains(&contrast) { contrast * db } else { 0.0 };
        (dd - explained).max(0.0) / LEFT_OVER
    }
}

/// Rows of a frame with those of the background and of the frame before.
fn rows<'a>(luma: &'a Luma, background: &'a Background) -> impl Iterator<Item = (&'a [u8], &'a [i16], &'a [u8])> {
    let rows = luma.pixels().chunks_exact(WIDTH).zip(background.pixels().chunks_exact(WIDTH));
    rows.zip(background.before().chunks_exact(WIDTH)).map(|((now, background), before)| (now, background, before))
}

fn sums(luma: &Luma, background: &Background) -> [Sums; CELLS] {
    let mut all = [Sums::default(); CELLS];
    for (row, (now, background, before)) in rows(luma, background).enumerate() {
        let y = (row % CELL) as f32 - (CELL as f32 - 1.0) / 2.0;
        let cells = now.chunks_exact(CELL).zip(background.chunks_exact(CELL)).zip(before.chunks_exact(CELL));
        for (sums, ((now, background), before)) in all.iter_mut().skip(row / CELL * ACROSS).zip(cells) {
            let (mut d_row, mut b_row) = (0.0, 0.0);
            for (column, ((now, background), before)) in now.iter().zip(background).zip(before).enumerate() {
                let x = column as f32 - (CELL as f32 - 1.0) / 2.0;
                let (now, b) = (f32::from(*now), f32::from(*background) / PARTS as f32);
                let d = now - b;
                d_row += d;
                b_row += b;
                sums.dx += d * x;
                sums.bx += b * x;
                sums.dd += d * d;
                sums.bb += b * b;
                sums.db += d * b;
                sums.f += now - f32::from(*before);
            }
            sums.d += d_row;
            sums.b += b_row;
            sums.dy += d_row * y;
            sums.by += b_row * y;
        }
    }
    all
}

/// The standard deviation of the noise, grey levels: of the cell that is in the middle by that.
fn noise(luma: &Luma, background: &Background, sums: &[Sums; CELLS]) -> f32 {
    /// Of the mean deviation of differences of two normal variables to the standard deviation of one.
    const DEVIATIONS: f32 = std::f32::consts::FRAC_2_SQRT_PI;
    let mut all = [0.0_f32; CELLS];
    for (row, (now, _, before)) in rows(luma, background).enumerate() {
        let cells = now.chunks_exact(CELL).zip(before.chunks_exact(CELL)).zip(sums.iter().skip(row / CELL * ACROSS));
        for (sum, ((now, before), sums)) in all.iter_mut().skip(row / CELL * ACROSS).zip(cells) {
            let mean = sums.f / CELL_PIXELS;
            *sum += now.iter().zip(before).map(|(now, b)| (f32::from(*now) - f32::from(*b) - mean).abs()).sum::<f32>();
        }
    }
    median(all) / CELL_PIXELS / DEVIATIONS
}

/// Counts changed pixels, where the light of the whole picture has changed by so much.
fn count(luma: &Luma, background: &Background, levels: (f32, f32, f32), cells: &mut [Cell; CELLS]) {
    let (least, shift, shift_before) = levels;
    // In parts of a grey level.
    let (least, shift) = ((least * PARTS as f32) as i32, (shift * PARTS as f32) as i32);
    let shift_before = (shift_before * PARTS as f32) as i32;
    for (row, (now, background, before)) in rows(luma, background).enumerate() {
        let mut run = 0;
        for (column, ((now, background), before)) in now.iter().zip(background).zip(before).enumerate() {
            let Some(cell) = cells.get_mut(row / CELL * ACROSS + column / CELL) else { continue };
            let now = i32::from(*now) * PARTS;
            let from_before = now - i32::from(*before) * PARTS;
            cell.from_before += u32::from(from_before.abs() >= least);
            cell.active += u32::from((from_before - shift_before).abs() >= least);
            run = if (now - i32::from(*background) - shift).abs() >= least { run + 1 } else { 0 };
            if run >= RUN {
                // Those before it are in this cell or in the one to the left: close enough.
                cell.changed += if run == RUN { RUN as u32 } else { 1 };
            }
        }
    }
}

fn median(mut values: [f32; CELLS]) -> f32 {
    *values.select_nth_unstable_by(CELLS / 2, f32::total_cmp).1
}
