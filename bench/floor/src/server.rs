//! A server under measurement, in a process of its own on a core of its own: the product or a baseline.
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::baseline::Backend;
use crate::cli::Policy;
use crate::publisher::{STREAM, Wire};

const PATIENCE: Duration = Duration::from_secs(15);

/// What competes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Contender {
    /// The product, with a name and its `--io`.
    Product {
        /// What the report calls it.
        name: String,
        /// The binary.
        binary: PathBuf,
        /// `uring` or `epoll`.
        io: &'static str,
    },
    /// A baseline.
    Baseline(Backend),
}

impl Contender {
    /// What the report calls it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Product { name, .. } => name.clone(),
            Self::Baseline(Backend::Uring) => "floor: raw io_uring".to_owned(),
            Self::Baseline(Backend::Epoll) => "floor: bare epoll".to_owned(),
            Self::Baseline(Backend::Sendfile) => "floor: sendfile".to_owned(),
            Self::Baseline(backend) => format!("baseline: {backend:?}").to_lowercase(),
        }
    }
}

/// A running server; ended when it is dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it is published to.
    pub(crate) publish: SocketAddr,
    /// What is spoken there.
    pub(crate) wire: Wire,
    /// Where viewers connect.
    pub(crate) play: SocketAddr,
    /// What they ask for.
    pub(crate) path: String,
}

impl Server {
    /// Starts it on that core.
    pub(crate) fn start(
        contender: &Contender,
        policy: Policy,
        viewers: usize,
        core: usize,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        // Where the comparison is killed its server goes, too.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "taskset", "-c", &core.to_string()]).stdin(Stdio::null());
        match contender {
            Contender::Product { binary, io, .. } => Self::product(command, binary, io, policy, dir),
            Contender::Baseline(backend) => {
                let backend = format!("{backend:?}").to_lowercase();
                command.arg(std::env::current_exe()?).args(["serve", &backend, policy.label(), &viewers.to_string()]);
                let mut child = command.stdout(Stdio::piped()).spawn().context("setpriv (util-linux) is missing")?;
                let mut line = String::new();
                BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, line.trim().parse().context("the twin ended")?));
                Ok(Self { child, publish: address, wire: Wire::Tags, play: address, path: "/".to_owned() })
            }
        }
    }

    fn product(mut command: Command, binary: &Path, io: &str, policy: Policy, dir: &Path) -> anyhow::Result<Self> {
        let (config, log) = (dir.join("millstream.toml"), dir.join("millstream.log"));
        let text = format!(
            "[stream_defaults]\nflush = \"{}\"\n[limits]\nconnections = 100000\nper_address = 100000\n",
            policy.label()
        );
        std::fs::write(&config, text)?;
        command.arg(binary).args(["serve", "--auth", "open", "--shards", "1", "--io", io]);
        command.args(["--rtmp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(dir.join("data")).arg("--config").arg(&config).stdout(Stdio::null());
        let mut child = command.stderr(File::create(&log)?).spawn().context("setpriv (util-linux) is missing")?;
        let start = Instant::now();
        loop {
            let text = std::fs::read_to_string(&log)?;
            let address = |listener: &str| {
                let line = text.lines().find(|line| line.contains(&format!("listening for {listener} ")))?;
                line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
            };
            if let (Some(publish), Some(play)) = (address("RTMP"), address("HTTP")) {
                return Ok(Self { child, publish, wire: Wire::Rtmp, play, path: format!("/{STREAM}/live.flv") });
            }
            if child.try_wait()?.is_some() || start.elapsed() > PATIENCE {
                bail!("{} does not start:\n{text}", binary.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
