//! Metrics as text: OpenMetrics 1.0, which is what the program writes, and the Prometheus text format 0.0.4, which it is turned into for
//! readers that do not ask for the former. Before it: whoever renders `/metrics`; after it: the answer to a scrape.
use std::borrow::Cow;
use std::fmt::Write as _;

/// A format of metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text format 0.0.4.
    Prometheus,
}

/// The name by which a scraper asks for OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text";
/// The end of OpenMetrics text, which the other format does not have.
const EOF: &str = "# EOF";

impl Format {
    /// What a request with this `Accept` gets: OpenMetrics where that is named and not ranked below plain text. Wildcards, as of curl and
    /// browsers, and no header at all are answered in the format that everything reads, as Prometheus' own libraries do.
    pub fn of_accept(accept: Option<&str>) -> Self {
        let weight_of = |wanted: &str| {
            let ranges = accept.unwrap_or_default().split(',');
            ranges.filter_map(|range| weight(range, wanted)).fold(0, u16::max)
        };
        let open = weight_of(OPEN_METRICS);
        if open > 0 && open >= weight_of("text/plain") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// OpenMetrics text in this format.
    pub fn render(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::OpenMetrics => Cow::Borrowed(text),
            Self::Prometheus => Cow::Owned(to_prometheus(text)),
        }
    }
}

/// The weight of a media range in thousandths, if it names `wanted` (RFC 9110, 12.4.2).
fn weight(range: &str, wanted: &str) -> Option<u16> {
    let mut parts = range.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(wanted) {
        return None;
    }
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    match weight.map(str::parse::<f32>) {
        None => Some(1_000),
        Some(Ok(weight)) if (0.0..=1.0).contains(&weight) => Some((weight * 1_000.0) as u16),
        Some(_) => Some(0),
    }
}

/// What differs: families of counters and infos are named as their samples are, an info is a gauge, and there are no units and no end.
fn to_prometheus(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // HELP comes first, and TYPE says which name it is to have.
    let mut help: Option<(&str, &str)> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest.split_once(' ').unwrap_or((rest, "")));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            // Writing to a String does not fail.
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == family) {
                let _ = writeln!(out, "# HELP {family}{suffix} {help}");
            }
            let _ = writeln!(out, "# TYPE {family}{suffix} {kind}");
        } else if !line.starts_with("# UNIT ") && line != EOF {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_what_it_asks_for() {
        let check = |accept: Option<&str>, expected| assert_eq!(Format::of_accept(accept), expected, "{accept:?}");
        check(None, Format::Prometheus);
        check(Some("*/*"), Format::Prometheus);
        check(Some("text/html,application/xhtml+xml,*/*;q=0.8"), Format::Prometheus);
        check(Some("text/plain"), Format::Prometheus);
        check(Some("application/openmetrics-text"), Format::OpenMetrics);
        // Prometheus 2.
        let scraper = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                       text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        check(Some(scraper), Format::OpenMetrics);
        check(Some("Application/OpenMetrics-Text; version=1.0.0; q=0.9, text/plain; q=0.5"), Format::OpenMetrics);
        check(Some("application/openmetrics-text;q=0.2,text/plain;q=0.8"), Format::Prometheus);
        check(Some("application/openmetrics-text;q=0"), Format::Prometheus);
        check(Some("application/openmetrics-text;q=many"), Format::Prometheus);
    }

    #[test]
    fn families_get_the_names_of_their_samples() {
        let open = "# HELP a_sends Sends to viewers.\n# TYPE a_sends counter\na_sends_total{shard=\"0\"} 7\n\
                    # HELP a_delay_seconds Delay.\n# TYPE a_delay_seconds histogram\n# UNIT a_delay_seconds seconds\n\
                    a_delay_seconds_sum 1.5\na_delay_seconds_count 2\n\
                    # HELP a_build The build.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_sends_total Sends to viewers.\n# TYPE a_sends_total counter\na_sends_total{shard=\"0\"} 7\n\
                        # HELP a_delay_seconds Delay.\n# TYPE a_delay_seconds histogram\n\
                        a_delay_seconds_sum 1.5\na_delay_seconds_count 2\n\
                        # HELP a_build_info The build.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n";
        let rendered = Format::Prometheus.render(open);
        assert_eq!(rendered, expected);
        assert_eq!(Format::OpenMetrics.render(open), open);
    }
}
