//! Bindings made anew when control changes some: what has not changed stays what it is, and what cannot decide yet leaves the one before in force.
//! Before it: [`crate::hooks`], which is told of bindings; after it: those in force.
use std::sync::Arc;

use millstream_control_protocol::state::Binding;
use millstream_hook_steps::bound::Bound;
use millstream_hook_steps::hearing::Hearing;
use millstream_hook_steps::ladder::Choosing;
use millstream_hooks::Hook;

use crate::hook_motion::Watcher;

/// A binding in force, with what it was made of.
pub(crate) type Made<T> = (Binding, Arc<T>);

impl OfBinding for Watcher {
    fn is_ready(&self) -> bool {
        self.hook.is_some()
    }
}

/// What is made of a binding.
pub(crate) trait OfBinding {
    /// Its module is here.
    fn is_ready(&self) -> bool;
}

impl OfBinding for Bound {
    fn is_ready(&self) -> bool {
        self.decider.is_some()
    }
}

impl OfBinding for Hearing {
    fn is_ready(&self) -> bool {
        self.hearer.is_some()
    }
}

impl OfBinding for Choosing {
    fn is_ready(&self) -> bool {
        self.chooser.is_some()
    }
}

/// What a binding is from here on, and what is wrong with it. `hook`: its hook; `Ok(None)`: its module is not here yet. `new`: `None` where it
/// is for something else.
pub(crate) fn remake<T: OfBinding>(
    before: &[Made<T>],
    binding: &Binding,
    hook: impl FnOnce() -> Result<Option<Hook>, String>,
    new: impl FnOnce(Option<Hook>) -> Option<T>,
) -> (Option<Made<T>>, Option<String>) {
    let (name, point) = (cut(&binding.hook), cut(&binding.point));
    if let Some(same) = before.iter().find(|(known, made)| known == binding && made.is_ready()) {
        return (Some(same.clone()), None);
    }
    // Until the module of another version is here, or where that cannot decide on this node, the one before does.
    let before_it = before.iter().find(|(known, made)| {
        let where_it_was = (&known.id, &known.hook, known.mode, &known.point, &known.stream);
        let is_there = (&binding.id, &binding.hook, binding.mode, &binding.point, &binding.stream);
        where_it_was == is_there && made.is_ready()
    });
    let (hook, warning) = match hook() {
        Ok(hook) => (hook, None),
        Err(warning) => {
            let goes_on = before_it.map(|(known, _)| format!("; version {} goes on", known.version));
            let warning = format!("hook {name:?}, bound to {point}: {warning}{}", goes_on.unwrap_or_default());
            (None, Some(warning))
        }
    };
    if let (None, Some(before_it)) = (&hook, before_it) {
        return (Some(before_it.clone()), warning);
    }
    match new(hook) {
        Some(made) => (Some((binding.clone(), Arc::new(made))), warning),
        None => (None, Some(warning.unwrap_or_else(|| unknown(binding)))),
    }
}

/// What is said of a binding that nothing is made of.
pub(crate) fn unknown(binding: &Binding) -> String {
    let (name, kind, point) = (cut(&binding.hook), cut(&binding.kind), cut(&binding.point));
    format!(
        "hook {name:?} ({kind}) is bound to {point}, and is not in force: this release asks no hooks of that kind there"
    )
}

/// Words of another process, not for ever.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(256).map(|char| if char.is_control() { ' ' } else { char }).collect()
}
