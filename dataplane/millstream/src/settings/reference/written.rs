//! The table of settings as text: the commented file of `millstream config`, `docs/configuration.md`, and what the API shows. Before it:
//! [`super::ROWS`].
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::steps::{EXAMPLES, KEY_ROWS, KINDS, STEP_ROWS};
use super::{ROWS, TABLES, stream_rows};
use crate::layers::Layers;

/// A value as TOML writes it.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        // What JSON escapes TOML escapes in the same way; a path may hold anything.
        other => other.to_string(),
    }
}

/// Adds lines of at most `width` characters, each behind `prefix`.
fn wrap(out: &mut String, prefix: &str, text: &str, width: usize) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && prefix.len() + line.len() + 1 + word.len() > width {
            let _ = writeln!(out, "{prefix}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{prefix}{line}");
}

const WIDTH: usize = 110;

/// The whole file: every setting with its explanation. What is as it is by default is commented out.
pub(crate) fn file(layers: &Layers, defaults: &Layers) -> String {
    let mut out = "# Millstream's configuration: every setting. What is commented out shows the default, or an example where there is none.\n\
                   # Flags win over MILLSTREAM_* environment variables, which win over this file. `millstream check FILE` checks it.\n"
        .to_owned();
    for (table, about) in TABLES {
        let _ = writeln!(out, "\n# {about}.\n[{table}]");
        for row in ROWS.iter().filter(|row| row.table == table) {
            let (value, default) = ((row.value)(layers), (row.value)(defaults));
            out.push('\n');
            wrap(&mut out, "# ", &format!("{} ({})", row.doc, row.kind.words()), WIDTH);
            let _ = match &value {
                // Secrets stay where they are.
                Value::String(text) if text.ends_with(" hidden") => writeln!(out, "# {} = ...  # {text}", row.key),
                Value::Null => writeln!(out, "# {} = \"{}\"", row.key, row.example).map(drop),
                value if *value == default => writeln!(out, "# {} = {}", row.key, toml(value)),
                value => writeln!(out, "{} = {}", row.key, toml(value)),
            };
        }
        if table == "auth" {
            steps_of_file(&mut out, layers);
        }
    }
    out.push_str("\n# A stream that may be pushed; as many of these as there are streams. The API keeps others in the data directory.\n");
    out.push_str("# [[stream]]\n");
    for row in stream_rows() {
        wrap(&mut out, "# # ", &format!("{} ({})", sentence(row.doc), row.words), WIDTH);
        let _ = writeln!(out, "# {} = {}", row.keys[0], row.example);
    }
    out
}

/// The steps that are set, each with its keys; where there is none, an example of each kind.
fn steps_of_file(out: &mut String, layers: &Layers) {
    out.push_str("\n# A step that is asked before the preset's; as many of these as there are steps, in this order.\n");
    for step in &layers.steps {
        out.push_str("[[auth.steps]]\n");
        for (key, value) in &step.shown {
            match (key.as_str(), value) {
                ("keys", Value::Array(keys)) => {
                    let hidden = keys.iter().map(|key| format!("{} {}", key["kid"], key["algorithm"]));
                    let _ = writeln!(out, "# keys = ...  # hidden: {}", hidden.collect::<Vec<_>>().join(", "));
                }
                (_, Value::String(text)) if text == "hidden" => {
                    let _ = writeln!(out, "# {key} = ...  # hidden");
                }
                (_, Value::Array(items)) if items.is_empty() => {}
                _ => {
                    let _ = writeln!(out, "{key} = {}", toml(value));
                }
            }
        }
    }
    if layers.steps.is_empty() {
        for (kind, about) in KINDS {
            let _ = writeln!(out, "# [[auth.steps]]");
            wrap(out, "# # ", &sentence(about), WIDTH);
            let lines = EXAMPLES.iter().filter(|(of, _)| *of == kind).flat_map(|(_, lines)| lines.iter());
            lines.for_each(|line| {
                let _ = writeln!(out, "# {line}");
            });
        }
    }
}

