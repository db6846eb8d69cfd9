//! The worker alone, for its tests and measurements; in the product it is a subcommand of the node's binary. Arguments: the font for text (empty: the built-in one), the path of an `ffmpeg`, and what it encodes with.
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use millstream_worker::ffmpeg::{CHILD, FfmpegSettings, STARTER, become_ffmpeg, serve_starter};
use millstream_worker::mark::Fonts;

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [flag, program] if flag == STARTER => return Ok(serve_starter(Path::new(program), &[])?),
        [flag, program, _, rest @ ..] if flag == CHILD => return Err(become_ffmpeg(Path::new(program), rest).into()),
        _ => {}
    }
    let font = arguments.first().filter(|font| !font.is_empty()).map(PathBuf::from);
    let fonts = Fonts::open(font.as_deref())?;
    let encoder = arguments.get(2).map(|name| name.to_string_lossy().parse()).transpose()?;
    let ffmpeg = arguments.get(1).map(|program| FfmpegSettings {
        program: PathBuf::from(program),
        encoder,
        own_arguments: Vec::new(),
    });
    Ok(millstream_worker::run(std::io::stdin().lock(), std::io::stdout(), (fonts, &[]), ffmpeg.as_ref())?)
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
