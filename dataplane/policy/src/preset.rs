//! The chains that `--auth` names.
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;

use crate::open::Open;
use crate::signed::{Apps, RecordedPlay, SignedPublish};
use crate::{Chain, shared};

/// A ready-made chain, with what it needs to decide.
#[derive(Clone, Debug)]
pub enum Preset {
    /// Anyone may publish and play anything.
    Open,
    /// Publish with a signature, play by anyone; both of streams that have a record only.
    Signed {
        /// What their secrets are made from.
        master: MasterKey,
        /// Secrets of an older system, good for verifying the legacy form.
        legacy: Vec<Secret>,
        /// The applications that there are.
        apps: Apps,
    },
}

/// Puts the steps of a preset into a chain. Steps that an operator adds (hooks, callbacks) are to come before them: these decide.
pub fn preset(preset: Preset) -> Chain {
    match preset {
        Preset::Open => Chain::new(vec![shared(Open)], vec![shared(Open)]),
        Preset::Signed { master, legacy, apps } => {
            let play = RecordedPlay::new(apps.clone());
            Chain::new(vec![shared(SignedPublish::new(master, legacy, apps))], vec![shared(play)])
        }
    }
}
