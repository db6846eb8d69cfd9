//! Does what the command line asks, and says how that ended: exit status and error. Before it: [`crate::cli`]; after it: one module per command.
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command, OfHooks, with_tip};
use crate::failure::Failure;
use crate::settings::SettingsError;
use crate::{
    backup_command, check_command, config_command, demo, grant_key_command, hook_kit, paper_command,
    recordings_command, serve, sign_command, stream_command,
};

/// Does what the command line asks. clap has ended the process with status 2 where it makes no sense.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| with_tip(error).exit());
    let done = match cli.command {
        Command::Demo(flags) => demo::run(flags),
        Command::Serve(flags) => serve::run(*flags),
        Command::Sign(flags) => sign_command::run(&flags),
        Command::GrantKey(flags) => grant_key_command::run(&flags),
        Command::Check(flags) => check_command::run(&flags),
        Command::Stream(command) => stream_command::run(command),
        Command::Recordings(command) => recordings_command::run(command),
        Command::Hook(OfHooks::Kit(command)) => hook_kit::run(&command),
        #[cfg(feature = "hooks")]
        Command::Hook(OfHooks::Record(flags)) => crate::hook_record::run(&flags),
        #[cfg(feature = "hooks")]
        Command::Hook(OfHooks::Replay(flags)) => crate::hook_replay::run(&flags),
        Command::Config(flags) => config_command::run(&flags),
        Command::Backup(flags) => backup_command::run(&flags),
        Command::Completions { shell } => paper_command::completions(shell),
        Command::Man { dir } => paper_command::man(dir.as_deref()),
        #[cfg(feature = "transcode")]
        Command::Worker(flags) => crate::transcoding::work(*flags),
        #[cfg(feature = "hooks")]
        Command::HookCompiler => {
            millstream_hooks::compiler_main(std::io::stdin(), std::io::stdout()).map_err(Failure::running)
        }
    };
    let (status, error) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Configuration(error)) => (2, error),
        Err(Failure::Running(error)) => (1, error),
    };
    // A file's errors are lines that start with its path, as editors and CI jobs find them.
    let prefix = if error.is::<SettingsError>() { "" } else { "millstream: " };
    eprintln!("{prefix}{error:#}");
    ExitCode::from(status)
}
