//! The chain with hooks in it: bindings in their order before the steps of the preset. Before it: bindings in force; after it: the engine, which makes
//! the steps of each shard.
use std::rc::Rc;
use std::sync::Arc;

use millstream_policy::{Action, Chain, Policy, PolicyMaker};

use crate::bound::Bound;
use crate::step::{HookStep, Node};
use crate::threads::Waiting;

/// The order in which bindings are asked.
pub fn in_order(mut bounds: Vec<Arc<Bound>>) -> Vec<Arc<Bound>> {
    bounds.sort_by(|a, b| (a.order, &a.id).cmp(&(b.order, &b.id)));
    bounds
}

/// `base` with these before it.
pub fn chain(base: &Chain, bounds: Vec<Arc<Bound>>, node: &Arc<Node>) -> Chain {
    let (mut publish, mut play) = (Vec::new(), Vec::new());
    for bound in in_order(bounds) {
        let action = bound.action;
        let (node, waiting) = (Arc::clone(node), [Waiting::default(), Waiting::of_comparisons()]);
        let maker: PolicyMaker = Arc::new(move |shard| {
            let step = HookStep::new(Arc::clone(&bound), Arc::clone(&node), shard, waiting.clone());
            Rc::new(step) as Rc<dyn Policy>
        });
        match action {
            Action::Publish => publish.push(maker),
            Action::Play => play.push(maker),
        }
    }
    base.after(publish, play)
}
