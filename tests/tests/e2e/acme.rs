//! Certificates that are ordered and renewed, as an operator sees them: one command has a public server, and viewers come over HTTPS and RTMPS. The
//! authority is Pebble, which checks each step of RFC 8555, or one that is of no help. [`fleet`]: one certificate for several nodes.
mod authority;
mod fleet;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use millstream_tests::clip::Clip;
use millstream_tests::http;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server, millstream};
use millstream_tests::tools::{Finished, Tool, ffprobe, promtool_check};
use millstream_tests::{eventually, millis, seconds};

use self::authority::{Fault, Helpless, Pebble, Ports};

const NAME: &str = "live.example.org";
const ISSUED: &str = "the authority has issued a certificate";
const FAILED: &str = "a certificate cannot be ordered";
/// Longer than any test.
const LONG: std::time::Duration = seconds(90 * 86_400);

/// A server that has its certificate ordered, listening where the authority comes.
fn options(ports: &Ports, domains: &[&str], acme: &str) -> Options {
    let config =
        format!("{acme}[http]\ntls_listen = \"127.0.0.1:{}\"\n[rtmp]\ntls_listen = \"127.0.0.1:0\"\n", ports.https);
    let options = Options::open().shards(2).arg("--http", &format!("127.0.0.1:{}", ports.http)).config(&config);
    let options = domains.iter().fold(options, |options, domain| options.arg("--domain", domain));
    options.arg("--acme-email", "you@example.org")
}

fn has_issued(server: &Server) {
    eventually("a certificate is issued", seconds(60), || server.log.has(ISSUED).then_some(()));
    eventually("it is in use", seconds(10), || server.log.has("certificate in use").then_some(()));
}

fn curl(ca: &Path, port: u16, host: &str, path: &str, more: &[&str]) -> Finished {
    let ca = ca.display().to_string();
    let (resolve, url) = (format!("{host}:{port}:127.0.0.1"), format!("https://{host}:{port}{path}"));
    let args = [&["-sS", "--cacert", &ca, "--resolve", &resolve], more, &[&url]].concat();
    Tool::start("curl", &args).wait(seconds(30))
}

/// What openssl says of a handshake: all that it prints.
fn s_client(port: u16, more: &[&str]) -> String {
    let at = SocketAddr::from(([127, 0, 0, 1], port)).to_string();
    let done = Tool::start("openssl", &[&["s_client", "-connect", &at], more].concat()).wait(seconds(20));
    done.stdout + &done.stderr
}

/// The certificate that a client gets who asks for this host, as text.
fn shown(port: u16, host: &str) -> String {
    let said = s_client(port, &["-servername", host]);
    let end = said.find("-----END CERTIFICATE-----").unwrap_or_else(|| panic!("{said}"));
    said[..end].split("-----BEGIN CERTIFICATE-----").nth(1).expect("a certificate").to_owned()
}

