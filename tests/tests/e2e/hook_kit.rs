//! What authors of hooks have: `millstream hook new`, `pack`, `test` and `bench`, and `millstream demo --hook`.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use millstream_tests::server::{Options, binary, millstream};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, http, seconds};
use serde_json::Value;

fn guest(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hooks/guests").join(name);
    file.to_str().expect("ASCII").to_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeeds(args: &[&str]) -> String {
    let output = millstream(args);
    assert!(output.status.success(), "{args:?}: {}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

/// The exit status, and what it says.
fn fails(args: &[&str]) -> (i32, String) {
    let output = millstream(args);
    assert!(!output.status.success(), "{args:?}: {}", stdout(&output));
    (output.status.code().expect("it ends by itself"), stdout(&output) + &stderr(&output))
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let file = dir.join(name);
    std::fs::write(&file, text).expect("written");
    file.to_str().expect("ASCII").to_owned()
}

#[test]
fn a_hook_is_tested_without_a_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let list = guest("built/allow-list.wasm");
    let inside = write(dir.path(), "in.json", r#"{"kind": "auth", "request": {"client": {"ip": "10.1.2.3"}}}"#);
    let outside = write(dir.path(), "out.json", r#"{"kind": "auth", "request": {"client": {"ip": "192.0.2.9"}}}"#);
    let test = |event: &str, more: &[&str]| {
        let mut args = vec!["hook", "test", list.as_str(), "--config", "allow=10.0.0.0/8", "--event", event];
        args.extend(more);
        millstream(&args)
    };
    let allowed = test(&inside, &["--expect", "allow"]);
    let said = stdout(&allowed);
    assert!(allowed.status.success(), "{said}{}", stderr(&allowed));
    for part in ["allow-list 0.1.0, kind auth", "answer     allow", "us of 2000 us"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let refused = test(&outside, &[]);
    assert!(refused.status.success(), "a refusal is an answer");
    let said = stdout(&refused);
    assert!(said.contains("deny, forbidden: \"this address is not on the list\""), "{said}");
    assert!(said.contains("counter    other_addresses 1"), "{said}");
    let other = test(&outside, &["--expect", "allow"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("the answer is deny, and not allow"), "{}", stderr(&other));
    let json = test(&inside, &["--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["answer"]["answer"], "allow", "{json}");
    // What a binding would be refused for is told with what to do; wrong files are the caller's.
    let (status, said) = fails(&["hook", "test", &list]);
    assert!(status == 1 && said.contains("set allow to networks") && said.contains("--config"), "{said}");
    let (status, said) = fails(&["hook", "test", &list, "--event", &write(dir.path(), "x.json", "{")]);
    assert!(status == 2 && said.contains("x.json") && said.contains("no JSON"), "{said}");
    let policy = write(dir.path(), "p.json", r#"{"kind": "policy"}"#);
    let (status, said) = fails(&["hook", "test", &list, "--event", &policy]);
    assert!(status == 2 && said.contains("the event is of the kind policy, and the hook of the kind auth"), "{said}");
    let (status, said) = fails(&["hook", "test", &write(dir.path(), "h.wasm", "text")]);
    assert!(status == 1 && said.contains("not WebAssembly"), "{said}");
    let (status, said) = fails(&["hook", "test", &list, "--config", "allow"]);
    assert!(status == 2 && said.contains("NAME=VALUE"), "{said}");
}

#[test]
fn a_file_of_many_events_gets_a_line_for_each_and_a_summary() {
    let dir = tempfile::tempdir().expect("a directory");
    let list = guest("built/allow-list.wasm");
    let event = |ip: &str| format!("{{\"kind\": \"auth\", \"request\": {{\"client\": {{\"ip\": \"{ip}\"}}}}}}\n");
    let lines = event("10.1.2.3") + &event("192.0.2.9") + "\n" + &event("10.1.2.4");
    let file = write(dir.path(), "events.jsonl", &lines);
    let args = ["hook", "test", list.as_str(), "--config", "allow=10.0.0.0/8", "--event", file.as_str()];
    let said = succeeds(&args);
    let line = |number: &str| said.lines().find(|line| line.starts_with(number)).unwrap_or_default().to_owned();
    assert!(line("1 ").contains("allow") && line("2 ").contains("deny, forbidden"), "{said}");
    assert!(line("4 ").contains("allow") && line("3 ").is_empty(), "numbers are those of lines: {said}");
    assert!(line("events").contains("3: 2 allow, 1 deny, 0 failed") && line("cpu").contains("median"), "{said}");
    let (status, said) = fails(&[&args[..], &["--expect", "allow"]].concat());
    assert!(status == 1 && said.contains("line 2: the answer is deny, and not allow"), "{said}");
    let json = succeeds(&[&args[..], &["--json"]].concat());
    let all: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let answers: Vec<_> = all.iter().filter_map(|one| one["answer"]["answer"].as_str()).collect();
    assert_eq!(answers, ["allow", "deny", "allow"]);
    assert_eq!((&all[2]["line"], &all[3]["summary"]["answers"]["allow"]), (&Value::from(4), &Value::from(2)), "{json}");
    let wrong = write(dir.path(), "wrong.jsonl", &format!("{lines}{{\"kind\": \"auth\", \"reqest\": 1}}"));
    let (status, said) = fails(&["hook", "test", &list, "--config", "allow=10.0.0.0/8", "--event", &wrong]);
    assert!(status == 2 && said.contains("wrong.jsonl") && said.contains("line 5: reqest is no field"), "{said}");
    assert!(
        succeeds(&["hook", "bench", &list, "--config", "allow=10.0.0.0/8", "--event", &file, "--time", "100ms"])
            .contains("per second of a core")
    );
}

#[test]
fn secrets_keys_and_time_are_given_to_a_hook_that_is_tested() {
    let dir = tempfile::tempdir().expect("a directory");
    let signed = guest("built/signed-url.wasm");
    // HMAC-SHA256 of `play:stream/lobby:2000000000` under `s3cret`.
    let sign = "a277e9d782ee5e4b103a229c559b40082cf18804e1f4a1bd1d1e9a669a9de547";
    let event = |at: u64| {
        format!(
            r#"{{"kind": "auth", "unix_ms": {at}, "request": {{"target": {{"params": {{"expires": "2000000000", "sign": "{sign}"}}}}}}}}"#
        )
    };
    let early = write(dir.path(), "early.json", &event(1_999_999_940_000));
    let late = write(dir.path(), "late.json", &event(2_000_000_000_000));
    let key = format!("key=@{}", write(dir.path(), "key", "s3cret\n"));
    let right = succeeds(&["hook", "test", &signed, "--secret", &key, "--event", &early, "--expect", "allow"]);
    assert!(right.contains("allow, for 60000 ms"), "{right}");
    let wrong = succeeds(&["hook", "test", &signed, "--secret", "key=other", "--event", &early, "--expect", "deny"]);
    assert!(wrong.contains("the signature is not right"), "{wrong}");
    let expired = succeeds(&["hook", "test", &signed, "--secret", "key=s3cret", "--event", &late, "--expect", "deny"]);
    assert!(expired.contains("the signature has expired"), "{expired}");
    assert!(!right.contains("s3cret") && !expired.contains("s3cret"));
    let (status, said) = fails(&["hook", "test", &signed]);
    assert!(status == 1 && said.contains("set the secret \"key\""), "{said}");
    let (status, said) = fails(&["hook", "test", &signed, "--key", "issuer=/does/not/exist"]);
    assert!(status == 2 && said.contains("/does/not/exist"), "{said}");
}

#[test]
fn hooks_of_every_kind_are_tested_and_measured() {
    let dir = tempfile::tempdir().expect("a directory");
    let large =
        write(dir.path(), "p.json", r#"{"kind": "policy", "request": {"width": 1920, "height": 1080, "kbps": 6000}}"#);
    let ladder = succeeds(&["hook", "test", &guest("built/ladder.wasm"), "--event", &large, "--expect", "3"]);
    assert!(ladder.contains("rendition  720p: h264 0x720"), "{ladder}");
    let told =
        succeeds(&["hook", "test", &guest("built/event-forwarder.wasm"), "--config", "markers=*", "--expect", "1"]);
    assert!(
        told.contains("order      marker for stream/lobby") && told.contains("log        info: {\"id\":1"),
        "{told}"
    );
    let motion = guest("built/motion.wasm");
    let square = succeeds(&["hook", "test", &motion, "--frames", "square", "--expect", "motion"]);
    assert!(square.contains("wants      160x90, 5 frames per second"), "{square}");
    assert!(square.contains("motion begins") && square.contains("motion ends"), "{square}");
    for frames in ["noise", "still"] {
        succeeds(&["hook", "test", &motion, "--frames", frames, "--expect", "nothing"]);
    }
    // A file of frames: dark, dark, and then a bright corner for some frames.
    let mut luma = vec![0_u8; 160 * 90 * 10];
    for frame in luma.chunks_exact_mut(160 * 90).skip(2) {
        for row in frame.chunks_exact_mut(160).take(30) {
            row[..30].fill(200);
        }
    }
    let file = dir.path().join("luma");
    std::fs::write(&file, &luma).expect("written");
    let file = file.to_str().expect("ASCII");
    let seen = succeeds(&["hook", "test", &motion, "--frames", file, "--json"]);
    let seen: Value = serde_json::from_str(&seen).expect("JSON");
    assert_eq!(
        (&seen["frames"], &seen["events"][0]["event"]["regions"][0]["width"]),
        (&10.into(), &30.into()),
        "{seen}"
    );
    std::fs::write(file, &luma[1..]).expect("written");
    let (status, said) = fails(&["hook", "test", &motion, "--frames", file]);
    assert!(status == 2 && said.contains("no whole number of frames of 14400") && said.contains("ffmpeg -i"), "{said}");
    let (status, said) = fails(&["hook", "test", &guest("built/ladder.wasm"), "--frames", "noise"]);
    assert!(status == 2 && said.contains("only motion hooks"), "{said}");
    for (name, more) in
        [("viewer-cap", &["--config", "per-stream=5"][..]), ("motion", &[]), ("ladder", &[]), ("event-forwarder", &[])]
    {
        let file = guest(&format!("built/{name}.wasm"));
        let mut args = vec!["hook", "bench", file.as_str(), "--time", "200ms"];
        args.extend(more);
        let figures = succeeds(&args);
        for part in ["per second of a core", "cpu p50", "cpu p99", "KiB of"] {
            assert!(figures.contains(part), "{part}: {figures}");
        }
    }
}

#[test]
fn a_core_module_is_packed() {
    let dir = tempfile::tempdir().expect("a directory");
    let core = guest("c/ticket.core.wasm");
    let out = dir.path().join("ticket.wasm");
    let out = out.to_str().expect("ASCII");
    let (status, said) = fails(&["hook", "pack", &core, "--output", out]);
    assert!(status == 1 && said.contains("--kind"), "{said}");
    let packed = succeeds(&["hook", "pack", &core, "--kind", "auth", "--output", out]);
    assert!(packed.contains("ticket 0.1.0, kind auth, a component"), "{packed}");
    let event = write(dir.path(), "e.json", r#"{"kind": "auth", "request": {"target": {"params": {"ticket": "7"}}}}"#);
    succeeds(&["hook", "test", out, "--config", "ticket=7", "--event", &event, "--expect", "allow"]);
    succeeds(&["hook", "test", out, "--config", "ticket=8", "--event", &event, "--expect", "deny"]);
    let again = succeeds(&["hook", "pack", out, "--output", &format!("{out}.2")]);
    assert!(again.contains("it was a component already"), "{again}");
    let (status, said) = fails(&["hook", "pack", out, "--kind", "motion"]);
    assert!(status == 1 && said.contains("is of the kind auth, and not motion"), "{said}");
}

/// Makes a hook in a directory.
fn new(dir: &Path, language: &str, name: &str, kind: &str) -> PathBuf {
    let made = Command::new(binary().canonicalize().expect("the binary"))
        .args(["hook", "new", language, name, "--kind", kind])
        .current_dir(dir)
        .output()
        .expect("it runs");
    assert!(made.status.success(), "{}", stderr(&made));
    dir.join(name)
}

#[test]
fn a_new_hook_is_a_directory_with_all_that_it_takes() {
    let dir = tempfile::tempdir().expect("a directory");
    for (language, source) in [("rust", "src/lib.rs"), ("c", "hook.c"), ("js", "hook.js")] {
        for kind in ["auth", "policy", "motion", "events"] {
            let hook = new(dir.path(), language, &format!("my-{language}-{kind}"), kind);
            let read =
                |file: &str| std::fs::read_to_string(hook.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            for file in [source, "build", "README.md", "event.json", "wit/worlds.wit", "wit/auth.wit", "wit/types.wit"]
            {
                assert!(!read(file).is_empty() && !read(file).contains("{{"), "{language} {kind}: {file}");
            }
            assert_eq!(read("README.md").lines().count(), 10, "{}", read("README.md"));
            assert!(read("build").contains(&format!("my-{language}-{kind}.wasm")));
            assert_eq!(serde_json::from_str::<Value>(&read("event.json")).expect("JSON")["kind"], kind);
        }
    }
    // Nothing that is there is written over, and names are those of files and hooks.
    let run = |args: &[&str]| {
        let mut command = Command::new(binary().canonicalize().expect("the binary"));
        command.args(["hook", "new"]).args(args).current_dir(dir.path()).output().expect("it runs")
    };
    let again = run(&["rust", "my-rust-auth"]);
    assert!(again.status.code() == Some(1) && stderr(&again).contains("is there already"), "{}", stderr(&again));
    for name in ["../x", "a/b", "A", "-a", "1a", "a_b", "a-", ""] {
        assert_eq!(run(&["rust", "--", name]).status.code(), Some(2), "{name:?}");
    }
}

/// What each new hook answers to the event that is made beside it, once its one command has built it.
#[test]
#[ignore = "takes minutes, Debian's Rust for WebAssembly, ziglang and npm; tests/run --long has it"]
fn every_new_hook_builds_and_answers() {
    let dir = tempfile::tempdir().expect("a directory");
    let bin = binary().canonicalize().expect("the binary");
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/ziglang-0.17.1/bin/python");
    assert!(python.exists(), "{}: tests/run --long installs it", python.display());
    for language in ["rust", "c", "js"] {
        for (kind, args) in [
            ("auth", &["--config", "ticket=1234", "--expect", "allow"][..]),
            ("policy", &["--expect", "1"]),
            ("motion", &["--frames", "square", "--expect", "nothing"]),
            ("events", &["--expect", "1"]),
        ] {
            let name = format!("a-{language}-{kind}");
            let hook = new(dir.path(), language, &name, kind);
            if language == "js" {
                // Installed once.
                let modules = dir.path().join("a-js-auth/node_modules");
                if modules.exists() {
                    std::os::unix::fs::symlink(modules, hook.join("node_modules")).expect("linked");
                }
            }
            let built = Tool::spawn(
                Command::new("./build")
                    // What compiles this workspace is not what compiles theirs.
                    .env_remove("RUSTC_WORKSPACE_WRAPPER")
                    .current_dir(&hook)
                    .env("MILLSTREAM", &bin)
                    .env("PYTHON", &python)
                    .env("CARGO_TARGET_DIR", dir.path().join("target")),
            )
            .wait(seconds(600));
            assert!(built.status.success(), "{name}: {}{}", built.stdout, built.stderr);
            let test = Command::new(&bin)
                .args(["hook", "test", &format!("{name}.wasm"), "--event", "event.json"])
                .args(args)
                .current_dir(&hook)
                .output()
                .expect("it runs");
            assert!(test.status.success(), "{name}: {}{}", stdout(&test), stderr(&test));
        }
    }
}

#[test]
fn a_demo_is_decided_by_a_hook() {
    let list = guest("built/allow-list.wasm");
    let demo = |allow: &str| {
        let server = Options::demo().arg("--hook", &list).arg("--hook-config", &format!("allow={allow}")).start();
        eventually("the demo is on air", seconds(20), || server.stdout.has("Ctrl-C ends it").then_some(()));
        server
    };
    let closed = demo("192.0.2.0/24");
    assert!(closed.stdout.has("The hook allow-list 0.1.0 decides who plays demo."), "{}", closed.stdout.text());
    let refused = http::get(closed.http, "/demo/live.flv");
    let reason = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(refused.status == 403 && reason.contains("not on the list"), "{} {reason}", refused.status);
    assert_eq!(http::get(closed.http, "/other/live.m3u8").status, 404, "other streams are not the hook's");
    drop(closed);
    let open = demo("127.0.0.0/8");
    eventually("it plays", seconds(20), || (http::get(open.http, "/demo/video.m3u8").status == 200).then_some(()));
    drop(open);
    // What does not work is said before anything listens.
    let (status, said) = fails(&["demo", "--hook", &list]);
    assert!(status == 2 && said.contains("set allow to networks") && said.contains("--hook-config"), "{said}");
    let (status, said) = fails(&["demo", "--hook", &guest("built/motion.wasm")]);
    assert!(status == 2 && said.contains("of the kind motion") && said.contains("hook test"), "{said}");
}
