//! Whoever operates the server: asks what is on air, and who watches; ends a session now and then.
use std::rc::Rc;
use std::time::Duration;

use millstream_engine_simulated::io;
use millstream_proto::id::Id;
use millstream_test_support::random::Random;

use super::{Walk, by, sleep_ms};
use crate::plan::STREAMS;

pub(super) async fn run(walk: &Rc<Walk>, mut random: Random) {
    for _ in 0..random.below(12) {
        sleep_ms(random.below(3_000)).await;
        let until = io::now() + Duration::from_secs(5);
        let id = Id::new(random.pick(&STREAMS)).expect("an id");
        match random.below(8) {
            0..=2 => {
                let Some(Ok(all)) = by(until, walk.remote.on_air()).await else { continue };
                walk.saw("looks", 1);
                let ids: Vec<&str> = all.iter().map(|live| live.id.as_str()).collect();
                assert!(ids.windows(2).all(|two| two[0] < two[1]), "a stream is told of twice: {ids:?}");
            }
            3..=5 => drop(by(until, walk.remote.look(&id)).await),
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
