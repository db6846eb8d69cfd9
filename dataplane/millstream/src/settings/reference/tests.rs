//! The reference and the parser know the same keys, ranges, words, flags and defaults.
use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory as _;

use super::*;
use crate::cli::Cli;
use crate::layers::{Flags, merge};
use crate::settings::{Settings, known_keys, parse};

fn defaults() -> Layers {
    merge(Flags::default(), Settings::default()).unwrap()
}

#[test]
fn every_key_of_the_file_is_in_the_reference_and_no_other() {
    let known: BTreeSet<_> = known_keys().into_iter().filter(|(table, _)| !table.is_empty()).collect();
    let rows = ROWS.iter().map(|row| (row.table, row.key));
    let of_streams = stream_rows().into_iter().flat_map(|row| row.keys).map(|key| ("stream", key));
    let steps = steps::STEP_ROWS.iter().map(|row| ("auth.steps", row.key)).chain([("auth", "steps")]);
    let keys = steps::KEY_ROWS.iter().map(|row| ("auth.steps.keys", row.key));
    let listed: BTreeSet<_> = rows.chain(of_streams).chain(steps).chain(keys).collect();
    assert_eq!(known, listed);
    let tables: BTreeSet<_> = TABLES.iter().map(|(table, _)| *table).collect();
    assert_eq!(ROWS.iter().map(|row| row.table).collect::<BTreeSet<_>>(), tables);
}

/// What a file with this value at this key is told.
fn told(table: &str, key: &str, value: &str) -> String {
    parse(Path::new("m.toml"), format!("[{table}]\n{key} = {value}\n").as_bytes()).unwrap_err().to_string()
}

#[test]
fn ranges_and_words_are_those_of_the_errors() {
    for Row { table, key, kind, .. } in ROWS {
        let (wrong, words) = match *kind {
            Kind::Duration(range) => ("\"9999years\"", range),
            Kind::Size(range) => ("\"9999999GiB\"", range),
            Kind::Number(range) => ("99999999999", range),
            Kind::Choice(words) => ("\"nonsense\"", words),
            Kind::Bool => ("1", "true or false"),
            Kind::Text(_) => ("1", "text"),
            Kind::List(_) => ("1", "list"),
        };
        let error = told(table, key, wrong);
        assert!(error.contains(words), "{table}.{key} is said to be {words:?}, and its error is {error}");
    }
}

/// The commented file as it is printed, with every default in force, and with every example.
#[test]
fn the_printed_file_is_right_and_sets_what_it_says() {
    let defaults = defaults();
    let text = file(&defaults, &defaults);
    let read =
        |text: &str| parse(Path::new("m.toml"), text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let printed = merge(Flags::default(), read(&text)).unwrap();
    assert_eq!(shown(&printed), shown(&defaults));
    // "# key = value", and not the sentences.
    let uncommented = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest)
            if rest
                .split_once(" = ")
                .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')) =>
        {
            rest
        }
        Some(header @ ("[[stream]]" | "[[auth.steps]]")) => header,
        _ => line,
    });
    let examples = |line: &&str| !line.ends_with("\"...\"") && !line.starts_with("slate = ");
    let all = uncommented.filter(examples).collect::<Vec<_>>().join("\n") + "\n";
    let settings = read(&all.replace("\"...\"", "\"a secret of some length\""));
    assert_eq!(settings.steps.len(), steps::KINDS.len());
    assert_eq!(settings.streams.len(), 1);
    let set = merge(Flags { role: Some(Role::Node), ..Flags::default() }, settings).unwrap();
    for row in ROWS.iter().filter(|row| row.example.is_empty() && row.key != "role") {
        assert_eq!((row.value)(&set), (row.value)(&defaults), "{}.{}", row.table, row.key);
    }
    assert_eq!(set.node_name.as_deref(), Some("edge-1"));
}

#[test]
fn what_a_file_sets_is_set_in_the_printed_one_and_secrets_are_not() {
    let text = "[rtmp]\nchunk_size = 4096\n[auth]\nlegacy_keys = [\"hush\"]\n[log]\nformat = \"json\"\n[stream]\nflush = \"low\"\n";
    let layers = merge(Flags::default(), parse(Path::new("m.toml"), text.as_bytes()).unwrap()).unwrap();
    let printed = file(&layers, &defaults());
    for line in ["chunk_size = 4096", "format = \"json\"", "flush = \"low\"", "# legacy_keys = ...  # 1 hidden"] {
        assert!(printed.lines().any(|found| found == line), "{line} is not in {printed}");
    }
    let all = shown(&layers);
    assert_eq!(all["auth"]["legacy_keys"], "1 hidden");
    assert_eq!(all["stream_defaults"]["publisher_wait"], "10s");
    assert!(!printed.contains("hush") && !all.to_string().contains("hush"));
}

#[test]
fn flags_and_variables_are_those_of_serve() {
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve").unwrap();
    for row in ROWS.iter().filter(|row| row.flag.is_some()) {
        let flag = row.flag.unwrap().trim_start_matches("--");
        let arg = serve.get_arguments().find(|arg| arg.get_long() == Some(flag));
        let arg = arg.unwrap_or_else(|| panic!("serve has no --{flag}"));
        assert_eq!(arg.get_env().and_then(|env| env.to_str()), row.env().as_deref(), "--{flag}");
    }
    // What has a flag and no row: which file, a secret's, and what is for one start.
    let listed: BTreeSet<_> = ROWS.iter().filter_map(|row| row.flag).collect();
    let other: BTreeSet<_> = serve
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .filter(|flag| !listed.contains(format!("--{flag}").as_str()))
        .collect();
    assert_eq!(other, BTreeSet::from(["accept-new-key", "config", "key-file"]));
}

#[test]
fn older_files_say_stream() {
    let parse = |text: &str| parse(Path::new("m.toml"), text.as_bytes());
    let older = parse("[node]\n[stream]\nflush = \"low\"\n").unwrap();
    assert_eq!(older.stream.flush, Some(FlushPolicy::Low));
    assert!(older.warnings[0].starts_with("m.toml:2:1: stream: this is the older name of [stream_defaults]"));
    let error = parse("[stream]\nflush = \"low\"\n[stream_defaults]\n").unwrap_err().to_string();
    assert!(error.contains("older name of [stream_defaults]"), "{error}");
    // TOML has no place for both.
    for both in ["[stream]\nflush = \"low\"\n[[stream]]\nid = \"a\"\n", "[[stream]]\nid = \"a\"\n[stream]\n"] {
        let error = parse(both).unwrap_err().to_string();
        assert!(
            error.contains("a file with [[stream]] cannot have [stream] too; call this [stream_defaults]"),
            "{error}"
        );
    }
    let settings = parse("[stream_defaults]\nflush = \"low\"\n[[stream]]\nid = \"a\"\n").unwrap();
    assert_eq!(
        (settings.stream.flush, settings.streams.len(), settings.warnings.len()),
        (Some(FlushPolicy::Low), 1, 0)
    );
}
