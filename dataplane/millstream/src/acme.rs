//! Certificates that are ordered: what the task that orders them does to this server, and what `millstream check` tells of it. Before it:
//! [`crate::certificates`], which starts the task; after it: the shards, which answer challenges.
use millstream_acme::files::Files;
use millstream_acme::{Pending, Server, challenges};

use crate::certificates::InUse;

impl Server for InUse {
    async fn show(&self, pending: Vec<Pending>) -> Result<(), String> {
        let challenges = challenges(&pending).map_err(|error| error.to_string())?;
        let in_use = self.clone();
        // It waits for files that are being read, and for the shards.
        let shown = tokio::task::spawn_blocking(move || in_use.put_challenges(challenges)).await;
        shown.unwrap_or_else(|error| Err(error.to_string()))
    }

    async fn renewed(&self) {
        let in_use = self.clone();
        // What is wrong with it, or a panic, has been said.
        drop(tokio::task::spawn_blocking(move || in_use.take_ordered()).await);
    }
}

/// That orders fail, if they do, for somebody who looks at the configuration.
pub(crate) fn told(files: &Files, now_s: u64) -> Option<String> {
    let failed = files.record().failed?;
    let time = |from: u64, to: u64| match to.saturating_sub(from).div_ceil(60) {
        minutes @ 0..120 => format!("{minutes} min"),
        minutes => format!("{} h", minutes.div_ceil(60)),
    };
    let tries = if failed.times == 1 { "try" } else { "tries" };
    Some(format!(
        "acme: no certificate could be ordered since {} ago, in {} {tries}. The last time: {}. It is tried again within {}, or soon after SIGHUP",
        time(failed.since_s, now_s),
        failed.times,
        failed.reason,
        time(now_s, failed.next_s)
    ))
}
