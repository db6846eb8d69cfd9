//! Whoever operates the server: asks what is on air, and who watches; ends a session or changes a stream's settings now and then.
use std::rc::Rc;
use std::time::Duration;

use millstream_control_protocol::exchange::Update;
use millstream_control_protocol::state::{Flush, OnUnpublish, Outputs, Stream, Version};
use millstream_engine_simulated::directory::Directory;
use millstream_engine_simulated::io;
use millstream_proto::id::Id;
use millstream_test_support::random::Random;

use crate::audit::bounds;
use crate::door;
use crate::plan::STREAMS;
use crate::walk::{Walk, by, sleep_ms};

pub(crate) async fn run(walk: &Rc<Walk>, mut random: Random) {
    let mut directory = Directory::default();
    let mut version = 1;
    for _ in 0..random.below(12) {
        sleep_ms(random.below(3_000)).await;
        let until = io::now() + Duration::from_secs(5);
        let name = random.pick(&STREAMS);
        let id = Id::new(name).expect("an id");
        bounds(walk);
        match random.below(11) {
            0..=2 => {
                let Some(Ok(all)) = by(until, walk.remote.on_air()).await else { continue };
                walk.saw("looks", 1);
                let ids: Vec<&str> = all.iter().map(|live| live.id.as_str()).collect();
                assert!(ids.windows(2).all(|two| two[0] < two[1]), "a stream is told of twice: {ids:?}");
            }
            10 => {
                // Who waits for an answer gets that of the version which it asked.
                version += 1;
                if let Some(Ok(())) = by(until, walk.remote.set_policies(&door::chain(version))).await {
                    walk.saw("hooks replaced", 1);
                }
            }
            3 | 4 => drop(by(until, walk.remote.look(&id)).await),
            5..=7 => {
                let stream = settings(name, &mut random);
                let has_flv = stream.outputs.flv;
                walk.flv_off.borrow_mut().remove(name);
                let update = Update { from: Some(Version::default()), streams: vec![stream], ..Update::default() };
                let updated = directory.updated(&update);
                directory = updated.directory;
                if let Some(Ok(())) = by(until, walk.remote.apply(&directory, &updated.changed)).await {
                    walk.saw("settings changed", 1);
                    if !has_flv {
                        walk.flv_off.borrow_mut().insert(name, io::now());
                    }
                }
            }
            _ => {
                let Some(Ok(page)) = by(until, walk.remote.viewers(&id, 0, 100)).await else { continue };
                if let Some(viewer) = page.viewers.first()
                    && random.chance(500)
                    && let Some(Ok(true)) = by(until, walk.remote.kick_session(viewer.session)).await
                {
                    walk.saw("kicks", 1);
                }
            }
        }
    }
}

/// Settings of a stream as the operator has them from now on.
fn settings(name: &str, random: &mut Random) -> Stream {
    let on_unpublish = [None, Some(OnUnpublish::Wait), Some(OnUnpublish::End), Some(OnUnpublish::Slate)];
    Stream {
        id: name.to_owned(),
        generation: 1,
        flush: random.pick(&[None, Some(Flush::Low), Some(Flush::Dense)]),
        on_unpublish: random.pick(&on_unpublish),
        outputs: Outputs { flv: random.chance(700), ..Outputs::default() },
        ..Stream::default()
    }
}
