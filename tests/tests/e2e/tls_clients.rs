//! TLS by programs of other people, each with a TLS library of its own: GStreamer (GnuTLS by GLib), ffmpeg (GnuTLS), ffmpeg 8.1 (Mbed TLS, which OBS
//! pushes with) and OBS itself push RTMPS; VLC, ffplay and rtmpdump (GnuTLS) and Chromium (BoringSSL, in `browser`) watch. And, as testssl does it, which versions and
//! ciphers each port takes: those that `docs/vps.md` names, and no others.
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{Tool, ffprobe, vlc_command};
use millstream_tests::{eventually, seconds};
use serde_json::json;

use crate::clients::ffplay_clock;
use crate::tls::{Authority, NOW, https, listening, on_air, rtmps, s_client};

#[test]
fn programs_with_other_tls_libraries_push_and_watch() {
    let authority = Authority::new();
    authority.certify("live", &["localhost", "127.0.0.1"], NOW);
    let server = Options::open().shards(2).config(&authority.config(&["live"])).start();
    let (rtmps, https) = (rtmps(&server), https(&server));
    let pipeline = format!(
        "videotestsrc is-live=true num-buffers=1800 ! video/x-raw,width=320,height=240,framerate=30/1 ! \
         x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! h264parse ! flvmux name=mux streamable=true ! \
         rtmp2sink location=rtmps://{rtmps}/stream/gst tls-validation-flags=no-flags \
         audiotestsrc is-live=true num-buffers=3000 ! audioconvert ! avenc_aac ! aacparse ! mux."
    );
    let args: Vec<&str> = std::iter::once("-q").chain(pipeline.split_whitespace()).collect();
    let _push = Tool::start("gst-launch-1.0", &args);
    on_air(&server, "gst");
    // These take the authority for one that they know.
    std::fs::set_permissions(authority.path(""), PermissionsExt::from_mode(0o777)).expect("VLC runs as nobody");
    let (ca, trusted) = (authority.path("ca.pem"), authority.path("trusted"));
    std::fs::create_dir(&trusted).expect("a directory");
    std::fs::copy(&ca, trusted.join("ca.pem")).expect("copied");
    std::fs::set_permissions(trusted.join("ca.pem"), PermissionsExt::from_mode(0o644)).expect("readable");
    let url = format!("https://localhost:{}/gst/live.flv", https.port());
    let mut vlc = vlc_command(&authority.path(""), &url, "vlc.ts");
    let vlc = Tool::spawn(vlc.arg(format!("--gnutls-dir-trust={}", trusted.display())));
    let mut ffplay = Command::new("ffplay");
    ffplay.env("SDL_VIDEODRIVER", "dummy").env("SDL_AUDIODRIVER", "dummy");
    ffplay.args(["-hide_banner", "-tls_verify", "1", "-ca_file"]).arg(&ca);
    let mut ffplay = Tool::spawn(ffplay.args(["-fflags", "nobuffer", "-stats", &url]));
    let file = authority.path("dump.flv");
    let path = file.to_str().expect("UTF-8");
    let mut dump = Tool::start("rtmpdump", &["-q", "--live", "-r", &format!("rtmps://{rtmps}/stream/gst"), "-o", path]);
    eventually("rtmpdump has written 100 KB", seconds(30), || {
        (std::fs::metadata(&file).map_or(0, |m| m.len()) > 100_000).then_some(())
    });
    dump.kill();
    assert_eq!(ffprobe(path), ["aac", "h264,320,240"]);
    let done = vlc.wait(seconds(40));
    let seen = authority.path("vlc.ts");
    assert!(seen.exists(), "VLC wrote nothing: {}", done.stderr);
    let tracks = ffprobe(seen.to_str().expect("UTF-8"));
    assert!(tracks.contains(&"h264,320,240".to_owned()) && tracks.contains(&"aac".to_owned()), "{tracks:?}");
    assert!(ffplay.running(), "ffplay gave up: {}", ffplay.stderr.text());
    // Its status is one line without an end, so it is read when ffplay is gone.
    ffplay.kill();
    let played = eventually("ffplay's clock went on for 2 s", seconds(2), || {
        let clock = ffplay_clock(&ffplay.stderr.text());
        let played = clock.last()? - clock.first()?;
        (played > 2.0).then_some(played)
    });
    println!("ffplay played {played:.1} s of {url}");
    assert!(server.metric("millstream_tls_handshakes_total") >= 4.0);
}

