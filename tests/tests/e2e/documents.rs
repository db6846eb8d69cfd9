//! What the documents tell readers to run works: commands against a real server, configurations through `check`.
use std::path::Path;
use std::process::Command;

use millstream_tests::clip::Clip;
use millstream_tests::documents::{Block, blocks, blocks_in};
use millstream_tests::http;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server, binary, millstream};
use millstream_tests::tools::{Finished, Tool, ffmpeg};
use millstream_tests::{eventually, seconds};
use tempfile::TempDir;

/// What `<!-- test: NAME -->` may name: this file's tests, and `tests/newcomer`.
const TESTS: [&str; 10] =
    ["newcomer", "api", "access", "demo", "fleet", "nginx", "hooks", "hooks-demo", "hooks-server", "hooks-readme"];

#[test]
fn every_block_is_run_or_says_why_not() {
    let blocks = blocks();
    assert!(blocks.iter().filter(|block| block.language == "sh").count() > 12);
    for block in &blocks {
        let named = block.mark.strip_prefix("test: ");
        let reason = block.mark.strip_prefix("not run: ");
        assert!(named.is_none_or(|name| TESTS.contains(&name)), "{}: there is no test {named:?}", block.place());
        match block.language.as_str() {
            "sh" => assert!(
                named.is_some() || reason.is_some_and(|reason| !reason.is_empty()),
                "{}: no test runs these commands; name one that does, or say why none does, in a comment before them",
                block.place()
            ),
            // Those are all checked below.
            "toml" => assert_eq!(block.mark, "", "{}", block.place()),
            _ => {}
        }
    }
}

#[test]
fn every_configuration_passes_check() {
    let dir = tempfile::tempdir().expect("a directory");
    let toml: Vec<Block> = blocks().into_iter().filter(|block| block.language == "toml").collect();
    assert!(toml.len() > 6, "only {}", toml.len());
    // The files that readers have from their authority.
    let names = ["stream.example.org".to_owned(), "console.example.org".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).expect("certified");
    std::fs::write(dir.path().join("fullchain.pem"), cert.pem()).expect("written");
    std::fs::write(dir.path().join("privkey.pem"), signing_key.serialize_pem()).expect("written");
    let theirs = dir.path().to_str().expect("ASCII");
    for block in toml {
        let file = dir.path().join("millstream.toml");
        std::fs::write(&file, block.text.replace("/etc/millstream/tls", theirs)).expect("written");
        let output = millstream(&["check", file.to_str().expect("ASCII")]);
        assert!(output.status.success(), "{}: {}", block.place(), String::from_utf8_lossy(&output.stderr));
    }
}

/// A shell in which `millstream` and the programs of the documents are what the test has of them.
struct Shell {
    dir: TempDir,
}

impl Shell {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let shell = Self { dir };
        let bin = binary().canonicalize().expect("the binary");
        shell.program("millstream", &format!("exec {} \"$@\"", bin.display()));
        shell.program("sudo", "exec \"$@\"");
        // A player with a window becomes one without.
        shell.program("ffplay", "exec ffprobe -v error -show_entries stream=codec_type -of csv=p=0 \"$@\"");
        // An answer of 400 and above is a failure; what has no end is read for a moment.
        shell.program(
            "curl",
            "for arg in \"$@\"; do if [ \"$arg\" = -N ]; then /usr/bin/curl --max-time 2 --fail-with-body \"$@\"; \
             test $? -eq 28; exit $?; fi; done\nexec /usr/bin/curl --fail-with-body \"$@\"",
        );
        shell
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn program(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let bin = self.path().join("bin");
        std::fs::create_dir_all(&bin).expect("made");
        let file = bin.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("made executable");
    }

    /// Runs commands, each of which must succeed.
    fn run(&self, script: &str) -> Finished {
        let path = format!("{}:{}", self.path().join("bin").display(), std::env::var("PATH").expect("a path"));
        let mut command = Command::new("bash");
        command.args(["-e", "-x", "-c", script]).current_dir(self.path()).env("PATH", path);
        let done = Tool::spawn(&mut command).wait(seconds(90));
        assert!(done.status.success(), "{script}\n{}\n{}", done.stdout, done.stderr);
        done
    }
}

/// The commands of a document with the addresses and paths of a server in place of the usual ones.
fn commands_for(server: &Server, blocks: &[Block]) -> String {
    let script: Vec<String> = blocks.iter().flat_map(Block::commands).collect();
    let data = server.data_dir().to_str().expect("ASCII");
    script
        .join("\n")
        .replace("127.0.0.1:8081", &server.control.to_string())
        .replace("--data-dir millstream-data", &format!("--data-dir {data}"))
        .replace("millstream-data/", &format!("{data}/"))
}

