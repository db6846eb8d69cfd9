//! The contract in Rust: generated from `hooks/wit`, one set of types for all four worlds.
//!
//! The private world `host-side` names every interface once, so that a request has one Rust type whichever world it is for. A module
//! exports `meta` and one of the others; which ones are there is checked when it is loaded.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package millstream:host-side;
        world host-side {
            import millstream:hooks/host@0.1.0;
            export millstream:hooks/meta@0.1.0;
            export millstream:hooks/auth@0.1.0;
            export millstream:hooks/policy@0.1.0;
            export millstream:hooks/motion@0.1.0;
            export millstream:hooks/events@0.1.0;
        }
    ",
    world: "millstream:host-side/host-side",
    imports: { default: trappable },
    additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
});

pub use exports::millstream::hooks::{auth, events, meta, motion, policy};
pub use millstream::hooks::{host, types};

/// The version of the contract that this server speaks.
pub const VERSION: &str = "0.1.0";
/// The package of the contract.
pub const PACKAGE: &str = "millstream:hooks";

/// The files of the contract, by their names: what a guest's bindings are generated from.
pub const FILES: [(&str, &str); 8] = [
    ("auth.wit", include_str!("../../wit/auth.wit")),
    ("events.wit", include_str!("../../wit/events.wit")),
    ("host.wit", include_str!("../../wit/host.wit")),
    ("meta.wit", include_str!("../../wit/meta.wit")),
    ("motion.wit", include_str!("../../wit/motion.wit")),
    ("policy.wit", include_str!("../../wit/policy.wit")),
    ("types.wit", include_str!("../../wit/types.wit")),
    ("worlds.wit", include_str!("../../wit/worlds.wit")),
];
