//! What a release is made of: the Debian package and the OCI image, made from the binary under test by the release's own script.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use millstream_tests::documents::repository;
use millstream_tests::server::binary;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

fn run(program: &str, args: &[&str], dir: &Path) -> String {
    let output =
        Command::new(program).args(args).current_dir(dir).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The stripped binary of the tests' profile, which leaves a part of it unoptimised, has 97 MB; this is where growth is noticed.
const BINARY_BYTES_MAX: u64 = 102_000_000;

#[test]
#[ignore = "takes half a minute; tests/run --long has it"]
fn a_release_is_a_package_and_an_image_that_run() {
    let room = tempfile::tempdir().expect("a directory");
    let dist = room.path().join("dist");
    let made = Command::new(repository().join("packaging/build"))
        .arg(&dist)
        .env("MILLSTREAM_BINARY", binary())
        .env("MILLSTREAM_QUICK", "1")
        .output()
        .expect("bash");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    run("sha256sum", &["--check", "--quiet", "SHA256SUMS"], &dist);
    let size = std::fs::metadata(dist.join("millstream")).expect("a binary").len();
    println!("the stripped binary has {size} bytes");
    assert!(size < BINARY_BYTES_MAX, "{size} bytes");
    let ends = |end: &str| {
        let mut names = std::fs::read_dir(&dist).expect("made").map(|entry| entry.expect("a name").path());
        names.find(|path| path.to_string_lossy().ends_with(end)).unwrap_or_else(|| panic!("no {end}"))
    };
    package(&ends(".deb"), &room.path().join("deb"));
    image(&ends(".oci.tar"), &room.path().join("oci"), &room.path().join("root"));
}

fn package(deb: &Path, into: &Path) {
    let deb = deb.to_str().expect("ASCII");
    run("dpkg-deb", &["-R", deb, into.to_str().expect("ASCII")], Path::new("/"));
    for file in [
        "usr/bin/millstream",
        "usr/lib/systemd/system/millstream.service",
        "etc/millstream/millstream.toml",
        "usr/share/man/man1/millstream-stream-add.1.gz",
        "usr/share/bash-completion/completions/millstream",
        "usr/share/zsh/vendor-completions/_millstream",
        "usr/share/fish/vendor_completions.d/millstream.fish",
        "usr/share/doc/millstream/copyright",
        "usr/share/doc/millstream/docs/vps.md",
    ] {
        assert!(into.join(file).exists(), "{file} is missing");
    }
    let control = run("dpkg-deb", &["-f", deb], Path::new("/"));
    for field in ["Package: millstream", "Depends: libc6 (>= 2.", "Version: "] {
        assert!(control.contains(field), "{field} is not in {control}");
    }
    for script in ["postinst", "prerm", "postrm"] {
        run("sh", &["-n", into.join("DEBIAN").join(script).to_str().expect("ASCII")], Path::new("/"));
    }
    let program = into.join("usr/bin/millstream");
    let program = program.to_str().expect("ASCII");
    assert!(run(program, &["--version"], Path::new("/")).starts_with("millstream "));
    run(program, &["check", "etc/millstream/millstream.toml"], into);
    // What the service starts is what the command line knows.
    let unit = std::fs::read_to_string(into.join("usr/lib/systemd/system/millstream.service")).expect("a unit");
    let start = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/millstream serve "))
        .expect("what it starts");
    assert_eq!(start, "--config /etc/millstream/millstream.toml");
    // With it no hook can be loaded.
    assert!(!unit.contains("\nMemoryDenyWriteExecute=yes"), "{unit}");
}

fn image(archive: &Path, into: &Path, root: &Path) {
    let (archive, layout) = (archive.to_str().expect("ASCII"), into.to_str().expect("ASCII"));
    std::fs::create_dir(into).and_then(|()| std::fs::create_dir(root)).expect("made");
    run("tar", &["-xf", archive, "-C", layout], Path::new("/"));
    let json = |path: &str| -> Value {
        serde_json::from_slice(&std::fs::read(into.join(path)).expect("a file"))
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    assert_eq!(json("oci-layout")["imageLayoutVersion"], "1.0.0");
    // Every descriptor has the size and the sum of its blob.
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest").strip_prefix("sha256:").expect("SHA-256");
        let path = format!("blobs/sha256/{digest}");
        let bytes = std::fs::read(into.join(&path)).expect("a blob");
        assert_eq!((bytes.len() as u64, hex(&bytes).as_str()), (descriptor["size"].as_u64().expect("a size"), digest));
        path
    };
    let manifest = json(&blob(&json("index.json")["manifests"][0]));
    let config = json(&blob(&manifest["config"]));
    let layer = blob(&manifest["layers"][0]);
    assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/millstream");
    let older: BTreeMap<String, Value> = serde_json::from_value(json("manifest.json")[0].clone()).expect("an object");
    assert_eq!(older["Layers"][0], layer.as_str());
    let root_path = root.to_str().expect("ASCII");
    run("tar", &["-xzf", into.join(&layer).to_str().expect("ASCII"), "-C", root_path], Path::new("/"));
    let plain = Command::new("gzip").arg("-dc").arg(into.join(&layer)).output().expect("gzip").stdout;
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(&plain)));
    // Nothing but the layer: who runs it has no other libraries.
    let user = config["config"]["User"].as_str().expect("a user");
    let said = Command::new("chroot")
        .args([&format!("--userspec={user}"), root_path, "/usr/bin/millstream", "--version"])
        .output()
        .expect("chroot");
    // Its owner is who runs the test; only root may change its root.
    let is_root = std::fs::metadata("/proc/self").expect("procfs").uid() == 0;
    if !is_root {
        println!("not tried: the image's program needs root to be run");
    }
    assert!(said.status.success() || !is_root, "{}", String::from_utf8_lossy(&said.stderr));
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
