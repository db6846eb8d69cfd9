//! Secret files: made once, for one user, and refused when they are not as they were made.
use std::fs::Permissions;

use super::*;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    set_mode(path, mode);
}

#[test]
fn secrets_are_made_once_and_for_this_user_only() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/b");
    make_data_dir(&dir).unwrap();
    make_data_dir(&dir).unwrap();
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let first = master_key(&dir).unwrap().to_text();
    assert_eq!(master_key(&dir).unwrap().to_text(), first);
    assert_eq!(read_master_key(&dir).unwrap().to_text(), first);
    admin_token(&dir).unwrap();
    let content = |name| std::fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(content(MASTER_KEY), format!("{}\n", first.expose()));
    assert_eq!(content(ADMIN_TOKEN).len(), 44);
    assert_ne!(content(MASTER_KEY), content(ADMIN_TOKEN));
    for name in [MASTER_KEY, ADMIN_TOKEN] {
        assert_eq!(std::fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // Nothing temporary stays.
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);
}

#[test]
fn starts_at_the_same_time_agree_on_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| master_key(dir.path()).unwrap().to_text())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn loose_damaged_and_missing_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(MASTER_KEY);
    let refused = |part: &str| {
        let error = format!("{:#}", read_master_key(dir.path()).unwrap_err());
        assert!(error.contains(part) && error.contains("master-key") && !error.contains("AAECAwQF"), "{error}");
    };
    refused("makes it at its first start");
    let good = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n";
    for mode in [0o644, 0o640, 0o604, 0o620] {
        write(&path, good, mode);
        refused("chmod 600");
        // A loose file is refused by the server's start too, and stays as it is.
        assert!(master_key(dir.path()).is_err());
    }
    write(&path, good, 0o400);
    assert_eq!(read_master_key(dir.path()).unwrap().to_text().expose(), good.trim_end());
    set_mode(&path, 0o600);
    for bad in ["", "AAECAwQF\n", "not base64url at all!\n"] {
        write(&path, bad, 0o600);
        refused("damaged");
    }
    std::fs::write(&path, b"\xff\xfe").unwrap();
    refused("cannot read");
}

#[test]
fn key_files_hold_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let check = |text: &str, expected: Option<&str>| {
        std::fs::write(&path, text).unwrap();
        let read = read_key_file(&path);
        if let Err(error) = &read {
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
        assert_eq!(read.ok().as_ref().map(Secret::expose), expected, "{text:?}");
    };
    check("hush", Some("hush"));
    check("hush\n", Some("hush"));
    check("hush\r\n", Some("hush"));
    check(" hush with blanks ", Some(" hush with blanks "));
    check("", None);
    check("\n", None);
    check("hush\nhush\n", None);
    check(&"hush".repeat(2000), None);
    assert!(read_key_file(&dir.path().join("none")).is_err());
}
