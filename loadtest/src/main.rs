//! The binary: what can be asked, and how a run is shown while it runs. Exit status: 0 passed, 1 failed, 2 bad usage or plan, 3 void (the
//! machine was too busy for the times to mean something).
#![forbid(unsafe_code)]

mod cli;
mod progress;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
