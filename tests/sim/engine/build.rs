//! Copies the engine's sources, puts the simulator's `io` in the place of the product's, and plants defects that are switched on by name.
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "plants.rs"]
mod plants;

/// Files of the product's `io` that know nothing of the system.
const SHARED: [&str; 6] = ["prefetch.rs", "budget.rs", "slot.rs", "tls.rs", "http2.rs", "waiting.rs"];

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo")).join("src");
    let engine = here.join("../../../dataplane/engine").canonicalize().expect("the engine");
    for watched in [engine.join("src"), here.join("io"), here.join("plants.rs"), here.join("build.rs")] {
        println!("cargo::rerun-if-changed={}", watched.display());
    }
    let _ = fs::remove_dir_all(&out);
    copy(&engine.join("src"), &out, &|path| path.parent().is_none_or(|dir| !dir.ends_with("io")) || is_shared(path));
    copy(&here.join("io"), &out.join("io"), &|_| true);
    edit(&out.join("lib.rs"), |text| {
        let inner = |line: &&str| line.starts_with("//!") || line.starts_with("#![");
        let rest: Vec<&str> = text.lines().skip_while(inner).filter(|line| !inner(line)).collect();
        rest.join("\n").replace("\nmod io;", "\n/// The made-up system.\npub mod io;")
    });
    let pages = format!("\"{}/pages/", engine.display());
    edit(&out.join("egress/pages.rs"), |text| text.replace("\"../../pages/", &pages));
    let mut lost = Vec::new();
    for plant in plants::PLANTS {
        let is_there = |edit: &plants::Edit| {
            fs::read_to_string(out.join(edit.file)).is_ok_and(|text| text.matches(edit.find).count() == 1)
        };
        if !plant.edits.iter().all(is_there) {
            lost.push(plant.name);
            continue;
        }
        for planted in plant.edits {
            let switched = planted.put.replace("PLANTED", &format!("crate::io::is_planted({:?})", plant.name));
            edit(&out.join(planted.file), |text| text.replace(planted.find, &switched));
        }
    }
    let names: Vec<&str> = plants::PLANTS.iter().map(|plant| plant.name).collect();
    let table = format!(
        "//! Written by the build script.\n/// Defects that can be switched on.\npub const PLANTS: &[&str] = &{names:?};\n\
         /// Those whose place in the engine's sources is no longer found: `plants.rs` is to be changed.\npub const LOST: &[&str] = &{lost:?};\n"
    );
    fs::write(out.join("io/plants.rs"), table).expect("written");
}

fn is_shared(path: &Path) -> bool {
    path.file_name().is_some_and(|name| SHARED.iter().any(|shared| name == *shared))
}

fn copy(from: &Path, to: &Path, is_wanted: &dyn Fn(&Path) -> bool) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to, is_wanted);
        } else if is_wanted(&path) {
            // Without the engine's own tests.
            let text = fs::read_to_string(&path).expect("text");
            fs::write(&to, text.replace("#[cfg(test)]", "#[cfg(any())]")).expect("copied");
        }
    }
}

fn edit(path: &Path, change: impl Fn(String) -> String) {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fs::write(path, change(text)).expect("written");
}