/// Commands that a test is named for, in order.
fn named(file: &str, test: &str) -> Vec<Block> {
    let mark = format!("test: {test}");
    let blocks: Vec<_> = blocks_in(file).into_iter().filter(|block| block.mark == mark).collect();
    assert!(!blocks.is_empty(), "{file} has nothing for {test}");
    blocks
}

/// What the page on the API tells to type, from its first command to its last.
#[test]
fn the_commands_of_the_api_page_work() {
    let server = Options::open().start();
    let shell = Shell::new();
    // On air before it has a record, which `open` permits: one of the commands shows its session.
    let _push = Publisher::start(server.rtmp, "stream", "lobby").expect("published").repeat(Clip::small());
    let picture = shell.path().join("picture.png");
    let made = ffmpeg(&["-f", "lavfi", "-i", "testsrc2=s=320x180", "-frames:v", "1", picture.to_str().expect("ASCII")]);
    assert!(made.status.success(), "{}", made.stderr);
    let hook = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../hooks/guests/built/signed-url.wasm");
    std::fs::copy(hook, shell.path().join("signed-url.wasm")).expect("copied");
    let script = commands_for(&server, &named("docs/api.md", "api"))
        .replace("/backups/", &format!("{}/", shell.path().display()));
    let done = shell.run(&script);
    for part in ["\"id\":\"lobby\"", "push_url", "\"codec\"", "\"token\"", "back-soon", "\"signed\""] {
        assert!(done.stdout.replace("\": ", "\":").contains(part), "{part} is not in {}", done.stdout);
    }
    assert!(shell.path().join("store-2027-01-01.sqlite").exists());
}

/// What the page on access tells to type.
#[test]
fn the_commands_of_the_access_page_work() {
    let server = Options::open().start();
    let done = Shell::new().run(&commands_for(&server, &named("docs/access.md", "access")));
    for part in ["\"origin\":\"preset\"", "\"verdict\":\"allow\"", "\"decides\":true"] {
        assert!(done.stdout.replace("\": ", "\":").contains(part), "{part} is not in {}", done.stdout);
    }
}

#[test]
fn the_players_of_the_page_on_playing_get_the_demo() {
    let server = Options::demo().start();
    eventually("the demo is on air", seconds(10), || server.stdout.has("Ctrl-C ends it").then_some(()));
    let script: Vec<String> = named("docs/play.md", "demo").iter().flat_map(Block::commands).collect();
    let script = script
        .join("\n")
        .replace("127.0.0.1:8080", &server.http.to_string())
        .replace("rtmp://127.0.0.1/", &format!("rtmp://{}/", server.rtmp));
    let done = Shell::new().run(&script);
    // HLS lists its streams, and those of its one programme.
    assert!(done.stdout.matches("video").count() >= 3 && done.stdout.matches("audio").count() >= 3, "{}", done.stdout);
}

/// The guide for authors of hooks, from nothing to a refused viewer. The hook itself is that of `hooks/guests/c`, which decides as the new one
/// would that takes a compiler.
#[test]
fn the_guide_for_authors_of_hooks_works() {
    let shell = Shell::new();
    let core = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../hooks/guests/c/ticket.core.wasm");
    let blocks = named("docs/hooks.md", "hooks");
    let [new, tests] = blocks.as_slice() else { panic!("two blocks") };
    shell.run(&new.commands().join("\n"));
    assert!(shell.path().join("door/build").exists());
    shell.run(&format!("millstream hook pack {} --kind auth --output door/door.wasm", core.display()));
    let done = shell.run(&tests.commands().join("\n"));
    assert!(
        done.stdout.contains("answer     allow") && done.stdout.contains("answer     deny, unauthenticated"),
        "{}",
        done.stdout
    );

    let blocks = named("docs/hooks.md", "hooks-demo");
    let [demo, viewers] = blocks.as_slice() else { panic!("two blocks") };
    let [command] = &demo.commands()[..] else { panic!("one command") };
    let args: Vec<&str> = command.strip_prefix("millstream demo ").expect("the demo").split(' ').collect();
    let file = shell.path().join(args[1]);
    let server = Options::demo().arg(args[0], file.to_str().expect("ASCII")).arg(args[2], args[3]).start();
    eventually("the demo is on air", seconds(20), || server.stdout.has("Ctrl-C ends it").then_some(()));
    let [refused, admitted] = &viewers.commands()[..] else { panic!("two commands") };
    let here = |command: &str| command.replace("127.0.0.1:8080", &server.http.to_string());
    let done = shell.run(&format!("{} || true", here(refused)));
    assert!(done.stdout.contains("403") && done.stdout.contains("this stream needs a ticket"), "{}", done.stdout);
    assert!(shell.run(&here(admitted)).stdout.contains("200 OK"));

    let server = Options::open().start();
    let _push = Publisher::start(server.rtmp, "stream", "lobby").expect("published").repeat(Clip::small());
    let done = shell.run(&commands_for(&server, &named("docs/hooks.md", "hooks-server")));
    assert!(done.stdout.contains("\"contract\"") && done.stdout.contains("\"live\""), "{}", done.stdout);
    let asked = |path: &str| http::get(server.http, path).status;
    eventually("viewers without a ticket are refused", seconds(10), || {
        (asked("/lobby/live.m3u8") == 403).then_some(())
    });
    assert_eq!(asked("/lobby/live.m3u8?ticket=1234"), 200);
}

