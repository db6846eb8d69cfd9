//! The host, by what hooks do to it and get from it. One program: each that links the runtime takes a while to build.
mod cache;
mod contract;
mod events;
mod fixture;
mod guests;
mod many;
mod modules;
mod refused;
mod stopped;
