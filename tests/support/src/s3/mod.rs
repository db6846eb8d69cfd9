//! A real S3 server (s3s-fs) as a child process, and a proxy in front of it that misbehaves by script. Before it: tests of what is stored;
//! after it: a temporary directory of theirs.
pub mod proxy;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// The credentials that the server knows.
pub const ACCESS_KEY_ID: &str = "AKIAMILLSTREAMTEST";
pub const SECRET_ACCESS_KEY: &str = "secret-of-the-test-server";
/// How long the server may take to listen.
const START: Duration = Duration::from_secs(20);

/// The server; ended when dropped. A bucket is a directory below its root.
#[derive(Debug)]
pub struct S3Server {
    child: Child,
    address: SocketAddr,
    root: PathBuf,
}

impl S3Server {
    /// Starts it on a free port of loopback. The program is `s3s-fs` of the path, or what `S3S_FS` names.
    pub fn start(root: &Path) -> anyhow::Result<Self> {
        Self::start_with(root, &["--access-key", ACCESS_KEY_ID, "--secret-key", SECRET_ACCESS_KEY])
    }

    /// The same for everybody, as a bucket with a policy that allows that: it takes no signed requests.
    pub fn start_open(root: &Path) -> anyhow::Result<Self> {
        Self::start_with(root, &[])
    }

    fn start_with(root: &Path, credentials: &[&str]) -> anyhow::Result<Self> {
        let program = std::env::var_os("S3S_FS").unwrap_or_else(|| "s3s-fs".into());
        // Another process may take a port between the look and the start.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let mut child = Command::new(&program)
                .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
                .args(credentials)
                .arg(root)
                .env("RUST_LOG", "off")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .with_context(|| {
                    format!(
                        "cannot start {}: install it with `cargo install s3s-fs@0.14.1 --features binary --locked`",
                        program.display()
                    )
                })?;
            let deadline = Instant::now() + START;
            while child.try_wait()?.is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Ok(Self { child, address, root: root.to_owned() });
                }
                if Instant::now() > deadline {
                    child.kill()?;
                    bail!("s3s-fs does not listen");
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        bail!("s3s-fs ends at once")
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The process, for tests that measure or stop it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn make_bucket(&self, name: &str) -> anyhow::Result<()> {
        Ok(std::fs::create_dir(self.root.join(name))?)
    }

    /// Uploads in parts that were begun and neither completed nor aborted, and parts of theirs.
    pub fn unfinished_uploads(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(".upload-") || name.starts_with(".upload_id-") {
                found.push(name);
            }
        }
        Ok(found)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
