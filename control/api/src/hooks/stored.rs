//! Hooks and bindings as the store has them, and what nodes are told of them: what a control that starts begins with.
use millstream_control_protocol::state::Binding;
use millstream_store::item::{Kind, Query};
use millstream_store::{Store, StoreError};
use serde::de::DeserializeOwned;

use crate::model::hook::{BindingRecord, HookRecord};
use crate::model::unreadable::Unreadable;
use crate::model::{BINDING, HOOK, Kept};

/// Values of a kind that has few, with their keys, in order.
pub(crate) type Named<T> = Vec<(String, Kept<T>)>;

/// All of a kind that can be read.
pub(super) async fn all<T: DeserializeOwned>(
    store: &dyn Store,
    kind: Kind,
    unreadable: &Unreadable,
) -> Result<Named<T>, StoreError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.page(Query { after, ..Query::all(kind) }).await?;
        found.extend(page.items.iter().filter_map(|item| Some((item.key.clone(), unreadable.read(kind, item)?))));
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// All bindings as the store has them, for a node of the same process that begins with them.
pub async fn bound(store: &dyn Store) -> Result<Vec<Binding>, StoreError> {
    let all = stored(store, &Unreadable::default()).await?;
    Ok(all.into_iter().filter_map(|(_, told)| told).collect())
}

/// All bindings as nodes are told of them: what a control that starts begins with.
pub(crate) async fn bindings(store: &dyn Store, unreadable: &Unreadable) -> Result<Vec<Binding>, StoreError> {
    let mut all = Vec::new();
    for ((id, _), told) in stored(store, unreadable).await? {
        if told.is_none() {
            tracing::error!(binding = id, "a binding names a version of a hook that is not there; it is left out");
        }
        all.extend(told);
    }
    Ok(all)
}

/// All bindings, with what nodes are told of each; `None`: it names a version that is not there.
pub(super) async fn stored(
    store: &dyn Store,
    unreadable: &Unreadable,
) -> Result<Vec<((String, Kept<BindingRecord>), Option<Binding>)>, StoreError> {
    let hooks = all::<HookRecord>(store, HOOK, unreadable).await?;
    let bindings = all::<BindingRecord>(store, BINDING, unreadable).await?;
    let told = |(id, binding): &(String, Kept<BindingRecord>)| {
        let hook = hooks.iter().find(|(name, _)| *name == binding.value.hook);
        hook.and_then(|(_, hook)| binding.value.to_link(id, &hook.value))
    };
    Ok(bindings
        .into_iter()
        .map(|binding| {
            let told = told(&binding);
            (binding, told)
        })
        .collect())
}
