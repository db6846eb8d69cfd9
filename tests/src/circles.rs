//! Which files of a crate import each other, and the rule that no circle of them is large: who changes one file of a circle has to know all.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::tidy::{files, packages, read, root};

/// Files in a circle of imports at most.
const CIRCLE_FILES_MAX: usize = 5;

/// A module, by its path from the crate's root.
type Module = Vec<String>;

/// What each module imports.
type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// The module that a file below `src` is; `None` for programs beside the crate.
fn module(src: &Path, file: &Path) -> Option<Module> {
    let mut path: Module = file
        .strip_prefix(src)
        .ok()?
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if path.first().is_some_and(|first| first == "bin") || path.iter().any(|part| part.ends_with("tests")) {
        return None;
    }
    if path.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        path.pop();
    }
    Some(path)
}

/// The code without its comments and without the tests at its end.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths of a `use` tree.
fn expand(tree: &str, paths: &mut Vec<String>) {
    let Some(open) = tree.find('{') else {
        paths.push(tree.split(" as ").next().unwrap_or_default().split_whitespace().collect());
        return;
    };
    let close = tree.rfind('}').unwrap_or(tree.len());
    let (mut depth, mut from) = (0, open + 1);
    let ends = tree[open + 1..close].char_indices().filter_map(|(at, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (c == ',' && depth == 0).then_some(open + 1 + at)
    });
    for end in ends.chain([close]) {
        let part = tree[from..end].trim();
        if !part.is_empty() {
            expand(&format!("{}{part}", &tree[..open]), paths);
        }
        from = end + 1;
    }
}

/// The paths that a file names: in `use` and in its code.
fn named(code: &str) -> Vec<String> {
    let (mut paths, mut rest) = (Vec::new(), String::new());
    for statement in code.split_inclusive(';') {
        let use_at = statement.rfind("use ").filter(|at| {
            let before = statement[..*at].trim_end();
            before.is_empty() || before.ends_with(['{', '}', ';', ']', ')']) || before.ends_with("pub")
        });
        match use_at {
            Some(at) if statement.ends_with(';') => {
                rest.push_str(&statement[..at]);
                expand(statement[at + 4..].trim_end_matches(';'), &mut paths);
            }
            _ => rest.push_str(statement),
        }
    }
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    paths.extend(rest.split(|c| !is_path(c)).filter(|word| word.contains("::")).map(str::to_owned));
    paths
}

/// The module of a crate that a path in `module` leads to.
fn target(path: &str, module: &[String], all: &BTreeSet<Module>) -> Option<Module> {
    let mut segments = path.split("::").peekable();
    let mut at = module.to_vec();
    match *segments.peek()? {
        "crate" => at.clear(),
        "self" | "super" => {}
        // A child, by its name.
        child => {
            at.push(child.to_owned());
            if !all.contains(&at) {
                return None;
            }
            at.pop();
        }
    }
    for segment in segments {
        match segment {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            name => {
                at.push(name.to_owned());
                if !all.contains(&at) {
                    at.pop();
                    break;
                }
            }
        }
    }
    (at != module && all.contains(&at)).then_some(at)
}

fn graph(src: &Path) -> Graph {
    let sources: BTreeMap<Module, String> =
        files(src, "rs").iter().filter_map(|file| Some((module(src, file)?, code(&read(file))))).collect();
    let all: BTreeSet<Module> = sources.keys().cloned().collect();
    let imports = |module: &Module, code: &str| {
        let targets = named(code).iter().filter_map(|path| target(path, module, &all)).collect();
        (module.clone(), targets)
    };
    sources.iter().map(|(module, code)| imports(module, code)).collect()
}

/// All modules that one leads to.
fn reached<'a>(graph: &'a Graph, from: &'a Module) -> BTreeSet<&'a Module> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        for next in graph.get(module).into_iter().flatten() {
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    found
}

/// The circles of a crate, the largest first.
fn circles(graph: &Graph) -> Vec<BTreeSet<&Module>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        graph.keys().map(|module| (module, reached(graph, module))).collect();
    let of = |module: &Module| -> BTreeSet<&Module> {
        let ahead = reached.get(module).into_iter().flatten();
        ahead.copied().filter(|other| reached.get(other).is_some_and(|back| back.contains(module))).collect()
    };
    let circles: BTreeSet<BTreeSet<&Module>> = graph.keys().map(of).filter(|circle| circle.len() > 1).collect();
    let mut circles: Vec<_> = circles.into_iter().collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

#[test]
fn no_circle_of_imports_is_large() {
    // The one that is no member has its own dependencies, and the same rule.
    let beside = ("millstream-floor".to_owned(), root().join("bench/floor"));
    for (name, dir) in packages().into_iter().map(|(name, dir, _)| (name, dir)).chain([beside]) {
        let src = dir.join("src");
        let graph = graph(&src);
        let all = circles(&graph);
        let largest = all.first().map_or(0, BTreeSet::len);
        let shown = |circle: &BTreeSet<&Module>| {
            circle.iter().map(|module| if module.is_empty() { "lib".to_owned() } else { module.join("/") }).collect()
        };
        let files: Vec<Vec<String>> = all.iter().map(shown).collect();
        assert!(largest <= CIRCLE_FILES_MAX, "{name}: files that import each other in a circle: {:?}", files.first());
    }
}

#[test]
fn circles_are_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |file: &str, text: &str| {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    };
    write("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\npub use a::A;\n");
    write("a.rs", "use crate::{\n    b::{B, other::C},\n};\n// use crate::d::D;\npub struct A;\n");
    write("b/mod.rs", "pub mod other;\nfn f() {\n    crate::c::g();\n}\n");
    write("b/other.rs", "use super::super::c;\n");
    write("c.rs", "pub(crate) fn g(a: super::a::A) {}\n#[cfg(test)]\nmod tests {\n    use crate::d::D;\n}\n");
    write("d.rs", "use std::fmt;\nuse crate::a::A;\n");
    let graph = graph(dir.path());
    let all: Vec<Vec<String>> =
        circles(&graph).iter().map(|circle| circle.iter().map(|module| module.join("/")).collect()).collect();
    assert_eq!(all, [["a", "b", "b/other", "c"]]);
}
