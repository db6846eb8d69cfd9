//! The worker alone, for its tests and measurements; in the product it is a subcommand of the node's binary.
use std::process::ExitCode;

fn main() -> ExitCode {
    match millstream_worker::run(std::io::stdin().lock(), std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
