//! The store in a file: what is on disk outlives its process, and a file that cannot be used is said to be so.
use std::fs::File;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use millstream_store::item::{Change, Expect, Kind, Query, Write};
use millstream_store::sqlite::{BackupError, FILE, SqliteStore, backup, peek, peek_count};
use millstream_store::{Room, Store as _, StoreError};

use crate::{KIND, run, write};

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir).unwrap()
}

fn refused(dir: &Path) -> StoreError {
    SqliteStore::open(dir).map(|_| ()).unwrap_err()
}

#[test]
fn items_outlive_their_process_and_only_their_owner_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    run(open(dir.path()).put(write("k", Expect::Absent, "kept"))).unwrap();
    assert_eq!(run(open(dir.path()).get(KIND, "k")).unwrap().unwrap().value, b"kept");
    let store = open(dir.path());
    run(store.put(write("k", Expect::Any, "kept"))).unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}

#[test]
fn a_directory_has_one_store_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let error = refused(dir.path());
    assert_eq!(
        error,
        StoreError::Locked { dir: dir.path().to_owned(), holder: std::process::id().to_string() },
        "{error}"
    );
    drop(first);
    drop(open(dir.path()));
}

#[test]
fn an_item_can_be_looked_at_beside_the_process_that_has_the_store() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!((peek(dir.path(), KIND, "k"), peek_count(dir.path(), KIND)), (Ok(None), Ok(0)));
    let store = open(dir.path());
    run(store.put(write("k", Expect::Absent, "kept"))).unwrap();
    assert_eq!(peek(dir.path(), KIND, "k").unwrap().unwrap().value, b"kept");
    assert_eq!((peek(dir.path(), KIND, "other"), peek_count(dir.path(), KIND)), (Ok(None), Ok(1)));
    run(store.put(write("k", Expect::Any, "later"))).unwrap();
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let check = |content: &[u8], part: &str| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, content).unwrap();
        let error = refused(dir.path());
        assert!(matches!(error, StoreError::Damaged { .. }) && error.to_string().contains(part), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    };
    check(&b"# not a database\n".repeat(100), "millstream backup");
    check(b"SQLite format 3\0 and then rubbish", "is damaged");
}

#[test]
fn a_damaged_page_is_noticed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    run(async {
        for n in 0..500 {
            store.put(write(&format!("{n:05}"), Expect::Absent, &"v".repeat(100))).await.unwrap();
        }
    });
    drop(store);
    let file = File::options().write(true).open(dir.path().join(FILE)).unwrap();
    assert!(file.metadata().unwrap().len() > 40_000);
    file.write_all_at(&[0xA5; 6_000], 10_000).unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_file_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    // `user_version` is the 32 bits at offset 60 of SQLite's header.
    let file = File::options().write(true).open(dir.path().join(FILE)).unwrap();
    file.write_all_at(&9_u32.to_be_bytes(), 60).unwrap();
    assert_eq!(refused(dir.path()), StoreError::Newer { path: dir.path().join(FILE), found: 9, known: 1 });
}

#[test]
fn a_backup_of_a_store_in_use_has_all_that_was_answered() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let missing = backup(dir.path(), &place.path().join("copy")).unwrap_err();
    assert!(matches!(missing, BackupError::Missing(_)), "{missing}");
    let store = open(dir.path());
    run(store.put(write("k", Expect::Absent, "kept"))).unwrap();
    let copy = place.path().join(FILE);
    backup(dir.path(), &copy).unwrap();
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    run(store.put(write("k", Expect::Any, "later"))).unwrap();
    let taken = backup(dir.path(), &copy).unwrap_err();
    assert!(matches!(taken, BackupError::Taken(_)), "{taken}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "nothing half done stays");
    // The copy is a store.
    assert_eq!(run(open(place.path()).get(KIND, "k")).unwrap().unwrap().value, b"kept");
    drop(store);
    backup(dir.path(), &place.path().join("of a stopped one")).unwrap();
}

