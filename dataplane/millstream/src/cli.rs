//! The command line: what can be asked. Before it: `main`; after it: `commands`, which does it.
//!
//! Every setting has an environment variable below its flag, `MILLSTREAM_` and its name; what a command is to do (`sign`'s
//! arguments) has none. Secrets are in files and never in either.
#[cfg(feature = "transcode")]
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use millstream_acme::{Domain, check_email};
#[cfg(feature = "transcode")]
use millstream_fleet::http::url::Url;
use millstream_proto::id::Id;
#[cfg(feature = "transcode")]
use millstream_transcoder::{EncoderChoice, EncoderName, FfmpegChoice};

pub(crate) use crate::failure::Failure;
#[cfg(feature = "transcode")]
use crate::flags::LogFlags;
use crate::flags::{ApiFlags, EngineFlags};
use crate::hook_flags::{DemoHookFlags, HookCommand};
use crate::recordings_command::RecordingsCommand;
#[cfg(feature = "transcode")]
use crate::settings::transcode;
use crate::settings::values::{self, AuthPreset, Role};
use crate::sign_command::Expiry;

/// Live streaming: RTMP in; HTTP-FLV, low-latency HLS, DASH and RTMP out.
#[derive(Debug, Parser)]
#[command(name = "millstream", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine with a built-in test stream, and print what to open
    Demo(DemoFlags),
    /// Run the server
    Serve(Box<ServeFlags>),
    /// Print the sign= value of a stream's push URL
    Sign(SignFlags),
    /// Print the key that play grants are checked with, for a CDN's edges
    GrantKey(GrantKeyFlags),
    /// Read a configuration file and say what is wrong with it
    Check(CheckFlags),
    /// Make, list and remove streams of a running server, and show what to give their encoders
    #[command(subcommand)]
    Stream(StreamCommand),
    /// List, begin, end and remove recordings of a running server
    #[command(subcommand)]
    Recordings(RecordingsCommand),
    /// Make, test and measure hooks: WebAssembly that decides who publishes and plays, and more
    #[command(subcommand)]
    Hook(OfHooks),
    /// Print the whole configuration with defaults and comments, to begin a file with
    Config(ConfigFlags),
    /// Write a consistent copy of the store, also while the server runs
    Backup(BackupFlags),
    /// Print what completes command lines in a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page, or write one per command into a directory
    Man {
        /// Where to write them
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Make renditions, snapshots and motion for nodes of other machines
    #[cfg(feature = "transcode")]
    #[command(name = crate::transcoding::COMMAND)]
    Worker(Box<WorkerFlags>),
    /// Compile a hook for the server that started this process
    #[cfg(feature = "hooks")]
    #[command(name = millstream_hooks::COMMAND, hide = true)]
    HookCompiler,
}

/// What `millstream hook` does: what needs no server, and what asks one.
#[derive(Debug, Subcommand)]
pub(crate) enum OfHooks {
    #[command(flatten)]
    Kit(HookCommand),
    /// Take what a hook of a running server has decided into a file of events, without tokens and other secrets
    #[cfg(feature = "hooks")]
    Record(Box<crate::hook_record::RecordFlags>),
    /// Ask a module what a hook has decided before, and list where it decides differently; nothing is kept
    #[cfg(feature = "hooks")]
    Replay(Box<crate::hook_replay::ReplayFlags>),
}

/// `millstream worker`: for nodes of other machines, or what a server, or a worker, starts this program with.
#[cfg(feature = "transcode")]
#[derive(Debug, Args)]
pub(crate) struct WorkerFlags {
    #[command(flatten)]
    pub(crate) far: FarFlags,
    /// The font of text over pictures [default: a built-in one, and one of this machine for Chinese, Japanese and Korean]
    #[arg(long, value_name = "FILE")]
    pub(crate) font: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) child: ChildFlags,
}

