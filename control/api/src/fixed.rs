//! Streams of the configuration file, when that is read anew. Before it: who reads the file; after it: the fleet's desired state.
use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_control_protocol::state::Stream;

use crate::Api;
use crate::http::problem::Answer;
use crate::model::stream::StreamRecord;
use crate::model::{self, STREAM};
use crate::reconcile::{Subject, Unsettled};

impl Api {
    /// Takes other streams of the configuration file, and tells the nodes. One that is no longer in it is the store's again, if that has it.
    pub async fn change_fixed(&self, streams: Vec<Stream>) -> Answer<()> {
        let next: BTreeMap<_, _> =
            streams.iter().map(|stream| (stream.id.clone(), StreamRecord::of_link(stream))).collect();
        let next = Arc::new(next);
        let before = self.replace_fixed(Arc::clone(&next));
        for stream in streams {
            let _lock = self.locks().lock(&stream.id).await;
            self.fleet().put(stream);
        }
        let mut read = Ok(());
        for id in before.keys().filter(|id| !next.contains_key(*id)) {
            let unsettled = Unsettled::new(self, Subject::Stream(id.clone()));
            let _lock = self.locks().lock(id).await;
            match model::load::<StreamRecord>(self.store(), STREAM, id).await {
                Ok(Some(kept)) => self.fleet().put(self.slates().to_link(&kept.value, id)),
                Ok(None) => self.fleet().remove(id),
                Err(error) => {
                    // What was taken out of the file is refused at once; whether the store has it is settled when the store answers.
                    self.fleet().remove(id);
                    read = Err(error);
                    continue;
                }
            };
            unsettled.settle();
        }
        read
    }
}