/// Nobody who writes takes the log into the file, and it does not grow for ever all the same.
#[test]
fn the_log_is_taken_into_the_file_beside_those_who_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = |name: &str| std::fs::metadata(dir.path().join(name)).map_or(0, |file| file.len());
    let value = "v".repeat(200_000);
    let mut written = 0;
    // 200 MiB at most: the log alone would never be let have so much.
    while bytes(FILE) < 10 << 20 && written < 1_000 {
        run(store.put(write(&format!("{written:05}"), Expect::Absent, &value))).unwrap();
        written += 1;
    }
    assert!(bytes(FILE) >= 10 << 20, "{} bytes in the file after {written} writes", bytes(FILE));
    assert!(bytes("store.sqlite-wal") < 80 << 20, "{} bytes of log", bytes("store.sqlite-wal"));
    drop(store);
    let store = open(dir.path());
    assert_eq!(run(store.count(KIND)), Ok(written));
}

/// The disk is a tmpfs of two mebibytes, in a mount namespace of a copy of this test.
#[test]
fn a_full_disk_refuses_writes_and_loses_none_that_was_answered() {
    if std::env::var_os("MILLSTREAM_TEST_SMALL_DISK").is_some() {
        return on_a_small_disk(Path::new("/mnt"));
    }
    let test = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o size=2m tmpfs /mnt && exec \"$0\" --exact contract::file::a_full_disk_refuses_writes_and_loses_none_that_was_answered --nocapture";
    let unshare = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]).args(arguments);
        command.env("MILLSTREAM_TEST_SMALL_DISK", "1");
        command
    };
    if !unshare(&["true"]).output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: this system lets nobody make a mount namespace (unshare --user --mount), so no small disk");
        return;
    }
    let output = unshare(&["sh", "-c", script]).arg(test).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("writes before the disk was full"), "{said}");
}

