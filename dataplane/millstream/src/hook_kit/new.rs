//! `millstream hook new`: a directory with a hook that works, of files that are in this program.
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use millstream_hooks::World;
use millstream_hooks::wit::{FILES, VERSION};

use crate::failure::Failure;
use crate::hook_flags::{Kind, Language, NewFlags};

macro_rules! template {
    ($file:literal) => {
        include_str!(concat!("../../../../hooks/templates/", $file))
    };
}

const README: &str = template!("README.md.in");

/// What a language needs beside the hook's own source.
fn files(language: Language, kind: Kind) -> Vec<(&'static str, &'static str)> {
    let source = match (language, kind) {
        (Language::Rust, Kind::Auth) => template!("rust/auth.rs"),
        (Language::Rust, Kind::Policy) => template!("rust/policy.rs"),
        (Language::Rust, Kind::Motion) => template!("rust/motion.rs"),
        (Language::Rust, Kind::Events) => template!("rust/events.rs"),
        (Language::C, Kind::Auth) => template!("c/auth.c"),
        (Language::C, Kind::Policy) => template!("c/policy.c"),
        (Language::C, Kind::Motion) => template!("c/motion.c"),
        (Language::C, Kind::Events) => template!("c/events.c"),
        (Language::Js, Kind::Auth) => template!("js/auth.js"),
        (Language::Js, Kind::Policy) => template!("js/policy.js"),
        (Language::Js, Kind::Motion) => template!("js/motion.js"),
        (Language::Js, Kind::Events) => template!("js/events.js"),
    };
    let mut files = vec![(source_file(language), source)];
    match language {
        Language::Rust => files.extend([
            ("Cargo.toml", template!("rust/Cargo.toml.in")),
            ("build", template!("rust/build")),
            (".gitignore", "/target\n"),
        ]),
        Language::C => {
            files.extend(match kind {
                Kind::Auth => [
                    ("auth_hook.c", template!("c/bindings/auth_hook.c")),
                    ("auth_hook.h", template!("c/bindings/auth_hook.h")),
                ],
                Kind::Policy => [
                    ("policy_hook.c", template!("c/bindings/policy_hook.c")),
                    ("policy_hook.h", template!("c/bindings/policy_hook.h")),
                ],
                Kind::Motion => [
                    ("motion_hook.c", template!("c/bindings/motion_hook.c")),
                    ("motion_hook.h", template!("c/bindings/motion_hook.h")),
                ],
                Kind::Events => [
                    ("event_hook.c", template!("c/bindings/event_hook.c")),
                    ("event_hook.h", template!("c/bindings/event_hook.h")),
                ],
            });
            files.extend([("build", template!("c/build")), (".gitignore", "/hook.core.wasm\n")]);
        }
        Language::Js => files.extend([
            ("package.json", template!("js/package.json.in")),
            ("build", template!("js/build")),
            (".gitignore", "/node_modules\n"),
        ]),
    }
    let event = match kind {
        Kind::Auth => template!("events/auth.json"),
        Kind::Policy => template!("events/policy.json"),
        Kind::Motion => template!("events/motion.json"),
        Kind::Events => template!("events/events.json"),
    };
    files.extend([("event.json", event), ("README.md", README)]);
    files
}

const fn source_file(language: Language) -> &'static str {
    match language {
        Language::Rust => "src/lib.rs",
        Language::C => "hook.c",
        Language::Js => "hook.js",
    }
}

/// Makes the directory; one that is there already is left alone.
pub(crate) fn run(flags: &NewFlags) -> Result<(), Failure> {
    make(Path::new(&flags.name), flags).map_err(Failure::Running)?;
    let name = &flags.name;
    let next = format!(
        "{name}: a hook of the kind {}. Build it with {name}/build; {name}/README.md says how to try it.\n",
        World::from(flags.kind)
    );
    std::io::stdout().write_all(next.as_bytes()).context("cannot print the result").map_err(Failure::Running)
}

fn make(dir: &Path, flags: &NewFlags) -> anyhow::Result<()> {
    let shown = dir.display();
    if dir.exists() {
        bail!("{shown} is there already: give another name, or remove it");
    }
    let write = |file: &str, text: &str| {
        let path = dir.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
        if file == "build" {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        Ok::<_, std::io::Error>(())
    };
    let contract = FILES.map(|(name, text)| (format!("wit/{name}"), text.to_owned()));
    let own = files(flags.language, flags.kind).into_iter().map(|(file, text)| (file.to_owned(), filled(text, flags)));
    for (file, text) in own.chain(contract) {
        write(&file, &text).with_context(|| format!("cannot write {shown}/{file}"))?;
    }
    Ok(())
}

/// A template with what it leaves open.
fn filled(text: &str, flags: &NewFlags) -> String {
    let world = World::from(flags.kind);
    let language = match flags.language {
        Language::Rust => "Rust",
        Language::C => "C",
        Language::Js => "JavaScript",
    };
    let args = match flags.kind {
        Kind::Auth => "--config ticket=1234 --event event.json",
        Kind::Motion => "--event event.json --frames square",
        Kind::Policy | Kind::Events => "--event event.json",
    };
    text.replace("{{NAME}}", &flags.name)
        .replace("{{FILE}}", &flags.name.replace('-', "_"))
        .replace("{{KIND}}", world.as_str())
        .replace("{{WORLD}}", world.wit_world())
        .replace("{{BINDINGS}}", &world.wit_world().replace('-', "_"))
        .replace("{{LANGUAGE}}", language)
        .replace("{{SOURCE}}", &format!("`{}`", source_file(flags.language)))
        .replace("{{ARGS}}", args)
        .replace("{{CONTRACT}}", VERSION)
}