/// A worker of other machines' nodes.
#[cfg(feature = "transcode")]
#[derive(Debug, Args)]
pub(crate) struct FarFlags {
    /// Where control is, which says whose worker this is: https://HOST, or http:// on this machine
    #[arg(long, env = "MILLSTREAM_CONTROL_URL", value_name = "URL", value_parser = values::control_url, requires = "token_file")]
    pub(crate) control_url: Option<Url>,
    /// A file with the token of control's workers: worker-token of control's data directory
    #[arg(long, env = "MILLSTREAM_WORKER_TOKEN_FILE", value_name = "FILE", requires = "control_url")]
    pub(crate) token_file: Option<PathBuf>,
    /// What this worker is called in its fleet; each has a name of its own [default: the machine's name]
    #[arg(long, env = "MILLSTREAM_WORKER_NAME", value_name = "NAME", value_parser = values::node_name)]
    pub(crate) name: Option<String>,
    /// Let control be reached without TLS, as in a private network: the token can be read on the way
    #[arg(long, env = "MILLSTREAM_CONTROL_PLAIN")]
    pub(crate) control_plain: bool,
    /// Which ffmpeg decodes what the built-in decoder does not: auto (the one in PATH, if there is one), off, or a path [default: auto]
    #[arg(long, env = "MILLSTREAM_FFMPEG", value_name = "auto|off|FILE", value_parser = transcode::ffmpeg)]
    pub(crate) ffmpeg: Option<FfmpegChoice>,
    /// What renditions in H.264 are encoded with: openh264, or ffmpeg: and the name of an encoder of it [default: openh264]
    #[arg(long, env = "MILLSTREAM_ENCODER", value_name = "NAME", value_parser = transcode::h264_encoder)]
    pub(crate) encoder: Option<EncoderChoice>,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// What the server, or a worker, starts this program with.
#[cfg(feature = "transcode")]
#[derive(Debug, Args)]
pub(crate) struct ChildFlags {
    /// It may run motion hooks
    #[arg(long, hide = true)]
    pub(crate) hooks: bool,
    /// A port that it connects to; it connects to no other
    #[arg(long = "port", value_name = "PORT", hide = true)]
    pub(crate) ports: Vec<u16>,
    /// The ffmpeg that decodes what is not decoded here
    #[arg(long = "with-ffmpeg", id = "with_ffmpeg", value_name = "FILE", hide = true)]
    pub(crate) ffmpeg: Option<PathBuf>,
    /// The encoder of ffmpeg that makes renditions
    #[arg(long = "with-encoder", id = "with_encoder", value_name = "NAME", hide = true)]
    pub(crate) encoder: Option<EncoderName>,
    /// Start that ffmpeg for the worker that started this process
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) ffmpeg_starter: Option<PathBuf>,
    /// Become that ffmpeg
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) ffmpeg_child: Option<PathBuf>,
    /// What it is given
    #[arg(last = true, hide = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoFlags {
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
    #[command(flatten)]
    pub(crate) hook: DemoHookFlags,
}

