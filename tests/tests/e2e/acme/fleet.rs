//! One certificate for a fleet: control orders and renews it, the authority comes to the nodes, and these have it while control is away.
use std::io::copy;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, seconds};
use tempfile::TempDir;

use super::authority::{Pebble, Ports};
use super::{LONG, NAME, curl, has_issued, said_failed, samples, shown};
use crate::fleet::{directory, free_address, node_directory, push};
use crate::tls::{Authority, NOW, https, rtmps};

/// Sends connections to two nodes in turn, as a balancer does, and counts them.
fn in_turn(port: u16, nodes: [SocketAddr; 2]) -> [Arc<AtomicUsize>; 2] {
    let counts = [(); 2].map(|()| Arc::<AtomicUsize>::default());
    let counted = counts.clone();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    // It ends with the test's process.
    std::thread::spawn(move || {
        for (n, client) in listener.incoming().flatten().enumerate() {
            counted[n % 2].fetch_add(1, Ordering::SeqCst);
            let server = TcpStream::connect(nodes[n % 2]).expect("the node listens");
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (mut from, mut to) = (from.try_clone().expect("cloned"), to.try_clone().expect("cloned"));
                std::thread::spawn(move || {
                    // Either end may be gone.
                    let _ = copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    counts
}

fn control(authority: &Authority, plain: SocketAddr, tls: SocketAddr) -> Options {
    let (pem, key) = (authority.path("control.pem"), authority.path("control.key"));
    let config = format!(
        "[tls]\ncertificates = [\"{}\"]\nkeys = [\"{}\"]\n[control]\ntls_listen = \"{tls}\"\n",
        pem.display(),
        key.display()
    );
    Options::signed().role("control").arg("--control", &plain.to_string()).config(&config)
}

/// A node that shows control's certificate, with a stream of its own.
fn node(name: &str, authority: &Authority, tls: SocketAddr, dir: TempDir) -> Server {
    let config = "[tls]\nfrom_control = true\n[http]\ntls_listen = \"127.0.0.1:0\"\n[rtmp]\ntls_listen = \"127.0.0.1:0\"\n\
                  [[stream]]\nid = \"cam\"\n";
    let node = Options::signed().role("node").shards(2).arg("--control-url", &format!("https://{tls}"));
    let ca = authority.path("ca.pem").display().to_string();
    node.arg("--node-name", name).env("SSL_CERT_FILE", &ca).config(config).start_in(dir)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn control_orders_one_certificate_for_all_nodes_which_have_it_while_control_is_away() {
    let authority = Authority::new();
    authority.certify("control", &["127.0.0.1"], NOW);
    let ports = Ports::free();
    let pebble = Pebble::start(&ports, LONG, &[]);
    let (plain, tls) = (free_address(), free_address());
    // It makes the keys that nodes have copies of.
    let first = control(&authority, plain, tls).start_in(directory());
    let dirs = [(); 2].map(|()| node_directory(&first));
    let dir = first.kill();
    let [one, two] = dirs;
    let one = node("one", &authority, tls, one);
    let two = node("two", &authority, tls, two);
    let asked = in_turn(ports.http, [one.http, two.http]);
    let acme = pebble.config() + "challenges = [\"http-01\"]\n";
    let ordering = control(&authority, plain, tls).config(&acme);
    let ordering = ordering.arg("--domain", NAME).arg("--domain", "www.example.org");
    let control = ordering.arg("--acme-email", "you@example.org").start_in(dir);
    eventually("a certificate is issued", seconds(90), || {
        control.log.has("the authority has issued a certificate").then_some(())
    });
    // Whichever node was asked has answered; nothing failed.
    assert!(asked.iter().all(|count| count.load(Ordering::SeqCst) > 0), "{asked:?}");
    assert!(!control.log.has("a certificate cannot be ordered"), "{}", control.log.text());
    assert!(control.log.has("nodes answer the authority's challenges"), "{}", control.log.text());
    for node in [&one, &two] {
        eventually("the node has it", seconds(20), || node.log.has("certificate in use").then_some(()));
        let healthy = curl(&pebble.root(), https(node).port(), NAME, "/healthz", &[]);
        assert_eq!(healthy.stdout, "ok\n", "{}", healthy.stderr);
        assert_eq!(shown(rtmps(node).port(), NAME), shown(https(&one).port(), "www.example.org"));
    }
    // Each has it in its own directory, for its user alone, and control alone has the account.
    let file = |server: &Server| server.data_dir().join("acme/certificate.pem");
    let pem = std::fs::read_to_string(file(&control)).expect("read");
    for node in [&one, &two] {
        assert_eq!(std::fs::read_to_string(file(node)).expect("read"), pem);
        assert_eq!((mode(&file(node)), mode(file(node).parent().expect("a directory"))), (0o600, 0o700));
        assert!(!node.data_dir().join("acme/account.json").exists());
    }
    assert_eq!(mode(&control.data_dir().join("acme/account.json")), 0o600);
    // No secret is told: not in logs, not in what is kept of control's state, not by the API.
    let key = pem.lines().nth(1).expect("the key's first line").to_owned();
    let mut api = Client::admin(&control);
    let mut texts = vec![one.log.text(), two.log.text(), control.log.text(), one.metrics(), control.metrics()];
    texts.extend(["/api/v1/config", "/api/v1/nodes", "/api/v1/tls"].map(|path| api.get(path).is(200).json.to_string()));
    texts.push(std::fs::read_to_string(one.data_dir().join("node-state.json")).expect("kept"));
    for text in texts {
        assert!(!text.contains(&key) && !text.contains("PRIVATE KEY"), "{text}");
    }
    // Where it could be read on the way, it is not sent, whoever asks.
    let sha256 = Tool::start("sha256sum", &[&file(&one).display().to_string()]).wait(seconds(10)).stdout;
    let sha256 = sha256.split_whitespace().next().expect("a digest").to_owned();
    let token = std::fs::read_to_string(control.data_dir().join("node-token")).expect("read");
    let ca = authority.path("ca.pem").display().to_string();
    let ask = |url: &str, token: &str| {
        let bearer = format!("Authorization: Bearer {token}");
        let url = format!("{url}/link/v1/certificates/{sha256}");
        Tool::start("curl", &["-sS", "-w", "%{http_code}", "-H", &bearer, "--cacert", &ca, &url])
            .wait(seconds(20))
            .stdout
    };
    let refused = ask(&format!("http://{plain}"), token.trim());
    assert!(refused.contains("not encrypted") && refused.ends_with("403") && !refused.contains(&key), "{refused}");
    assert!(ask(&format!("https://{tls}"), "nonsense").ends_with("401"));
    assert!(ask(&format!("https://{tls}"), token.trim()).starts_with(&pem), "a node is given it");
    // A node that starts while control is away shows what it has.
    let before = shown(https(&two).port(), NAME);
    drop(control.kill());
    let two = node("two", &authority, tls, two.kill());
    assert_eq!(shown(https(&two).port(), NAME), before);
}

/// A server that has a certificate becomes control of a fleet, so that the test waits for a renewal and not for a first certificate before it.
#[test]
fn a_renewal_reaches_all_nodes_of_a_fleet_and_who_watches_goes_on() {
    let authority = Authority::new();
    authority.certify("control", &["127.0.0.1"], NOW);
    let ports = Ports::free();
    // Renewed at two thirds of that. Control orders nothing in its first 12 s, in which nodes come back.
    let pebble = Pebble::start(&ports, seconds(21), &[]);
    let acme = pebble.config() + "challenges = [\"http-01\"]\n";
    let ordering = |server: Options| server.arg("--domain", NAME).arg("--acme-email", "you@example.org").config(&acme);
    let alone = Options::signed().shards(1).arg("--http", &format!("127.0.0.1:{}", ports.http));
    let alone = ordering(alone).config("[http]\ntls_listen = \"127.0.0.1:0\"\n").start();
    has_issued(&alone);
    let first = shown(https(&alone).port(), NAME);
    let [one, two] = [(); 2].map(|()| node_directory(&alone));
    let dir = alone.kill();
    let (plain, tls) = (free_address(), free_address());
    let control = ordering(control(&authority, plain, tls)).start_in(dir);
    let nodes = [node("one", &authority, tls, one), node("two", &authority, tls, two)];
    let asked = in_turn(ports.http, [nodes[0].http, nodes[1].http]);
    // A viewer of each, by either version of HTTP.
    let watch = |node: &Server, version: &str| {
        let port = https(node).port();
        eventually("the node has control's certificate", seconds(10), || {
            node.log.has("certificate in use").then_some(())
        });
        assert_eq!(shown(port, NAME), first);
        let pushing = push(node, node, "cam").expect("its own stream").repeat(Clip::small());
        let (ca, file) = (pebble.root().display().to_string(), node.data_dir().join("seen.flv"));
        let (resolve, url) = (format!("{NAME}:{port}:127.0.0.1"), format!("https://{NAME}:{port}/cam/live.flv"));
        let to = file.display().to_string();
        let args = ["-sS", version, "-m", "60", "-o", &to, "--cacert", &ca, "--resolve", &resolve, &url];
        (pushing, Tool::start("curl", &args), file)
    };
    let mut watching = [watch(&nodes[0], "--http1.1"), watch(&nodes[1], "--http2")];
    let renewed = nodes.each_ref().map(|node| {
        eventually("the node shows another certificate", seconds(30), || {
            Some(shown(https(node).port(), NAME)).filter(|shown| *shown != first)
        })
    });
    assert_eq!(renewed[0], renewed[1], "one certificate for both");
    assert_eq!(shown(rtmps(&nodes[0]).port(), NAME), renewed[1]);
    for (_, viewer, file) in &mut watching {
        let bytes = || std::fs::metadata(&*file).map_or(0, |file| file.len());
        let seen = bytes();
        eventually("its viewer gets more", seconds(10), || (bytes() > seen + 10_000).then_some(()));
        assert!(seen > 0 && viewer.running(), "{}", viewer.stderr.text());
    }
    // By the account that the server had, and by the nodes: control has no port that the authority could come to.
    assert!(asked.iter().any(|count| count.load(Ordering::SeqCst) > 0), "{asked:?}");
    assert_eq!((pebble.accounts(), said_failed(&control)), (1, 0), "{}", control.log.text());
    assert!((samples(&control, "millstream_acme_orders_total", "issued") - 1.0).abs() < 0.5, "one order is enough");
}

#[test]
fn a_node_does_not_take_a_key_over_a_plain_link() {
    let dir = directory();
    let file = dir.path().join("m.toml");
    let config = "[node]\nrole = \"node\"\n[control]\nurl = \"http://127.0.0.1:8081\"\n[tls]\nfrom_control = true\n";
    std::fs::write(&file, config).expect("written");
    let done = millstream_tests::server::millstream(&["check", file.to_str().expect("UTF-8")]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("tls.from_control") && said.contains("not TLS"), "{said}");
}
