//! Tells when a picture becomes dark, and when it is bright again.
use std::sync::atomic::{AtomicBool, Ordering};

use self::exports::millstream::hooks::{meta, motion};

wit_bindgen::generate!({ path: "wit", world: "motion-hook" });

struct Hook;

/// Below this a picture is dark; above the other it is bright again. Between them nothing changes, so that it does not flicker.
const DARK: u32 = 24;
const BRIGHT: u32 = 32;

/// One instance sees all frames of a stream, so it can remember.
static IS_DARK: AtomicBool = AtomicBool::new(false);

impl motion::Guest for Hook {
    fn start(_: motion::Source) -> Result<motion::Wanted, String> {
        IS_DARK.store(false, Ordering::Relaxed);
        Ok(motion::Wanted { width: 160, height: 90, fps: 2.0 })
    }

    fn on_frame(luma: Vec<u8>, _: u32, _: u32, _: u64) -> Option<motion::Event> {
        let sum: u32 = luma.iter().map(|pixel| u32::from(*pixel)).sum();
        let mean = sum / (luma.len() as u32).max(1);
        let was_dark = IS_DARK.load(Ordering::Relaxed);
        let is_dark = mean < DARK || (was_dark && mean <= BRIGHT);
        IS_DARK.store(is_dark, Ordering::Relaxed);
        // Changes are told, not states.
        (is_dark != was_dark).then(|| motion::Event {
            active: is_dark,
            score: 1.0 - mean as f32 / 255.0,
            regions: vec![],
            label: "dark".into(),
            extra: vec![],
        })
    }
}

impl meta::Guest for Hook {
    fn describe() -> meta::Info {
        meta::Info {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings: vec![],
            extra: vec![],
        }
    }

    fn check_config() -> Result<(), String> {
        Ok(())
    }
}

export!(Hook);
