//! The OpenAPI document against programs that read it: one that tries what it allows and what it does not, linters, and generators of clients.
use std::path::{Path, PathBuf};
use std::process::Command;

use millstream_tests::control::Client;
use millstream_tests::server::Options;
use millstream_tests::tools::Tool;
use millstream_tests::{http, seconds};

/// The OpenAPI document against a program that tries what it allows and what it does not.
#[test]
fn schemathesis_finds_no_server_error_and_nothing_undocumented() {
    schemathesis(25);
}

#[test]
#[ignore = "takes ten minutes: tests/run --long"]
fn schemathesis_finds_nothing_in_ten_minutes_either() {
    schemathesis(600);
}

/// Linters find no error in it, and clients that others' generators make of it compile: TypeScript and Python.
#[test]
#[ignore = "takes most of a minute of all cores; tests/run --long has it"]
fn the_document_passes_linters_and_makes_clients() {
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("api-tools/check");
    let (node, python) =
        (check.with_file_name("node_modules/.package-lock.json"), cache().join("api-clients-0.29.1/complete"));
    assert!(node.exists() && python.exists(), "tests/run installs what this needs");
    let server = Options::signed().start();
    let document = http::get(server.control, "/api/v1/openapi.json");
    let work = tempfile::tempdir().expect("a directory");
    let file = work.path().join("openapi.json");
    std::fs::write(&file, &document.body).expect("written");
    let done = Tool::spawn(Command::new(&check).arg(&file)).wait(seconds(120));
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

fn schemathesis(time_s: u32) {
    let program = cache().join("schemathesis-4.32.5/bin/schemathesis");
    assert!(program.exists(), "{} is missing; tests/run installs it", program.display());
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    client.make_stream("cam");
    let header = format!("Authorization: Bearer {}", client.token());
    let work = tempfile::tempdir().expect("a directory");
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis_modules.py");
    let mut command = Command::new(&program);
    command.current_dir(work.path()).env("NO_COLOR", "1").env("SCHEMATHESIS_HOOKS", hooks);
    let tool = Tool::spawn(command.args([
        "run",
        &format!("http://{}/api/v1/openapi.json", server.control),
        "--header",
        &header,
        "--checks",
        checks,
        // Without an end, and with a test of its own; and what would lock the run out of the server.
        "--exclude-path",
        "/api/v1/events",
        "--exclude-path",
        "/api/v1/login",
        "--phases",
        "examples,coverage,fuzzing",
        "--continue-on-failure",
        "--max-time",
        &time_s.to_string(),
        "--request-timeout",
        "10",
        "--workers",
        "2",
    ]));
    let done = tool.wait(seconds(u64::from(time_s) * 2 + 60));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
    // Another connection: the server closes what has been idle for so long. What there was may have been removed: the program has the
    // admin's rights, and uses ids that it has read.
    let mut client = Client::admin(&server);
    client.make_stream("made-afterwards");
    assert_eq!(client.get("/api/v1/streams/made-afterwards").status, 200, "the server goes on");
}

fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache")
}
