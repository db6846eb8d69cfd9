//! In place of [`super::av1`] in a build without the feature `av1`: there is no such encoder, and who wants one is told.
use super::encode::{EncodeError, Encoded, Settings};
use crate::picture::Picture;

/// None.
pub(crate) enum Av1Encoder {}

impl Av1Encoder {
    pub(crate) fn new(_: Settings) -> Result<Self, EncodeError> {
        Err(EncodeError("this program was built without an encoder of AV1".to_owned()))
    }

    pub(crate) fn encode(&mut self, _: &Picture, _: bool) -> Result<Vec<Encoded>, EncodeError> {
        match *self {}
    }

    pub(crate) fn finish(self) -> Vec<Encoded> {
        match self {}
    }
}
