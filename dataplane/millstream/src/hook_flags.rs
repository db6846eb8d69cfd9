//! What the command line says about hooks: for [`crate::hook_kit`] and for the demo. It is the same in every build.
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What `millstream hook` does.
#[derive(Debug, Subcommand)]
pub(crate) enum HookCommand {
    /// Make a directory with a hook that works, to begin with
    New(NewFlags),
    /// Make a component of a core module, and say what it is
    Pack(PackFlags),
    /// Ask a hook as a node would, and print its answer, its log and what it cost
    Test(Box<TestFlags>),
    /// Ask a hook for some seconds, and print how many calls a core makes
    Bench(BenchFlags),
}

/// What a hook is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Language {
    /// Rust
    Rust,
    /// C
    C,
    /// JavaScript
    Js,
}

/// What a hook decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Who may publish and play
    Auth,
    /// Which renditions a stream has
    Policy,
    /// What is seen in the picture
    Motion,
    /// What is done about events
    Events,
}

#[derive(Debug, Args)]
pub(crate) struct NewFlags {
    /// What it is written in
    #[arg(value_enum)]
    pub(crate) language: Language,
    /// What it is called: a-z, 0-9 and -; also the directory
    #[arg(value_name = "NAME", value_parser = name)]
    pub(crate) name: String,
    /// What it decides
    #[arg(long, value_enum, default_value = "auth")]
    pub(crate) kind: Kind,
}

#[derive(Debug, Args)]
pub(crate) struct PackFlags {
    /// The module that a compiler has written
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What it is for, where its bindings do not say it in the module
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Kind>,
    /// Where the component goes [default: NAME.component.wasm beside it]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// A hook, and what a binding would give it.
#[derive(Debug, Args)]
pub(crate) struct BoundFlags {
    /// The hook: a component, or a core module that says what it is for
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// A value of the binding's configuration; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) config: Vec<(String, String)>,
    /// A secret for tests, or @FILE with one; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) secret: Vec<(String, String)>,
    /// A public key, a file in PEM; may be given again
    #[arg(long, value_name = "NAME=FILE", value_parser = pair)]
    pub(crate) key: Vec<(String, String)>,
    /// What it is asked: a file with an event as JSON, or with many, one a line, as `millstream hook record` writes them
    /// [default: an example of its kind]
    #[arg(long, value_name = "FILE")]
    pub(crate) event: Option<PathBuf>,
    /// Frames for a motion hook: square (one that moves, after and before nothing does), noise, still, or a file of
    /// brightness, byte by byte in the size that the hook wants
    #[arg(long, value_name = "FILE|square|noise|still")]
    pub(crate) frames: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TestFlags {
    #[command(flatten)]
    pub(crate) bound: BoundFlags,
    /// Fail unless this is its answer: allow, deny, next, redirect or ask; a number of renditions or orders; motion or nothing
    #[arg(long, value_name = "ANSWER")]
    pub(crate) expect: Option<String>,
    /// Print all of it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchFlags {
    #[command(flatten)]
    pub(crate) bound: BoundFlags,
    /// For how long
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub(crate) time: std::time::Duration,
}

/// A hook that decides who plays the demo's stream.
#[derive(Debug, Default, Args)]
pub(crate) struct DemoHookFlags {
    /// A hook that decides who plays the test stream
    #[arg(long, value_name = "FILE")]
    pub(crate) hook: Option<PathBuf>,
    /// A value of its configuration; may be given again
    #[arg(long, value_name = "NAME=VALUE", requires = "hook", value_parser = pair)]
    pub(crate) hook_config: Vec<(String, String)>,
    /// A secret for it, or @FILE with one; may be given again
    #[arg(long, value_name = "NAME=VALUE", requires = "hook", value_parser = pair)]
    pub(crate) hook_secret: Vec<(String, String)>,
}

fn name(text: &str) -> Result<String, String> {
    let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let begins = text.bytes().next().is_some_and(|c| c.is_ascii_lowercase());
    if begins && text.len() <= 64 && text.bytes().all(valid) && !text.ends_with('-') {
        return Ok(text.to_owned());
    }
    Err("a name begins with a letter and has at most 64 characters out of a-z, 0-9 and -".to_owned())
}

/// `NAME=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("give NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(feature = "hooks")]
impl From<Kind> for millstream_hooks::World {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Auth => Self::Auth,
            Kind::Policy => Self::Policy,
            Kind::Motion => Self::Motion,
            Kind::Events => Self::Events,
        }
    }
}
