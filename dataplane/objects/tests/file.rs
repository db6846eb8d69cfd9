//! The store of a directory where the system says no: links, foreign files, full and read-only disks, rights, kills.
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use millstream_objects::{Body, ErrorKind, FileStore, Key, Meta, ObjectError, ObjectStore, Retry, Span, Sums};

fn key(text: &str) -> Key {
    Key::parse(text).expect("a key")
}

async fn put(store: &FileStore, name: &str, bytes: &[u8]) -> Result<Sums, ObjectError> {
    let key = key(name);
    store.put(&key, Body::from(bytes.to_vec()), Meta::of(&key, "no-store")).await
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn links_lead_nowhere() {
    let (dir, outside) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    fs::write(outside.path().join("secret.txt"), "secret").expect("written");
    symlink(outside.path(), dir.path().join("folder")).expect("a link");
    symlink(outside.path().join("secret.txt"), dir.path().join("file.txt")).expect("a link");
    let store = FileStore::new(dir.path());
    for name in ["folder/secret.txt", "file.txt"] {
        assert_eq!(store.head(&key(name)).await.expect("an answer"), None, "{name}");
        assert_eq!(store.get(&key(name), Span::All).await.expect_err("none").kind(), ErrorKind::NotFound);
        store.delete(&key(name)).await.expect("nothing to delete");
    }
    assert_eq!(store.list(None, None, 10).await.expect("a page").objects, []);
    assert_eq!(store.list(Some(&key("folder")), None, 10).await.expect("a page").objects, []);
    assert_eq!(put(&store, "folder/new.txt", b"x").await.expect_err("refused").kind(), ErrorKind::Invalid);
    store.sweep(Duration::ZERO).await.expect("swept");
    // A link in the place of an object is replaced, and what it leads to stays.
    put(&store, "file.txt", b"own").await.expect("put");
    assert_eq!(fs::read(outside.path().join("secret.txt")).expect("read"), b"secret");
    assert_eq!(names(outside.path()), ["secret.txt"]);
    // The directory itself may be a link: its path is the operator's.
    let link = outside.path().join("link");
    symlink(dir.path(), &link).expect("a link");
    assert!(FileStore::new(link).head(&key("file.txt")).await.expect("an answer").is_some());
}

#[tokio::test]
async fn what_others_put_into_the_directory_is_not_served() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    fs::write(at("a name with spaces.mp4"), "x").expect("written");
    fs::write(at("~0123456789abcdef"), "x").expect("written");
    fs::create_dir(at("folder.mp4")).expect("a directory");
    assert!(Command::new("mkfifo").arg(at("pipe.mp4")).status().expect("mkfifo").success());
    let store = FileStore::new(dir.path());
    assert_eq!(store.list(None, None, 10).await.expect("a page").objects, []);
    for name in ["folder.mp4", "pipe.mp4", "folder.mp4/x", "pipe.mp4/x"] {
        let head = tokio::time::timeout(Duration::from_secs(5), store.head(&key(name)));
        assert_eq!(head.await.expect("it does not wait for the pipe").expect("an answer"), None, "{name}");
    }
    let error = put(&store, "folder.mp4", b"x").await.expect_err("a directory is there");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Invalid, Retry::Never), "{error}");
    let error = put(&store, "pipe.mp4/x.mp4", b"x").await.expect_err("a pipe is there");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("move it away"), "{error}");
    assert_eq!(names(&at("folder.mp4")), Vec::<String>::new());
}

#[tokio::test]
async fn a_directory_that_is_missing_or_goes_is_said_and_not_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("mount");
    let store = FileStore::new(&root);
    for round in 0..2 {
        let error = store.probe().await.expect_err("not there");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Missing, Retry::AfterRepair), "{error}");
        assert!(error.to_string().contains("mount") && error.to_string().contains("make it"), "{error}");
        assert_eq!(put(&store, "a/b.mp4", b"x").await.expect_err("not there").kind(), ErrorKind::Missing);
        assert_eq!(store.head(&key("a/b.mp4")).await.expect_err("not there").kind(), ErrorKind::Missing);
        assert!(!root.exists());
        if round == 0 {
            fs::create_dir(&root).expect("made");
            store.probe().await.expect("it is there");
            put(&store, "a/b.mp4", b"x").await.expect("put");
            fs::remove_dir_all(&root).expect("removed");
        }
    }
    fs::write(&root, "x").expect("written");
    assert_eq!(store.probe().await.expect_err("a file").kind(), ErrorKind::Missing);
}

#[tokio::test]
async fn temporary_files_of_a_kill_are_swept_when_they_are_old_and_never_seen() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = FileStore::new(dir.path());
    put(&store, "a/b/c.mp4", b"x").await.expect("put");
    let left = dir.path().join("a/b/~00000000deadbeef");
    fs::write(&left, "half an obj").expect("written");
    fs::write(dir.path().join("~backup"), "of somebody").expect("written");
    assert_eq!(store.list(None, None, 10).await.expect("a page").objects.len(), 1);
    assert_eq!(store.sweep(Duration::from_mins(1)).await.expect("swept"), 0);
    assert!(left.exists());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(store.sweep(Duration::ZERO).await.expect("swept"), 1);
    assert_eq!(names(&dir.path().join("a/b")), ["c.mp4"]);
    assert_eq!(names(dir.path()), ["a", "~backup"]);
}

