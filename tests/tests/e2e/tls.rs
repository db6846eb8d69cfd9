//! Ports with TLS, by the clients that users have: ffmpeg pushes RTMPS; curl, ffprobe and ffmpeg play HTTPS, by HTTP/2 where they know it; openssl looks at certificates, names and
//! versions. Certificates are replaced while it runs, by good ones and by bad ones.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::http;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server, millstream};
use millstream_tests::tools::{Finished, Tool, ffmpeg_push, newer_push, promtool_check};
use millstream_tests::{eventually, seconds};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use serde_json::json;
use tempfile::TempDir;

/// A certificate authority of the test, with files for one or two servers.
pub(crate) struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Authority of a test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
        let authority = Self { dir: tempfile::tempdir().expect("a directory"), issuer };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        // As certbot does: never half a file.
        let (new, path) = (self.path("new"), self.path(file));
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, path).expect("renamed");
    }

    /// Writes `NAME.pem` and `NAME.key` for these hosts, valid from one year to another.
    pub(crate) fn certify(&self, name: &str, hosts: &[&str], years: (i32, i32)) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &*self.issuer).expect("signed");
        self.write(&format!("{name}.key"), &key.serialize_pem());
        self.write(&format!("{name}.pem"), &(certificate.pem() + &self.issuer.pem()));
    }

    /// The configuration with the certificates of these names.
    pub(crate) fn config(&self, names: &[&str]) -> String {
        let list = |ending: &str| {
            let paths = names.iter().map(|name| format!("\"{}\"", self.path(&format!("{name}.{ending}")).display()));
            paths.collect::<Vec<_>>().join(", ")
        };
        format!(
            "[tls]\ncertificates = [{}]\nkeys = [{}]\n[rtmp]\ntls_listen = \"127.0.0.1:0\"\n[http]\ntls_listen = \"127.0.0.1:0\"\n",
            list("pem"),
            list("key")
        )
    }
}

pub(crate) const NOW: (i32, i32) = (2020, 2100);

