//! Hooks that are looked at and tried out for the API of this process: uploads, configurations, events. Before it: `millstream_api`; after it:
//! [`crate::hook_modules`], and the answer. Nothing that is tried decides anything.
use std::sync::Arc;

use axum::body::Bytes;
use millstream_api::hooks::inspect::{Checked, ConfigCheck, Given, Inspected, Inspector, Kept, TrialRefused, Tried};
use millstream_api::model::hook;
use millstream_hooks::json::Event;
use millstream_hooks::{Hook, Module, Settings, World};
use serde_json::Value;

use crate::hooks::Hooks;

/// For the API of this process.
pub(crate) struct Trials(pub(crate) Arc<Hooks>);

fn world(world: hook::World) -> Result<World, String> {
    world.as_str().parse().map_err(|_| "this release knows no such hooks".to_owned())
}

fn loaded(hooks: &Hooks, kept: &Kept) -> Result<Module, String> {
    hooks.modules().may_run(&kept.sha256, kept.signature.as_deref())?;
    hooks.modules().load(&kept.sha256, world(kept.world)?, &kept.bytes)
}

/// A hook with what is given, and with logs, values and counters of its own.
fn bound(hooks: &Hooks, module: Module, given: &Given) -> Result<Hook, String> {
    let settings = Settings { config: given.config.clone(), ..Settings::new("trial", "", module.world()) };
    Ok(Hook::new(module, hooks.with_secrets(settings, &given.secrets)?))
}

fn check(hook: &Hook) -> ConfigCheck {
    match hook.check_config().result {
        Ok(Ok(())) => ConfigCheck::Accepted,
        Ok(Err(reason)) => ConfigCheck::Refused(reason),
        Err(failure) => ConfigCheck::Refused(failure.to_string()),
    }
}

async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err("the server is ending".to_owned()))
}

impl Inspector for Trials {
    fn inspect(&self, kind: hook::World, module: Bytes) -> Inspected<'_> {
        let hooks = Arc::clone(&self.0);
        Box::pin(aside(move || hooks.modules().look(world(kind)?, &module)))
    }

    fn forget(&self, kind: hook::World, sha256: &str) {
        if let Ok(world) = world(kind) {
            self.0.modules().forget(sha256, world);
        }
    }

    fn check(&self, kept: Kept, given: Vec<Given>) -> Checked<'_> {
        let hooks = Arc::clone(&self.0);
        Box::pin(aside(move || {
            let module = loaded(&hooks, &kept)?;
            let checked = given.iter().map(|given| match bound(&hooks, module.clone(), given) {
                Ok(hook) => check(&hook),
                Err(missing) => ConfigCheck::Unknown(missing),
            });
            Ok(checked.collect())
        }))
    }

    fn try_out(&self, kept: Kept, given: Given, event: Value) -> Tried<'_> {
        let hooks = Arc::clone(&self.0);
        let tried = aside(move || {
            let event = match Event::from_json(event) {
                Ok(event) => event,
                Err(error) => {
                    let place = error.place().unwrap_or_default().to_owned();
                    return Ok(Err(TrialRefused::Event { place, message: error.to_string() }));
                }
            };
            let module = loaded(&hooks, &kept)?;
            let hook = match bound(&hooks, module, &given) {
                Ok(hook) => hook,
                Err(missing) => return Ok(Err(TrialRefused::Secrets(missing))),
            };
            let refused = match check(&hook) {
                ConfigCheck::Refused(reason) => Value::String(reason),
                ConfigCheck::Accepted | ConfigCheck::Unknown(_) => Value::Null,
            };
            let mut told = event.put_to(&hook).to_json();
            if let Some(told) = told.as_object_mut() {
                told.insert("config_refused".to_owned(), refused);
            }
            Ok(Ok(told))
        });
        Box::pin(async { tried.await.unwrap_or_else(|why| Err(TrialRefused::Module(why))) })
    }
}
