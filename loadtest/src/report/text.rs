//! The report for people: what went wrong first, then what was measured.
use std::fmt;

use super::{Counters, Limit, Report, Steady, Summary, Verdict};
use crate::probe::VOID_P99_MS;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict {
            Verdict::Passed => writeln!(f, "passed")?,
            Verdict::Failed => writeln!(f, "FAILED")?,
            Verdict::Void => writeln!(
                f,
                "VOID: the machine was too busy; a thread that slept 1 ms woke {} ms late (99%), and {VOID_P99_MS} ms is the most at which times mean something",
                number(self.ms.probe.p99),
            )?,
        }
        if let Some(why) = &self.ended_early {
            writeln!(f, "  ended early, after {:.1} s: {why}", self.seconds)?;
        }
        if self.interrupted {
            writeln!(f, "  interrupted after {:.1} s", self.seconds)?;
        }
        for (what, count) in &self.troubles {
            writeln!(f, "  {count} x {what}")?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        writeln!(f, "\nload")?;
        let publish = &self.plan.publish;
        writeln!(
            f,
            "  publishers   {} of {} on air; {} frames, {}",
            self.publishers_on_air,
            publish.count,
            self.published_frames,
            bytes(self.published_bytes)
        )?;
        let viewers = &self.viewers;
        writeln!(
            f,
            "  viewers      {} visits, {} joined, {} left by plan, {} lost, {} at the end (most: {}); {}",
            viewers.visits,
            viewers.joined,
            viewers.left,
            viewers.lost,
            viewers.at_end,
            viewers.most,
            bytes(self.bytes_received)
        )?;
        if self.plan.view.slow > 0 {
            writeln!(f, "  slow ones    {} of {} closed by the server", viewers.slow_closed, self.plan.view.slow)?;
        }
        writeln!(f, "  stalls       {}, {:.1} s in all", viewers.stalls, viewers.stalled_s)?;
        if self.plan.view.hls_total() > 0 {
            let hls = &self.hls;
            writeln!(
                f,
                "  hls          {} requests; {} playlists, {} parts, {} segments came; rebuffered {} times, {:.1} s in all",
                hls.requests, hls.playlists, hls.parts, hls.segments, hls.rebuffers, hls.rebuffered_s
            )?;
        }
        let frames = &self.frames;
        writeln!(
            f,
            "  sample       {} frames as sent, {} missing, {} torn, {} damaged, {} unknown, {} backwards, {} overdue",
            frames.same, frames.missing, frames.torn, frames.damaged, frames.unknown, frames.backwards, frames.overdue
        )?;
        writeln!(f, "\nmilliseconds          count        p50        p90        p99      p99.9        max")?;
        let ms = &self.ms;
        row(f, "delay, video", &ms.video)?;
        row(f, "delay, audio", &ms.audio)?;
        row(f, "delay, steady", &ms.steady)?;
        row(f, "join", &ms.join)?;
        row(f, "request to picture", &ms.answer)?;
        if self.plan.view.hls_total() > 0 {
            row(f, "part, last frame", &ms.part)?;
            row(f, "playhead", &ms.playhead)?;
        }
        row(f, "connects late", &ms.connect_late)?;
        row(f, "sends late", &ms.publish_late)?;
        row(f, "probe", &ms.probe)?;
        if let Some(steady) = &self.steady {
            steady_text(f, steady)?;
        }
        let limit = match self.limit {
            Limit::None => "nothing was: neither the server nor the harness used its core up",
            Limit::Server => "the server: its busiest thread used more than 90% of a core",
            Limit::Harness => "the HARNESS used more than 90% of a core: the server may be capable of more",
            Limit::Machine => "the MACHINE: other processes had the core that the server or the harness wanted",
            Limit::Descriptors => "descriptors: `ulimit -n` here or for the server",
        };
        writeln!(f, "  limit        {limit}")?;
        if let Some(counters) = &self.counters {
            counters_text(f, counters)?;
        }
        Ok(())
    }
}

fn steady_text(f: &mut fmt::Formatter<'_>, steady: &Steady) -> fmt::Result {
    writeln!(f, "\nwhile all viewers were there ({:.1} s)", steady.seconds)?;
    writeln!(f, "  delivered    {}, {:.0} Mbit/s", bytes(steady.bytes), steady.mbit_s)?;
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.0}%", share * 100.0));
    writeln!(
        f,
        "  cores        harness {}, server {} (busiest thread {}); waited for a core: harness {}, server {}",
        percent(Some(steady.harness_core)),
        percent(steady.server_core),
        percent(steady.server_busiest),
        percent(Some(steady.harness_waited)),
        percent(steady.server_waited)
    )?;
    if let (Some(server), Some(both)) = (steady.server_cpu_s_per_gb, steady.both_cpu_s_per_gb) {
        writeln!(f, "  CPU-s per GB {server:.3} server, {both:.3} server and load")?;
    }
    if let Some(per_viewer) = steady.server_bytes_per_viewer {
        writeln!(f, "  memory       {:.1} KiB of the server per viewer", per_viewer / 1024.0)?;
    }
    Ok(())
}

fn counters_text(f: &mut fmt::Formatter<'_>, counters: &Counters) -> fmt::Result {
    let compare = |ours: u64, theirs: u64| match ours.abs_diff(theirs) {
        0 => "they agree to the byte".to_owned(),
        _ if !counters.comparable => "not comparable: connections ended with bytes on their way, or had TLS".to_owned(),
        difference => format!("they differ by {difference}"),
    };
    let Counters { server_sent, viewers_received, server_received, publishers_sent, .. } = *counters;
    writeln!(f, "\nbytes by the server's counters and by ours")?;
    writeln!(
        f,
        "  to viewers   {server_sent} sent, {viewers_received} received: {}",
        compare(viewers_received, server_sent)
    )?;
    writeln!(
        f,
        "  to server    {publishers_sent} sent, {server_received} received: {}",
        compare(publishers_sent, server_received)
    )
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, summary: &Summary) -> fmt::Result {
    let Summary { count, p50, p90, p99, p999, max } = *summary;
    write!(f, "  {name:<16} {count:>8}")?;
    for value in [p50, p90, p99, p999, max] {
        write!(f, " {:>10}", number(value))?;
    }
    writeln!(f)
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") })
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;

    #[test]
    fn people_read_what_went_wrong_first() {
        let text = example().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..3],
            ["FAILED", "  ended early, after 12.5 s: the server went away", "  1 x viewer: answered with status 503"]
        );
        for part in [
            "5000 frames as sent",
            "delay, video         1000      50.02      90.05",
            "0.310 server, 0.550 server and load",
            "5.0 KiB of the server per viewer",
            "harness 25%, server 97% (busiest thread 96%); waited for a core: harness 1%, server 2%",
            "18000000 sent, 18000000 received: they agree to the byte",
            "1600001 sent, 1600000 received: they differ by 1",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}
