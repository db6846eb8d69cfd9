//! Defects that are planted in the simulator's copy of the engine, to show that its checks find them. The product has no line of them. Where a
//! place is no longer found, the test of the planted defects says so.

/// A defect.
pub(crate) struct Plant {
    /// What switches it on.
    pub(crate) name: &'static str,
    /// Where it is.
    pub(crate) edits: &'static [Edit],
}

/// A place in a file of the engine that is written once.
pub(crate) struct Edit {
    /// Below `dataplane/engine/src`.
    pub(crate) file: &'static str,
    /// What is there.
    pub(crate) find: &'static str,
    /// What takes its place; `PLANTED` stands for whether it is switched on.
    pub(crate) put: &'static str,
}

/// All of them.
pub(crate) const PLANTS: &[Plant] = &[
    Plant {
        name: "torn-tag",
        edits: &[Edit {
            file: "egress/pump.rs",
            find: "viewer.borrow_mut().sent(load.pieces(), count);",
            put: "viewer.borrow_mut().sent(load.pieces(), if PLANTED { count - 1 } else { count });",
        }],
    },
    Plant {
        name: "lost-block",
        edits: &[Edit {
            file: "shard/stream_handle.rs",
            find: "feed.told(&message);",
            put: "feed.told(&message); if PLANTED && crate::io::draw(20) == 0 { continue; }",
        }],
    },
    Plant {
        name: "rewind",
        edits: &[Edit {
            file: "egress/pump.rs",
            find: "caught_up = true;",
            put: "caught_up = true; if PLANTED && crate::io::draw(5) == 0 { \
                  let format = millstream_hub::package::block::Format::Rtmp; \
                  let again = Viewer::new(format, millstream_hub::viewer::Start::Newest, &handle.log.borrow(), now); \
                  *viewer.borrow_mut() = again; }",
        }],
    },
    Plant {
        name: "verdict-ignored",
        edits: &[Edit {
            file: "egress/rtmp.rs",
            find: "shard.admission.ask(shard, question).await.map_err(denied)?",
            put: "shard.admission.ask(shard, question).await.or_else(|denial| \
                  if PLANTED { Ok(crate::shard::granted::Granted::default()) } else { Err(denied(denial)) })?",
        }],
    },
    Plant {
        name: "lost-part",
        edits: &[Edit {
            file: "shard/packaging.rs",
            find: "let changes = std::mem::take(&mut outlet.untold);",
            put: "let mut changes = std::mem::take(&mut outlet.untold); \
                  if PLANTED { changes.retain(|change| !matches!(change, Change::Part(..)) || crate::io::draw(10) > 0); }",
        }],
    },
    // In the fan-out: a short send is taken for a whole one.
    Plant {
        name: "fan-out",
        edits: &[Edit {
            file: "egress/fan_out.rs",
            find: "playing.viewer.borrow_mut().sent(pieces, count);",
            put: "playing.viewer.borrow_mut().sent(pieces, if PLANTED { bytes } else { count });",
        }],
    },
    // In the delivery of parts: what is left of a short send begins at the wrong place.
    Plant {
        name: "part-delivery",
        edits: &[Edit { file: "shard/part_sender.rs", find: "sent -= taken;", put: "if !PLANTED { sent -= taken; }" }],
    },
    // In the hand-over: the session of a publisher that came from another shard is never given back.
    Plant {
        name: "hand-over",
        edits: &[Edit {
            file: "ingest/mod.rs",
            find: "session.publishes.set(publishes);\n    session.granted",
            put: "session.publishes.set(publishes);\n    if PLANTED { std::mem::forget(Rc::clone(&session)); }\n    session.granted",
        }],
    },
    // Of ended streams: they are forgotten at once.
    Plant {
        name: "ended-streams",
        edits: &[Edit {
            file: "shard/ended_streams.rs",
            find: "until: now + linger",
            put: "until: if PLANTED { now } else { now + linger }",
        }],
    },
];
