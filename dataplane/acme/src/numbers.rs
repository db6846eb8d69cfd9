//! What is counted of orders: OpenMetrics text without its end. Before it: [`crate::renewal`]; after it: `/metrics`.
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What may come of an order.
const RESULTS: [&str; 7] = ["issued", "unreachable", "late", "rate_limited", "refused", "challenge", "failed"];
/// The first of them.
pub(crate) const ISSUED: &str = RESULTS[0];

#[derive(Debug, Default)]
struct Inner {
    results: [AtomicU64; RESULTS.len()],
    next_s: AtomicU64,
}

/// Counters of this process.
#[derive(Clone, Debug, Default)]
pub struct Numbers(Arc<Inner>);

impl Numbers {
    /// An order has come to this.
    pub(crate) fn count(&self, result: &str) {
        if let Some(at) = RESULTS.iter().position(|known| *known == result)
            && let Some(counter) = self.0.results.get(at)
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// When the next one is made.
    pub(crate) fn next_at(&self, unix_s: u64) {
        self.0.next_s.store(unix_s, Ordering::Relaxed);
    }

    /// As text.
    pub fn text(&self) -> String {
        let mut text = "# HELP millstream_acme_orders Orders of certificates since the start, by what came of them.\n\
             # TYPE millstream_acme_orders counter\n"
            .to_owned();
        for (result, counter) in RESULTS.iter().zip(&self.0.results) {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "millstream_acme_orders_total{{result=\"{result}\"}} {}",
                counter.load(Ordering::Relaxed)
            );
        }
        let next_s = self.0.next_s.load(Ordering::Relaxed);
        let _ = write!(
            text,
            "# HELP millstream_acme_next_order_timestamp_seconds When a certificate is ordered next.\n\
             # TYPE millstream_acme_next_order_timestamp_seconds gauge\n\
             # UNIT millstream_acme_next_order_timestamp_seconds seconds\n\
             millstream_acme_next_order_timestamp_seconds {next_s}\n"
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_counted_by_what_came_of_them() {
        let numbers = Numbers::default();
        numbers.count(ISSUED);
        numbers.count("challenge");
        numbers.count("challenge");
        numbers.next_at(7);
        let text = numbers.text();
        for line in ["{result=\"issued\"} 1", "{result=\"challenge\"} 2", "{result=\"late\"} 0", "_seconds 7\n"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