/// The sum of the samples whose name and labels contain these.
fn samples(server: &Server, name: &str, label: &str) -> f64 {
    let metrics = server.metrics();
    let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// Where a port with TLS listens, by the log.
pub(crate) fn listening(server: &Server, words: &str) -> SocketAddr {
    eventually(words, seconds(10), || {
        let text = server.log.text();
        let line = text.lines().find(|line| line.contains(words))?;
        line.split("address=").nth(1)?.split_whitespace().next()?.trim_matches('"').parse().ok()
    })
}

pub(crate) fn rtmps(server: &Server) -> SocketAddr {
    listening(server, "listening for RTMPS")
}

pub(crate) fn https(server: &Server) -> SocketAddr {
    listening(server, "listening for HTTPS")
}

/// Waits until the stream is live.
pub(crate) fn on_air(server: &Server, id: &str) {
    eventually("it is on air", seconds(30), || {
        let status = http::get(server.http, &format!("/{id}/live.json"));
        String::from_utf8_lossy(&status.body).contains("\"state\":\"live\"").then_some(())
    });
}

fn curl(ca: &Path, at: SocketAddr, host: &str, path: &str, more: &[&str]) -> Finished {
    let (port, ca) = (at.port(), ca.display().to_string());
    let (resolve, url) = (format!("{host}:{port}:127.0.0.1"), format!("https://{host}:{port}{path}"));
    let mut args = vec!["-sS", "--cacert", &ca, "--resolve", &resolve];
    args.extend(more);
    args.push(&url);
    Tool::start("curl", &args).wait(seconds(30))
}

/// What openssl says of a handshake: all that it prints.
pub(crate) fn s_client(at: SocketAddr, more: &[&str]) -> String {
    let at = at.to_string();
    let args = [&["s_client", "-connect", &at], more].concat();
    let done = Tool::start("openssl", &args).wait(seconds(20));
    done.stdout + &done.stderr
}

/// The common name of the certificate that a client gets who asks for this host.
fn shown(at: SocketAddr, host: &str) -> String {
    let said = s_client(at, &["-servername", host]);
    let subject = said.lines().find_map(|line| line.strip_prefix("subject=")).unwrap_or_else(|| panic!("{said}"));
    subject.rsplit("CN").next().expect("a name").trim_start_matches([' ', '=']).to_owned()
}

#[test]
fn ffmpeg_pushes_over_tls_and_who_watches_does_so_too() {
    let authority = Authority::new();
    authority.certify("live", &["live.example.org", "127.0.0.1"], NOW);
    let server = Options::open().shards(2).config(&authority.config(&["live"])).start();
    let (rtmps, https, ca) = (rtmps(&server), https(&server), authority.path("ca.pem"));
    let _pushes = [
        ffmpeg_push(&format!("rtmps://{rtmps}/stream/debian"), 60),
        newer_push(
            &format!("rtmps://{rtmps}/stream/newer"),
            "-c:v libx264 -preset ultrafast -tune zerolatency -c:a aac",
        ),
    ];
    for id in ["debian", "newer"] {
        on_air(&server, id);
        let file = authority.path("seen.flv").display().to_string();
        let seen = curl(&ca, https, "live.example.org", &format!("/{id}/live.flv"), &["-m", "4", "-o", &file]);
        // It is ended by its time, which is 28.
        assert_eq!(seen.status.code(), Some(28), "{}", seen.stderr);
        let tracks = millstream_tests::tools::ffprobe(&file);
        assert!(tracks.len() == 2 && tracks[0] == "aac", "{tracks:?}");
        // HLS, whose playlists and parts are many requests on a few connections.
        let ca_file = ca.display().to_string();
        let url = format!("https://{https}/{id}/live.m3u8");
        #[rustfmt::skip]
        let watched = Tool::start("ffmpeg", &[
            "-hide_banner", "-nostdin", "-loglevel", "error", "-tls_verify", "1", "-ca_file", &ca_file,
            "-i", &url, "-frames:v", "60", "-f", "null", "-",
        ]).wait(seconds(60));
        assert!(watched.status.success(), "{}", watched.stderr);
        // And RTMP play over TLS.
        #[rustfmt::skip]
        let watched = Tool::start("ffmpeg", &[
            "-hide_banner", "-nostdin", "-loglevel", "error", "-i", &format!("rtmps://{rtmps}/stream/{id}"), "-frames:v", "30", "-f", "null", "-",
        ]).wait(seconds(60));
        assert!(watched.status.success(), "{}", watched.stderr);
    }
    assert!(server.metric("millstream_tls_handshakes_total") >= 8.0);
    let metrics = server.metrics();
    assert!(metrics.contains("millstream_tls_certificate_expiry_timestamp_seconds"), "{metrics}");
    promtool_check(&metrics);
}

#[test]
fn curl_plays_over_http_2_and_a_server_may_have_it_switched_off() {
    let authority = Authority::new();
    authority.certify("live", &["live.example.org"], NOW);
    let server = Options::open().shards(2).config(&authority.config(&["live"])).start();
    let (https, ca) = (https(&server), authority.path("ca.pem"));
    let _push = ffmpeg_push(&format!("rtmp://{}/stream/cam", server.rtmp), 60);
    on_air(&server, "cam");
    let file = authority.path("seen.flv").display().to_string();
    let get = |path: &str, more: &[&str]| curl(&ca, https, "live.example.org", path, more);
    let seen = get("/cam/live.flv", &["-m", "4", "-o", &file, "-w", "%{http_version} %{http_code} %{content_type}"]);
    assert_eq!((seen.status.code(), &*seen.stdout), (Some(28), "2 200 video/x-flv"), "{}", seen.stderr);
    let tracks = millstream_tests::tools::ffprobe(&file);
    assert!(tracks.len() == 2 && tracks[0] == "aac", "{tracks:?}");
    // All that a playlist names, on one connection and at once.
    let playlist = get("/cam/video.m3u8", &["--http2"]).stdout;
    let names: Vec<&str> = playlist.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(!names.is_empty(), "{playlist}");
    let urls: Vec<String> =
        names.iter().map(|name| format!("https://live.example.org:{}/cam/{name}", https.port())).collect();
    let mut args = vec!["--parallel", "-w", "%{http_version} %{http_code} %{num_connects}\\n", "-o", "/dev/null"];
    for url in &urls {
        args.extend(["-o", "/dev/null", url]);
    }
    let said = get("/cam/live.m3u8", &args).stdout;
    assert!(said.lines().count() == names.len() + 1 && said.lines().all(|line| line.starts_with("2 200 ")), "{said}");
    assert_eq!(get("/cam/index.html", &["--http1.1", "-o", "/dev/null", "-w", "%{http_version}"]).stdout, "1.1");
    assert!(server.metric("millstream_http2_connections_total") >= 3.0);
    let off = authority.config(&["live"]) + "http2 = false\n";
    let server = Options::open().shards(1).config(&off).start();
    let said = curl(&ca, self::https(&server), "live.example.org", "/healthz", &["-w", "%{http_version}"]).stdout;
    assert_eq!(said, "ok\n1.1");
}

#[test]
fn versions_names_and_protocols_are_those_of_today() {
    let authority = Authority::new();
    authority.certify("live", &["live.example.org"], NOW);
    authority.certify("wild", &["*.example.net"], NOW);
    let server = Options::open().shards(1).config(&authority.config(&["live", "wild"])).start();
    let (rtmps, https, ca) = (rtmps(&server), https(&server), authority.path("ca.pem"));
    for at in [rtmps, https] {
        for (host, name) in [("live.example.org", "live"), ("a.example.net", "wild"), ("unknown.example", "live")] {
            assert_eq!(shown(at, host), name, "{host}");
        }
        assert_eq!(shown(at, "live.example.org"), "live");
        for version in ["-tls1_2", "-tls1_3"] {
            let said = s_client(at, &[version]);
            assert!(said.contains("Cipher is TLS_") || said.contains("Cipher is ECDHE-"), "{version}: {said}");
        }
        for old in [
            &["-tls1", "-cipher", "ALL:@SECLEVEL=0"][..],
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            &["-tls1_2", "-cipher", "AES128-SHA:ECDHE-ECDSA-AES128-SHA"],
        ] {
            let said = s_client(at, old);
            assert!(
                said.contains("alert protocol version") || said.contains("alert handshake failure"),
                "{old:?}: {said}"
            );
        }
    }
    assert!(server.log.has("offers nothing that is safe today"), "{}", server.log.text());
    for (offered, chosen) in [("h2,http/1.1", "h2"), ("http/1.1,h2", "h2"), ("http/1.1", "http/1.1")] {
        let said = s_client(https, &["-alpn", offered]);
        assert!(said.contains(&format!("ALPN protocol: {chosen}\n")), "{offered}: {said}");
    }
    // A session is resumed by its ticket.
    let session = authority.path("session").display().to_string();
    let request = "GET /healthz HTTP/1.0\\r\\n\\r\\n";
    let resumed = |flag: &str| {
        let line =
            format!("printf '{request}' | openssl s_client -connect {https} -tls1_2 {flag} {session} -ign_eof 2>&1");
        Tool::start("sh", &["-c", &line]).wait(seconds(20)).stdout
    };
    assert!(resumed("-sess_out").contains("New, TLSv1.2"));
    assert!(resumed("-sess_in").contains("Reused, TLSv1.2"));
    // Renegotiation is refused, and the connection goes on or ends; the server goes on.
    let line = format!(
        "(sleep 1; echo R; sleep 1; printf '{request}'; sleep 1) | openssl s_client -connect {https} -tls1_2 2>&1"
    );
    let said = Tool::start("sh", &["-c", &line]).wait(seconds(20)).stdout;
    assert!(said.contains("no renegotiation") || said.contains("unexpected message"), "{said}");
    let ok = curl(&ca, https, "live.example.org", "/healthz", &[]);
    assert_eq!(ok.stdout, "ok\n", "{}", ok.stderr);
    let unknown = curl(&ca, https, "unknown.example", "/healthz", &[]);
    assert_eq!(unknown.status.code(), Some(60), "{}", unknown.stderr);
    // Plain HTTP is told where it is.
    let plain = http::get(https, "/healthz");
    assert_eq!(plain.status, 400);
    assert!(String::from_utf8_lossy(&plain.body).contains("use https://"));
    // Who is at a wrong port is told of by the right one, which has TLS as well.
    let said = |words: &str| eventually(words, seconds(10), || server.log.has(words).then_some(()));
    assert!(!curl(&ca, rtmps, "live.example.org", "/healthz", &[]).status.success());
    said(&format!("an HTTPS request on the RTMPS port: the HTTPS port is {}", https.port()));
    let url = format!("rtmps://{https}/stream/cam");
    assert!(!Tool::start("ffprobe", &["-v", "error", &url]).wait(seconds(20)).status.success());
    said(&format!("an RTMPS connection on the HTTPS port: the RTMPS port is {}", rtmps.port()));
    s_client(server.control, &[]);
    said("a TLS connection on the control port, which has none");
}

#[test]
fn certificates_are_replaced_while_it_runs_and_bad_ones_are_not_taken() {
    let authority = Authority::new();
    authority.certify("live", &["live.example.org"], NOW);
    let config = authority.config(&["live"]) + "public_url = \"https://live.example.org:8443\"\n";
    let server = Options::open().shards(2).config(&config).start();
    let (https, chain) = (https(&server), authority.path("live.pem"));
    let good_chain = std::fs::read_to_string(&chain).expect("read");
    let serial = || {
        let said = s_client(https, &["-servername", "live.example.org", "-showcerts"]);
        said.split("-----END CERTIFICATE-----").next().expect("a certificate").to_owned()
    };
    let first = serial();
    // Somebody watches from before to after all this.
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    let ca = authority.path("ca.pem");
    let file = authority.path("all.flv").display().to_string();
    let (at, resolve) = (
        format!("https://live.example.org:{}/cam/live.flv", https.port()),
        format!("live.example.org:{}:127.0.0.1", https.port()),
    );
    let ca_text = ca.display().to_string();
    let mut watching =
        Tool::start("curl", &["-sS", "-m", "60", "-o", &file, "--cacert", &ca_text, "--resolve", &resolve, &at]);
    let refused = |what: &str, words: &str, hang_up: bool| {
        let before = server.log.text().len();
        if hang_up {
            server.hang_up();
        }
        eventually(&format!("{what} is refused"), seconds(20), || {
            let log = server.log.text();
            let line =
                log[before..].lines().find(|line| line.contains("the certificates in use stay in use"))?.to_owned();
            assert!(line.contains(words), "{what}: {line}");
            Some(())
        });
        assert_eq!(serial(), first, "{what}");
    };
    authority.write("live.pem", "this is no certificate\n");
    refused("garbage", "holds no certificate", false);
    authority.write("live.pem", &good_chain);
    authority.certify("other", &["live.example.org"], NOW);
    let other_key = std::fs::read_to_string(authority.path("other.key")).expect("read");
    authority.write("live.key", &other_key);
    refused("the key of another certificate", "none of the keys given belongs to this certificate", true);
    authority.write("live.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    refused("a key that is none", "its key cannot be used", true);
    authority.certify("live", &["live.example.org"], (2020, 2021));
    refused("an expired one", "has expired", true);
    authority.certify("live", &["other.example.org"], NOW);
    refused("one for another name", "no certificate is for live.example.org", true);
    std::fs::remove_file(&chain).expect("removed");
    refused("none", "cannot be read", true);
    let mut api = Client::admin(&server);
    let shown = api.get("/api/v1/tls").is(200).json;
    assert!(shown["refused"].as_str().is_some_and(|why| why.contains("cannot be read")), "{shown}");
    assert_eq!(shown["certificates"][0]["names"], json!(["live.example.org"]), "the one before stays in use");
    // A good one is taken without being asked to.
    authority.certify("live", &["live.example.org"], NOW);
    eventually("the new one is shown", seconds(20), || (serial() != first).then_some(()));
    assert_eq!(api.get("/api/v1/tls").is(200).json["refused"], json!(null));
    assert!(server.log.has("TLS records are made in user space"), "{}", server.log.text());
    let refusals = samples(&server, "millstream_tls_certificates_read_total", "refused");
    assert!(refusals >= 6.0, "{refusals}");
    assert!(samples(&server, "millstream_tls_certificates_read_total", "taken") >= 1.0);
    assert!(watching.running(), "{}", watching.stderr.text());
}

/// One that has expired may stay for long: it makes no room for the next one, and names that are lost are said.
#[test]
fn a_known_problem_of_one_certificate_excuses_none_of_another() {
    let authority = Authority::new();
    authority.certify("a", &["a.example.org"], NOW);
    authority.certify("b", &["b.example.org"], (2020, 2021));
    let server = Options::open().config(&authority.config(&["a", "b"])).start();
    let https = https(&server);
    let serial = || s_client(https, &["-servername", "a.example.org", "-showcerts"]);
    let first = serial();
    let said = |words: &str| {
        server.hang_up();
        eventually(words, seconds(10), || server.log.has(words).then_some(()));
    };
    authority.certify("a", &["a.example.org"], (2020, 2021));
    said("a.pem: has expired");
    // The problem that was there is mended, and the new one is not.
    authority.certify("b", &["b.example.org"], NOW);
    let refusals = || samples(&server, "millstream_tls_certificates_read_total", "refused");
    let before = refusals();
    server.hang_up();
    eventually("it is refused", seconds(10), || (refusals() > before).then_some(()));
    assert_eq!(certificate(&serial()), certificate(&first));
    authority.certify("a", &["other.example.org"], NOW);
    said("no certificate in use is for these names any more");
    let log = server.log.text();
    assert!(log.lines().any(|line| line.contains("any more") && line.contains("names=\"a.example.org\"")), "{log}");
}

fn certificate(said: &str) -> &str {
    said.split("-----END CERTIFICATE-----").next().expect("a certificate")
}

#[test]
fn check_says_what_is_wrong_with_the_files() {
    let authority = Authority::new();
    authority.certify("live", &["live.example.org"], NOW);
    authority.certify("old", &["live.example.org"], (2020, 2021));
    let check = |config: &str| {
        let file = authority.path("m.toml");
        std::fs::write(&file, config).expect("written");
        let done = millstream(&["check", file.to_str().expect("UTF-8")]);
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    assert_eq!(check(&authority.config(&["live"])).0, Some(0));
    let (status, said) = check(&authority.config(&["old"]));
    assert!(status == Some(0) && said.contains("has expired"), "{said}");
    let swapped = authority.config(&["live"]).replace("live.key", "old.key");
    let (status, said) = check(&swapped);
    assert!(status == Some(2) && said.contains("m.toml:2") && said.contains("none of the keys"), "{said}");
    let (status, said) = check("[http]\ntls_listen = \"127.0.0.1:0\"\n");
    assert!(status == Some(2) && said.contains("tls.certificates names no file"), "{said}");
    let (status, said) = check(&authority.config(&["missing"]));
    assert!(status == Some(2) && said.contains("cannot be read"), "{said}");
}

#[test]
fn a_stream_that_is_pushed_over_tls_is_refused_without() {
    let authority = Authority::new();
    authority.certify("live", &["127.0.0.1"], NOW);
    let control = "[control]\ntls_listen = \"127.0.0.1:0\"\n";
    let server = Options::open().shards(2).config(&(authority.config(&["live"]) + control)).start();
    let mut client = Client::admin(&server);
    let made = client.post("/api/v1/streams", &json!({ "id": "safe", "settings": { "isRtmps": true } })).is(201).json;
    assert_eq!(made["not_in_force"], json!([]));
    let key = client.get("/api/v1/streams/safe/addresses").is(200).json;
    let push = key["items"][0]["rtmp"].as_str().expect("an address").to_owned();
    assert_eq!(push, format!("rtmps://{}/stream/safe", rtmps(&server)));
    Publisher::start(server.rtmp, "stream", "safe").map(drop).expect_err("refused");
    eventually("the log says why", seconds(5), || server.log.has("isRtmps").then_some(()));
    assert!((samples(&server, "millstream_refused_total", "needs_tls") - 1.0).abs() < 0.5);
    let _push = ffmpeg_push(&push, 30);
    on_air(&server, "safe");
    // The API by TLS, and without on that port.
    let control = listening(&server, "listening with TLS for control");
    let bearer = format!("Authorization: Bearer {}", client.token());
    let seen = curl(&authority.path("ca.pem"), control, "127.0.0.1", "/api/v1/live", &["-H", &bearer]);
    assert!(seen.stdout.contains("\"safe\""), "{} {}", seen.stdout, seen.stderr);
    assert_eq!(http::get(control, "/api/v1/live").status, 400);
    // A browser that has logged in over TLS does not send its cookie without.
    let token = json!({ "token": client.token() }).to_string();
    let more = ["-i", "-H", "Content-Type: application/json", "-d", &token];
    let login = curl(&authority.path("ca.pem"), control, "127.0.0.1", "/api/v1/login", &more);
    assert!(login.stdout.contains("; Secure"), "{} {}", login.stdout, login.stderr);
}
