//! The judgement of streams that the hub measures: what a clean one shows, which is nothing, and each condition as it comes and goes.
mod clean;
mod conditions;
mod events;
mod fixture;
