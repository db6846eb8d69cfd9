//! The AV1 encoder of a rendition: [`millstream_av1`], whose units become what FLV has of them. Before it: [`super::scale`]; after it:
//! [`crate::transcode`] makes tags of them.
use millstream_av1::{Encoder, Error, Unit};
use millstream_proto::codec::av1::{self, OBU_SEQUENCE_HEADER, OBU_TEMPORAL_DELIMITER, obus};

use super::encode::{EncodeError, Encoded, Settings};
use crate::picture::Picture;

/// One encoder of one size. It gives each picture some pictures later.
pub(crate) struct Av1Encoder(Encoder);

impl Av1Encoder {
    pub(crate) fn new(settings: Settings) -> Result<Self, EncodeError> {
        let Settings { width, height, kbit_s, fps, colour } = settings;
        let settings = millstream_av1::Settings {
            size: (width, height),
            kbit_s,
            fps,
            level: av1::level(width, height),
            colour: [colour.primaries, colour.transfer, colour.matrix],
            full_range: colour.full_range,
        };
        Encoder::new(settings).map(Self).map_err(failed)
    }

    /// Takes a picture of the encoder's size, and gives what is encoded by now.
    pub(crate) fn encode(&mut self, picture: &Picture, key: bool) -> Result<Vec<Encoded>, EncodeError> {
        let planes = picture.planes().map(|(samples, (across, _))| (samples, across));
        let units = self.0.encode(planes, key).map_err(failed)?;
        Ok(units.into_iter().map(encoded).collect())
    }

    /// Nothing more comes: the rest.
    pub(crate) fn finish(self) -> Vec<Encoded> {
        self.0.finish().into_iter().map(encoded).collect()
    }
}

fn failed(error: Error) -> EncodeError {
    EncodeError(error.to_string())
}

/// A temporal unit as files and RTMP have it: without its delimiter.
fn encoded(Unit { key, data }: Unit) -> Encoded {
    let mut encoded = Encoded { idr: key, ..Encoded::default() };
    for obu in obus(&data).filter(|obu| obu.kind != OBU_TEMPORAL_DELIMITER) {
        if obu.kind == OBU_SEQUENCE_HEADER {
            encoded.record = av1::record(&obu).unwrap_or_default();
        }
        encoded.frame.extend_from_slice(obu.whole);
    }
    encoded
}