/// OBS's own directory: a scene with a colour, small pictures, and where it pushes to.
fn obs_home(home: &Path, server: &str) {
    let obs = home.join(".config/obs-studio");
    let profile = obs.join("basic/profiles/Test");
    let write = |path: &Path, text: &str| {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let global = "[General]\nFirstRun=true\nLastVersion=486539266\nEnableAutoUpdates=false\n[Basic]\nProfile=Test\nProfileDir=Test\n\
                  SceneCollection=Test\nSceneCollectionFile=Test\n";
    write(&obs.join("global.ini"), global);
    let basic = "[General]\nName=Test\n[Output]\nMode=Simple\nReconnect=false\n[SimpleOutput]\nVBitrate=600\nStreamEncoder=x264\n\
                 [Video]\nBaseCX=320\nBaseCY=240\nOutputCX=320\nOutputCY=240\nFPSType=1\nFPSInt=15\n";
    write(&profile.join("basic.ini"), basic);
    let service = json!({ "type": "rtmp_custom", "settings": { "server": server, "key": "obs", "use_auth": false } });
    write(&profile.join("service.json"), &service.to_string());
    let item = json!({
        "name": "Colour", "id": 1, "visible": true, "pos": { "x": 0, "y": 0 }, "scale": { "x": 1, "y": 1 }, "align": 5,
    });
    // Without a source it asks whether that is meant, and nobody is there to answer.
    let scenes = json!({ "name": "Test", "current_scene": "Scene", "current_program_scene": "Scene", "scene_order": [{ "name": "Scene" }], "sources": [
        { "id": "scene", "name": "Scene", "settings": { "id_counter": 1, "items": [item] } },
        { "id": "color_source_v3", "name": "Colour", "settings": { "color": 4_278_190_335_u32, "width": 320, "height": 240 } },
    ] });
    write(&obs.join("basic/scenes/Test.json"), &scenes.to_string());
}

/// OBS on a display that is none, to whom these are all authorities that its machine knows.
fn obs(home: &Path, authorities: &Path) -> Tool {
    let script =
        "mount --bind \"$0\" /etc/ssl/certs && exec xvfb-run -a -s '-screen 0 800x600x24 +extension GLX' \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(authorities);
    command.args(["obs", "--startstreaming", "--profile", "Test", "--collection", "Test"]);
    command.args(["--multi", "--disable-updater", "--minimize-to-tray"]);
    command.env("HOME", home).env("XDG_CONFIG_HOME", home.join(".config")).env("XDG_RUNTIME_DIR", home);
    Tool::spawn(command.env("LIBGL_ALWAYS_SOFTWARE", "1").env("QT_QPA_PLATFORM", "xcb"))
}

#[test]
#[ignore = "OBS takes half a minute and both cores; tests/run --long has it"]
fn obs_pushes_over_tls_where_it_knows_the_authority_and_vlc_watches() {
    let authority = Authority::new();
    authority.certify("live", &["localhost"], NOW);
    let server = Options::open().shards(1).config(&authority.config(&["live"])).start();
    std::fs::set_permissions(authority.path(""), PermissionsExt::from_mode(0o777)).expect("VLC runs as nobody");
    let (home, known) = (authority.path("home"), authority.path("known"));
    obs_home(&home, &format!("rtmps://localhost:{}/stream", rtmps(&server).port()));
    // It verifies, and gives up where it does not know who has signed.
    std::fs::create_dir_all(&known).expect("made");
    let mut refused = obs(&home, &known);
    eventually("the handshake fails", seconds(60), || (failed_handshakes(&server) > 0.0).then_some(()));
    assert!(!server.log.has("publish started"), "{}", server.log.text());
    end(&mut refused);
    std::fs::copy(authority.path("ca.pem"), known.join("ca.pem")).expect("copied");
    std::fs::set_permissions(known.join("ca.pem"), PermissionsExt::from_mode(0o644)).expect("readable");
    let mut pushing = obs(&home, &known);
    eventually("OBS is on air", seconds(60), || server.log.has("publish started").then_some(()));
    let url = format!("https://localhost:{}/obs/live.flv", https(&server).port());
    let mut vlc = vlc_command(&authority.path(""), &url, "obs.ts");
    let done = Tool::spawn(vlc.arg(format!("--gnutls-dir-trust={}", known.display()))).wait(seconds(60));
    let seen = authority.path("obs.ts");
    assert!(seen.exists(), "VLC wrote nothing: {}", done.stderr);
    let tracks = ffprobe(seen.to_str().expect("UTF-8"));
    assert!(tracks.contains(&"h264,320,240".to_owned()) && tracks.contains(&"aac".to_owned()), "{tracks:?}");
    end(&mut pushing);
}

/// Ends a program together with those that it has started.
fn end(tool: &mut Tool) {
    let children = Command::new("pkill").args(["-KILL", "-P", &tool.pid().to_string()]).status();
    assert!(children.is_ok(), "{children:?}");
    tool.kill();
}

fn failed_handshakes(server: &Server) -> f64 {
    let metrics = server.metrics();
    let lines = metrics.lines().filter(|line| line.starts_with("millstream_closed_total") && line.contains("tls_"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// What `docs/vps.md` says that ports with TLS take: the words in the row of a table that begins with this.
fn documented(row: &str) -> BTreeSet<String> {
    let text = include_str!("../../../docs/vps.md");
    let line = text.lines().find(|line| line.starts_with(&format!("| {row} |"))).expect("a row of the table");
    line.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The cipher that a handshake ends with; `None`: there was none.
fn cipher(said: &str) -> Option<&str> {
    let cipher = said.split("Cipher is ").nth(1)?.split_whitespace().next()?;
    (cipher != "(NONE)").then_some(cipher)
}

/// Whether the server takes such a handshake. It says so where it does not: an openssl that offers nothing of the kind is no answer.
fn takes(at: SocketAddr, args: &[&str]) -> bool {
    let said = s_client(at, args);
    let is_taken = cipher(&said).is_some();
    assert!(is_taken || said.contains("alert"), "{args:?} is not the server's refusal: {said}");
    is_taken
}

/// Offers a list, takes out what was chosen, and offers the rest, until nothing of it is taken: what was.
fn taken(at: SocketAddr, flag: &str, mut offered: Vec<String>, more: &[&str]) -> BTreeSet<String> {
    let mut taken = BTreeSet::new();
    while !offered.is_empty() {
        let list = offered.join(":");
        let list = if flag == "-cipher" { list + "@SECLEVEL=0" } else { list };
        let said = s_client(at, &[&[flag, &list], more].concat());
        let Some(chosen) = cipher(&said) else { break };
        let place = offered.iter().position(|name| *name == chosen).unwrap_or_else(|| panic!("{chosen} of {list}"));
        taken.insert(offered.remove(place));
    }
    taken
}

/// All that this machine's openssl can offer for TLS 1.2 and below.
fn offered_by_openssl() -> Vec<String> {
    let done = Tool::start("openssl", &["ciphers", "-s", "-tls1_2", "ALL:eNULL:@SECLEVEL=0"]).wait(seconds(20));
    let names: Vec<String> = done.stdout.trim().split(':').map(str::to_owned).collect();
    // Or the list is not what it is thought to be.
    assert!(names.len() > 60 && names.contains(&"ECDHE-RSA-AES128-SHA".to_owned()), "{names:?}");
    names.into_iter().filter(|name| !name.starts_with("TLS_")).collect()
}

/// A certificate with an RSA key, which decides about ciphers.
fn certify_rsa(authority: &Authority) {
    let (key, pem) = (authority.path("rsa.key"), authority.path("rsa.pem"));
    let (key, pem) = (key.to_str().expect("UTF-8"), pem.to_str().expect("UTF-8"));
    #[rustfmt::skip]
    let made = Tool::start("openssl", &[
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", pem, "-days", "300", "-subj", "/CN=rsa.example.org",
        "-addext", "subjectAltName=DNS:rsa.example.org",
    ]).wait(seconds(60));
    assert!(made.status.success(), "{}", made.stderr);
}

fn ports(server: &Server) -> [SocketAddr; 3] {
    [rtmps(server), https(server), listening(server, "listening with TLS for control")]
}

#[test]
fn each_port_takes_the_versions_and_ciphers_that_are_documented_and_no_others() {
    let authority = Authority::new();
    authority.certify("live", &["live.example.org"], NOW);
    certify_rsa(&authority);
    let control = "[control]\ntls_listen = \"127.0.0.1:0\"\n";
    let config = authority.config(&["live", "rsa"]) + control;
    let server = Options::open().shards(1).config(&config).start();
    let (of_tls_1_2, of_tls_1_3) = (documented("TLS 1.2"), documented("TLS 1.3"));
    let all = offered_by_openssl();
    let new = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
    let new = new.into_iter().chain(["TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"]).map(str::to_owned);
    let new: Vec<String> = new.collect();
    for at in ports(&server) {
        // Who takes no cipher for the key of the host's certificate gets one with another key.
        for host in ["live.example.org", "rsa.example.org"] {
            let taken = taken(at, "-cipher", all.clone(), &["-tls1_2", "-servername", host]);
            assert_eq!(taken, of_tls_1_2, "{at} {host}");
        }
        let taken = taken(at, "-ciphersuites", new.clone(), &["-tls1_3", "-servername", "live.example.org"]);
        assert_eq!(taken, of_tls_1_3, "{at}");
        for old in ["-tls1", "-tls1_1"] {
            assert!(!takes(at, &[old, "-cipher", "ALL:@SECLEVEL=0"]), "{at} {old}");
        }
    }
    let at = https(&server);
    let groups: BTreeSet<String> = ["X25519", "P-256", "P-384", "P-521", "X448", "ffdhe2048", "ffdhe3072"]
        .into_iter()
        .filter(|group| takes(at, &["-tls1_3", "-groups", group]))
        .map(str::to_owned)
        .collect();
    assert_eq!(groups, documented("groups"));
    for weak in ["ECDSA+SHA1", "RSA+SHA1"] {
        assert!(!takes(at, &["-tls1_2", "-cipher", "ALL:@SECLEVEL=0", "-sigalgs", weak]), "{weak}");
    }
    let said = s_client(at, &["-tls1_2", "-servername", "live.example.org"]);
    assert!(said.contains("Secure Renegotiation IS supported"), "{said}");
    // Who comes again may send no early data. The tickets that say so come behind the handshake.
    let line = format!(
        "printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' | openssl s_client -connect {at} -tls1_3 -servername live.example.org -ign_eof 2>&1"
    );
    let said = Tool::start("sh", &["-c", &line]).wait(seconds(20)).stdout;
    let (tickets, without) = ("Max Early Data: ", "Max Early Data: 0\n");
    assert!(said.contains(without) && said.matches(tickets).count() == said.matches(without).count(), "{said}");
}
