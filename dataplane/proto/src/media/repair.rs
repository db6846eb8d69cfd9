//! The repairs themselves, without state. Before and after them: [`super::intake`], which knows what came before.
pub(super) mod adts;
pub(super) mod annex_b;
pub(super) mod parameter_sets;
