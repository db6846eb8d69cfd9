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
            file: "shard/stream_handle/mirror.rs",
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
            find: "let linger = handle.packaging.linger();",
            put: "let linger = if PLANTED { std::time::Duration::from_millis(1) } else { handle.packaging.linger() };",
        }],
    },
    // Of ended streams: their files are forgotten together with their playlists.
    Plant {
        name: "ended-files",
        edits: &[Edit {
            file: "shard/ended_streams.rs",
            find: "until: listed_until + linger });",
            put: "until: if PLANTED { listed_until } else { listed_until + linger } });",
        }],
    },
    // A publisher that has been replaced goes on.
    Plant {
        name: "two-publishers",
        edits: &[
            Edit {
                file: "shard/stream_handle/publisher.rs",
                find: "if !owner.stream.heard(session, now) {",
                put: "if !owner.stream.heard(session, now) && !PLANTED {",
            },
            Edit {
                file: "ingest/publish.rs",
                find: "if let Some(old) = replaced.and_then(|(number, _)| shard.sessions.get(number)) {",
                put: "if let Some(old) = replaced.filter(|_| !PLANTED).and_then(|(number, _)| shard.sessions.get(number)) {",
            },
        ],
    },
    // What is left when a stream ends is not sent.
    Plant {
        name: "missing-end",
        edits: &[Edit {
            file: "egress/pump.rs",
            find: "let log = handle.log.borrow();",
            put: "let log = handle.log.borrow(); \
                  if let Some(reason) = log.ended().filter(|_| PLANTED) { \
                      return Done::Closed(viewer::CloseReason::Ended(reason), writer); \
                  }",
        }],
    },
    // Streams of other shards are mirrored without a bound.
    Plant {
        name: "unbounded-mirrors",
        edits: &[Edit {
            file: "shard/state.rs",
            find: "limits.streams {\n                    return Err",
            put: "limits.streams && !PLANTED {\n                    return Err",
        }],
    },
    // A proxy between the client and the nearest one is taken for the client.
    Plant {
        name: "trusted-proxy",
        edits: &[Edit {
            file: "egress/reply.rs",
            find: "self.request.forwarded.client(proxy, |address| self.shard.trusts(address))",
            put: "self.request.forwarded.client(proxy, |address| !PLANTED && self.shard.trusts(address))",
        }],
    },
    // A shard goes on with the old directory.
    Plant {
        name: "old-directory",
        edits: &[Edit {
            file: "shard/view.rs",
            find: "shard.directory.replace(directory.clone());",
            put: "if PLANTED { shard.directory.borrow().clone() } else { shard.directory.replace(directory.clone()) };",
        }],
    },
    // Of a batch's records for a connection of HTTP/2: what the socket did not take is lost.
    Plant {
        name: "http2-rest",
        edits: &[Edit {
            file: "io/http2/writer.rs",
            find: "self.tls().keep(rest);",
            put: "self.tls().keep(if PLANTED { &[] } else { rest });",
        }],
    },
    // Of a stream of HTTP/2: a byte that was sent is sent once more.
    Plant {
        name: "http2-twice",
        edits: &[Edit {
            file: "io/http2/frames.rs",
            find: "taken += sent.len();\n                piece = rest;",
            put: "taken += sent.len() - usize::from(PLANTED && sent.len() > 1 && crate::io::draw(20) == 0);\n                piece = rest;",
        }],
    },
    // Of a further stream of a connection: what came before it was admitted is lost.
    Plant {
        name: "further-stream",
        edits: &[Edit {
            file: "ingest/sides.rs",
            find: "for message in std::mem::take(&mut self.held) {",
            put: "for message in std::mem::take(&mut self.held) { if PLANTED && crate::io::draw(3) == 0 { continue; }",
        }],
    },
];
