//! Brings what the nodes are told in line with the store after a change that did not run to its end: its handler failed, or the store did
//! not say whether it wrote. Before it: the changes in [`crate::streams`] and [`crate::hooks`]; after it: the fleet's desired state.
//!
//! A change holds an [`Unsettled`] from before its write until it has told the fleet. One that is dropped before that is settled by a task
//! which reads the store until it can.
use std::time::Duration;

use tokio::time::sleep;

use crate::Api;
use crate::http::problem::Answer;
use crate::model::hook::HookRecord;
use crate::model::stream::StreamRecord;
use crate::model::{self, BINDING, HOOK, STREAM};

/// Time until the store is read again after it failed, doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest such time.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// What a change is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Subject {
    /// A stream's record.
    Stream(String),
    /// A binding of a hook.
    Binding(String),
    /// All bindings of a hook.
    Hook(String),
    /// A slate, and the streams that name it.
    Slate(String),
    /// What was done by hand about a stream's recording.
    RecordedByHand(String),
}

/// A change whose effect on the nodes is not certain yet.
pub(crate) struct Unsettled {
    api: Api,
    subject: Option<Subject>,
}

impl Unsettled {
    /// To be made under the subject's lock, before the store is written.
    pub(crate) fn new(api: &Api, subject: Subject) -> Self {
        Self { api: api.clone(), subject: Some(subject) }
    }

    /// The fleet has been told, or nothing was changed.
    pub(crate) fn settle(mut self) {
        self.subject = None;
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        let Some(subject) = self.subject.take() else { return };
        let api = self.api.clone();
        // Without a runtime the process is ending, and the next start reads the store.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { api.reconcile(&subject).await });
        }
    }
}

impl Api {
    async fn reconcile(&self, subject: &Subject) {
        let mut wait = RETRY_MIN;
        while self.tell_as_stored(subject).await.is_err() {
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
        tracing::info!(
            ?subject,
            "the nodes were told again what is stored, after a change that did not run to its end"
        );
    }

    /// Reads the store and tells the fleet, under the lock that changes of the subject hold.
    async fn tell_as_stored(&self, subject: &Subject) -> Answer<()> {
        match subject {
            Subject::Stream(id) => {
                let _lock = self.locks().lock(id).await;
                // The file may have taken it over meanwhile: what it says is in force, and has been told.
                if !self.fixed().contains_key(id) {
                    match model::load::<StreamRecord>(self.store(), STREAM, id).await? {
                        Some(kept) => self.fleet().put(self.slates().to_link(&kept.value, id)),
                        None => self.fleet().remove(id),
                    };
                }
                self.count_streams().await?;
            }
            Subject::Binding(id) => {
                let _lock = self.record_locks().lock_records().await;
                match model::load::<model::hook::BindingRecord>(self.store(), BINDING, id).await? {
                    Some(binding) => self.tell_binding(id, &binding.value).await?,
                    None => drop(self.fleet().unbind(id)),
                }
            }
            Subject::Slate(name) => self.tell_slate(name).await?,
            Subject::RecordedByHand(id) => self.tell_by_hand(id).await?,
            Subject::Hook(name) => {
                let _lock = self.record_locks().lock_records().await;
                for (id, binding) in self.bindings_of(name).await? {
                    self.tell_binding(&id, &binding.value).await?;
                }
            }
        }
        Ok(())
    }

    async fn tell_binding(&self, id: &str, binding: &model::hook::BindingRecord) -> Answer<()> {
        let hook = model::load::<HookRecord>(self.store(), HOOK, &binding.hook).await?;
        if let Some(told) = hook.and_then(|hook| binding.to_link(id, &hook.value)) {
            self.fleet().bind(told);
        }
        Ok(())
    }
}
