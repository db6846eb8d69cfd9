//! The guests of `hooks/guests`, as their build made them.
use std::fs;
use std::path::{Path, PathBuf};

use millstream_hooks::wit::auth::Step;
use millstream_hooks::{Hook, Secret, Settings, World};
use sha2::{Digest as _, Sha256};

use crate::fixture::{self, request};

mod admission;
mod forwarder;
mod jwt;
mod ladder;
mod motion;
mod oldest;
mod ticket;

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests")
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    files.sort();
    files
}

fn sha256(parts: &[PathBuf]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(fs::read(part).unwrap());
    }
    digest.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Who changes a guest or the contract builds the guests anew.
#[test]
fn modules_are_built_from_the_sources_that_are_here() {
    let modules = files(&guests().join("built"), "wasm");
    assert!(!modules.is_empty());
    for module in modules {
        let source = guests().join(module.file_stem().unwrap());
        let mut sources = files(&guests().join("../wit"), "wit");
        sources.push(source.join("Cargo.toml"));
        sources.extend(files(&source.join("src"), "rs"));
        let said = fs::read_to_string(module.with_extension("sha256")).unwrap();
        let said: Vec<&str> = said.lines().collect();
        let found = [sha256(&sources), sha256(std::slice::from_ref(&module))];
        assert_eq!(said, found, "{}: run hooks/guests/build and commit what it makes", module.display());
        // Reading JSON takes most of the largest one.
        assert!(fs::metadata(&module).unwrap().len() <= 200 << 10, "{}", module.display());
    }
}

/// A guest with this configuration.
fn built(name: &str, world: World, config: &[(&str, &str)]) -> Hook {
    built_with(name, world, config, |_| {})
}

/// The same, with more settings.
fn built_with(name: &str, world: World, config: &[(&str, &str)], more: impl FnOnce(&mut Settings)) -> Hook {
    let module = fs::read(guests().join(format!("built/{name}.wasm"))).unwrap();
    let mut settings = Settings::new(name, "1", world);
    settings.config = config.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    more(&mut settings);
    fixture::hook(&module, settings, world)
}

/// Why it denies.
fn why(step: Step) -> String {
    match step {
        Step::Deny(denial) => denial.why,
        other => panic!("{other:?}"),
    }
}

/// Every guest describes itself under the name of its directory.
#[test]
fn guests_are_what_their_directories_say() {
    for (name, world) in [
        ("allow-list", World::Auth),
        ("event-forwarder", World::Events),
        ("gated", World::Auth),
        ("jwt", World::Auth),
        ("ladder", World::Policy),
        ("motion", World::Motion),
        ("signed-url", World::Auth),
        ("viewer-cap", World::Auth),
    ] {
        let info = built(name, world, &[]).describe().result.unwrap();
        assert_eq!(info.name, name);
        assert!(info.settings.iter().all(|setting| !setting.about.is_empty()), "{name}");
    }
    assert_eq!(files(&guests().join("built"), "wasm").len(), 8, "each guest is listed here");
}

fn signed_url(config: &[(&str, &str)], secret: Option<&str>) -> Hook {
    built_with("signed-url", World::Auth, config, |settings| {
        settings.secrets.extend(secret.map(|secret| ("key".to_owned(), Secret::new(secret))));
    })
}

/// HMAC-SHA256 of `play:live/lobby:2000000000` under `s3cret`, by `openssl dgst -sha256 -hmac s3cret`.
const SIGN: &str = "8ff35fa157a2b534c215746ed7280c16e9e0b10568488abc3e8be2d4526037f4";

#[test]
fn signed_url_admits_who_brings_a_right_signature() {
    let hook = signed_url(&[], Some("s3cret"));
    let info = hook.describe().result.unwrap();
    assert_eq!((info.name.as_str(), info.settings.len()), ("signed-url", 2));
    assert_eq!(hook.check_config().result.unwrap(), Ok(()));
    let at = hook.at(1_999_999_940_000);
    let ask =
        |hook: &Hook, action: &str, params: &[(&str, &str)]| hook.authorize(&request(action, params)).result.unwrap();
    let right = [("expires", "2000000000"), ("sign", SIGN)];
    let Step::Allow(grant) = ask(&at, "play", &right) else { panic!("it is right") };
    assert_eq!(grant.valid_ms, 60_000);
    assert_eq!(why(ask(&at, "publish", &right)), "forbidden");
    assert_eq!(why(ask(&at, "play", &[("expires", "2000000001"), right[1]])), "forbidden");
    assert_eq!(why(ask(&at, "play", &[right[0], ("sign", "00ff")])), "forbidden");
    assert_eq!(why(ask(&at, "play", &[right[0], ("sign", "no hex")])), "unauthenticated");
    assert_eq!(why(ask(&at, "play", &[])), "unauthenticated");
    assert_eq!(why(ask(&hook.at(2_000_000_000_000), "play", &right)), "forbidden");
    assert_eq!(hook.settings().counters.snapshot()["wrong_signatures"], 3);
    let other = signed_url(&[], Some("other")).at(1_999_999_940_000);
    assert_eq!(why(ask(&other, "play", &right)), "forbidden");
    let unset = signed_url(&[("keep", "maybe")], None);
    assert!(unset.check_config().result.unwrap().unwrap_err().contains("\"true\" or \"false\""));
    assert!(signed_url(&[], None).check_config().result.unwrap().unwrap_err().contains("secret"));
    assert_eq!(why(ask(&signed_url(&[], None).at(0), "play", &right)), "busy");
    let keep = signed_url(&[("keep", "true")], Some("s3cret"));
    let Step::Allow(grant) = ask(&keep.at(0), "play", &right) else { panic!("it is right") };
    assert_eq!(grant.valid_ms, 0);
}