fn on_a_small_disk(dir: &Path) {
    let store = open(dir);
    let mut answered = 0;
    run(async {
        let error = loop {
            match store.put(write(&format!("{answered:05}"), Expect::Absent, &"v".repeat(2_000))).await {
                Ok(_) => answered += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert!(error.to_string().contains("free space there"), "{error}");
        // What is there can be read, and the store goes on being full, not broken.
        assert_eq!(store.count(KIND).await, Ok(answered));
        let again = store.put(write("again", Expect::Absent, &"v".repeat(2_000))).await;
        assert!(matches!(again, Err(StoreError::Full { .. })), "{again:?}");
    });
    // Two items, of which the disk has room for the first: neither is there.
    run(async {
        let small = |key: &str, bytes| Change::Put(write(key, Expect::Absent, &"v".repeat(bytes)));
        let both = store.transact(vec![small("both/1", 1), small("both/2", 200_000)]).await;
        assert!(matches!(both, Err(StoreError::Full { .. })), "{both:?}");
        assert_eq!((store.get(KIND, "both/1").await, store.count(KIND).await), (Ok(None), Ok(answered)));
    });
    drop(store);
    // Somebody else takes what the log has left.
    fill(&dir.join("other"));
    let store = open(dir);
    println!("{answered} writes before the disk was full");
    assert!(answered > 25);
    assert_eq!(run(store.count(KIND)), Ok(answered), "all that was answered is there after a restart");
    assert_eq!(run(store.page(Query::all(KIND))).unwrap().items.len() as u64, answered.min(1_000));
    // Whatever else was taken away and told: what leaked can be revoked.
    run(async {
        let log =
            |n: usize| Write { kind: Kind("log"), ..write(&format!("half/{n}"), Expect::Absent, &"w".repeat(2_000)) };
        let mut n = 0;
        let error = loop {
            match store.revoke(vec![Change::Put(log(n))], Room::Half).await {
                Ok(_) => n += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        println!("{n} with half of the room");
        assert!(n > 0);
    });
    revoke_on_a_full_disk(&store, 40, 5);
    drop(store);

    // A store that was closed as it should be, and somebody else who takes all that is left of the disk.
    for file in std::fs::read_dir(dir).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    run(open(dir).put(write("k", Expect::Absent, "kept"))).unwrap();
    assert!(!dir.join("store.sqlite-wal").exists(), "closed as it should be");
    fill(&dir.join("other"));
    for _ in 0..3 {
        let store = open(dir);
        assert_eq!(run(store.get(KIND, "k")).unwrap().unwrap().value, b"kept");
        let large = run(store.put(write("large", Expect::Absent, &"v".repeat(200_000))));
        assert!(matches!(large, Err(StoreError::Full { .. })), "{large:?}");
    }
    std::fs::remove_file(dir.join("other")).unwrap();
    let store = open(dir);
    run(async {
        for half in 0..2 {
            let tokens = (half * 100..half * 100 + 100).map(|n| write(&format!("{n:05}"), Expect::Absent, "token"));
            store.transact(tokens.map(Change::Put).collect()).await.unwrap();
        }
    });
    drop(store);
    let store = open(dir);
    fill(&dir.join("other"));
    // More than the room that was kept would do for: the log is used again.
    revoke_on_a_full_disk(&store, 200, 200);
    drop(store);
    std::fs::remove_file(dir.join("other")).unwrap();
    let store = open(dir);
    run(store.put(write("large", Expect::Absent, &"v".repeat(200_000)))).unwrap();
}

/// Of so many items that may be removed, at least so many can be, although nothing new can be written.
fn revoke_on_a_full_disk(store: &SqliteStore, items: usize, least: usize) {
    run(async {
        let before = store.count(KIND).await.unwrap();
        let mut revoked = 0;
        for n in 0..items {
            // As a token's removal: with an entry of who did it.
            let who = Write { kind: Kind("log"), ..write(&format!("{n:05}"), Expect::Any, &"w".repeat(200)) };
            let gone = Change::Delete { kind: KIND, key: format!("{n:05}"), expect: Expect::Version(1) };
            match store.revoke(vec![gone, Change::Put(who)], Room::All).await {
                Ok(_) => revoked += 1,
                Err(error) => assert!(matches!(error, StoreError::Full { .. }), "{error}"),
            }
        }
        println!("{revoked} of {items} revoked on a full disk");
        assert!(revoked >= least, "{revoked} of {items}");
        assert_eq!(store.count(KIND).await, Ok(before - revoked as u64));
        let large = store.put(write("large", Expect::Absent, &"v".repeat(250_000))).await;
        assert!(matches!(large, Err(StoreError::Full { .. })), "{large:?}");
    });
}

/// The shell of a copy of this test lets no file grow beyond so many blocks of 512 bytes, and has the signal ignored that would end it.
#[test]
fn the_limit_of_a_files_size_is_a_full_disk() {
    let variable = "MILLSTREAM_TEST_SMALL_FILES";
    if let Some(dir) = std::env::var_os(variable) {
        let store = open(Path::new(&dir));
        run(async {
            let mut answered = 0;
            let error = loop {
                match store.put(write(&format!("{answered:05}"), Expect::Absent, &"v".repeat(2_000))).await {
                    Ok(_) => answered += 1,
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
            assert!(answered > 25);
        });
        return revoke_on_a_full_disk(&store, 25, 25);
    }
    let (dir, test) = (tempfile::tempdir().unwrap(), std::env::current_exe().unwrap());
    let script = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" --exact contract::file::the_limit_of_a_files_size_is_a_full_disk --nocapture";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(test).env(variable, dir.path());
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("revoked on a full disk"), "{said}");
}

/// Takes all the room that there is.
fn fill(path: &Path) {
    let file = File::create(path).unwrap();
    let mut at = 0;
    for block in [4_096, 1] {
        while file.write_all_at(&[7; 4_096][..block], at).is_ok() {
            at += block as u64;
        }
    }
}

/// A copy of this test writes as fast as it can until it is killed; every write that it told of must be there.
#[test]
fn a_kill_loses_no_write_that_was_answered() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;
    let variable = "MILLSTREAM_TEST_KILL_DIR";
    if let Some(dir) = std::env::var_os(variable) {
        let store = open(Path::new(&dir));
        run(async {
            for n in 0_u64.. {
                store.put(write(&format!("{n:08}"), Expect::Absent, "v")).await.unwrap();
                println!("wrote {n}");
            }
        });
    }
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        // Keys of each round are new: the directory is another one.
        let dir = dir.path().join(round.to_string());
        std::fs::create_dir(&dir).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "contract::file::a_kill_loses_no_write_that_was_answered", "--nocapture"])
            .env(variable, &dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut told = lines.by_ref().filter_map(|line| line.rsplit_once("wrote ")?.1.parse::<u64>().ok());
        let mut last = told.by_ref().nth(40 + 13 * round).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        last = told.last().unwrap_or(last);
        let count = run(open(&dir).count(KIND)).unwrap();
        // One more may have been written and not yet told.
        assert!(count == last + 1 || count == last + 2, "{count} items after {last} was answered");
    }
}
