//! The compiler's process: compiling takes seconds of CPU and much memory, and its input is an operator's.
//!
//! The server runs itself with a hidden subcommand ([`COMMAND`]) that calls [`compiler_main`]. To the child go a line of JSON and the
//! module; back come a line of JSON and the code. The child lowers its own priority and limits its own memory, time and threads.
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::artifact::Artifact;
use crate::cache::MAX_ARTIFACT_BYTES;
use crate::compile::{Compiled, Report};
use crate::refused::Refused;
use crate::runtime::Runtime;
use crate::text::clean;
use crate::world::{MAX_MODULE_BYTES, World};

/// The subcommand of the binary that calls [`compiler_main`].
pub const COMMAND: &str = "hook-compiler";
/// Address space of the child: what a module of the largest size needs, with room.
const ADDRESS_SPACE_BYTES: u64 = 2 << 30;
/// CPU time of the child.
const CPU_SECONDS: u64 = 300;
const THREADS: usize = 2;
/// How much below the server's own priority.
const NICE: i32 = 10;
const MAX_STDERR_BYTES: u64 = 4096;
const MAX_LINE_BYTES: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Order {
    world: World,
    module_bytes: usize,
}

#[derive(Serialize, Deserialize)]
enum Outcome {
    Compiled { report: Report, fingerprint: [u8; 32], code_bytes: usize },
    Refused(Refused),
}

/// What the compiler's process does: limits itself, compiles one module, and returns.
pub fn compiler_main(input: impl Read, mut output: impl Write) -> io::Result<()> {
    limit_self()?;
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    let order: Order = serde_json::from_slice(&line)?;
    let mut module = vec![0; order.module_bytes.min(MAX_MODULE_BYTES + 1)];
    input.read_exact(&mut module)?;
    let runtime = Runtime::without_pool().map_err(io::Error::other)?;
    let (outcome, code) = match runtime.compile(&module, order.world) {
        Ok(Compiled { report, artifact }) => {
            let fingerprint = artifact.fingerprint();
            (Outcome::Compiled { report, fingerprint, code_bytes: artifact.size() }, Some(artifact))
        }
        Err(refused) => (Outcome::Refused(refused), None),
    };
    serde_json::to_writer(&mut output, &outcome)?;
    output.write_all(b"\n")?;
    output.write_all(code.as_ref().map_or(&[], Artifact::code))?;
    output.flush()
}

fn limit_self() -> io::Result<()> {
    // Dies with the server, whatever it does at that moment.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    nice(NICE)?;
    let limit = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::As, limit(ADDRESS_SPACE_BYTES))?;
    setrlimit(Resource::Cpu, limit(CPU_SECONDS))?;
    setrlimit(Resource::Core, limit(0))?;
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global().map_err(io::Error::other)
}

/// Ends the child when nobody waits for it any more.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Compiles a module in a process of its own: `exe hook-compiler`, where `exe` is this very program. Blocks for as long as that takes.
pub fn compile_in_child(exe: &Path, module: &[u8], world: World, timeout: Duration) -> Result<Compiled, Refused> {
    if module.len() > MAX_MODULE_BYTES {
        return Err(Refused::TooLarge { bytes: module.len(), max: MAX_MODULE_BYTES });
    }
    let failed = |what: String| Refused::Compiler(what);
    let mut command = Command::new(exe);
    command.arg(COMMAND).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| failed(format!("did not start ({}): {error}", exe.display())))?;
    let mut child = Killed(child);
    let ends = Instant::now() + timeout;
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take())
    else {
        return Err(failed("has no pipes".into()));
    };
    let (sender, receiver) = mpsc::sync_channel(1);
    let answer = thread::scope(|scope| {
        // Each pipe has a thread, so that none of them waits for another. All of them end when the child does.
        scope.spawn(move || {
            let order = serde_json::to_vec(&Order { world, module_bytes: module.len() }).unwrap_or_default();
            // The child may refuse before it has read all: its answer says why.
            let _ =
                stdin.write_all(&order).and_then(|()| stdin.write_all(b"\n")).and_then(|()| stdin.write_all(module));
        });
        let complaint = scope.spawn(move || drained(stderr));
        scope.spawn(move || {
            let _ = sender.send(read_outcome(stdout));
        });
        let answer = receiver.recv_timeout(ends.saturating_duration_since(Instant::now()));
        let killed = answer.is_err();
        if killed {
            let _ = child.0.kill();
        }
        let status = child.0.wait().map(|status| status.to_string()).unwrap_or_default();
        let complaint = complaint.join().unwrap_or_default();
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            _ if killed => {
                Err(failed(format!("was stopped after {} s: the module takes too long to compile", timeout.as_secs())))
            }
            _ => Err(failed(format!(
                "ended without an answer ({status}): a module that needs more than {} GiB to compile ends so. {}",
                ADDRESS_SPACE_BYTES >> 30,
                clean(&complaint, 512)
            ))),
        }
    })?;
    let (outcome, code) = answer;
    match outcome {
        Outcome::Refused(refused) => Err(refused),
        Outcome::Compiled { report, fingerprint, .. } => {
            let sha256 = Sha256::digest(module).into();
            Ok(Compiled { report, artifact: Artifact::trusted(sha256, world, fingerprint, code) })
        }
    }
}

fn read_outcome(stdout: impl Read) -> io::Result<(Outcome, Vec<u8>)> {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    stdout.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    let outcome: Outcome = serde_json::from_slice(&line)?;
    let mut code = Vec::new();
    if let Outcome::Compiled { code_bytes, .. } = &outcome {
        stdout.take(MAX_ARTIFACT_BYTES).read_to_end(&mut code)?;
        if code.len() != *code_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((outcome, code))
}

/// The beginning of it; the rest is read and dropped, so that the writer does not wait.
fn drained(mut stderr: impl Read) -> String {
    let mut text = Vec::new();
    let _ = stderr.by_ref().take(MAX_STDERR_BYTES).read_to_end(&mut text);
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&text).into_owned()
}
