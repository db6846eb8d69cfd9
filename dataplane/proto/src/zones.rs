//! Where in a picture motion counts: rectangles, in percent of the picture. Before it: the stream's setting `motion_zones`; after it: whoever looks for motion.
use std::fmt;
use std::str::FromStr;

/// Rectangles of one setting.
pub const ZONES_MAX: usize = 8;
/// Bytes of a setting's text.
pub const ZONES_TEXT_BYTES_MAX: usize = 160;

/// A rectangle, percent of the picture's width and height.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Zone {
    /// From the left edge, 0 to 99.
    pub left: u8,
    /// From the upper edge, 0 to 99.
    pub top: u8,
    /// Across: it ends within the picture.
    pub width: u8,
    /// Down, in the same way.
    pub height: u8,
}

impl Zone {
    /// Whether a point is in it; both percent.
    pub fn contains(self, x: f64, y: f64) -> bool {
        let within =
            |at: f64, from: u8, length: u8| (f64::from(from)..f64::from(from) + f64::from(length)).contains(&at);
        within(x, self.left, self.width) && within(y, self.top, self.height)
    }

    /// The point in its middle, percent.
    pub fn middle(self) -> (f64, f64) {
        let middle = |from: u8, length: u8| f64::from(from) + f64::from(length) / 2.0;
        (middle(self.left, self.width), middle(self.top, self.height))
    }
}

/// Where motion counts. Written `LEFT,TOP,WIDTH,HEIGHT`, with semicolons between: `0,50,100,50; 10,10,20,20`. Empty is the whole picture.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Zones([Option<Zone>; ZONES_MAX]);

/// Why a text says no zones.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZonesError {
    /// There are too many.
    #[error("there are more than {ZONES_MAX} zones")]
    Many,
    /// One of them is none; it is quoted.
    #[error(
        "{0:?} is no zone; give LEFT,TOP,WIDTH,HEIGHT in whole percent of the picture, inside of it, as in \"0,50,100,50; 10,10,20,20\""
    )]
    Zone(String),
}

/// Characters of what is quoted.
const QUOTED_CHARS_MAX: usize = 40;

impl Zones {
    /// The whole picture.
    pub const WHOLE: Self = Self([None; ZONES_MAX]);

    /// Whether motion counts everywhere.
    pub fn is_whole(&self) -> bool {
        *self == Self::WHOLE
    }

    /// The rectangles.
    pub fn iter(&self) -> impl Iterator<Item = Zone> {
        self.0.iter().flatten().copied()
    }
}

impl FromStr for Zones {
    type Err = ZonesError;

    fn from_str(text: &str) -> Result<Self, ZonesError> {
        let mut zones = Self::WHOLE;
        let mut places = zones.0.iter_mut();
        for text in text.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            let zone = zone(text).ok_or_else(|| ZonesError::Zone(text.chars().take(QUOTED_CHARS_MAX).collect()))?;
            *places.next().ok_or(ZonesError::Many)? = Some(zone);
        }
        Ok(zones)
    }
}

fn zone(text: &str) -> Option<Zone> {
    let mut numbers = text.split(',').map(|number| number.trim().parse::<u8>().ok());
    let mut next = || numbers.next().flatten();
    let (left, top, width, height) = (next()?, next()?, next()?, next()?);
    let is_inside = |from: u8, length: u8| length > 0 && u16::from(from) + u16::from(length) <= 100;
    let is_zone = is_inside(left, width) && is_inside(top, height) && numbers.next().is_none();
    is_zone.then_some(Zone { left, top, width, height })
}

impl fmt::Display for Zones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Zone { left, top, width, height }) in self.iter().enumerate() {
            let between = if at > 0 { "; " } else { "" };
            write!(f, "{between}{left},{top},{width},{height}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_read_and_written() {
        let zones: Zones = " 0,50,100,50;10, 10,20,20; ".parse().unwrap();
        assert_eq!(zones.to_string(), "0,50,100,50; 10,10,20,20");
        assert_eq!(zones.to_string().parse(), Ok(zones));
        assert!("".parse::<Zones>().unwrap().is_whole() && !zones.is_whole());
        let first = zones.iter().next().unwrap();
        assert!(first.contains(0.0, 50.0) && first.contains(99.9, 99.9) && !first.contains(50.0, 49.9));
        assert_eq!(first.middle(), (50.0, 75.0));
        for wrong in
            ["0,0,0,10", "60,0,50,10", "0,0,10", "0,0,10,10,10", "a,0,1,1", "-1,0,10,10", "0,0,300,10", "0 0 10 10"]
        {
            assert_eq!(wrong.parse::<Zones>(), Err(ZonesError::Zone(wrong.to_owned())));
        }
        assert_eq!("0,0,1,1;".repeat(9).parse::<Zones>(), Err(ZonesError::Many));
        let all = ["99,99,1,1"; ZONES_MAX].join("; ");
        assert!(all.len() <= ZONES_TEXT_BYTES_MAX && all.parse::<Zones>().is_ok());
    }
}
