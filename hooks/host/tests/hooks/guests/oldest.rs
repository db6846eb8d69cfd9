//! Components of the contract's first version, 0.1.0: they are copies that are never built anew, and they load and answer for ever.
use std::fs;
use std::path::PathBuf;

use millstream_hooks::wit::auth::Step;
use millstream_hooks::wit::{events, motion, policy};
use millstream_hooks::{Secret, Settings, World};

use super::{files, guests, sha256};
use crate::fixture::{RUNTIME, hook, request, source, target};

fn oldest(name: &str) -> PathBuf {
    guests().join("oldest").join(format!("{name}.wasm"))
}

/// Their names, and SHA-256: who changes one of these breaks the promise to whoever has built against it.
const SUMS: [(&str, &str); 4] = [
    ("event-forwarder", "26b2202698dffbab977d2ebce51bcc2ff315a4bc1247d80e62566efa7eb9ee84"),
    ("ladder", "98c108007cf6c354093b584f33b912d5c3df87bdeb7982884eda202cad6aceb1"),
    ("motion", "8b373b769cbe6b81e00022b17b2f1cdd32fa83be24b7438c9f81d19bcbf161b4"),
    ("signed-url", "e5592270f87edb184bcafa9857dc5512433dc279d8765d7965e5a5294fc9cc8b"),
];

#[test]
fn oldest_components_are_as_they_were() {
    assert_eq!(files(&guests().join("oldest"), "wasm"), SUMS.map(|(name, _)| oldest(name)));
    for (name, sum) in SUMS {
        assert_eq!(sha256(&[oldest(name)]), sum, "{name}");
    }
}

#[test]
fn oldest_components_load_and_answer() {
    let bound = |name: &str, world: World| {
        let module = fs::read(oldest(name)).unwrap();
        assert_eq!(RUNTIME.compile(&module, world).unwrap().report.contract, "0.1.0", "{name}");
        let mut settings = Settings::new(name, "1", world);
        settings.secrets.insert("key".into(), Secret::new("s3cret"));
        let hook = hook(&module, settings, world);
        assert_eq!(hook.describe().result.unwrap().name, name);
        assert_eq!(hook.check_config().result.unwrap(), Ok(()), "{name}");
        hook
    };
    let signed = bound("signed-url", World::Auth).at(1_999_999_940_000);
    let right = [("expires", "2000000000"), ("sign", super::SIGN)];
    assert!(matches!(signed.authorize(&request("play", &right)).result.unwrap(), Step::Allow(_)));
    assert!(matches!(signed.authorize(&request("play", &[])).result.unwrap(), Step::Deny(_)));
    let source = policy::Source { kbps: 6000, b_frames: true, viewers: 1, load_percent: 0, ..source() };
    assert_eq!(bound("ladder", World::Policy).select_renditions(&source).result.unwrap().len(), 3);
    let mut motion = bound("motion", World::Motion).motion().result.unwrap();
    let watched =
        motion::Source { target: target(&[]), width: 1280, height: 720, fps_num: 25, fps_den: 1, extra: vec![] };
    assert!(motion.start(&watched).result.unwrap().is_ok());
    let mut luma = vec![100; 160 * 90];
    assert_eq!(motion.on_frame(&luma, 160, 90, 0).result.unwrap(), None);
    luma[..160 * 20].fill(200);
    assert_eq!(motion.on_frame(&luma, 160, 90, 200).result.unwrap(), None);
    assert!(motion.on_frame(&luma, 160, 90, 400).result.unwrap().is_some());
    let notice = events::Notice {
        kind: "publish-start".into(),
        id: 1,
        unix_ms: 2,
        target: target(&[]),
        client: None,
        detail: vec![],
    };
    let forwarder = bound("event-forwarder", World::Events);
    assert_eq!(forwarder.on_notices(&[notice]).result.unwrap(), []);
    assert_eq!(forwarder.settings().logs.since(0).len(), 1);
}