#[derive(Debug, Args)]
pub(crate) struct ServeFlags {
    /// Configuration file (TOML)
    #[arg(short, long, env = "MILLSTREAM_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Data directory [default: ./millstream-data]
    #[arg(long, env = "MILLSTREAM_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What this process does for its fleet: all, node (media) or control (API) [default: all]
    #[arg(long, env = "MILLSTREAM_ROLE", value_name = "all|node|control", value_parser = values::role)]
    pub(crate) role: Option<Role>,
    /// Let other machines reach the control port without TLS, as for a proxy that has it: tokens can be read on the way
    #[arg(long, env = "MILLSTREAM_CONTROL_PLAIN")]
    pub(crate) control_plain: bool,
    /// Where a node's control is: https://HOST, or http:// on this machine
    #[arg(long, env = "MILLSTREAM_CONTROL_URL", value_name = "URL")]
    pub(crate) control_url: Option<String>,
    /// A file with the token of control's nodes [default: node-token in the data directory]
    #[arg(long, env = "MILLSTREAM_CONTROL_TOKEN_FILE", value_name = "FILE")]
    pub(crate) control_token_file: Option<PathBuf>,
    /// What this node is called in its fleet [default: the machine's name]
    #[arg(long, env = "MILLSTREAM_NODE_NAME", value_name = "NAME", value_parser = values::node_name)]
    pub(crate) node_name: Option<String>,
    /// A name that leads to this server: a certificate is ordered for it, and renewed; may be repeated, or have commas between names
    #[arg(long, env = "MILLSTREAM_DOMAIN", value_name = "NAME", value_delimiter = ',')]
    pub(crate) domain: Vec<Domain>,
    /// Whom the authority of certificates writes to; who gives it agrees to the authority's terms of service
    #[arg(long, env = "MILLSTREAM_ACME_EMAIL", value_name = "ADDRESS", value_parser = check_email)]
    pub(crate) acme_email: Option<String>,
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
    /// Who may publish: open (anyone) or signed [default: signed]
    #[arg(long, env = "MILLSTREAM_AUTH", value_name = "open|signed", value_parser = values::auth)]
    pub(crate) auth: Option<AuthPreset>,
    // Not from the environment: it is for one start, and would stay there.
    /// Start although the master key, or the store, is not the one that was here before
    #[arg(long)]
    pub(crate) accept_new_key: bool,
    /// A file with a secret of an older system, good for verifying legacy signatures
    #[arg(long, env = "MILLSTREAM_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SignFlags {
    /// The stream
    #[arg(value_name = "ID", value_parser = Id::new)]
    pub(crate) id: Id,
    /// Until when the signature admits: a date (UTC midnight at its start) or Unix seconds
    #[arg(long, value_name = "YYYY-MM-DD|SECONDS", value_parser = Expiry::parse)]
    pub(crate) expires: Expiry,
    /// The application of the push URL [default: the first of the configuration's rtmp.apps, or stream]
    #[arg(long, value_name = "APP", value_parser = Id::new)]
    pub(crate) app: Option<Id>,
    /// Make a signature for playing, which a step of the kind "signed" admits
    #[arg(long, conflicts_with_all = ["legacy", "key_file"])]
    pub(crate) play: bool,
    /// Make the form that older systems use: SECONDS-MD5
    #[arg(long)]
    pub(crate) legacy: bool,
    // Not from MILLSTREAM_KEY_FILE: there it is one more secret that the server verifies with, and an operator who has it set
    // would get signatures under the old secret without having asked.
    /// Use the secret in this file as it is; implies --legacy
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Data directory with the master key [default: the configuration's, or ./millstream-data]
    #[arg(long, env = "MILLSTREAM_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file with the stream's generation
    #[arg(short, long, env = "MILLSTREAM_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct GrantKeyFlags {
    /// Which key: one more than auth.grant_generation is the next one [default: auth.grant_generation of the configuration, or 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=999_999_999))]
    pub(crate) generation: Option<u32>,
    /// Data directory with the master key [default: the configuration's, or ./millstream-data]
    #[arg(long, env = "MILLSTREAM_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file with the generation
    #[arg(short, long, env = "MILLSTREAM_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckFlags {
    /// Configuration file (TOML)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct BackupFlags {
    /// Where the copy is to be; must not exist
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Data directory of the server [default: the configuration's, or ./millstream-data]
    #[arg(long, env = "MILLSTREAM_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file that names the data directory
    #[arg(short, long, env = "MILLSTREAM_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigFlags {
    /// A configuration file whose settings are to be in it
    #[arg(short, long, env = "MILLSTREAM_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the reference as Markdown instead
    #[arg(long, hide = true)]
    pub(crate) markdown: bool,
}

/// What `millstream stream` does.
#[derive(Debug, Subcommand)]
pub(crate) enum StreamCommand {
    /// Make a stream, and print what its encoder is given
    Add {
        /// What it is called: 1 to 64 letters, digits, _ and - [default: a random one]
        #[arg(value_name = "ID", value_parser = Id::new)]
        id: Option<Id>,
        #[command(flatten)]
        api: ApiFlags,
    },
    /// List all streams, and which are on air
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        api: ApiFlags,
    },
    /// Show a stream's record, and what is on air of it, as JSON
    Show {
        /// The stream
        #[arg(value_name = "ID", value_parser = Id::new)]
        id: Id,
        #[command(flatten)]
        api: ApiFlags,
    },
    /// Remove a stream; who pushes or plays it goes on, unless --kick
    Rm {
        /// The stream
        #[arg(value_name = "ID", value_parser = Id::new)]
        id: Id,
        /// End its sessions, too
        #[arg(long)]
        kick: bool,
        #[command(flatten)]
        api: ApiFlags,
    },
    /// Print the URL that a stream's encoder pushes to, signature included
    Key {
        /// The stream
        #[arg(value_name = "ID", value_parser = Id::new)]
        id: Id,
        /// Until when the signature admits: a date (UTC midnight at its start) or Unix seconds [default: a year from when it was made]
        #[arg(long, value_name = "YYYY-MM-DD|SECONDS")]
        expires: Option<String>,
        /// Make a new key first; the old one admits for another day, or for --grace
        #[arg(long)]
        rotate: bool,
        /// How long the old one admits; 0s: not any more
        #[arg(long, value_name = "DURATION", requires = "rotate", value_parser = humantime::parse_duration)]
        grace: Option<Duration>,
        #[command(flatten)]
        api: ApiFlags,
    },
}

/// `millstream serve m.toml` is what other servers take.
pub(crate) fn with_tip(mut error: clap::Error) -> clap::Error {
    let file = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) if Path::new(arg).extension().is_some_and(|end| end == "toml") => arg.clone(),
        _ => return error,
    };
    let tip = format!("a configuration file is given with --config {file}");
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every `millstream ...` of the documents, in code blocks and between backticks, that names a command and is no mere mention of it.
    #[test]
    fn every_command_line_of_the_documents_parses() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let files = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md"]
            .map(|name| root.join(name))
            .into_iter()
            .chain(docs);
        let mut parsed = 0;
        for file in files.filter(|file| file.extension().is_some_and(|end| end == "md")) {
            let text = std::fs::read_to_string(&file).unwrap();
            let mut in_block = false;
            for (at, line) in text.lines().enumerate() {
                if line.starts_with("```") {
                    in_block = !in_block;
                }
                let pieces: Vec<&str> =
                    if in_block { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
                for piece in pieces {
                    let command = piece.trim().strip_prefix("sudo ").unwrap_or(piece.trim());
                    let command = command.strip_prefix("docker exec millstream ").unwrap_or(command);
                    let Some(rest) = command.strip_prefix("millstream ") else { continue };
                    let rest = rest.split(" # ").next().unwrap_or(rest).split(" >").next().unwrap_or(rest);
                    // `millstream stream add|ls`: several in one.
                    if rest.contains('|') || rest.starts_with("--version") {
                        continue;
                    }
                    let words = std::iter::once("millstream")
                        .chain(rest.split_whitespace())
                        .map(|word| if word == "ID" { "an-id" } else { word });
                    let words: Vec<&str> = words.collect();
                    let place = format!("{}:{}: {command}", file.display(), at + 1);
                    if let Err(error) = Cli::try_parse_from(&words) {
                        // A command alone is how prose speaks of it.
                        let missing = error.kind() == clap::error::ErrorKind::MissingRequiredArgument && !in_block;
                        let help = matches!(
                            error.kind(),
                            clap::error::ErrorKind::DisplayHelp
                                | clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                        );
                        assert!(missing || help, "{place}: {error}");
                    }
                    parsed += 1;
                }
            }
        }
        assert!(parsed > 15, "only {parsed} command lines were found");
    }
}
