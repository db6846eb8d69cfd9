//! The worker alone, for its tests and measurements; in the product it is a subcommand of the node's binary. An argument is the font for text.
use std::path::PathBuf;
use std::process::ExitCode;

use millstream_worker::mark::Fonts;

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let font = std::env::args_os().nth(1).map(PathBuf::from);
    let fonts = Fonts::open(font.as_deref())?;
    Ok(millstream_worker::run(std::io::stdin().lock(), std::io::stdout(), fonts)?)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
