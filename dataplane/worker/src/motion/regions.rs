//! Changed cells that lie side by side, and what has become of them: something moves there, the light has changed, or something has stopped. Before it:
//! [`super::compare`]; after it: [`super::event`], and [`super::background`], which follows by it.
use super::compare::{ACROSS, CELL, CELLS, Cell, Compared, DOWN};
use super::luma::{HEIGHT, WIDTH};
use crate::protocol::Region;

/// Regions that are told, the largest first.
const REGIONS_MAX: usize = 16;
/// A cell with so many pixels that differ from the background has changed.
const CELL_PIXELS: u32 = 15;
/// One cell of so many has another texture where something moves: what is large and of one grey has that at its edge alone.
const OTHER_CELLS: u32 = 12;
/// One pixel of so many, and so many at least, have changed since the frame before where something moves.
const ACTIVE_PIXELS: u32 = 25;
const ACTIVE_PIXELS_MIN: u32 = 6;

/// What a cell is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Is {
    /// As the background.
    #[default]
    Same,
    /// Brighter or darker.
    Light,
    /// Something else, that does not move.
    Stopped,
    /// Something moves.
    Moving,
}

/// What was found in a frame.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) cells: [Is; CELLS],
    /// Changed pixels of all that moves.
    pub(super) moving_pixels: u32,
    /// The largest of what moves.
    pub(super) moving: Vec<Region>,
}

/// Groups the changed cells.
pub(super) fn find(compared: &Compared) -> Found {
    let mut left: [bool; CELLS] = compared.cells.map(|cell| cell.changed >= CELL_PIXELS);
    let mut found = Found { cells: [Is::Same; CELLS], moving_pixels: 0, moving: Vec::new() };
    let mut group = Vec::with_capacity(CELLS);
    while let Some(first) = left.iter().position(|changed| *changed) {
        take(first, &mut left, &mut group);
        let cells = || group.iter().filter_map(|at| compared.cells.get(*at));
        let sum = |of: fn(&Cell) -> u32| cells().map(of).sum::<u32>();
        let (changed, active) = (sum(|cell| cell.changed), sum(|cell| cell.active));
        let others = sum(|cell| u32::from(cell.is_other));
        let is = if others < (group.len() as u32 / OTHER_CELLS).max(1) {
            Is::Light
        } else if active < (changed / ACTIVE_PIXELS).max(ACTIVE_PIXELS_MIN) {
            Is::Stopped
        } else {
            Is::Moving
        };
        for at in &group {
            if let Some(cell) = found.cells.get_mut(*at) {
                *cell = is;
            }
        }
        if is == Is::Moving {
            found.moving_pixels += changed;
            found.moving.push(around(&group, changed));
        }
    }
    found.moving.sort_by(|a, b| (b.width * b.height).total_cmp(&(a.width * a.height)));
    found.moving.truncate(REGIONS_MAX);
    found
}

/// Takes a cell and all that touch it, and those that touch them, out of `left`.
fn take(first: usize, left: &mut [bool; CELLS], group: &mut Vec<usize>) {
    group.clear();
    let mut take = |at: usize, group: &mut Vec<usize>| {
        if left.get_mut(at).is_some_and(std::mem::take) {
            group.push(at);
        }
    };
    take(first, group);
    let mut next = 0;
    while let Some(&cell) = group.get(next) {
        next += 1;
        let (column, row) = (cell % ACROSS, cell / ACROSS);
        for row in row.saturating_sub(1)..(row + 2).min(DOWN) {
            for column in column.saturating_sub(1)..(column + 2).min(ACROSS) {
                take(row * ACROSS + column, group);
            }
        }
    }
}

/// The box around a group.
fn around(group: &[usize], changed: u32) -> Region {
    let bounds = |of: fn(usize) -> usize| {
        let (least, most) = group.iter().map(|at| of(*at)).fold((usize::MAX, 0), |(l, m), it| (l.min(it), m.max(it)));
        (least * CELL, (most + 1).saturating_sub(least) * CELL)
    };
    let ((x, width), (y, height)) = (bounds(|at| at % ACROSS), bounds(|at| at / ACROSS));
    // Shown to people: three places are enough.
    let part = |length: usize, of: usize| (length as f64 / of as f64 * 1_000.0).round() / 1_000.0;
    Region {
        x: part(x, WIDTH),
        y: part(y, HEIGHT),
        width: part(width, WIDTH),
        height: part(height, HEIGHT),
        score: part(changed as usize, group.len() * CELL * CELL).min(1.0),
    }
}
