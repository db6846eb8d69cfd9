//! The modules of `tests/modules`, which end-to-end tests upload: what they are made of, and that they do what those tests believe.
//!
//! `MILLSTREAM_WRITE_MODULES=1 cargo test -p millstream-hooks --test modules` writes them anew.
use std::fs;
use std::path::{Path, PathBuf};

use millstream_hooks::wit::auth::Step;
use millstream_hooks::{Settings, World};

use crate::fixture::{self, guest, request};

/// What `chatty` writes with each call: a line that would colour a terminal.
const SAYS: &str = "asked \u{1b}[31mred";

/// Lets everybody in, and says so in its log.
fn chatty() -> Vec<u8> {
    let mut guest = guest(World::Auth);
    guest.imports = "(import \"millstream:hooks/host@0.1.0\" \"log\" (func $log (param i32 i32 i32)))";
    guest.items = "(data (i32.const 0) \"asked \\1b[31mred\")".into();
    guest.body = format!("(call $log (i32.const 2) (i32.const 0) (i32.const {})) (i32.const 1024)", SAYS.len());
    guest.core()
}

/// Traps with each call.
fn traps() -> Vec<u8> {
    let mut guest = guest(World::Auth);
    guest.body = "(unreachable)".into();
    guest.core()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/modules").join(name)
}

#[test]
fn modules_of_the_end_to_end_tests_do_what_those_believe() {
    let made = [("chatty.wasm", chatty()), ("traps.wasm", traps())];
    for (name, module) in made {
        if std::env::var_os("MILLSTREAM_WRITE_MODULES").is_some() {
            fs::write(path(name), &module).unwrap();
        }
        let kept = fs::read(path(name)).unwrap();
        let hook = fixture::hook(&kept, Settings::new("test", "1", World::Auth), World::Auth);
        let answer = hook.authorize(&request("play", &[])).result;
        if name == "chatty.wasm" {
            assert!(matches!(answer, Ok(Step::Allow(_))), "{answer:?}");
            assert_eq!(hook.settings().logs.since(0)[0].text, SAYS.replace('\u{1b}', " "));
        } else {
            assert_eq!(answer.unwrap_err().label(), "trap", "{name}");
        }
        assert_eq!(hook.check_config().result, Ok(Ok(())));
    }
}