/// The README's commands, one after the other: a hook is uploaded, a viewer refused, and all is as it was before.
#[test]
fn the_readme_refuses_a_viewer_by_a_hook() {
    let server = Options::open().start();
    let _push = Publisher::start(server.rtmp, "stream", "lobby").expect("published").repeat(Clip::small());
    let asked = || http::get(server.http, "/lobby/live.m3u8").status;
    eventually("it plays", seconds(10), || (asked() == 200).then_some(()));
    let shell = Shell::new();
    let guests = shell.path().join("hooks/guests");
    std::fs::create_dir_all(&guests).expect("made");
    let built = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../hooks/guests/built");
    std::os::unix::fs::symlink(built, guests.join("built")).expect("linked");
    let script = commands_for(&server, &named("README.md", "hooks-readme"));
    let script = script.replace("127.0.0.1:8080", &server.http.to_string());
    let at = script.find("curl -i").expect("the viewer");
    let (upload, rest) = script.split_at(at);
    let (viewer, back) = rest.split_once('\n').expect("and after it");
    // The binding's id is a variable of the shell, so the commands stay in one; a binding comes into force a moment after its answer.
    let wait = format!(
        "for _ in $(seq 100); do [ $(/usr/bin/curl -s -o /dev/null -w '%{{http_code}}' http://{}/lobby/live.m3u8) = 403 ] && break; sleep 0.1; done",
        server.http
    );
    let done = shell.run(&format!("{upload}\n{wait}\n{viewer} || true\n{back}"));
    assert!(done.stdout.contains("403") && done.stdout.contains("this address is not on the list"), "{}", done.stdout);
    eventually("it plays again", seconds(10), || (asked() == 200).then_some(()));
}

/// Control, then a node that was made from its files, as the page on fleets says.
#[test]
fn the_commands_of_the_fleet_page_make_a_fleet() {
    let shell = Shell::new();
    let bin = binary().canonicalize().expect("the binary");
    let blocks = named("docs/fleet.md", "fleet");
    let [control, node] = blocks.as_slice() else { panic!("two blocks") };
    let free = |name: &str| format!(" --{name} 127.0.0.1:0");
    let serve = |block: &Block| {
        let commands = block.commands();
        let (last, first) = commands.split_last().expect("a command");
        shell.run(&first.join("\n"));
        let args = last.strip_prefix("millstream ").expect("the server").to_owned();
        args + &free("rtmp") + &free("http") + &free("control")
    };
    let start = |args: String| {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        let tool = Tool::spawn(Command::new(&bin).args(&args).current_dir(shell.path()));
        eventually(&format!("{args:?} is ready"), seconds(20), || tool.stderr.has("ready").then_some(()));
        tool
    };
    let control = start(serve(control));
    let log = control.stderr.text();
    let address =
        log.split("listening for control").nth(1).and_then(|rest| rest.split("address=").nth(1)).expect("its address");
    let address = address.split_whitespace().next().expect("its address").to_owned();
    let node = start(serve(node).replace("https://control.example.com", &format!("http://{address}")));
    let token = shell.path().join("control-data/admin-token");
    let asked =
        format!("curl -sS -H \"Authorization: Bearer $(cat {})\" http://{address}/api/v1/nodes", token.display());
    eventually("the node follows control", seconds(20), || shell.run(&asked).stdout.contains("\"run\"").then_some(()));
    drop((control, node));
}

/// The proxy of the page on public servers, as nginx reads it.
#[test]
fn the_configuration_of_nginx_passes_its_check() {
    let [block] = &named("docs/vps.md", "nginx")[..] else { panic!("one block") };
    let shell = Shell::new();
    let dir = shell.path().display();
    let server = block.text.replace("listen 80;", "listen 127.0.0.1:18080;");
    let whole = format!(
        "pid {dir}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\nclient_body_temp_path {dir}/a;\nproxy_temp_path {dir}/b;\n\
         fastcgi_temp_path {dir}/c;\nuwsgi_temp_path {dir}/d;\nscgi_temp_path {dir}/e;\n{server}}}\n"
    );
    std::fs::write(shell.path().join("nginx.conf"), whole).expect("written");
    shell.run("PATH=$PATH:/usr/sbin nginx -t -q -p . -c nginx.conf");
}
