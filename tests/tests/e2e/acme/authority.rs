//! Authorities for the tests of certificates that are ordered: Pebble, which checks each step as Let's Encrypt does, with a name server that sends it
//! to this machine; and one that only refuses, waits or hangs.
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_tests::tools::Tool;
use millstream_tests::{eventually, seconds};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use crate::fleet::free_address;

/// Where an authority comes to look for answers, and how it is to behave.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) http: u16,
    pub(super) https: u16,
}

impl Ports {
    /// Ports that nobody has yet.
    pub(super) fn free() -> Self {
        Self { http: free_address().port(), https: free_address().port() }
    }
}

/// A running Pebble.
#[derive(Debug)]
pub(super) struct Pebble {
    dir: TempDir,
    authority: Tool,
    _names: Tool,
    names_at: String,
    listens: String,
    manages: String,
}

impl Pebble {
    /// Certificates of it are valid for so long; `env`: what it does at random.
    pub(super) fn start(ports: &Ports, valid: Duration, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let key = KeyPair::generate().expect("a key");
        let own = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name").self_signed(&key).expect("signed");
        std::fs::write(dir.path().join("own.pem"), own.pem()).expect("written");
        std::fs::write(dir.path().join("own.key"), key.serialize_pem()).expect("written");
        let [listens, manages, names_at, of_names] = [(); 4].map(|()| free_address().to_string());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let config = json!({ "pebble": {
            "listenAddress": listens,
            "managementListenAddress": manages,
            "certificate": path("own.pem"),
            "privateKey": path("own.key"),
            "httpPort": ports.http,
            "tlsPort": ports.https,
            "certificateValidityPeriod": valid.as_secs(),
        }});
        std::fs::write(dir.path().join("pebble.json"), config.to_string()).expect("written");
        // Any name is this machine.
        #[rustfmt::skip]
        let names = Tool::start("pebble-challtestsrv", &[
            "-dns01", &names_at, "-management", &of_names, "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "",
        ]);
        let authority = Self::run(&dir, &names_at, env);
        let pebble = Self { dir, authority, _names: names, names_at, listens, manages };
        pebble.listening();
        pebble
    }

    fn run(dir: &TempDir, names_at: &str, env: &[(&str, &str)]) -> Tool {
        let mut command = std::process::Command::new("pebble");
        // What it does at random is for the tests that ask for it.
        command.arg("-config").arg(dir.path().join("pebble.json")).args(["-dnsserver", names_at]);
        command
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            .envs(env.iter().copied());
        Tool::spawn(&mut command)
    }

    fn listening(&self) {
        let said = "ACME directory available";
        eventually("Pebble listens", seconds(20), || self.authority.stdout.has(said).then_some(()));
    }

    /// Ends it and starts it again: it has forgotten all accounts and orders, and has another key.
    pub(super) fn forget(&mut self) {
        self.authority.kill();
        self.authority = Self::run(&self.dir, &self.names_at, &[]);
        self.listening();
    }

    /// The `[acme]` table for it.
    pub(super) fn config(&self) -> String {
        let ca = self.dir.path().join("own.pem");
        format!("[acme]\ndirectory = \"https://{}/dir\"\nca = \"{}\"\n", self.listens, ca.display())
    }

    /// The file with the root of what it issues.
    pub(super) fn root(&self) -> PathBuf {
        let (ca, file) = (self.dir.path().join("own.pem").display().to_string(), self.dir.path().join("root.pem"));
        let url = format!("https://{}/roots/0", self.manages);
        let to = file.display().to_string();
        let done = Tool::start("curl", &["-sS", "-f", "--cacert", &ca, "-o", &to, &url]).wait(seconds(20));
        assert!(done.status.success(), "{}", done.stderr);
        file
    }

    /// The paths that it has asked for over HTTP, at least one.
    pub(super) fn challenges(&self) -> Vec<String> {
        let said = self.authority.stdout.text();
        let mark = "/.well-known/acme-challenge/";
        let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let tokens = said.split(mark).skip(1).map(|rest| rest.split(ends).next().unwrap_or_default());
        let paths: Vec<_> = tokens.map(|token| format!("{mark}{token}")).collect();
        assert!(!paths.is_empty(), "{said}");
        paths
    }

    /// How often it was asked for this: `new-order` and `new-account` by its own words.
    pub(super) fn asked(&self, path: &str) -> usize {
        self.authority.stdout.text().matches(&format!("POST /{path} ")).count()
    }

    pub(super) fn orders(&self) -> usize {
        self.asked("order-plz")
    }

    pub(super) fn accounts(&self) -> usize {
        self.asked("sign-me-up")
    }
}

/// What an authority does that is of no help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// It takes requests and says nothing.
    Hangs,
    /// It asks to be left alone for so many seconds.
    Limits(u32),
    /// It is broken.
    Fails,
}

/// An authority that is of no help, on this machine and without TLS.
#[derive(Debug)]
pub(super) struct Helpless {
    pub(super) directory: String,
    fault: Arc<Mutex<Fault>>,
    asked: Arc<AtomicUsize>,
}

impl Helpless {
    pub(super) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let directory = format!("http://{}/dir", listener.local_addr().expect("bound"));
        let (fault, asked) = (Arc::new(Mutex::new(fault)), Arc::<AtomicUsize>::default());
        let (of_thread, counter) = (Arc::clone(&fault), Arc::clone(&asked));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let fault = *of_thread.lock().unwrap_or_else(PoisonError::into_inner);
                std::thread::spawn(move || answer(socket, fault));
            }
        });
        Self { directory, fault, asked }
    }

    pub(super) fn becomes(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// How often somebody has come.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(mut socket: TcpStream, fault: Fault) {
    let mut request = [0; 4096];
    if socket.read(&mut request).is_err() {
        return;
    }
    let body = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many of you"}"#;
    let head = match fault {
        Fault::Hangs => {
            // Until the client has had enough.
            let _ = socket.read(&mut request);
            return;
        }
        Fault::Limits(seconds) => format!("429 Too Many Requests\r\nRetry-After: {seconds}"),
        Fault::Fails => "500 Internal Server Error".to_owned(),
    };
    // The client may be gone.
    let _ = write!(
        socket,
        "HTTP/1.1 {head}\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}
