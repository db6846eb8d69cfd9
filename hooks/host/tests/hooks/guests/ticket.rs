//! The guest in C: a core module that does not say what it is for, as C compilers write it, made a component.
use std::fs;

use millstream_hooks::wit::auth::Step;
use millstream_hooks::{Form, Hook, Refused, Settings, World, kind_of, pack};

use super::{files, guests, sha256, why};
use crate::fixture::{self, core, guest, request};

fn module() -> Vec<u8> {
    fs::read(guests().join("c/ticket.core.wasm")).unwrap()
}

#[test]
fn ticket_is_built_from_the_sources_that_are_here() {
    let templates = guests().join("../templates/c");
    let sources = ["auth.c", "bindings/auth_hook.c", "bindings/auth_hook.h"].map(|file| templates.join(file));
    let said = fs::read_to_string(guests().join("c/ticket.sha256")).unwrap();
    let found = [sha256(&sources), sha256(&[guests().join("c/ticket.core.wasm")])];
    assert_eq!(said.lines().collect::<Vec<_>>(), found, "run hooks/guests/c/build and commit what it makes");
    let contract = fs::read_to_string(templates.join("bindings/wit.sha256")).unwrap();
    let found = sha256(&files(&guests().join("../wit"), "wit"));
    assert_eq!(
        contract.trim(),
        found,
        "the contract has changed: generate the bindings of hooks/templates/c/bindings anew"
    );
}

#[test]
fn ticket_in_c_admits_who_has_it() {
    let (component, form) = pack(&module(), Some(World::Auth)).unwrap();
    assert_eq!((form, kind_of(&component).unwrap()), (Form::CoreModule, World::Auth));
    let bound = |ticket: &str| -> Hook {
        let mut settings = Settings::new("ticket", "1", World::Auth);
        settings.config.insert("ticket".into(), ticket.into());
        fixture::hook(&component, settings, World::Auth)
    };
    let hook = bound("1234");
    let info = hook.describe().result.unwrap();
    assert_eq!((info.name.as_str(), info.settings[0].required), ("ticket", true));
    assert_eq!(hook.check_config().result.unwrap(), Ok(()));
    for (params, admits) in [
        (&[("ticket", "1234")][..], true),
        (&[("a", "b"), ("ticket", "0"), ("ticket", "1234")], true),
        (&[("ticket", "12345")], false),
        (&[("ticket", "")], false),
        (&[("tickets", "1234")], false),
        (&[], false),
    ] {
        let step = hook.authorize(&request("play", params)).result.unwrap();
        assert_eq!(matches!(step, Step::Allow(_)), admits, "{params:?}");
        assert!(admits || why(step) == "unauthenticated");
    }
    assert_eq!(hook.authorize(&request("publish", &[])).result.unwrap(), Step::Next);
    assert_eq!(hook.settings().logs.since(0).len(), 4);
    let unset = bound("");
    assert!(unset.check_config().result.unwrap().unwrap_err().contains("set ticket"));
    assert_eq!(why(unset.authorize(&request("play", &[("ticket", "")])).result.unwrap()), "unauthenticated");
}

#[test]
fn packing_says_what_is_wrong() {
    // Without a word about its world it is no hook yet, and it cannot be packed as another.
    assert!(matches!(pack(&module(), None), Err(Refused::Core(_))));
    for other in [World::Policy, World::Motion, World::Events] {
        assert!(matches!(pack(&module(), Some(other)), Err(Refused::Core(_))), "{other}");
    }
    // One that says it needs no telling, and what is told does not change it.
    for world in World::ALL {
        let says = core(world, &guest(world).wat());
        for told in [None, Some(World::Auth)] {
            let (component, form) = pack(&says, told).unwrap();
            assert_eq!((form, kind_of(&component).unwrap()), (Form::CoreModule, world));
            assert_eq!(pack(&component, told).unwrap(), (component, Form::Component));
        }
    }
    assert!(matches!(kind_of(b"text"), Err(Refused::NotWasm)));
}
