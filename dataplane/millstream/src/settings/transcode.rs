//! The `[transcode]` table of the configuration file. Read by [`super`]; after it: [`crate::transcoding`].
use std::path::PathBuf;

use millstream_proto::network::Network;

/// The `[transcode]` table.
#[derive(Clone, Debug, Default)]
pub(crate) struct TranscodeSettings {
    /// The font of text over pictures; `None`: the built-in one.
    pub(crate) font: Option<PathBuf>,
    /// Networks that images of watermarks may be fetched from although they are not public.
    pub(crate) allow: Vec<Network>,
}
