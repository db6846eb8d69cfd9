//! Guests of each world: what is taken, what is refused and why.
use millstream_hooks::wit::{auth, events, motion};
use millstream_hooks::{Form, Hook, Refused, Settings, World};

use crate::fixture::{self, RUNTIME, guest, request, source, target};

#[test]
fn a_module_of_each_world_is_taken_and_called() {
    for world in World::ALL {
        let core = guest(world).core();
        let compiled = RUNTIME.compile(&core, world).unwrap();
        assert_eq!((compiled.report.form, compiled.report.world), (Form::CoreModule, world));
        assert_eq!(compiled.report.contract, "0.1.0");
        let component = fixture::encode(&core);
        let compiled = RUNTIME.compile(&component, world).unwrap();
        assert_eq!(compiled.report.form, Form::Component);
        assert!(compiled.report.traps.is_empty(), "{:?}", compiled.report);
        let hook = Hook::new(RUNTIME.load(&compiled.artifact).unwrap(), Settings::new("test", "1", world));
        assert_eq!(hook.describe().result.unwrap().name, "");
        assert_eq!(hook.check_config().result.unwrap(), Ok(()));
        let called = (
            hook.authorize(&request("play", &[])).result.is_ok(),
            hook.select_renditions(&source()).result.is_ok(),
            hook.motion().result.is_ok(),
            hook.on_notices(&[notice()]).result.is_ok(),
        );
        let right = [World::Auth, World::Policy, World::Motion, World::Events].map(|it| it == world);
        assert_eq!(<[bool; 4]>::from(called), right, "{world}");
        let wrong = World::ALL.into_iter().find(|other| *other != world).unwrap();
        let refused = RUNTIME.compile(&component, wrong).unwrap_err();
        assert!(matches!(refused, Refused::World { .. }), "{refused}");
        assert!(refused.to_string().contains(&format!("millstream:hooks/{world}@0.1.0")), "{refused}");
    }
}

fn notice() -> events::Notice {
    let detail = vec![];
    events::Notice { kind: "publish-start".into(), id: 1, unix_ms: 2, target: target(&[]), client: None, detail }
}

#[test]
fn a_motion_instance_keeps_what_it_has_seen() {
    let mut frames = guest(World::Motion);
    // Every third frame is an event whose score says nothing and whose label is empty.
    frames.items = "(global $seen (mut i32) (i32.const 0))".into();
    frames.body = "(global.set $seen (i32.add (global.get $seen) (i32.const 1)))
        (i32.store8 (i32.const 1024) (i32.eqz (i32.rem_u (global.get $seen) (i32.const 3))))
        (i32.const 1024)"
        .into();
    let hook = frames.hook();
    let mut motion = hook.motion().result.unwrap();
    let (source, luma) = (
        motion::Source { target: target(&[]), width: 1280, height: 720, fps_num: 25, fps_den: 1, extra: vec![] },
        vec![128; 160 * 90],
    );
    let wanted = motion.start(&source).result.unwrap().unwrap();
    assert_eq!((wanted.width, wanted.height), (160, 90));
    let seen: Vec<bool> =
        (0..3000).map(|n| motion.on_frame(&luma, 160, 90, n * 40).result.unwrap().is_some()).collect();
    assert!(seen.iter().enumerate().all(|(n, event)| *event == (n % 3 == 2)));
}

#[test]
fn what_is_recorded_can_be_read_again() {
    let asked = request("play", &[("sign", "é \"x\"")]);
    let text = serde_json::to_string(&asked).unwrap();
    assert_eq!(serde_json::from_str::<auth::Request>(&text).unwrap(), asked);
}
