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
    let hours = |from: u64, to: u64| to.saturating_sub(from).div_ceil(3_600);
    Some(format!(
        "acme: no certificate could be ordered since {} h ago, in {} tries. The last time: {}. It is tried again within {} h, or soon after SIGHUP",
        hours(failed.since_s, now_s),
        failed.times,
        failed.reason,
        hours(now_s, failed.next_s)
    ))
}
