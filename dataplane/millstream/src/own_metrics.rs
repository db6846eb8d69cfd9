//! What the binary adds to `/metrics`: which build this is, and what became of its log lines. OpenMetrics text without its end.
use crate::logging;

/// The commit that a release was built from, where its build says so.
const REVISION: &str = match option_env!("MILLSTREAM_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// All of them.
pub(crate) fn text() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let lost = logging::lost();
    format!(
        "# HELP millstream_build Which build this is; always 1.\n\
         # TYPE millstream_build info\n\
         millstream_build_info{{version=\"{version}\",revision=\"{REVISION}\"}} 1\n\
         # HELP millstream_log_lines_lost Log lines that whoever reads the log did not take in time.\n\
         # TYPE millstream_log_lines_lost counter\n\
         millstream_log_lines_lost_total {lost}\n"
    )
}
