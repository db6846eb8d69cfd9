//! The compiler of hooks is this binary, run by itself with limits of its own.
#![cfg(feature = "hooks")]
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, process};

use millstream_hooks::{Capacity, Hook, Refused, Runtime, Settings, World, compile_in_child};

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_millstream"))
}

fn module() -> Vec<u8> {
    let guests: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hooks/guests/built");
    fs::read(guests.join("signed-url.wasm")).unwrap()
}

const LONG: Duration = Duration::from_mins(2);

#[test]
fn a_module_compiled_in_a_process_of_its_own_runs_here() {
    let compiled = compile_in_child(binary(), &module(), World::Auth, LONG).unwrap();
    assert_eq!(compiled.report.world, World::Auth);
    let runtime = Runtime::new(Capacity::default()).unwrap();
    assert_eq!(compiled.artifact.fingerprint(), runtime.fingerprint());
    let hook = Hook::new(runtime.load(&compiled.artifact).unwrap(), Settings::new("child's", "1", World::Auth));
    assert_eq!(hook.describe().result.unwrap().name, "signed-url");
}

#[test]
fn what_it_refuses_is_told() {
    let refused = |bytes: &[u8], world| compile_in_child(binary(), bytes, world, LONG).unwrap_err();
    assert_eq!(refused(b"no module", World::Auth), Refused::NotWasm);
    assert!(matches!(refused(&module(), World::Motion), Refused::World { .. }));
}

#[test]
fn a_process_that_fails_is_no_harm() {
    let failed =
        |exe: &str, timeout| match compile_in_child(Path::new(exe), &module(), World::Auth, timeout).unwrap_err() {
            Refused::Compiler(why) => why,
            other => panic!("{other}"),
        };
    assert!(failed("/nonexistent", LONG).contains("did not start"));
    assert!(failed("/bin/true", LONG).contains("without an answer"));
    // It takes longer than that to start.
    let began = Instant::now();
    assert!(failed(binary().to_str().unwrap(), Duration::ZERO).contains("was stopped"));
    assert!(began.elapsed() < Duration::from_secs(20));
    let mine = format!("/proc/{0}/task/{0}/children", process::id());
    assert_eq!(fs::read_to_string(mine).unwrap_or_default().trim(), "", "it must not go on");
}
