//! Versions that are tried out: with an event, and with the configurations of bindings. Before it: the routes; after it: whoever runs hooks in this process.
use bytes::{Bytes, BytesMut};
use millstream_fleet::limits::MODULE_BYTES_MAX;
use serde_json::Value;

use super::inspect::{ConfigCheck, Given, Kept as Module, TrialRefused};
use super::modules;
use crate::Api;
use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::hook::{HookRecord, VersionRecord};

impl Api {
    /// Whether a version works with these configurations; where nothing runs hooks here, that is not known.
    pub(crate) async fn check_configs(&self, module: Module, given: Vec<Given>) -> Answer<Vec<ConfigCheck>> {
        let Some(inspector) = self.inspector().filter(|_| !given.is_empty()) else {
            return Ok(vec![ConfigCheck::Unknown("this control runs no hooks".to_owned()); given.len()]);
        };
        let count = given.len();
        let checked = inspector.check(module, given).await;
        // What cannot be tried is no reason to stop: nodes say what is wrong.
        Ok(checked.unwrap_or_else(|why| vec![ConfigCheck::Unknown(why); count]))
    }

    /// Puts an event to a version; nothing is acted on. `secrets` is the field that names those.
    pub(crate) async fn try_out(
        &self,
        hook: &HookRecord,
        version: &VersionRecord,
        (given, event): (Given, Value),
        secrets: &str,
    ) -> Answer<Value> {
        let Some(inspector) = self.inspector() else {
            return Err(Problem::conflict(
                "this control is of a build that runs no hooks: try the module with `millstream hook test`, or with a control that was built with the \
                 feature hooks",
            ));
        };
        let _place = self.record_locks().trial()?;
        let module = self.module_of(hook, version).await?;
        let tried = inspector.try_out(module, given, event).await;
        let field = |field: &str, message| Problem::fields(vec![FieldError::new(field, message)]);
        tried.map_err(|refused| match refused {
            TrialRefused::Event { place, message } if place.is_empty() => field("event", message),
            TrialRefused::Event { place, message } => field(&format!("event.{place}"), message),
            TrialRefused::Secrets(message) => field(secrets, message),
            TrialRefused::Module(message) => {
                Problem::conflict(format!("version {} cannot be tried here: {message}", version.number))
            }
        })
    }

    /// The module of a version.
    pub(crate) async fn module_of(&self, hook: &HookRecord, version: &VersionRecord) -> Answer<Module> {
        let mut bytes = BytesMut::new();
        while bytes.len() <= MODULE_BYTES_MAX {
            let piece = modules::piece(self.store(), &version.sha256, bytes.len() as u64).await?.unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece);
        }
        let bytes: Bytes = bytes.freeze();
        Ok(Module { world: hook.world, sha256: version.sha256.clone(), bytes, signature: version.signature.clone() })
    }
}
