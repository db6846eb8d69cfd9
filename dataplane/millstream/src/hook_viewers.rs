//! Viewers that come and go, for event hooks. Before it: the engine, which tells of them while somebody hears; after it:
//! [`millstream_hook_steps::post`]. Control hears nothing of them: there are too many.
use std::sync::{OnceLock, Weak};

use millstream_engine::Remote;
use millstream_engine::admin::plays::{Play, PlayNews, PlayViewer, Plays, PlaysWanted};
use millstream_hook_steps::notice::{Viewing, of_viewer};
use millstream_hook_steps::question;
use tokio::runtime::Handle;

use crate::hooks::Hooks;

/// Whether the engine is to tell of viewers; nothing, before it runs.
#[derive(Default)]
pub(crate) struct Viewers(OnceLock<PlaysWanted>);

impl Viewers {
    /// Somebody hears, or nobody.
    pub(crate) fn want(&self, wanted: bool) {
        if let Some(plays) = self.0.get() {
            plays.set(wanted);
        }
    }

    /// The engine runs: these hooks are told from here on, for as long as they are there.
    pub(crate) fn tell(&self, hooks: Weak<Hooks>, engine: &Remote, runtime: &Handle) {
        let Some(plays) = engine.plays() else { return };
        let _ = self.0.set(plays.wanted());
        runtime.spawn(run(hooks, plays));
    }
}

async fn run(hooks: Weak<Hooks>, mut plays: Plays) {
    let mut number = 0;
    while let Some(play) = plays.next().await {
        let Some(hooks) = hooks.upgrade() else { return };
        let (post, lost) = (hooks.post(), plays.take_lost());
        if lost > 0 {
            post.missed(lost);
        }
        if post.wants(&play.stream) {
            number += 1;
            let notice = of_viewer(&viewing(&play, number), hooks.app());
            post.tell(&play.stream, &notice, Some(play.peer.ip()));
        }
    }
}

fn viewing(play: &Play, number: u64) -> Viewing<'_> {
    let Play { at_unix_ms, ref stream, viewer, peer, protocol, secure, ref labels, what } = *play;
    Viewing {
        number,
        unix_ms: at_unix_ms,
        stream,
        session: match viewer {
            PlayViewer::Session(number) => number.to_string(),
            PlayViewer::Named(number) => question::named(number),
        },
        peer,
        protocol,
        secure,
        labels: labels.as_ref(),
        ended: match what {
            PlayNews::Began => None,
            PlayNews::Ended { why, lasted_ms } => Some((why, lasted_ms)),
        },
    }
}
