//! Rules of the repository that a compiler does not know, checked by reading its files.
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// Files below a directory with that extension, without what is built or fetched.
pub(crate) fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() {
                let skip = ["target", "node_modules", "corpus", "artifacts", "coverage", "millstream-data"];
                if !skip.contains(&&*name) && !name.starts_with('.') {
                    dirs.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The packages of the workspace: name, directory, manifest.
pub(crate) fn packages() -> Vec<(String, PathBuf, toml::Table)> {
    let manifest: toml::Table = read(&root().join("Cargo.toml")).parse().expect("TOML");
    let members = manifest["workspace"]["members"].as_array().expect("members").iter();
    members
        .map(|member| {
            let dir = root().join(member.as_str().expect("a path"));
            let manifest: toml::Table = read(&dir.join("Cargo.toml")).parse().expect("TOML");
            (manifest["package"]["name"].as_str().expect("a name").to_owned(), dir, manifest)
        })
        .collect()
}

fn dependencies<'a>(manifest: &'a toml::Table, table: &str) -> Vec<&'a str> {
    manifest
        .get(table)
        .and_then(toml::Value::as_table)
        .map(|t| t.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

fn has_word(text: &str, word: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    text.match_indices(word)
        .any(|(at, _)| edge(text[..at].chars().next_back()) && edge(text[at + word.len()..].chars().next()))
}

#[test]
fn every_dependency_is_used() {
    let mut unused = Vec::new();
    for (name, dir, manifest) in packages() {
        let all: String = files(&dir, "rs").iter().map(|f| read(f)).collect();
        // A normal dependency that only tests use belongs with the dev-dependencies.
        let mut source: String = files(&dir.join("src"), "rs").iter().map(|f| read(f)).collect();
        if name == "millstream-engine-simulated" {
            let parts = [root().join("dataplane/engine/src"), dir.join("io")];
            source.extend(parts.iter().flat_map(|part| files(part, "rs")).map(|file| read(&file)));
        }
        for (table, text) in [("dependencies", &source), ("dev-dependencies", &all), ("build-dependencies", &all)] {
            for dependency in dependencies(&manifest, table) {
                // The one package here whose library has another name.
                let library = if dependency == "md-5" { "md5".to_owned() } else { dependency.replace('-', "_") };
                if !has_word(text, &library) {
                    unused.push(format!("{name}: {dependency} in [{table}]"));
                }
            }
        }
    }
    assert!(unused.is_empty(), "unused dependencies: {unused:#?}");
    let workspace: toml::Table = read(&root().join("Cargo.toml")).parse().expect("TOML");
    let shared = workspace["workspace"]["dependencies"].as_table().expect("dependencies");
    let taken = |name: &str| {
        packages().iter().any(|(_, _, m)| {
            ["dependencies", "dev-dependencies", "build-dependencies"]
                .iter()
                .any(|t| dependencies(m, t).contains(&name))
        })
    };
    let idle: Vec<&String> = shared.keys().filter(|name| !taken(name)).collect();
    assert!(idle.is_empty(), "[workspace.dependencies] that no package takes: {idle:?}");
}

#[test]
fn crates_know_only_what_is_below_them() {
    let allowed: &[(&str, &[&str])] = &[
        ("millstream-proto", &[]),
        ("millstream-policy", &["millstream-proto"]),
        ("millstream-hub", &["millstream-proto"]),
        ("millstream-control-protocol", &[]),
        ("millstream-tls", &[]),
        // Judges what a node measured.
        ("millstream-diagnosis", &["millstream-control-protocol"]),
        (
            "millstream-engine",
            &[
                "millstream-proto",
                "millstream-policy",
                "millstream-hub",
                "millstream-control-protocol",
                "millstream-tls",
            ],
        ),
        // Orders certificates for whoever has the ports.
        ("millstream-acme", &["millstream-proto", "millstream-tls", "millstream-fleet"]),
        // Keeps what the hub packaged; the binary brings it, the engine and a store of objects together.
        ("millstream-recorder", &["millstream-proto", "millstream-hub"]),
        (
            "millstream-relay",
            &["millstream-proto", "millstream-hub", "millstream-control-protocol", "millstream-fleet"],
        ),
        (
            "millstream-agent",
            &[
                "millstream-proto",
                "millstream-policy",
                "millstream-control-protocol",
                "millstream-diagnosis",
                "millstream-engine",
                "millstream-fleet",
            ],
        ),
        ("millstream-objects", &[]),
        ("millstream-store", &[]),
        ("millstream-fleet", &["millstream-proto", "millstream-control-protocol"]),
        // Files for browsers, and no more.
        ("millstream-console", &[]),
        (
            "millstream-api",
            &[
                "millstream-proto",
                "millstream-policy",
                "millstream-control-protocol",
                "millstream-diagnosis",
                "millstream-fleet",
                "millstream-store",
                "millstream-console",
            ],
        ),
        // Runs what operators upload: it knows secrets, and nothing of streams.
        ("millstream-hooks", &["millstream-proto"]),
        // Hooks as steps of the chain.
        (
            "millstream-hook-steps",
            &["millstream-proto", "millstream-policy", "millstream-control-protocol", "millstream-hooks"],
        ),
        (
            "millstream",
            &[
                "millstream-proto",
                "millstream-policy",
                "millstream-hub",
                "millstream-control-protocol",
                "millstream-tls",
                "millstream-engine",
                "millstream-acme",
                "millstream-objects",
                "millstream-recorder",
                "millstream-relay",
                "millstream-transcoder",
                "millstream-worker",
                "millstream-agent",
                "millstream-fleet",
                "millstream-store",
                "millstream-api",
                "millstream-hooks",
                "millstream-hook-steps",
            ],
        ),
        // Measures what needs no kernel.
        ("millstream-bench", &["millstream-proto", "millstream-hub"]),
        // It loads any server, and knows no more of ours than the formats.
        ("millstream-loadtest", &["millstream-proto"]),
        // Decodes and encodes, in a process of its own.
        ("millstream-worker", &["millstream-proto", "millstream-av1", "millstream-scale"]),
        ("millstream-av1", &[]),
        ("millstream-scale", &[]),
        // Starts it, and says what it is to make.
        (
            "millstream-transcoder",
            &[
                "millstream-proto",
                "millstream-hub",
                "millstream-control-protocol",
                "millstream-engine",
                "millstream-fleet",
                "millstream-worker",
            ],
        ),
        // What tests share knows nothing of the product, and neither do those that look at it from outside.
        ("millstream-test-support", &[]),
        ("millstream-tests", &["millstream-test-support"]),
        // The engine's sources over a made-up system.
        (
            "millstream-engine-simulated",
            &[
                "millstream-proto",
                "millstream-policy",
                "millstream-hub",
                "millstream-control-protocol",
                "millstream-tls",
                "millstream-test-support",
            ],
        ),
        // The simulator's encoders and viewers speak with the same types, and a real hook decides about them.
        (
            "millstream-sim",
            &[
                "millstream-proto",
                "millstream-control-protocol",
                "millstream-hook-steps",
                "millstream-hooks",
                "millstream-policy",
                "millstream-hub",
                "millstream-tls",
                "millstream-test-support",
                "millstream-engine-simulated",
            ],
        ),
    ];
    for (name, _, manifest) in packages() {
        let (_, below) =
            allowed.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("{name}: say here what it may know"));
        for dependency in dependencies(&manifest, "dependencies") {
            let ours = dependency.starts_with("millstream");
            assert!(!ours || below.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn the_inner_crates_have_no_sockets_clocks_threads_or_files() {
    let banned =
        ["std::net::Tcp", "std::net::Udp", "std::thread", "std::fs", "std::env", "Instant::now", "SystemTime", "Mutex"];
    for dir in [
        "dataplane/proto/src",
        "dataplane/hub/src",
        "dataplane/policy/src",
        "dataplane/control-protocol/src",
        "dataplane/diagnosis/src",
        "dataplane/tls/src",
    ] {
        for file in files(&root().join(dir), "rs") {
            let text = read(&file);
            for (n, line) in text.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
                for word in banned {
                    assert!(!line.contains(word), "{}:{}: {word}", file.display(), n + 1);
                }
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_leaves_nothing_for_later() {
    let marks = ["TO", "FIX", "XX"].into_iter().zip(["DO", "ME", "X"]).map(|(a, b)| format!("{a}{b}"));
    let marks: Vec<String> = marks.collect();
    for file in files(&root(), "rs") {
        let text = read(&file);
        let first = text.lines().find(|l| !l.starts_with("#![")).unwrap_or_default();
        assert!(first.starts_with("//! "), "{} begins without a line that says its purpose", file.display());
        for (n, line) in text.lines().enumerate() {
            assert!(!marks.iter().any(|m| has_word(line, m)), "{}:{}: {line}", file.display(), n + 1);
        }
    }
}

/// `case_13_...` must be a case that exists, so that a search for `case_` tells the truth.
#[test]
fn field_cases_are_numbered_rightly() {
    for dir in ["tests", "dataplane", "control"] {
        for file in files(&root().join(dir), "rs") {
            let text = read(&file);
            // Put together here, so that this line is not found itself.
            for rest in text.split(&format!("fn {}", "case_")).skip(1) {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                let number: u32 = digits.parse().unwrap_or_else(|_| panic!("{}: case_{rest:.20}", file.display()));
                assert!((1..=60).contains(&number) && digits.len() == 2, "{}: case {digits}", file.display());
            }
        }
    }
}

/// The name of what is cached for ever holds its hash or its version.
#[test]
fn pages_name_assets_that_exist_and_never_change() {
    let pages = root().join("dataplane/engine/pages");
    let table = read(&pages.join("vendor/VENDOR.md"));
    // A script names the library that it loads, and the template's scripts are named where it is filled in.
    let filled_in = root().join("dataplane/engine/src/egress/pages.rs");
    for page in files(&pages, "html").into_iter().chain(files(&pages, "js")).chain([filled_in]) {
        let text = read(&page);
        let is_page = page.extension().is_some_and(|e| e == "html");
        let assets: Vec<&str> = text.split(['"', '\'']).filter_map(|word| word.strip_prefix("/.assets/")).collect();
        assert!(!text.contains("<html") || !assets.is_empty(), "{} loads nothing", page.display());
        for asset in assets {
            if let Ok(bytes) = fs::read(pages.join("vendor").join(asset)) {
                let sum = Sha256::digest(&bytes).iter().fold(String::new(), |s, b| format!("{s}{b:02x}"));
                assert!(
                    table.contains(&format!("| `{asset}` |")) && table.contains(&sum),
                    "vendor/VENDOR.md: {asset} is {sum}"
                );
                continue;
            }
            let bytes = fs::read(pages.join(asset)).unwrap_or_else(|e| panic!("{}: {asset}: {e}", page.display()));
            let (stem, extension) = asset.rsplit_once('.').expect("an extension");
            let name = stem.rsplit_once('-').map_or(stem, |(name, _)| name);
            let right = format!("{name}-{:08x}.{extension}", crc32fast::hash(&bytes));
            assert_eq!(asset, right, "the file has changed: rename it, here and where it is named");
        }
        if !is_page {
            continue;
        }
        for outside in ["http:", "https:", "<script>", "<style", "style=", "onclick"] {
            assert!(!text.contains(outside), "{}: {outside}", page.display());
        }
    }
}

/// A page or asset that is not built in is a page that does not load.
#[test]
fn every_page_and_asset_is_built_in() {
    let pages = root().join("dataplane/engine/pages");
    let table = read(&root().join("dataplane/engine/src/egress/pages.rs"));
    for kind in ["html", "js", "css"] {
        for file in files(&pages, kind) {
            let name = file.strip_prefix(&pages).expect("below").display().to_string();
            assert!(table.contains(&format!("/pages/{name}\")")), "engine/egress/pages.rs does not have {name}");
        }
    }
}
