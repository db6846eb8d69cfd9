//! Rules of the console's files that a compiler does not know: all are built in, others' are what they say, both languages have the same words.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use millstream_console::{file, page};
use sha2::{Digest as _, Sha256};

fn web() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("web")
}

/// Files of the console below a directory of it, with their text.
fn files(of: &str, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(web().join(of)).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.strip_prefix(web()).expect("below").display().to_string();
        if path.extension().is_some_and(|e| e == extension) {
            found.push((name, fs::read_to_string(&path).expect("text")));
        }
    }
    found.sort();
    found
}

fn own() -> Vec<(String, String)> {
    ["", "lib", "views", "text"].into_iter().flat_map(|dir| files(dir, "js")).collect()
}

/// The path that all files are below.
fn base() -> String {
    let at = page().plain.find("/console/").expect("a file");
    page().plain[at..].split('/').nth(2).expect("the hash").to_owned()
}

/// Keys of a table of words, in order.
fn keys(name: &str) -> Vec<String> {
    let read = |name: &str| fs::read_to_string(web().join("text").join(name)).expect("a table");
    let parts = ["", "_diagnosis", "_ends", "_pictures", "_webhooks"]
        .map(|part| read(&name.replace(".js", &format!("{part}.js"))));
    parts
        .concat()
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once(": "))
        .map(|(key, _)| key.to_owned())
        .collect()
}

#[test]
fn every_file_is_built_in_and_every_import_is_there() {
    let base = base();
    for (name, _) in
        own().into_iter().chain(["js", "css"].into_iter().flat_map(|of| files("vendor", of))).chain(files("", "css"))
    {
        assert!(file(&format!("{base}/{name}")).is_some(), "src/files.rs does not have {name}");
    }
    for (name, text) in own() {
        let dir = Path::new(&name).parent().expect("a directory").to_owned();
        let words = text.split('\'').filter(|word| word.starts_with("./") || word.starts_with("../"));
        for word in words.filter(|word| Path::new(word).extension().is_some_and(|extension| extension == "js")) {
            let mut path = dir.clone();
            for part in Path::new(word).components().map(std::path::Component::as_os_str) {
                match part.to_str() {
                    Some(".") => {}
                    Some("..") => assert!(path.pop(), "{name}: {word}"),
                    _ => path.push(part),
                }
            }
            assert!(file(&format!("{base}/{}", path.display())).is_some(), "{name} imports {word}");
        }
    }
    assert!(file(&format!("{base}/vendor/mpegts-1.8.2.js")).is_some());
    assert!(file(&format!("{base}/../Cargo.toml")).is_none() && file("0/app.js").is_none() && file("app.js").is_none());
}

#[test]
fn what_is_compressed_is_what_is_there() {
    let app = file(&format!("{}/app.js", base())).expect("the shell");
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    std::io::Write::write_all(&mut decoder, app.gzip()).expect("gzip");
    assert_eq!(decoder.finish().expect("gzip"), app.plain);
    assert!(app.gzip().len() < app.plain.len());
}

/// Names and texts from outside are text: nothing puts HTML into the page, and no address of another host is in it.
#[test]
fn the_console_makes_no_html_of_text_and_names_no_other_host() {
    for (name, text) in own() {
        for banned in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "new Function", "document.write"] {
            assert!(!text.contains(banned), "{name}: {banned}");
        }
        // In the words the start of an address may be named, and code is made that embeds a player.
        assert!(!text.contains("https://"), "{name} names another host");
        assert!(text.starts_with("// "), "{name} begins without a line that says its purpose");
        assert!(text.lines().count() <= 500, "{name} is too long");
    }
    // What is kept in the browser is taste.
    let keeping: Vec<String> = own()
        .into_iter()
        .filter(|(_, text)| text.contains("localStorage") || text.contains("sessionStorage"))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(keeping, ["lib/value.js"]);
}

#[test]
fn files_of_others_are_in_the_table_with_their_hash() {
    let table = fs::read_to_string(web().join("vendor/VENDOR.md")).expect("a table");
    for (name, text) in files("vendor", "js").into_iter().chain(files("vendor", "css")) {
        let sum = Sha256::digest(text.as_bytes()).iter().fold(String::new(), |sum, byte| format!("{sum}{byte:02x}"));
        let name = name.trim_start_matches("vendor/");
        assert!(table.contains(&format!("| `{name}` |")) && table.contains(&sum), "vendor/VENDOR.md: {name} is {sum}");
    }
}

/// What the page has no words for it shows by its bare name.
#[test]
fn each_kind_of_event_has_its_words() {
    let path = web().join("../../../dataplane/control-protocol/src/event.rs");
    let text = fs::read_to_string(path).expect("the events");
    let (_, kinds) = text.split_once("pub const fn kind(").expect("their kinds");
    let (kinds, _) = kinds.split_once("\n    }\n").expect("the end of a function");
    let kinds: Vec<&str> = kinds
        .lines()
        .filter_map(|line| line.split_once("=> \"")?.1.strip_suffix("\","))
        .filter(|kind| *kind != "unknown")
        .collect();
    assert!(kinds.len() >= 26 && kinds.contains(&"publish"), "{kinds:?}");
    for table in ["en.js", "zh.js"] {
        let words = keys(table);
        for kind in &kinds {
            assert!(words.contains(&format!("event_{kind}")), "{table} has no words for the event {kind}");
        }
    }
}

#[test]
fn both_languages_have_the_same_words_and_each_is_used() {
    let (english, chinese) = (keys("en.js"), keys("zh.js"));
    assert!(english.len() > 300);
    assert_eq!(english, chinese);
    let known: BTreeSet<&str> = english.iter().map(String::as_str).collect();
    assert_eq!(known.len(), english.len(), "a key is there twice");
    let text: String = own().into_iter().filter(|(name, _)| !name.starts_with("text/")).map(|(_, text)| text).collect();
    // `t('key'`, and `t(`prefix_${...}`, where what follows is known at run time only.
    let named: BTreeSet<&str> = text.split('\'').filter(|word| known.contains(word)).collect();
    for (at, _) in text.match_indices("t('") {
        let key = text[at + 3..].split('\'').next().unwrap_or_default();
        let is_call = at == 0 || !text.as_bytes()[at - 1].is_ascii_alphanumeric();
        assert!(!is_call || known.contains(key), "there is no word for {key}");
    }
    let prefixes: BTreeSet<&str> = text
        .split('`')
        .filter_map(|word| word.split_once("${"))
        .map(|(prefix, _)| prefix)
        .filter(|p| p.ends_with('_'))
        .collect();
    let idle: Vec<&&str> = known
        .iter()
        .filter(|key| !named.contains(**key) && !prefixes.iter().any(|prefix| key.starts_with(prefix)))
        .collect();
    assert!(idle.is_empty(), "words that nothing shows: {idle:?}");
}