/// Begins with a capital and ends with a point, whatever the API's table has.
fn sentence(doc: &str) -> String {
    let point = if doc.ends_with('.') { "" } else { "." };
    let first = doc.chars().next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}{point}", doc.chars().skip(1).collect::<String>())
}

/// The kinds of steps and their keys.
fn steps_of_reference(out: &mut String) {
    out.push_str(
        "\n## `[[auth.steps]]`\n\nA step that is asked before the preset's; an entry for each, in the order in which they are asked. \
         [access.md](access.md) has examples.\nSIGHUP takes over changed steps.\n\n| kind | what |\n| --- | --- |\n",
    );
    for (kind, about) in KINDS {
        let _ = writeln!(out, "| `{kind}` | {} |", sentence(about));
    }
    let tables = [
        ("", STEP_ROWS),
        ("\n### `[[auth.steps.keys]]`\n\nA key of a `jwt` step: one secret or one public key.\n", KEY_ROWS),
    ];
    for (head, rows) in tables {
        let _ = writeln!(out, "{head}\n| key | of | what | default |\n| --- | --- | --- | --- |");
        for row in rows {
            let _ = writeln!(out, "| `{}` | {} | {} *{}* | {} |", row.key, row.kinds, row.doc, row.words, row.default);
        }
    }
}

/// The reference, `docs/configuration.md`.
pub(crate) fn markdown(defaults: &Layers) -> String {
    let mut out = "# Configuration\n\n\
        Made by `millstream config --markdown`; a test holds it to the program. `millstream config` prints the same as a file to begin\n\
        with, `millstream check FILE` says what is wrong with one, with line and column.\n\n\
        Flags win over `MILLSTREAM_*` environment variables, which win over the file, which wins over defaults. Durations are a number\n\
        and a unit in quotes (`\"10s\"`, `\"333ms\"`), sizes too (`\"16MiB\"`). Unknown keys are refused.\n\n\
        SIGHUP reads the file anew and takes over `log.level`, the `[[auth.steps]]` and the `[[stream]]` entries; the log names\n\
        what has changed besides and needs a restart.\n"
        .to_owned();
    for (table, about) in TABLES {
        let _ = writeln!(
            out,
            "\n## `[{table}]`\n\n{about}.\n\n| key | what | default | instead |\n| --- | --- | --- | --- |"
        );
        for row in ROWS.iter().filter(|row| row.table == table) {
            let default = match (row.value)(defaults) {
                Value::Null => "unset".to_owned(),
                value => format!("`{}`", toml(&value)),
            };
            let instead = match (row.flag, row.env()) {
                (Some(flag), Some(env)) => format!("`{flag}`, `{env}`"),
                _ => String::new(),
            };
            let _ = writeln!(out, "| `{}` | {} *{}* | {default} | {instead} |", row.key, row.doc, row.kind.words());
        }
        if table == "auth" {
            steps_of_reference(&mut out);
        }
    }
    out.push_str("\n## `[[stream]]`\n\nA stream that may be pushed; an entry for each. The API shows them, and they are changed here.\nWhere a key has two names, the second one is the API's.\n\n");
    out.push_str("| key | what |\n| --- | --- |\n");
    for row in stream_rows() {
        let keys: Vec<String> = row.keys.iter().map(|key| format!("`{key}`")).collect();
        let _ = writeln!(out, "| {} | {} *{}* |", keys.join(", "), sentence(row.doc), row.words);
    }
    out
}

/// The configuration in force as the API shows it: tables and keys as in the file, secrets as how many there are.
pub(crate) fn shown(layers: &Layers) -> Value {
    let mut shown = serde_json::Map::new();
    for row in ROWS {
        let table = shown.entry(row.table).or_insert_with(|| json!({}));
        if let Value::Object(table) = table {
            table.insert(row.key.to_owned(), (row.value)(layers));
        }
    }
    if let Some(Value::Object(auth)) = shown.get_mut("auth") {
        auth.insert("steps".to_owned(), layers.steps.iter().map(|step| Value::Object(step.shown.clone())).collect());
    }
    // Set, and not in force.
    shown.insert("warnings".to_owned(), json!(layers.warnings));
    shown.into()
}
