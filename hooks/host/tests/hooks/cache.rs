//! Compiled code on disk: found again, and never used when it was changed or is another's.
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use millstream_hooks::{ArtifactCache, Cached, Hook, OpenError, Settings, World, open, seal};

use crate::fixture::{RUNTIME, guest, request};

#[test]
fn what_was_kept_is_found_and_what_was_changed_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let cache = ArtifactCache::new(dir.path().join("hooks"), [7; 32]).unwrap();
    let compiled = RUNTIME.compile(&guest(World::Auth).core(), World::Auth).unwrap();
    let (sha256, print) = (compiled.artifact.sha256(), RUNTIME.fingerprint());
    assert!(matches!(cache.get(&sha256, World::Auth, &print), Cached::Missing));
    cache.put(&compiled).unwrap();
    let path = fs::read_dir(dir.path().join("hooks")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let Cached::Found(found) = cache.get(&sha256, World::Auth, &print) else { panic!("it was kept") };
    assert_eq!(found.report, compiled.report);
    let hook = Hook::new(RUNTIME.load(&found.artifact).unwrap(), Settings::new("kept", "1", World::Auth));
    assert!(hook.authorize(&request("play", &[])).result.is_ok());

    let ignored = |cache: &ArtifactCache, world, print: &[u8; 32]| match cache.get(&sha256, world, print) {
        Cached::Ignored(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(ignored(&cache, World::Auth, &[0; 32]).contains("another version"));
    let stranger = ArtifactCache::new(dir.path().join("hooks"), [8; 32]).unwrap();
    assert!(ignored(&stranger, World::Auth, &print).contains("another key"));
    // Each byte counts: of the mark, of the HMAC, of the header, of the code.
    let right = fs::read(&path).unwrap();
    for at in [0, 9, 39, 42, 60, right.len() / 2, right.len() - 1] {
        let mut wrong = right.clone();
        wrong[at] ^= 1;
        fs::write(&path, &wrong).unwrap();
        assert!(ignored(&cache, World::Auth, &print).contains("compiled anew"), "byte {at}");
    }
    for len in [0, 8, 39, 43, 100, right.len() - 1] {
        fs::write(&path, &right[..len]).unwrap();
        ignored(&cache, World::Auth, &print);
    }
    // A right file under another's name.
    fs::write(&path, &right).unwrap();
    fs::copy(&path, path.to_str().unwrap().replace("-auth", "-policy")).unwrap();
    assert!(ignored(&cache, World::Policy, &print).contains("another module"));
    let needed = [(sha256, World::Auth)];
    let later = SystemTime::now() + Duration::from_mins(1);
    assert_eq!(cache.keep_only(&needed, SystemTime::UNIX_EPOCH).unwrap(), 0, "none is that old");
    assert_eq!(cache.keep_only(&needed, later).unwrap(), 1);
    assert!(matches!(cache.get(&sha256, World::Auth, &print), Cached::Found(_)));
}

#[test]
fn sealed_code_is_taken_by_who_has_the_key_and_no_other() {
    let compiled = RUNTIME.compile(&guest(World::Motion).core(), World::Motion).unwrap();
    let (key, print) = ([7; 32], RUNTIME.fingerprint());
    let sealed = seal(&key, &compiled).unwrap();
    let opened = open(&key, &sealed, &print).unwrap();
    assert_eq!((opened.report, opened.artifact.sha256()), (compiled.report, compiled.artifact.sha256()));
    assert!(RUNTIME.load(&opened.artifact).is_ok());
    let why = |key: &[u8; 32], bytes: &[u8], print: &[u8; 32]| open(key, bytes, print).unwrap_err();
    assert_eq!(why(&[8; 32], &sealed, &print), OpenError::Mac);
    assert_eq!(why(&key, &sealed, &[0; 32]), OpenError::Foreign);
    assert_eq!(why(&key, &sealed[..sealed.len() - 1], &print), OpenError::Mac);
    assert_eq!(why(&key, b"", &print), OpenError::Form);
}

/// The compiler's process has no pool of instances: its code must be good for the server's engine all the same.
#[test]
fn code_of_an_engine_without_a_pool_runs_in_one_with() {
    let bare = millstream_hooks::Runtime::without_pool().unwrap();
    assert_eq!(bare.fingerprint(), RUNTIME.fingerprint());
    let compiled = bare.compile(&guest(World::Auth).core(), World::Auth).unwrap();
    let hook = Hook::new(RUNTIME.load(&compiled.artifact).unwrap(), Settings::new("child's", "1", World::Auth));
    assert!(hook.authorize(&request("play", &[])).result.is_ok());
}
