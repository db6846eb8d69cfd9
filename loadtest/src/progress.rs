//! Shows a run: a bar on a terminal, a plain line per second elsewhere. On standard error: standard output is the report's.
use std::io::{IsTerminal as _, Write as _, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millstream_loadtest::run::{Tick, Watch};

/// Either way of showing.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = (!quiet && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} s  {wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, quiet }
    }

    /// Makes room for the report.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Progress {
    fn tick(&mut self, tick: &Tick) {
        let text = line(tick);
        match &self.bar {
            Some(bar) => {
                bar.set_length(tick.of.ceil() as u64);
                bar.set_position(tick.seconds.max(0.0) as u64);
                bar.set_message(text);
            }
            None if self.quiet => {}
            // Whoever closed standard error does not want to read this.
            None => drop(writeln!(stderr(), "{:6.1} s  {text}", tick.seconds.max(0.0))),
        }
    }

    fn note(&mut self, note: &str) {
        match &self.bar {
            Some(bar) => bar.println(format!("note: {note}")),
            None => drop(writeln!(stderr(), "note: {note}")),
        }
    }
}

fn line(tick: &Tick) -> String {
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.0}%", share * 100.0));
    let Tick { publishers, viewers, joining, lost, mbit_s, delay_ms, harness_core, server_core, .. } = tick;
    format!(
        "{publishers} on air, {viewers} viewers ({joining} joining, {lost} lost), {mbit_s:.0} Mbit/s, delay {}/{} ms (p50/p99), cpu {} here {} server",
        ms(delay_ms.0),
        ms(delay_ms.1),
        percent(Some(*harness_core)),
        percent(*server_core),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_it_all() {
        let tick = Tick {
            seconds: 3.0,
            of: 5.0,
            publishers: 1,
            viewers: 12,
            joining: 2,
            lost: 0,
            mbit_s: 12.3,
            delay_ms: (Some(1.25), None),
            harness_core: 0.034,
            server_core: None,
        };
        let expected =
            "1 on air, 12 viewers (2 joining, 0 lost), 12 Mbit/s, delay 1.2/- ms (p50/p99), cpu 3% here - server";
        assert_eq!(line(&tick), expected);
    }
}
