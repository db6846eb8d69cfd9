//! The web console in headless Chromium, and its files as any client gets them.
use std::path::Path;

use millstream_tests::server::Options;
use millstream_tests::tools::Tool;
use millstream_tests::{http, seconds};

/// Screenshots of the last run stay below the temporary directory, for people to look at.
#[test]
fn a_person_uses_the_console_from_login_to_removal() {
    let server = Options::signed().start();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (script, hook) = (tests.join("browser/console.mjs"), tests.join("../hooks/guests/built/allow-list.wasm"));
    let pictures = std::env::temp_dir().join("millstream-console-pictures");
    std::fs::create_dir_all(&pictures).expect("a directory for screenshots");
    let token = std::fs::read_to_string(server.data_dir().join("admin-token")).expect("made at the first start");
    let url = format!("http://{}/", server.control);
    let path = |path: &Path| path.to_str().expect("ASCII").to_owned();
    let done =
        Tool::start("node", &[&path(&script), &url, token.trim(), &path(&hook), &path(&pictures)]).wait(seconds(240));
    println!("{}\nscreenshots: {}", done.stdout, pictures.display());
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

#[test]
fn the_console_is_served_with_a_strict_policy_and_files_that_never_change() {
    let server = Options::open().start();
    let page = http::get(server.control, "/");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy");
    for part in ["default-src 'none'", "frame-ancestors 'none'", &format!("http://{}", server.http), "trusted-types"] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains(" *"), "{policy}");
    assert_eq!(page.header("cache-control"), "no-cache");
    let text = String::from_utf8(page.body).expect("UTF-8");
    assert!(!text.contains("://") && !text.contains("style=") && !text.contains("onclick"), "{text}");
    let files: Vec<&str> = text.split('"').filter(|word| word.starts_with("/console/")).collect();
    assert!(files.len() > 20, "{files:?}");
    for file in &files {
        let answer = http::get(server.control, file);
        assert_eq!(answer.status, 200, "{file}");
        assert!(answer.header("cache-control").contains("immutable"), "{file}");
    }
    let (dir, _) = files[0].rsplit_once('/').expect("a path");
    for wrong in
        [format!("{dir}/none.js"), format!("{dir}/../index.html"), "/console/0123456789abcdef/app.js".to_owned()]
    {
        assert_eq!(http::get(server.control, &wrong).status, 404, "{wrong}");
    }
}