#[tokio::test]
async fn an_object_that_is_replaced_or_deleted_while_it_is_read_is_read_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = FileStore::new(dir.path());
    let before = vec![1; 3_000_000];
    put(&store, "a.mp4", &before).await.expect("put");
    let mut reading = store.get(&key("a.mp4"), Span::All).await.expect("an object");
    let mut all = reading.chunks.try_next().await.expect("a chunk").expect("a chunk").to_vec();
    put(&store, "a.mp4", &[2; 10]).await.expect("put");
    store.delete(&key("a.mp4")).await.expect("deleted");
    while let Some(chunk) = reading.chunks.try_next().await.expect("a chunk") {
        all.extend_from_slice(&chunk);
    }
    assert_eq!(all, before);
}

#[tokio::test]
async fn folders_go_with_their_last_object() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = FileStore::new(dir.path());
    put(&store, "a/b/c/d.mp4", b"x").await.expect("put");
    put(&store, "a/e.mp4", b"x").await.expect("put");
    store.delete(&key("a/b/c/d.mp4")).await.expect("deleted");
    assert_eq!(names(&dir.path().join("a")), ["e.mp4"]);
    store.delete(&key("a/e.mp4")).await.expect("deleted");
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

/// What the child process below finds: kind and retry of a probe and of a put, and which names are left.
const CHILD: &str = "MILLSTREAM_TEST_OBJECTS_DIR";

/// Runs in a process of its own with other limits or rights; does nothing in a usual run.
#[tokio::test]
async fn in_a_child_a_probe_and_a_put_are_tried() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let store = FileStore::new(&dir);
    let probe = store.probe().await;
    let put = put(&store, "rec/big.mp4", &vec![7; 1_000_000]).await;
    for (what, error) in [("probe", probe.err()), ("put", put.err())] {
        match error {
            Some(error) => println!("{what}: {} {:?} {error}", error.kind(), error.retry()),
            None => println!("{what}: fine"),
        }
    }
    let kept = store.head(&key("rec/kept.mp4")).await.expect("an answer").map(|stored| stored.bytes);
    println!("kept: {kept:?}");
}

fn child(dir: &Path, wrapper: &[&str]) -> Command {
    let exe = std::env::current_exe().expect("this program");
    let arguments = ["--exact", "in_a_child_a_probe_and_a_put_are_tried", "--nocapture", "--test-threads", "1"];
    let mut command = match wrapper {
        [] => Command::new(&exe),
        [program, rest @ ..] => {
            let mut command = Command::new(program);
            command.args(rest).arg(&exe);
            command
        }
    };
    command.args(arguments).env(CHILD, dir);
    command
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_what_was_there() {
    let dir = tempfile::tempdir().expect("a directory");
    put(&FileStore::new(dir.path()), "rec/kept.mp4", b"kept").await.expect("put");
    // A limit for the size of a file is a quota that needs no root; the signal for it is ignored, as the server does.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$@\"";
    let output = child(dir.path(), &["bash", "-c", script, "bash"]).output().expect("a child");
    let said = told(&output);
    assert!(said.contains("probe: fine"), "{said}");
    assert!(said.contains("put: full AfterRepair") && said.contains("free space there"), "{said}");
    assert!(said.contains("kept: Some(4)"), "{said}");
    assert_eq!(names(&dir.path().join("rec")), ["kept.mp4"], "nothing half is left");
}

/// Whether this system lets a test mount something of its own.
fn mounts() -> Option<[&'static str; 2]> {
    let works = |flags: &[&'static str; 2]| {
        let script = "mount -t tmpfs -o size=64k none /mnt";
        Command::new("unshare").args(flags).args(["sh", "-c", script]).output().is_ok_and(|o| o.status.success())
    };
    [["-m", "--"], ["-rm", "--"]].into_iter().find(works)
}

#[tokio::test]
async fn a_full_or_read_only_file_system_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some([flags, end]) = mounts() else {
        println!("this system lets nobody mount: not tried");
        return;
    };
    for (script, says) in [
        ("mount -t tmpfs -o size=256k none \"$D\" && exec \"$@\"", "put: full AfterRepair"),
        ("mount -t tmpfs -o size=4k none \"$D\" && echo x > \"$D/x\" && exec \"$@\"", "probe: full AfterRepair"),
        ("mount -t tmpfs -o ro none \"$D\" && exec \"$@\"", "probe: read_only AfterRepair"),
        ("mount -t tmpfs -o ro none \"$D\" && exec \"$@\"", "put: read_only AfterRepair"),
    ] {
        let wrapper = ["unshare", flags, end, "bash", "-c", script, "bash"];
        let said = told(&child(dir.path(), &wrapper).env("D", dir.path()).output().expect("a child"));
        assert!(said.contains(says), "{script}: {said}");
    }
}

#[tokio::test]
async fn missing_rights_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).expect("set");
    let mut command = child(dir.path(), &[]);
    if rustix::process::geteuid().is_root() {
        // Root may write everywhere; `nobody` may not.
        command.uid(65_534).gid(65_534);
    }
    let said = told(&command.output().expect("a child"));
    assert!(said.contains("probe: denied AfterRepair") && said.contains("put: denied AfterRepair"), "{said}");
    assert!(said.contains("chown"), "{said}");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("set");
    assert_eq!(names(dir.path()), Vec::<String>::new());
}