fn samples(server: &Server, name: &str, label: &str) -> f64 {
    let metrics = server.metrics();
    let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

fn said_failed(server: &Server) -> usize {
    server.log.text().matches(FAILED).count()
}

#[test]
fn one_command_has_a_certificate_and_viewers_come_over_tls() {
    let ports = Ports::free();
    // Good nonces are refused at random: each request may have to be made again.
    let pebble = Pebble::start(&ports, LONG, &[("PEBBLE_WFE_NONCEREJECT", "15")]);
    let server = options(&ports, &[NAME, "www.example.org"], &pebble.config()).start();
    has_issued(&server);
    let ca = pebble.root();
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    for host in [NAME, "www.example.org"] {
        let healthy = curl(&ca, ports.https, host, "/healthz", &[]);
        assert_eq!(healthy.stdout, "ok\n", "{}", healthy.stderr);
    }
    let file = server.data_dir().join("seen.flv").display().to_string();
    let seen = curl(&ca, ports.https, NAME, "/cam/live.flv", &["-m", "4", "-o", &file]);
    // It is ended by its time, which is 28.
    assert_eq!(seen.status.code(), Some(28), "{}", seen.stderr);
    assert!(!ffprobe(&file).is_empty());
    // What the authority asked for is not answered any more.
    for path in pebble.challenges() {
        assert_eq!(http::get(server.http, &path).status, 404, "{path}");
    }
    // RTMPS has the same.
    let rtmps = eventually("RTMPS listens", seconds(5), || {
        let text = server.log.text();
        let line = text.lines().find(|line| line.contains("listening for RTMPS"))?;
        line.split("address=").nth(1)?.split_whitespace().next()?.trim_matches('"').parse::<SocketAddr>().ok()
    });
    assert_eq!(shown(rtmps.port(), NAME), shown(ports.https, NAME));
    // What is kept is this user's own, and no secret is told.
    let dir = server.data_dir().join("acme");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> =
        std::fs::read_dir(&dir).expect("a directory").map(|file| file.expect("a file").path()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    let pem = std::fs::read_to_string(dir.join("certificate.pem")).expect("read");
    let account = std::fs::read_to_string(dir.join("account.json")).expect("read");
    let key = pem.lines().nth(1).expect("the key's first line");
    let account: serde_json::Value = serde_json::from_str(&account).expect("JSON");
    let of_account = account["credentials"]["key_pkcs8"].as_str().expect("a key");
    let metrics = server.metrics();
    for text in [server.log.text(), metrics.clone()] {
        assert!(!text.contains(key) && !text.contains(of_account) && !text.contains("PRIVATE KEY"), "{text}");
    }
    promtool_check(&metrics);
    assert!((samples(&server, "millstream_acme_orders_total", "issued") - 1.0).abs() < 0.5, "{metrics}");
    assert!(samples(&server, "millstream_tls_certificate_expiry_timestamp_seconds", "certificate.pem") > 1e9);
    // At two thirds of its life, which is of 90 days.
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs_f64();
    let days = (samples(&server, "millstream_acme_next_order_timestamp_seconds", "") - now_s) / 86_400.0;
    assert!((59.9..63.1).contains(&days), "{days}");
    assert_eq!((pebble.orders() > 0, pebble.accounts() > 0, said_failed(&server)), (true, true, 0));
}

#[test]
fn challenges_are_answered_while_they_are_pending_and_never_else() {
    let ports = Ports::free();
    let helpless = Helpless::start(Fault::Fails);
    let acme = format!("[acme]\ndirectory = \"{}\"\n", helpless.directory);
    let server = options(&ports, &[NAME], &acme).start();
    let get = |path: &str| http::get(server.http, path).status;
    for (path, status) in
        [("token", 404), ("", 404), (&*"x".repeat(200), 404), ("a/b", 404), ("..%2f..%2fetc", 400), ("a%00b", 400)]
    {
        assert_eq!(get(&format!("/.well-known/acme-challenge/{path}")), status, "{path}");
    }
    // No stream can be in the way.
    Publisher::start(server.rtmp, "stream", ".well-known").map(drop).expect_err("no name of a stream");
    // Without a certificate a handshake is refused, as an authority's is that nobody waits for.
    for alpn in ["http/1.1", "acme-tls/1"] {
        let said = s_client(ports.https, &["-servername", NAME, "-alpn", alpn]);
        assert!(said.contains("alert access denied"), "{said}");
    }
    assert!(server.log.has("there is no certificate to show"), "{}", server.log.text());
    assert!(server.healthy());
}

#[test]
fn port_443_is_enough() {
    let ports = Ports::free();
    let pebble = Pebble::start(&ports, LONG, &[]);
    // The authority finds nobody on its port 80.
    let elsewhere = Ports { http: Ports::free().http, https: ports.https };
    let acme = pebble.config() + "challenges = [\"tls-alpn-01\"]\n";
    let server = options(&elsewhere, &[NAME, "www.example.org"], &acme).start();
    has_issued(&server);
    let ca = pebble.root();
    let healthy = curl(&ca, ports.https, "www.example.org", "/healthz", &[]);
    assert_eq!(healthy.stdout, "ok\n", "{}", healthy.stderr);
    // Both names were looked at, and their sessions ended there.
    assert!(samples(&server, "millstream_closed_total", "acme_challenge") >= 2.0, "{}", server.metrics());
    // It is over: who comes as the authority did gets nothing.
    eventually("nothing is pending", seconds(5), || {
        s_client(ports.https, &["-servername", NAME, "-alpn", "acme-tls/1"]).contains("alert").then_some(())
    });
}

#[test]
fn a_restart_orders_nothing_and_other_names_do_while_what_there_is_stays_in_use() {
    let ports = Ports::free();
    let mut pebble = Pebble::start(&ports, LONG, &[]);
    let server = options(&ports, &[NAME], &pebble.config()).start();
    has_issued(&server);
    let first = shown(ports.https, NAME);
    let asked = (pebble.orders(), pebble.accounts());
    let server = options(&ports, &[NAME], &pebble.config()).start_in(server.kill());
    // At once, before anything could be ordered.
    assert_eq!(shown(ports.https, NAME), first);
    std::thread::sleep(seconds(3));
    assert_eq!((pebble.orders(), pebble.accounts()), asked);
    // Another name is ordered by the same account.
    let server = options(&ports, &[NAME, "new.example.org"], &pebble.config()).start_in(server.kill());
    assert_eq!(shown(ports.https, NAME), first);
    has_issued(&server);
    eventually("the new one is shown", seconds(10), || (shown(ports.https, NAME) != first).then_some(()));
    assert_eq!(shown(ports.https, NAME), shown(ports.https, "new.example.org"));
    assert_eq!(pebble.accounts(), asked.1);
    // An authority that has forgotten the account gets another one.
    let second = shown(ports.https, NAME);
    pebble.forget();
    let server = options(&ports, &["other.example.org"], &pebble.config()).start_in(server.kill());
    has_issued(&server);
    assert!(server.log.has("does not know the account"), "{}", server.log.text());
    eventually("it is shown", seconds(10), || (shown(ports.https, NAME) != second).then_some(()));
}

#[test]
fn a_renewal_replaces_the_certificate_and_who_watches_goes_on() {
    let ports = Ports::free();
    let pebble = Pebble::start(&ports, seconds(30), &[]);
    let server = options(&ports, &[NAME], &pebble.config()).start();
    has_issued(&server);
    let began = Instant::now();
    let first = shown(ports.https, NAME);
    let ca = pebble.root().display().to_string();
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    let (resolve, url) =
        (format!("{NAME}:{}:127.0.0.1", ports.https), format!("https://{NAME}:{}/cam/live.flv", ports.https));
    let file = server.data_dir().join("all.flv");
    let to = file.display().to_string();
    let mut watching =
        Tool::start("curl", &["-sS", "-m", "60", "-o", &to, "--cacert", &ca, "--resolve", &resolve, &url]);
    eventually("it is renewed", seconds(40), || (shown(ports.https, NAME) != first).then_some(()));
    let after = began.elapsed();
    assert!((seconds(14)..seconds(27)).contains(&after), "two thirds of 30 s: {after:?}");
    let seen = std::fs::metadata(&file).expect("written").len();
    eventually("the viewer gets more", seconds(10), || {
        (std::fs::metadata(&file).expect("written").len() > seen + 10_000).then_some(())
    });
    assert!(watching.running(), "{}", watching.stderr.text());
    assert_eq!((pebble.accounts(), said_failed(&server)), (1, 0), "{}", server.log.text());
    assert!(samples(&server, "millstream_acme_orders_total", "issued") >= 2.0);
}

/// As with a clock that is months ahead: an authority soon issues nothing more to who orders again at once.
#[test]
fn a_certificate_that_is_over_as_it_is_issued_is_a_failure_and_waited_after() {
    let ports = Ports::free();
    let pebble = Pebble::start(&ports, seconds(1), &[]);
    let server = options(&ports, &[NAME], &pebble.config()).start();
    eventually("it has failed", seconds(20), || (said_failed(&server) == 1).then_some(()));
    std::thread::sleep(seconds(3));
    assert_eq!(pebble.orders(), 1, "{}", server.log.text());
    assert!(server.log.has("look at this machine's clock"), "{}", server.log.text());
}

#[test]
fn a_name_that_does_not_lead_here_is_told_with_what_to_do() {
    let ports = Ports::free();
    let pebble = Pebble::start(&ports, LONG, &[]);
    let elsewhere = Ports::free();
    let server = options(&elsewhere, &[NAME], &(pebble.config() + "challenges = [\"http-01\"]\n")).start();
    eventually("it is told", seconds(60), || server.log.has(FAILED).then_some(()));
    let log = server.log.text();
    let line = log.lines().find(|line| line.contains(FAILED)).expect("a line");
    for words in [NAME, "http-01", "port 80 of this name", "there is no certificate", "in 2 min"] {
        assert!(line.contains(words), "{words}: {line}");
    }
    assert!(samples(&server, "millstream_acme_orders_total", "challenge") >= 1.0, "{}", server.metrics());
    assert!(server.healthy());
}

#[test]
fn an_authority_that_is_of_no_help_is_told_once_and_asked_again() {
    let ports = Ports::free();
    let helpless = Helpless::start(Fault::Limits(2));
    let acme = format!("[acme]\ndirectory = \"{}\"\n", helpless.directory);
    let server = options(&ports, &[NAME], &acme).start();
    eventually("it is told", seconds(10), || server.log.has(FAILED).then_some(()));
    assert!(server.log.has("has a limit that is reached"), "{}", server.log.text());
    // Once the time is over that it has asked for; for the same reason nothing is said.
    let first = Instant::now();
    eventually("it is asked again", seconds(10), || (helpless.asked() >= 2).then_some(()));
    assert!(first.elapsed() >= millis(1_500), "{:?}", first.elapsed());
    let count = || samples(&server, "millstream_acme_orders_total", "rate_limited");
    eventually("it has failed again", seconds(10), || (count() >= 2.0).then_some(()));
    assert_eq!(said_failed(&server), 1, "{}", server.log.text());
    assert!(server.healthy());
    // It is not asked every two seconds, only because it says so.
    std::thread::sleep(seconds(4));
    assert_eq!(helpless.asked(), 2);
    // Somebody who looks at the configuration is told.
    let config = server.data_dir().join("millstream.toml");
    let text = std::fs::read_to_string(&config)
        .expect("read")
        .replace("[acme]", &format!("[acme]\ndomains = [\"{NAME}\"]\nemail = \"you@example.org\""));
    let file = server.data_dir().join("checked.toml");
    let dir = server.data_dir().display().to_string();
    std::fs::write(&file, format!("[node]\ndata_dir = \"{dir}\"\n{text}")).expect("written");
    let done = millstream(&["check", file.to_str().expect("UTF-8")]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success() && said.contains("no certificate could be ordered") && said.contains("2 tries"),
        "{said}"
    );
    // Another reason is told; a restart tries again once a minute has passed since the last try.
    helpless.becomes(Fault::Limits(3_600));
    let dir = server.kill();
    std::fs::remove_file(dir.path().join("acme/state.json")).expect("removed");
    let server = options(&ports, &[NAME], &acme).start_in(dir);
    eventually("it is asked", seconds(10), || (helpless.asked() == 3 && server.log.has(FAILED)).then_some(()));
    // What it has asked for holds over a restart, and SIGHUP.
    let server = options(&ports, &[NAME], &acme).start_in(server.kill());
    server.hang_up();
    eventually("SIGHUP is taken", seconds(5), || server.log.has("all of it is in force").then_some(()));
    std::thread::sleep(seconds(3));
    assert_eq!(helpless.asked(), 3);
    // A start says how things are, although it asks nobody.
    assert!(server.log.has("no certificate could be ordered"), "{}", server.log.text());
}

#[test]
#[ignore = "slow: waits half a minute for the end of a request"]
fn an_authority_that_hangs_holds_up_nothing() {
    let ports = Ports::free();
    let helpless = Helpless::start(Fault::Hangs);
    let server = options(&ports, &[NAME], &format!("[acme]\ndirectory = \"{}\"\n", helpless.directory)).start();
    eventually("it is asked", seconds(10), || (helpless.asked() >= 1).then_some(()));
    let pushing = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    assert!(server.healthy());
    eventually("its time is over", seconds(45), || server.log.has("did not answer in time").then_some(()));
    eventually("it is counted", seconds(5), || {
        (samples(&server, "millstream_acme_orders_total", "unreachable") >= 1.0).then_some(())
    });
    assert!(pushing.alive() && server.healthy());
}

#[test]
fn what_cannot_be_ordered_is_refused_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().display().to_string();
    let said = |args: &[&str]| {
        let done = millstream(&[&["serve", "--data-dir", &data_dir], args].concat());
        assert_eq!(done.status.code(), Some(2), "{args:?}");
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    let email = ["--acme-email", "you@example.org"];
    for (domain, words) in [
        ("192.0.2.1", "is an address"),
        ("*.example.org", "dns-01"),
        ("https://live.example.org", "the name alone"),
        ("bücher.example", "xn--"),
        ("localhost", "no public name"),
    ] {
        let said = said(&[&["--domain", domain][..], &email].concat());
        assert!(said.contains(words), "{domain}: {said}");
    }
    assert!(said(&["--domain", NAME]).contains("--acme-email"));
    assert!(said(&["--domain", NAME, "--acme-email", "you"]).contains("not an address of electronic mail"));
    let file = dir.path().join("m.toml");
    let check = |config: &str| {
        std::fs::write(&file, config).expect("written");
        let done = millstream(&["check", file.to_str().expect("UTF-8")]);
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let good = "[acme]\ndomains = [\"live.example.org\"]\nemail = \"you@example.org\"\n";
    assert_eq!(check(good), (Some(0), String::new()));
    for (more, words) in [
        ("challenges = [\"dns-01\"]\n", "entries in the DNS"),
        ("directory = \"http://acme.example.org/dir\"\n", "not TLS"),
        ("ca = \"/nowhere/ca.pem\"\n", "cannot be read"),
        ("[http]\ntls_listen = \"\"\nlisten = \":8080\"\n[rtmp]\ntls_listen = \"\"\n", "listens on neither"),
    ] {
        let (_, said) = check(&(good.to_owned() + more));
        assert!(said.contains(words), "{more}: {said}");
    }
}
